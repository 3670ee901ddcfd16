"""What several models share: convolution, PReLU, ranges, enlargement, attention, scales."""

from collections.abc import Sequence
from functools import partial

import keras
from keras import ops

from sr_keras.layers._checked import whole
from sr_keras.layers.collapsible_conv import CollapsibleConv2D
from sr_keras.layers.contrast import Contrast
from sr_keras.layers.multiple import PadToLeast
from sr_keras.layers.resize import ResizeLike

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # red, green, blue of the 800 training pictures


def conv(
    filters: int,
    kernel_size: int = 3,
    *,
    activation: str | None = None,
    gain: float = 2.0,
    use_bias: bool = True,
    expansion: int = 0,
    width: int = 0,
    dtype: str | None = None,
    name: str | None = None,
) -> keras.layers.Conv2D:
    """Makes a convolution that keeps the size; its kernel starts with variance `gain / fan_in` (He: 2).

    With an `expansion` it is trained as a block that many times as wide, with a `width` as one so wide
    (`layers.collapsible_conv`).
    """
    size: dict[str, int] = {"width": width} if width else {"expansion": expansion}
    wide = partial(CollapsibleConv2D, **size, residual=gain >= 1.0)  # no identity where it starts small
    return (wide if expansion or width else keras.layers.Conv2D)(
        filters,
        kernel_size,
        padding="same",
        activation=activation,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(gain, mode="fan_in"),
        dtype=dtype,
        name=name,
    )


def prelu(x, name: str | None = None):
    """Applies a PReLU of one slope a channel, 0.25 at the start (He et al., 2015)."""
    return keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1, 2], name=name)(x)


def mean_of(channels: int, mean: tuple[float, ...] | None = None) -> tuple[float, ...]:
    """Returns the mean to take off: the given one (empty: none), else DIV2K's for three channels and none for others.

    Raises:
        ValueError: if `mean` has another length than 0 or `channels`.
    """
    if mean is None:
        return DIV2K_MEAN if channels == 3 else ()
    if len(mean) not in (0, channels):
        raise ValueError(f"mean must have one number a channel or none, got {len(mean)} for {channels}; leave it out.")
    return mean


def into_range(x, pixel_range: float, mean: Sequence[float] = ()):
    """Takes `mean` off pixels in [0, 1], and multiplies them by `pixel_range`, the white that the network knows.

    Raises:
        ValueError: if `pixel_range` is not above 0.
    """
    if not pixel_range > 0:
        raise ValueError(f"pixel_range must be above 0, got {pixel_range:g}; try 1 or 255.")
    if any(mean):
        x = keras.layers.Rescaling(1.0, [-m for m in mean], dtype="float32", name="subtract_mean")(x)
    return x if pixel_range == 1.0 else keras.layers.Rescaling(pixel_range, dtype="float32", name="into_range")(x)


def out_of_range(x, pixel_range: float, mean: Sequence[float] = ()):
    """Undoes `into_range`."""
    if pixel_range != 1.0:
        x = keras.layers.Rescaling(1.0 / pixel_range, dtype="float32", name="out_of_range")(x)
    return keras.layers.Rescaling(1.0, list(mean), dtype="float32", name="add_mean")(x) if any(mean) else x


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


def subpixel(x, scale: int, filters: int, name: str | None = None):
    """Enlarges to `[B, scale*H, scale*W, filters]` by a sub-pixel convolution (Shi et al., 2016)."""
    return ops.depth_to_space(conv(filters * scale**2, gain=1.0, name=name)(x), scale)


def check_scale(scale: int) -> None:
    """Raises ValueError unless `scale` is a whole number of 2 or more."""
    whole("scale", scale, least=2)


def repeated(x, scale: int):
    """Repeats the channels so that `ops.depth_to_space` makes the nearest neighbours of them.

    UpSampling2D computes the same, but TFLite can't convert it for pictures of any size.
    """
    return ops.concatenate([x] * scale**2, axis=-1)


def spatial_attention(x, filters: int, name: str, *, convolutions: Sequence[str]):
    """Weighs the pixels of `[B, H, W, C]` by what lies around them (ESA; Liu et al., 2020, arXiv 2009.11551).

    A map at a sixth of the size and `filters` channels, made by the `convolutions` of these names with a ReLU between
    two, is enlarged to H x W. Below 15 pixels either way the picture is continued with zeros.
    """
    inner = reduced = conv(filters, 1, gain=1.0, name=f"{name}.conv1")(x)
    inner = PadToLeast(15)(inner)
    inner = keras.layers.Conv2D(filters, 3, strides=2, name=f"{name}.conv2")(inner)
    inner = keras.layers.MaxPooling2D(7, 3)(inner)
    for convolution in convolutions[:-1]:
        inner = conv(filters, activation="relu", name=f"{name}.{convolution}")(inner)
    inner = conv(filters, gain=1.0, name=f"{name}.{convolutions[-1]}")(inner)
    inner = ResizeLike()([inner, reduced])
    inner = keras.layers.Add()([inner, conv(filters, 1, gain=1.0, name=f"{name}.conv_f")(reduced)])
    weights = conv(x.shape[-1], 1, gain=1.0, activation="sigmoid", name=f"{name}.conv4")(inner)
    return keras.layers.Multiply()([x, weights])


def contrast_attention(x, filters: int, name: str):
    """Weighs the channels of `[B, H, W, C]` by their mean and contrast (CCA; Hui et al., 2019, arXiv 1909.11856)."""
    inner = conv(filters, 1, activation="relu", name=f"{name}.conv_du.0")(Contrast()(x))
    weights = conv(x.shape[-1], 1, gain=1.0, activation="sigmoid", name=f"{name}.conv_du.2")(inner)
    return keras.layers.Multiply()([x, weights])
