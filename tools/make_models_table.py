"""Writes the tables of all models into docs/models.md: size, work, how far they look, exporters, published weights."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from benchmarks.report import commit
from make_results import replace_between
from pydantic import BaseModel, ConfigDict

from sr_keras import cli, component

if TYPE_CHECKING:  # every heavy import is inside a function, so that --help answers at once
    import keras

ROOT = Path(__file__).parent.parent
CHANNELS = {"RGB": 3, "Y": 1}
HEADER = ["network", "`model`", "", "parameters", "multiply-adds", "receptive field", "exporters", "int8", "imports"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Paper(_Strict):
    """Says where a network was described; `authors` are `Lim et al.`."""

    title: str
    authors: str
    year: int
    url: str


class Variant(_Strict):
    """A network worth a row at each of its scales, by the options of `build`."""

    name: str
    options: dict[str, Any] = {}
    scales: tuple[int, ...] = (2, 4)
    pixels: Literal["RGB", "Y"] = "RGB"


class Place(_Strict):
    """Says where weights can be had, and what licence the place gives them."""

    at: str
    files: str
    license: str | None = None


class Entry(_Strict):
    """All that models.yaml says of a model."""

    paper: Paper | None = None
    variants: tuple[Variant, ...]
    weights: tuple[Place, ...] = ()


def entries() -> dict[str, Entry]:
    """Reads models.yaml, checked."""
    content = yaml.safe_load((ROOT / "tools/models.yaml").read_text(encoding="utf-8"))
    return {name: Entry.model_validate(entry) for name, entry in content.items()}


def text() -> str:
    """Measures all networks and returns what stands between the comments of docs/models.md."""
    found = entries()
    cells = [cells for name, entry in found.items() for cells in rows(name, entry)]
    made = f"Made by `python tools/make_models_table.py`, commit {commit('docs')}."
    return "\n\n".join([made, cli.markdown(HEADER, cells), weights(found)])


def rows(name: str, entry: Entry) -> Iterator[list[str]]:
    """Yields the cells of a model's variants at their scales."""
    from sr_keras import recognition

    imports = "yes" if name in recognition.architectures() else ""
    for variant in entry.variants:
        int8 = None
        for scale in variant.scales:
            began = time.monotonic()
            network = built(name, variant, scale)
            int8 = int8 or _int8(network)  # its layers are those of the other scales, too
            yield [*head(name, variant, scale), *size(network, scale), "all", int8, imports]
            print(f"{name}, {variant.name}, x{scale}: {time.monotonic() - began:.1f} s", flush=True)


def head(name: str, variant: Variant, scale: int) -> list[str]:
    """Returns the first cells of a row: the variant, what to write into a config, colours and scale."""
    options = {"name": name, **variant.options}
    config = yaml.safe_dump(options, default_flow_style=True, sort_keys=False, width=1000).strip()
    return [variant.name, f"`{config if variant.options else name}`", f"{variant.pixels} x{scale}"]


def built(name: str, variant: Variant, scale: int) -> "keras.Model":
    """Builds the network as it ships, wide convolutions multiplied out."""
    import keras

    from sr_keras import models
    from sr_keras.layers.collapsible_conv import collapse

    keras.backend.clear_session()
    spec = {"name": name, **variant.options}
    return collapse(component.build(models, spec, scale=scale, channels=CHANNELS[variant.pixels]))


def size(network: "keras.Model", scale: int) -> list[str]:
    """Returns the cells with parameters, multiply-adds and receptive field."""
    return [f"{network.count_params():,}", _work(network, scale), _field(network)]


def _work(network: "keras.Model", scale: int) -> str:
    from sr_keras.multiply_adds import at_hd, multiply_adds

    _, height, width, _ = network.input_shape
    if height is not None:
        return f"{multiply_adds(network, height, width) / 1e9:.3f} G for {height}x{width}"
    giga = at_hd(network, scale) / 1e9
    return f"{giga:,.{2 if giga < 10 else 1 if giga < 1000 else 0}f} G"


def _field(network: "keras.Model") -> str:
    from sr_keras import receptive_field

    found = receptive_field.field(network)
    if found.halo is None:
        kinds = dict.fromkeys(layer.split()[0] for layer in found.whole_picture)
        return f"whole picture ({', '.join(kinds)})"
    return str(2 * found.halo + 1)


def _int8(network: "keras.Model") -> str:
    from sr_keras import quantize

    try:
        quantize.fake_quantised(network)
    except ValueError:  # names the layer that has no twin
        return "post-training"
    return "twin"


def weights(found: dict[str, Entry]) -> str:
    """Returns the list of papers, and of places where weights are."""
    lines = []
    for name, entry in found.items():
        paper = entry.paper
        if not paper and not entry.weights:
            continue
        described = f": [{paper.authors}, {paper.year}]({paper.url}), *{paper.title}*" if paper else ""
        lines.append(f"- `{name}`{described}")
        for place in entry.weights:
            title = place.at.removeprefix("https://")
            where = f"[{title}]({place.at})" if title != place.at else f"`{place.at}`"
            lines.append(f"  - {where}: {place.files}" + (f"; {place.license}" if place.license else ""))
    return "## Papers, and where weights are\n\n" + "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and writes; returns the exit status."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    return cli.run(lambda: replace_between(ROOT / "docs/models.md", text()))


if __name__ == "__main__":
    sys.exit(main())
