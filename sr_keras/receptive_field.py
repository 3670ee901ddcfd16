"""How far a network looks: the receptive field of a functional Keras model, from its graph."""

import math
from dataclasses import dataclass
from fractions import Fraction

import keras


def halo(model: keras.Model) -> int | None:
    """Returns the distance, in LR pixels, beyond which an output pixel cannot depend on the input.

    The distance is counted from the LR pixel in which the output pixel lies: a tile with a border of this
    width gives the same inner pixels as the whole picture, if it starts at a multiple of the network's
    strides and pooling. None: some layer looks at the whole picture.

    Raises:
        ValueError: if the model is not functional, or holds a layer that this module does not know.
    """
    reaches = _walk(model, [_Reach(Fraction(0), Fraction(1))] * len(model.inputs))
    known = [_whole_pixels(reach) for reach in reaches if reach is not None]
    return max(known) if len(known) == len(reaches) else None


@dataclass(frozen=True)
class _Reach:
    """What one tensor sees of the input.

    Pixel i of a tensor that has `resolution` pixels per input pixel covers [i, i + 1) / resolution of the
    input, and depends on nothing further than `radius` input pixels beyond that.
    """

    radius: Fraction
    resolution: Fraction

    def shrink(self, growth: int, factor: int) -> "_Reach":
        """The reach of a pixel made of `factor` x `factor` of these that looks `growth` of these further."""
        return _Reach(self.radius + growth / self.resolution, self.resolution / factor)

    def enlarge(self, growth: int, factor: int) -> "_Reach":
        """The reach of a pixel, `factor` x `factor` in one of these, that looks `growth` like it further."""
        resolution = self.resolution * factor
        return _Reach(self.radius + growth / resolution, resolution)


def _whole_pixels(reach: _Reach) -> int:
    # At a whole resolution the fraction never reaches a new LR pixel: pixels end where LR pixels end.
    return math.floor(reach.radius) if reach.resolution.denominator == 1 else math.ceil(reach.radius)


def _walk(model, inputs: list[_Reach | None]) -> list[_Reach | None]:
    graph = getattr(model, "_functional", None) or model  # a Sequential model keeps its graph inside
    if not hasattr(graph, "_nodes_by_depth"):
        raise ValueError(f"a receptive field needs a functional model, got {_named(model)}; rebuild it as one.")
    reaches = {id(tensor): reach for tensor, reach in zip(graph.inputs, inputs, strict=True)}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if not node.is_input:
                found = _through(node, [reaches[id(tensor)] for tensor in node.input_tensors])
                reaches.update(zip(map(id, node.outputs), found, strict=True))
    return [reaches[id(tensor)] for tensor in graph.outputs]


def _through(node, inputs: list[_Reach | None]) -> list[_Reach | None]:
    if isinstance(node.operation, keras.Model):
        return _walk(node.operation, inputs)
    return [_after(node.operation, _widest(node.operation, inputs))] * len(node.outputs)


def _widest(layer, inputs: list[_Reach | None]) -> _Reach | None:
    known = [reach for reach in inputs if reach is not None]
    if len(known) < len(inputs):
        return None
    if len({reach.resolution for reach in known}) > 1:
        raise ValueError(f"a layer must join tensors of one resolution, {_named(layer)} has several; enlarge first.")
    return max(known, key=lambda reach: reach.radius)


# Type names of Keras layers and of Keras operations: both are nodes of a functional graph.
_WHOLE_PICTURE = {"Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "GroupNormalization"}
_ALONG_AN_AXIS = {"Concatenate", "Softmax", "LayerNormalization", "Split", "Mean", "Max", "Min", "Sum", "Var"}
_POINTWISE = set(
    """
    Activation ReLU Relu Relu6 LeakyReLU LeakyRelu PReLU ELU Elu Sigmoid HardSigmoid Tanh Softplus Gelu Silu
    Add Subtract Multiply Divide TrueDivide Average Maximum Minimum Negative Absolute Square Sqrt Exp Log
    Power Clip Round Floor Cast StopGradient Identity Rescaling Dense BatchNormalization
    Dropout SpatialDropout2D GaussianNoise GaussianDropout
    """.split()
)


def _after(layer, reach: _Reach | None) -> _Reach | None:
    kind = _kind(layer)
    if reach is None or kind in _WHOLE_PICTURE:
        return None
    if kind in _POINTWISE:
        return reach
    if kind in _ALONG_AN_AXIS:
        return reach if layer.axis in (-1, 3, [-1], [3], (-1,), (3,)) else None
    if kind in {"Conv2D", "DepthwiseConv2D", "SeparableConv2D"}:
        return _window(layer, reach, layer.kernel_size, layer.dilation_rate)
    if kind in {"MaxPooling2D", "AveragePooling2D"}:
        return _window(layer, reach, layer.pool_size, (1, 1))
    if kind == "Conv2DTranspose":
        return _transposed(layer, reach)
    if kind == "DepthToSpace":
        return reach.enlarge(layer.block_size - 1, layer.block_size)
    if kind == "SpaceToDepth":
        return reach.shrink(0, layer.block_size)
    if hasattr(layer, "radius"):  # our own layers
        scale = getattr(layer, "scale", 1)
        return reach.shrink(layer.radius, 1).enlarge(scale - 1, scale)
    raise ValueError(
        f"the reach of every layer must be known, got {_named(layer)}; "
        "give its class a `radius` (and a `scale`), or add it to sr_keras/receptive_field.py."
    )


def _window(layer, reach: _Reach, kernel_size, dilation_rate) -> _Reach:
    stride = _square_stride(layer)
    growth = 0
    for size, dilation in zip(kernel_size, dilation_rate, strict=True):
        extent = (size - 1) * dilation + 1
        # "same" pads by the size of the picture when there is a stride, so both ends of the padding count.
        least, most = (0, 0) if layer.padding == "valid" else (max(extent - stride, 0) // 2, (extent - 1) // 2)
        growth = max(growth, most, extent - least - stride)
    return reach.shrink(growth, stride)


def _transposed(layer, reach: _Reach) -> _Reach:
    stride = _square_stride(layer)
    if layer.output_padding is not None:
        raise ValueError(f"output_padding must be None, {_named(layer)} has {layer.output_padding}; leave it out.")
    growth = 0
    for size, dilation in zip(layer.kernel_size, layer.dilation_rate, strict=True):
        extent = (size - 1) * dilation + 1
        before = 0 if layer.padding == "valid" else max(extent - stride, 0) // 2
        growth = max(growth, extent - 1 - before, before + stride - 1)
    return reach.enlarge(growth, stride)


def _square_stride(layer) -> int:
    if len(set(layer.strides)) > 1:
        raise ValueError(f"strides must be equal, {_named(layer)} has {layer.strides}; use one number.")
    return layer.strides[0]


def _kind(layer) -> str:
    # The name counts for Keras' own types only: a subclass may look anywhere.
    return type(layer).__name__ if type(layer).__module__.startswith("keras.") else ""


def _named(layer) -> str:
    return f"{type(layer).__name__} '{layer.name}'"
