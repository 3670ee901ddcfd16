"""IMDN by the names in github.com/Zheng222/IMDN."""

import torch
from torch import nn
from torch.nn import functional

from import_fixtures import Case
from import_fixtures._blocks import ContrastAttention, Distilling


class Block(nn.Module):
    """Three convolutions that keep a quarter back, a fourth that makes one, attention, a mixing one, a sum."""

    def __init__(self, features: int, filters: int):
        super().__init__()
        self.sizes = (features // 4, features - features // 4)
        self.c1 = nn.Conv2d(features, features, 3, padding=1)
        self.c2 = nn.Conv2d(self.sizes[1], features, 3, padding=1)
        self.c3 = nn.Conv2d(self.sizes[1], features, 3, padding=1)
        self.c4 = nn.Conv2d(self.sizes[1], self.sizes[0], 3, padding=1)
        self.c5 = nn.Conv2d(features, features, 1)
        self.cca = ContrastAttention(features, filters)

    def forward(self, x):
        y, kept = x, []
        for layer in (self.c1, self.c2, self.c3):
            quarter, y = functional.leaky_relu(layer(y), 0.05).split(self.sizes, dim=1)
            kept.append(quarter)
        return x + self.c5(self.cca(torch.cat([*kept, self.c4(y)], dim=1)))


def _network(scale: int) -> Distilling:
    """Two blocks of 8 features, which the attention brings to 2."""
    return Distilling(scale, 8, {f"IMDB{k}": Block(8, 2) for k in (1, 2)})


def cases():
    """x2, and x3 as one saves a network that trained on several GPUs."""
    return [
        Case("x2", _network(2)),
        Case("parallel-x3", _network(3), wrapped=lambda state: {f"module.{key}": t for key, t in state.items()}),
    ]
