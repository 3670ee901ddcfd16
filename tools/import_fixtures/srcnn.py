"""SRCNN by the names in github.com/yjn870/SRCNN-pytorch and github.com/Lornatang/SRCNN-PyTorch."""

from torch import nn

from import_fixtures import Case
from import_fixtures._enlarged import Enlarged


class Yjn870(nn.Module):
    """9-5-5."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features, 9, padding=4)
        self.conv2 = nn.Conv2d(features, features // 2, 5, padding=2)
        self.conv3 = nn.Conv2d(features // 2, channels, 5, padding=2)

    def forward(self, x):
        return self.conv3(self.conv2(self.conv1(x).relu()).relu())


class Lornatang(nn.Module):
    """9-1-5."""

    def __init__(self, features: int):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, features, 9, padding=4), nn.ReLU())
        self.map = nn.Sequential(nn.Conv2d(features, features // 2, 1), nn.ReLU())
        self.reconstruction = nn.Conv2d(features // 2, 1, 5, padding=2)

    def forward(self, x):
        return self.reconstruction(self.map(self.features(x)))


def cases():
    """At x2, which is taken where no tensor tells the scale."""
    return [
        Case("colours", Enlarged(Yjn870(3, 8), 2)),
        Case("lornatang", Enlarged(Lornatang(8), 2), channels=1),
    ]
