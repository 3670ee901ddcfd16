"""From a float network to its fake-quantised twin and back.

The twin is trained (quantisation-aware) or only calibrated (post-training); TFLite's converter makes it whole numbers.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sr_keras.layers.collapsible_conv import collapse
from sr_keras.layers.fake_quant import FakeQuant, FakeQuantConv2D, FakeQuantPReLU, FakeQuantRescaling

# Type names of Keras layers and operations. What only moves pixels carries its input's scale on; what computes gets a
# range of its own.
_CARRIES = {"DepthToSpace", "SpaceToDepth", "Concatenate", "Reshape", "Identity", "ReflectToMultiple", "CropToSize"}
_COMPUTES = {"Conv2D", "Add", "Subtract", "Multiply", "Rescaling", "Clip", "Activation", "PReLU"}
_COMPUTES |= {"ReLU", "Relu", "Relu6", "LeakyReLU", "LeakyRelu", "Tanh", "Sigmoid"}
_FUSED = {"linear", "relu", "relu6"}  # what TFLite computes within a convolution
# TFLite fixes the output ranges of these: a scale of 1/128 with zero point 0, of 1/256 with -128.
_FIXED = {"tanh": (-1.0, 127.0 / 128.0), "sigmoid": (0.0, 255.0 / 256.0)}
_PIXELS = (0.0, 1.0)
_IN, _OUT = "pixels_in", "pixels_out"


def ranges(twin: keras.Model) -> list[FakeQuant]:
    """Lists the layers that round tensors, in the graph's order: the input's first, the output's last."""
    return [layer for layer in twin.layers if isinstance(layer, FakeQuant)]


def is_fake_quantised(model: keras.Model) -> bool:
    """Says whether `model` was made by `fake_quantised`."""
    return bool(ranges(model))


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
                f"{type(part).__name__} '{part.name}'; take a network that docs/models.md calls a twin."
            )
        if isinstance(part, keras.layers.Rescaling) and np.any(np.not_equal(part.scale, 1.0)) and np.any(part.offset):
            raise ValueError(f"Rescaling '{part.name}' of {model.name} must have a scale or an offset, not both.")
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
        if part.name == self.last and kind == "Concatenate":
            return self._ranged(x, _PIXELS, _OUT)
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
    if type(part) in (keras.layers.Rescaling, keras.layers.PReLU):
        kind = FakeQuantRescaling if type(part) is keras.layers.Rescaling else FakeQuantPReLU
        return kind.from_config({**part.get_config(), "dtype": "float32"})  # bfloat16 would miss int8's values
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
        if users and all(is_relu(user) for user in users) and _activation(part) == "linear":
            found.add(part.name)
    return found


def ends_clipped(model: keras.Model) -> bool:
    """Says whether the network ends in a clip to [0, 1], behind which pixels only move."""
    return bool(_end(model)[1])


def is_relu(part: keras.Operation) -> bool:
    """Says whether `part` is nothing but a ReLU, which TFLite computes within the convolution before it."""
    if isinstance(part, keras.layers.ReLU):
        return not part.negative_slope and not part.threshold
    named = isinstance(part, keras.layers.Activation) and _activation(part) in ("relu", "relu6")
    return named or type(part).__name__ in ("Relu", "Relu6")


def without_fake_quantisation(twin: keras.Model) -> keras.Model:
    """Returns the float network of a twin, with copies of its weights and its output clipped; itself if it is none."""
    if not is_fake_quantised(twin):
        return twin

    def rebuilt(part: keras.Operation) -> keras.Operation:
        kinds = {
            FakeQuantConv2D: keras.layers.Conv2D, FakeQuantRescaling: keras.layers.Rescaling,
            FakeQuantPReLU: keras.layers.PReLU,
        }  # fmt: skip
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
