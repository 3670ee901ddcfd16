"""Fake quantisation (Jacob et al., 2018, arXiv 1712.05877): float numbers that take only the values int8 has.

TFLite's converter reads the ranges off these nodes and writes whole-number operators: it needs no calibration then.
See https://www.tensorflow.org/api_docs/python/tf/quantization/fake_quant_with_min_max_vars.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("sr_keras")
class FakeQuant(keras.layers.Layer):
    """Rounds a tensor of any shape to 256 evenly spaced values of a range that holds 0; values beyond it are clipped.

    Returns the tensor, and the distance of two values, a scalar that `FakeQuantConv2D` takes.

    A `fixed` range, (low, high), stays. Else the range follows the extremes of each training batch as a moving average
    with `momentum`; neither is trained. The gradient passes where the value lies in the range. It computes in float32
    under every policy: bfloat16 does not tell 256 values apart.

    Attributes:
        bypass: while true nothing is rounded (a fixed range still clips) and no range moves; never saved.

    Raises:
        ValueError: for a fixed range that does not hold 0, or is empty.
    """

    radius = 0  # read by sr_keras.receptive_field

    def __init__(self, fixed=None, momentum=0.99, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        if fixed is not None and not (fixed[0] <= 0.0 <= fixed[1] and fixed[0] < fixed[1]):
            raise ValueError(f"a fixed range must hold 0 and more, got {fixed}; try (0, 1).")
        self.fixed = None if fixed is None else (float(fixed[0]), float(fixed[1]))
        self.momentum = momentum
        self.bypass = False

    def build(self, input_shape):
        for name, end in zip(("low", "high"), self.fixed or (-1.0, 1.0), strict=True):
            variable = self.add_weight(
                name=name, shape=(), initializer=keras.initializers.Constant(end), trainable=False, aggregation="mean"
            )
            setattr(self, name, variable)

    def call(self, inputs, training=False):
        low, high = (self.low, self.high) if self.fixed is None else self.fixed
        step = ops.convert_to_tensor((high - low) / 255.0)
        if self.bypass:
            return (inputs if self.fixed is None else ops.clip(inputs, low, high)), step
        if training and self.fixed is None:
            self.low.assign(self._moved(self.low, ops.minimum(ops.min(inputs), 0.0)))
            self.high.assign(self._moved(self.high, ops.maximum(ops.max(inputs), 0.0)))
            step = ops.convert_to_tensor((self.high - self.low) / 255.0)
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8), step

    def _moved(self, end, seen):
        return self.momentum * end + (1.0 - self.momentum) * seen

    def set_range(self, low: float, high: float) -> None:
        """Sets the range, widened to hold 0, as the extremes of a tensor; without effect on a fixed one."""
        if self.fixed is None:
            low = min(low, 0.0)
            self.low.assign(low)
            self.high.assign(max(high, 0.0, low + 1e-6))  # of a tensor of nothing but zeros

    @property
    def ends(self) -> tuple[float, float]:
        """The range as it is now."""
        return self.fixed or (float(ops.convert_to_numpy(self.low)), float(ops.convert_to_numpy(self.high)))

    def compute_output_spec(self, inputs, training=False):
        return keras.KerasTensor(inputs.shape, "float32"), keras.KerasTensor((), "float32")

    def get_config(self):
        return {**super().get_config(), "fixed": self.fixed, "momentum": self.momentum}


@keras.saving.register_keras_serializable("sr_keras")
class FakeQuantConv2D(keras.layers.Conv2D):
    """Convolves with a kernel of 255 values a filter, symmetric around 0, as TFLite's int8 convolution does.

    Maps what `keras.layers.Conv2D` maps, from the same weights, given the `step` between two values of its input too:
    TFLite's bias, of 32 bits, is a whole number of steps of input and kernel. That rounding alone, left out, moves one
    value in a thousand to the next, and some layers on every second. The gradient passes all rounding unchanged.

    Raises:
        ValueError: for strides, dilation, groups, and for `channels_first`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "autocast": False})  # bfloat16 would round the step
        if set(self.strides) | set(self.dilation_rate) | {self.groups} != {1} or self.data_format != "channels_last":
            raise ValueError(f"'{self.name}' must have no strides, dilation or groups, channels last; leave it float.")
        self.bypass = False
        self.radius = max(self.kernel_size) // 2  # read by sr_keras.receptive_field

    pictures = 1  # how many of the inputs it reads pixels of; read by sr_keras.receptive_field

    def call(self, inputs, step=None):
        x, kernel = ops.cast(inputs, self.compute_dtype), ops.cast(self.kernel, self.compute_dtype)
        x = self.convolution_op(x, kernel)
        if self.use_bias:
            x = ops.add(ops.cast(x, "float32"), self._rounded_bias(step))
        return self.activation(x)

    def compute_output_spec(self, inputs, step=None):
        return super().compute_output_spec(inputs)

    def _rounded_bias(self, step):
        bias = ops.convert_to_tensor(self.bias)
        if step is None or self.bypass:
            return bias
        steps = ops.stop_gradient(ops.maximum(step, 1e-12) * self._most() / 127.0)
        return bias + ops.stop_gradient(ops.round(bias / steps) * steps - bias)

    def _most(self):
        """The largest number of each filter, 1e-6 at least."""
        return ops.maximum(ops.max(ops.abs(ops.convert_to_tensor(self._kernel)), axis=(0, 1, 2)), 1e-6)

    def add_weight(self, *args, **kwargs):
        return super().add_weight(*args, **{**kwargs, "autocast": False})  # else the kernel would come in bfloat16

    @property
    def kernel(self):
        """The kernel as int8 has it, float32 `[kh, kw, C, filters]`."""
        kernel = ops.convert_to_tensor(self._kernel)
        if self.bypass:
            return kernel
        most = ops.stop_gradient(self._most())
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(
            kernel, -most, most, num_bits=8, narrow_range=True
        )

    def save_own_variables(self, store):
        for index, variable in enumerate(self.weights):  # Keras would save what `kernel` gives
            store[str(index)] = variable


