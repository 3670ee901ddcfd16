"""PSNR and SSIM of a predictor over pictures, one protocol; used while training and by `evaluate`."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from sr_keras import metrics
from sr_keras.data import Pair


@dataclass(frozen=True)
class Score:
    """What one picture got; `seconds` is the time of the prediction alone, `megapixels` the size of its output."""

    name: str
    psnr: float
    ssim: float
    seconds: float
    megapixels: float


def scores(
    predict: Callable[[np.ndarray], np.ndarray], pairs: Iterable[Pair], *, scale: int, protocol: metrics.Protocol
) -> Iterator[Score]:
    """Predicts every LR picture (uint8 `[h, w, C]` -> float `[h*scale, w*scale, C]` in [0, 1]) and compares it."""
    for pair in pairs:
        start = time.perf_counter()
        sr = predict(pair.lr)
        seconds = time.perf_counter() - start
        truth, result = protocol.prepare(pair.hr, scale), protocol.prepare(sr, scale)
        size = sr.shape[0] * sr.shape[1] / 1e6
        yield Score(pair.name, metrics.psnr(truth, result), metrics.ssim(truth, result), seconds, size)


def mean(values: Iterable[float]) -> float:
    """Returns the plain mean; NaN of nothing."""
    values = list(values)
    return float(np.mean(values)) if values else float("nan")
