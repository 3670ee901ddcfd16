"""SwinIR: spandrel's, with fewer filters in its tails than its fixed 64."""

from spandrel.architectures.SwinIR.__arch.SwinIR import SwinIR, Upsample
from torch import nn

from import_fixtures import Case


def network(scale: int, filters: int = 8, window: int = 4, img_size: int = 8, groups: int = 1, **options) -> SwinIR:
    """A network whose groups have two blocks each."""
    given = {"upsampler": "pixelshuffledirect", "in_chans": 3, **options}
    made = SwinIR(
        upscale=scale, embed_dim=filters, depths=[2] * groups, num_heads=[2] * groups, window_size=window,
        img_size=img_size, mlp_ratio=1.5, **given,
    )  # fmt: skip
    if given["upsampler"] != "pixelshuffledirect":
        made.conv_before_upsample = nn.Sequential(nn.Conv2d(filters, 4, 3, padding=1), nn.LeakyReLU())
        made.conv_last = nn.Conv2d(4, given["in_chans"], 3, padding=1)
    if given["upsampler"] == "pixelshuffle":
        made.upsample = Upsample(scale, 4)
    for name in ("conv_up1", "conv_up2", "conv_hr"):
        if hasattr(made, name):
            setattr(made, name, nn.Conv2d(4, 4, 3, padding=1))
    return made


def cases():
    """The authors' three tails, both connections, with the masks in the file and without, grey too."""
    masks = tuple(f"layers.{k}.residual_group.blocks.1.attn_mask" for k in range(2))
    wide = {"filters": 6, "window": 8, "img_size": 16, "groups": 2}
    return [
        Case("x2", network(2), kept=masks, idle=masks, wrapped=lambda state: {"params": dict(state)}),
        Case("x3-without-buffers", network(3, **wide), kept=masks, idle=masks, size=(13, 9), wrapped=_without_buffers),
        Case("grey-x2", network(2, in_chans=1), channels=1, kept=masks, idle=masks, size=(8, 12)),
        Case("classical-x4", network(4, upsampler="pixelshuffle"), kept=masks, idle=masks),
        Case("real-x4", network(4, upsampler="nearest+conv", resi_connection="3conv"), kept=masks, idle=masks),
    ]


def _without_buffers(state):
    return {key: t for key, t in state.items() if not key.endswith(("attn_mask", "relative_position_index"))}
