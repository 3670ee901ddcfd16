"""How bright and how rich in contrast each channel of a picture is (Hui et al., 2019, arXiv 1909.11856)."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("sr_keras")
class Contrast(keras.layers.Layer):
    """Maps `[B, H, W, C]` to `[B, 1, 1, C]`: of each channel the mean plus the standard deviation over the picture.

    It computes in float32 under every policy. A deviation below 1e-6 counts as that, for the sake of its gradient.
    """

    whole_picture = True  # read by sr_keras.receptive_field

    def call(self, x):
        x = ops.cast(x, "float32")
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        variance = ops.mean(ops.square(x - mean), axis=(1, 2), keepdims=True)
        return ops.cast(mean + ops.sqrt(ops.maximum(variance, 1e-12)), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape[0], 1, 1, input_shape[-1]
