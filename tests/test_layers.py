"""The layers: cubic enlargement equals imresize, at every size, under every policy, after a reload."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sr_keras import receptive_field
from sr_keras.layers.channel_norm import ChannelNorm
from sr_keras.layers.collapsible_conv import CollapsibleConv2D, collapse
from sr_keras.layers.contrast import Contrast
from sr_keras.layers.edge_conv import EdgeOrientedConv2D
from sr_keras.layers.fake_quant import FakeQuant
from sr_keras.layers.gelu import Gelu
from sr_keras.layers.grouped_conv import GroupedConv2D
from sr_keras.layers.resize import Bicubic
from sr_keras.layers.transposed import (
    SubpixelTranspose,
    shuffled_by_depth_to_space,
    shuffled_by_transposed,
    without_transposed,
)

SCALES = [2, 3, 4, 8]


@pytest.fixture
def mixed_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(2, 7, 5, 3), (1, 12, 9, 1), (1, 2, 3, 3)])
def test_bicubic_equals_imresize(scale, shape):
    image = np.random.default_rng(0).random(shape)
    np.testing.assert_allclose(Bicubic(scale)(image), _imresize(image, scale), atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 1, 6, 1), (1, 6, 1, 1)])
def test_bicubic_enlarges_pictures_of_one_pixel(scale, shape):
    image = np.random.default_rng(1).random(shape)
    np.testing.assert_allclose(Bicubic(scale)(image), _imresize(image, scale), atol=1e-6)


def test_bicubic_stays_in_float32_under_a_mixed_policy(mixed_bfloat16):
    image = np.random.default_rng(2).random((1, 6, 5, 3))
    enlarged = Bicubic(2)(image)
    assert keras.backend.standardize_dtype(enlarged.dtype) == "float32"
    np.testing.assert_allclose(enlarged, _imresize(image, 2), atol=1e-6)


def test_bicubic_reloads_with_a_model(tmp_path):
    lr = keras.Input((None, None, 3))
    model = keras.Model(lr, Bicubic(3)(lr))
    model.save(tmp_path / "bicubic.keras")
    image = np.random.default_rng(3).random((1, 5, 4, 3)).astype("float32")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "bicubic.keras")(image), model(image))


def test_bicubic_says_its_output_shape():
    assert Bicubic(3).compute_output_shape((None, None, 7, 3)) == (None, None, 21, 3)


@pytest.mark.parametrize("scale", [1, 0, 2.5])
def test_bicubic_refuses_other_scales(scale):
    with pytest.raises(ValueError, match="scale must be a whole number"):
        Bicubic(scale)


def _imresize(image, scale):
    """MATLAB's imresize for an enlargement, row by row in float64: four taps, clamped to the picture."""
    for axis in (1, 2):
        image = np.moveaxis(image, axis, 0)
        rows = []
        for y in range(len(image) * scale):
            centre = (y + 0.5) / scale - 0.5
            taps = np.floor(centre) + np.arange(-1, 3)
            source = image[np.clip(taps, 0, len(image) - 1).astype(int)]
            rows.append(np.tensordot([_keys(t - centre) for t in taps], source, axes=1))
        image = np.moveaxis(np.array(rows), 0, axis)
    return image


