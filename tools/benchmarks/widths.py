"""How fast the anchor network is at each width, int8 beside float32, on XNNPACK: what a family of widths should be."""

import contextlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from sys import executable
from tempfile import TemporaryDirectory

import numpy as np

from . import mosaic
from .report import Report, Speeds, Table, need_proc, say
from .workers import Worker, in_turns, started

SCALE, BLOCKS = 2, 4


@dataclass(frozen=True)
class WidthRow:
    """Seconds of one LR picture, int8 and float32, how many times as fast int8 is, and multiply-adds of an LR pixel."""

    filters: int
    macs: int
    int8: float
    float32: float
    speed: Speeds


def widths(*, filters: Sequence[int], size: tuple[int, int], threads: int, rounds: int, data: Path | None) -> Report:
    """Times untrained anchor networks x2 of four blocks: int8 needs no other time for other weights (Linux)."""
    need_proc("widths")
    lr = mosaic.mosaic(mosaic.cells(data), *size, seed=0)
    rows = []
    with TemporaryDirectory(prefix="sr_keras_benchmark_") as scratch, contextlib.ExitStack() as stack:
        place = Path(scratch) / "lr.npy"
        np.save(place, lr)
        workers: dict[str, Worker] = {}
        for width in filters:
            say(f"{width} filters")
            for kind, file in _written(width, size, lr, Path(scratch) / str(width)).items():
                spec = {"lr": str(place), "threads": threads, "scale": SCALE, "file": str(file), "kind": "tflite"}
                worker = workers[f"{kind} {width}"] = stack.enter_context(started(executable, "artifacts", spec))
                worker.ask()  # the first run allocates
        turns = {name: lambda worker=worker: worker.ask()["seconds"] for name, worker in workers.items()}
        seconds = in_turns(turns, rounds)
    for width in filters:
        whole, exact = seconds[f"int8 {width}"], seconds[f"float32 {width}"]
        speed = Speeds.of([1.0 / s for s in whole], [1.0 / s for s in exact])
        macs = 9 * (3 * width + BLOCKS * width**2 + width * 3 * SCALE**2)
        rows.append(WidthRow(width, macs, statistics.median(whole), statistics.median(exact), speed))
    header = ("filters", "multiply-adds", "int8", "float32", "int8 is faster by", "lowest - highest", "int8 a second")
    pixels = size[0] * size[1]
    cells = [
        (
            str(row.filters), f"{row.macs * pixels / 1e9:.1f} G",
            *(f"{seconds * 1e3:.1f} ms" for seconds in (row.int8, row.float32)),
            f"{row.speed.ratio:.2f}", row.speed.range, f"{row.macs * pixels / row.int8 / 1e9:.0f} G",
        )
        for row in rows
    ]  # fmt: skip
    notes = [f"LR {size[1]}x{size[0]}, {threads} threads, {rounds} rounds, in turns."]
    return Report([Table(header, cells, rows)], {"ai-edge-litert": metadata.version("ai-edge-litert")}, notes)


def _written(width: int, size: tuple[int, int], lr: np.ndarray, folder: Path) -> dict[str, Path]:
    import keras

    from sr_keras import calibration, quantize
    from sr_keras.exporters import tflite
    from sr_keras.models import anchor

    keras.utils.set_random_seed(0)
    network = anchor.build(scale=SCALE, filters=width, blocks=BLOCKS)
    twin = quantize.fake_quantised(network)
    calibration.calibrate(twin, [lr[:96, :128].astype(np.float32) / np.float32(255.0)])
    exact = tflite.save(network, folder, size=size, precision="float32")
    return {"float32": exact, "int8": tflite.save(twin, folder, size=size, precision="int8")}
