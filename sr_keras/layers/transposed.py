"""A transposed convolution as an ordinary one and a pixel shuffle (Shi et al., 2016, arXiv 1609.07009), and back."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from sr_keras.layers.fake_quant import FakeQuant


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


@keras.saving.register_keras_serializable("sr_keras")
class ShuffleByTransposed(keras.layers.Layer):
    """Computes depth_to_space as a transposed convolution with a fixed kernel of 0 and 1.

    Maps `[B, H, W, block**2 * C]` to `[B, block*H, block*W, C]`, the pixels the same: some delegates know the one
    operator and not the other. `ranged`, (low, high), is for networks that are fake-quantised: the range of its input.
    """

    radius = 0  # read by sr_keras.receptive_field, as is `scale`

    def __init__(self, block: int, ranged: tuple[float, float] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.block = self.scale = block
        self.ranged = None if ranged is None else tuple(ranged)

    def call(self, inputs):
        channels = inputs.shape[-1] // self.block**2
        kernel = ops.convert_to_tensor(_moving_kernel(self.block, channels), inputs.dtype)
        if self.ranged is None:
            return ops.conv_transpose(inputs, kernel, strides=self.block, data_format="channels_last")
        kernel = tf.quantization.fake_quant_with_min_max_args(kernel, -1.0, 1.0, num_bits=8, narrow_range=True)
        x = ops.conv_transpose(inputs, kernel, strides=self.block, data_format="channels_last")
        return tf.quantization.fake_quant_with_min_max_args(x, *self.ranged, num_bits=8)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height and height * self.block, width and width * self.block, channels // self.block**2

    def get_config(self):
        return {**super().get_config(), "block": self.block, "ranged": self.ranged}


def _moving_kernel(block: int, channels: int) -> np.ndarray:
    """Makes `[block, block, channels, block**2 * channels]` that puts each channel where depth_to_space does."""
    kernel = np.eye(block * block * channels, dtype=np.float32)
    return kernel.reshape(block, block, channels, block * block * channels)


def shuffled_by_transposed(model: keras.Model) -> keras.Model:
    """Returns the functional network with a `ShuffleByTransposed` for each depth_to_space; itself if there is none."""

    def rebuilt(part: keras.Operation) -> keras.Operation:
        if type(part).__name__ != "DepthToSpace":
            return type(part).from_config(part.get_config())
        return ShuffleByTransposed(part.block_size, _range_before(part), name=part.name)

    if not any(type(part).__name__ == "DepthToSpace" for part in model.operations):
        return model
    twin = keras.models.clone_model(model, clone_function=rebuilt)
    twin.set_weights(model.get_weights())
    return twin


def shuffled_by_depth_to_space(model: keras.Model) -> keras.Model:
    """Undoes `shuffled_by_transposed`; returns the network itself if there is nothing to undo."""

    def call(part: keras.Operation, *args, **kwargs):
        if isinstance(part, ShuffleByTransposed):
            return ops.depth_to_space(args[0], part.block, data_format="channels_last")
        return part(*args, **kwargs)

    if not any(isinstance(part, ShuffleByTransposed) for part in model.layers):
        return model
    twin = keras.models.clone_model(model, call_function=call)
    twin.set_weights(model.get_weights())
    return twin


def _range_before(part: keras.Operation) -> tuple[float, float] | None:
    """Returns the range that holds at the input of `part` in a fake-quantised network; None in any other."""
    before = part._inbound_nodes[0].input_tensors[0]._keras_history.operation
    return before.ends if isinstance(before, FakeQuant) else None
