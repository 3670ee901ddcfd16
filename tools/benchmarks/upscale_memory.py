"""The memory and the time that `python -m sr_keras.upscale` takes for pictures of many megapixels."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import mosaic
from .report import Report, Table, megabytes, memory_of, need_proc, say

_EVERY = 0.02  # seconds between two looks at the process
FORMATS = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif"}


@dataclass(frozen=True)
class UpscaleMemoryRow:
    """One picture through the command line; sizes in bytes, (width, height) in pixels.

    `seconds` is the life of the process, `enlarging` its own figure for the picture.
    """

    format: str
    input_size: tuple[int, int]
    input_bytes: int
    scale: int
    output_size: tuple[int, int] | None
    output_bytes: int
    runtime: str
    seconds: float
    enlarging: float
    peak_memory: int
    error: str | None


def upscale_memory(
    *, model: Path | None, model_x4: Path | None, data: Path | None, megapixels: Sequence[float], scales: Sequence[int],
    formats: Sequence[str], tiff: float, runtime: str, folder: Path | None,
) -> Report:  # fmt: skip
    """Runs `python -m sr_keras.upscale` on large pictures, each in a process of its own, and watches its memory.

    The peak is VmHWM, the most that was resident at once; it is looked at 50 times a second.
    """
    need_proc("upscale-memory")
    squares, rows = mosaic.cells(data), []
    given = {2: model, 4: model_x4}
    cases = [(name, size, scales) for size in megapixels for name in formats]
    cases += [("tiff", tiff, [2])] if tiff else []
    with tempfile.TemporaryDirectory(prefix="sr_keras_benchmark_", dir=folder) as temporary:
        place = Path(temporary)
        models = {scale: given[scale] or _random(scale, place) for scale in {s for case in cases for s in case[2]}}
        for name, size, wanted in cases:
            source = _write(squares, size, place / f"picture{FORMATS[name]}")
            for scale in wanted:
                rows.append(_run(source, models[scale], scale, runtime, name))
                _tell(rows[-1])
            source.unlink()
    return Report([_table(rows)])


def _random(scale: int, folder: Path) -> Path:
    """Has another process make anchor S with random weights: TensorFlow here would take memory from what is watched."""
    path = folder / f"anchor_x{scale}.keras"
    code = (
        "import sys; from sr_keras.models import anchor; "
        "anchor.build(scale=int(sys.argv[1]), filters=32, blocks=4).save(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, str(scale), path], check=True, capture_output=True)
    return path


def _write(squares: list, megapixels: float, path: Path) -> Path:
    from sr_keras import image

    width = max(round((megapixels * 1e6 * 4 / 3) ** 0.5), 4)
    image.write(path, mosaic.mosaic(squares, width * 3 // 4, width, seed=0))
    return path


def _run(source: Path, model: Path, scale: int, runtime: str, name: str) -> UpscaleMemoryRow:
    """Enlarges `source` beside itself, and removes the output again."""
    target, summary = source.with_name(f"output{source.suffix}"), source.with_name("summary.json")
    command = [sys.executable, "-m", "sr_keras.upscale", source, "-o", target, "--model", model]
    command += ["--runtime", runtime, "--json", summary]
    summary.unlink(missing_ok=True)
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=said, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    ) as process:  # fmt: skip
        peak = _peak(process)
        seconds = time.perf_counter() - start
        said.seek(0)
        words = said.read().strip().splitlines()
    told = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {"runtime": "", "results": [{}]}
    result = told["results"][0]
    size = target.stat().st_size if target.is_file() else 0
    target.unlink(missing_ok=True)
    error = (words or [f"exit status {process.returncode}"])[-1] if process.returncode else None
    return UpscaleMemoryRow(
        name, tuple(result.get("input_size") or (0, 0)), source.stat().st_size, scale, result.get("output_size"), size,
        told["runtime"], seconds, result.get("seconds", 0.0), peak, error,
    )  # fmt: skip


def _peak(process: subprocess.Popen) -> int:
    """Waits for the process; returns the largest VmHWM that was seen, which only grows."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_of(process.pid).get("VmHWM", 0))  # a process that has just ended has none
        time.sleep(_EVERY)
    return peak


def _tell(row: UpscaleMemoryRow) -> None:
    status = ", failed" if row.error else ""
    say(f"{row.format} x{row.scale}: {row.seconds:.1f} s, {megabytes(row.peak_memory)}{status}")


def _table(rows: Sequence[UpscaleMemoryRow]) -> Table:
    header = (
        "input", "file", "scale", "output", "file of it", "seconds", "of these enlarging", "peak memory", "runtime",
    )  # fmt: skip

    def size(sides: Sequence[int] | None) -> str:
        return f"{sides[0]}x{sides[1]} ({sides[0] * sides[1] / 1e6:.1f} MP)" if sides else ""

    cells = [
        (
            f"{row.format.upper()} {size(row.input_size)}", megabytes(row.input_bytes), f"x{row.scale}",
            size(row.output_size), megabytes(row.output_bytes), f"{row.seconds:.1f}", f"{row.enlarging:.1f}",
            megabytes(row.peak_memory), f"failed: {row.error}" if row.error else row.runtime,
        )
        for row in rows
    ]  # fmt: skip
    return Table(header, cells, rows)
