"""The halo that is read from the graph, against the one that is measured by disturbing a pixel."""

import importlib
import pkgutil

import keras
import numpy as np
import pytest
from hypothesis import given, settings, strategies
from keras import layers, ops
from tiny import SCALES, TINY

from sr_keras import models
from sr_keras.layers.adaptive import AdaptiveMaxPool, RepeatLike
from sr_keras.layers.channel_norm import ChannelNorm
from sr_keras.layers.contrast import Contrast
from sr_keras.layers.gelu import Gelu
from sr_keras.layers.multiple import CropToSize, PadToLeast, ReflectToMultiple
from sr_keras.layers.resize import Bicubic, Bilinear, CubicReduction, ResizeLike
from sr_keras.layers.window_attention import WindowAttention
from sr_keras.receptive_field import field, halo

NAMES = [module.name for module in pkgutil.iter_modules(models.__path__) if not module.name.startswith("_")]
OPTIONS = {**TINY, "cnn_fc": {"filters": 4}, "rrdbnet": {"filters": 4, "growth": 2, "blocks": 1}}
NAMES_AND_SCALES = [(name, scale) for name in NAMES for scale in SCALES.get(name, (2, 3, 4))]


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


def _conv(kernel_size=3, filters=4, **options):
    return layers.Conv2D(filters, kernel_size, padding="same", **options)


def _to_space(factor):
    return lambda x: ops.depth_to_space(x, factor)


def _residual(x):
    return layers.Add()([_conv(1)(x), _conv()(_conv(5, activation="relu")(x))])


def _continued(x, factor):
    """Pads, works at a resolution of 1 / factor, comes back and crops; the field of one 3x3 convolution there."""
    lr = x
    x = _conv()(ops.space_to_depth(ReflectToMultiple(factor)(x), factor))
    return CropToSize(1)([layers.UpSampling2D(factor)(x), lr])


def _reduced(x):
    """Halves the size cubically, convolves and comes back."""
    lr, x = x, CubicReduction(1, 2)(ReflectToMultiple(2)(x))
    return CropToSize(1)([_to_space(2)(_conv(3, 16)(x)), lr])


def _windowed(x):
    """Attends within windows of 4x4, within those shifted by half, and convolves."""
    lr, x = x, ReflectToMultiple(4)(x)
    for shift in (0, 2):
        x = WindowAttention(4, 2, shift, halved=shift == 0)(_conv(1, 12)(x))
    return CropToSize(1)([_conv()(x), lr])


NETS = {  # name: the layers after the input, and the halo worked out by hand
    "one pixel": ([_conv(1)], 0),
    "chain": ([_conv(9), layers.ReLU(), _conv(1), _conv(5)], 6),
    "even kernel": ([_conv(2), _conv(4)], 3),
    "dilated": ([_conv(3, dilation_rate=2), _conv()], 3),
    "oblong kernel": ([_conv((1, 5))], 2),
    "depthwise": ([layers.DepthwiseConv2D(5, padding="same"), layers.BatchNormalization()], 2),
    "separable": ([layers.SeparableConv2D(4, 3, padding="same"), layers.PReLU(shared_axes=[1, 2])], 1),
    "branches": ([_residual], 3),
    "sub-pixel": ([_conv(), _to_space(2), layers.Conv2D(3, 3, padding="same")], 2),
    "two enlargements": ([_to_space(2), _conv(), _to_space(2), _conv(), _conv(1)], 1),
    "half a pixel twice": ([_to_space(2), _conv(), layers.LeakyReLU(), _conv()], 1),
    "cubic": ([Bicubic(2)], 2),
    "cubic, thirds": ([Bicubic(3), _conv(5), _conv(1), _conv()], 3),
    "deconvolution x2": ([layers.Conv2DTranspose(3, 9, 2, padding="same")], 2),
    "deconvolution x3": ([layers.Conv2DTranspose(3, 9, 3, padding="same")], 1),
    "deconvolution x4": ([layers.Conv2DTranspose(3, 9, 4, padding="same"), _conv()], 1),
    "deconvolution without overlap": ([layers.Conv2DTranspose(3, 2, 2, padding="same")], 0),
    "nested": ([keras.Sequential([keras.Input((None, None, 4)), _conv(), _conv(5)]), _conv()], 4),
    "there and back": ([lambda x: ops.space_to_depth(x, 2), _conv(), _to_space(2)], 3),
    "strided": ([_conv(3, strides=2), _to_space(2)], 2),
    "pooled": ([_conv(), layers.MaxPooling2D(), _to_space(2)], 2),
    "nearest": ([_conv(), layers.UpSampling2D(2), _conv()], 2),
    "nearest twice": ([layers.UpSampling2D(2), _conv(), layers.UpSampling2D(2), _conv(), _conv(1)], 1),
    "continued": ([lambda x: _continued(x, 2)], 3),
    "continued by four": ([lambda x: _continued(x, 4)], 7),
    "windows": ([_windowed], 6),
    "pixel by pixel": ([_conv(), ChannelNorm(), Gelu(), PadToLeast(15)], 1),
    "linear": ([Bilinear(3)], 1),
    "reduced cubically": ([CubicReduction(1, 2), _conv(3, 16), _to_space(4)], 4),
    "enlarged, then reduced cubically": ([_conv(3, 64), _to_space(4), CubicReduction(2, 4)], 2),
    "enlarged, then reduced cubically by a part": ([_conv(3, 64), _to_space(4), CubicReduction(3, 4)], 2),
}


