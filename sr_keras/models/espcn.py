"""ESPCN (Shi et al., 2016): three convolutions at low resolution, then channels become pixels."""

import keras
from keras import ops

from sr_keras.models._blocks import check_scale, conv


def build(*, scale: int, channels: int = 3, expansion: int = 0) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`.

    5-3-3 kernels, 64 and 32 channels with tanh (arXiv 1609.05158). With an `expansion` each convolution is trained as
    a block that many times as wide (`layers.collapsible_conv`).

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    x = lr = keras.Input((None, None, channels), name="lr")
    x = conv(64, 5, activation="tanh", gain=1.0, expansion=expansion)(x)
    x = conv(32, activation="tanh", gain=1.0, expansion=expansion)(x)
    x = conv(channels * scale**2, gain=1.0, expansion=expansion, dtype="float32")(x)
    x = ops.depth_to_space(x, scale)
    return keras.Model(lr, x, name="espcn")
