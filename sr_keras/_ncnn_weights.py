"""A part of ncnn_file: which numbers of a `.bin` belong to which layer.

The file names nothing and tells no shapes, so that each kind of layer must be known (github.com/Tencent/ncnn:
src/modelbin.cpp and `load_model` in src/layer), or those that follow would be misread.
"""

import math
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from sr_keras.errors import InputError

Options = dict[int, int | float | list[int | float]]
Weights = dict[str, np.ndarray]

_FLOAT16, _BFLOAT16, _FLOAT32, _INT8 = 0x01306B47, 0x01348B83, 0x0002C056, 0x000D4B38  # tags
_TABLE = 256  # float32 numbers, of which each weight is one, chosen by a byte
_FROM_INPUT = -233


class Blobs:
    """The content of a `.bin`, taken from the front."""

    def __init__(self, param: Path, path: Path, content: bytes):
        self._param, self._path = param, path
        self._content, self._position = memoryview(content), 0
        self._layer, self._options = "", {}

    def of(self, kind: str, name: str, options: Options) -> Weights:
        """Takes the weights of the next layer."""
        self._layer, self._options = f"{kind} '{name}'", options
        return KINDS[kind](self) if kind in KINDS else {}

    def finish(self) -> None:
        """Raises `InputError` if something is left."""
        if left := len(self._content) - self._position:
            raise InputError(f"{self._path}: holds {left} bytes more than {self._param.name} tells of; {self._advice}")

    def option(self, number: int, default: int = 0, *, least: int = 0) -> int:
        """Returns an integer option of the layer."""
        value = self._options.get(number, default)
        if not isinstance(value, int) or value < least:
            raise self.odd(f"the option {number} of {value}")
        return value

    def raw(self, count: int) -> np.ndarray:
        """Takes float32 numbers as they stand: biases and all other vectors."""
        return self._numbers(count, "<f4").astype(np.float32)

    def tagged(self, count: int) -> np.ndarray:
        """Takes numbers behind a tag that tells their type: kernels and matrices, padded to four bytes."""
        tag = int(self._numbers(1, "<u4")[0])
        if tag == _INT8:
            raise self._quantised()
        if tag in (0, _FLOAT32):
            return self.raw(count)
        if tag == _FLOAT16:
            return self._padded(count, "<f2").astype(np.float32)
        if tag == _BFLOAT16:
            return self._padded(count, ml_dtypes.bfloat16).astype(np.float32)
        table = self.raw(_TABLE)
        return table[self._padded(count, "|u1")]

    def refuse_quantised(self, number: int) -> None:
        if self.option(number):
            raise self._quantised()

    def odd(self, what: str) -> InputError:
        return InputError(f"{self._param}: {self._layer} has {what}, which can't be read.")

    def _quantised(self) -> InputError:
        return InputError(f"{self._path}: holds {self._layer} in int8; give the network in float32 or float16.")

    def _padded(self, count: int, dtype: DTypeLike) -> np.ndarray:
        numbers = self._numbers(count, dtype)
        self._take(-numbers.nbytes % 4)
        return numbers

    def _numbers(self, count: int, dtype: DTypeLike) -> np.ndarray:
        return np.frombuffer(self._take(count * np.dtype(dtype).itemsize), dtype)

    def _take(self, size: int) -> memoryview:
        start, self._position = self._position, self._position + size
        if self._position > len(self._content):
            raise InputError(f"{self._path}: ends within the weights of {self._layer}; {self._advice}")
        return self._content[start : self._position]

    @property
    def _advice(self) -> str:
        return f"it does not belong to {self._param.name}, or one of the two is damaged; fetch both again."


def _convolution(blobs: Blobs) -> Weights:
    """`weight` `[out, in / groups, kh, kw]`, and `bias`."""
    return {} if blobs.option(19) else _kernel(blobs, groups=1)


def _grouped_convolution(blobs: Blobs) -> Weights:
    return {} if blobs.option(19) else _kernel(blobs, groups=blobs.option(7, 1, least=1))


def _deconvolution(blobs: Blobs) -> Weights:
    """`weight` `[in, out / groups, kh, kw]`, and `bias`."""
    return {} if blobs.option(28) else _turned(_kernel(blobs, groups=1), groups=1)


def _grouped_deconvolution(blobs: Blobs) -> Weights:
    groups = blobs.option(7, 1, least=1)
    return {} if blobs.option(28) else _turned(_kernel(blobs, groups), groups)


def _kernel(blobs: Blobs, groups: int) -> Weights:
    outputs, width, count = blobs.option(0, least=1), blobs.option(1, least=1), blobs.option(6, least=1)
    height = blobs.option(11, width, least=1)
    if outputs % groups or count % (outputs * height * width):
        raise blobs.odd(f"{count} weights for {outputs} outputs of {groups} groups, by kernels of {height} x {width}")
    blobs.refuse_quantised(8)
    return {"weight": blobs.tagged(count).reshape(outputs, -1, height, width)} | _bias(blobs, 5, outputs)


