"""The tools that pack and measure the shipped weights."""

import importlib
import json
import shutil
from pathlib import Path

import pytest

import sr_keras
from sr_keras import config as config_file
from sr_keras import quantize, zoo
from sr_keras.config import Component
from sr_keras.errors import InputError
from sr_keras.models import anchor
from sr_keras.run import Run

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools"))
    return importlib.import_module


def test_multiply_adds_are_those_of_the_formula(tool):
    card = zoo.card("s-x2")
    filters, blocks = (getattr(card.network.config.model, key) for key in ("filters", "blocks"))
    each = 9 * (3 * filters + blocks * filters**2 + filters * 3 * card.scale**2)
    assert tool("make_results").multiply_adds("s-x2") == pytest.approx(each * 1280 * 720 / card.scale**2 / 1e9)


@pytest.mark.parametrize("name", ["s-x2", *(pytest.param(f"s-x{scale}", marks=pytest.mark.slow) for scale in (3, 4))])
def test_the_figures_of_a_card_are_measured_again(tool, name, data_root):
    measured, card = tool("make_results").measured(name, data_root / "eval"), zoo.card(name)
    for found, stored in ((measured.network, card.network), (measured.int8, card.int8)):
        for data, figures in stored.metrics.items():
            assert found.metrics[data].psnr == pytest.approx(figures.psnr, abs=0.01)


def test_figures_go_between_the_comments_and_only_there(tool, tmp_path):
    replace_between, file = tool("make_results").replace_between, tmp_path / "a.md"
    file.write_text("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n")
    replace_between(file, "| new |")
    assert file.read_text() == "before\n<!-- figures -->\n| new |\n<!-- /figures -->\nafter\n"
    file.write_text("no place")
    with pytest.raises(InputError, match="must have one"):
        replace_between(file, "| new |")


def test_every_published_row_names_a_source(tool):
    content = tool("make_results").published()
    assert {row["source"] for row in content["rows"]} == set(content["sources"])


def test_the_documents_show_every_shipped_network_with_its_figures():
    lines = {name: (CHECKOUT / name).read_text().splitlines() for name in ("README.md", "docs/results.md")}
    for name, card in ((name, zoo.card(name)) for name in zoo.names()):
        psnr = f"{card.network.metrics['Set5'].psnr:.2f}"
        assert any(f"**{name}**" in line and psnr in line for line in lines["docs/results.md"]), name
        if card.network.config.degradation.name == "bicubic":
            assert any(f"`{name}`" in line and psnr in line for line in lines["README.md"]), name


def test_weights_for_other_pictures_stand_apart(tool, monkeypatch):
    results, card = tool("make_results"), zoo.card("s-x2")
    network = card.network
    config = network.config.model_copy(update={"degradation": Component(name="blur_noise_jpeg")})
    figures = {name: zoo.Figures(psnr=11.11, ssim=0.5) for name in results.SETS}
    photo = card.model_copy(update={"network": network.model_copy(update={"config": config, "metrics": figures})})
    monkeypatch.setattr(results, "multiply_adds", lambda name: 1.0)
    cards, bicubic = {"s-x2": card, "s-x2-photo": photo}, {2: network.metrics}
    assert "11.11" not in results.overview(cards, bicubic)
    first, *_, last = results.tables(cards, bicubic)
    assert "11.11" not in first and "11.11" in last


@pytest.fixture
def finished(tmp_path):
    """A run folder with the network of s-x2, as if trained."""

    def make(name, network=None, **changes):
        run = Run(tmp_path / name)
        run.folder.mkdir()
        card = zoo.card("s-x2")
        settings = card.network.config.model_copy(update={"start_from": None, **changes})
        run.config.write_text(config_file.dump(settings))
        steps = settings.train.epochs * settings.train.steps_per_epoch
        run.results.write_text(json.dumps({"steps": steps, "seconds": 36.0, "psnr": 30.5}))
        if network is None:
            shutil.copy(zoo.FOLDER / card.network.file, run.generator)
        else:
            network.save(run.generator)
        return run

    return make


def test_a_finished_run_is_packed_with_its_card(tool, finished, tmp_path):
    twin = quantize.fake_quantised(sr_keras.load("s-x2"))
    make, folder = tool("make_weights").make, tmp_path / "weights"
    folder.mkdir()
    card = make("mine", finished("run"), finished("int8", twin, start_from="s-x2"), machine="a laptop", folder=folder)
    assert (card.network.hours, card.network.validation_psnr, card.network.machine) == (0.01, 30.5, "a laptop")
    assert {path.name for path in folder.iterdir()} == {"mine.keras", "mine-int8.keras", "mine.json"}
    assert [pictures.what[:5] for pictures in card.data] == ["DIV2K", "DIV2K", "CID22"]
    make("mine", finished("again"), None, machine="a laptop", folder=folder)
    assert {path.name for path in folder.iterdir()} == {"mine.keras", "mine.json"}


def test_what_can_not_be_packed_leaves_nothing(tool, finished, tmp_path):
    make, folder = tool("make_weights").make, tmp_path / "weights"
    folder.mkdir()
    run, other = finished("run"), config_file.Data(train="elsewhere")
    begun = finished("begun")
    begun.results.unlink()
    unlike = quantize.fake_quantised(anchor.build(scale=2, filters=8))
    cases = [
        (begun, None, "is not finished"),
        (finished("unknown", data=other), None, "elsewhere: SOURCES"),
        (finished("after", start_from=str(tmp_path / "unknown")), None, "elsewhere: SOURCES"),
        (finished("twin", quantize.fake_quantised(sr_keras.load("s-x2"))), None, "give the float network"),
        (run, begun, "is not finished"),
        (run, finished("float"), "is not the network of"),
        (run, finished("unlike", unlike), "is not the network of"),
    ]
    for network, int8, message in cases:
        with pytest.raises(InputError, match=message):
            make("mine", network, int8, machine="", folder=folder)
    assert not list(folder.iterdir())
