"""Measures the shipped weights on Set5 and Set14; writes the figures into cards, docs/results.md and README.md."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from benchmarks.report import commit

from sr_keras import cli, zoo
from sr_keras.errors import InputError
from sr_keras.files import write_json, write_whole

ROOT = Path(__file__).parent.parent
SETS = ("Set5", "Set14")
Metrics = Mapping[str, zoo.Figures]  # by data set


def measured(name: str, data: Path) -> zoo.Card:
    """Returns the card of shipped weights with figures of its network and of the int8 file that `export` makes."""
    from sr_keras import recipe
    from sr_keras.export import export

    card = zoo.card(name)
    card = card.model_copy(update={"network": _with_metrics(card.network, name, data)})
    if card.int8 is None:
        return card
    with tempfile.TemporaryDirectory() as folder:
        plan = recipe.load("mobile_int8")
        free = [target for target in plan.artifacts if target.options().get("size") is None]
        (made,) = export(Path(name), plan.model_copy(update={"artifacts": tuple(free)}), Path(folder))
        return card.model_copy(update={"int8": _with_metrics(card.int8, f"{folder}/{made.file}", data)})


def _with_metrics(weights: zoo.Weights, model: str, data: Path) -> zoo.Weights:
    return weights.model_copy(update={"metrics": metrics(model, data)})


def metrics(model: str, data: Path, scale: int | None = None) -> Metrics:
    """Returns what `python -m sr_keras.evaluate MODEL FOLDER` prints for each set."""
    from sr_keras.evaluate import evaluate

    found = {name: evaluate(model, data / name, scale=scale) for name in SETS}
    return {name: zoo.Figures(psnr=round(each.psnr, 6), ssim=round(each.ssim, 6)) for name, each in found.items()}


def multiply_adds(name: str) -> float:
    """Returns the multiply-adds of shipped weights, in G, for an output of 1280x720."""
    import sr_keras
    from sr_keras.multiply_adds import at_hd

    return at_hd(sr_keras.load(name), zoo.card(name).scale) / 1e9


def published() -> dict:
    """Reads what other networks' papers and tables print."""
    return yaml.safe_load((ROOT / "tools/published.yaml").read_text(encoding="utf-8"))


def tables(cards: Mapping[str, zoo.Card], bicubic: Mapping[int, Metrics]) -> Iterator[str]:
    """Yields a heading and a table for each scale, published networks and ours, then those for other pictures."""
    header = [
        "", "parameters", "multiply-adds", "Set5", "Set14", "int8 TFLite: Set5", "Set14", "trained", "source or command"
    ]  # fmt: skip
    others, ours = published(), {name: card for name, card in cards.items() if _is_standard(card)}
    for scale, base in bicubic.items():
        command = f"`evaluate bicubic FOLDER --scale {scale}`"
        sets = [f"{base[each].psnr:.2f} / {base[each].ssim:.4f}" for each in SETS]
        rows = [["bicubic", "0", "", *sets, "", "", "", command]]
        for row in others["rows"]:
            if row["scale"] == scale:
                sets = [_printed(row, key) for key in ("set5", "set14")]
                macs = "" if row["macs"] is None else f"{row['macs']:.1f} G"
                rows.append([row["name"], f"{row['parameters']:.1f} K", macs, *sets, "", "", "", row["source"]])
        rows += [_ours(name, card) for name, card in ours.items() if card.scale == scale]
        yield f"## x{scale}\n\n{cli.markdown(header, rows)}"
    sources = "; ".join(f"*{name}*: {text}" for name, text in others["sources"].items())
    yield f"With an asterisk: recalled, no copy of the paper's table could be opened here. Sources: {sources}."
    rest = [_ours(name, card) for name, card in cards.items() if name not in ours]
    if rest:
        text = "On the undamaged LR of the tables above they lose."
        yield f"## For damaged photographs\n\n{text}\n\n{cli.markdown(header, rest)}"


def _printed(row: Mapping[str, Any], key: str) -> str:
    return "" if row[key] is None else f"{row[key]:.2f}" + "*" * (key in row.get("recalled", ()))


def _is_standard(card: zoo.Card) -> bool:
    return card.network.config.degradation.name == "bicubic"


