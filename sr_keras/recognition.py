"""From the tensors of a foreign file to a Keras network: of which architecture they are, and of which layer."""

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from sr_keras import component, files, models, ncnn_file, safetensors_file, state_dict, torch_file
from sr_keras.errors import InputError
from sr_keras.layers.collapsible_conv import Collapsible
from sr_keras.models._published import Published

Weights = Mapping[str, np.ndarray] | Sequence[ncnn_file.Layer]  # tensors by name, or the operators of a graph

_START = 32  # bytes that tell what a file is
_MOST_NAMES, _MOST_OPERATORS = 3, 8  # of tensors, and of an ncnn file, in an error line
_LARGEST_SCALE = 16  # as in a config
_LARGEST = 2048  # of the numbers that are options; published networks have up to 256 filters


def architectures(function: str = "published") -> list[str]:
    """Lists the models that recognise published weights, or by `published_ncnn` those of ncnn."""
    return [name for name in component.names(models) if hasattr(_module(name), function)]


def sources(path: Path) -> list[Path]:
    """Lists the files that `read` reads: two of ncnn, one of all others."""
    graph = path.with_suffix(".param")
    is_ncnn = path.suffix.lower() == ".param" or (path.suffix.lower() == ".bin" and graph.is_file())
    return [graph if path.suffix.lower() == ".bin" else path, path.with_suffix(".bin")] if is_ncnn else [path]


def read(path: Path, under: str = "") -> tuple[Weights, tuple[str, ...]]:
    """Reads a .pth or .pt, a .safetensors, or an ncnn .param with its .bin, and notes on what was left aside.

    PyTorch's and safetensors are told by their content, ncnn by the endings. `under` is the place of the network in a
    file that holds several. Raises `InputError` for what is none of these, truncated or damaged, and for an `under`
    that is not there.
    """
    if len(sources(path)) > 1:
        if under:
            raise InputError(f"--under {under}: is for files of several networks, which {path} of ncnn is not.")
        return ncnn_file.read(path), ()
    with files.reading(path) as file:
        start = file.read(_START)
    if safetensors_file.begins(start) or (path.suffix.lower() == ".safetensors" and not torch_file.begins(start)):
        return safetensors_file.read(path, under), ()
    if not torch_file.begins(start):
        missing = f"; were it ncnn's, {path.stem}.param would lie beside it" if path.suffix.lower() == ".bin" else ""
        raise InputError(
            f"{path}: is neither PyTorch's (.pth, .pt, .ckpt), nor a .safetensors, nor an ncnn .param{missing}; "
            "a .tflite, .onnx or .keras goes to upscale as it is."
        )
    return torch_file.choose(path, under)


def recognise(
    weights: Weights, where: Path, architecture: str | None = None, scale: int | None = None
) -> tuple[str, Published]:
    """Finds the architecture, a file in `models`, whose names and shapes the weights have.

    Raises `InputError` if there is none or more than one, or if they are not of the given `architecture` or `scale`.
    """
    known = architectures("published" if isinstance(weights, Mapping) else "published_ncnn")
    if architecture is not None and architecture not in known:
        near = component.did_you_mean(architecture, known)
        raise InputError(f"--arch {architecture}: is none that can be imported from such a file{near}.")
    if scale is not None and scale > _LARGEST_SCALE:
        raise InputError(f"--scale must be {_LARGEST_SCALE} at the most, got {scale}.")
    found = _found(known if architecture is None else [architecture], weights, where, scale)
    if not found:
        others = {} if architecture is None else _found(known, weights, where, scale)
        if others:
            raise InputError(f"{where}: is {' or '.join(others)}, not {architecture}; drop --arch, or name that.")
        raise InputError(f"{where}: holds {_listed(weights)}, of no architecture known here ({', '.join(known)}).")
    if len(found) > 1:
        raise InputError(f"{where}: may be {' or '.join(found)}; say which by --arch.")
    name = next(iter(found))
    largest = max(value for value in found[name].options.values() if isinstance(value, int))
    if largest > _LARGEST:
        raise InputError(f"{where}: makes a {name} of {largest} filters or blocks; {_LARGEST} are the most here.")
    if scale not in (None, found[name].options["scale"]):
        raise InputError(f"{where}: enlarges {found[name].options['scale']} times, not {scale}; drop --scale.")
    return name, found[name]


