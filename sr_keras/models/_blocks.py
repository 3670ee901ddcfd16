"""What three or more models share: the convolution, PReLU, the sub-pixel enlargement, the check of the scale."""

from functools import partial

import keras
from keras import ops

from sr_keras.layers.collapsible_conv import CollapsibleConv2D


def conv(
    filters: int,
    kernel_size: int = 3,
    *,
    activation: str | None = None,
    gain: float = 2.0,
    use_bias: bool = True,
    expansion: int = 0,
    dtype: str | None = None,
) -> keras.layers.Conv2D:
    """Makes a convolution that keeps the size; its kernel starts with variance `gain / fan_in` (He: 2).

    With an `expansion` it is trained as a block that many times as wide (`layers.collapsible_conv`).
    """
    wide = partial(CollapsibleConv2D, expansion=expansion, residual=gain >= 1.0)  # no identity where it starts small
    return (wide if expansion else keras.layers.Conv2D)(
        filters,
        kernel_size,
        padding="same",
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(gain, mode="fan_in"),
        dtype=dtype,
    )


def prelu(x):
    """Applies a PReLU of one slope a channel, 0.25 at the start (He et al., 2015)."""
    return keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2])(x)


def upsampling_steps(scale: int) -> list[int]:
    """Returns the factors that enlarge one after another: 2 for each doubling, 3 for a scale of 3.

    Raises:
        ValueError: if `scale` is neither 3 nor a power of two.
    """
    if scale == 3:
        return [3]
    if scale < 2 or scale & (scale - 1):
        raise ValueError(f"scale must be 3 or a power of two here, got {scale}; try 2, 3, 4 or 8.")
    return [2] * (scale.bit_length() - 1)


def subpixel(x, scale: int, filters: int):
    """Enlarges to `[B, scale*H, scale*W, filters]` by a sub-pixel convolution (Shi et al., 2016)."""
    return ops.depth_to_space(conv(filters * scale**2, gain=1.0)(x), scale)


def check_scale(scale: int) -> None:
    """Raises ValueError unless `scale` is 2 or more."""
    if scale < 2:
        raise ValueError(f"scale must be a whole number of 2 or more, got {scale}; try 2, 3 or 4.")
