"""EDSR (Lim et al., 2017): residual blocks without batch normalisation."""

import keras
from keras import layers

from sr_keras.models._blocks import conv, subpixel, upsampling_steps

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # red, green, blue of the 800 training pictures


def build(
    *, scale: int, channels: int = 3, filters: int = 64, blocks: int = 16, residual_scaling: float = 1.0
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`.

    The defaults are the paper's baseline (arXiv 1707.02921); the full network has 256 filters, 32 blocks
    and a residual scaling of 0.1. With three channels the mean of DIV2K is taken off and put back.

    Raises:
        ValueError: if `scale` is neither 3 nor a power of two.
    """
    steps = upsampling_steps(scale)
    mean = DIV2K_MEAN if channels == 3 else (0.0,) * channels
    lr = keras.Input((None, None, channels), name="lr")
    x = layers.Rescaling(1.0, [-m for m in mean], dtype="float32", name="subtract_mean")(lr)
    x = head = conv(filters, gain=1.0)(x)
    for _ in range(blocks):
        x = _residual_block(x, filters, residual_scaling)
    x = conv(filters, gain=1.0)(x)
    x = layers.Add()([x, head])
    for step in steps:
        x = subpixel(x, step, filters)
    x = conv(channels, gain=1.0, dtype="float32")(x)
    x = layers.Rescaling(1.0, list(mean), dtype="float32", name="add_mean")(x)
    return keras.Model(lr, x, name="edsr")


def _residual_block(x, filters: int, residual_scaling: float):
    skip = x
    x = conv(filters, activation="relu")(x)
    x = conv(filters, gain=0.02)(x)  # a gain of 2 would triple the variance in each block
    if residual_scaling != 1.0:
        x = layers.Rescaling(residual_scaling)(x)
    return layers.Add()([skip, x])