def _found(names: Sequence[str], weights: Weights, where: Path, scale: int | None) -> dict[str, Published]:
    """Asks the models of these names; the names of tensors are tried with and without what stands before them."""
    candidates = state_dict.candidates(weights) if isinstance(weights, Mapping) else [(weights, ())]
    for tensors, notes in candidates:
        matches = {name: _recognised(name, tensors, where, scale) for name in names}
        found = {name: replace(m, notes=(*notes, *m.notes)) for name, m in matches.items() if m is not None}
        if found:
            return found
    return {}


def _recognised(name: str, weights: Weights, where: Path, scale: int | None) -> Published | None:
    function = getattr(_module(name), "published" if isinstance(weights, Mapping) else "published_ncnn")
    given = {"scale": scale} if "scale" in inspect.signature(function).parameters else {}
    try:
        return function(weights, **given)
    except InputError as error:  # it, but with something odd
        raise InputError(f"{where}: {error}") from error
    except (KeyError, IndexError, ValueError, TypeError, ArithmeticError, MemoryError):  # like it, but not whole
        return None


def _module(name: str):
    return importlib.import_module(f"{models.__name__}.{name}")


Matched = dict[str, dict[str, np.ndarray]]  # by the name of a layer its tensors by name, in Keras' order and layout


def matched(model: keras.Model, tensors: Mapping[str, np.ndarray], where: Path) -> Matched:
    """Finds the tensors of every layer of `model`, whose variables need not have values yet.

    Raises `InputError` if a tensor is missing, left over, of another shape or not finite.
    """
    left, found = dict(tensors), {}
    for layer in model.layers:
        values = {}
        for variable in layer.weights:
            name = _tensor_name(layer, variable)
            if name not in left:
                raise InputError(f"{where}: lacks '{name}', which layer '{layer.name}' of {model.name} needs.")
            tensor = left.pop(name)
            with np.errstate(over="ignore"):  # told below
                values[name] = value = _laid_out(layer, variable, tensor).astype(np.float32)
            if value.shape != tuple(variable.shape):
                raise InputError(
                    f"{where}: '{name}' has the shape {list(tensor.shape)}, which does not fit layer '{layer.name}' of "
                    f"{model.name}."
                )
            if not np.isfinite(value).all():
                raise InputError(f"{where}: '{name}' holds numbers that are not finite; fetch the file again.")
        if values:
            found[layer.name] = values
    if left:
        raise InputError(f"{where}: {_listed(left)} fit nothing in {model.name}; is it of another version?")
    return found


def fill(model: keras.Model, found: Matched) -> None:
    """Gives every layer of `model` what was matched."""
    for name, values in found.items():
        model.get_layer(name).set_weights(list(values.values()))


_PYTORCH = {  # names of variables, by the kind of layer
    keras.layers.BatchNormalization: {
        "gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var",
    },
    keras.layers.LayerNormalization: {"gamma": "weight", "beta": "bias"},
    keras.layers.PReLU: {"alpha": "weight"},
    keras.layers.Conv2D: {"kernel": "weight"},
    keras.layers.DepthwiseConv2D: {"kernel": "weight"},
    keras.layers.Dense: {"kernel": "weight"},
}  # fmt: skip


def _tensor_name(layer: keras.layers.Layer, variable: keras.Variable) -> str:
    """Names the tensor of a variable; layers of our own have PyTorch's names inside."""
    known = next((names for kind, names in _PYTORCH.items() if isinstance(layer, kind)), {})
    return f"{layer.name}.{known.get(variable.name, variable.name)}"


