"""Structural similarity as a loss (Wang et al., 2004)."""

from collections.abc import Callable

import tensorflow as tf


def build() -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns `f(hr, sr)`: 1 - SSIM, 11x11 Gaussian window of sigma 1.5, over `[B, H, W, C]` in [0, 1], a scalar.

    H and W must be 11 or more.
    """
    return lambda hr, sr: 1.0 - tf.reduce_mean(tf.image.ssim(hr, sr, max_val=1.0))
