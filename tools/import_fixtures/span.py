"""SPAN, spandrel's own class; of its convolutions the file holds all branches, or what they were merged into."""

import dataclasses

import torch
from spandrel.architectures.SPAN import SPAN

from import_fixtures import Case

LAST = "upsampler.0.weight"
EVAL = ".eval_conv."  # made of the others, whatever it was


def cases():
    """As trained; merged; merged, grey and with pixels as they are."""
    return [
        Case("x2", _network(2), kept=(LAST,), idle=(EVAL,)),
        _merged(Case("merged-x4", _network(4), kept=(LAST,))),
        _merged(Case("merged-grey-x3", _network(3, channels=1, norm=False), channels=1, drawn=_large)),
    ]


def _network(scale: int, channels: int = 3, norm: bool = True) -> SPAN:
    network = SPAN(num_in_ch=channels, num_out_ch=channels, feature_channels=4, upscale=scale, norm=norm)
    with torch.no_grad():  # what comes in is in 0..255, but what goes out is not
        last = network.state_dict()[LAST]
        last.copy_((torch.randn(last.shape, generator=torch.Generator().manual_seed(1)) / 1000).half())
    return network


def _large(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Keeps pixels of 0..1 from vanishing: a block multiplies what is small by what is small."""
    return 1.5 * tensor if name.startswith("block_") and name.endswith(".sk.weight") else tensor


def _merged(case: Case) -> Case:
    def wrapped(_):  # not the halved one: a merged kernel is no sum of halves
        state = case.network.state_dict()
        return {"params": {key: t for key, t in state.items() if ".sk." not in key and ".conv." not in key}}

    return dataclasses.replace(case, wrapped=wrapped, idle=(EVAL, "no_norm"))
