"""The contract of every file in sr_keras/models, and the parameter counts of the papers."""

import importlib
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import SCALES, TINY

from sr_keras import _players, config, models
from sr_keras.bfloat16 import bfloat16_twin
from sr_keras.errors import InputError
from sr_keras.float32 import float32_twin
from sr_keras.layers.multiple import CropToSize, ReflectToMultiple
from sr_keras.layers.resize import Bicubic

NAMES = [module.name for module in pkgutil.iter_modules(models.__path__) if not module.name.startswith("_")]
NAMES_AND_SCALES = [(name, scale) for name in NAMES for scale in SCALES.get(name, (2, 3, 4))]
VARIANTS = [(name, TINY.get(name, {})) for name in NAMES] + [
    ("anchor", {"filters": 8, "blocks": 1, "tail": True}),
    ("anchor", {"filters": 8, "blocks": 1, "tail": True, "expansion": 2}),
    ("espcn", {"expansion": 2}),
    ("srvgg", {"filters": 8, "blocks": 1, "activation": "relu", "expansion": 2}),
    ("edsr", {"filters": 8, "blocks": 1, "residual_scaling": 0.1}),
    ("fsrcnn", {"upsampling": "subpixel"}),
    ("srcnn", {"middle_kernel": 1}),
    ("ecbsr", {"filters": 8, "blocks": 1, "activation": "relu", "edge_oriented": False}),
    ("ecbsr", {"filters": 8, "blocks": 1, "identity": True, "pixel_range": 255.0}),
    ("sesr", {"filters": 8, "blocks": 1, "activation": "relu", "first_activated": True, "use_bias": True, "width": 0}),
    ("vdsr", {"filters": 8, "depth": 3, "use_bias": False}),
    ("swinir", {**TINY["swinir"], "upsampler": "pixelshuffle", "upsampler_filters": 4}),
    ("swinir", {**TINY["swinir"], "upsampler": "nearest+conv", "upsampler_filters": 4, "resi_connection": "3conv"}),
    ("carn", {"filters": 8, "recursive": True, "groups": 4}),
    ("rcan", {"filters": 8, "attention_filters": 2, "residual_groups": 1, "blocks": 1, "pixel_range": 255.0}),
    ("wdsr", {"filters": 8, "blocks": 1, "variant": "b", "mean": (0.5, 0.5, 0.5), "pixel_range": 2.0}),
    ("rfdn", {"filters": 8, "attention": "contrast", "attention_filters": 4, "blocks": 1}),
    ("span", {"filters": 8, "blocks": 1, "pixel_range": 255.0, "mean": (0.4488, 0.4371, 0.4040)}),
    ("span", {"filters": 8, "blocks": 1, "expansion": 2}),
    ("srresnet", {"filters": 8, "blocks": 1, "variant": "modified"}),
    ("rrdbnet", {"filters": 8, "growth": 4, "blocks": 1, "unshuffle": False}),
    ("srvgg", {"filters": 8, "blocks": 1, "reduced_from": 4}),
    ("carn", {"filters": 8, "recursive": True}),
]


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize(("name", "scale"), NAMES_AND_SCALES)
def test_odd_sizes_scale_exactly(name, scale):
    model = _build(name, scale, TINY.get(name, {}))
    for height, width in _sizes(model, (9, 7), (1, 5)):
        assert model(_picture(height, width)).shape == (2, scale * height, scale * width, 3)


