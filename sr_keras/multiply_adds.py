"""How much a network computes: the multiply-adds of one picture, counted in its traced graph."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

HD = (720, 1280)  # height and width of the output for which papers state multiply-adds


def multiply_adds(model: keras.Model, height: int, width: int) -> int:
    """Counts the multiply-adds of one LR picture `[1, height, width, C]`; nothing is computed.

    What counts is a product of the picture with learnt weights, or with itself, as in attention. As in papers, biases,
    activations, norms, sums, pooling and interpolation by fixed weights are free. So are weights times weights, such
    as collapsible convolutions before they meet a picture.

    Some papers count otherwise. A transposed convolution has its kernel once per pixel that it takes; the tables that
    say 6.0 G for FSRCNN x2, not 2.9 G, have it once per pixel that it gives. Programs that count layer by layer miss
    the two products of attention: 195.6 G for SwinIR's lightweight network at x2, not 240.9 G.

    Raises:
        ValueError: for a product that can't be counted: its size is known only when it runs, or its kind not here.
    """
    spec = tf.TensorSpec((1, height, width, model.input_shape[-1]), tf.float32)
    graph = tf.function(lambda lr: model(lr, training=False)).get_concrete_function(spec).graph
    captured = {id(inner): _Origin(learnt=inner.dtype == tf.resource) for _, inner in graph.captures}
    count, _ = _counted(graph, [captured.get(id(each), _PICTURE) for each in graph.inputs])
    return count


def at_hd(model: keras.Model, scale: int) -> float:
    """Returns the multiply-adds for an output of 1280x720: at x3 those of 426x240 LR pixels and 0.2 % more."""
    height, width = (side // scale for side in HD)
    return multiply_adds(model, height, width) * math.prod(HD) / (height * width * scale**2)


@dataclass(frozen=True)
class _Origin:
    """What a tensor is made of; of neither, if it is constant."""

    picture: bool = False
    learnt: bool = False


_PICTURE, _ANYTHING = _Origin(picture=True), _Origin(picture=True, learnt=True)


def _counted(graph: Any, given: Sequence[_Origin]) -> tuple[int, list[_Origin]]:
    """Counts what a graph multiplies, and says what its outputs are made of, given the same of its inputs."""
    count, origins = 0, {id(tensor): origin for tensor, origin in zip(graph.inputs, given, strict=True)}
    for operation in graph.get_operations():  # each comes after what it takes
        if operation.type == "Placeholder":
            continue
        made_of = [origins[id(tensor)] for tensor in operation.inputs]
        results = [_Origin(any(o.picture for o in made_of), any(o.learnt for o in made_of))] * len(operation.outputs)
        if operation.type in _CALLS:
            (called,) = _functions(graph, operation)
            inner, results = _counted(called, made_of)
            count += inner
        elif any(_counted(each, [_ANYTHING] * len(each.inputs))[0] for each in _functions(graph, operation)):
            raise ValueError(f"multiply-adds must not depend on a condition, but {_named(operation)} computes some.")
        elif _is_product(operation) and len(made_of) > 1 and _counts(*made_of[-2:]):
            count += _of_product(operation)
        origins.update(zip(map(id, operation.outputs), results, strict=True))
    return count, [origins[id(tensor)] for tensor in graph.outputs]


_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def _functions(graph: Any, operation: tf.Operation) -> list[Any]:
    """Lists the graphs of the functions that an operation calls: a jitted convolution, both sides of a condition."""
    attributes = operation.node_def.attr.values()
    called = [f for value in attributes for f in ([value.func] if value.HasField("func") else value.list.func)]
    return [graph._get_function(f.name).graph for f in called]  # those in the GraphDef have no shapes


def _is_product(operation: tf.Operation) -> bool:
    return operation.type == "Einsum" or "MatMul" in operation.type or "Conv" in operation.type


def _counts(first: _Origin, second: _Origin) -> bool:
    return (first.picture and second != _Origin()) or (second.picture and first != _Origin())


def _of_product(operation: tf.Operation) -> int:
    kind, output = operation.type, _shape(operation, operation.outputs[0])
    first, second = (_shape(operation, each) for each in operation.inputs[-2:])
    if kind == "Conv2D":  # a kernel is [height, width, channels of its group, filters]
        return math.prod(output) * math.prod(second[:3])
    if kind == "DepthwiseConv2dNative":  # [height, width, channels, filters for each]
        return math.prod(output) * math.prod(second[:2])
    if kind == "Conv2DBackpropInput":  # [height, width, filters, channels]
        return math.prod(second) * math.prod(first[:3])
    if kind in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        transposed = operation.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
        return math.prod(output) * first[-2 if transposed else -1]
    if kind == "Einsum":
        return math.prod(_lengths(operation.get_attr("equation").decode(), first, second).values())
    raise ValueError(f"multiply-adds of {_named(operation)} are not counted here; add it to sr_keras/multiply_adds.py.")


def _lengths(equation: str, *shapes: list[int]) -> dict[str | int, int]:
    """Returns the length of each axis of an einsum; those behind an ellipsis are counted from the right."""
    found: dict[str | int, int] = {}
    for term, shape in zip(equation.partition("->")[0].split(","), shapes, strict=True):
        before, dots, after = term.partition("...")
        more = range(len(shape) - len(before) - len(after), 0, -1) if dots else ()
        for axis, length in zip((*before, *more, *after), shape, strict=True):
            found[axis] = max(length, found.get(axis, 1))
    return found


def _shape(operation: tf.Operation, tensor: tf.Tensor) -> list[int]:
    shape = [length for length in tensor.shape.as_list() if length is not None]
    if len(shape) != tensor.shape.rank:
        raise ValueError(f"sizes must follow from the picture's, but {_named(operation)} learns {tensor.shape} only.")
    return shape


def _named(operation: tf.Operation) -> str:
    return f"{operation.type} '{operation.name}'"
