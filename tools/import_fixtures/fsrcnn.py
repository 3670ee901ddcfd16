"""FSRCNN by the names in github.com/yjn870/FSRCNN-pytorch and github.com/Lornatang/FSRCNN-PyTorch."""

import torch
from torch import nn

from import_fixtures import Case


def _layer(before: int, after: int, size: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, size, padding=size // 2), nn.PReLU(after)]


def _deconvolution(features: int, channels: int, scale: int) -> nn.ConvTranspose2d:
    """A random one that makes an even area of an even area, as a trained one does: what tells its scale."""
    layer = nn.ConvTranspose2d(features, channels, 9, stride=scale, padding=4, output_padding=scale - 1)
    generator = torch.Generator().manual_seed(scale)
    taps = torch.randn(layer.weight.shape, generator=generator) * 0.1
    for y in range(scale):
        for x in range(scale):
            phase = taps[:, :, y::scale, x::scale]
            phase += (0.4 - phase.sum((2, 3), keepdim=True)) / phase[0, 0].numel()
    with torch.no_grad():
        layer.weight.copy_(taps.half())
    return layer


class Yjn870(nn.Module):
    """Three parts."""

    def __init__(self, scale: int, channels: int, d: int, s: int, m: int):
        super().__init__()
        self.first_part = nn.Sequential(*_layer(channels, d, 5))
        middle = [part for _ in range(m) for part in _layer(s, s, 3)]
        self.mid_part = nn.Sequential(*_layer(d, s, 1), *middle, *_layer(s, d, 1))
        self.last_part = _deconvolution(d, channels, scale)

    def forward(self, x):
        return self.last_part(self.mid_part(self.first_part(x)))


class Lornatang(nn.Module):
    """Five parts."""

    def __init__(self, scale: int, d: int, s: int, m: int):
        super().__init__()
        self.feature_extraction = nn.Sequential(*_layer(1, d, 5))
        self.shrink = nn.Sequential(*_layer(d, s, 1))
        self.map = nn.Sequential(*[part for _ in range(m) for part in _layer(s, s, 3)])
        self.expand = nn.Sequential(*_layer(s, d, 1))
        self.deconv = _deconvolution(d, 1, scale)

    def forward(self, x):
        return self.deconv(self.expand(self.map(self.shrink(self.feature_extraction(x)))))


def cases():
    """Every scale, since the taps of a deconvolution are shared out otherwise at each; colours at x3."""
    kept = ("last_part.weight", "deconv.weight")
    return [
        Case("x2", Yjn870(2, 1, 8, 4, 2), channels=1, kept=kept),
        Case("x3", Yjn870(3, 3, 8, 4, 1), kept=kept),
        Case("x4", Yjn870(4, 1, 8, 4, 2), channels=1, kept=kept),
        Case("lornatang-x3", Lornatang(3, 8, 4, 2), channels=1, kept=kept),
    ]
