"""From a float network to its fake-quantised twin and back; ranges from pictures; which layer loses how much.

The twin is trained (quantisation-aware) or only calibrated (post-training); TFLite's converter makes it whole numbers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from sr_keras.layers.collapsible_conv import collapse
from sr_keras.layers.fake_quant import FakeQuant, FakeQuantConv2D, FakeQuantRescaling

Ranges = Literal["minmax", "percentile", "mse"]

# Type names of Keras layers and operations. What only moves pixels carries its input's scale on; what computes gets a
# range of its own.
_CARRIES = {"DepthToSpace", "SpaceToDepth", "Concatenate", "Reshape", "Identity", "PadToMultiple", "CropToSize"}
_COMPUTES = {"Conv2D", "Add", "Subtract", "Multiply", "Rescaling", "Clip", "Activation", "PReLU"}
_COMPUTES |= {"ReLU", "Relu", "Relu6", "LeakyReLU", "LeakyRelu", "Tanh", "Sigmoid"}
_FUSED = {"linear", "relu", "relu6"}  # what TFLite computes within a convolution
# TFLite fixes the output ranges of these: a scale of 1/128 with zero point 0, of 1/256 with -128.
_FIXED = {"tanh": (-1.0, 127.0 / 128.0), "sigmoid": (0.0, 255.0 / 256.0)}
_PIXELS = (0.0, 1.0)
_IN, _OUT = "pixels_in", "pixels_out"


def is_fake_quantised(model: keras.Model) -> bool:
    """Says whether `model` was made by `fake_quantised`."""
    return any(isinstance(layer, FakeQuant) for layer in model.layers)


def fake_quantised(model: keras.Model, *, momentum: float = 0.99) -> keras.Model:
    """Returns the twin of a functional network `[B, H, W, C]` -> `[B, sH, sW, C]` that computes in int8's values.

    Weights are rounded per filter, symmetrically; activations per tensor, over ranges that `calibrate` sets and
    training moves. Input and output are pinned to [0, 1], whose scale is exactly 1/255: the twin's output is clipped,
    and a clip at the network's end is left out. Collapsible convolutions are collapsed, and a Rescaling behind a
    convolution is folded into its weights. The twin has copies of the weights.

    Raises:
        ValueError: for a layer that has no such twin here.
    """
    model = _plain(model)
    for part in model.operations:  # pyright: ignore[reportOptionalIterable]
        if not isinstance(part, keras.layers.InputLayer) and type(part).__name__ not in _CARRIES | _COMPUTES:
            raise ValueError(
                f"quantisation takes plain convolutions, activations and sums, but {model.name} has "
                f"{type(part).__name__} '{part.name}'; take anchor, espcn, srvgg or edsr."
            )
    twin = keras.models.clone_model(
        model, clone_function=_fake_quantised_layer, call_function=_Rounding(model, momentum).call
    )
    _copy_weights(model, twin)
    return twin


class _Rounding:
    """Calls the layers of a twin one after another, and puts ranges between them."""

    def __init__(self, model: keras.Model, momentum: float) -> None:
        convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
        self.momentum = momentum
        self.last, self.clips = _end(model)
        self.before_relu = _before_relu(convolutions)
        self.separate = {layer.name: _activation(layer) for layer in convolutions if _activation(layer) not in _FUSED}
        self.steps: dict[int, Any] = {}  # by a tensor's id: the distance of its values
        self.entered: dict[int, Any] = {}  # by the input's id: the rounded input

    def call(self, part, *args, **kwargs):
        inputs: Any = keras.tree.map_structure(self._rounded, args)
        if part.name in self.clips:
            return inputs[0]
        first, kind = keras.tree.flatten(inputs)[0], type(part).__name__
        x = part(first, self.steps[id(first)]) if kind == "FakeQuantConv2D" else part(*inputs, **kwargs)
        if kind in _CARRIES:
            self.steps[id(x)] = self.steps[id(first)]
        if kind in _CARRIES or part.name in self.before_relu:
            return x
        name, activation = part.name, self.separate.get(part.name)
        if activation:
            x = self._ranged(x, None, f"{name}_range")
            name = f"{name}_{activation}"
            x = keras.layers.Activation(activation, name=name)(x)
        if part.name == self.last:
            return self._ranged(x, _PIXELS, _OUT)
        return self._ranged(x, _FIXED.get(activation or _activation(part)), f"{name}_range")

    def _rounded(self, x):
        is_input = isinstance(x, keras.KerasTensor) and isinstance(x._keras_history.operation, keras.layers.InputLayer)
        if is_input and id(x) not in self.entered:
            self.entered[id(x)] = self._ranged(x, _PIXELS, _IN)
        return self.entered.get(id(x), x)

    def _ranged(self, x, fixed: tuple[float, float] | None, name: str):
        x, step = FakeQuant(fixed, self.momentum, name=name)(x)
        self.steps[id(x)] = step
        return x


def _plain(model: keras.Model) -> keras.Model:
    """Collapses collapsible convolutions, and folds each Rescaling that alone follows a convolution into it."""
    model = collapse(model)
    folds = {}
    for part in model.layers:
        users = [node.operation for node in part._outbound_nodes]
        alone = len(users) == 1 and type(users[0]) is keras.layers.Rescaling
        if alone and isinstance(part, keras.layers.Conv2D) and _activation(part) == "linear" and part.use_bias:
            folds[users[0].name] = part.name
    if not folds:
        return model

    def call(part, *args, **kwargs):
        return args[0] if part.name in folds else part(*args, **kwargs)

    twin = keras.models.clone_model(model, call_function=call)
    _copy_weights(model, twin)
    for rescaling, name in folds.items():
        scale, offset = (
            np.asarray(getattr(model.get_layer(rescaling), end), np.float32) for end in ("scale", "offset")
        )
        kernel, bias = model.get_layer(name).get_weights()
        twin.get_layer(name).set_weights([kernel * scale, bias * scale + offset])
    return twin


def _fake_quantised_layer(part: keras.Operation) -> keras.Operation:
    if type(part) is keras.layers.Rescaling:
        return FakeQuantRescaling.from_config(part.get_config())
    if not isinstance(part, keras.layers.Conv2D):
        return type(part).from_config(part.get_config())
    separate = {} if _activation(part) in _FUSED else {"activation": "linear"}
    return FakeQuantConv2D.from_config({**part.get_config(), **separate})


def _activation(part: keras.Operation) -> str:
    """Names the activation that `part` is or ends with: `linear` for most."""
    function = getattr(part, "activation", None)
    return type(part).__name__.lower() if function is None else str(keras.activations.serialize(function))


def _end(model: keras.Model) -> tuple[str, set[str]]:
    """Names the last part that computes, and the clips to [0, 1] behind it."""
    part, clips = model.outputs[0]._keras_history.operation, set()
    while True:
        is_clip = type(part).__name__ == "Clip" and (part.x_min, part.x_max) == _PIXELS
        if not is_clip and (type(part).__name__ not in _CARRIES or type(part).__name__ == "Concatenate"):
            return part.name, clips
        if is_clip:
            clips.add(part.name)
        part = part._inbound_nodes[0].input_tensors[0]._keras_history.operation


def _before_relu(convolutions: Sequence[keras.layers.Conv2D]) -> set[str]:
    """Names the convolutions that feed nothing but a ReLU: TFLite makes one operator of the two."""
    found = set()
    for part in convolutions:
        users = [node.operation for node in part._outbound_nodes]
        if users and all(_is_relu(user) for user in users) and _activation(part) == "linear":
            found.add(part.name)
    return found


def _is_relu(part: keras.Operation) -> bool:
    plain = isinstance(part, keras.layers.ReLU) and not part.negative_slope and not part.threshold
    return plain or type(part).__name__ in ("Relu", "Relu6") or _activation(part) in ("relu", "relu6")


def without_fake_quantisation(twin: keras.Model) -> keras.Model:
    """Returns the float network of a twin, with copies of its weights and its output clipped; itself if it is none."""
    if not is_fake_quantised(twin):
        return twin

    def rebuilt(part: keras.Operation) -> keras.Operation:
        kinds = {FakeQuantConv2D: keras.layers.Conv2D, FakeQuantRescaling: keras.layers.Rescaling}
        return kinds.get(type(part), type(part)).from_config(part.get_config())

    def call(part, *args, **kwargs):
        if type(part) is keras.layers.Conv2D:
            return part(args[0])  # without the step
        if not isinstance(part, FakeQuant):
            return part(*args, **kwargs)
        x = ops.clip(args[0], *_PIXELS) if part.name == _OUT else args[0]
        return x, x

    model = keras.models.clone_model(twin, clone_function=rebuilt, call_function=call)
    _copy_weights(twin, model)
    return model


def _copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of the layers, ranges aside, that both have; a layer keeps its name when it is cloned."""
    for layer in source.layers:
        if layer.weights and not isinstance(layer, FakeQuant):
            target.get_layer(layer.name).set_weights(layer.get_weights())


