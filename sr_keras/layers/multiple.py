"""Pictures of any size through a network that takes multiples of a factor: pad first, crop the result."""

import keras
import tensorflow as tf
from keras import ops

from sr_keras.layers._checked import whole


@keras.saving.register_keras_serializable("sr_keras")
class ReflectToMultiple(keras.layers.Layer):
    """Reflects `[B, H, W, C]` at its last row and column until H and W are multiples of `factor`.

    The last row itself is not repeated. A picture that is shorter than what it lacks is reflected to and fro.

    Raises:
        ValueError: if `factor` is not a whole number of 2 or more.
    """

    radius = 0  # what a picture is continued by lies nearer than where it stands; read by sr_keras.receptive_field

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = whole("factor", factor, least=2)

    def call(self, image):
        for axis in (1, 2):
            length = ops.shape(image)[axis]
            if isinstance(length, int) and length % self.factor == 0:
                continue
            period = ops.maximum(2 * length - 2, 1)
            place = tf.range(self._multiple(length)) % period
            image = tf.gather(image, tf.minimum(place, period - place), axis=axis)
        return image

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height and self._multiple(height), width and self._multiple(width), channels

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}

    def _multiple(self, length):
        return (length + self.factor - 1) // self.factor * self.factor


@keras.saving.register_keras_serializable("sr_keras")
class CropToSize(keras.layers.Layer):
    """Cuts the bottom and the right of `sr` in `[sr, lr]`: to `[B, factor*H, factor*W, C]` for an `lr` of HxW.

    Of `lr` only the size counts.

    Raises:
        ValueError: if `factor` is not a whole number of 1 or more.
    """

    radius = 0
    pictures = 1  # how many of the inputs it reads pixels of; read by sr_keras.receptive_field

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = whole("factor", factor, least=1)

    def call(self, inputs):
        sr, lr = inputs
        height, width = ops.shape(lr)[1:3]
        return sr[:, : height * self.factor, : width * self.factor]

    def compute_output_shape(self, input_shape):
        (batch, *_, channels), (_, height, width, _) = input_shape
        return batch, height and height * self.factor, width and width * self.factor, channels

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("sr_keras")
class PadToLeast(keras.layers.Layer):
    """Continues `[B, H, W, C]` with zeros, below and to the right, to at least `side` pixels either way.

    Raises:
        ValueError: if `side` is not a whole number of 1 or more.
    """

    radius = 0

    def __init__(self, side: int, **kwargs):
        super().__init__(**kwargs)
        self.side = whole("side", side, least=1)

    def call(self, image):
        missing = [self._missing(length) for length in ops.shape(image)[1:3]]
        if all(isinstance(length, int) and not length for length in missing):
            return image
        padded = tf.pad(image, [(0, 0), (0, missing[0]), (0, missing[1]), (0, 0)])
        return tf.reshape(padded, (*tf.unstack(tf.shape(padded))[:3], image.shape[-1]))  # TFLite forgets C otherwise

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height and max(height, self.side), width and max(width, self.side), channels

    def get_config(self):
        return {**super().get_config(), "side": self.side}

    def _missing(self, length):
        return max(self.side - length, 0) if isinstance(length, int) else tf.maximum(self.side - length, 0)
