"""RFDN by the names in github.com/njulj/RFDN, and with the attention of the paper, which has IMDN's name there."""

import torch
from torch import nn
from torch.nn import functional

from import_fixtures import Case
from import_fixtures.imdn import ContrastAttention


class SpatialAttention(nn.Module):
    """ESA with three convolutions on the small map."""

    def __init__(self, features: int, filters: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, filters, 1)
        self.conv_f = nn.Conv2d(filters, filters, 1)
        self.conv_max = nn.Conv2d(filters, filters, 3, padding=1)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride=2)
        self.conv3 = nn.Conv2d(filters, filters, 3, padding=1)
        self.conv3_ = nn.Conv2d(filters, filters, 3, padding=1)
        self.conv4 = nn.Conv2d(filters, features, 1)

    def forward(self, x):
        reduced = self.conv1(x)
        small = functional.max_pool2d(self.conv2(reduced), 7, 3)
        small = self.conv3_(self.conv3(self.conv_max(small).relu()).relu())
        small = functional.interpolate(small, x.shape[2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(small + self.conv_f(reduced)))


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
        self.add_module(attention, (SpatialAttention if attention == "esa" else ContrastAttention)(features, filters))

    def forward(self, x):
        kept = []
        for k in (1, 2, 3):
            kept.append(functional.leaky_relu(getattr(self, f"c{k}_d")(x), 0.05))
            x = functional.leaky_relu(getattr(self, f"c{k}_r")(x) + x, 0.05)
        kept.append(functional.leaky_relu(self.c4(x), 0.05))
        return getattr(self, self.attention)(self.c5(torch.cat(kept, dim=1)))


class Network(nn.Module):
    """The whole network, pixels in 0..255."""

    def __init__(self, scale: int, features: int, filters: int, blocks: int, attention: str):
        super().__init__()
        self.fea_conv = nn.Conv2d(3, features, 3, padding=1)
        self.names = [f"B{k + 1}" for k in range(blocks)]
        for name in self.names:
            self.add_module(name, Block(features, filters, attention))
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
    """What won AIM 2020, on a picture that its attention sees in three by two pixels, and the paper's network."""
    return [
        Case("aim-x2", Network(2, 6, 3, 2, "esa"), pixel_range=255.0, size=(21, 15)),
        Case("paper-x3", Network(3, 6, 3, 2, "cca"), pixel_range=255.0),
    ]
