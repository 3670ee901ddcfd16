"""How far a network looks, and where it may be cut: read from the graph of a functional Keras model."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import keras


@dataclass(frozen=True)
class Field:
    """Says which tiles give the same inner pixels as the whole picture, in LR pixels.

    A tile does if it has a border of `halo` on every side that is not the picture's own, and if both its start and
    the distance from its end to the picture's end are multiples of `alignment`; so its length is the picture's modulo
    `alignment`. The end counts because strides with padding "same" pad by the size, at the start too.

    Attributes:
        halo: beyond this distance from the LR pixel in which it lies, an output pixel cannot depend on the input; None
            if some layer looks at the whole picture, so that no tile is exact.
        alignment: the fewest LR pixels that are a whole number of pixels in every tensor, so that strides and pooling
            start alike: 2 where some tensor has half the resolution, 1 for a network that never shrinks.
        whole_picture: the layers that look at the whole picture, such as `GlobalAveragePooling2D 'pool'`.
    """

    halo: int | None
    alignment: int
    whole_picture: tuple[str, ...] = ()


def field(model: keras.Model) -> Field:
    """Reads the receptive field off the graph.

    Raises:
        ValueError: if the model is not functional, or holds a layer that this module does not know.
    """
    reaches = _walk(model, [_Reach(Fraction(0), Fraction(1))] * len(model.inputs))
    whole = tuple(dict.fromkeys(name for reach in reaches for name in reach.whole))
    halo = None if whole else max(map(_whole_pixels, reaches))
    return Field(halo, math.lcm(*(reach.alignment for reach in reaches)), whole)


def halo(model: keras.Model) -> int | None:
    """Returns the `halo` of `field(model)`. Raises ValueError as that does."""
    return field(model).halo


@dataclass(frozen=True)
class _Reach:
    """What one tensor sees of the input.

    Pixel i of a tensor that has `resolution` pixels per input pixel covers [i, i + 1) / resolution of the
    input, and depends on nothing further than `radius` input pixels beyond that. A tile is cut between two pixels of
    the tensor, and of all before it, if it starts at a multiple of `alignment`. Once a layer in `whole` has looked at
    the whole picture, `radius` says nothing, and `resolution` is None where there are no pixels any more.
    """

    radius: Fraction
    resolution: Fraction | None
    alignment: int = 1
    whole: tuple[str, ...] = ()

    def shrink(self, growth: int, factor: int) -> "_Reach":
        """The reach of a pixel made of `factor` x `factor` of these that looks `growth` of these further."""
        return self._resized(growth, self.resolution, Fraction(1, factor))

    def enlarge(self, growth: int, factor: int) -> "_Reach":
        """The reach of a pixel, `factor` x `factor` in one of these, that looks `growth` like it further."""
        return self._resized(growth, self.resolution and self.resolution * factor, Fraction(factor))

    def _resized(self, growth: int, counted_in: Fraction | None, factor: Fraction) -> "_Reach":
        if self.resolution is None or counted_in is None:
            return self
        resolution = self.resolution * factor
        alignment = math.lcm(self.alignment, resolution.denominator)
        return _Reach(self.radius + growth / counted_in, resolution, alignment, self.whole)


def _whole_pixels(reach: _Reach) -> int:
    # At a whole resolution the fraction never reaches a new LR pixel: pixels end where LR pixels end.
    whole = reach.resolution is not None and reach.resolution.denominator == 1
    return math.floor(reach.radius) if whole else math.ceil(reach.radius)


def _walk(model, inputs: list[_Reach]) -> list[_Reach]:
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


def _through(node, inputs: list[_Reach]) -> list[_Reach]:
    if isinstance(node.operation, keras.Model):
        return _walk(node.operation, inputs)
    pictures = getattr(node.operation, "pictures", len(inputs))  # our own layers may want only the size of the others
    return [_after(node.operation, _joined(node.operation, inputs[:pictures]))] * len(node.outputs)


def _joined(layer, inputs: list[_Reach]) -> _Reach:
    resolutions = {reach.resolution for reach in inputs} - {None}
    if len(resolutions) > 1:
        raise ValueError(f"a layer must join tensors of one resolution, {_named(layer)} has several; enlarge first.")
    return _Reach(
        radius=max(reach.radius for reach in inputs),
        resolution=resolutions.pop() if resolutions else None,
        alignment=math.lcm(*(reach.alignment for reach in inputs)),
        whole=tuple(dict.fromkeys(name for reach in inputs for name in reach.whole)),
    )


# Type names of Keras layers and of Keras operations: both are nodes of a functional graph.
_WHOLE_PICTURE = {"Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "GroupNormalization"}
_ALONG_AN_AXIS = {"Concatenate", "Softmax", "LayerNormalization", "Split", "Mean", "Max", "Min", "Sum", "Var"}
_KEEP_THE_SIZE = {"GroupNormalization", "Softmax", "LayerNormalization"}
_POINTWISE = set(
    """
    Activation ReLU Relu Relu6 LeakyReLU LeakyRelu PReLU ELU Elu Sigmoid HardSigmoid Tanh Softplus Gelu Silu
    Add Subtract Multiply Divide TrueDivide Average Maximum Minimum Negative Absolute Square Sqrt Exp Log
    Power Clip Round Floor Cast StopGradient Identity Rescaling Dense BatchNormalization
    Dropout SpatialDropout2D GaussianNoise GaussianDropout
    """.split()
)


def _after(layer, reach: _Reach) -> _Reach:
    kind = _kind(layer)
    if reach.resolution is None:
        return reach
    if kind in _WHOLE_PICTURE or (kind in _ALONG_AN_AXIS and layer.axis not in (-1, 3, [-1], [3], (-1,), (3,))):
        resolution = reach.resolution if kind in _KEEP_THE_SIZE else None
        return replace(reach, resolution=resolution, whole=(*reach.whole, _named(layer)))
    if getattr(layer, "whole_picture", False):  # our own layers
        return replace(reach, resolution=None, whole=(*reach.whole, _named(layer)))
    if kind in _POINTWISE or kind in _ALONG_AN_AXIS or getattr(layer, "pointwise", False):
        return reach
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
    if kind == "UpSampling2D" and layer.interpolation == "nearest" and len(set(layer.size)) == 1:
        return reach.enlarge(layer.size[0] - 1, layer.size[0])
    if hasattr(layer, "radius"):  # our own layers
        scale, stride = getattr(layer, "scale", 1), getattr(layer, "stride", 1)
        windows = Fraction(getattr(layer, "alignment", 1)) / reach.resolution  # of which the picture is cut
        reach = replace(reach, alignment=math.lcm(reach.alignment, windows.numerator))
        return reach.shrink(layer.radius, stride).enlarge(scale - 1, scale)
    if reach.whole:  # no tile is exact anyhow
        return replace(reach, resolution=None)
    raise ValueError(
        f"the reach of every layer must be known, got {_named(layer)}; "
        "give its class `pointwise`, `whole_picture` or a `radius` (with `scale`, `stride` and `alignment` if not 1, "
        "`pictures` if only so many inputs are looked at), or add it to sr_keras/receptive_field.py."
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
