"""RLFN by the names in github.com/bytedance/RLFN."""

from torch import nn
from torch.nn import functional

from import_fixtures import Case
from import_fixtures._blocks import SpatialAttention


class Block(nn.Module):
    """Three convolutions, a sum, a mixing one, and attention."""

    def __init__(self, features: int, filters: int):
        super().__init__()
        for name in ("c1_r", "c2_r", "c3_r"):
            self.add_module(name, nn.Conv2d(features, features, 3, padding=1))
        self.c5 = nn.Conv2d(features, features, 1)
        self.esa = SpatialAttention(features, filters, ["conv3"])

    def forward(self, x):
        y = x
        for layer in (self.c1_r, self.c2_r, self.c3_r):
            y = functional.leaky_relu(layer(y), 0.05)
        return self.esa(self.c5(y + x))


class Network(nn.Module):
    """The whole network, pixels in 0..255."""

    def __init__(self, scale: int, features: int, filters: int, blocks: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(3, features, 3, padding=1)
        self.blocks = [f"block_{k + 1}" for k in range(blocks)]
        for name in self.blocks:
            self.add_module(name, Block(features, filters))
        self.conv_2 = nn.Conv2d(features, features, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(features, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x):
        y = head = self.conv_1(x)
        for name in self.blocks:
            y = getattr(self, name)(y)
        return self.upsampler(self.conv_2(y) + head)


def cases():
    """x2 and x3, of few filters, on a picture that the attention sees in three by two pixels."""
    return [Case(f"x{scale}", Network(scale, 6, 4, 2), pixel_range=255.0, size=(21, 15)) for scale in (2, 3)]
