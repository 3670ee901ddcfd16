"""Ranges for a fake-quantised twin from real pictures, and which of its layers loses how much."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import keras
import numpy as np
from keras import ops

from sr_keras import image
from sr_keras.data import Pair
from sr_keras.layers.fake_quant import FakeQuant, FakeQuantConv2D, FakeQuantPReLU, FakeQuantRescaling
from sr_keras.quantize import is_relu, ranges

Rule = Literal["minmax", "percentile", "mse"]


def pictures_for(network: keras.Model, pairs: Iterable[Pair]) -> list[np.ndarray]:
    """Returns LR pictures as the network takes them: float32 `[H, W, C]` in [0, 1], of its only size if it has one."""
    _, height, width, channels = network.input_shape
    pictures = (pair.lr if height is None else image.fitted(pair.lr, height, width) for pair in pairs)
    return [image.with_channels(image.to_float(picture), channels) for picture in pictures]


class Calibration:
    """What the float network makes of LR pictures, float32 `[H, W, C]` in [0, 1], at every range of its twin.

    Raises:
        ValueError: for no pictures.
    """

    def __init__(self, twin: keras.Model, pictures: Sequence[np.ndarray]) -> None:
        if not pictures:
            raise ValueError("calibration needs pictures, got none; give some of LR size.")
        self.learnt = [layer for layer in ranges(twin) if layer.fixed is None]
        self.extremes = [_Extremes() for _ in self.learnt]
        self._twin, self._pictures, self._counted = twin, pictures, None
        for extreme, values in self._observed():
            extreme.add(values)

    def set_ranges(self, rule: Rule) -> None:
        """Sets the twin's ranges.

        `minmax` takes the extremes seen; `percentile` leaves out the outer 0.01 % of values at either end; `mse` takes
        the range whose 256 values are nearest to what was seen, in the mean square (Choukroun et al., 2019, arXiv
        1902.06822).

        Raises:
            ValueError: for another rule.
        """
        if rule not in get_args(Rule):
            raise ValueError(f"ranges must be one of {', '.join(get_args(Rule))}, got {rule}.")
        chosen = self.extremes
        if rule != "minmax":
            choose = _Histogram.percentile if rule == "percentile" else _Histogram.least_error
            chosen = [choose(histogram) for histogram in self._histograms()]
        for layer, extreme in zip(self.learnt, chosen, strict=True):
            layer.set_range(extreme.low, extreme.high)

    def _histograms(self) -> "list[_Histogram]":
        if self._counted is None:
            self._counted = [_Histogram(extreme.low, extreme.high) for extreme in self.extremes]
            for index, (_, values) in enumerate(self._observed()):
                self._counted[index % len(self._counted)].add(values)
        return self._counted

    def _observed(self) -> "Iterator[tuple[_Extremes, np.ndarray]]":
        """Yields what each layer gets, picture by picture."""
        if not self.learnt:
            return
        observer = keras.Model(self._twin.input, [layer.input for layer in self.learnt])
        with bypassed(self._twin):
            for picture in self._pictures:
                yield from zip(self.extremes, _outputs(observer, picture), strict=True)


def calibrate(twin: keras.Model, pictures: Sequence[np.ndarray], *, rule: Rule = "minmax") -> None:
    """Sets the twin's ranges from pictures by one rule; see `Calibration`."""
    Calibration(twin, pictures).set_ranges(rule)


@contextmanager
def bypassed(twin: keras.Model, *, but: Sequence[str] = ()) -> Iterator[None]:
    """Lets the twin compute as the float network does, the layers named in `but` aside, when it is called eagerly."""
    kinds = (FakeQuant, FakeQuantConv2D, FakeQuantPReLU, FakeQuantRescaling)
    layers = [layer for layer in twin.layers if isinstance(layer, kinds)]
    for layer in layers:
        layer.bypass = layer.name not in but
    try:
        yield
    finally:
        for layer in layers:
            layer.bypass = False


def _outputs(model: keras.Model, picture: np.ndarray) -> list[np.ndarray]:
    values = model(picture[None], training=False)
    return [np.asarray(ops.convert_to_numpy(value)) for value in (values if isinstance(values, list) else [values])]


@dataclass
class _Extremes:
    low: float = 0.0
    high: float = 0.0

    def add(self, values: np.ndarray) -> None:
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))


