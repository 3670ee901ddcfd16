"""SESR by the names in github.com/quic/aimet-model-zoo, as trained and collapsed."""

import torch
from torch import nn

from import_fixtures import Case


class Block(nn.Module):
    """A linear block and an activation; once collapsed its `conv_expand` is all there is."""

    def __init__(self, before: int, after: int, width: int, size: int, activation: nn.Module, residual: bool):
        super().__init__()
        self.residual = residual and width > 0
        self.conv_expand = nn.Conv2d(before, width or after, size, padding=size // 2, bias=not width)
        self.conv_squeeze = nn.Conv2d(width, after, 1) if width else nn.Identity()
        self.activation = activation

    def forward(self, x):
        y = self.conv_squeeze(self.conv_expand(x))
        return self.activation(x + y if self.residual else y)


class Anchor(nn.Module):
    """The input, every channel `scale**2` times, by a fixed convolution."""

    def __init__(self, channels: int, scale: int):
        super().__init__()
        self.net = nn.Conv2d(channels, channels * scale**2, 1)
        with torch.no_grad():
            self.net.bias.zero_()
            self.net.weight.zero_()
            for k in range(channels * scale**2):
                self.net.weight[k, k // scale**2] = 1

    def forward(self, x):
        return self.net(x)


class Network(nn.Module):
    """The whole network; a `width` of 0 is the collapsed one."""

    def __init__(self, scale: int, channels: int, features: int, blocks: int, width: int, activation: type[nn.Module]):
        super().__init__()
        self.anchor = Anchor(channels, scale)
        self.conv_first = Block(channels, features, width, 5, activation(), False)
        middle = [Block(features, features, width, 3, activation(), True) for _ in range(blocks)]
        self.residual_block = nn.Sequential(*middle)
        self.conv_last = Block(features, channels * scale**2, width, 5, nn.Identity(), False)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x):
        first = self.conv_first(x)
        return self.shuffle(self.conv_last(self.residual_block(first) + first) + self.anchor(x))


def cases():
    """A width that is a multiple of neither filters nor of what is shuffled, and one that is of both."""
    kept = ("anchor.net.weight", "anchor.net.bias")
    wrapped = lambda state: {"state_dict": state}  # noqa: E731
    return [
        Case("trained-x2", Network(2, 3, 6, 2, 16, nn.ReLU), kept=kept, wrapped=wrapped),
        Case("trained-x3", Network(3, 3, 5, 1, 13, nn.PReLU), kept=kept),
        Case("collapsed-x4", Network(4, 3, 6, 2, 0, nn.ReLU), kept=kept),
        Case("grey-x4", Network(4, 1, 16, 1, 12, nn.ReLU), channels=1, kept=kept),
    ]
