"""PatchGAN (Isola et al., 2017): a logit for each patch of 70x70 pixels, all of them in one convolution."""

from typing import Literal

import keras
from keras import layers

from sr_keras.discriminators._blocks import leaky
from sr_keras.layers.spectral_conv import SpectralConv2D

Normalisation = Literal["batch", "spectral", "none"]


def build(*, patch: int, channels: int = 3, filters: int = 64, normalisation: Normalisation = "batch") -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to logits `[B, ceil(H/8), ceil(W/8), 1]` in float32 (arXiv 1611.07004).

    It takes any size, `patch` among them. "spectral" normalises every kernel instead of the activations (Miyato et
    al., 2018, arXiv 1802.05957); with "batch" the convolutions in between have no bias, as published. Where the
    published code pads by 1 on either side, the last two convolutions here keep the size: 256 gives 32x32 logits, not
    30x30, and no picture is too small.

    Raises:
        ValueError: if `patch` is below 1.
    """
    if patch < 1:
        raise ValueError(f"patch must be 1 or more, got {patch}; try 96.")
    picture = keras.Input((None, None, channels), name="picture")
    x = leaky(_conv(filters, normalisation, strides=2)(picture))
    x = _conv_norm(x, 2 * filters, normalisation, strides=2)
    x = _conv_norm(x, 4 * filters, normalisation, strides=2)
    x = _conv_norm(x, 8 * filters, normalisation)
    x = _conv(1, normalisation, dtype="float32")(x)
    return keras.Model(picture, x, name="patch")


def _conv_norm(x, filters: int, normalisation: Normalisation, strides: int = 1):
    x = _conv(filters, normalisation, strides=strides, use_bias=normalisation != "batch")(x)
    if normalisation == "batch":
        x = layers.BatchNormalization(gamma_initializer=keras.initializers.RandomNormal(1.0, 0.02))(x)
    return leaky(x)


def _conv(
    filters: int, normalisation: Normalisation, *, strides: int = 1, use_bias: bool = True, dtype: str | None = None
) -> layers.Conv2D:
    kind = SpectralConv2D if normalisation == "spectral" else layers.Conv2D
    start = keras.initializers.RandomNormal(0.0, 0.02)
    return kind(filters, 4, strides=strides, padding="same", use_bias=use_bias, kernel_initializer=start, dtype=dtype)
