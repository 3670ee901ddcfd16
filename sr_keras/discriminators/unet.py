"""Real-ESRGAN's discriminator (Wang et al., 2021): a U-Net with spectral normalisation, a logit for each pixel."""

import keras
from keras import layers

from sr_keras.discriminators._blocks import leaky
from sr_keras.layers.spectral_conv import SpectralConv2D


def build(*, patch: int, channels: int = 3, filters: int = 64) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to logits `[B, H, W, 1]` in float32; H and W are multiples of 8, such as `patch`.

    See arXiv 2107.10833 and `UNetDiscriminatorSN` in github.com/xinntao/Real-ESRGAN.

    Raises:
        ValueError: if `patch` is not a multiple of 8: three halvings must come back to the same size.
    """
    if patch < 8 or patch % 8:
        raise ValueError(f"patch must be a multiple of 8, got {patch}; try {max(patch // 8, 1) * 8}.")
    picture = keras.Input((None, None, channels), name="picture")
    x = leaky(_conv(filters)(picture))
    skips = []
    for factor in (2, 4, 8):
        skips.append(x)
        x = leaky(_spectral_conv(factor * filters, 4, strides=2)(x))
    for factor in (4, 2, 1):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = leaky(_spectral_conv(factor * filters)(x))
        x = layers.Add()([x, skips.pop()])
    x = leaky(_spectral_conv(filters)(x))
    x = leaky(_spectral_conv(filters)(x))
    x = _conv(1, dtype="float32")(x)
    return keras.Model(picture, x, name="unet")


def _spectral_conv(filters: int, kernel_size: int = 3, *, strides: int = 1) -> SpectralConv2D:
    return SpectralConv2D(
        filters, kernel_size, strides=strides, padding="same", use_bias=False, kernel_initializer=_as_in_pytorch()
    )


def _conv(filters: int, *, dtype: str | None = None) -> layers.Conv2D:
    return layers.Conv2D(filters, 3, padding="same", kernel_initializer=_as_in_pytorch(), dtype=dtype)


def _as_in_pytorch() -> keras.initializers.Initializer:
    # The size of a kernel cancels out of what it computes, but not out of how far a step of Adam turns it.
    return keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