class _Histogram:
    """Counts values between two ends in 2,048 bins."""

    def __init__(self, low: float, high: float) -> None:
        self.edges = np.linspace(low, max(high, low + 1e-6), 2049)
        self.counts = np.zeros(2048, np.int64)

    def add(self, values: np.ndarray) -> None:
        self.counts += np.histogram(values, self.edges)[0]

    def percentile(self, outside: float = 1e-4) -> _Extremes:
        share = np.cumsum(self.counts) / self.counts.sum()
        first, last = np.searchsorted(share, outside, "right"), np.searchsorted(share, 1.0 - outside)
        return _Extremes(float(self.edges[first]), float(self.edges[min(last + 1, 2048)]))

    def least_error(self) -> _Extremes:
        (low, high), parts = (float(self.edges[0]), float(self.edges[-1])), np.linspace(0.2, 1.0, 161)
        most, least = high, low
        for _ in range(2):  # one end at a time, since the other may be 0
            high = min(most * parts, key=lambda end: self._error(low, end))
            low = min(least * parts, key=lambda end: self._error(end, high))
        return _Extremes(float(low), float(high))

    def _error(self, low: float, high: float) -> float:
        centres = (self.edges[:-1] + self.edges[1:]) / 2.0
        low, high = min(low, 0.0), max(high, 1e-9, low + 1e-9)
        step = (high - low) / 255.0
        inside = (centres >= low) & (centres <= high)
        beyond = np.where(centres < low, low - centres, centres - high)
        return float(np.sum(self.counts * np.where(inside, step**2 / 12.0, beyond**2)))


@dataclass(frozen=True)
class LayerError:
    """What quantising costs at one layer, in dB, on real pictures.

    `sqnr` is the signal-to-noise ratio of its output, int8 against float, all layers before it in int8 too; `alone` the
    PSNR of the network's output against float with this layer alone in int8, None where it was not measured: the
    lowest names the culprit. The output itself, rounded to whole pixels, comes last.
    """

    layer: str
    kind: str
    low: float
    high: float
    sqnr: float
    alone: float | None


def layer_errors(twin: keras.Model, pictures: Sequence[np.ndarray], *, most: int = 32) -> list[LayerError]:
    """Measures every quantised tensor of a twin on LR pictures, float32 `[H, W, C]` in [0, 1], in the graph's order.

    A convolution counts with the range behind it. `alone` costs a pass a layer: it is measured for the output and for
    the `most` layers of the lowest ratio.
    """
    layers = ranges(twin)[1:]
    sums = [_Noise() for _ in layers]
    observer = keras.Model(twin.input, [layer.output[0] for layer in layers])
    for picture in pictures:
        with bypassed(twin):
            exact = _outputs(observer, picture)
        for noise, a, b in zip(sums, exact, _outputs(observer, picture), strict=True):
            noise.add(a, b)
    chosen = {*sorted(range(len(layers)), key=lambda k: sums[k].decibels())[:most], len(layers) - 1}
    exact = []
    with bypassed(twin):
        exact = [_outputs(twin, picture)[0] for picture in pictures]
    found = []
    for k, layer in enumerate(layers):
        part, alone = layer.input._keras_history.operation, None
        if k in chosen:
            alone = _Noise()
            with bypassed(twin, but=(layer.name, *_rounded_with(part))):
                for picture, sr in zip(pictures, exact, strict=True):
                    alone.add(sr, _outputs(twin, picture)[0])
        kind = type(part).__name__.removeprefix("FakeQuant")
        found.append(
            LayerError(part.name, kind, *layer.ends, sums[k].decibels(), None if alone is None else alone.decibels(1.0))
        )
    return found


def _rounded_with(part: keras.Operation) -> list[str]:
    """Names what shares a range: the layer before it, and the convolution whose ReLU that is."""
    before = part._inbound_nodes[0].input_tensors[0]._keras_history.operation
    return [part.name, *([before.name] if is_relu(part) and isinstance(before, FakeQuantConv2D) else [])]


@dataclass
class _Noise:
    """Sums of squares of a signal and of what differs from it."""

    signal: float = 0.0
    noise: float = 0.0
    values: int = 0

    def add(self, exact: np.ndarray, other: np.ndarray) -> None:
        self.signal += float(np.sum(np.square(exact, dtype=np.float64)))
        self.noise += float(np.sum(np.square(exact.astype(np.float64) - other)))
        self.values += exact.size

    def decibels(self, peak: float | None = None) -> float:
        """Returns the mean square of the signal (or of `peak`) over that of the noise."""
        signal = self.signal if peak is None else peak**2 * self.values
        return float("inf") if self.noise == 0.0 else 10.0 * float(np.log10(signal / self.noise))
