"""The cubic enlargement that a network takes for granted, as MATLAB's imresize computes it, by plain arithmetic."""

import math

import torch
from torch import nn


def _cubic(distance: float) -> float:
    """Keys' kernel with a = -0.5."""
    t = abs(distance)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def _matrix(size: int, scale: int) -> torch.Tensor:
    """Weights `[scale * size, size]` along one axis; beyond the border its last pixel counts."""
    matrix = torch.zeros(scale * size, size, dtype=torch.float64)
    for row in range(scale * size):
        centre = (row + 0.5) / scale - 0.5
        for tap in range(math.floor(centre) - 1, math.floor(centre) + 3):
            matrix[row, min(max(tap, 0), size - 1)] += _cubic(tap - centre)
    return matrix


class Enlarged(nn.Module):
    """Runs a network on the cubic enlargement; its state dict is the network's own."""

    def __init__(self, network: nn.Module, scale: int):
        super().__init__()
        self.network, self.scale = network, scale

    def state_dict(self, *args, **kwargs):
        return self.network.state_dict(*args, **kwargs)

    def forward(self, x):
        rows, columns = (_matrix(size, self.scale) for size in x.shape[2:])
        return self.network((rows @ x.double() @ columns.T).float())
