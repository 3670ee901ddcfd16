"""SRGAN's discriminator (Ledig et al., 2017): a VGG with strides, one logit for the whole picture."""

import keras
from keras import layers

from sr_keras.discriminators._blocks import leaky


def build(*, patch: int, channels: int = 3, filters: int = 64) -> keras.Model:
    """Maps `[B, patch, patch, C]` in [0, 1] to logits `[B, 1]` in float32 (arXiv 1609.04802, figure 4).

    The dense layer looks at the whole picture, so that there is no other size; its weights grow with `patch` squared.
    Kernels start as He et al. (2015) say, the paper gives no start.

    Raises:
        ValueError: if `patch` is below 1.
    """
    if patch < 1:
        raise ValueError(f"patch must be 1 or more, got {patch}; try 96.")
    picture = keras.Input((patch, patch, channels), name="picture")
    x = leaky(_conv(filters)(picture))
    x = _conv_norm(x, filters, strides=2)
    for factor in (2, 4, 8):
        x = _conv_norm(x, factor * filters)
        x = _conv_norm(x, factor * filters, strides=2)
    x = leaky(layers.Dense(1024, kernel_initializer="he_normal")(layers.Flatten()(x)))
    x = layers.Dense(1, dtype="float32")(x)
    return keras.Model(picture, x, name="vgg")


def _conv_norm(x, filters: int, strides: int = 1):
    return leaky(layers.BatchNormalization()(_conv(filters, strides=strides, use_bias=False)(x)))


def _conv(filters: int, *, strides: int = 1, use_bias: bool = True) -> layers.Conv2D:
    return layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=use_bias, kernel_initializer="he_normal")