@pytest.mark.parametrize("name", NETS)
def test_the_halo_is_the_measured_one(name):
    parts, expected = NETS[name]
    model = _chain(parts)
    _make_positive(model)
    assert (halo(model), _measured(model, size=24)) == (expected, expected)


@pytest.mark.parametrize(("name", "scale"), NAMES_AND_SCALES)
def test_nothing_changes_beyond_the_halo_of_a_model(name, scale):
    build = importlib.import_module(f"sr_keras.models.{name}").build
    model = build(scale=scale, **OPTIONS.get(name, {}))
    distance = halo(model)
    if distance is None:
        pytest.skip(f"{name} looks at the whole picture")
    assert 0 < _measured(model, size=2 * distance + 6) <= distance


ALIGNED = {  # name: the layers after the input, the alignment and the scale worked out by hand
    "strided": ([_conv(3, 16, strides=2), _to_space(4)], 2, 2),
    "strided, even kernel": ([_conv(4, strides=2, activation="relu"), _conv(3), _to_space(2)], 2, 1),
    "strided by three": ([_conv(5, strides=3), layers.Conv2DTranspose(3, 5, 3, padding="same")], 3, 1),
    "strided twice": (
        [_conv(3, strides=2), _conv(5, strides=2), layers.Conv2DTranspose(3, 9, 8, padding="same")],
        4,
        2,
    ),
    "there, back and there": ([_conv(3, strides=2), _to_space(2), _conv(3, 9, strides=3), _to_space(3)], 6, 1),
    "pooled": ([_conv(), layers.MaxPooling2D(padding="same"), layers.Conv2DTranspose(3, 4, 2, padding="same")], 2, 1),
    "enlarged, then strided": ([_conv(), _to_space(2), _conv(3, 9, strides=3), _to_space(3)], 3, 2),
    "enlarged by as much": ([_to_space(2), _conv(3, strides=2), _conv()], 1, 1),
    "continued": ([lambda x: _continued(x, 2)], 2, 1),
    "continued by four": ([lambda x: _continued(x, 4), layers.UpSampling2D(2)], 4, 2),
    "windows": ([_windowed, _to_space(2)], 4, 2),
    "reduced cubically": ([_reduced, _to_space(2)], 2, 2),
    "enlarged, then reduced cubically": ([_conv(3, 64), _to_space(4), CubicReduction(3, 4)], 1, 3),
    "never shrunk": ([_residual, layers.Conv2DTranspose(3, 9, 3, padding="same"), _conv()], 1, 3),
}


@pytest.mark.parametrize("name", ALIGNED)
def test_the_alignment_is_the_one_worked_out_by_hand(name):
    parts, alignment, _ = ALIGNED[name]
    assert field(_chain(parts)).alignment == alignment


@pytest.mark.parametrize("name", ALIGNED)
def test_a_tile_on_the_alignment_gives_the_inner_pixels_of_the_picture(name):
    parts, _, scale = ALIGNED[name]
    model = _chain(parts)
    found = field(model)

    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @given(strategies.data())
    def check(data):
        step, border = found.alignment, found.halo or 0
        start = step * data.draw(strategies.integers(0, 3))
        behind = step * data.draw(strategies.integers(0, 3))
        size = start + behind + data.draw(strategies.integers(2 * border + 1, 2 * border + 2 * step + 2))
        assert _difference(model, size, start, size - behind, border, scale) < 1e-4

    check()


SHRINKING = [name for name, (_, alignment, _) in ALIGNED.items() if alignment > 1]
_PADDED_BEHIND = ("strided, even kernel", "pooled", "continued", "continued by four", "windows", "reduced cubically")
PADDED_BY_SIZE = [name for name in SHRINKING if name not in _PADDED_BEHIND]


@pytest.mark.parametrize(
    ("name", "start", "behind"), [*((name, 1, 0) for name in SHRINKING), *((name, 0, 1) for name in PADDED_BY_SIZE)]
)
def test_a_tile_off_the_alignment_gives_others(name, start, behind):
    parts, alignment, scale = ALIGNED[name]
    model = _chain(parts)
    _make_positive(model)
    border = field(model).halo or 0
    off = alignment // 2  # half of it is no multiple
    sizes = range(4 * border + 6, 4 * border + 6 + alignment)
    differences = [_difference(model, size, off * start, size - off * behind, border, scale) for size in sizes]
    assert max(differences) > 1e-2


