"""WDSR by the names in github.com/ychfan/wdsr and in github.com/JiahuiYu/wdsr_ntire2018."""

from torch import nn
from torch.nn.utils import parametrizations, weight_norm

from import_fixtures import Case
from import_fixtures._blocks import DIV2K

_DIV2K = DIV2K.view(1, 3, 1, 1)


class _Block(nn.Module):
    """A wide convolution, a ReLU, and a narrow one; or, of variant b, two 1x1 and a narrow one."""

    def __init__(self, features: int, inner: list[int], norm):
        super().__init__()
        if len(inner) == 1:
            parts = [_conv(norm, features, inner[0], 3), nn.ReLU(), _conv(norm, inner[0], features, 3)]
        else:
            wide, narrow = inner
            parts = [_conv(norm, features, wide, 1), nn.ReLU(), _conv(norm, wide, narrow, 1)]
            parts.append(_conv(norm, narrow, features, 3))
        self.body = nn.Sequential(*parts)

    def forward(self, x):
        return x + self.body(x)


class OneBody(nn.Module):
    """Yuchen Fan's: head and tail are part of the body; pixels in 0..1 about 0.5."""

    def __init__(self, scale: int, features: int, inner: list[int], blocks: int, norm):
        super().__init__()
        middle = [_Block(features, inner, norm) for _ in range(blocks)]
        ends = _conv(norm, 3, features, 3), _conv(norm, features, 3 * scale**2, 3)
        self.body = nn.Sequential(ends[0], *middle, ends[1])
        self.skip = nn.Sequential(_conv(norm, 3, 3 * scale**2, 5))
        self.shuf = nn.Sequential(nn.PixelShuffle(scale))

    def forward(self, x):
        x = x - 0.5
        return self.shuf(self.body(x) + self.skip(x)) + 0.5


class Challenge(nn.Module):
    """Jiahui Yu's: head, body, tail and skip; pixels in 0..255 about DIV2K's mean, divided by 127.5."""

    def __init__(self, scale: int, features: int, inner: list[int], blocks: int, norm):
        super().__init__()
        self.head = nn.Sequential(_conv(norm, 3, features, 3))
        self.body = nn.Sequential(*[_Block(features, inner, norm) for _ in range(blocks)])
        self.tail = nn.Sequential(_conv(norm, features, 3 * scale**2, 3), nn.PixelShuffle(scale))
        self.skip = nn.Sequential(_conv(norm, 3, 3 * scale**2, 5), nn.PixelShuffle(scale))

    def forward(self, x):
        x = (x - 255 * _DIV2K) / 127.5
        x = self.tail(self.body(self.head(x))) + self.skip(x)
        return 127.5 * x + 255 * _DIV2K


def _conv(norm, inputs: int, outputs: int, size: int) -> nn.Module:
    return norm(nn.Conv2d(inputs, outputs, size, padding=size // 2))


def _plain(module: nn.Module) -> nn.Module:
    return module


def _in_module(state):
    return {"state_dict": {name.replace(".body.", ".module."): tensor for name, tensor in state.items()}}


def cases():
    """Both repositories' names, both variants, plain weights and those of both ways to normalise them."""
    return [
        Case("fan-a-x2", OneBody(2, 5, [12], 2, weight_norm), wrapped=lambda state: {"model_state_dict": state}),
        Case("fan-a-x3", OneBody(3, 5, [12], 2, parametrizations.weight_norm)),
        Case("yu-a-x3", Challenge(3, 5, [11], 2, weight_norm), pixel_range=255.0),
        Case("yu-b-x4", Challenge(4, 4, [13, 3], 2, weight_norm), pixel_range=255.0),
        Case("plain-b-x2", Challenge(2, 5, [13, 4], 2, _plain), pixel_range=255.0, wrapped=_in_module),
    ]