def _keys(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_a_transposed_convolution_can_be_a_convolution_and_a_pixel_shuffle(size, stride):
    lr = keras.Input((None, None, 3))
    layer = keras.layers.Conv2DTranspose(
        5, size, strides=stride, padding="same", activation="relu", bias_initializer="normal"
    )
    network = keras.Model(lr, layer(lr))
    other = without_transposed(network)
    assert [type(part) for part in other.layers][1:] == [SubpixelTranspose]
    for shape in ((1, 1, 1, 3), (2, 7, 9, 3)):
        picture = np.random.default_rng(0).random(shape, np.float32)
        np.testing.assert_allclose(other(picture), network(picture), atol=2e-6)


def test_other_transposed_convolutions_stay(tmp_path):
    lr = keras.Input((None, None, 3))
    network = keras.Model(lr, keras.layers.Conv2DTranspose(3, 4, strides=2, padding="valid")(lr))
    assert type(without_transposed(network).layers[1]) is keras.layers.Conv2DTranspose
    with pytest.raises(ValueError, match="padding must be 'same'"):
        SubpixelTranspose(3, 4, strides=2)


@pytest.mark.parametrize("filters", [3, 8])  # 3: with the identity
def test_a_collapsible_convolution_collapses_to_a_plain_one(filters, tmp_path):
    lr = keras.Input((None, None, 3))
    x = CollapsibleConv2D(filters, 3, expansion=4, activation="relu")(lr)
    x = CollapsibleConv2D(5, (1, 3), expansion=2, use_bias=False)(x)
    network = keras.Model(lr, x)
    network.layers[1].bias.assign(np.linspace(-0.2, 0.2, filters))
    plain = collapse(network)
    assert [type(layer) for layer in plain.layers[1:]] == [keras.layers.Conv2D] * 2
    picture = np.random.default_rng(0).random((2, 9, 11, 3)).astype(np.float32)
    np.testing.assert_allclose(plain(picture), network(picture), atol=1e-5)
    network.save(tmp_path / "wide.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "wide.keras")(picture), network(picture))


def test_the_identity_of_a_collapsible_convolution_counts():
    layer = CollapsibleConv2D(3, 3)
    layer.build((None, None, None, 3))
    layer.expand.assign(np.zeros(layer.expand.shape))
    picture = np.random.default_rng(0).random((1, 5, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(layer(picture), picture)


def test_the_width_of_a_collapsible_convolution_can_be_given():
    layer = CollapsibleConv2D(12, 3, width=256)
    layer.build((None, None, None, 16))
    assert layer.project.shape == (256, 12)
    assert CollapsibleConv2D.from_config(layer.get_config()).width == 256
    with pytest.raises(ValueError, match="width must be 1 or more"):
        CollapsibleConv2D(3, 3, width=0)


def _random_edges(channels, filters, *, identity=False, seed=0):
    layer, random = EdgeOrientedConv2D(filters, identity=identity), np.random.default_rng(seed)
    layer.build((None, None, None, channels))
    layer.set_weights([random.normal(0, 0.3, weight.shape) for weight in layer.weights])
    return layer


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize(("channels", "filters"), [(3, 5), (4, 4)])
def test_an_edge_oriented_convolution_is_the_sum_of_its_branches_at_the_border_too(channels, filters, identity):
    layer = _random_edges(channels, filters, identity=identity)
    picture = np.random.default_rng(1).random((2, 7, 6, channels)).astype(np.float32)
    weights = {weight.name: weight.numpy() for weight in layer.weights}

    def framed(x, border):  # what the authors put around the result of a 1x1: what it makes of zeros
        return np.pad(x - border, [(0, 0), (1, 1), (1, 1), (0, 0)]) + border

    expected = tf.nn.conv2d(picture, weights["conv3x3.weight"], 1, "SAME") + weights["conv3x3.bias"]
    inner = framed(picture @ weights["conv1x1_3x3.k0"][0, 0] + weights["conv1x1_3x3.b0"], weights["conv1x1_3x3.b0"])
    expected += tf.nn.conv2d(inner, weights["conv1x1_3x3.k1"], 1, "VALID") + weights["conv1x1_3x3.b1"]
    for name, mask in layer.masks.items():
        before = np.linspace(-1, 1, filters, dtype="f")  # any bias: the mask takes it away
        inner = framed(picture @ weights[f"{name}.k0"][0, 0] + before, before)
        kernel = np.array(mask, "f")[:, :, None, None] * weights[f"{name}.scale"].reshape(1, 1, -1, 1)
        expected += tf.nn.depthwise_conv2d(inner, kernel, (1,) * 4, "VALID") + weights[f"{name}.bias"]
    expected += picture if identity and channels == filters else 0.0
    np.testing.assert_allclose(layer(picture), expected, atol=1e-5)


def test_an_edge_oriented_convolution_collapses_to_a_plain_one(tmp_path):
    lr = keras.Input((None, None, 3))
    network = keras.Model(lr, EdgeOrientedConv2D(3, identity=True, activation="relu")(lr))
    network.layers[1].set_weights(_random_edges(3, 3).get_weights())
    plain, picture = collapse(network), np.random.default_rng(0).random((2, 9, 11, 3)).astype(np.float32)
    assert type(plain.layers[1]) is keras.layers.Conv2D
    np.testing.assert_allclose(plain(picture), network(picture), atol=1e-5)
    network.save(tmp_path / "edges.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "edges.keras")(picture), network(picture))


@pytest.mark.parametrize("kind", [keras.layers.Conv2D, CollapsibleConv2D, EdgeOrientedConv2D])
def test_an_edge_oriented_convolution_goes_on_from_any_other_and_any_other_from_it(kind):
    picture = np.random.default_rng(0).random((1, 5, 6, 4)).astype(np.float32)
    edges = _random_edges(4, 4, identity=True)
    other = kind(4, 3, padding="same")
    other.build((None, None, None, 4))
    expected = np.array(edges(picture))
    if kind is not keras.layers.Conv2D:
        other.set_weights(other.weights_of(edges))
        np.testing.assert_allclose(other(picture), expected, atol=1e-5)
    other.set_weights([weight + 0.1 for weight in other.get_weights()])
    edges.set_weights(edges.weights_of(other))
    np.testing.assert_allclose(edges(picture), other(picture), atol=1e-5)


def test_an_edge_oriented_convolution_takes_the_branches_of_one_like_itself():
    source, target = _random_edges(3, 5), _random_edges(3, 5, seed=1)
    for taken, own in zip(target.weights_of(source), source.get_weights(), strict=True):
        np.testing.assert_array_equal(taken, own)
    assert target.weights_of(_random_edges(3, 4)) == []


def test_edge_oriented_kernels_are_made_in_float32_under_bfloat16(mixed_bfloat16):
    layer = _random_edges(3, 8)
    assert {keras.backend.standardize_dtype(made.dtype) for made in (layer.kernel, layer.bias)} == {"float32"}
    assert keras.backend.standardize_dtype(layer(np.zeros((1, 4, 4, 3))).dtype) == "bfloat16"


@pytest.mark.parametrize("options", [{"kernel_size": 5}, {"use_bias": False}, {"strides": 2}, {"expansion": 0}])
def test_edge_oriented_convolutions_refuse_what_they_do_not_compute(options):
    with pytest.raises(ValueError, match="take Conv2D|expansion must be 1 or more"):
        EdgeOrientedConv2D(3, **options)


def test_a_network_without_collapsible_convolutions_stays():
    lr = keras.Input((None, None, 3))
    network = keras.Model(lr, keras.layers.Conv2D(3, 3)(lr))
    assert collapse(network) is network


def test_collapsible_kernels_are_multiplied_in_float32_under_bfloat16(mixed_bfloat16):
    layer = CollapsibleConv2D(8, 3)
    layer.build((None, None, None, 3))
    assert keras.backend.standardize_dtype(layer.kernel.dtype) == "float32"
    assert keras.backend.standardize_dtype(layer(np.zeros((1, 4, 4, 3))).dtype) == "bfloat16"


@pytest.mark.parametrize("options", [{"strides": 2}, {"padding": "valid"}, {"kernel_size": 2}, {"dilation_rate": 2}])
def test_collapsible_convolutions_refuse_what_they_do_not_compute(options):
    with pytest.raises(ValueError, match="take Conv2D"):
        CollapsibleConv2D(3, **{"kernel_size": 3, **options})
    with pytest.raises(ValueError, match="expansion must be 1 or more"):
        CollapsibleConv2D(3, 3, expansion=0)


@pytest.mark.parametrize("block", [2, 3])
def test_depth_to_space_can_be_a_fixed_transposed_convolution_and_back(block, tmp_path):
    lr = keras.Input((None, None, 3))
    network = keras.Model(lr, ops.depth_to_space(keras.layers.Conv2D(2 * block**2, 3, padding="same")(lr), block))
    picture = np.random.default_rng(0).random((2, 7, 6, 3)).astype(np.float32)
    fixed = shuffled_by_transposed(network)
    assert not any(type(part).__name__ == "DepthToSpace" for part in fixed.operations)
    np.testing.assert_array_equal(fixed(picture), network(picture))
    fixed.save(tmp_path / "fixed.keras")
    back = shuffled_by_depth_to_space(keras.models.load_model(tmp_path / "fixed.keras"))
    assert any(type(part).__name__ == "DepthToSpace" for part in back.operations)
    np.testing.assert_array_equal(back(picture), network(picture))
    assert receptive_field.field(fixed) == receptive_field.field(network)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_grouped_convolution_is_one_convolution_a_group(groups):
    layer = GroupedConv2D(8, 3, groups, activation="relu", bias_initializer="random_normal")
    picture = np.random.default_rng(0).normal(size=(2, 5, 6, 12)).astype(np.float32)
    found, inputs = layer(picture), np.split(picture, groups, -1)
    kernel, bias = layer.get_weights()
    kernels, biases = np.split(kernel, groups, -1), np.split(bias, groups)
    parts = [ops.conv(*pair, padding="same") + add for *pair, add in zip(inputs, kernels, biases, strict=True)]
    np.testing.assert_allclose(found, np.maximum(np.concatenate(parts, -1), 0), atol=1e-6)
    assert kernel.shape == (3, 3, 12 // groups, 8)


@pytest.mark.parametrize("options", [{"strides": 2}, {"padding": "valid"}, {"dilation_rate": 2}, {"kernel_size": 2}])
def test_grouped_convolutions_refuse_what_they_do_not_compute(options):
    with pytest.raises(ValueError, match="take Conv2D"):
        GroupedConv2D(**{"filters": 8, "kernel_size": 3, "groups": 2, **options})


def test_a_fixed_range_must_hold_zero():
    with pytest.raises(ValueError, match="must hold 0"):
        FakeQuant((0.5, 1.0))


def test_a_fake_quantised_tensor_has_256_values_and_the_gradient_passes_inside():
    values = tf.constant(np.linspace(-0.5, 1.5, 4001, dtype=np.float32))
    layer = FakeQuant((0.0, 1.0))
    with tf.GradientTape() as tape:
        tape.watch(values)
        rounded, step = layer(values)
    assert len(np.unique(rounded)) == 256
    assert float(step) == pytest.approx(1 / 255)
    inside = (values >= 0.0) & (values <= 1.0)
    np.testing.assert_array_equal(tape.gradient(rounded, values), np.float32(inside))


def _norm(channels, **options):
    layer, random = ChannelNorm(**options), np.random.default_rng(1)
    layer.build((None, None, None, channels))
    layer.set_weights([random.normal(size=channels), random.normal(size=channels)])
    return layer, *layer.get_weights()


@pytest.mark.parametrize("epsilon", [1e-6, 1e-2])
@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 5, 3, 8), (1, 7, 4, 60)])
def test_a_channel_norm_is_layer_normalisation(shape, epsilon):
    layer, weight, bias = _norm(shape[-1], epsilon=epsilon)
    picture = np.random.default_rng(0).normal(0.5, 0.2, shape).astype(np.float32)
    picture[:, 0, 0] = picture[:, 0, 0] * 1e-3 + 0.5  # a variance that epsilon outweighs
    wide = picture.astype(np.float64)
    mean, variance = wide.mean(-1, keepdims=True), wide.var(-1, keepdims=True)
    expected = (wide - mean) / np.sqrt(variance + epsilon) * weight + bias
    np.testing.assert_allclose(layer(picture), expected, atol=1e-4)
    assert layer.compute_output_shape(shape) == shape
    assert ChannelNorm.from_config(layer.get_config()).epsilon == epsilon


def test_a_channel_norm_of_one_value_gives_its_bias():
    layer, _, bias = _norm(4)
    np.testing.assert_allclose(layer(np.full((1, 2, 2, 4), 0.5, np.float32)), np.tile(bias, (1, 2, 2, 1)), atol=1e-6)


def test_a_channel_norm_computes_in_float32_under_bfloat16(mixed_bfloat16):
    layer, weight, bias = _norm(32)
    picture = 100 + 0.5 * np.random.default_rng(0).integers(0, 8, (1, 3, 3, 32))  # bfloat16 has all of these
    expected = (picture - picture.mean(-1, keepdims=True)) / picture.std(-1, keepdims=True) * weight + bias
    found = layer(picture)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    np.testing.assert_allclose(np.array(found, np.float32), expected, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 1, 5, 3), (1, 15, 23, 4)])
def test_a_contrast_is_mean_and_deviation_of_all_pixels(shape):
    picture = np.random.default_rng(0).normal(0.5, 2.0, shape).astype(np.float32)
    expected = picture.mean((1, 2), keepdims=True) + picture.std((1, 2), keepdims=True)
    np.testing.assert_allclose(Contrast()(picture), expected, atol=1e-5)
    assert Contrast().compute_output_shape((None, None, None, 3)) == (None, 1, 1, 3)


def test_a_picture_of_one_colour_has_a_contrast_whose_gradient_is_finite():
    picture = tf.fill((1, 4, 4, 2), 0.5)
    with tf.GradientTape() as tape:
        tape.watch(picture)
        found = Contrast()(picture)
    np.testing.assert_allclose(found, np.full((1, 1, 1, 2), 0.5), atol=1e-5)
    np.testing.assert_allclose(tape.gradient(found, picture), np.full((1, 4, 4, 2), 1 / 16), atol=1e-6)


def test_a_contrast_computes_in_float32_under_bfloat16(mixed_bfloat16):
    picture = np.zeros((1, 16, 16, 1))
    picture[:, :7] = picture[:, 7, :14] = -100.5  # nearly a half: the mean almost undoes the deviation
    expected = picture.mean((1, 2), keepdims=True) + picture.std((1, 2), keepdims=True)
    found = Contrast()(picture)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    np.testing.assert_allclose(np.array(found, np.float32), expected, rtol=2**-8)


def test_gelu_is_the_exact_one():
    values = np.linspace(-6, 6, 241).reshape(1, 1, -1, 1)
    expected = np.vectorize(lambda x: x * (1 + math.erf(x / 2**0.5)) / 2)(values)
    np.testing.assert_allclose(Gelu()(values.astype(np.float32)), expected, atol=1e-6)
    assert Gelu().compute_output_shape((None, None, 7, 3)) == (None, None, 7, 3)
