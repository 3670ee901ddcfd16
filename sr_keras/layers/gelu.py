"""GELU (Hendrycks and Gimpel, 2016, arXiv 1606.08415) in the operators that every converter knows."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("sr_keras")
class Gelu(keras.layers.Layer):
    """Computes `x * P(X <= x)` for a normal X, exactly, of a tensor of any shape.

    It is `keras.activations.gelu(approximate=False)`, whose Erfc ONNX lacks, by way of Erf.
    """

    pointwise = True  # read by sr_keras.receptive_field

    def call(self, x):
        return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))

    def compute_output_shape(self, input_shape):
        return input_shape
