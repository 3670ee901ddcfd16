"""A convolution with spectral normalisation (Miyato et al., 2018, arXiv 1802.05957)."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("sr_keras")
class SpectralConv2D(keras.layers.Conv2D):
    """Convolves with W / sigma, where sigma is the largest singular value of W as a matrix `[kh*kw*in, filters]`.

    Maps what `keras.layers.Conv2D` maps, with the same kernel W and a vector u besides, `[filters, 1]`, that is not
    trained. Every call takes v = W u and sigma = v' W u, both vectors of length 1; a call with `training=True` turns u
    by one step of the power iteration before, as published: the kernel's norm is 1 only once W moves more slowly than
    u. The gradient goes through sigma, not through u and v. Sigma is computed in float32 under every policy.

    `keras.layers.SpectralNormalization` (Keras 3.15) is another thing: it assigns W / sigma to W itself at each
    training call, behind the optimizer's back, and convolves with that variable, so no gradient sees the division.

    Raises:
        ValueError: for grouped convolutions, and for `channels_first`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.groups != 1 or self.data_format != "channels_last":
            raise ValueError(
                f"groups must be 1 and data_format channels_last, got {self.groups} and {self.data_format}; "
                "take Conv2D."
            )

    def build(self, input_shape):
        super().build(input_shape)
        self.u = self.add_weight(
            name="u",
            shape=(self.filters, 1),
            initializer=keras.initializers.Orthogonal(),  # of one column: a random direction
            trainable=False,
            dtype="float32",
            aggregation="only_first_replica",  # all replicas hold the same W, hence compute the same u
        )

    def add_weight(self, *args, **kwargs):
        return super().add_weight(*args, **{**kwargs, "autocast": False})  # else W would come rounded to bfloat16

    def call(self, inputs, training=False):
        kernel = ops.cast(self._normalised_kernel(training), self.compute_dtype)
        x = self.convolution_op(inputs, kernel)
        if self.use_bias:
            x = ops.add(x, ops.cast(self.bias, x.dtype))
        return x if self.activation is None else self.activation(x)

    def _normalised_kernel(self, training: bool):
        kernel = ops.cast(self.kernel, "float32")
        matrix = ops.reshape(kernel, (-1, self.filters))
        still, u = ops.stop_gradient(matrix), ops.convert_to_tensor(self.u)
        v = _direction(ops.matmul(still, u))
        if training:
            u = _direction(ops.matmul(ops.transpose(still), v))
            self.u.assign(u)
        sigma = ops.sum(v * ops.matmul(matrix, u))
        return kernel / sigma

    def save_own_variables(self, store):
        super().save_own_variables(store)  # knows the kernel and the bias only
        store["u"] = self.u

    def load_own_variables(self, store):
        super().load_own_variables(store)
        self.u.assign(store["u"])


def _direction(vector):
    return vector * ops.rsqrt(ops.maximum(ops.sum(ops.square(vector)), 1e-24))