@pytest.mark.parametrize(("name", "scale"), NAMES_AND_SCALES)
def test_one_channel_gives_one_channel(name, scale):
    model = _build(name, scale, {**TINY.get(name, {}), "channels": 1})
    assert model.input_shape[-1] == model.output_shape[-1] == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_model_takes_lr_and_has_the_name_of_its_file(name):
    model = _build(name, _scale(name), TINY.get(name, {}))
    assert (model.name, [tensor.name for tensor in model.inputs]) == (name, ["lr"])


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_reloaded_model_gives_equal_output(name, options, tmp_path):
    model = _build(name, _scale(name), options)
    model.save(tmp_path / "model.keras")
    picture = _picture(9, 7)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(picture), model(picture))


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_one_step_changes_every_weight(name, options):
    scale = _scale(name)
    model = _build(name, scale, options)
    before = [weight.numpy() for weight in model.trainable_variables]
    model.compile("adam", "mae", run_eagerly=True)
    model.train_on_batch(_picture(9, 7), _picture(9 * scale, 7 * scale))
    unmoved = [
        weight.path
        for weight, old in zip(model.trainable_variables, before, strict=True)
        if np.array_equal(weight.numpy(), old)
    ]
    assert before and not unmoved


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_the_output_is_float32_under_a_mixed_policy(name, options, mixed_bfloat16):
    model = _build(name, _scale(name), options)
    output = model(_picture(9, 7))
    assert keras.backend.standardize_dtype(output.dtype) == "float32"
    assert not np.array_equal(output, _rounded_to_bfloat16(output))
    assert np.isfinite(output).all()


@pytest.mark.parametrize(
    ("name", "scale"),
    [(name, 0) for name in NAMES] + [("edsr", 5), ("edsr", 6), ("srresnet", 5), ("rrdbnet", 3), ("rrdbnet", 8)],
)
def test_an_unsupported_scale_is_refused_with_the_rule(name, scale):
    with pytest.raises(ValueError, match=f"scale must be .*, got {scale}; try"):
        _build(name, scale, {})


