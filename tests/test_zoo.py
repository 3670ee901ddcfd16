"""The shipped weights: cards, files that are what the cards say, the choice of the best, and every verb by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage.data

import sr_keras
from sr_keras import component, evaluate, export, image, models, predictor, recipe, upscale, zoo
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
    assert {path.name for path in zoo.FOLDER.iterdir()} == named | {f"{name}.json" for name in NAMES}
    assert sum(path.stat().st_size for path in zoo.FOLDER.iterdir()) <= 3e6


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_a_card_are_those_of_evaluate(name, data_root):
    for data, figures in zoo.card(name).network.metrics.items():
        if data == "Set5":
            found = evaluate.evaluate(name, data_root / "eval" / data)
            assert (found.psnr, found.ssim) == (
                pytest.approx(figures.psnr, abs=2e-3),
                pytest.approx(figures.ssim, abs=1e-4),
            )


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
    for open_it in (predictor.open_model, sr_keras.load, zoo.card):
        with pytest.raises(InputError, match="did you mean 's-x2'"):
            open_it("s-x22")


def test_a_run_folder_of_that_name_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s-x2" / "export").mkdir(parents=True)  # what `export s-x2` leaves is none
    assert zoo.ships("s-x2")
    Run(tmp_path / "s-x2").config.write_text("scale: 2\n")
    assert not zoo.ships("s-x2") and not zoo.ships(tmp_path / "s-x2")


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
        None: "b",
        1: "b",
        1.5: "b",
        2: "b",
        2.1: "c",
        3: "c",
        3.5: "d",
        4: "d",
        5: "c",
        8: "c",
        10: "d",
        27: "c",
    }
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
    int8 = next(target for target in recipe.load("mobile_int8").artifacts if target.options().get("size") is None)
    plan = recipe.Recipe(artifacts=(int8,))
    (checked,) = export.export(Path("s-x2"), plan, tmp_path / "out")
    assert checked.fault is None and checked.loss < 0.1
    assert "warning" not in capsys.readouterr().err
    sr = predictor.open_model(tmp_path / "out" / checked.file)(skimage.data.chelsea()[:32, :48])
    exact = predictor.open_model("s-x2")(skimage.data.chelsea()[:32, :48])
    assert np.abs(sr - exact).mean() < 0.02
