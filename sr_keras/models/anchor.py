"""ABPN (Du et al., 2021): plain convolutions added to an anchor, the repeated input; made for int8."""

import keras
from keras import layers, ops

from sr_keras.models._blocks import check_scale, conv, repeated


def build(
    *, scale: int, channels: int = 3, filters: int = 32, blocks: int = 4, tail: bool = False, expansion: int = 0
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`, clipped to [0, 1].

    The anchor is the nearest-neighbour enlargement without a resize operation: the input repeated `scale**2`
    times along the channels. `filters=28, tail=True` is the paper's network (arXiv 2105.09750); `tail` adds a
    second convolution of `channels * scale**2` filters. With an `expansion` each convolution is trained as a block
    that many times as wide (`layers.collapsible_conv`).

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    x = lr = keras.Input((None, None, channels), name="lr")
    for _ in range(blocks + 1):
        x = conv(filters, activation="relu", expansion=expansion)(x)
    if tail:
        x = conv(channels * scale**2, activation="relu", expansion=expansion)(x)
    x = conv(channels * scale**2, gain=0.01, expansion=expansion)(x)  # small: training starts at the anchor
    x = layers.Add(dtype="float32")([x, repeated(lr, scale)])
    x = ops.depth_to_space(x, scale)
    x = ops.clip(x, 0.0, 1.0)
    return keras.Model(lr, x, name="anchor")