@pytest.mark.parametrize(
    ("name", "scale", "options", "count"),
    [
        ("srcnn", 2, {"channels": 1}, 57_281),
        ("srcnn", 2, {"channels": 1, "middle_kernel": 1}, 8_129),
        ("espcn", 2, {"channels": 1}, 21_284),
        ("espcn", 3, {"channels": 1}, 22_729),
        ("espcn", 4, {"channels": 1}, 24_752),
        ("espcn", 2, {}, 26_796),
        ("edsr", 2, {}, 1_369_859),
        ("edsr", 3, {}, 1_554_499),
        ("edsr", 4, {}, 1_517_571),
        ("edsr", 2, {"filters": 256, "blocks": 32, "residual_scaling": 0.1}, 40_729_603),
        ("anchor", 2, {"filters": 28, "tail": True}, 33_464),
        ("anchor", 3, {"filters": 28, "tail": True}, 42_539),
        ("anchor", 2, {"filters": 40, "blocks": 6, "tail": True}, 93_400),
        ("srresnet", 4, {}, 1_552_771),  # the paper gives no count; re-implementations say 1.5 million
        ("anchor", 2, {}, 41_356),
        ("rrdbnet", 4, {}, 16_697_987),
        ("rrdbnet", 4, {"blocks": 6}, 4_467_779),
        ("rrdbnet", 2, {"blocks": 6}, 4_467_779 + 9 * 9 * 64),
        ("rrdbnet", 1, {"blocks": 6}, 4_467_779 + 45 * 9 * 64),
        ("srvgg", 4, {}, 621_424),
        ("srvgg", 4, {"blocks": 32}, 1_213_296),
        # The paper's 2.8, 10.2, 11.9, 94.7, 603 thousand have one number more for each filter before an activation.
        ("ecbsr", 2, {"channels": 1, "filters": 8, "edge_oriented": False}, 2_788 - 5 * 8),
        ("ecbsr", 2, {"channels": 1, "edge_oriented": False}, 10_180 - 5 * 16),
        ("ecbsr", 4, {"channels": 1, "edge_oriented": False}, 11_920 - 5 * 16),
        ("ecbsr", 2, {"channels": 1, "filters": 32, "blocks": 10, "edge_oriented": False}, 94_660 - 11 * 32),
        ("ecbsr", 4, {"channels": 1, "filters": 64, "blocks": 16, "edge_oriented": False}, 602_896 - 17 * 64),
        # The paper counts kernels only.
        ("sesr", 2, {"channels": 1, "blocks": 3, "width": 0, "activation": "relu"}, 8_912),
        ("sesr", 2, {"channels": 1, "width": 0, "activation": "relu"}, 13_520),
        ("sesr", 2, {"channels": 1, "blocks": 7, "width": 0, "activation": "relu"}, 18_128),
        ("sesr", 2, {"channels": 1, "blocks": 11, "width": 0, "activation": "relu"}, 27_344),
        ("sesr", 4, {"channels": 1, "width": 0, "activation": "relu"}, 18_320),
        ("sesr", 4, {"channels": 1, "blocks": 11, "filters": 32, "width": 0, "activation": "relu"}, 114_976),
        ("imdn", 2, {}, 694_404),
        ("imdn", 3, {}, 703_059),
        ("imdn", 4, {}, 715_176),
        ("rfdn", 2, {}, 534_036),
        ("rfdn", 3, {}, 540_531),
        ("rfdn", 4, {}, 549_624),
        ("rfdn", 4, {"filters": 50, "blocks": 4, "attention": "spatial"}, 433_448),
        ("span", 2, {}, 481_324),
        ("span", 4, {}, 498_208),
        ("span", 2, {"filters": 48}, 410_700),
        # The paper's 1,592 thousand of CARN have the upsamplers of x2, x3 and x4, and the 24 of the mean's shift:
        # 816,451 + 147,712 + 332,352 + 295,424 + 24. CARN-M's 412 thousand are 414,811 so counted.
        ("carn", 2, {}, 816_451 + 147_712),
        ("carn", 3, {}, 816_451 + 332_352),
        ("carn", 4, {}, 816_451 + 295_424),
        ("carn", 2, {"recursive": True, "groups": 4}, 219_907 + 37_120),
        ("carn", 3, {"recursive": True, "groups": 4}, 219_907 + 83_520),
        ("carn", 4, {"recursive": True, "groups": 4}, 219_907 + 74_240),
        ("rcan", 2, {}, 15_444_667 - 24),  # without the shift by the mean, which is fixed here
        # Published with weight normalisation, which has one number more for each filter.
        ("wdsr", 2, {}, 1_190_100 - 2_616),
        ("wdsr", 3, {}, 1_195_605 - 2_646),
        ("wdsr", 4, {}, 1_203_312 - 2_688),
        ("wdsr", 2, {"filters": 128, "blocks": 32}, 37_808_180 - 20_632),
        ("safmn", 2, {}, 227_820),
        ("safmn", 3, {}, 232_695),
        ("safmn", 4, {}, 239_520),
        # the paper's 878K, 886K and 897K leave out the biases of distances: 24 tables of 225 times 6
        ("swinir", 2, {}, 877_752 + 32_400),
        ("swinir", 3, {}, 885_867 + 32_400),
        ("swinir", 4, {}, 897_228 + 32_400),
        ("swinir", 2, {"filters": 180, "residual_groups": 6, "upsampler": "pixelshuffle"}, 11_752_487),
    ],
)
def test_parameters_are_as_many_as_published(name, scale, options, count):
    assert _build(name, scale, options).count_params() == count


@pytest.mark.parametrize(("name", "count"), [("fsrcnn", 12_464), ("vdsr", 664_704)])
def test_kernel_weights_are_as_many_as_published(name, count):
    weights = _build(name, 2, {"channels": 1}).trainable_variables
    assert sum(int(np.prod(weight.shape)) for weight in weights if weight.name == "kernel") == count


@pytest.mark.parametrize("name", ["anchor", "srvgg"])
def test_a_network_with_an_anchor_starts_near_the_nearest_neighbour(name):
    picture = _picture(9, 7)
    nearest = picture.repeat(2, axis=1).repeat(2, axis=2)
    assert np.abs(_build(name, 2, {})(picture) - nearest).mean() < 0.1


def test_vdsr_starts_near_the_cubic_enlargement():
    picture = _picture(9, 7)
    assert np.abs(_build("vdsr", 2, {})(picture) - Bicubic(2)(picture)).mean() < 0.1


