"""What model files share to recognise weights that were published elsewhere, by the names and shapes of their tensors.

A model file that knows published weights has a function `published(tensors) -> Published | None`. Its layers bear the
names of the authors' modules, so that tensor `body.0.conv1.weight` belongs to layer `body.0.conv1`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sr_keras.errors import InputError

Tensors = Mapping[str, np.ndarray]
_MOST = 200  # blocks in a row; published networks have up to 40


@dataclass(frozen=True)
class Published:
    """What was recognised: the options of `build`, `scale` and `channels` among them, and the tensors of its layers.

    `tensors` have PyTorch's axis order and the names of the layers. `notes` say what was not taken as it is, and why.
    """

    options: dict[str, Any]
    tensors: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()


def renamed(tensors: Tensors, *rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> dict[str, np.ndarray]:
    """Returns the tensors under other names: of the rules (pattern, replacement), the first that matches the start.

    A replacement is a template, or a function of the match.

    Raises:
        ValueError: if two tensors get one name.
    """
    found: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        new = name
        for pattern, replacement in rules:
            if (match := re.match(pattern, name)) is not None:
                start = match.expand(replacement) if isinstance(replacement, str) else replacement(match)
                new = start + name[match.end() :]
                break
        if new in found:
            raise ValueError(f"tensor '{name}' is there under two names")
        found[new] = tensor
    return found


def count(tensors: Tensors, pattern: str) -> int:
    """Counts the different numbers that the one group of `pattern` takes at the start of the names.

    Raises:
        InputError: if there are too many to be built in reasonable time.
    """
    found = len({match[1] for name in tensors if (match := re.match(pattern, name)) is not None})
    if found > _MOST:
        raise InputError(f"{found} parts of one kind (such as '{pattern}') are too many; {_MOST} are taken.")
    return found


def upsampled(tensors: Tensors, pattern: str, last: str) -> int:
    """Returns the scale of a chain of sub-pixel convolutions; `pattern` matches their weights' names.

    `last` names the tensor behind them, whose inputs tell what one convolution has made.
    """
    scale = 1
    features = tensors[last].shape[1]
    for name, tensor in tensors.items():
        if re.fullmatch(pattern, name):
            scale *= root(tensor.shape[0], features)
    return scale


def root(filters: int, channels: int) -> int:
    """Returns s of `s*s * channels == filters`. Raises `ValueError` if there is no such whole number."""
    scale = round((filters / channels) ** 0.5)
    if scale < 1 or scale * scale * channels != filters:
        raise ValueError(f"{filters} filters make no whole number of pixels of {channels} channels")
    return scale


def without(tensors: dict[str, np.ndarray], pattern: str) -> list[np.ndarray]:
    """Takes the tensors out whose whole name matches `pattern`, and returns them."""
    return [tensors.pop(name) for name in [name for name in tensors if re.fullmatch(pattern, name)]]


def merged_weight_norm(tensors: Tensors) -> dict[str, np.ndarray]:
    """Returns the tensors with weight normalisation (Salimans and Kingma, 2016) multiplied out: `g * v / |v|`.

    Both of PyTorch's pairs of names are known, `weight_g` with `weight_v` and those of its parametrizations. The norm
    is over the axes of which `g` has one.

    Raises:
        ValueError: if a kernel is there normalised and plain, too.
    """
    merged = dict(tensors)
    pairs = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
    for length, direction in pairs:
        for name, v in tensors.items():
            layer = name.removesuffix(direction)
            if layer == name or (g := tensors.get(layer + length)) is None:
                continue
            if f"{layer}weight" in merged:
                raise ValueError(f"tensor '{layer}weight' is there under two names")
            g, v = g.astype(np.float64), v.astype(np.float64)
            if g.ndim not in (0, v.ndim) or np.broadcast_shapes(g.shape, v.shape) != v.shape:
                raise ValueError(f"'{layer}{length}' does not fit its kernel")
            axes = tuple(k for k, n in enumerate(g.shape) if n == 1) if g.ndim else None
            with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused later
                merged[f"{layer}weight"] = (g * v / np.sqrt(np.sum(v**2, axes, keepdims=True))).astype(np.float32)
            del merged[name], merged[layer + length]
    return merged


def without_mean_shift(tensors: Tensors, mean: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Takes the fixed 1x1 convolutions `sub_mean` and `add_mean` out, which must shift by `mean` and no more.

    Returns the other tensors and what there is to note.

    Raises:
        InputError: if they do anything else.
    """
    left = dict(tensors)
    for name, sign in (("sub_mean", -1.0), ("add_mean", 1.0)):
        if f"{name}.weight" not in left and f"{name}.bias" not in left:
            continue
        weight, bias = (left.pop(f"{name}.{part}").astype(np.float64) for part in ("weight", "bias"))
        expected = sign * np.asarray(mean)
        channels = len(expected)
        if bias.shape != (channels,) or weight.size != channels**2:
            raise InputError(f"'{name}' is not for pictures of {channels} channels.")
        unit = np.allclose(weight.reshape(channels, channels), np.eye(channels), atol=1e-3)
        if not unit or not np.allclose(bias, expected, atol=2e-3 * np.abs(expected).max()):
            shift, wanted = bias.round(3).tolist(), expected.round(3).tolist()
            raise InputError(f"'{name}' shifts colours by {shift}, not by {wanted}.")
    shifted = len(left) < len(tensors)
    return left, ("sub_mean and add_mean: the mean of DIV2K, fixed in the network",) if shifted else ()
