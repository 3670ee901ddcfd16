"""Networks in PyTorch that sr_keras is compared with: one file is one architecture, with a function `cases`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Case:
    """A tiny network that maps `[1, channels, H, W]` in 0..pixel_range to the enlarged picture in the same range.

    Its weights are made random, those named in `kept` aside, and go by name through `drawn`. Each must matter to the
    picture, but for those in whose names a part listed in `idle` occurs. `size` is (H, W) of the picture that it is
    shown, and `wrapped` makes of its state dict what the file shall hold.
    """

    name: str
    network: torch.nn.Module
    channels: int = 3
    pixel_range: float = 1.0
    size: tuple[int, int] = (9, 7)
    kept: tuple[str, ...] = ()
    drawn: Callable[[str, torch.Tensor], torch.Tensor] = lambda name, tensor: tensor
    idle: tuple[str, ...] = ()
    wrapped: Callable[[dict[str, torch.Tensor]], Any] = dict