def calibrate(twin: keras.Model, pictures: Sequence[np.ndarray], *, ranges: Ranges = "minmax") -> None:
    """Sets the twin's ranges from what the float network makes of LR pictures, float32 `[H, W, C]` in [0, 1].

    `minmax` takes the extremes seen; `percentile` leaves out the outer 0.01 % of values at either end; `mse` takes the
    range whose 256 values are nearest to what was seen, in the mean square (Choukroun et al., 2019, arXiv 1902.06822).

    Raises:
        ValueError: for no pictures, or unknown `ranges`.
    """
    if ranges not in get_args(Ranges):
        raise ValueError(f"ranges must be one of {', '.join(get_args(Ranges))}, got {ranges}.")
    if not pictures:
        raise ValueError("calibration needs pictures, got none; give some of LR size.")
    learnt = [layer for layer in twin.layers if isinstance(layer, FakeQuant) and layer.fixed is None]
    if not learnt:
        return
    observer = keras.Model(twin.input, [layer.input for layer in learnt])
    with bypassed(twin):
        extremes = [_Extremes() for _ in learnt]
        for values in _observed(observer, pictures):
            for extreme, value in zip(extremes, values, strict=True):
                extreme.add(value)
        if ranges != "minmax":
            histograms = [_Histogram(extreme.low, extreme.high) for extreme in extremes]
            for values in _observed(observer, pictures):
                for histogram, value in zip(histograms, values, strict=True):
                    histogram.add(value)
            choose = _Histogram.percentile if ranges == "percentile" else _Histogram.least_error
            extremes = [choose(histogram) for histogram in histograms]
    for layer, extreme in zip(learnt, extremes, strict=True):
        layer.set_range(extreme.low, extreme.high)


