"""The tools that pack and measure the shipped weights."""

import importlib
from pathlib import Path

import pytest

from sr_keras import zoo
from sr_keras.errors import InputError
from sr_keras.run import Run

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module


def test_multiply_adds_are_those_of_the_formula(tool):
    card = zoo.card("s-x2")
    filters, blocks = (getattr(card.network.config.model, key) for key in ("filters", "blocks"))
    each = 9 * (3 * filters + blocks * filters**2 + filters * 3 * card.scale**2)
    assert tool("make_results").multiply_adds("s-x2") == pytest.approx(each * 1280 * 720 / card.scale**2 / 1e9)


def test_figures_go_between_the_comments_and_only_there(tool, tmp_path):
    replace_between, file = tool("make_results").replace_between, tmp_path / "a.md"
    file.write_text("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n")
    replace_between(file, "| new |")
    assert file.read_text() == "before\n<!-- figures -->\n| new |\n<!-- /figures -->\nafter\n"
    file.write_text("no place")
    with pytest.raises(InputError, match="must have one"):
        replace_between(file, "| new |")


def test_every_published_row_names_a_source_and_stands_in_the_table(tool):
    results = tool("make_results")
    content = results.published()
    assert {row["source"] for row in content["rows"]} == set(content["sources"])
    assert {row["name"] for row in content["rows"]} == set(results.PUBLISHED)


def test_the_tables_show_every_shipped_network(tool):
    cards = {name: zoo.card(name) for name in zoo.names()}
    text = "\n".join((Path(TOOLS.parent / "docs/results.md").read_text(), (TOOLS.parent / "README.md").read_text()))
    for name, card in cards.items():
        assert text.count(f"{card.network.metrics['Set5'].psnr:.2f}") >= 2, name


def test_a_run_of_unknown_pictures_or_without_an_end_is_not_packed(tool, tmp_path):
    make, run = tool("make_weights").make, Run(tmp_path / "run")
    network = zoo.FOLDER / zoo.card("s-x2").network.file
    run.folder.mkdir()
    run.generator.write_bytes(network.read_bytes())
    run.config.write_text("{scale: 2, data: {train: elsewhere}}")
    with pytest.raises(InputError, match="elsewhere, whose licence"):
        make("mine", run, None, "", tmp_path)
    run.config.write_text("{scale: 2, data: {train: train/cid22}}")
    with pytest.raises(InputError, match="is not finished"):
        make("mine", run, None, "", tmp_path)
    assert not list(tmp_path.glob("mine*"))
    run.results.write_text('{"steps": 7, "seconds": 36.0, "psnr": 30.5}')
    card = make("mine", run, None, "a laptop", tmp_path)
    assert (card.network.steps, card.network.hours, card.network.validation_psnr) == (7, 0.01, 30.5)
    assert {path.name for path in tmp_path.glob("mine*")} == {"mine.keras", "mine.json"}
