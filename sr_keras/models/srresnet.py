"""SRResNet (Ledig et al., 2017): the generator of SRGAN, residual blocks with batch normalisation."""

import keras
from keras import layers

from sr_keras.models._blocks import conv, prelu, subpixel, upsampling_steps


def build(*, scale: int, channels: int = 3, filters: int = 64, blocks: int = 16) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 1609.04802).

    Raises:
        ValueError: if `scale` is neither 3 nor a power of two.
    """
    steps = upsampling_steps(scale)
    lr = keras.Input((None, None, channels), name="lr")
    x = head = prelu(conv(filters, 9)(lr))
    for _ in range(blocks):
        x = _residual_block(x, filters)
    x = _conv_norm(x, filters)
    x = layers.Add()([x, head])
    for step in steps:
        x = prelu(subpixel(x, step, filters))
    x = conv(channels, 9, gain=1.0, dtype="float32")(x)
    return keras.Model(lr, x, name="srresnet")


def _residual_block(x, filters: int):
    skip = x
    x = prelu(_conv_norm(x, filters))
    x = _conv_norm(x, filters)
    return layers.Add()([skip, x])


def _conv_norm(x, filters: int):
    return layers.BatchNormalization()(conv(filters, use_bias=False)(x))
