"""Measures the shipped weights on Set5 and Set14; writes the figures into cards, docs/results.md and README.md."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from sr_keras import cli, zoo
from sr_keras.errors import InputError
from sr_keras.files import write_json, write_whole

ROOT = Path(__file__).parent.parent
SETS = ("Set5", "Set14")
PUBLISHED = ("FSRCNN", "ESPCN", "ECBSR-M4C16", "ECBSR-M4C32", "ABPN-M4C28", "SESR-M5", "SESR-M11")
HD = 1280 * 720
_INT8 = "model_int8.tflite"


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
        export(Path(name), plan.model_copy(update={"artifacts": tuple(free)}), Path(folder))
        return card.model_copy(update={"int8": _with_metrics(card.int8, f"{folder}/{_INT8}", data)})


def _with_metrics(weights: zoo.Weights, model: str, data: Path) -> zoo.Weights:
    return weights.model_copy(update={"metrics": {name: figures(model, data / name) for name in SETS}})


def figures(model: str, folder: Path, scale: int | None = None) -> zoo.Figures:
    """Returns what `python -m sr_keras.evaluate MODEL FOLDER` prints."""
    from sr_keras.evaluate import evaluate

    found = evaluate(model, folder, scale=scale)
    return zoo.Figures(psnr=round(found.psnr, 3), ssim=round(found.ssim, 4))


def multiply_adds(name: str) -> float:
    """Returns the multiply-adds of shipped weights, in G, for an output of 1280x720."""
    import keras

    import sr_keras

    side = 12
    network = sr_keras.load(name)
    sized = keras.models.clone_model(network, input_tensors=keras.Input((side, side, network.input_shape[3])))
    convolutions = [layer for layer in sized.layers if isinstance(layer, keras.layers.Conv2D)]
    each = sum(
        layer.kernel.shape.num_elements() * layer.output.shape[1] * layer.output.shape[2] for layer in convolutions
    )
    return each / (side * zoo.card(name).scale) ** 2 * HD / 1e9


def published() -> dict:
    """Reads what other networks' papers and tables print."""
    return yaml.safe_load((ROOT / "tools/published.yaml").read_text(encoding="utf-8"))


def tables(cards: dict[str, zoo.Card], data: Path) -> Iterator[str]:
    """Yields a heading and a table for each scale: published networks, and ours."""
    others = published()
    header = [
        "", "parameters", "multiply-adds", "Set5", "Set14", "int8 TFLite: Set5", "Set14", "trained", "source or command"
    ]  # fmt: skip
    for scale in sorted({card.scale for card in cards.values()}):
        base = [figures("bicubic", data / name, scale) for name in SETS]
        rows = [["bicubic", "0", "", *(f"{each.psnr:.2f} / {each.ssim:.4f}" for each in base), "", "", "",
                 f"`evaluate bicubic FOLDER --scale {scale}`"]]  # fmt: skip
        for row in others["rows"]:
            if row["scale"] == scale:
                sets = ["" if row[key] is None else f"{row[key]:.2f}" for key in ("set5", "set14")]
                macs = "" if row["macs"] is None else f"{row['macs']:.1f} G"
                rows.append([row["name"], f"{row['parameters']:.1f} K", macs, *sets, "", "", "", row["source"]])
        for name, card in cards.items():
            if card.scale == scale:
                rows.append(_ours(name, card))
        yield f"## x{scale}\n\n{cli.markdown(header, rows)}"
    yield "Sources: " + "; ".join(f"*{name}*: {text}" for name, text in others["sources"].items()) + "."


def _ours(name: str, card: zoo.Card) -> list[str]:
    sets = [f"**{card.network.metrics[each].psnr:.2f}** / {card.network.metrics[each].ssim:.4f}" for each in SETS]
    int8 = [f"{card.int8.metrics[each].psnr:.2f}" if card.int8 else "" for each in SETS]
    hours = card.network.hours
    trained = f"{card.network.steps:,} steps, {hours:.1f} h"
    return [
        f"**{name}**", f"{card.parameters / 1000:.1f} K", f"{multiply_adds(name):.1f} G", *sets, *int8, trained,
        f"`evaluate {name} FOLDER`",
    ]  # fmt: skip


def overview(cards: dict[str, zoo.Card], data: Path) -> str:
    """Returns the small table: a network a row, a scale a column, PSNR on Set5 / Set14."""
    others = published()["rows"]
    scales = sorted({card.scale for card in cards.values()})

    def row(title: str, parameters: str, found: dict[int, tuple]) -> list[str]:
        both = {s: " / ".join("-" if psnr is None else f"{psnr:.2f}" for psnr in pair) for s, pair in found.items()}
        return [title, parameters, *(both.get(scale, "") for scale in scales)]

    base = {s: tuple(figures("bicubic", data / name, s).psnr for name in SETS) for s in scales}
    rows = [row("bicubic", "0", base)]
    for name in PUBLISHED:
        its = {each["scale"]: each for each in others if each["name"] == name}
        parameters = f"{its[2]['parameters']:.1f} K"
        rows.append(row(name, parameters, {s: (its[s]["set5"], its[s]["set14"]) for s in its if s in scales}))
    for family in dict.fromkeys(name.rpartition("-x")[0] for name in cards if name.rpartition("-x")[2].isdigit()):
        its = {card.scale: card for name, card in cards.items() if name.rpartition("-x")[0] == family}
        parameters = f"{its[min(its)].parameters / 1000:.1f} K"
        exact = {s: tuple(card.network.metrics[each].psnr for each in SETS) for s, card in its.items()}
        rows.append(row(f"**{family}**: " + ", ".join(f"`{family}-x{s}`" for s in sorted(its)), parameters, exact))
        int8 = {s: tuple(card.int8.metrics[each].psnr for each in SETS) for s, card in its.items() if card.int8}
        if int8:
            rows.append(row(f"{family} as int8 TFLite", parameters, int8))
    return cli.markdown(["", "parameters", *(f"x{s}" for s in scales)], rows)


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
        cards = {}
        for name in zoo.names():
            cards[name] = measured(name, options.data)
            write_json(zoo.FOLDER / f"{name}.json", cards[name].model_dump(mode="json"))
            print(f"{name}: " + ", ".join(f"{k} {v.psnr:.3f}" for k, v in cards[name].network.metrics.items()))
        git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        made = f"Made by `python tools/make_results.py`, commit {git.stdout.strip()}."
        replace_between(ROOT / "docs/results.md", "\n\n".join([made, *tables(cards, options.data)]))
        replace_between(ROOT / "README.md", f"{overview(cards, options.data)}\n\n{made}")

    return cli.run(run)


if __name__ == "__main__":
    sys.exit(main())
