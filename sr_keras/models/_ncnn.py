"""What model files share to recognise an ncnn network: its operators as words, and its weights by names."""

from collections.abc import Iterator, Sequence

import numpy as np

from sr_keras.ncnn_file import Layer

_PASS = {"Input", "Split", "Noop", "Dropout"}  # nothing is computed


def words(graph: Sequence[Layer]) -> str:
    """Writes a graph as words, each with a space behind it, for a model file to match with a pattern.

    `conv3` is a convolution that keeps the size, `leaky0.2` a ReLU of that slope, `nearest2` and `cubic0.5` are
    interpolations, `shuffle2` is PyTorch's pixel shuffle, `sum0.2,1` a weighed sum; what is like none of these has the
    operator's name. Behind a colon: how many convolutions before this operator each of its inputs was made, or `in` for
    the picture; nothing, where its only input was made by the operator just before or since the last convolution.

    Raises:
        KeyError: for an input that no operator before has made.
    """
    convolutions, made, found = 0, {}, []
    for layer in graph:
        ages = [made[name] if made[name] == "in" else str(convolutions - int(made[name])) for name in layer.inputs]
        if layer.kind in _PASS:
            made |= dict.fromkeys(layer.outputs, made[layer.inputs[0]] if layer.inputs else "in")
            continue
        first, *rest = _words(layer)
        found += [first if ages == ["0"] else f"{first}:{','.join(ages)}", *rest]
        convolutions += layer.kind == "Convolution"
        made |= dict.fromkeys(layer.outputs, str(convolutions))
    return "".join(f"{word} " for word in found)


def _words(layer: Layer) -> Iterator[str]:
    options = layer.options
    if layer.kind == "Convolution":
        size = options.get(1, 0)
        plain = all(options.get(key, default) == value for key, default, value in _plain_convolution(size))
        yield f"conv{size}" if plain else "Convolution"
        yield from _activation(options.get(9, 0), _listed(options.get(10, [])))
    elif layer.kind == "PReLU":
        yield "prelu"
    elif layer.kind == "ReLU":
        yield from _activation(2 if options.get(0, 0.0) else 1, [options.get(0, 0.0)])
    elif layer.kind == "PixelShuffle" and options.get(1, 0) == 0:
        yield f"shuffle{options.get(0, 1)}"
    elif layer.kind == "Interp" and options.get(0, 0) in (1, 2, 3) and not any(options.get(k, 0) for k in (3, 4, 6)):
        method = {1: "nearest", 2: "linear", 3: "cubic"}[options.get(0, 0)]
        rows, columns = options.get(1, 1.0), options.get(2, 1.0)
        yield f"{method}{rows:g}" if rows == columns else "Interp"
    elif layer.kind == "BinaryOp" and options.get(0, 0) == 0 and not options.get(1, 0):
        yield "add"
    elif layer.kind == "Eltwise" and options.get(0, 0) == 1:
        yield f"sum{','.join(f'{weight:g}' for weight in _listed(options[1]))}" if 1 in options else "add"
    elif layer.kind == "Concat" and options.get(0, 0) == 0:
        yield "concat"
    else:
        yield layer.kind


def _listed(value: int | float | list[int | float]) -> list[int | float]:
    return value if isinstance(value, list) else [value]


def _plain_convolution(size: int) -> list[tuple[int, int, int]]:
    """Lists options, their defaults and what they must be: an odd square kernel, no stride, half of it padding."""
    half = size // 2 if size % 2 else -1
    padding = [(4, 0, half), (14, half, half), (15, half, half), (16, half, half), (18, 0, 0)]
    return [(11, size, size), (2, 1, 1), (12, 1, 1), (3, 1, 1), (13, 1, 1), *padding]


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
