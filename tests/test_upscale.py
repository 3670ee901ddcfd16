"""Upscale: files out, their place and bit depth."""

import numpy as np
import pytest

from sr_keras import component, image, models, upscale
from sr_keras.errors import InputError


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.keras"
    component.build(models, {"name": "anchor", "filters": 4, "blocks": 1}, scale=2).save(path)
    return str(path)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "photo.png"
    image.write(path, np.random.default_rng(0).integers(0, 256, (11, 14, 3), np.uint8))
    return path


def test_the_picture_comes_beside_its_input(model, picture):
    assert upscale.upscale([picture], model) == [picture.with_name("photo_x2.png")]
    assert image.read(picture.with_name("photo_x2.png")).shape == (22, 28, 3)


def test_sixteen_bits_stay_sixteen(model, tmp_path):
    source = tmp_path / "deep.png"
    image.write(source, np.full((8, 9, 3), 40_000, np.uint16))
    (target,) = upscale.upscale([source], model, tmp_path / "out")
    assert image.read(target).dtype == np.uint16
    assert target == tmp_path / "out" / "deep_x2.png"


def test_grey_stays_grey(model, tmp_path):
    source = tmp_path / "grey.png"
    image.write(source, np.full((8, 9, 1), 77, np.uint8))
    (target,) = upscale.upscale([source], model)
    assert image.read(target).shape == (16, 18, 1)


def test_an_out_with_an_ending_is_a_file(model, picture, tmp_path):
    assert upscale.upscale([picture], model, tmp_path / "big.jpg") == [tmp_path / "big.jpg"]
    assert image.read(tmp_path / "big.jpg").shape == (22, 28, 3)


def test_sixteen_bits_become_eight_where_the_format_holds_no_more(model, tmp_path):
    source = tmp_path / "deep.png"
    image.write(source, np.full((8, 9, 3), 20_000, np.uint16))
    upscale.upscale([source], model, tmp_path / "out.jpg")
    assert abs(float(image.read(tmp_path / "out.jpg").mean()) - 20_000 / 257) < 3


def test_inputs_are_never_overwritten(model, picture):
    with pytest.raises(InputError, match="would be overwritten"):
        upscale.upscale([picture], model, picture)


def test_two_inputs_of_one_name_are_refused_before_anything_is_written(model, picture, tmp_path):
    (tmp_path / "other").mkdir()
    image.write(tmp_path / "other" / "photo.png", image.read(picture))
    with pytest.raises(InputError, match="from several inputs"):
        upscale.upscale([picture, tmp_path / "other" / "photo.png"], model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_model_the_line_says_how_to_get_one(picture, capfd):
    assert upscale.main([str(picture)]) == 2
    assert "python -m sr_keras.train" in capfd.readouterr().err
