"""The shipped weights: cards, files that are what the cards say, the choice of the best, and every verb by name."""

import hashlib
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage.data

import sr_keras
from sr_keras import (
    calibration,
    component,
    evaluate,
    export,
    image,
    models,
    predictor,
    quantize,
    recipe,
    train,
    upscale,
    zoo,
)
from sr_keras import config as config_file
from sr_keras.errors import InputError
from sr_keras.run import Run

NAMES = zoo.names()


def files_of(card: zoo.Card) -> list[zoo.Weights]:
    return [weights for weights in (card.network, card.int8) if weights is not None]


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """The shipped files in a folder that a test may spoil."""
    monkeypatch.setattr(zoo, "FOLDER", Path(shutil.copytree(zoo.FOLDER, tmp_path / "weights")))
    zoo.card.cache_clear()
    yield zoo.FOLDER
    zoo.card.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_its_network_is(name):
    card = zoo.card(name)
    network = sr_keras.load(name)
    assert network.count_params() == card.parameters
    assert predictor.open_model(name).scale == card.scale == int(name.split("-x")[1][0])
    options = {**card.network.config.model.model_dump(), "expansion": 0}
    built = component.build(models, options, scale=card.scale)
    assert [w.shape for w in built.weights] == [w.shape for w in network.weights]
    for weights in files_of(card):
        assert zoo.checked(weights).stat().st_size == weights.bytes
        assert weights.config.scale == card.scale
        assert not any("eval" in source.hr for source in (*weights.config.data.train, *weights.config.data.valid))


def test_every_file_has_a_card_and_all_are_small():
    named = {weights.file for name in NAMES for weights in files_of(zoo.card(name))}
    assert {path.name for path in zoo.FOLDER.iterdir()} == named | {f"{name}.json" for name in NAMES} | {"LICENSE"}
    assert sum(path.stat().st_size for path in zoo.FOLDER.iterdir()) <= 3e6


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_a_card_are_those_of_evaluate(name, data_root):
    figures, found = zoo.card(name).network.metrics["Set5"], evaluate.evaluate(name, data_root / "eval/Set5")
    assert found.psnr == pytest.approx(figures.psnr, abs=2e-3)
    assert found.ssim == pytest.approx(figures.ssim, abs=1e-4)


def test_a_file_that_is_not_the_cards_is_refused(copied):
    file = copied / zoo.card("s-x2").network.file
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256 differs"):
        sr_keras.load("s-x2")
    file.unlink()
    with pytest.raises(InputError, match="can't be read"):
        predictor.open_model("s-x2")


def test_an_unknown_name_gets_a_suggestion():
    for open_it in (predictor.open_model, sr_keras.load):
        with pytest.raises(InputError, match="did you mean 's-x2'"):
            open_it("s-x22")
    with pytest.raises(InputError, match=r"these weights ship: s-x2, .*xs-x2"):
        predictor.open_model("unheard-of")


def test_a_folder_of_that_name_does_not_stand_before_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Run(tmp_path / "s-x2").folder.mkdir()
    Run(tmp_path / "s-x2").config.write_text("scale: 3\n")
    assert sr_keras.load("s-x2").count_params() == zoo.card("s-x2").parameters
    assert zoo.find(tmp_path / "s-x2") is None
    assert train.main(["--run", "s-x2"]) == 2
    assert "take another --run" in capsys.readouterr().err


def test_training_starts_from_shipped_weights(tmp_path, photographs):
    tiny = ["data.patch=48", "train.epochs=1", "train.steps_per_epoch=2", "train.learning_rate=1e-30", "train.ema=null"]
    words = [*photographs, *tiny, "precision=float32", "start_from=s-x2", "quantization=null"]
    for config, taken in (("anchor_x2", 12), ("anchor_x3", 10)):
        run = Run(tmp_path / config)
        train.train(config_file.load(config, words), run)
        mine, shipped = (predictor.open_collapsed(path).get_weights() for path in (run.folder, Path("s-x2")))
        for one, other in zip(mine[:taken], shipped[:taken], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)  # of up to 6.6


