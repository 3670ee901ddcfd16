"""Pooling to a fraction of a picture's size, and back, where the size need not be a multiple of that fraction."""

import keras
import tensorflow as tf
from keras import ops

from sr_keras.layers._checked import whole


@keras.saving.register_keras_serializable("sr_keras")
class AdaptiveMaxPool(keras.layers.Layer):
    """Maps `[B, H, W, C]` to the maxima of `[B, H // factor, W // factor, C]` windows, 1 either way at least.

    The windows are those of PyTorch's `adaptive_max_pool2d`: window i of h begins at pixel `floor(i * H / h)` and ends
    before `ceil((i + 1) * H / h)`. So they lie differently, and overlap, where H is no multiple of `factor`.

    Raises:
        ValueError: if `factor` is not a whole number of 2 or more.
    """

    whole_picture = True  # read by sr_keras.receptive_field

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = whole("factor", factor, least=2)

    def call(self, x):
        height, width = ops.shape(x)[1:3]
        if _divides(self.factor, height) and _divides(self.factor, width):
            return tf.nn.max_pool2d(x, self.factor, self.factor, "VALID")
        for axis, length in ((1, height), (2, width)):
            x = tf.gather(x, self._windows(length), axis=axis)
            size = [2 * self.factor if at == axis else 1 for at in range(4)]
            x = tf.nn.max_pool2d(x, size, size, "VALID")
        return x

    def _windows(self, length):
        """Lists the pixels of one window after another, 2 * factor of each: none has more, the last fills up fewer."""
        windows = tf.maximum(length // self.factor, 1)
        index = tf.range(windows)[:, None]
        start, end = index * length // windows, ((index + 1) * length + windows - 1) // windows
        return tf.reshape(tf.minimum(start + tf.range(2 * self.factor)[None], end - 1), [-1])

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        height, width = (length and max(length // self.factor, 1) for length in (height, width))
        return batch, height, width, channels

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("sr_keras")
class RepeatLike(keras.layers.Layer):
    """Brings `x` in `[x, like]` to the size of `like` by repeating pixels: `[B, h, w, C]` to `[B, H, W, C]`.

    Row i is row `floor(i * h / H)`, as in PyTorch's `interpolate(mode="nearest")`. TensorFlow's has half-pixel centres,
    which is the same only if h divides H.
    """

    whole_picture = True  # read by sr_keras.receptive_field, as is `pictures`
    pictures = 1

    def call(self, inputs):
        x, like = inputs
        before, after = ops.shape(x)[1:3], ops.shape(like)[1:3]
        if all(_divides(few, many) for few, many in zip(before, after, strict=True)):
            return tf.cast(tf.image.resize(x, after, "nearest"), x.dtype)
        for axis, few, many in zip((1, 2), before, after, strict=True):
            x = tf.gather(x, tf.range(many) * few // many, axis=axis)
        return x

    def compute_output_shape(self, input_shape):
        (batch, *_, channels), (_, height, width, _) = input_shape
        return batch, height, width, channels


def _divides(factor, length) -> bool:
    """Says whether both are known now, and one is a multiple of the other."""
    return isinstance(factor, int) and isinstance(length, int) and length % factor == 0
