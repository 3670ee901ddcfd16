"""What model files share to recognise an ncnn network: its operators as words, and its weights by names."""

from collections.abc import Iterator, Sequence

import numpy as np

from sr_keras.ncnn_file import Layer

_PASS = {"Input", "Split", "Noop", "Dropout"}  # nothing is computed


def words(graph: Sequence[Layer]) -> str:
    """Writes a graph as words, each with a space behind it, for a model file to match with a pattern.

    `conv3` is a convolution that keeps the size, `leaky0.2` a ReLU of that slope, `nearest2` and `cubic0.5` are
    interpolations, `shuffle2` is PyTorch's pixel shuffle, `sum0.2,1` a weighed sum; what is like none of these has the
    operator's name.
    """
    return "".join(f"{word} " for layer in graph if layer.kind not in _PASS for word in _words(layer))


def _words(layer: Layer) -> Iterator[str]:
    options = layer.options
    if layer.kind == "Convolution":
        size = options.get(1, 0)
        plain = all(options.get(key, default) == value for key, default, value in _plain_convolution(size))
        yield f"conv{size}" if plain else "Convolution"
        yield from _activation(options.get(9, 0), options.get(10, []))
    elif layer.kind == "PReLU":
        yield "prelu"
    elif layer.kind == "ReLU":
        yield from _activation(2 if options.get(0, 0.0) else 1, [options.get(0, 0.0)])
    elif layer.kind == "PixelShuffle" and options.get(1, 0) == 0:
        yield f"shuffle{options.get(0, 1)}"
    elif layer.kind == "Interp" and not any(options.get(key, 0) for key in (3, 4, 6)):
        method = {1: "nearest", 2: "linear", 3: "cubic"}.get(options.get(0, 0), "Interp")
        rows, columns = options.get(1, 1.0), options.get(2, 1.0)
        yield f"{method}{rows:g}" if rows == columns else "Interp"
    elif layer.kind == "BinaryOp" and options.get(0, 0) == 0 and not options.get(1, 0):
        yield "add"
    elif layer.kind == "Eltwise" and options.get(0, 0) == 1:
        weights = options.get(1, [])
        yield f"sum{','.join(f'{weight:g}' for weight in weights)}" if weights else "add"
    elif layer.kind == "Concat" and options.get(0, 0) == 0:
        yield "concat"
    else:
        yield layer.kind


def _plain_convolution(size: int) -> list[tuple[int, int, int]]:
    """Lists options, their defaults and what they must be: a square kernel, no stride, padded by its half."""
    return [(11, size, size), (2, 1, 1), (12, 1, 1), (3, 1, 1), (13, 1, 1), (4, 0, size // 2), (18, 0, 0)]


def _activation(kind: int, given: Sequence[float]) -> Iterator[str]:
    if kind == 1:
        yield "relu"
    elif kind == 2:
        yield f"leaky{given[0]:g}"
    elif kind:
        yield f"activation{kind}"


def named(graph: Sequence[Layer], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Gives the weights of the layers that have any, in order, the names `<names[k]>.weight` and `.bias`.

    Raises:
        ValueError: if there are not as many layers with weights as names.
    """
    weighed = [layer for layer in graph if layer.weights]
    pairs = zip(weighed, names, strict=True)
    return {f"{name}.{part}": array for layer, name in pairs for part, array in layer.weights.items()}
