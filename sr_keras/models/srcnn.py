"""SRCNN (Dong et al., 2014): cubic enlargement, then patch extraction, mapping and reconstruction."""

from typing import Literal

import keras

from sr_keras.layers.resize import Bicubic
from sr_keras.models._blocks import conv


def build(*, scale: int, channels: int = 3, middle_kernel: Literal[1, 3, 5] = 5) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`; 9-5-5, or 9-1-5 with `middle_kernel=1`.

    57,281 and 8,129 parameters for one channel, as in the paper (arXiv 1501.00092).

    Raises:
        ValueError: if `scale` is below 2.
    """
    lr = keras.Input((None, None, channels), name="lr")
    x = Bicubic(scale)(lr)
    x = conv(64, 9, activation="relu")(x)
    x = conv(32, middle_kernel, activation="relu")(x)
    x = conv(channels, 5, gain=1.0, dtype="float32")(x)
    return keras.Model(lr, x, name="srcnn")