def _ours(name: str, card: zoo.Card) -> list[str]:
    sets = [f"**{card.network.metrics[each].psnr:.2f}** / {card.network.metrics[each].ssim:.4f}" for each in SETS]
    int8 = [f"{card.int8.metrics[each].psnr:.2f}" if card.int8 else "" for each in SETS]
    its = card.network
    before = f", {its.note}" if its.note else ""
    return [
        f"**{name}**", f"{card.parameters / 1000:.1f} K", f"{multiply_adds(name):.1f} G", *sets, *int8,
        f"{its.steps:,} steps, {its.hours * 60:.0f} min{before}", f"`evaluate {name} FOLDER`",
    ]  # fmt: skip


def overview(cards: Mapping[str, zoo.Card], bicubic: Mapping[int, Metrics]) -> str:
    """Returns the small table: a network a row, a scale a column, PSNR on Set5 / Set14."""
    others, scales = published()["rows"], list(bicubic)

    def row(title: str, parameters: float, found: Mapping[int, Sequence[str]]) -> list[str]:
        both = {s: " / ".join(psnr or "-" for psnr in pair) for s, pair in found.items()}
        return [title, f"{parameters:.1f} K" if parameters else "0", *(both.get(scale, "") for scale in scales)]

    def pair(its: Metrics) -> list[str]:
        return [f"{its[each].psnr:.2f}" for each in SETS]

    rows = [row("bicubic", 0, {s: pair(its) for s, its in bicubic.items()})]
    for name in dict.fromkeys(each["name"] for each in others):
        its = {each["scale"]: each for each in others if each["name"] == name}
        pairs = {scale: [_printed(each, "set5"), _printed(each, "set14")] for scale, each in its.items()}
        rows.append(row(name, its[2]["parameters"], pairs))
    for family in dict.fromkeys(name.rpartition("-")[0] for name, card in cards.items() if _is_standard(card)):
        its = {s: cards[f"{family}-x{s}"] for s in scales if f"{family}-x{s}" in cards}
        names = ", ".join(f"`{family}-x{s}`" for s in its)
        parameters = its[min(its)].parameters / 1000
        rows.append(row(f"**ours**: {names}", parameters, {s: pair(card.network.metrics) for s, card in its.items()}))
        int8 = {s: pair(card.int8.metrics) for s, card in its.items() if card.int8}
        if int8:
            rows.append(row("the same as int8 TFLite", parameters, int8))
    return cli.markdown(["", "parameters, smallest scale", *(f"x{s}" for s in scales)], rows)


def replace_between(path: Path, text: str) -> None:
    """Replaces what stands between the two comments `<!-- figures -->` and `<!-- /figures -->` of a Markdown file."""
    content = path.read_text(encoding="utf-8")
    start, end = "<!-- figures -->", "<!-- /figures -->"
    if content.count(start) != 1 or content.count(end) != 1:
        raise InputError(f"{path}: must have one {start} and one {end}, between which the figures go.")
    before, rest = content.split(start)
    after = rest.split(end)[1]
    new = f"{before}{start}\n{text}\n{end}{after}"
    write_whole(path, lambda beside: beside.write_text(new, encoding="utf-8"))


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and writes; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/eval"), help="folder of Set5 and Set14")
    options = parser.parse_args(argv)

    def run() -> None:
        made = f"Made by `python tools/make_results.py`, commit {commit('sr_keras/weights')}."
        cards = {name: measured(name, options.data) for name in zoo.names()}
        scales = sorted({card.scale for card in cards.values()})
        bicubic = {scale: metrics("bicubic", options.data, scale) for scale in scales}
        texts = {
            "docs/results.md": "\n\n".join([made, *tables(cards, bicubic)]),
            "README.md": f"{overview(cards, bicubic)}\n\n{made}",
        }
        for name, card in cards.items():
            write_json(zoo.FOLDER / f"{name}.json", card.model_dump(mode="json"))
            print(f"{name}: " + ", ".join(f"{k} {v.psnr:.3f}" for k, v in card.network.metrics.items()))
        for file, text in texts.items():
            replace_between(ROOT / file, text)

    return cli.run(run)


if __name__ == "__main__":
    sys.exit(main())
