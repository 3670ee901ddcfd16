"""docs/models.md and what it is made of: every model is in it, and what it says is what the networks are."""

import importlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from sr_keras import component, models

CHECKOUT = Path(__file__).parent.parent
SMALL = ["anchor", "espcn", "fsrcnn", "rlfn", "srcnn"]  # built within two seconds each


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(CHECKOUT / "tools"))
    return importlib.import_module("make_models_table")


@pytest.fixture
def lines():
    return (CHECKOUT / "docs/models.md").read_text(encoding="utf-8").splitlines()


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_model_is_in_the_table_and_nothing_else(tool):
    assert sorted(tool.entries()) == component.names(models)


def test_every_variant_has_options_that_build_takes(tool):
    for name, entry in tool.entries().items():
        for variant in entry.variants:
            component.resolve(models, {"name": name, **variant.options}, "build")


@pytest.mark.parametrize("fault", [{"variant": []}, {"variants": [{"name": "a", "scale": 2}]}])
def test_a_word_that_the_table_does_not_know_is_refused(tool, fault):
    with pytest.raises(ValidationError, match="Extra inputs"):
        tool.Entry.model_validate({"variants": [{"name": "a"}], **fault})


def test_the_document_has_a_row_for_every_variant_and_scale_in_order(tool, lines):
    expected = [
        tool.head(name, variant, scale)
        for name, entry in tool.entries().items()
        for variant in entry.variants
        for scale in variant.scales
    ]
    start = next(k for k, line in enumerate(lines) if line.startswith("| network")) + 2
    assert [cells(line)[:3] for line in lines[start : start + len(expected)]] == expected
    assert not lines[start + len(expected)].startswith("|")


@pytest.mark.parametrize(
    "name", [name if name in SMALL else pytest.param(name, marks=pytest.mark.slow) for name in component.names(models)]
)
def test_a_row_says_what_the_network_is(tool, lines, name):
    found = list(tool.rows(name, tool.entries()[name]))
    shown = [cells(line) for line in lines if line.startswith("| ")]
    assert found and [row for row in found if row not in shown] == []


def test_the_document_lists_papers_and_places(tool, lines):
    assert tool.weights(tool.entries()) in "\n".join(lines)
