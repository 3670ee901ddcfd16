"""ECBSR by the names in github.com/xindongzhang/ECBSR (`ECBSR`, `PlainSR`) and BasicSR, which adds colours."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from import_fixtures import Case

MASKS = {
    "sbx": ((1, 0, -1), (2, 0, -2), (1, 0, -1)),
    "sby": ((1, 2, 1), (0, 0, 0), (-1, -2, -1)),
    "lpl": ((0, 1, 0), (1, -4, 1), (0, 1, 0)),
}


def _framed(y: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Puts one pixel of `bias` around `[B, C, H, W]`."""
    frame = bias.view(1, -1, 1, 1).expand(*y.shape[:2], y.shape[2] + 2, y.shape[3] + 2).clone()
    frame[:, :, 1:-1, 1:-1] = y
    return frame


class Wide(nn.Module):
    """1x1, then 3x3."""

    def __init__(self, before: int, after: int, expansion: int):
        super().__init__()
        self.k0 = nn.Parameter(torch.zeros(after * expansion, before, 1, 1))
        self.b0 = nn.Parameter(torch.zeros(after * expansion))
        self.k1 = nn.Parameter(torch.zeros(after, after * expansion, 3, 3))
        self.b1 = nn.Parameter(torch.zeros(after))

    def forward(self, x):
        return functional.conv2d(_framed(functional.conv2d(x, self.k0, self.b0), self.b0), self.k1, self.b1)


class Edge(nn.Module):
    """1x1, then a mask with a factor for each channel."""

    def __init__(self, before: int, after: int, mask: tuple):
        super().__init__()
        self.k0 = nn.Parameter(torch.zeros(after, before, 1, 1))
        self.b0 = nn.Parameter(torch.zeros(after))
        self.scale = nn.Parameter(
            torch.linspace(-0.1, 0.2, after).half().float().view(-1, 1, 1, 1)
        )  # small, as trained
        self.bias = nn.Parameter(torch.zeros(after))
        self.mask = nn.Parameter(torch.tensor(mask).float().expand(after, 1, 3, 3).clone(), requires_grad=False)

    def forward(self, x):
        y = _framed(functional.conv2d(x, self.k0, self.b0), self.b0)
        return functional.conv2d(y, self.scale * self.mask, self.bias, groups=len(self.bias))


class Block(nn.Module):
    """Five branches, or the plain one alone, and an activation."""

    def __init__(self, before: int, after: int, act: nn.Module, expansion: int):
        super().__init__()
        self.conv3x3 = nn.Conv2d(before, after, 3, padding=1)
        self.branches = []
        if expansion:
            self.conv1x1_3x3 = Wide(before, after, expansion)
            self.branches = ["conv1x1_3x3", *(f"conv1x1_{name}" for name in MASKS)]
            for name, mask in MASKS.items():
                self.add_module(f"conv1x1_{name}", Edge(before, after, mask))
        self.act = act

    def forward(self, x):
        return self.act(self.conv3x3(x) + sum(getattr(self, name)(x) for name in self.branches))


class Network(nn.Module):
    """The whole network; an `expansion` of 0 is the collapsed one."""

    def __init__(self, scale: int, channels: int, features: int, blocks: int, expansion: int = 2, relu: bool = False):
        super().__init__()
        sizes = [channels, *[features] * (blocks + 1)]
        parts = [
            Block(before, after, nn.ReLU() if relu else nn.PReLU(after), expansion) for before, after in pairwise(sizes)
        ]
        parts.append(Block(features, channels * scale**2, nn.Identity(), expansion))
        self.backbone = nn.Sequential(*parts)
        self.scale = scale

    def forward(self, x):
        nearest = x.repeat_interleave(self.scale**2, dim=1)
        return functional.pixel_shuffle(self.backbone(x) + nearest, self.scale)


def cases():
    """The authors' luminance in 0..255, BasicSR's colours in 0..1, and the collapsed network of each kind."""
    made = [
        ("grey-x2", Network(2, 1, 6, 1), {"channels": 1, "pixel_range": 255.0}),
        ("basicsr-x3", Network(3, 3, 3, 0, 1, relu=True), {"wrapped": lambda state: {"params": state}}),
        ("plain-x4", Network(4, 1, 6, 1, 0), {"channels": 1, "pixel_range": 255.0}),
        ("plain-colours-x2", Network(2, 3, 6, 1, 0), {}),
    ]
    return [
        Case(
            name,
            network,
            kept=tuple(key for key in network.state_dict() if key.endswith((".mask", ".scale"))),
            idle=tuple(f"{name}.b0" for name in MASKS),  # the mask takes it away
            **options,
        )
        for name, network, options in made
    ]
