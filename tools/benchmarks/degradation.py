"""Training samples per second of each degradation, against bicubic; and its stages against OpenCV and NumPy."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .report import Report, Speeds, Table, say
from .workers import in_turns

if TYPE_CHECKING:
    from sr_keras.data import Degrade

BASE = "bicubic"
_LEVEL = 10.0  # of the noise, of 255
_QUALITY = 60
_FACTOR = 0.6  # of the resize
_CALLS = 10  # in a stage's turn


@dataclass(frozen=True)
class DegradationRow:
    """Milliseconds that a sample takes with a degradation (`ours`) and with bicubic (`peer`), and of processor time."""

    degradation: str
    ms: Speeds
    processor_ms: float


@dataclass(frozen=True)
class StageRow:
    """Milliseconds of processor time of one stage on one HR patch: ours, and OpenCV's or NumPy's (`peer`)."""

    stage: str
    ms: Speeds


def degradation(
    *, names: Sequence[str], data: Path | None, scale: int, batch: int, patch: int, rounds: int, seconds: float
) -> Report:
    """Times training samples of each degradation, as `train` makes them, and the stages that they are made of."""
    from sr_keras import embedded, store
    from sr_keras.errors import InputError

    if patch % scale:
        raise InputError(
            f"degradation: --patch must be a multiple of --scale {scale}; try {max(patch // scale, 1) * scale}."
        )
    opened = store.open_folder(data, None) if data else embedded.photographs("train")
    ways = {name: _Samples(opened, name, scale, batch, patch, seconds) for name in (BASE, *names)}
    seconds_of = in_turns({name: way.turn for name, way in ways.items()}, rounds)
    ms = {name: [1e3 * each for each in seconds_of[name]] for name in ways}
    rows = [DegradationRow(name, Speeds.of(ms[name], ms[BASE]), ways[name].processor_ms) for name in ways]
    header = ("degradation", "samples/s", "processor time, ms a sample", "time, bicubic's is 1", "lowest - highest")
    cells = [
        (r.degradation, f"{1e3 / r.ms.ours:.1f}", f"{r.processor_ms:.2f}", f"{r.ms.ratio:.1f}", r.ms.range)
        for r in rows
    ]
    return Report([Table(header, cells, rows, "Samples"), _stages(opened.picture(0), patch, rounds)])


class _Samples:
    """A dataset of training samples that runs only in its turn; `turn` returns the seconds that one sample takes."""

    def __init__(self, opened, name: str, scale: int, batch: int, patch: int, seconds: float) -> None:
        from sr_keras import data

        patches = data.Patches([data.Pictures(opened)], scale, patch, seed=0)
        say(f"tracing {name}")
        self.dataset = data.train(patches, _built(name, scale), batch=batch)
        self.batch, self.seconds = batch, seconds
        self.processor: list[float] = []

    def turn(self) -> float:
        batches = iter(self.dataset)
        for _ in range(6):  # what is made in advance would count as free
            next(batches)
        count, start, busy = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < self.seconds:
            next(batches)
            count += self.batch
        taken = (time.perf_counter() - start) / count
        self.processor.append((time.process_time() - busy) / count)
        return taken

    @property
    def processor_ms(self) -> float:
        return 1e3 * statistics.median(self.processor)


def _built(name: str, scale: int) -> "Degrade":
    from sr_keras import component, degradations

    return component.build(degradations, name, scale=scale)


def _stages(picture: np.ndarray, patch: int, rounds: int) -> Table:
    """Times each stage on one patch, in turns with the shortest way to do it with OpenCV and NumPy."""
    hr = np.ascontiguousarray(picture[:patch, :patch].astype(np.float32) / np.float32(255.0))
    ours, theirs = _ours(hr), _theirs(hr)
    turns: dict[str, Callable[[], float]] = {}
    for stage in ours:
        turns |= {stage: _timed(ours[stage]), f"{stage}, theirs": _timed(theirs[stage])}
    seconds = in_turns(turns, rounds)
    ms = {name: [1e3 * each for each in times] for name, times in seconds.items()}
    rows = [StageRow(stage, Speeds.of(ms[stage], ms[f"{stage}, theirs"])) for stage in ours]
    header = ("stage", "processor time, ms", "OpenCV, NumPy: ms", "time, theirs is 1", "lowest - highest")
    cells = [(r.stage, f"{r.ms.ours:.2f}", f"{r.ms.peer:.2f}", f"{r.ms.ratio:.2f}", r.ms.range) for r in rows]
    return Table(header, cells, rows, f"Stages, one patch of {hr.shape[1]}x{hr.shape[0]}", key="stages")


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    """Returns a turn: processor time of one call in seconds, over several; the first call traces and does not count."""
    call()

    def turn() -> float:
        start = time.process_time()
        for _ in range(_CALLS):
            call()
        return (time.process_time() - start) / _CALLS

    return turn


def _ours(hr: np.ndarray) -> dict[str, Callable[[], object]]:
    import tensorflow as tf

    from sr_keras.degradations import _kernels, _noise, _ops

    x, seed = tf.constant(hr.transpose(2, 0, 1)), tf.constant([1, 2])
    kernel = _kernels.blurring(seed, sigma=(1.0, 1.0), sinc=0.0)
    height, width = (tf.constant(int(_FACTOR * side)) for side in hr.shape[:2])
    colour, mode, quality = tf.constant(False), tf.constant(_ops.CUBIC), tf.constant(_QUALITY)
    calls = {
        "kernel": tf.function(lambda: _kernels.blurring(seed, sigma=(0.2, 3.0))),
        "blur, 21x21": tf.function(lambda: _ops.blur(x, kernel)),
        "resize, cubic": tf.function(lambda: _ops.resize(x, height, width, mode)),
        "Gaussian noise": tf.function(lambda: x + _noise.gaussian(x, seed, colour) * (_LEVEL / 255.0)),
        "Poisson noise": tf.function(lambda: x + _noise.poisson_noise(x, seed, colour)),
        "JPEG": tf.function(lambda: _ops.jpeg(x, quality)),
        "sharpening": tf.function(lambda: _ops.sharpen(x)),
    }
    return {stage: (lambda call=call: call().numpy()) for stage, call in calls.items()}


def _theirs(hr: np.ndarray) -> dict[str, Callable[[], object]]:
    import cv2

    random = np.random.default_rng(0)
    side = np.arange(-10, 11)
    kernel = np.exp(-0.5 * (side[:, None] ** 2 + side**2)).astype(np.float32)
    size = (int(_FACTOR * hr.shape[1]), int(_FACTOR * hr.shape[0]))

    def made() -> np.ndarray:
        rows, columns = np.mgrid[-10:11, -10:11]
        turned = columns * np.cos(0.5) + rows * np.sin(0.5), rows * np.cos(0.5) - columns * np.sin(0.5)
        gaussian = np.exp(-0.5 * ((turned[0] / 2.0) ** 2 + turned[1] ** 2))
        return gaussian / gaussian.sum()

    def poisson() -> np.ndarray:
        levels = np.rint(hr * 255.0) / 255.0
        different = 2.0 ** np.ceil(np.log2(len(np.unique(levels))))
        return hr + (random.poisson(levels * different) / different - levels)

    def jpeg() -> np.ndarray:
        pixels = np.rint(hr[..., ::-1] * 255.0).astype(np.uint8)
        data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255.0

    def sharpened() -> np.ndarray:
        detail = hr - cv2.GaussianBlur(hr, (51, 51), 0)
        mask = cv2.GaussianBlur((np.abs(detail) * 255.0 > 10.0).astype(np.float32), (51, 51), 0)
        return mask * np.clip(hr + 0.5 * detail, 0.0, 1.0) + (1.0 - mask) * hr

    return {
        "kernel": made,
        "blur, 21x21": lambda: cv2.filter2D(hr, -1, kernel),
        "resize, cubic": lambda: cv2.resize(hr, size, interpolation=cv2.INTER_CUBIC),
        "Gaussian noise": lambda: hr + random.standard_normal(hr.shape, np.float32) * (_LEVEL / 255.0),
        "Poisson noise": poisson,
        "JPEG": jpeg,
        "sharpening": sharpened,
    }
