"""Charbonnier loss: a differentiable L1 (Charbonnier et al., 1994; used by LapSRN, Lai et al., 2017)."""

from collections.abc import Callable

import tensorflow as tf


def build(*, epsilon: float = 1e-3) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns `f(hr, sr)`: the mean of sqrt((hr - sr)^2 + epsilon^2) over `[B, H, W, C]` in [0, 1], a scalar."""
    return lambda hr, sr: tf.reduce_mean(tf.sqrt(tf.square(hr - sr) + epsilon**2))
