"""RCAN: spandrel's class, whose names are the authors', and the names of BasicSR."""

import torch
from spandrel.architectures.RCAN import RCAN
from torch import nn

from import_fixtures import Case
from import_fixtures._blocks import renamed

_DF2K = (0.4690, 0.4490, 0.4036)
_KEPT = tuple(f"{name}_mean.{part}" for name in ("sub", "add") for part in ("weight", "bias"))


class _Copying(nn.Module):
    """Hands spandrel's class a copy, for it multiplies its input in place."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x.clone())

    def state_dict(self, *args, **kwargs):
        return self.network.state_dict(*args, **kwargs)


def _network(scale: int, *, df2k: bool = False, **options) -> nn.Module:
    network = RCAN(scale=scale, n_resgroups=2, n_resblocks=1, n_feats=6, reduction=2, **options)
    if df2k:
        for shift, sign in ((network.sub_mean, -1.0), (network.add_mean, 1.0)):
            shift.bias.data = sign * 255.0 * torch.tensor(_DF2K)
    return _Copying(network)


def _open(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Draws the attention so that its few ReLUs are open, and that its sigmoids are neither 0 nor 1."""
    if name.endswith("conv_du.0.weight"):
        return tensor / 20
    return 0.5 + tensor.abs() if name.endswith("conv_du.0.bias") else tensor


def _basicsr(state):
    rules = [
        (r"head\.0\.", "conv_first."), (r"tail\.0\.", "upsample."), (r"tail\.1\.", "conv_last."),
        (r"body\.2\.", "conv_after_body."), (r"body\.(\d)\.body\.1\.", r"body.\1.conv."),
        (r"body\.(\d)\.body\.(\d)\.body\.3\.conv_du\.0", r"body.\1.residual_group.\2.rcab.3.attention.1"),
        (r"body\.(\d)\.body\.(\d)\.body\.3\.conv_du\.2", r"body.\1.residual_group.\2.rcab.3.attention.3"),
        (r"body\.(\d)\.body\.(\d)\.body\.", r"body.\1.residual_group.\2.rcab."),
    ]  # fmt: skip
    return {"params_ema": renamed(state, rules)}


def cases():
    """The authors' names at x2, x3 and x4, with another mean, without a mean, and BasicSR's."""
    return [
        *[Case(f"x{scale}", _network(scale), size=(7, 5), drawn=_open, kept=_KEPT) for scale in (2, 3, 4)],
        Case("df2k-x2", _network(2, df2k=True), size=(7, 5), drawn=_open, kept=_KEPT),
        Case("plain-x2", _network(2, norm=False), size=(7, 5), drawn=_open),
        Case("grey-x3", _network(3, norm=False, n_colors=1), size=(7, 5), drawn=_open, channels=1),
        Case("basicsr-x4", _network(4), size=(7, 5), drawn=_open, kept=_KEPT, wrapped=_basicsr),
    ]
