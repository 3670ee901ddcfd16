"""RRDBNet (Wang et al., 2018): the generator of ESRGAN, residual blocks in residual dense blocks."""

import keras
from keras import layers, ops

from sr_keras.layers.multiple import CropToSize, PadToMultiple
from sr_keras.models._blocks import conv

_DENSE = 0.02  # He's start times 0.1, as published


def build(*, scale: int, channels: int = 3, filters: int = 64, growth: int = 32, blocks: int = 23) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 1809.00219).

    It always enlarges its features four times. For a scale of 2 or 1 it takes 2x2 or 4x4 pixels as one of more
    channels, as Real-ESRGAN does (arXiv 2107.10833); a picture of another size is continued by its last pixels, and
    the result cut. `blocks` is 23 in RealESRGAN_x4plus (16,697,987 parameters at x4), 6 in its anime_6B (4,467,779).

    Raises:
        ValueError: if `scale` is not 1, 2 or 4.
    """
    if scale not in (1, 2, 4):
        raise ValueError(f"scale must be 1, 2 or 4 here, got {scale}; try 4.")
    together = 4 // scale
    x = lr = keras.Input((None, None, channels), name="lr")
    if together > 1:
        x = ops.space_to_depth(PadToMultiple(together)(x), together)
    x = head = _conv(filters)(x)
    for _ in range(blocks):
        x = _residual_in_residual(x, filters, growth)
    x = _conv(filters)(x)
    x = layers.Add()([x, head])
    for _ in range(2):
        x = _leaky(_conv(filters)(_nearest(x)))
    x = _leaky(_conv(filters)(x))
    x = _conv(channels, dtype="float32")(x)
    if together > 1:
        x = CropToSize(scale, dtype="float32")([x, lr])
    return keras.Model(lr, x, name="rrdbnet")


def _residual_in_residual(x, filters: int, growth: int):
    skip = x
    for _ in range(3):
        x = _residual_dense(x, filters, growth)
    return _scaled_sum(skip, x)


def _residual_dense(x, filters: int, growth: int):
    skip = x
    for _ in range(4):
        x = layers.Concatenate()([x, _leaky(conv(growth, gain=_DENSE)(x))])
    return _scaled_sum(skip, conv(filters, gain=_DENSE)(x))


def _scaled_sum(skip, x):
    return layers.Add()([skip, layers.Rescaling(0.2)(x)])


def _nearest(x):
    # UpSampling2D computes the same, but TFLite can't convert it for pictures of any size.
    return ops.depth_to_space(ops.concatenate([x] * 4, axis=-1), 2)


def _leaky(x):
    return layers.LeakyReLU(0.2)(x)


def _conv(filters: int, *, dtype: str | None = None) -> layers.Conv2D:
    return conv(filters, gain=1 / 3, dtype=dtype)  # PyTorch's own start, which the published code leaves