@pytest.mark.parametrize(
    "part",
    [layers.Flatten(), layers.GlobalAveragePooling2D(keepdims=True), lambda x: ops.mean(x, axis=(1, 2))],
)
def test_a_layer_that_looks_at_the_whole_picture_gives_none(part):
    lr = keras.Input((8, 8, 4), name="lr")
    assert halo(keras.Model(lr, part(_conv()(lr)))) is None


def test_channel_attention_gives_none_and_names_the_pooling():
    x = lr = keras.Input((None, None, 4), name="lr")
    for name in ("first", "second"):
        weight = layers.GlobalAveragePooling2D(keepdims=True, name=name)(x)
        x = layers.Multiply()([_conv()(x), _conv(1, activation="sigmoid")(weight)])
    found = field(keras.Model(lr, _to_space(2)(_conv(strides=2)(x))))
    assert (found.halo, found.alignment) == (None, 2)
    assert found.whole_picture == ("GlobalAveragePooling2D 'first'", "GlobalAveragePooling2D 'second'")


@pytest.mark.parametrize(
    "part",
    [
        AdaptiveMaxPool(2, name="odd_one"),
        Contrast(name="odd_one"),
        lambda x: ResizeLike(name="odd_one")([layers.MaxPooling2D(3)(x), x]),
        lambda x: RepeatLike(name="odd_one")([layers.MaxPooling2D(3)(x), x]),
    ],
)
def test_our_own_layers_that_look_at_the_whole_picture_are_named(part):
    found = field(_chain([_conv(), part]))
    assert found.halo is None
    assert [name.partition(" ")[2] for name in found.whole_picture] == ["'odd_one'"]


def test_what_comes_after_a_flat_vector_is_not_named_again():
    lr = keras.Input((8, 8, 4), name="lr")
    x = layers.Flatten(name="flat_again")(layers.GlobalMaxPooling2D(keepdims=True, name="pool")(lr))
    x = layers.Reshape((2, 2, 1))(layers.Dense(4)(x))  # no layer that the module knows
    assert field(keras.Model(lr, x)).whole_picture == ("GlobalMaxPooling2D 'pool'",)


def test_a_normalisation_over_the_picture_is_named_and_the_rest_is_read_on():
    found = field(_chain([layers.GroupNormalization(2, name="norm"), _conv(strides=2)]))
    assert (found.halo, found.alignment, found.whole_picture) == (None, 2, ("GroupNormalization 'norm'",))


def test_a_layer_used_twice_counts_twice():
    shared = _conv()
    assert halo(_chain([shared, layers.ReLU(), shared])) == 2


def test_an_unknown_layer_is_named():
    with pytest.raises(ValueError, match="ZeroPadding2D 'odd_one'"):
        halo(_chain([_conv(), layers.ZeroPadding2D(name="odd_one")]))


def test_a_subclass_of_a_known_layer_is_unknown():
    class Conv2D(layers.Conv2D):
        pass

    with pytest.raises(ValueError, match="Conv2D 'looks_further'"):
        halo(_chain([Conv2D(4, 3, name="looks_further")]))


def test_joining_two_resolutions_is_refused():
    lr = keras.Input((8, 8, 4), name="lr")
    with pytest.raises(ValueError, match="one resolution"):
        halo(keras.Model(lr, layers.Multiply()([lr, layers.MaxPooling2D(8)(lr)])))


def _chain(parts):
    x = lr = keras.Input((None, None, 4), name="lr")
    for part in parts:
        x = part(x)
    return keras.Model(lr, x)


def _difference(model, size, start, stop, border, scale):
    """The largest difference between a picture of `size` and its tile `start` to `stop`, the tile's border left out."""
    picture = np.random.default_rng(size).random((1, size, size, model.input_shape[-1])).astype("float32")
    whole, tile = np.array(model(picture)), np.array(model(picture[:, start:stop, start:stop]))
    inner = slice(scale * (start + border if start else 0), scale * (stop - border if stop < size else size))
    shifted = slice(inner.start - scale * start, inner.stop - scale * start)
    whole, tile = whole[:, inner, inner], tile[:, shifted, shifted]
    assert whole.shape == tile.shape and whole.size
    return np.abs(whole - tile).max()


def _make_positive(model):
    """Makes every weight positive, so that no path through the network dies in a ReLU or cancels out."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 0.5, weight.shape) for weight in model.get_weights()])


def _measured(model, size):
    """The largest distance, in LR pixels, at which disturbing a pixel near the middle changes the output."""
    picture = np.random.default_rng(0).random((1, size, size, model.input_shape[-1])).astype("float32")
    before = np.array(model(picture))
    scale = before.shape[1] // size
    return max(_change(model, picture, before, size // 2 + shift, scale) for shift in range(4))


def _change(model, picture, before, pixel, scale):
    disturbed = picture.copy()
    disturbed[:, pixel, pixel] += 2.0
    changed = np.argwhere((np.array(model(disturbed)) != before).any(axis=(0, 3)))
    return int(abs(changed // scale - pixel).max()) if len(changed) else 0
