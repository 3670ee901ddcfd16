"""PSNR, SSIM and more of a predictor over pictures, one protocol; used while training and by `evaluate`."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from sr_keras import image, metrics
from sr_keras.data import Pair


@dataclass(frozen=True)
class Score:
    """What one picture got; `seconds` is the time of the prediction alone, `megapixels` the size of its output.

    `perceptual` is None where it was not asked for.
    """

    name: str
    psnr: float
    ssim: float
    seconds: float
    megapixels: float
    perceptual: float | None = None


def scores(
    predict: Callable[[np.ndarray], np.ndarray],
    pairs: Iterable[Pair],
    *,
    scale: int,
    protocol: metrics.Protocol,
    perceptual: Callable | None = None,
) -> Iterator[Score]:
    """Predicts every LR picture (uint8 `[h, w, C]` -> float `[h*scale, w*scale, C]` in [0, 1]) and compares it.

    `perceptual` is a loss `f(hr, sr)` for `distance`, which does not depend on the protocol.
    """
    for pair in pairs:
        start = time.perf_counter()
        sr = predict(pair.lr)
        seconds = time.perf_counter() - start
        truth, result = protocol.prepare(pair.hr, scale), protocol.prepare(sr, scale)
        size = sr.shape[0] * sr.shape[1] / 1e6
        found = None if perceptual is None else distance(perceptual, pair.hr, sr)
        yield Score(pair.name, metrics.psnr(truth, result), metrics.ssim(truth, result), seconds, size, found)


def distance(loss: Callable, hr: np.ndarray, sr: np.ndarray) -> float:
    """Returns `loss(hr, sr)` of whole pictures `[H, W, C]` (uint8, uint16 or float in [0, 1]), 0 where they are equal.

    Both are rounded to 8 bits, no border is cut, and a grey picture is repeated to three channels. In float32.
    """
    both = (image.with_channels(image.to_float(image.to_uint8(pixels)), 3)[None] for pixels in (hr, sr))
    return float(loss(*both))


def mean(values: Iterable[float]) -> float:
    """Returns the plain mean; NaN of nothing."""
    values = list(values)
    return float(np.mean(values)) if values else float("nan")