@contextmanager
def bypassed(twin: keras.Model, *, but: Sequence[str] = ()) -> Iterator[None]:
    """Lets the twin compute as the float network does, the layers named in `but` aside, when it is called eagerly."""
    kinds = (FakeQuant, FakeQuantConv2D, FakeQuantRescaling)
    layers = [layer for layer in twin.layers if isinstance(layer, kinds)]
    for layer in layers:
        layer.bypass = layer.name not in but
    try:
        yield
    finally:
        for layer in layers:
            layer.bypass = False


def _observed(observer: keras.Model, pictures: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    for picture in pictures:
        values = observer(picture[None], training=False)
        yield [np.asarray(ops.convert_to_numpy(value)) for value in (values if isinstance(values, list) else [values])]


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

    `tensor` is the signal-to-noise ratio of its output, int8 against float, all layers before it in int8 too; `alone`
    the PSNR of the network's output against float with this layer alone in int8: the lowest names the culprit. The
    output itself, rounded to whole pixels, comes last.
    """

    layer: str
    kind: str
    low: float
    high: float
    tensor: float
    alone: float


def layer_errors(twin: keras.Model, pictures: Sequence[np.ndarray]) -> list[LayerError]:
    """Measures every quantised tensor of a twin on LR pictures, float32 `[H, W, C]` in [0, 1], in the graph's order.

    A convolution counts with the range behind it. The worst layer has the lowest `alone`.
    """
    ranges = [layer for layer in twin.layers if isinstance(layer, FakeQuant) and layer.name != _IN]
    observer = keras.Model(twin.input, [*(layer.output[0] for layer in ranges), *twin.outputs])
    with bypassed(twin):
        exact = list(_observed(observer, pictures))
    rounded = list(_observed(observer, pictures))
    found = []
    for k, layer in enumerate(ranges):
        part = layer.input._keras_history.operation
        before = (
            part._inbound_nodes[0].input_tensors[0]._keras_history.operation
        )  # a convolution, where part is its ReLU
        with bypassed(twin, but=(layer.name, part.name, *([before.name] if _is_relu(part) else []))):
            alone = [ops.convert_to_numpy(twin(picture[None], training=False)) for picture in pictures]
        found.append(
            LayerError(
                part.name, type(part).__name__.removeprefix("FakeQuant"), *layer.ends,
                _decibels([values[k] for values in exact], [values[k] for values in rounded]),
                _decibels([values[-1] for values in exact], alone, peak=1.0),
            )
        )  # fmt: skip
    return found


def _decibels(exact: Sequence[np.ndarray], other: Sequence[np.ndarray], peak: float | None = None) -> float:
    """Returns the mean square of `exact` (or of `peak`) over that of the difference, in dB."""
    noise = sum(float(np.sum(np.square(a.astype(np.float64) - b))) for a, b in zip(exact, other, strict=True))
    values = sum(a.size for a in exact)
    signal = sum(float(np.sum(np.square(a.astype(np.float64)))) for a in exact) if peak is None else peak**2 * values
    return float("inf") if noise == 0.0 else 10.0 * float(np.log10(signal / noise))
