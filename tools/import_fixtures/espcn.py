"""ESPCN by the names in github.com/yjn870/ESPCN-pytorch and github.com/Lornatang/ESPCN-PyTorch (without its clamp)."""

from torch import nn

from import_fixtures import Case


class Network(nn.Module):
    """Two parts, by whatever names."""

    def __init__(self, first: str, last: str, scale: int, channels: int, features: int):
        super().__init__()
        self.names = first, last
        half = features // 2
        wide, narrow = nn.Conv2d(channels, features, 5, padding=2), nn.Conv2d(features, half, 3, padding=1)
        subpixel = nn.Conv2d(half, channels * scale**2, 3, padding=1)
        self.add_module(first, nn.Sequential(wide, nn.Tanh(), narrow, nn.Tanh()))
        self.add_module(last, nn.Sequential(subpixel, nn.PixelShuffle(scale)))

    def forward(self, x):
        for name in self.names:
            x = getattr(self, name)(x)
        return x


def cases():
    """Colours, whose pixels are shuffled otherwise than Keras does it, and luminance."""
    return [
        Case("x3", Network("first_part", "last_part", 3, 3, 8)),
        Case("lornatang-x2", Network("feature_maps", "sub_pixel", 2, 1, 8), channels=1),
    ]
