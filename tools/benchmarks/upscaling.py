"""What enlarging a picture x2 takes on every runtime, against PyTorch; and a folder of pictures, on the chosen one."""

import contextlib
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import SCALE, mosaic, torch_networks, upscaling_folder
from .report import Report, Speeds, Table, megabytes, need_proc, say
from .upscaling_runtimes import RUNTIMES
from .workers import Worker, in_turns, started, torch_version

if TYPE_CHECKING:
    import keras

SAME = 1e-5  # the largest difference between PyTorch's and Keras' pixels in [0, 1]
PACKAGES = {"LiteRT": "ai-edge-litert", "ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}


@dataclass(frozen=True)
class UpscaleRow:
    """One runtime; `times` are its seconds and PyTorch float32's. Memory in bytes, PSNR in dB.

    `psnr_to_keras` is None where the pixels are equal; the `eval_` figures are the mean of a folder, and how much more
    that is than Keras float32's.
    """

    runtime: str
    chosen: str | None
    seconds: float
    rounds: tuple[float, ...]
    megapixels_per_second: float
    times: Speeds | None
    peak_memory: int
    psnr_to_keras: float | None
    psnr_y: float
    eval_psnr_y: float | None = None
    eval_gain: float | None = None


@dataclass(frozen=True)
class Pair:
    """An LR picture, uint8 `[h, w, 3]`, and its HR one."""

    name: str
    lr: np.ndarray
    hr: np.ndarray


def upscale(
    *, model: Path | None, data: Path | None, evaluated: Path | None, size: tuple[int, int], runtimes: Sequence[str],
    tables: Sequence[str], torch_python: str, threads: int, rounds: int, pictures: int, without_openvino: bool,
) -> Report:  # fmt: skip
    """Times one picture x2 on every runtime, in turns, and a folder of pictures through the whole pipeline.

    The network is an anchor, in PyTorch with the same weights. Raises `InputError` where `torch_python` has no PyTorch.
    """
    need_proc("upscale")
    runtimes = [name for name in RUNTIMES if name in {"keras", *runtimes}]
    versions = dict(_versions())
    if "runtimes" in tables and any(RUNTIMES[name].is_torch for name in runtimes):
        versions["PyTorch"] = torch_version(torch_python)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # all of them on the CPU
    squares, found = mosaic.cells(data), []
    with tempfile.TemporaryDirectory(prefix="sr_keras_benchmark_") as temporary:
        folder = Path(temporary)
        network, path = _network(model, folder)
        if "runtimes" in tables:
            pairs = [_picture(squares, size), *(_pairs(evaluated) if evaluated else ())]
            spec = _exported(network, path, runtimes, squares, folder) | {"threads": threads}
            rows = _measured(runtimes, pairs, spec, torch_python, rounds, folder)
            found.append(_table(rows, evaluated))
        if "folder" in tables:
            spec = {"model": str(path), "threads": threads, "without_openvino": without_openvino}
            found.append(upscaling_folder.measured(spec, squares, size, pictures, rounds, folder))
    notes = () if model else ("The weights are random: the PSNR to HR says nothing, and the others little.",)
    return Report(found, versions, notes)


def _versions() -> Iterator[tuple[str, str]]:
    for name, package in PACKAGES.items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(package)


def _network(model: Path | None, folder: Path) -> tuple["keras.Model", Path]:
    """Opens the model, or makes anchor S with random weights; returns its float32 network and its path."""
    import keras

    from sr_keras import models, predictor
    from sr_keras.component import build
    from sr_keras.errors import InputError
    from sr_keras.float32 import float32_twin

    if model is not None:
        network = float32_twin(predictor.open_network(model))
        opened = predictor.of_keras(network, str(model))
        if (opened.scale, opened.channels) != (SCALE, 3):
            raise InputError(f"{model}: enlarges {opened.scale} times; an RGB network of scale {SCALE} is needed here.")
        return network, model
    keras.utils.set_random_seed(0)
    network, path = build(models, {"name": "anchor", "filters": 32, "blocks": 4}, scale=SCALE), folder / "anchor.keras"
    network.save(path)
    return network, path


def _picture(squares: list[np.ndarray], size: tuple[int, int]) -> Pair:
    from sr_keras import resize

    hr = mosaic.mosaic(squares, SCALE * size[0], SCALE * size[1], seed=0)
    return Pair("mosaic", resize.imresize(hr, 1 / SCALE), hr)


def _pairs(folder: Path) -> list[Pair]:
    """Reads HR/ and LRbicx2/ of a folder; grey pictures stand three times, as a network takes them."""
    from sr_keras import image
    from sr_keras.errors import InputError

    def read(path: Path) -> np.ndarray:
        return image.with_channels(image.to_uint8(image.read(path)), 3)

    highs, lows = ({path.stem: path for path in image.listing(folder / part)} for part in ("HR", f"LRbicx{SCALE}"))
    if highs.keys() != lows.keys():
        raise InputError(f"{folder}: pairs need the same names in HR and LRbicx{SCALE}; add what is missing.")
    return [Pair(name, read(lows[name]), image.crop_to_multiple(read(highs[name]), SCALE)) for name in highs]


def _exported(
    network: "keras.Model", path: Path, runtimes: Sequence[str], squares: list[np.ndarray], folder: Path
) -> dict[str, Any]:
    """Writes the network in the formats that the runtimes read; returns their paths. int8 is calibrated on the data."""
    from sr_keras import image, resize
    from sr_keras.exporters import onnx, openvino, saved_model, tflite

    def torch() -> Path:
        np.savez(folder / "torch.npz", **torch_networks.anchor_weights(network))
        return folder / "torch.npz"

    def int8() -> Path:
        pictures = [image.to_float(resize.imresize(square, 1 / SCALE)) for square in squares[:32]]
        return tflite.save(network, folder, precision="int8", calibration=pictures)

    ways = {
        "saved_model": lambda: saved_model.save(network, folder), "tflite": lambda: tflite.save(network, folder),
        "tflite_int8": int8, "onnx": lambda: onnx.save(network, folder),
        "openvino": lambda: openvino.save(network, folder), "torch": torch,
    }  # fmt: skip
    wanted = {RUNTIMES[name].export for name in runtimes}
    return {"model": str(path)} | {name: str(save()) for name, save in ways.items() if name in wanted}


def _measured(
    runtimes: Sequence[str], pairs: Sequence[Pair], spec: dict[str, Any], torch_python: str, rounds: int, folder: Path
) -> list[UpscaleRow]:
    """Starts all workers, compares their pixels, has them take turns on the first picture, and enlarge the others."""
    spec["lr"] = str(folder / "lr.npy")
    np.save(spec["lr"], pairs[0].lr)
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in runtimes:
            python = torch_python if RUNTIMES[name].is_torch else sys.executable
            say(f"starting {RUNTIMES[name].label}")
            workers[name] = stack.enter_context(started(python, "upscale", spec | {"runtime": name}))
        quality = _qualities(workers, pairs[0], folder)
        answers = {}

        def turn(name: str) -> float:
            answers[name] = workers[name].ask()
            return answers[name]["seconds"]

        seconds = in_turns({name: lambda name=name: turn(name) for name in workers}, rounds)
        evaluation = _evaluation(workers, pairs[1:], folder)
    megapixels = pairs[0].hr.shape[0] * pairs[0].hr.shape[1] / 1e6
    return [
        UpscaleRow(
            RUNTIMES[name].label, workers[name].ready.get("chosen"), statistics.median(times), tuple(times),
            megapixels / statistics.median(times), Speeds.of(times, seconds["torch"]) if "torch" in seconds else None,
            answers[name]["peak"], *quality[name], *evaluation[name],
        )
        for name, times in seconds.items()
    ]  # fmt: skip


def _qualities(workers: Mapping[str, Worker], pair: Pair, folder: Path) -> dict[str, tuple[float | None, float]]:
    """Returns the PSNR to Keras float32, of 8 bits where the runtime gives those, and on Y to HR; warms up, too."""
    from sr_keras import image, metrics

    found, reference = {}, None
    for name, worker in workers.items():
        sr = _enlarged(worker, pair.lr, folder)
        reference = sr if reference is None else reference  # Keras is the first
        refuse_other_pixels(name, sr, reference)
        same_type = image.to_uint8(reference) if sr.dtype == np.uint8 else reference
        to_keras = metrics.psnr(*(image.to_float(pixels) * np.float32(255.0) for pixels in (same_type, sr)))
        found[name] = (to_keras if math.isfinite(to_keras) else None, _psnr_y(pair.hr, sr))
    return found


def refuse_other_pixels(name: str, sr: np.ndarray, reference: np.ndarray) -> None:
    """Raises `RuntimeError` where PyTorch's float32 pixels are not those of Keras: nothing to compare."""
    difference = float(np.abs(sr - reference).max()) if name == "torch" else 0.0
    if not difference <= SAME:
        raise RuntimeError(f"PyTorch's pixels are up to {difference:.2g} from those of Keras: not the same network.")


def _enlarged(worker: Worker, lr: np.ndarray, folder: Path) -> np.ndarray:
    source, target = folder / "source.npy", folder / "target.npy"
    np.save(source, lr)
    target.unlink(missing_ok=True)
    worker.ask(source=str(source), target=str(target))
    return np.load(target)


def _psnr_y(hr: np.ndarray, sr: np.ndarray) -> float:
    from sr_keras import metrics

    return metrics.psnr(*(metrics.PROTOCOLS["y"].prepare(pixels, SCALE) for pixels in (hr, sr)))


def _evaluation(
    workers: Mapping[str, Worker], pairs: Sequence[Pair], folder: Path
) -> dict[str, tuple[float | None, float | None]]:
    """Returns the mean PSNR on Y, and what of it is above that of Keras float32."""
    if not pairs:
        return dict.fromkeys(workers, (None, None))
    say(f"enlarging {len(pairs)} pictures with each")
    means = {
        name: statistics.fmean(_psnr_y(pair.hr, _enlarged(worker, pair.lr, folder)) for pair in pairs)
        for name, worker in workers.items()
    }
    return {name: (mean, mean - means["keras"]) for name, mean in means.items()}


def _table(rows: Sequence[UpscaleRow], evaluated: Path | None) -> Table:
    header = [
        "runtime", "ms", "MP/s", "time, PyTorch's is 1", "lowest - highest", "peak memory", "PSNR to Keras",
        "PSNR-Y to HR",
    ]  # fmt: skip
    if evaluated:
        header += [f"{evaluated.name}, PSNR-Y", "over float32"]
    return Table(header, [_cells(row) for row in rows], rows)


def _cells(row: UpscaleRow) -> list[str]:
    cells = [
        f"{row.runtime} ({row.chosen})" if row.chosen else row.runtime, f"{1000 * row.seconds:,.0f}",
        f"{row.megapixels_per_second:.1f}", f"{row.times.ratio:.3f}" if row.times else "",
        row.times.range if row.times else "", megabytes(row.peak_memory),
        "equal" if row.psnr_to_keras is None else f"{row.psnr_to_keras:.1f}", f"{row.psnr_y:.3f}",
    ]  # fmt: skip
    if row.eval_psnr_y is not None and row.eval_gain is not None:
        cells += [f"{row.eval_psnr_y:.3f}", f"{row.eval_gain:+.3f}"]
    return cells
