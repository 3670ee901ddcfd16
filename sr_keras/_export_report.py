"""report.md and report.html of an export: figures, what int8 costs layer by layer, what delegates take, pictures.

A part of the verb `export`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sr_keras import calibration, cli, delegates, image, report, resize
from sr_keras._artifacts import Checked
from sr_keras._samples import Sample, Samples
from sr_keras.files import write_whole

_SIDE = 96  # of the crops in report.md, in LR pixels
_LAYER_PICTURES = 4
_PICTURES = 3


@dataclass(frozen=True)
class Part:
    """A heading, a paragraph and a table."""

    title: str
    text: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def write(folder: Path, model: Path, manifest: dict[str, Any], checked: Sequence[Checked], samples: Samples) -> None:
    """Writes report.html, report.md and its picture, report.png, into `folder`, where the artifacts are."""
    facts = [
        ("model", f"{manifest['model']} ({model})"), ("scale", f"x{manifest['scale']}"),
        ("parameters", f"{manifest['parameters']:,}"), ("halo", f"{manifest['halo']} LR pixels"),
        ("licence of the weights", manifest["license"]),
        *((name, version) for name, version in manifest["versions"].items()),
    ]  # fmt: skip
    title = f"Export of {manifest['model']} x{manifest['scale']}"
    parts = [_artifacts(checked), *_int8(samples), *_delegates(folder, checked)]
    shown = samples.at(samples.size)[:_PICTURES]
    with report.Page(folder / "report.html", title, facts) as page:
        for part in parts:
            page.part(part.title, part.text, part.header, part.rows)
        for k, sample in enumerate(shown):
            for comparison in _comparisons(sample, k, samples.exact.scale):
                page.add(comparison)
    image.write(folder / "report.png", _sheet(shown, samples.exact.scale))
    columns = "bicubic, the float network" + (", int8" if shown[0].twin is not None else "") + ", HR"
    text = "\n\n".join(
        [
            f"# {title}", "\n".join(f"- {name}: {value}" for name, value in facts),
            *(_markdown(part) for part in parts),
            f"## Pictures\n\nFrom the left: {columns}.\n\n![{columns}](report.png)",
        ]
    )  # fmt: skip
    write_whole(folder / "report.md", lambda beside: beside.write_text(text + "\n", encoding="utf-8"))


def table(checked: Sequence[Checked]) -> tuple[list[str], list[list[str]]]:
    """Returns the header and the rows of the table of artifacts."""
    rows = [
        [
            c.file, f"{c.bytes / 1024:.1f}", str(len(c.operators)), f"{c.max_abs_difference:.1e}",
            "equal" if c.psnr_vs_keras is None else f"{c.psnr_vs_keras:.1f}", f"{c.psnr_vs_hr:.2f}", f"{c.loss:+.3f}",
            "-" if c.levels is None else str(c.levels), f"{c.timed_size[0]}x{c.timed_size[1]}", f"{c.milliseconds:.1f}",
            "ok" if c.fault is None else "FAILED",
        ]
        for c in checked
    ]  # fmt: skip
    header = ["file", "KiB", "operators", "max diff", "dB vs Keras", "dB vs HR", "dB lost", "levels", "LR", "ms", ""]
    return header, rows


def _markdown(part: Part) -> str:
    return f"## {part.title}\n\n{part.text}" + (f"\n\n{cli.markdown(part.header, part.rows)}" if part.rows else "")


def _artifacts(checked: Sequence[Checked]) -> Part:
    return Part(
        "Artifacts",
        "Each file was run by its own runtime on real pictures. max diff: largest difference from Keras, of pixels in "
        "[0, 1]; dB lost: PSNR against HR that the float network has more; levels: largest difference of an int8 file "
        "from its twin in Keras, of 255; ms: median for an LR picture of that height x width, on this machine.",
        *table(checked),
    )


def _int8(samples: Samples) -> Iterator[Part]:
    """What quantisation costs: the choice of ranges, and each layer's share."""
    networks = samples.networks
    if networks.reason:
        yield Part("int8", f"TFLite's converter measured the ranges, from the extremes: {networks.reason}")
    if networks.twin is None:
        return
    if networks.losses:
        choices = ", ".join(f"{name} {loss:+.3f} dB" for name, loss in networks.losses)
        text = f"Post-training: ranges by {networks.ranges}. PSNR lost against HR by each rule: {choices}."
    else:
        text = f"Trained for int8: the ranges are the training's own. Losses are counted from {networks.base_name}."
    large = networks.exact.count_params() > 1_000_000
    measured = [each.lr for each in samples.at(samples.size)[: 1 if large else _LAYER_PICTURES]]
    errors = calibration.layer_errors(networks.twin, measured, most=8 if large else 32)
    worst = sorted((error for error in errors[:-1] if error.alone is not None), key=lambda error: error.alone or 0.0)
    text += (
        f" Worst layers: {', '.join(error.layer for error in worst[:3])}. SQNR: signal to quantisation noise of the "
        "layer's output, int8 against float, all layers before it in int8 too; PSNR alone: of the picture against the "
        "float network's with this layer alone in int8."
    )
    rows = [[e.layer, e.kind, f"{e.low:.4f} to {e.high:.4f}", _decibels(e.sqnr), _decibels(e.alone)] for e in errors]
    yield Part("int8, layer by layer", text, ["layer", "kind", "range", "SQNR dB", "PSNR alone dB"], rows)


