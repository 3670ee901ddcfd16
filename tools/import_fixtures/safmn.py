"""SAFMN, spandrel's own class."""

from spandrel.architectures.SAFMN import SAFMN

from import_fixtures import Case


def cases():
    """Sizes of all remainders modulo 8 matter: one that leaves 7 of 8 pixels too, and one that leaves none."""

    def network(scale: int) -> SAFMN:
        return SAFMN(dim=8, n_blocks=2, ffn_scale=1.5, upscaling_factor=scale)

    return [
        Case("x2", network(2), size=(21, 17)),
        Case("x3", network(3), size=(15, 8)),
        Case("x4", network(4), size=(8, 16), wrapped=lambda state: {"params": state}),
    ]
