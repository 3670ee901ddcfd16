"""The predictor: every kind of MODEL, colour, and what is none."""

import numpy as np
import pytest

from sr_keras import component, image, models, predictor, resize
from sr_keras.errors import InputError
from sr_keras.exporters import onnx, saved_model, tflite

RGB = np.random.default_rng(0).integers(0, 256, (13, 9, 3), np.uint8)


@pytest.fixture(scope="module")
def network():
    import keras

    keras.utils.set_random_seed(0)
    return component.build(models, {"name": "anchor", "filters": 4, "blocks": 1}, scale=2)


def test_every_kind_of_file_gives_the_same_picture(network, tmp_path):
    network.save(tmp_path / "net.keras")
    files = [tmp_path / "net.keras", *(e.save(network, tmp_path) for e in (saved_model, tflite, onnx))]
    expected = predictor.of_keras(network, "net")(RGB)
    for file in files:
        opened = predictor.open_model(file)
        assert (opened.scale, opened.channels) == (2, 3)
        np.testing.assert_allclose(opened(RGB), expected, atol=1e-5)


def test_sixteen_bit_and_float_pictures_are_the_same_picture(network):
    predict = predictor.of_keras(network, "net")
    np.testing.assert_allclose(predict(RGB), predict(RGB.astype(np.uint16) * 257), atol=1e-6)
    np.testing.assert_allclose(predict(RGB), predict(RGB / np.float32(255)), atol=1e-6)


def test_interpolation_of_uint8_equals_matlabs_uint8():
    enlarged = predictor.interpolation("bicubic", 3)(RGB)
    np.testing.assert_array_equal(image.to_uint8(enlarged), resize.imresize(RGB, 3))


def test_a_luminance_network_gets_y_and_chroma_is_bicubic():
    def twice(batch):
        return np.stack([resize.imresize(p, 2) for p in batch])

    predict = predictor.Predictor(twice, 2, 1, "twice")
    expected = np.clip(resize.imresize(image.to_float(RGB), 2), 0, 1)
    np.testing.assert_allclose(predict(RGB), expected, atol=2e-6)


def test_a_network_that_keeps_the_size_is_refused(tmp_path):
    import keras

    x = keras.Input((None, None, 3))
    keras.Model(x, keras.layers.Conv2D(5, 3, padding="same")(x)).save(tmp_path / "same.keras")
    with pytest.raises(InputError, match="keeps its channels"):
        predictor.open_model(tmp_path / "same.keras")


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'bicubic'"):
        predictor.open_model("bicubc", 2)


def test_a_run_without_a_network_says_so(tmp_path):
    (tmp_path / "config.yaml").write_text("scale: 2")
    with pytest.raises(InputError, match=r"no generator\.keras yet"):
        predictor.open_model(tmp_path)


def test_the_memory_of_a_pixel_is_that_of_the_maps_in_their_own_precision(network):
    from sr_keras.bfloat16 import bfloat16_twin

    wide = component.build(models, {"name": "anchor", "filters": 64, "blocks": 2}, scale=2)
    assert predictor.of_keras(wide, "wide").bytes_per_pixel == 3 * 64 * 4
    assert predictor.of_network(bfloat16_twin(wide), "wide", "bfloat16").bytes_per_pixel == 3 * 64 * 2


def test_a_tflite_file_alone_says_itself_how_it_may_be_cut(tmp_path, monkeypatch):
    from sr_keras.exporters import tflite
    from sr_keras.exporters._tflite_metadata import About
    from sr_keras.models import anchor

    about = About("anchor", "Enlarges.", 2, 3, 4, 1, "", "", "1")
    path = tflite.save(anchor.build(scale=2, filters=4, blocks=2), tmp_path, about=about)
    monkeypatch.setattr(predictor, "probed_reach", None)  # would be called for a file that says nothing
    assert predictor.open_model(path).reach.halo == 4
