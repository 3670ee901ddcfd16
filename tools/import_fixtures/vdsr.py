"""VDSR by the names in github.com/twtygqyy/pytorch-vdsr, both versions, and github.com/Lornatang/VDSR-PyTorch."""

from itertools import pairwise

from torch import nn

from import_fixtures import Case
from import_fixtures._enlarged import Enlarged


class Convolution(nn.Module):
    """One of the trunk."""

    def __init__(self, features: int, bias: bool):
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1, bias=bias)

    def forward(self, x):
        return self.conv(x).relu()


class Twtygqyy(nn.Module):
    """`input`, `residual_layer`, `output`."""

    def __init__(self, channels: int, features: int, middle: int, bias: bool):
        super().__init__()
        self.input = nn.Conv2d(channels, features, 3, padding=1, bias=bias)
        self.residual_layer = nn.Sequential(*[Convolution(features, bias) for _ in range(middle)])
        self.output = nn.Conv2d(features, channels, 3, padding=1, bias=bias)

    def forward(self, x):
        return self.output(self.residual_layer(self.input(x).relu())) + x


class Sequential(nn.Module):
    """Twtygqyy's later version: all in one."""

    def __init__(self, features: int, depth: int):
        super().__init__()
        sizes = [1, *[features] * (depth - 1), 1]
        parts = []
        for before, after in pairwise(sizes):
            parts += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.ReLU()]
        self.features = nn.Sequential(*parts[:-1])

    def forward(self, x):
        return self.features(x) + x


class Lornatang(nn.Module):
    """`conv1`, `trunk`, `conv2`."""

    def __init__(self, features: int, middle: int):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(1, features, 3, padding=1, bias=False), nn.ReLU())
        self.trunk = nn.Sequential(*[Convolution(features, False) for _ in range(middle)])
        self.conv2 = nn.Conv2d(features, 1, 3, padding=1, bias=False)

    def forward(self, x):
        return self.conv2(self.trunk(self.conv1(x))) + x


def cases():
    """At x2, which is taken since the weights serve every scale."""
    return [
        Case("grey", Enlarged(Twtygqyy(1, 6, 3, bias=False), 2), channels=1),
        Case("biases", Enlarged(Twtygqyy(3, 6, 1, bias=True), 2)),
        Case("sequential", Enlarged(Sequential(6, 4), 2), channels=1),
        Case("lornatang", Enlarged(Lornatang(6, 2), 2), channels=1),
    ]
