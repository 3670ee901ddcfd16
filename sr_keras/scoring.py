"""PSNR, SSIM and more of a predictor over pictures, one protocol; used while training and by `evaluate`."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from sr_keras import image, metrics
from sr_keras.data import Pair

Measure = Callable[[Pair, np.ndarray], float]  # of a pair and its SR, float `[H, W, C]` in [0, 1]


@dataclass(frozen=True)
class Score:
    """What one picture got; `seconds` is the time of the prediction alone, `megapixels` the size of its output.

    `measures` are the figures beside PSNR and SSIM that were asked for, by name.
    """

    name: str
    psnr: float
    ssim: float
    seconds: float
    megapixels: float
    measures: Mapping[str, float]


def scores(
    predict: Callable[[np.ndarray], np.ndarray], pairs: Iterable[Pair], *, scale: int, protocol: metrics.Protocol,
    measures: Mapping[str, Measure] | None = None,
) -> Iterator[Score]:  # fmt: skip
    """Predicts every LR picture (uint8 `[h, w, C]` -> float `[h*scale, w*scale, C]` in [0, 1]) and compares it.

    The `measures` do not depend on the protocol.
    """
    for pair in pairs:
        start = time.perf_counter()
        sr = predict(pair.lr)
        seconds = time.perf_counter() - start
        truth, result = protocol.prepare(pair.hr, scale), protocol.prepare(sr, scale)
        size = sr.shape[0] * sr.shape[1] / 1e6
        found = {name: measure(pair, sr) for name, measure in (measures or {}).items()}
        yield Score(pair.name, metrics.psnr(truth, result), metrics.ssim(truth, result), seconds, size, found)


def of_loss(loss: Callable) -> Measure:
    """Makes a loss `f(hr, sr)` a measure of whole pictures, both rounded to 8 bits, grey ones repeated; in float32.

    It runs as a graph: Keras in eager mode keeps every feature map of a network to the end, 1.1 GB per megapixel.
    """
    function = tf.function(loss, reduce_retracing=True)

    def measure(pair: Pair, sr: np.ndarray) -> float:
        both = (image.with_channels(image.to_float(image.to_uint8(pixels)), 3)[None] for pixels in (pair.hr, sr))
        return float(function(*(tf.constant(pixels) for pixels in both)))

    return measure


def mean(values: Iterable[float]) -> float:
    """Returns the plain mean; NaN of nothing."""
    values = list(values)
    return float(np.mean(values)) if values else float("nan")
