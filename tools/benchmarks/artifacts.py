"""How fast the files of an export are, and what memory they take: each in its own runtime, in turns, in one run."""

import contextlib
import importlib.util
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from sys import executable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from . import mosaic
from .report import Report, Speeds, Table, megabytes, memory_of, need_proc
from .workers import Answer, Work, Worker, bind, in_turns, started

_CHECK = Path(__file__).parents[2] / "export" / "check_artifacts.py"
_MODULES = {"tflite": "ai_edge_litert", "onnx": "onnxruntime", "openvino": "openvino", "saved_model": "tensorflow"}
_BICUBIC, _FLOAT = "OpenCV bicubic", "tflite float32"


@dataclass(frozen=True)
class ArtifactRow:
    """Seconds for one LR picture; bytes of memory, of which `grown` once the runtime was loaded; a ratio to float32.

    `speed` compares with the float32 TFLite file in the same rounds, or is None where the folder has none.
    """

    file: str
    kind: str
    threads: int
    median: float
    p95: float
    speed: Speeds | None
    peak: int
    grown: int
    rounds: tuple[float, ...]


def artifacts(*, folder: Path, size: tuple[int, int], threads: Sequence[int], rounds: int, data: Path | None) -> Report:
    """Times every file of an export folder that takes LR pictures of the size, beside OpenCV's bicubic (Linux).

    The runtimes are opened as export/check_artifacts.py does, in processes without TensorFlow but for a SavedModel.
    """
    need_proc("artifacts")
    scale, chosen, left = _chosen(folder, size)
    lr = mosaic.mosaic(mosaic.cells(data), *size, seed=0)
    rows: list[ArtifactRow] = []
    with TemporaryDirectory(prefix="sr_keras_benchmark_") as scratch:
        place = Path(scratch) / "lr.npy"
        np.save(place, lr)
        for count in threads:
            spec = {"lr": str(place), "threads": count, "scale": scale}
            rows += _measured(folder, chosen, spec, rounds)
    used = {_MODULES[kind.split()[0]] for kind in chosen.values()}
    names = {"ai_edge_litert": "ai-edge-litert"}
    versions = {names.get(module, module): metadata.version(names.get(module, module)) for module in sorted(used)}
    height, width = size
    notes = [f"LR {width}x{height} to {scale * width}x{scale * height}, {rounds} rounds, in turns."]
    if left:
        notes.append(f"Left out, since they take another size: {', '.join(left)}.")
    header = (
        "file",
        "threads",
        "median",
        "p95",
        "against float32 TFLite",
        "lowest - highest",
        "peak memory",
        "grown by",
    )
    cells = [
        (
            row.file, str(row.threads), f"{row.median * 1e3:.1f} ms", f"{row.p95 * 1e3:.1f} ms",
            f"{row.speed.ratio:.2f}" if row.speed else "-", row.speed.range if row.speed else "-",
            megabytes(row.peak), megabytes(row.grown),
        )
        for row in rows
    ]  # fmt: skip
    return Report([Table(header, cells, rows)], versions, notes)


def _chosen(folder: Path, size: tuple[int, int]) -> tuple[int, dict[str, str], list[str]]:
    """Returns the scale, the kinds of the files that take the size, and the names of the others."""
    from sr_keras.errors import InputError

    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        artifacts = manifest["artifacts"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: is no export folder ({error}); give one with manifest.json.") from error
    if manifest["channels"] != 3:
        raise InputError(f"{folder}: holds a network on luminance; export one on RGB.")
    kinds = {artifact["file"]: artifact["kind"] for artifact in artifacts}
    sizes = {artifact["file"]: artifact["size"] and tuple(artifact["size"]) for artifact in artifacts}
    fixed = {kind for file, kind in kinds.items() if sizes[file] == size}
    fits = {  # one file of a kind
        file: kind for file, kind in kinds.items() if sizes[file] == size or (sizes[file] is None and kind not in fixed)
    }
    if not fits:
        name = f"{size[0]}x{size[1]}"
        raise InputError(f"{folder}: no file takes LR pictures of {name}; export one, or give another --size.")
    return manifest["scale"], fits, sorted(set(kinds) - set(fits))


def _measured(folder: Path, chosen: Mapping[str, str], spec: dict[str, Any], rounds: int) -> Iterator[ArtifactRow]:
    kinds = {_BICUBIC: "opencv", **chosen}
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for file, kind in kinds.items():
            own = {**spec, "file": str(folder / file), "kind": kind.split()[0]}
            workers[file] = stack.enter_context(started(executable, "artifacts", own))
            workers[file].ask()  # the first run allocates
        peaks: dict[str, Answer] = {}

        def turn(file: str) -> float:
            peaks[file] = workers[file].ask()
            return peaks[file]["seconds"]

        seconds = in_turns({file: lambda file=file: turn(file) for file in kinds}, rounds)
    exact = next((file for file, kind in kinds.items() if kind == _FLOAT), None)
    for file, kind in kinds.items():
        speed = None
        if exact and file != exact:  # so many times as fast
            speed = Speeds.of([1.0 / s for s in seconds[file]], [1.0 / s for s in seconds[exact]])
        yield ArtifactRow(
            file, kind, spec["threads"], statistics.median(seconds[file]), float(np.percentile(seconds[file], 95)),
            speed, peaks[file]["peak"], peaks[file]["peak"] - workers[file].ready["loaded"], tuple(seconds[file]),
        )  # fmt: skip


def prepare(spec: Mapping[str, Any]) -> tuple[Answer, Work]:
    """Makes the worker that enlarges the picture `spec["lr"]` with one file."""
    bind(spec["threads"])
    lr = np.load(spec["lr"])[None]
    if spec["kind"] == "opencv":
        import cv2

        cv2.setNumThreads(spec["threads"])
        loaded, scale = memory_of()["VmRSS"], spec["scale"]
        fed = lr[0]

        def run(pixels: np.ndarray) -> np.ndarray:
            return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    else:
        importlib.import_module(_MODULES[spec["kind"]])
        loaded = memory_of()["VmRSS"]
        run, fed = _check().OPENERS[spec["kind"]](Path(spec["file"])), lr.astype(np.float32) / np.float32(255.0)

    def work() -> Answer:
        start = time.perf_counter()
        run(fed)
        return {"seconds": time.perf_counter() - start, "peak": memory_of()["VmHWM"]}

    return {"loaded": loaded}, work


def _check() -> Any:
    spec = importlib.util.spec_from_file_location("check_artifacts", _CHECK)
    module = importlib.util.module_from_spec(spec)  # pyright: ignore[reportArgumentType]
    spec.loader.exec_module(module)  # pyright: ignore[reportOptionalMemberAccess]
    return module
