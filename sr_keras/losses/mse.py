"""The mean squared error."""

from collections.abc import Callable

import tensorflow as tf


def build() -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns `f(hr, sr)`: the mean squared error of `[B, H, W, C]` pictures in [0, 1], a scalar."""
    return lambda hr, sr: tf.reduce_mean(tf.square(hr - sr))
