"""The mean absolute error, of the colours or in part of their luminance, which published PSNR is measured on."""

from collections.abc import Callable

import tensorflow as tf

from sr_keras import image

_LUMA = image.YCBCR[0] / image.YCBCR[0].sum()  # of R, G and B; their sum is 1


def build(*, luma: float = 0.0) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns `f(hr, sr)`: the mean absolute error of `[B, H, W, C]` pictures in [0, 1], a scalar.

    `luma` (0 ... 1) is the share that luminance has in it; pictures of one channel are luminance. Raises `ValueError`
    for a share that is none.
    """
    if not 0.0 <= luma <= 1.0:
        raise ValueError(f"luma must be a share from 0 to 1, got {luma}; try 0.75.")

    def loss(hr: tf.Tensor, sr: tf.Tensor) -> tf.Tensor:
        difference = hr - sr
        error = tf.reduce_mean(tf.abs(difference))
        if luma == 0.0 or difference.shape[-1] == 1:
            return error
        y = tf.tensordot(difference, tf.constant(_LUMA, difference.dtype), 1)
        return (1.0 - luma) * error + luma * tf.reduce_mean(tf.abs(y))

    return loss
