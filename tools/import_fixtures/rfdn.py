"""RFDN by the names in github.com/njulj/RFDN, and with the attention of the paper, which has IMDN's name there."""

import torch
from torch import nn
from torch.nn import functional

from import_fixtures import Case
from import_fixtures._blocks import ContrastAttention, Distilling, SpatialAttention


class Block(nn.Module):
    """Half the channels are kept back, by 1x1 convolutions, before each of three residual ones of all channels."""

    def __init__(self, features: int, filters: int, attention: str):
        super().__init__()
        half = features // 2
        for k in (1, 2, 3):
            self.add_module(f"c{k}_d", nn.Conv2d(features, half, 1))
            self.add_module(f"c{k}_r", nn.Conv2d(features, features, 3, padding=1))
        self.c4 = nn.Conv2d(features, half, 3, padding=1)
        self.c5 = nn.Conv2d(4 * half, features, 1)
        self.attention = attention
        if attention == "esa":
            self.esa = SpatialAttention(features, filters, ["conv_max", "conv3", "conv3_"])
        else:
            self.cca = ContrastAttention(features, filters)

    def forward(self, x):
        kept = []
        for k in (1, 2, 3):
            kept.append(functional.leaky_relu(getattr(self, f"c{k}_d")(x), 0.05))
            x = functional.leaky_relu(getattr(self, f"c{k}_r")(x) + x, 0.05)
        kept.append(functional.leaky_relu(self.c4(x), 0.05))
        return getattr(self, self.attention)(self.c5(torch.cat(kept, dim=1)))


def _network(scale: int, attention: str) -> Distilling:
    """Two blocks of 6 features, 3 in the attention; pixels in 0..255."""
    return Distilling(scale, 6, {f"B{k}": Block(6, 3, attention) for k in (1, 2)})


def _drawn(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Draws biases that count beside 0..255, and an attention with open ReLUs and sigmoids neither 0 nor 1."""
    if name.endswith(("conv_du.0.weight", "esa.conv4.weight")):
        return tensor / 100
    if name.endswith("conv_du.0.bias"):
        return 0.5 + tensor.abs()
    if name.endswith(("esa.conv2.bias", "esa.conv_max.bias", "esa.conv3.bias")):
        return 100 * tensor.abs()
    return 50 * tensor if name.endswith(".bias") and "conv_du" not in name and "conv4" not in name else tensor


def cases():
    """What won AIM 2020, on a picture that its attention sees in three by two pixels, and the paper's network."""
    return [
        Case("aim-x2", _network(2, "esa"), pixel_range=255.0, drawn=_drawn, size=(21, 15)),
        Case("paper-x3", _network(3, "cca"), pixel_range=255.0, drawn=_drawn),
    ]