def test_the_best_has_the_fewest_passes_then_enlarges_least_then_the_best_validation(monkeypatch):
    real = zoo.card("s-x2")

    def card(scale, psnr, degradation="bicubic"):
        config = real.network.config.model_copy(
            update={"degradation": real.network.config.degradation.model_copy(update={"name": degradation})}
        )
        weights = real.network.model_copy(update={"validation_psnr": psnr, "config": config})
        return real.model_copy(update={"scale": scale, "network": weights})

    cards = {
        "a": card(2, 35.0), "b": card(2, 35.5), "c": card(3, 32.0), "d": card(4, 30.0),
        "photo": card(2, 40.0, "blur_noise_jpeg"),
    }  # fmt: skip
    monkeypatch.setattr(zoo, "names", lambda: list(cards))
    monkeypatch.setattr(zoo, "card", cards.get)
    expected = {
        None: "b", 1: "b", 1.5: "b", 2: "b", 2.1: "c", 3: "c", 3.5: "d", 4: "d", 5: "c", 8: "c", 10: "d", 27: "c"
    }  # fmt: skip
    assert {scale: zoo.best(scale) for scale in expected} == expected


def test_upscale_needs_no_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image.write(tmp_path / "cat.png", skimage.data.chelsea()[:40, :60])
    assert upscale.main(["cat.png"]) == 0
    assert image.read(tmp_path / "cat_x2.png").shape == (80, 120, 3)
    assert capsys.readouterr().err.startswith(zoo.best(2))
    lr = skimage.data.chelsea()[:16, :16]
    assert sr_keras.Upscaler(scale=3)(lr).shape == (48, 48, 3)


def test_a_shipped_name_exports_into_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text("artifacts: [{name: tflite, precision: int8, loss: 0.2, levels: 2}]")
    assert export.main(["s-x2", "one.yaml"]) == 0
    assert "warning" not in capsys.readouterr().err
    folder = Path("s-x2/export/one")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["license"] == zoo.card("s-x2").license
    assert manifest["config"] == zoo.card("s-x2").network.config.model_dump(mode="json")
    sr = predictor.open_model(folder / manifest["artifacts"][0]["file"])(skimage.data.chelsea()[:32, :48])
    exact = predictor.open_model("s-x2")(skimage.data.chelsea()[:32, :48])
    assert np.abs(sr - exact).mean() < 0.02


def test_an_int8_file_is_made_of_the_twin_that_ships_and_a_float_file_is_not(copied, tmp_path):
    twin = quantize.fake_quantised(sr_keras.load("s-x2"))
    calibration.calibrate(twin, [image.to_float(skimage.data.chelsea()[:64, :96])])
    for layer in twin.layers:
        if isinstance(layer, keras.layers.Conv2D):  # what is left is the anchor, which is worse by some dB
            kernel, *rest = layer.get_weights()
            layer.set_weights([kernel * 0, *rest])
    twin.save(copied / "twin.keras")
    digest = hashlib.sha256((copied / "twin.keras").read_bytes()).hexdigest()
    content = json.loads((copied / "s-x2.json").read_text())
    content["int8"] = {**content["network"], "file": "twin.keras", "sha256": digest}
    (copied / "s-x2.json").write_text(json.dumps(content))
    zoo.card.cache_clear()
    losses = {}
    for precision in ("int8", "float32"):
        plan = recipe.Recipe(artifacts=(recipe.Target(name="tflite", precision=precision, psnr=1.0),))
        (checked,) = export.export(Path("s-x2"), plan, tmp_path / precision)
        losses[precision] = checked.loss
        assert ("int8, layer by layer" in (tmp_path / precision / "report.md").read_text()) == (precision == "int8")
    assert losses["int8"] > 1.0 > 0.001 > losses["float32"]
