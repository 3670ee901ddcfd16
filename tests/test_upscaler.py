"""The Upscaler: tiles of real networks, alpha, bit depths, any size, ensemble and back-projection."""

import threading
from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sr_keras
from sr_keras import component, image, models, predictor, resize, runtimes
from sr_keras.errors import InputError
from sr_keras.exporters import tflite
from sr_keras.rows import Rows
from sr_keras.tiling import Reach
from sr_keras.upscaler import Size, Upscaler
from sr_keras.windows import Options

NETWORKS = {  # every family whose graph does not depend on the picture's size
    "anchor": {"filters": 8, "blocks": 2},
    "edsr": {"filters": 8, "blocks": 2},
    "espcn": {},
    "fsrcnn": {},
    "rrdbnet": {"filters": 8, "growth": 4, "blocks": 0},
    "srcnn": {},
    "srnet": {},
    "srresnet": {"filters": 8, "blocks": 1},
    "srvgg": {"filters": 8, "blocks": 1},
    "vdsr": {"filters": 8, "depth": 4},
}


def trained_like(network, seed=0):
    """Gives every kernel random values, so that each pixel of the receptive field counts."""
    random = np.random.default_rng(seed)
    for weight in network.weights:
        if weight.name == "kernel":
            spread = np.sqrt(2 / np.prod(weight.shape[:-1]))
            weight.assign(random.normal(0, spread, weight.shape).astype(np.float32))
    return network


def build(name, scale=2, **options):
    keras.utils.set_random_seed(0)
    return trained_like(component.build(models, {"name": name, **options}, scale=scale))


def of(network, reference=None, **options):
    """Makes an Upscaler of a network in memory, in float32."""
    made = Upscaler.__new__(Upscaler)
    sizes = {k: options.pop(k) for k in ("scale", "width", "height") if k in options}
    made.size, made.options = Size(**sizes), Options(**options)
    made.predictor = reference or predictor.of_keras(network, "net")
    made._one_at_a_time = threading.Lock()
    return made


@pytest.fixture(scope="module")
def opened():
    return {name: predictor.of_keras(build(name, **options), name) for name, options in NETWORKS.items()}


def pixels(height, width, channels, dtype, seed=0):
    random = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return random.random((height, width, channels), np.float32)
    return random.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 45), width=st.integers(1, 45), tile=st.integers(1, 40), channels=st.integers(1, 4),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
)  # fmt: skip
def test_tiles_give_the_whole_picture(opened, name, height, width, tile, channels, dtype):
    lr = pixels(height, width, channels, dtype)
    whole, tiled = of(None, opened[name], tile=1000)(lr), of(None, opened[name], tile=tile)(lr)
    if dtype == np.uint8:
        np.testing.assert_array_equal(whole, tiled)
    elif dtype == np.uint16:  # a last bit of float32 may turn the rounding: srresnet, 2x31 in tiles of 1
        assert np.abs(whole.astype(np.int32) - tiled).max() <= 1
    else:
        assert np.abs(whole - tiled).max() <= 1e-5


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 30), width=st.integers(1, 30), tile=st.integers(1, 30), channels=st.integers(1, 4))
def test_ensemble_and_back_projection_are_tiled_exactly_too(opened, height, width, tile, channels):
    lr = pixels(height, width, channels, np.uint8)
    extras = {"ensemble": True, "back_project": 2}
    whole = of(None, opened["anchor"], tile=1000, **extras)(lr)
    np.testing.assert_array_equal(whole, of(None, opened["anchor"], tile=tile, **extras)(lr))


def test_a_network_on_luminance_is_tiled_exactly():
    model = predictor.of_keras(build("espcn", channels=1), "y")
    lr = pixels(37, 29, 3, np.uint8)
    np.testing.assert_array_equal(of(None, model, tile=1000)(lr), of(None, model, tile=7)(lr))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_network_that_continues_the_picture_is_tiled_exactly(scale):
    network = build("rrdbnet", scale, filters=8, growth=4, blocks=1)
    model = predictor.of_keras(network, "net")
    lr = pixels(2 * model.reach.halo + 31, 2 * model.reach.halo + 22, 3, np.uint8)
    whole = of(None, model, tile=1000)(lr)
    assert model.reach.alignment == 4 // scale and whole.shape == (scale * lr.shape[0], scale * lr.shape[1], 3)
    np.testing.assert_array_equal(of(None, model, tile=9)(lr), whole)


def test_bfloat16_is_tiled_exactly():
    network = build("anchor", filters=16, blocks=3)
    model = runtimes._opened(network, predictor.of_keras(network, "net"), "tensorflow-bfloat16")
    lr = pixels(61, 47, 3, np.uint8)
    np.testing.assert_array_equal(of(None, model, tile=1000)(lr), of(None, model, tile=16)(lr))


