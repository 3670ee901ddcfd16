"""CARN and CARN-M by the names in github.com/nmhkahn/CARN-pytorch."""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from import_fixtures import Case
from import_fixtures._blocks import DIV2K, Shift


class _Body(nn.Module):
    """What lies in `body`, and a sum of it with its input where that is wanted."""

    def __init__(self, *parts: nn.Module, residual: bool = False):
        super().__init__()
        self.body = nn.Sequential(*parts)
        self.residual = residual

    def forward(self, x):
        return functional.relu(self.body(x) + x) if self.residual else self.body(x)


class _Cascade(nn.Module):
    """Three blocks, or one three times, each followed by a 1x1 convolution of all that was made so far."""

    def __init__(self, features: int, blocks: list[nn.Module]):
        super().__init__()
        for k, block in enumerate(blocks, start=1):
            setattr(self, f"b{k}", block)
        for k in (1, 2, 3):
            setattr(self, f"c{k}", _Body(nn.Conv2d((k + 1) * features, features, 1), nn.ReLU()))
        self.order = [f"b{k}" for k in range(1, len(blocks) + 1)] if len(blocks) > 1 else ["b1"] * 3

    def forward(self, x):
        made = [x]
        for k, name in enumerate(self.order, start=1):
            made.append(getattr(self, name)(x))
            x = getattr(self, f"c{k}")(torch.cat(made, 1))
        return x


class Network(_Cascade):
    """The whole network, pixels in 0..1; it runs the last of its `scales`."""

    def __init__(self, scales: list[int], features: int, groups: int = 1, recursive: bool = False):
        super().__init__(features, [_Cascade(features, _blocks(features, groups, recursive)) for _ in range(3)])
        self.sub_mean, self.add_mean = (nn.Sequential(OrderedDict(shifter=Shift(sign * DIV2K))) for sign in (-1, 1))
        self.entry, self.exit = nn.Conv2d(3, features, 3, padding=1), nn.Conv2d(features, 3, 3, padding=1)
        self.upsample = nn.Module()
        self.up = "up" if len(scales) == 1 else f"up{scales[-1]}"
        for scale in scales:
            steps = [3] if scale == 3 else [2] * (scale // 2)
            parts = [part for step in steps for part in _enlarging(features, step, groups)]
            setattr(self.upsample, self.up if len(scales) == 1 else f"up{scale}", _Body(*parts))

    def forward(self, x):
        x = super().forward(self.entry(self.sub_mean(x)))
        return self.add_mean(self.exit(getattr(self.upsample, self.up)(x)))


def _blocks(features: int, groups: int, recursive: bool) -> list[nn.Module]:
    def wide(groups: int = 1):
        return nn.Conv2d(features, features, 3, padding=1, groups=groups)

    if recursive:
        mixing = nn.Conv2d(features, features, 1)
        return [_Body(wide(groups), nn.ReLU(), wide(groups), nn.ReLU(), mixing, residual=True)]
    return [_Body(wide(), nn.ReLU(), wide(), residual=True) for _ in range(3)]


def _enlarging(features: int, step: int, groups: int) -> list[nn.Module]:
    return [nn.Conv2d(features, features * step**2, 3, padding=1, groups=groups), nn.ReLU(), nn.PixelShuffle(step)]


def cases():
    """CARN for one scale, CARN-M for one, and each for several."""
    kept = tuple(f"{name}_mean.shifter.{part}" for name in ("sub", "add") for part in ("weight", "bias"))
    networks = {
        "x2": Network([2], 4), "x3": Network([3], 4), "x24": Network([2, 4], 4),
        "m-x4": Network([4], 8, 4, True), "m-x23": Network([2, 3], 8, 4, True),
    }  # fmt: skip
    return [Case(name, network, kept=kept, idle=("up2.",)) for name, network in networks.items()]
