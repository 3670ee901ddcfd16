"""What two architectures share: the shift by a mean colour, two attentions, a chain that all goes into, new names."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

DIV2K = torch.tensor([0.4488, 0.4371, 0.4040])


class Shift(nn.Conv2d):
    """A fixed 1x1 convolution that adds a colour."""

    def __init__(self, colour: torch.Tensor):
        super().__init__(3, 3, 1)
        self.weight.data = torch.eye(3).view(3, 3, 1, 1)
        self.bias.data = colour.clone()


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


class SpatialAttention(nn.Module):
    """ESA: a gate for each pixel, from a small map that goes through the convolutions named in `inner`."""

    def __init__(self, features: int, filters: int, inner: Sequence[str]):
        super().__init__()
        self.inner = inner
        self.conv1 = nn.Conv2d(features, filters, 1)
        self.conv_f = nn.Conv2d(filters, filters, 1)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride=2)
        for name in inner:
            self.add_module(name, nn.Conv2d(filters, filters, 3, padding=1))
        self.conv4 = nn.Conv2d(filters, features, 1)

    def forward(self, x):
        reduced = self.conv1(x)
        small = functional.max_pool2d(self.conv2(reduced), 7, 3)
        for name in self.inner[:-1]:
            small = getattr(self, name)(small).relu()
        small = getattr(self, self.inner[-1])(small)
        small = functional.interpolate(small, x.shape[2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(small + self.conv_f(reduced)))


class Distilling(nn.Module):
    """IMDN's and RFDN's frame: what each of the blocks makes goes into one convolution."""

    def __init__(self, scale: int, features: int, blocks: Mapping[str, nn.Module]):
        super().__init__()
        self.fea_conv = nn.Conv2d(3, features, 3, padding=1)
        self.names = list(blocks)
        for name, block in blocks.items():
            self.add_module(name, block)
        self.c = nn.Sequential(nn.Conv2d(features * len(blocks), features, 1), nn.LeakyReLU(0.05))
        self.LR_conv = nn.Conv2d(features, features, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(features, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x):
        y = head = self.fea_conv(x)
        found = []
        for name in self.names:
            y = getattr(self, name)(y)
            found.append(y)
        return self.upsampler(self.LR_conv(self.c(torch.cat(found, dim=1))) + head)


def renamed(state, rules: Sequence[tuple[str, str]]):
    """Renames by the first rule that matches a name's start; there must be one. The shift by a mean is left out."""
    found = {}
    for name, tensor in state.items():
        if "mean" not in name:
            pattern, new = next(rule for rule in rules if re.match(rule[0], name))
            found[re.sub("^" + pattern, new, name)] = tensor
    return found