@pytest.mark.parametrize(("scale", "multiple"), [(4, 1), (2, 2), (1, 4)])
def test_a_picture_that_rrdbnet_continues_gives_what_its_continuation_gives(scale, multiple):
    model, picture = _build("rrdbnet", scale, TINY["rrdbnet"]), _picture(9, 7)
    below, beside = -9 % multiple, -7 % multiple
    continued = np.pad(picture, [(0, 0), (0, below), (0, beside), (0, 0)], "reflect")
    np.testing.assert_array_equal(model(picture), model(continued)[:, : 9 * scale, : 7 * scale])


def test_rrdbnet_neither_pads_nor_crops_where_it_need_not():
    kinds = {type(layer) for layer in _build("rrdbnet", 4, TINY["rrdbnet"]).layers}
    assert not {CropToSize, ReflectToMultiple} & kinds


def test_rrdbnet_is_the_published_graph():
    model, picture = _build("rrdbnet", 4, TINY["rrdbnet"]), _picture(9, 7)
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.2, weight.shape) for weight in model.weights])
    weights = iter(model.get_weights())

    def conv(x):
        return tf.nn.conv2d(x, next(weights), 1, "SAME") + next(weights)

    def leaky(x):
        return tf.nn.leaky_relu(x, 0.2)

    x = head = conv(picture)
    for _ in range(3):
        features = [x]
        for _ in range(4):
            features.append(leaky(conv(tf.concat(features, axis=3))))
        x = x + 0.2 * conv(tf.concat(features, axis=3))
    x = head + conv(head + 0.2 * x)
    for _ in range(2):
        x = leaky(conv(tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)))
    np.testing.assert_allclose(model(picture), conv(leaky(conv(x))), rtol=1e-4, atol=1e-4)
    assert next(weights, None) is None


@pytest.mark.parametrize("scale", SCALES["rrdbnet"])
def test_rrdbnet_has_twins(scale, mixed_bfloat16):
    mixed, picture = _build("rrdbnet", scale, TINY["rrdbnet"]), _picture(9, 7)
    float32 = float32_twin(mixed)
    assert {layer.compute_dtype for layer in float32.layers} == {"float32"}
    expected = np.array(float32(picture))
    for near in (mixed, bfloat16_twin(float32)):
        np.testing.assert_allclose(near(picture), expected, atol=0.02 * np.abs(expected).max())


def _build(name, scale, options):
    return importlib.import_module(f"sr_keras.models.{name}").build(scale=scale, **options)


def _scale(name):
    return SCALES.get(name, (2,))[0]


def _sizes(model, *sizes):
    """These sizes, or the only one that a fixed-size model takes."""
    return sizes if model.input_shape[1] is None else [model.input_shape[1:3]]


def _picture(height, width):
    return np.random.default_rng(0).random((2, height, width, 3)).astype("float32")


def _rounded_to_bfloat16(values):
    return keras.ops.convert_to_numpy(keras.ops.cast(keras.ops.cast(values, "bfloat16"), "float32"))


@pytest.mark.parametrize("model", [{"name": "anchor", "filters": 48}, {"name": "srvgg", "filters": 48, "blocks": 8}])
def test_an_expanded_network_starts_at_the_nearest_neighbours_as_a_plain_one_does(model):
    from sr_keras import component

    lr = np.random.default_rng(0).random((1, 24, 24, 3)).astype(np.float32)
    nearest = np.repeat(np.repeat(lr, 4, axis=1), 4, axis=2)
    errors = []
    for expansion in (0, 4):  # at x4 of 48 filters the last convolution could have an identity, too
        keras.utils.set_random_seed(1)
        errors.append(float(np.std(component.build(models, {**model, "expansion": expansion}, scale=4)(lr) - nearest)))
    assert errors[1] < 3.0 * errors[0]
    assert errors[1] < 0.2


def test_a_network_deeper_than_keras_can_build_is_one_line():
    tiny = {"name": "rcan", "residual_groups": 2, "blocks": 150, "filters": 2, "attention_filters": 1}
    with pytest.raises(InputError, match=r"^model rcan: is deeper than Keras can build; take one of fewer blocks\.$"):
        _players.float_network(config.parse({"scale": 2, "model": tiny}, where="a test"), channels=3)
