"""EDSR by the names in github.com/sanghyun-son/EDSR-PyTorch and in BasicSR."""

from torch import nn

from import_fixtures import Case
from import_fixtures._blocks import DIV2K, Shift, renamed


class _Block(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.body = nn.Sequential(_conv(features, features), nn.ReLU(), _conv(features, features))

    def forward(self, x):
        return x + self.body(x)


class Network(nn.Module):
    """The whole network, pixels in 0..255."""

    def __init__(self, scale: int, features: int, blocks: int):
        super().__init__()
        self.sub_mean, self.add_mean = Shift(-255 * DIV2K), Shift(255 * DIV2K)
        self.head = nn.Sequential(_conv(3, features))
        self.body = nn.Sequential(*[_Block(features) for _ in range(blocks)], _conv(features, features))
        steps = {2: [2], 3: [3], 4: [2, 2]}[scale]
        up = [layer for step in steps for layer in (_conv(features, features * step**2), nn.PixelShuffle(step))]
        self.tail = nn.Sequential(nn.Sequential(*up), _conv(features, 3))

    def forward(self, x):
        x = self.head(self.sub_mean(x))
        return self.add_mean(self.tail(self.body(x) + x))


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _basicsr(state):
    rules = [
        (r"head\.0", "conv_first"), (r"body\.(\d+)\.body\.0", r"body.\1.conv1"),
        (r"body\.(\d+)\.body\.2", r"body.\1.conv2"), (r"body\.\d+(?=\.(weight|bias))", "conv_after_body"),
        (r"tail\.0", "upsample"), (r"tail\.1", "conv_last"),
    ]  # fmt: skip
    return {"params": renamed(state, rules)}


def cases():
    """The authors' names at x2, x3 and x4, and BasicSR's at x4."""
    kept = tuple(f"{name}_mean.{part}" for name in ("sub", "add") for part in ("weight", "bias"))
    given = {"pixel_range": 255.0, "kept": kept}
    found = [Case(f"x{scale}", Network(scale, 5, 2), size=(7, 5), **given) for scale in (2, 3, 4)]
    return [*found, Case("basicsr-x4", Network(4, 5, 2), size=(7, 5), wrapped=_basicsr, **given)]
