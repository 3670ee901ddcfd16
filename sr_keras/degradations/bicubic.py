"""Bicubic: MATLAB's imresize with antialiasing, rounded to uint8, the LR of nearly every benchmark table."""

from collections.abc import Callable

import tensorflow as tf

from sr_keras import resize


def build(*, scale: int) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Maps HR `[B, H, W, C]` in [0, 1] and seeds `[B, 2]` (not needed here) to LR in [0, 1] and the unchanged HR."""

    def degrade(hr: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        del seed
        _, height, width, channels = hr.shape
        reduce = resize.reducer(height, width, channels, scale)
        return reduce(tf.round(hr * 255.0)) / 255.0, hr

    return degrade
