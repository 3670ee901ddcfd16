"""Total variation (Rudin, Osher and Fatemi, 1992): a regulariser that sees the prediction alone."""

from collections.abc import Callable

import tensorflow as tf


def build() -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns `f(hr, sr)`: the mean absolute difference of neighbouring pixels of `sr` `[B, H, W, C]`, a scalar."""

    def loss(hr: tf.Tensor, sr: tf.Tensor) -> tf.Tensor:
        del hr
        down = tf.reduce_mean(tf.abs(sr[:, 1:] - sr[:, :-1]))
        return down + tf.reduce_mean(tf.abs(sr[:, :, 1:] - sr[:, :, :-1]))

    return loss
