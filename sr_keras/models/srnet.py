"""SRNet, a shortened SRCNN (Dong et al., 2014): cubic enlargement, then two convolutions."""

import keras

from sr_keras.layers.resize import Bicubic
from sr_keras.models._blocks import conv


def build(*, scale: int, channels: int = 3, filters: int = 64) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`.

    Raises:
        ValueError: if `scale` is below 2.
    """
    lr = keras.Input((None, None, channels), name="lr")
    x = Bicubic(scale)(lr)
    x = conv(filters, activation="relu")(x)
    x = conv(channels, gain=1.0, dtype="float32")(x)
    return keras.Model(lr, x, name="srnet")