def test_a_static_tflite_takes_any_size(tmp_path):
    network = build("anchor", filters=8, blocks=2)
    model = predictor.open_model(tflite.save(network, tmp_path, size=(32, 40)))
    whole = of(None, predictor.of_keras(network, "net"), tile=1000)
    assert (model.reach.halo, model.size) == (4, (32, 40))  # measured: there is no manifest
    lr = pixels(75, 133, 3, np.uint8)
    assert np.abs(of(None, model)(lr).astype(int) - whole(lr)).max() <= 1
    small = pixels(20, 15, 3, np.uint8)
    inner = np.s_[: (20 - 4) * 2, : (15 - 4) * 2]
    assert np.abs(of(None, model)(small).astype(int) - whole(small))[inner].max() <= 1


def test_a_network_that_looks_at_the_whole_picture_is_blended_and_named(tmp_path):
    x = lr = keras.Input((None, None, 3))
    attention = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
    x = keras.layers.Multiply()([x, keras.layers.Conv2D(3, 1, activation="sigmoid")(attention)])
    x = keras.layers.Conv2D(12, 3, padding="same")(x)
    keras.Model(lr, keras.ops.depth_to_space(x, 2)).save(tmp_path / "attention.keras")
    made = Upscaler(tmp_path / "attention.keras", tile=40)
    assert "looks at the whole picture" in made.notes_of()[0] and "pool" in made.notes_of()[0]
    assert made(pixels(100, 90, 3, np.uint8)).shape == (200, 180, 3)


def test_the_halo_is_measured_where_a_layer_does_not_say(tmp_path):
    @keras.saving.register_keras_serializable("test")
    class Shift(keras.layers.Layer):
        def call(self, x):
            return keras.ops.pad(x, [(0, 0), (0, 7), (0, 0), (0, 0)])[:, 7:]

    lr = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(12, 3, padding="same")(Shift()(lr))
    model = predictor.of_keras(trained_like(keras.Model(lr, keras.ops.depth_to_space(x, 2))), "own")
    assert model.reach.halo == 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_the_type_and_the_channels_stay(opened, dtype, channels):
    lr = pixels(9, 7, channels or 1, dtype)
    lr = lr[..., 0] if channels is None else lr
    sr = of(None, opened["anchor"])(lr)
    assert (sr.shape, sr.dtype) == ((18, 14, *lr.shape[2:]), lr.dtype)


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)])
def test_what_is_no_picture_is_refused(opened, bad):
    with pytest.raises(ValueError, match="a picture is"):
        of(None, opened["anchor"])(bad)


def test_what_is_no_array_is_refused(opened):
    with pytest.raises(ValueError, match="NumPy array, got str"):
        of(None, opened["anchor"])("photo.png")


def test_other_pixels_are_refused(opened):
    with pytest.raises(ValueError, match="got int32"):
        of(None, opened["anchor"])(np.zeros((4, 4, 3), np.int32))
    with pytest.raises(ValueError, match=r"in \[0, 1\], got up to 255; divide"):
        of(None, opened["anchor"])(np.full((4, 4, 3), 255, np.float32))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (202, 142)), ({"scale": 3.5}, (354, 249)), ({"scale": 1.5}, (152, 107)), ({"scale": 0.5}, (51, 36)),
        ({"width": 400}, (569, 400)), ({"height": 400}, (400, 281)), ({"width": 3840, "height": 500}, (500, 351)),
        ({"width": 71, "height": 1000}, (101, 71)), ({"scale": 8}, (808, 568)),
    ],
)  # fmt: skip
def test_any_size_can_be_had(opened, options, expected):
    made = of(None, opened["anchor"], **options)
    assert made(pixels(101, 71, 3, np.uint8)).shape[:2] == expected == made.target(101, 71)


def test_more_than_three_passes_are_refused(opened):
    with pytest.raises(InputError, match="3 passes"):
        of(None, opened["anchor"], scale=9)(pixels(5, 5, 3, np.uint8))


def test_other_sizes_are_matlabs_reduction_of_the_models_output(opened):
    lr = pixels(30, 40, 3, np.float32)
    twice = of(None, opened["anchor"])(lr)
    expected = np.clip(resize.imresize(twice, 0.75), 0, 1)
    np.testing.assert_allclose(of(None, opened["anchor"], scale=1.5)(lr), expected, atol=1e-6)


def test_ensemble_is_the_mean_of_eight(opened):
    lr, one = pixels(12, 17, 3, np.float32), of(None, opened["anchor"])
    turned = []
    for turn in range(4):
        for flip in (1, -1):
            sr = one(np.ascontiguousarray(np.rot90(lr, turn)[:, ::flip]))
            turned.append(np.rot90(sr[:, ::flip], -turn))
    assert np.abs(turned[0] - turned[3]).max() > 0.01
    ensemble = of(None, opened["anchor"], ensemble=True)(lr)
    np.testing.assert_allclose(ensemble, np.mean(turned, 0), atol=1e-6)


def test_back_projection_brings_the_reduced_output_to_the_input():
    lr = resize.imresize(image.to_float(_photograph()), 0.25).clip(0, 1).astype(np.float32)
    model = predictor.of_keras(build("anchor", filters=4, blocks=1), "net")
    errors = [np.abs(resize.imresize(of(None, model, back_project=n)(lr), 0.5) - lr).mean() * 255 for n in (0, 2, 10)]
    assert errors[0] > 2 * errors[1] and errors[2] < 0.5


