"""Many pictures from files to files against the bare network on the same pixels in memory: what the rest costs."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import SCALE, mosaic
from .report import Speeds, Table, say
from .upscaling_runtimes import hide_openvino
from .workers import Answer, Work, bind, in_turns, started

BARE = {"whole": "whole pictures", "windows": "windows"}  # ways to run the network on pixels in memory
FORMATS = {"jpeg": ".jpg", "png": ".png"}


@dataclass(frozen=True)
class FolderRow:
    """Megapixels of output per second of `sr_keras.pipeline.run` (ours) and of the bare network (peer)."""

    format: str
    pictures: int
    runtime: str
    bare: str
    rates: Speeds


def measured(
    spec: Mapping[str, Any], squares: list[np.ndarray], size: tuple[int, int], pictures: int, rounds: int, folder: Path
) -> Table:  # fmt: skip
    """Has one process enlarge the pictures in all ways, in turns; the faster of the bare ways is the peer."""
    _write(squares, size, pictures, folder / "pictures")
    say(f"starting the Upscaler for a folder of {pictures} pictures")
    with started(sys.executable, "upscale-folder", {**spec, "folder": str(folder / "pictures")}) as worker:
        turns = {way: lambda way=way: worker.ask(way=way)["seconds"] for way in (*BARE, *FORMATS)}
        for turn in turns.values():
            turn()
        seconds = in_turns(turns, rounds)
    megapixels = pictures * SCALE**2 * size[0] * size[1] / 1e6
    rates = {way: [megapixels / each for each in times] for way, times in seconds.items()}
    best = max(BARE, key=lambda way: statistics.median(rates[way]))
    rows = [
        FolderRow(name, pictures, worker.ready["chosen"], BARE[best], Speeds.of(rates[name], rates[best]))
        for name in FORMATS
    ]
    header = ("pictures", "bare network, MP/s", "pipeline, MP/s", "ratio", "lowest - highest")
    cells = [
        (
            f"{row.pictures} {row.format.upper()}", f"{row.rates.peer:.1f} ({row.bare})", f"{row.rates.ours:.1f}",
            f"{row.rates.ratio:.3f}", row.rates.range,
        )
        for row in rows
    ]  # fmt: skip
    title = f"A folder of {pictures} pictures of {size[1]}x{size[0]} on {worker.ready['chosen']}, from files to files:"
    return Table(header, cells, rows, title, key="folder")


def _write(squares: list[np.ndarray], size: tuple[int, int], pictures: int, folder: Path) -> None:
    from sr_keras import image

    for k in range(pictures):
        pixels = mosaic.mosaic(squares, *size, seed=1 + k)
        for name, ending in FORMATS.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            image.write(folder / name / f"{k:03}{ending}", pixels)


def prepare(spec: Mapping[str, Any]) -> tuple[Answer, Work]:
    """Makes the worker that enlarges all pictures of `spec["folder"]` in the way that the order says."""
    bind(spec["threads"])
    if spec["without_openvino"]:
        hide_openvino()
    import sr_keras
    from sr_keras import image
    from sr_keras.rows import Rows

    upscaler, folder = sr_keras.Upscaler(spec["model"]), Path(spec["folder"])
    pictures = [image.read(path) for path in sorted((folder / "png").iterdir())]

    def whole() -> None:
        for pixels in pictures:
            upscaler.predictor.enlarge_uint8(pixels[None])

    def windows() -> None:
        for pixels in pictures:
            for _ in upscaler.stream(Rows.of(pixels), pixels.dtype):
                pass

    ways = {"whole": whole, "windows": windows} | {name: _pipeline(upscaler, folder, name) for name in FORMATS}

    def work(way: str) -> Answer:
        start = time.perf_counter()
        ways[way]()
        return {"seconds": time.perf_counter() - start}

    return {"chosen": upscaler.predictor.runtime}, work


def _pipeline(upscaler: Any, folder: Path, name: str) -> Callable[[], None]:
    from sr_keras import jobs, pipeline

    files = sorted((folder / name).iterdir())
    tasks = [jobs.Job(path, path.name, folder / "out" / path.name) for path in files]

    def run() -> None:
        failed = [result.error for result in pipeline.run(tasks, upscaler) if result.status != "done"]
        if failed:
            raise RuntimeError(f"{len(failed)} pictures failed, the first: {failed[0]}")

    return run
