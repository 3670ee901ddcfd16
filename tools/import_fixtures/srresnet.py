"""SRResNet by the names in github.com/Lornatang/SRGAN-PyTorch, and the modified one by those in BasicSR."""

from torch import nn
from torch.nn import functional

from import_fixtures import Case


class _Residual(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        conv = {"padding": 1, "bias": False}
        self.rcb = nn.Sequential(
            nn.Conv2d(features, features, 3, **conv), nn.BatchNorm2d(features), nn.PReLU(),
            nn.Conv2d(features, features, 3, **conv), nn.BatchNorm2d(features),
        )  # fmt: skip

    def forward(self, x):
        return x + self.rcb(x)


class _Up(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.upsample_block = nn.Sequential(
            nn.Conv2d(features, 4 * features, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()
        )

    def forward(self, x):
        return self.upsample_block(x)


class Original(nn.Module):
    """With batch normalisation, whose PReLU has one slope for all channels."""

    def __init__(self, steps: int, features: int, blocks: int):
        super().__init__()
        self.conv_block1 = nn.Sequential(nn.Conv2d(3, features, 9, padding=4), nn.PReLU())
        self.trunk = nn.Sequential(*[_Residual(features) for _ in range(blocks)])
        self.conv_block2 = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, bias=False), nn.BatchNorm2d(features)
        )
        self.upsampling = nn.Sequential(*[_Up(features) for _ in range(steps)])
        self.conv_block3 = nn.Conv2d(features, 3, 9, padding=4)

    def forward(self, x):
        head = self.conv_block1(x)
        return self.conv_block3(self.upsampling(head + self.conv_block2(self.trunk(head))))


class _Plain(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(functional.relu(self.conv1(x)))


class Modified(nn.Module):
    """Without batch normalisation; the picture, enlarged linearly, is added."""

    def __init__(self, scale: int, features: int, blocks: int):
        super().__init__()
        self.scale, self.steps = scale, {2: [2], 3: [3], 4: [2, 2]}[scale]
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(*[_Plain(features) for _ in range(blocks)])
        for k, step in enumerate(self.steps, start=1):
            self.add_module(f"upconv{k}", nn.Conv2d(features, features * step**2, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, x):
        y = self.body(functional.leaky_relu(self.conv_first(x), 0.1))
        for k, step in enumerate(self.steps, start=1):
            y = functional.leaky_relu(functional.pixel_shuffle(getattr(self, f"upconv{k}")(y), step), 0.1)
        y = self.conv_last(functional.leaky_relu(self.conv_hr(y), 0.1))
        return y + functional.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)


def cases():
    """The original at x4 and x2, the modified one at every scale."""
    return [
        Case("original-x4", Original(2, 4, 1), size=(7, 5)),
        Case("original-x2", Original(1, 4, 1), size=(7, 5)),
        *[Case(f"modified-x{scale}", Modified(scale, 4, 2), size=(7, 5)) for scale in (2, 3, 4)],
    ]