def _turned(weights: Weights, groups: int) -> Weights:
    """Swaps the inputs and outputs of each group: ncnn's kernel is `[out, in / groups, kh, kw]` here too."""
    outputs, inputs, *size = weights["weight"].shape
    split = weights["weight"].reshape(groups, outputs // groups, inputs, *size).swapaxes(1, 2)
    return weights | {"weight": split.reshape(groups * inputs, outputs // groups, *size)}


def _inner_product(blobs: Blobs) -> Weights:
    """`weight` `[out, in]`, and `bias`."""
    outputs, count = blobs.option(0, least=1), blobs.option(2, least=1)
    if count % outputs:
        raise blobs.odd(f"{count} weights for {outputs} outputs")
    blobs.refuse_quantised(8)
    return {"weight": blobs.tagged(count).reshape(outputs, -1)} | _bias(blobs, 1, outputs)


def _gemm(blobs: Blobs) -> Weights:
    """`weight` `[out, in]`, and `bias`, of a product with a constant matrix on the right: a linear layer."""
    left, right, added = (blobs.option(number) for number in (4, 5, 6))
    axes = blobs.option(10, least=-1)  # 4: one number for each output
    if not (left or right or added):
        return {}
    if left or not right or (added and axes not in (-1, 4)):
        raise blobs.odd("constants other than a linear layer's")
    blobs.refuse_quantised(18)
    outputs, inputs = blobs.option(8, least=1), blobs.option(9, least=1)
    matrix = blobs.tagged(outputs * inputs)
    matrix = matrix.reshape(outputs, inputs) if blobs.option(3) else matrix.reshape(inputs, outputs).T.copy()
    return {"weight": matrix} | ({"bias": blobs.tagged(outputs)} if added and axes == 4 else {})


def _prelu(blobs: Blobs) -> Weights:
    return {"weight": blobs.raw(blobs.option(0, least=1))}


def _only_bias(blobs: Blobs) -> Weights:
    return {"bias": blobs.raw(blobs.option(0, least=1))}


def _batch_norm(blobs: Blobs) -> Weights:
    channels = blobs.option(0, least=1)
    return {name: blobs.raw(channels) for name in ("weight", "running_mean", "running_var", "bias")}


def _norm(blobs: Blobs) -> Weights:
    """`weight` and `bias` of a LayerNorm or an InstanceNorm."""
    return _affine(blobs, blobs.option(0)) if blobs.option(2, 1) else {}


def _group_norm(blobs: Blobs) -> Weights:
    return _affine(blobs, blobs.option(1)) if blobs.option(3, 1) else {}


def _affine(blobs: Blobs, count: int) -> Weights:
    if not count:
        raise blobs.odd("no channels")
    return {"weight": blobs.raw(count), "bias": blobs.raw(count)}


def _scale(blobs: Blobs) -> Weights:
    if blobs.option(0, least=_FROM_INPUT) == _FROM_INPUT and not blobs.option(1):
        return {}
    count = blobs.option(0, least=1)
    return {"weight": blobs.raw(count)} | _bias(blobs, 1, count)


def _memory_data(blobs: Blobs) -> Weights:
    """`data`, `[w]`, `[h, w]`, `[c, h, w]` or `[c, d, h, w]`."""
    shape = [size for number in (2, 11, 1, 0) if (size := blobs.option(number))]
    load = blobs.option(21, 1)
    if load not in (0, 1) or not shape:
        raise blobs.odd(f"the shape {shape} and the type {load}")
    count = math.prod(shape)
    return {"data": (blobs.raw(count) if load else blobs.tagged(count)).reshape(shape)}


def _padding(blobs: Blobs) -> Weights:
    if blobs.option(6):
        raise blobs.odd("a value for each channel")
    return {}


def _bias(blobs: Blobs, number: int, count: int) -> Weights:
    return {"bias": blobs.raw(count)} if blobs.option(number) else {}


KINDS: dict[str, Callable[[Blobs], Weights]] = {
    "BatchNorm": _batch_norm,
    "Bias": _only_bias,
    "Convolution": _convolution,
    "ConvolutionDepthWise": _grouped_convolution,
    "Deconvolution": _deconvolution,
    "DeconvolutionDepthWise": _grouped_deconvolution,
    "Gemm": _gemm,
    "GroupNorm": _group_norm,
    "InnerProduct": _inner_product,
    "InstanceNorm": _norm,
    "LayerNorm": _norm,
    "MemoryData": _memory_data,
    "Padding": _padding,
    "PReLU": _prelu,
    "Scale": _scale,
}
