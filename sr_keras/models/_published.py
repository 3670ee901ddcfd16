"""What model files share to recognise weights that were published elsewhere, by the names and shapes of their tensors.

A model file that knows published weights has a function `published(tensors) -> Published | None`. Its layers bear the
names of the authors' modules, so that tensor `body.0.conv1.weight` belongs to layer `body.0.conv1`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sr_keras.errors import InputError

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Published:
    """What was recognised: the options of `build`, `scale` and `channels` among them, and the tensors of its layers.

    `tensors` have PyTorch's axis order and the names of the layers. `notes` say what was not taken as it is, and why.
    """

    options: dict[str, Any]
    tensors: dict[str, np.ndarray]
    notes: tuple[str, ...] = field(default=())


def renamed(tensors: Tensors, *rules: tuple[str, str]) -> dict[str, np.ndarray]:
    """Returns the tensors under other names: of the rules (pattern, replacement), the first that matches the start.

    Raises:
        InputError: if two tensors get one name.
    """
    found: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        new = name
        for pattern, replacement in rules:
            if (match := re.match(pattern, name)) is not None:
                new = match.expand(replacement) + name[match.end() :]
                break
        if new in found:
            raise InputError(f"tensor '{name}' is there under two names; give a file of one network.")
        found[new] = tensor
    return found


def count(tensors: Tensors, pattern: str) -> int:
    """Counts the different numbers that the one group of `pattern` takes at the start of the names."""
    return len({match[1] for name in tensors if (match := re.match(pattern, name)) is not None})


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
