"""Layer normalisation (Ba et al., 2016, arXiv 1607.06450) of each pixel's channels that survives int8."""

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("sr_keras")
class ChannelNorm(keras.layers.Layer):
    """Takes the mean off `[..., C]` along C, divides by the standard deviation, then scales and shifts each channel.

    It is `keras.layers.LayerNormalization` to 1e-5, `epsilon` added to the variance, in float32 under every policy.
    Only the division is another: the differences and one more number, `sqrt(C * epsilon)`, are brought to length 1,
    which TFLite has as one operator. Its int8 knows no other: a variance, and even more its inverse, has too wide a
    range for 256 evenly spaced values (SAFMN: 8 dB from float, with this 27).
    """

    pointwise = True  # read by sr_keras.receptive_field

    def __init__(self, epsilon: float = 1e-6, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        channels = {"shape": (input_shape[-1],), "autocast": False}
        self.weight = self.add_weight(name="weight", initializer="ones", **channels)
        self.bias = self.add_weight(name="bias", initializer="zeros", **channels)

    def call(self, x):
        x, channels = ops.cast(x, "float32"), x.shape[-1]
        x = x - ops.mean(x, axis=-1, keepdims=True)
        beside = [(0, 0)] * (len(x.shape) - 1) + [(0, 1)]
        x = tf.pad(x, beside, constant_values=(channels * self.epsilon) ** 0.5)
        x = tf.math.l2_normalize(x, axis=-1, epsilon=1e-12)[..., :channels]
        return ops.cast(x * (channels**0.5 * self.weight) + self.bias, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
