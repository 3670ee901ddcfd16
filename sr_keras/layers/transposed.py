"""A transposed convolution as an ordinary one and a pixel shuffle (Shi et al., 2016, arXiv 1609.07009)."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("sr_keras")
class SubpixelTranspose(keras.layers.Conv2DTranspose):
    """Computes `keras.layers.Conv2DTranspose`, from the same weights, for padding "same" and equal strides.

    `[B, H, W, C]` becomes `[B, s*H, s*W, filters]`. TensorFlow sums a transposed convolution in an order that depends
    on the picture's size, so that tiles would differ from the whole in the last bits; an ordinary one it does not.

    Raises:
        ValueError: for other padding, unequal strides or 1, dilation, or an output padding.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not replaces(self):
            raise ValueError(
                "padding must be 'same', strides equal and 2 or more, without dilation and output padding; "
                f"'{self.name}' has others, take Conv2DTranspose."
            )

    def call(self, inputs):
        stride = self.strides[0]
        rows, columns = (_Phases(size, stride) for size in self.kernel_size)
        padded = ops.pad(self.kernel, [(0, 1), (0, 1), (0, 0), (0, 0)])  # the last is zero: a tap that there is not
        kernel = ops.take(ops.take(padded, rows.taps, axis=0), columns.taps, axis=2)  # [dy, py, dx, px, out, in]
        kernel = ops.transpose(kernel, (0, 2, 5, 1, 3, 4))
        kernel = ops.reshape(kernel, (*kernel.shape[:3], stride * stride * self.filters))
        x = ops.pad(inputs, [(0, 0), rows.padding, columns.padding, (0, 0)])
        x = ops.conv(x, ops.cast(kernel, x.dtype), padding="valid", data_format="channels_last")
        x = ops.depth_to_space(x, stride, data_format="channels_last")
        if self.use_bias:
            x = ops.add(x, ops.cast(self.bias, x.dtype))
        return self.activation(x)


class _Phases:
    """Which tap of a transposed kernel meets input pixel `j + d` in output pixel `stride * j + phase`."""

    def __init__(self, size: int, stride: int):
        before = max(size - stride, 0) // 2
        first, last = -((size - 1 - before) // stride), (before + stride - 1) // stride
        taps = before + np.arange(stride) - stride * np.arange(first, last + 1)[:, None]
        self.taps = np.where((taps >= 0) & (taps < size), taps, size)  # [d, phase]
        self.padding = (-first, last)


def replaces(layer: keras.layers.Conv2DTranspose) -> bool:
    """Says whether `SubpixelTranspose` computes what `layer` does."""
    return (
        layer.padding == "same"
        and len(set(layer.strides)) == 1
        and layer.strides[0] > 1
        and set(layer.dilation_rate) == {1}
        and layer.output_padding is None
        and layer.data_format == "channels_last"
    )


def without_transposed(model: keras.Model) -> keras.Model:
    """Returns the functional network with its transposed convolutions replaced, sharing no weights; itself if none."""
    kinds = [type(layer) for layer in model.layers]
    if keras.layers.Conv2DTranspose not in kinds:
        return model

    def rebuilt(part: keras.Operation) -> keras.Operation:
        kind = type(part)
        if kind is keras.layers.Conv2DTranspose and replaces(part):
            kind = SubpixelTranspose
        return kind.from_config(part.get_config())

    twin = keras.models.clone_model(model, clone_function=rebuilt)
    twin.set_weights(model.get_weights())
    return twin