def _laid_out(layer: keras.layers.Layer, variable: keras.Variable, tensor: np.ndarray) -> np.ndarray:
    """Returns a tensor in Keras' order of axes and of channels, whatever its shape."""
    if isinstance(layer, keras.layers.PReLU) and tensor.ndim == 1:  # a slope for each channel, or one for all
        return np.broadcast_to(tensor, variable.shape) if tensor.size == 1 else tensor[None, None]
    if tensor.ndim == 0:
        return tensor
    if variable.name == "kernel" or isinstance(layer, Collapsible):
        if tensor.ndim == 2:
            tensor = tensor.T
        elif tensor.ndim == 4:
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            tensor = tensor.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    if isinstance(layer, keras.layers.Conv2D) and not isinstance(layer, keras.layers.DepthwiseConv2D):
        if not isinstance(layer, Collapsible) or variable.name not in layer.inner:
            tensor = _shuffled(tensor, -1, *_block(layer, forwards=True))
        if variable.name == "kernel" and tensor.ndim == 4:
            tensor = _shuffled(tensor, 2, *_block(layer, forwards=False))
    return tensor


def _shuffled(tensor: np.ndarray, axis: int, block: int, parts: int) -> np.ndarray:
    """Brings channels from PyTorch's order (channel, row, column) into TensorFlow's (row, column, channel).

    Each of the equal `parts` of the channels is shuffled for itself.
    """
    channels = tensor.shape[axis]
    if block == 1 or not tensor.size or channels % (parts * block**2):
        return tensor
    order = np.arange(channels).reshape(parts, -1, block, block).transpose(0, 2, 3, 1).ravel()
    return np.take(tensor, order, axis=axis)


# What may stand between a convolution and the shuffle of its pixels without mixing channels.
_CHANNEL_BY_CHANNEL = {"Add", "Rescaling", "Clip", "LeakyReLU", "ReLU", "Activation"}


def _block(layer: keras.layers.Layer, *, forwards: bool) -> tuple[int, int]:
    """Returns the block size of the depth_to_space behind a layer, or the space_to_depth before it; 1 for none.

    The second number says into how many equal parts the channels are split before that.
    """
    wanted = "DepthToSpace" if forwards else "SpaceToDepth"
    found: list[tuple[keras.Operation, int]] = [(layer, 1)]
    seen = {layer.name}  # sums of sums make more ways through a network than can be walked
    while found:
        part, parts = found.pop()
        for other in _next_to(part, forwards):
            kind = type(other).__name__
            if kind == wanted:
                return other.block_size, parts
            split = kind == "Split" and isinstance(other.indices_or_sections, int)
            if forwards and other.name not in seen and (split or kind in _CHANNEL_BY_CHANNEL):
                seen.add(other.name)
                found.append((other, parts * (other.indices_or_sections if split else 1)))
    return 1, 1


def _next_to(part: keras.Operation, forwards: bool) -> Iterator[keras.Operation]:
    if forwards:
        for node in part._outbound_nodes:
            yield node.operation
    else:
        for node in part._inbound_nodes:
            for tensor in node.input_tensors:
                yield tensor._keras_history.operation


def _listed(tensors: Weights) -> str:
    if not isinstance(tensors, Mapping):
        kinds = [layer.kind for layer in tensors]
        return f"the operators {', '.join(kinds[:_MOST_OPERATORS])}{' ...' if len(kinds) > _MOST_OPERATORS else ''}"
    shown = ", ".join(f"'{name}' {list(tensor.shape)}" for name, tensor in list(tensors.items())[:_MOST_NAMES])
    more = f" and {len(tensors) - _MOST_NAMES} more" if len(tensors) > _MOST_NAMES else ""
    return f"the tensors {shown}{more}"
