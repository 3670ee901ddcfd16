"""IMDN by the names in github.com/Zheng222/IMDN."""

import torch
from torch import nn
from torch.nn import functional

from import_fixtures import Case


class ContrastAttention(nn.Module):
    """A gate for each channel, from its mean and its standard deviation (of all pixels, not of a sample)."""

    def __init__(self, features: int, filters: int):
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(features, filters, 1), nn.ReLU(), nn.Conv2d(filters, features, 1), nn.Sigmoid()
        )

    def forward(self, x):
        deviation, mean = torch.std_mean(x, dim=(2, 3), correction=0, keepdim=True)
        return x * self.conv_du(deviation + mean)


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


class Network(nn.Module):
    """The whole network; `filters` is 4 in the paper's, a sixteenth of its features."""

    def __init__(self, scale: int, features: int, filters: int, blocks: int):
        super().__init__()
        self.fea_conv = nn.Conv2d(3, features, 3, padding=1)
        self.names = [f"IMDB{k + 1}" for k in range(blocks)]
        for name in self.names:
            self.add_module(name, Block(features, filters))
        self.c = nn.Sequential(nn.Conv2d(features * blocks, features, 1), nn.LeakyReLU(0.05))
        self.LR_conv = nn.Conv2d(features, features, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(features, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x):
        y = head = self.fea_conv(x)
        found = []
        for name in self.names:
            y = getattr(self, name)(y)
            found.append(y)
        return self.upsampler(self.LR_conv(self.c(torch.cat(found, dim=1))) + head)


def cases():
    """x2, and x3 as one saves a network that trained on several GPUs."""
    return [
        Case("x2", Network(2, 8, 2, 2)),
        Case(
            "parallel-x3", Network(3, 8, 2, 2), wrapped=lambda state: {f"module.{key}": t for key, t in state.items()}
        ),
    ]
