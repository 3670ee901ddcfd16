"""FSRCNN (Dong et al., 2016): shrink the channels, map, expand, and enlarge only in the last layer."""

from typing import Literal

import keras
from keras import layers, ops

from sr_keras.models._blocks import check_scale, conv, prelu


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 56,
    shrunk_filters: int = 12,
    mapping_layers: int = 4,
    upsampling: Literal["deconvolution", "subpixel"] = "deconvolution",
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`.

    `filters`, `shrunk_filters`, `mapping_layers` are the paper's d, s, m (arXiv 1608.00367); its kernels hold
    12,464 weights for one channel. `upsampling="subpixel"` puts a convolution that sees as much and
    `depth_to_space` in the place of the 9x9 deconvolution.

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    x = lr = keras.Input((None, None, channels), name="lr")
    x = prelu(conv(filters, 5)(x))
    x = prelu(conv(shrunk_filters, 1)(x))
    for _ in range(mapping_layers):
        x = prelu(conv(shrunk_filters, 3)(x))
    x = prelu(conv(filters, 1)(x))
    if upsampling == "deconvolution":
        x = _deconvolution(x, scale, channels)
    else:
        x = conv(channels * scale**2, 5 if scale == 2 else 3, gain=1.0, dtype="float32")(x)
        x = ops.depth_to_space(x, scale)
    return keras.Model(lr, x, name="fsrcnn")


def _deconvolution(x, scale: int, channels: int):
    return layers.Conv2DTranspose(
        channels,
        9,
        strides=scale,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),  # the paper's, section 3.4
        dtype="float32",
    )(x)