def _decibels(value: float | None) -> str:
    if value is None:
        return "-"
    return "exact" if np.isinf(value) else f"{value:.1f}"


def _delegates(folder: Path, checked: Sequence[Checked]) -> Iterator[Part]:
    """What runs where: XNNPACK's own partitions, and each delegate's verdict on each kind of TFLite file."""
    graphs = {c.file: delegates.read(folder / c.file) for c in checked if c.file.endswith(".tflite")}
    if not graphs:
        return
    rows = []
    for file, graph in graphs.items():
        partitions, left = delegates.xnnpack_partitions(folder / file)
        names = [operator.name for operator in graph.operators]
        counted = ", ".join(f"{name} {names.count(name)}" for name in dict.fromkeys(names))
        sizes = [str(len(graph.deep)), str(len(graph.dynamic)), str(partitions)]
        rows.append([file, graph.precision, counted, *sizes, ", ".join(left) or "none"])
    yield Part(
        "TFLite files",
        "XNNPACK partitions were counted in LiteRT on this machine; one, with no operator left out, is best. int8 "
        "files take uint8 pixels: the QUANTIZE at either end stays outside. Tensors above rank 4, and those of a size "
        "that is not fixed, keep most delegates of phones away.",
        ["file", "precision", "operators", "above rank 4", "not fixed", "XNNPACK partitions", "left out"],
        rows,
    )
    groups: dict[delegates.Graph, list[str]] = {}
    for file, graph in graphs.items():
        groups.setdefault(replace(graph, dynamic=graph.dynamic[:1]), []).append(file)
    verdicts = [(" ".join(files), verdict) for graph, files in groups.items() for verdict in delegates.judge(graph)]
    phones = [(files, verdict) for files, verdict in verdicts if verdict.delegate != "xnnpack"]
    yield Part(
        "Delegates of phones and boards",
        "By their own lists, not by a run on a device; what a list does not say is not known.",
        ["delegate", "files", "takes", "to change"],
        [[each.title, files, _verdict(each), "; ".join(_changes(each)) or "-"] for files, each in phones],
    )
    named = dict.fromkeys(each.delegate for _, each in phones)
    rows = [delegates.table()["delegates"][name] for name in named]
    yield Part(
        "About the delegates",
        "What each runs on, and what files it takes.",
        ["delegate", "runs on", "takes", "note"],
        [[row["title"], row["runs_on"], ", ".join(row["types"]), " ".join(row["note"].split())] for row in rows],
    )
    conditions = {(each.title, condition) for _, each in phones for condition in each.conditions}
    yield Part(
        "Conditions of the delegates",
        "What must hold besides for the operators of these files.",
        ["delegate", "operator", "condition"],
        [[title, *condition.split(": ", 1)] for title, condition in sorted(conditions)],
    )
    used = dict.fromkeys(key for _, each in verdicts for key in each.sources)
    sources = delegates.table()["sources"]
    yield Part(
        "Sources of the delegates' lists",
        "Collected in sr_keras/delegates.yaml, where each operator's row names its source.",
        ["source", "title", "where", "read"],
        [[key, sources[key]["title"], sources[key]["where"], str(sources[key]["read"])] for key in used],
    )


def _verdict(verdict: delegates.Verdict) -> str:
    if verdict.refused:
        return f"nothing: it {verdict.refused}"
    said = ["all" if not verdict.falls_back else f"all but {', '.join(verdict.falls_back)}"]
    return "; ".join(said + ([f"not known: {', '.join(verdict.unknown)}"] if verdict.unknown else []))


def _changes(verdict: delegates.Verdict) -> list[str]:
    if verdict.refused:
        return [verdict.remedy] if verdict.remedy else []
    changes = delegates.table()["changes"]
    return [f"{name}: {changes[name]}" for name in verdict.falls_back if name in changes]


def _comparisons(sample: Sample, index: int, scale: int) -> Iterator[report.Comparison]:
    bicubic, exact, twin, _ = _enlarged(sample, scale)
    yield report.Comparison(f"Picture {index + 1}", bicubic, exact, "bicubic", "float")
    if twin is not None:
        yield report.Comparison(f"Picture {index + 1} in int8", exact, twin, "float", "int8")


def _enlarged(sample: Sample, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
    """Returns bicubic, the float network's, int8's and HR, uint8 `[H, W, 1 or 3]`."""
    bicubic = image.to_uint8(resize.imresize(image.to_uint8(sample.lr), scale))
    twin = None if sample.twin is None else image.to_uint8(sample.twin)
    return bicubic, image.to_uint8(sample.exact), twin, image.to_uint8(sample.hr)


def _sheet(samples: Sequence[Sample], scale: int) -> np.ndarray:
    """Puts the middles of the pictures on a sheet, a row each."""
    rows = []
    for sample in samples:
        pictures = [picture for picture in _enlarged(sample, scale) if picture is not None]
        side = min(_SIDE * scale, *pictures[0].shape[:2])
        top, left = ((length - side) // 2 for length in pictures[0].shape[:2])
        rows.append([image.with_channels(p[top : top + side, left : left + side], 3) for p in pictures])
    return image.contact_sheet([picture for row in rows for picture in row], columns=len(rows[0]))
