"""Fake quantisation: the twin computes int8's values, comes back as it was, and says which layer loses what."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from sr_keras import calibration, component, models, quantize, receptive_field
from sr_keras.layers.fake_quant import FakeQuant, FakeQuantConv2D, FakeQuantPReLU, FakeQuantRescaling

NETWORKS = [
    {"name": "anchor", "filters": 8, "blocks": 2},
    {"name": "anchor", "filters": 8, "blocks": 1, "tail": True, "expansion": 2},
    {"name": "espcn"},
    {"name": "espcn", "expansion": 2},
    {"name": "srvgg", "filters": 8, "blocks": 2},
    {"name": "srvgg", "filters": 8, "blocks": 2, "activation": "relu", "expansion": 2},
    {"name": "edsr", "filters": 8, "blocks": 2},
    {"name": "edsr", "filters": 8, "blocks": 1, "residual_scaling": 0.1},
]


def named(spec):
    return "-".join(str(value) for value in spec.values())


def pictures(count=3, height=20, width=26):
    noise = np.random.default_rng(5).random((count, 5, 6, 3), dtype=np.float32)
    return list(np.clip(tf.image.resize(noise, (height, width), "bicubic").numpy(), 0.0, 1.0))


def built(spec, scale=2):
    keras.utils.set_random_seed(3)
    return component.build(models, spec, scale=scale)


def calibrated(network, rule="minmax"):
    twin = quantize.fake_quantised(network)
    calibration.calibrate(twin, pictures(), rule=rule)
    return twin


def psnr(one, other):
    return -10.0 * np.log10(np.mean(np.square(one - other)))


@pytest.mark.parametrize("spec", NETWORKS, ids=named)
def test_a_twin_is_near_its_network_and_in_whole_levels(spec):
    network = built(spec)
    lr = np.stack(pictures())
    sr = ops.convert_to_numpy(calibrated(network)(lr)) * 255.0
    assert np.abs(sr - np.rint(sr)).max() < 1e-3
    assert psnr(np.clip(network(lr), 0.0, 1.0), sr / 255.0) > 35


@pytest.mark.parametrize("spec", NETWORKS, ids=named)
def test_a_twin_comes_back_as_the_float_network(spec):
    network = built(spec)
    lr = np.stack(pictures())
    back = quantize.without_fake_quantisation(calibrated(network))
    assert not quantize.is_fake_quantised(back)
    np.testing.assert_allclose(back(lr), np.clip(network(lr), 0.0, 1.0), atol=1e-5)


@pytest.mark.parametrize("spec", NETWORKS, ids=named)
def test_a_twin_reloads_equal(spec, tmp_path):
    twin = calibrated(built(spec))
    twin.save(tmp_path / "twin.keras")
    lr = np.stack(pictures())
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "twin.keras")(lr), twin(lr))


@pytest.mark.parametrize("spec", NETWORKS, ids=named)
def test_a_twin_looks_as_far_as_its_network(spec):
    network = built(spec)
    assert receptive_field.field(quantize.fake_quantised(network)) == receptive_field.field(network)


def test_a_network_without_a_twin_is_itself():
    network = built(NETWORKS[0])
    assert quantize.without_fake_quantisation(network) is network


def test_weights_take_255_values_a_filter_and_no_more():
    twin = calibrated(built(NETWORKS[0]))
    kernel = ops.convert_to_numpy(next(x for x in twin.layers if isinstance(x, FakeQuantConv2D)).kernel)
    most = np.abs(kernel).max(axis=(0, 1, 2))
    levels = kernel / most * 127.0
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)


def test_training_moves_ranges_and_weights_but_not_the_ends():
    twin = calibrated(built(NETWORKS[0]))
    before = {layer.name: layer.ends for layer in twin.layers if isinstance(layer, FakeQuant)}
    kernels = [np.array(weight) for weight in twin.trainable_variables]
    twin.compile(keras.optimizers.Adam(1e-3), "mae", jit_compile=False)
    lr = np.stack(pictures())
    twin.fit(lr, np.zeros((3, 40, 52, 3), np.float32), epochs=2, verbose=0)
    after = {layer.name: layer.ends for layer in twin.layers if isinstance(layer, FakeQuant)}
    moved = {name for name in before if before[name] != after[name]}
    assert moved == set(before) - {"pixels_in", "pixels_out"}
    assert all((a != np.array(b)).any() for a, b in zip(kernels, twin.trainable_variables, strict=True))


def test_prediction_moves_no_range():
    twin = calibrated(built(NETWORKS[0]))
    before = twin.get_weights()
    twin.predict(np.stack(pictures()) * 0.1, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, twin.get_weights(), strict=True))


def test_ranges_by_percentile_leave_out_what_is_far_out_and_those_by_error_err_least():
    spread = np.random.default_rng(0).exponential(0.03, (160, 160, 3)).astype(np.float32).clip(0, 1)
    spread[0, 0, 0] = 1.0
    lr = keras.Input((None, None, 3))
    network = keras.Model(lr, ops.depth_to_space(layers.Conv2D(12, 1)(layers.Conv2D(3, 1)(lr)), 2))
    eye = np.eye(3, dtype=np.float32)[None, None]
    network.layers[1].set_weights([eye, np.zeros(3)])
    highs, errors = {}, {}
    for ranges in ("minmax", "percentile", "mse"):
        twin = quantize.fake_quantised(network)
        calibration.calibrate(twin, [spread], rule=ranges)
        rounding = next(x for x in twin.layers if isinstance(x, FakeQuant) and x.fixed is None)
        highs[ranges], errors[ranges] = rounding.ends[1], float(np.mean(np.square(rounding(spread)[0] - spread)))
    assert highs["minmax"] == pytest.approx(1.0)
    assert highs["percentile"] < 0.4
    assert highs["percentile"] < highs["mse"] < highs["minmax"]
    assert errors["mse"] < min(errors["minmax"], errors["percentile"])


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_the_layer_that_loses_most_is_named(index):
    twin = calibrated(built({"name": "anchor", "filters": 8, "blocks": 3}))
    victim = [layer for layer in twin.layers if isinstance(layer, FakeQuant) and layer.fixed is None][index]
    low, high = victim.ends
    victim.set_range(20.0 * low, 20.0 * high)  # a few values are left of 256
    errors = calibration.layer_errors(twin, pictures())
    worst = min(errors[:-1], key=lambda error: error.alone or 0.0)
    assert f"{worst.layer}_range" == victim.name
    assert errors[-1].layer.startswith("add")
    assert errors[index].sqnr < 30


def test_only_the_layers_of_the_lowest_ratio_are_measured_alone():
    errors = calibration.layer_errors(
        calibrated(built({"name": "anchor", "filters": 8, "blocks": 3})), pictures(), most=2
    )
    measured = [error for error in errors if error.alone is not None]
    assert len(measured) in (2, 3)  # the output always
    assert measured[-1] is errors[-1]
    assert min(errors, key=lambda error: error.sqnr).alone is not None


def test_a_chain_of_convolutions_with_their_own_relus_is_quantised():
    lr = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", name="linear")(lr)
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="fused")(x)
    twin = calibrated(keras.Model(lr, ops.depth_to_space(x, 2)))
    assert "linear_range" in {layer.name for layer in twin.layers}


def test_a_network_that_ends_in_joined_tensors_is_pinned_and_clipped():
    lr = keras.Input((None, None, 3))
    ends = [layers.Conv2D(n, 1, kernel_initializer="ones")(lr) for n in (1, 2)]
    twin = calibrated(keras.Model(lr, ops.clip(layers.Concatenate()(ends), 0.0, 1.0)))
    sr = ops.convert_to_numpy(twin(np.ones((1, 4, 4, 3), np.float32)))
    assert sr.max() == 1.0
    assert twin.layers[-1].name == "pixels_out"


def test_a_rescaling_looks_no_further_and_enlarges_nothing():
    lr = keras.Input((None, None, 3))
    x = layers.Conv2D(3, 3, padding="same")(layers.Rescaling(0.5)(lr))
    network = keras.Model(lr, layers.Add()([x, layers.Rescaling([1.0, 2.0, 3.0])(lr)]))
    assert receptive_field.field(quantize.fake_quantised(network)) == receptive_field.field(network)


def test_a_rescaling_by_factor_and_offset_is_refused():
    lr = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="must have a scale or an offset, not both"):
        quantize.fake_quantised(keras.Model(lr, layers.Rescaling(1 / 127.5, -1.0)(lr)))


def test_a_range_is_widened_to_hold_zero_and_is_never_empty():
    layer = FakeQuant()
    layer.build((None, 3))
    layer.set_range(-2.0, -1.0)
    assert layer.ends == (-2.0, 0.0)
    layer.set_range(0.0, 0.0)
    assert np.isfinite(layer(np.zeros((1, 3), np.float32))[0]).all()


def test_a_convolution_before_a_separate_relu_shares_its_range():
    lr = keras.Input((None, None, 3))
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same", name="first")(lr))
    twin = quantize.fake_quantised(keras.Model(lr, layers.Conv2D(3, 1, name="last")(x)))
    assert sum(isinstance(layer, FakeQuant) for layer in twin.layers) == 3  # in, after the ReLU, out


@pytest.mark.parametrize(
    "layer", [layers.Conv2DTranspose(3, 2, strides=2), layers.BatchNormalization(), layers.GlobalAveragePooling2D()]
)
def test_a_layer_without_a_twin_is_refused_by_name(layer):
    lr = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=f"{type(layer).__name__} '{layer.name}'; take a network that"):
        quantize.fake_quantised(keras.Model(lr, layer(lr)))


def test_calibration_without_pictures_or_by_an_unknown_rule_is_refused():
    twin = quantize.fake_quantised(built(NETWORKS[0]))
    with pytest.raises(ValueError, match="got none"):
        calibration.calibrate(twin, [])
    with pytest.raises(ValueError, match="got best"):
        calibration.calibrate(twin, pictures(), rule="best")  # pyright: ignore[reportArgumentType]


def test_ranges_stay_in_float32_under_bfloat16(mixed_bfloat16):
    dtypes = {}
    for name in ("edsr", "srvgg"):
        for layer in quantize.fake_quantised(built({"name": name, "filters": 8, "blocks": 1})).layers:
            dtypes.setdefault(type(layer), set()).add(layer.compute_dtype)
    assert dtypes[FakeQuant] | dtypes[FakeQuantPReLU] | dtypes[FakeQuantRescaling] == {"float32"}
    assert "bfloat16" in dtypes[FakeQuantConv2D]


def test_fake_quantised_slopes_are_whole_steps_and_are_trained(mixed_bfloat16):
    layer, plain = FakeQuantPReLU(shared_axes=[1, 2], name="slopes"), layers.PReLU(shared_axes=[1, 2], dtype="float32")
    slopes = np.array([0.25, -0.1001, 0.0, 1.27], np.float32)  # the largest makes a step of 0.01
    picture = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype(np.float32)
    for part, values in ((layer, slopes), (plain, slopes.round(2))):
        part.build(picture.shape)
        part.set_weights([values[None, None]])
    with tf.GradientTape() as tape:
        found = layer(picture)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    np.testing.assert_allclose(found, plain(picture), atol=1e-6)
    gradient = tape.gradient(found, layer.alpha.value)  # as if nothing were rounded
    np.testing.assert_allclose(gradient, np.minimum(picture, 0).sum((0, 1, 2), keepdims=True)[0], atol=1e-5)
    plain.set_weights([slopes[None, None]])
    layer.bypass = True
    np.testing.assert_allclose(layer(picture), plain(picture), atol=1e-6)
