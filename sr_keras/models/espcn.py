"""ESPCN (Shi et al., 2016): three convolutions at low resolution, then channels become pixels."""

import keras
from keras import ops

from sr_keras.models._blocks import check_scale, conv
from sr_keras.models._published import Published, Tensors, renamed, root


def build(*, scale: int, channels: int = 3, filters: int = 64, expansion: int = 0) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`.

    5-3-3 kernels, `filters` and half as many channels with tanh (arXiv 1609.05158). With an `expansion` each
    convolution is trained as a block that many times as wide (`layers.collapsible_conv`).

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    x = lr = keras.Input((None, None, channels), name="lr")
    x = conv(filters, 5, activation="tanh", gain=1.0, expansion=expansion, name="first_part.0")(x)
    x = conv(filters // 2, activation="tanh", gain=1.0, expansion=expansion, name="first_part.2")(x)
    x = conv(channels * scale**2, gain=1.0, expansion=expansion, dtype="float32", name="last_part.0")(x)
    x = ops.depth_to_space(x, scale)
    return keras.Model(lr, x, name="espcn")


def published(tensors: Tensors) -> Published | None:
    """Recognises the weights of yjn870 and Lornatang."""
    found = renamed(tensors, (r"feature_maps\.", "first_part."), (r"sub_pixel\.", "last_part."))
    if not {"first_part.0.weight", "first_part.2.weight", "last_part.0.weight"} <= found.keys():
        return None
    filters, channels = found["first_part.0.weight"].shape[:2]
    options = {
        "scale": root(found["last_part.0.weight"].shape[0], channels), "channels": channels, "filters": filters,
    }  # fmt: skip
    return Published(options, found)