def test_no_dark_fringe_stands_around_a_bright_logo(opened):
    lr = np.zeros((40, 40, 4), np.uint8)  # black where nothing is seen, as most programs write it
    yy, xx = np.mgrid[:40, :40]
    alpha = np.clip(14.5 - np.hypot(yy - 20, xx - 20), 0, 1)
    lr[alpha > 0] = (255, 220, 40, 0)
    lr[..., 3] = np.round(alpha * 255)
    smooth = predictor.interpolation("bicubic", 2)  # no network's own taste in between
    nearly = predictor.Predictor(smooth.network, 2, 3, "smooth", Reach(3))
    for made in (
        of(None, nearly), of(None, nearly, alpha="bicubic"), of(None, nearly, scale=1.4), of(None, nearly, scale=0.7),
        of(None, predictor.interpolation("bicubic", 1), scale=2),
        of(None, predictor.interpolation("lanczos", 1), scale=3),
    ):  # fmt: skip
        out = made(lr).astype(int)
        seen = out[..., 3] > 30
        assert seen.any() and np.abs(out[seen][:, :3] - (255, 220, 40)).max() < 6


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edge=st.integers(0, 30), level=st.integers(0, 255), tile=st.integers(1, 30))
def test_flat_alpha_is_tiled_exactly_and_kept(opened, edge, level, tile):
    lr = pixels(30, 32, 4, np.uint8)
    lr[:, :edge, 3], lr[:, edge:, 3] = level, 255
    whole = of(None, opened["anchor"], tile=1000)(lr)
    np.testing.assert_array_equal(whole, of(None, opened["anchor"], tile=tile)(lr))
    assert (whole[:, : 2 * max(edge - 2, 0), 3] == level).all() and (whole[:, 2 * (edge + 2) :, 3] == 255).all()


def test_opaque_alpha_changes_no_colour(opened):
    lr = pixels(20, 21, 4, np.uint8)
    lr[..., 3] = 255
    sr = of(None, opened["anchor"])(lr)
    np.testing.assert_array_equal(sr[..., :3], of(None, opened["anchor"])(lr[..., :3]))
    assert (sr[..., 3] == 255).all()


def test_a_sixteen_bit_gradient_gets_no_bands(opened):
    lr = np.repeat(np.linspace(20_000, 21_000, 200).astype(np.uint16)[None, :, None], 24, 0)
    sr = of(None, predictor.interpolation("bicubic", 2), width=400)(np.ascontiguousarray(lr))
    assert sr.dtype == np.uint16 and len(np.unique(sr)) > 350  # 8 bits would leave 4


def test_the_reduction_streams_like_the_picture_in_memory(opened):
    lr = pixels(64, 50, 3, np.uint8)
    bands = [lr[k : k + 3] for k in range(0, 64, 3)]
    made = of(None, opened["anchor"], scale=3.3, tile=20)
    np.testing.assert_array_equal(made.stream(Rows(bands, 64, 50, 3, np.uint8), np.uint8).whole(), made(lr))


def test_it_is_there_under_the_packages_name(tmp_path):
    build("anchor", filters=4, blocks=1).save(tmp_path / "net.keras")
    assert sr_keras.Upscaler(tmp_path / "net.keras")(pixels(5, 6, 3, np.uint8)).shape == (10, 12, 3)


def test_importing_the_package_imports_no_tensorflow():
    import subprocess
    import sys

    code = "import sys, sr_keras; sys.exit('tensorflow' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _photograph():
    from sr_keras import embedded

    return image.crop_to_multiple(embedded.photographs("valid").picture(0)[:256, :256], 4)


def test_a_network_is_never_called_twice_at_once(opened):
    busy, overlaps = threading.Semaphore(1), []

    def network(batch):
        overlaps.append(not busy.acquire(blocking=False))
        try:
            return opened["anchor"].network(batch)
        finally:
            busy.release()

    model = replace(opened["anchor"], network=network, network_uint8=None)
    made = of(None, model, scale=3.5, tile=16)
    made(pixels(90, 40, 3, np.uint8))
    assert len(overlaps) > 8 and not any(overlaps)


@pytest.mark.parametrize("options", [{"tile": 0}, {"back_project": -1}, {"alpha": "modle"}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError):
        Options(**options)


def test_dynamic_range_tflite_is_blended_since_it_looks_at_the_whole_picture(tmp_path):
    network = build("anchor", filters=64, blocks=2)
    made = Upscaler(tflite.save(network, tmp_path, precision="dynamic"))
    assert "quantised by the picture's range" in made.notes_of()[0]
    for precision in ("float32", "float16"):
        assert Upscaler(tflite.save(network, tmp_path, precision=precision)).notes_of() == ()


def test_back_projection_that_leaves_a_fixed_size_nothing_is_told(tmp_path):
    network = build("anchor", filters=8, blocks=2)
    path = tflite.save(network, tmp_path, size=(32, 32))
    assert Upscaler(path).notes_of() == ()
    assert "blended" in Upscaler(path, back_project=3).notes_of()[0]
