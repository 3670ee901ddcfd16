"""VDSR (Kim et al., 2016): twenty convolutions learn what is missing from the cubic enlargement."""

import keras
from keras import layers

from sr_keras.layers.resize import Bicubic
from sr_keras.models._blocks import conv


def build(*, scale: int, channels: int = 3, filters: int = 64, depth: int = 20) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`.

    `depth` counts the convolutions (arXiv 1511.04587).

    Raises:
        ValueError: if `scale` is below 2.
    """
    lr = keras.Input((None, None, channels), name="lr")
    x = enlarged = Bicubic(scale)(lr)
    for _ in range(depth - 1):
        x = conv(filters, activation="relu")(x)
    x = conv(channels, gain=0.01)(x)  # small: training starts at the cubic enlargement
    x = layers.Add(dtype="float32")([enlarged, x])
    return keras.Model(lr, x, name="vdsr")
