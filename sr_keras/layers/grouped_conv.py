"""A grouped convolution (Krizhevsky et al., 2012) in the operators that every converter knows."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("sr_keras")
class GroupedConv2D(keras.layers.Conv2D):
    """Computes `keras.layers.Conv2D` with `groups`, from the same weights, for odd kernels and padding "same".

    Maps `[B, H, W, C]` to `[B, H, W, filters]`, group by group, since tf2onnx converts no grouped convolution.

    Raises:
        ValueError: for strides, dilation, other padding than "same", even kernels, `channels_first`.
    """

    def __init__(self, filters, kernel_size, groups, **kwargs):
        super().__init__(filters, kernel_size, groups=groups, **{"padding": "same", **kwargs})
        plain = set(self.strides) | set(self.dilation_rate) == {1} and all(size % 2 for size in self.kernel_size)
        if not (plain and self.padding == "same" and self.data_format == "channels_last"):
            raise ValueError(
                f"'{self.name}' must have an odd kernel, padding 'same', no strides or dilation; take Conv2D."
            )
        self.radius = max(self.kernel_size) // 2  # read by sr_keras.receptive_field

    def convolution_op(self, inputs, kernel):
        inputs, kernels = (ops.split(each, self.groups, axis=-1) for each in (inputs, kernel))
        return ops.concatenate(list(map(super().convolution_op, inputs, kernels)), axis=-1)