@keras.saving.register_keras_serializable("sr_keras")
class FakeQuantRescaling(keras.layers.Rescaling):
    """Computes what `keras.layers.Rescaling` does, with offsets that int8 has: 256 values between the extremes and 0.

    TFLite stores the offsets of the channels in 8 bits. The input is float32 of any shape `[..., C]`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"dtype": "float32", **kwargs})
        self.bypass = False

    pointwise = True  # read by sr_keras.receptive_field, for which `scale` would be an enlargement

    def call(self, inputs):
        offset = ops.convert_to_tensor(self.offset, "float32")
        low, high = min(0.0, *np.ravel(self.offset)), max(0.0, *np.ravel(self.offset))
        if not self.bypass and low < high:
            offset = tf.quantization.fake_quant_with_min_max_args(offset, float(low), float(high), num_bits=8)
        scaled = inputs if self.scale == 1.0 else inputs * ops.convert_to_tensor(self.scale, "float32")
        return scaled + offset


@keras.saving.register_keras_serializable("sr_keras")
class FakeQuantPReLU(keras.layers.PReLU):
    """Computes what `keras.layers.PReLU` does, with slopes of 255 values, symmetric around 0, as TFLite stores them."""

    pointwise = True  # read by sr_keras.receptive_field

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"dtype": "float32", **kwargs})
        self.bypass = False

    def call(self, inputs):
        slopes = ops.convert_to_tensor(self.alpha)
        if not self.bypass:  # without a fake quantisation node, behind which the converter sees no PReLU any more
            step = ops.maximum(ops.max(ops.abs(slopes)), 1e-6) / 127.0
            slopes = slopes + ops.stop_gradient(ops.round(slopes / step) * step - slopes)
        return ops.relu(inputs) + -slopes * ops.relu(-inputs)
