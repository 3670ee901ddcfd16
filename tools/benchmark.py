"""Measures sr_keras against a peer in one run: training, its input, enlarging; and the memory they take.

Speeds are compared in turns (A B A B ...), of which only one works at a time; what counts is the median of the rounds'
ratios, since a busy or slow machine then slows both. What is measured how: docs/benchmark.md.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import (  # this file also runs in an environment that holds PyTorch and NumPy alone
    artifacts,
    degradation,
    imported,
    memory,
    phone,
    stored_input,
    training,
    training_torch,
    upscale_memory,
    upscaling,
    upscaling_folder,
    upscaling_runtimes,
    widths,
    workers,
)
from benchmarks.report import Report, machine

WORKERS = {
    "artifacts": artifacts.prepare,
    "imported": imported.prepare,
    "training": training_torch.prepare,
    "upscale": upscaling_runtimes.prepare,
    "upscale-folder": upscaling_folder.prepare,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line, measures and prints; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--worker"]:
        workers.serve(WORKERS[words[1]], json.loads(words[2]))
        return 0
    from sr_keras import cli

    options = vars(_parser().parse_args(words))
    return cli.run(lambda: _main(words, options.pop("measure"), options.pop("json"), options))


def _main(words: Sequence[str], measure: Callable[..., Report], place: Path | None, options: dict[str, Any]) -> None:
    from sr_keras import cli

    load = os.getloadavg()[0]
    report = measure(**options)
    where = machine(report.versions, load)
    command = shlex.join(["python", "tools/benchmark.py", *words])
    print(f"{where}\n{command}")
    for table in report.tables:
        print(f"\n{table.title}\n{cli.markdown(table.header, table.cells)}" if table.title else
              f"\n{cli.markdown(table.header, table.cells)}")  # fmt: skip
    for note in report.notes:
        print(f"\n{note}")
    if place:
        content = {"command": command, "machine": asdict(where), "options": options, "notes": report.notes}
        content |= {table.key: [asdict(row) for row in table.rows] for table in report.tables}
        place.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(
        required=True,
        metavar="KIND",
    )
    _of_training(kinds)
    _of_enlarging(kinds)
    _of_exports(kinds)
    return parser


def _of_training(kinds: Any) -> None:
    training_parser = _kind(kinds, "training", training.training, "training steps per second against PyTorch")
    training_parser.add_argument("--networks", nargs="+", choices=training.NETWORKS, default=list(training.NETWORKS))
    training_parser.add_argument("--precision", choices=("auto", "float32", "mixed_bfloat16"), default="auto")
    training_parser.add_argument("--torch-precision", choices=("float32", "bfloat16"), default="float32")
    training_parser.add_argument("--pictures", type=_count, default=100, help="so many at most (default: 100)")
    training_parser.add_argument("--steps", type=_count, default=20, help="timed in each turn (default: 20)")
    training_parser.add_argument("--warm-up", type=_count, default=6, help="steps before those (default: 6)")
    _add_peer(training_parser)
    input_parser = _kind(kinds, "input", stored_input.stored_input, "training samples per second, store against files")
    degraded_parser = _kind(
        kinds, "degradation", degradation.degradation, "training samples per second of degradations"
    )
    degraded_parser.add_argument(
        "--names", nargs="*", metavar="NAME", default=["blur_noise_jpeg", "bsrgan", "real_world"]
    )
    degraded_parser.add_argument("--scale", type=_count, default=4)
    for each in (training_parser, input_parser, degraded_parser):
        _add_data(each)
        _add_rounds(each)
    memory_parser = _kind(kinds, "memory", memory.memory, "memory that a large store takes")
    memory_parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the store (default: 4)")
    _add_folder(memory_parser)
    for each, seconds, patch in ((input_parser, 3.0, 96), (degraded_parser, 3.0, 256), (memory_parser, 30.0, 96)):
        each.add_argument("--seconds", type=float, default=seconds, help=f"of one turn or run (default: {seconds:.0f})")
        each.add_argument("--patch", type=_count, default=patch, help=f"side of the HR patch (default: {patch})")
    for each in (training_parser, input_parser, degraded_parser, memory_parser):
        each.add_argument("--batch", type=_count, default=16)


def _of_enlarging(kinds: Any) -> None:
    names = list(upscaling_runtimes.RUNTIMES)
    parser = _kind(kinds, "upscale", upscaling.upscale, "time of a picture x2 on every runtime, against PyTorch")
    parser.add_argument(
        "--model", type=Path, metavar="RUN", help="an anchor x2, run folder or .keras (default: random)"
    )
    parser.add_argument("--eval", type=Path, dest="evaluated", metavar="FOLDER", help="HR/ and LRbicx2/ for PSNR, too")
    parser.add_argument("--size", type=_size, default=(1080, 1920), metavar="WxH", help="of LR (default: 1920x1080)")
    parser.add_argument("--tables", nargs="+", choices=("runtimes", "folder"), default=["runtimes", "folder"])
    parser.add_argument("--runtimes", nargs="+", choices=names, metavar="NAME", default=names, help=", ".join(names))
    parser.add_argument("--pictures", type=_count, default=20, help="of the folder (default: 20)")
    parser.add_argument("--without-openvino", action="store_true", help="in the folder's table, as by default install")
    _add_data(parser)
    _add_rounds(parser)
    _add_peer(parser)
    parser = _kind(
        kinds, "imported", imported.imported, "time of a picture with imported weights, against ncnn, PyTorch"
    )
    parser.add_argument("param", type=Path, metavar="FILE.param", help="of ncnn, with its .bin beside it")
    parser.add_argument("--size", type=_size, default=(180, 320), metavar="WxH", help="of LR (default: 320x180)")
    _add_rounds(parser)
    _add_peer(parser)
    parser = _kind(kinds, "upscale-memory", upscale_memory.upscale_memory, "memory of the command line, large pictures")
    parser.add_argument("--model", type=Path, metavar="RUN", help="of scale 2 (default: anchor S, random)")
    parser.add_argument("--model-x4", type=Path, metavar="RUN", help="of scale 4 (default: anchor S, random)")
    parser.add_argument("--megapixels", nargs="*", type=float, default=[2.0, 12.0, 50.0], help="default: 2 12 50")
    parser.add_argument("--scales", nargs="+", type=int, choices=(2, 4), default=[2, 4])
    parser.add_argument("--formats", nargs="+", choices=("jpeg", "png"), default=["jpeg", "png"], help="in and out")
    parser.add_argument(
        "--tiff", type=float, default=100.0, metavar="MP", help="one TIFF at x2, 0: none (default: 100)"
    )
    parser.add_argument("--runtime", default="auto", help="of sr_keras.upscale (default: auto)")
    _add_data(parser)
    _add_folder(parser)


def _of_exports(kinds: Any) -> None:
    parser = _kind(kinds, "artifacts", artifacts.artifacts, "time and memory of an export's files, in their runtimes")
    parser.add_argument("folder", type=Path, metavar="DIR", help="written by python -m sr_keras.export")
    parser.add_argument("--size", type=_size, default=(360, 640), metavar="WxH", help="of LR (default: 640x360)")
    parser.add_argument("--threads", nargs="+", type=_count, default=[1, 2], help="default: 1 2")
    _add_data(parser)
    _add_rounds(parser, 21)
    parser = _kind(kinds, "widths", widths.widths, "time of the anchor network at each width, int8 and float32")
    parser.add_argument("--filters", nargs="+", type=_count, default=[16, 24, 28, 32, 40, 48, 64], metavar="N")
    parser.add_argument("--size", type=_size, default=(360, 640), metavar="WxH", help="of LR (default: 640x360)")
    parser.add_argument("--threads", type=_count, default=2, help="default: 2")
    _add_data(parser)
    _add_rounds(parser, 11)
    parser = _kind(kinds, "phone", phone.phone, "time and memory of TFLite files on the phone at adb")
    parser.add_argument("folder", type=Path, metavar="DIR", help="written by python -m sr_keras.export RUN mobile")
    parser.add_argument("--binary", type=Path, metavar="FILE", help="benchmark_model, where it is not on the phone yet")
    parser.add_argument("--serial", help="which phone, by adb devices")
    parser.add_argument("--threads", nargs="+", type=_count, default=[1, 4], help="on the CPU (default: 1 4)")
    parser.add_argument("--backends", nargs="+", choices=("cpu", "gpu", "nnapi"), default=["cpu", "gpu"])
    parser.add_argument("--runs", type=_count, default=50, help="timed of each (default: 50)")


def _kind(kinds: Any, name: str, measure: Callable[..., Report], text: str) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=text, description=measure.__doc__)
    parser.set_defaults(measure=measure)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


def _add_peer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--torch-python", default=sys.executable, metavar="PATH", help="a Python with PyTorch")
    parser.add_argument("--threads", type=_count, default=2, help="of each side (default: 2)")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="pictures (default: the embedded photographs)")


def _add_rounds(parser: argparse.ArgumentParser, rounds: int = 7) -> None:
    parser.add_argument("--rounds", type=_count, default=rounds, help=f"turns of each that count (default: {rounds})")


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="where files are made and deleted (default: TMPDIR)")


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def _size(text: str) -> tuple[int, int]:
    """Reads WIDTHxHEIGHT as (height, width)."""
    width, height = map(_count, text.lower().split("x"))
    return height, width


if __name__ == "__main__":
    sys.exit(main())
