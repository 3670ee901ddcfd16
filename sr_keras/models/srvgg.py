"""SRVGGNetCompact (Wang et al., 2021, Real-ESRGAN): a plain chain of convolutions, all of it at the size of LR."""

from typing import Literal

import keras
from keras import layers, ops

from sr_keras.models._blocks import check_scale, conv, prelu


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 64,
    blocks: int = 16,
    activation: Literal["prelu", "relu"] = "prelu",
    expansion: int = 0,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`; the nearest-neighbour enlargement is added.

    `blocks` counts the convolutions between the first and the last: 16 is realesr-animevideov3 (621,424 parameters at
    x4), 32 is realesr-general-x4v3 (1,213,296). See arXiv 2107.10833 and github.com/xinntao/Real-ESRGAN. `relu` is for
    phones, whose delegates take a PReLU as a step of its own or not at all; with an `expansion` each convolution is
    trained as a block that many times as wide (`layers.collapsible_conv`).

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    x = lr = keras.Input((None, None, channels), name="lr")
    for _ in range(blocks + 1):
        if activation == "relu":
            x = conv(filters, activation="relu", expansion=expansion)(x)
        else:
            x = prelu(conv(filters, expansion=expansion)(x))
    x = conv(channels * scale**2, gain=0.01, expansion=expansion)(x)  # small: training starts at the nearest neighbours
    nearest = ops.concatenate([lr] * scale**2, axis=-1)
    x = layers.Add(dtype="float32")([x, nearest])
    return keras.Model(lr, ops.depth_to_space(x, scale), name="srvgg")
