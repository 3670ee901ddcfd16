"""Attention within windows of a picture, shifted or not (Swin; Liu et al., 2021, arXiv 2103.14030)."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("sr_keras")
class WindowAttention(keras.layers.Layer):
    """Lets every pixel attend to the pixels of its window, `window` x `window`, in each of the `heads`.

    Maps queries, keys and values side by side, `[B, H, W, 3*C]`, to `[B, H, W, C]`, for H and W that are multiples of
    `window`. With a `shift` the windows begin so many pixels further down and to the right; those at the picture's ends
    are cut. What is learnt is a bias for each distance and head. The softmax is in float32 under every policy. All
    tensors have at most four axes, for the sake of TFLite.

    Args:
        halved: whether the next layer is a `WindowAttention` shifted by half a window against this one, pixel by
            pixel layers aside. Then this layer adds only half a window to the reach of the two.

    Raises:
        ValueError: unless `0 <= shift < window`.
    """

    def __init__(self, window: int, heads: int, shift: int = 0, halved: bool = False, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= shift < window:
            raise ValueError(f"shift must be from 0 to window - 1, got {shift} of {window}; try {window // 2}.")
        self.window, self.heads, self.shift, self.halved = window, heads, shift, halved
        self.radius = (window + 1) // 2 if halved else window - 1  # read by sr_keras.receptive_field, as is `alignment`
        self.alignment = window

    def build(self, input_shape):
        self.relative_position_bias_table = self.add_weight(
            name="relative_position_bias_table",
            shape=((2 * self.window - 1) ** 2, self.heads),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            autocast=False,
        )

    def call(self, inputs):
        batch, *size, channels = ops.shape(inputs)  # pyright: ignore[reportGeneralTypeIssues]
        windows = partition(_rolled(inputs, self.shift), self.window)
        query, key, value = (self._per_head(part) for part in tf.split(windows, 3, axis=-1))
        query = query * (channels // 3 // self.heads) ** -0.5
        logits = ops.cast(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))), "float32") + self._bias()
        if self.shift:
            logits = self._masked(logits, batch, *size)
        x = ops.matmul(ops.cast(ops.softmax(logits), self.compute_dtype), value)
        x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, self.window**2, channels // 3))
        return _rolled(_joined(x, self.window, *size), -self.shift)

    def _per_head(self, x):
        """Brings `[N, n, C]` to `[N, heads, n, C / heads]`."""
        return ops.transpose(ops.reshape(x, (-1, self.window**2, self.heads, x.shape[-1] // self.heads)), (0, 2, 1, 3))

    def _bias(self):
        pixels = self.window**2
        table = ops.convert_to_tensor(self.relative_position_bias_table)
        bias = ops.take(table, relative_position_index(self.window).ravel(), axis=0)
        return ops.transpose(ops.reshape(bias, (pixels, pixels, self.heads)), (2, 0, 1))[None]

    def _masked(self, logits, batch, height, width):
        # By columns and by rows, and in two shapes, lest converters add them up to a constant as large as the logits.
        rows, columns = shift_masks(height, width, self.window, self.shift)
        shape, pairs = ops.shape(logits), self.window**4
        if not (isinstance(batch, int) and batch == 1):
            rows = tf.tile(rows, (batch, 1, 1))
        x = ops.reshape(logits, (-1, width // self.window, self.heads, pairs)) + ops.reshape(columns, (1, -1, 1, pairs))
        x = ops.reshape(x, (-1, width // self.window * self.heads, pairs)) + ops.reshape(rows, (-1, 1, pairs))
        return ops.reshape(x, (-1, *shape[1:]))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], input_shape[3] // 3)

    def get_config(self):
        own = {"window": self.window, "heads": self.heads, "shift": self.shift, "halved": self.halved}
        return {**super().get_config(), **own}


def relative_position_index(window: int) -> np.ndarray:
    """Returns for each pair of a window's pixels, `[n, n]`, the row of the bias table that is for their distance."""
    rows, columns = np.indices((window, window)).reshape(2, -1, 1)
    return (rows - rows.T + window - 1) * (2 * window - 1) + columns - columns.T + window - 1


def shift_masks(height, width, window: int, shift: int):
    """Returns which pixels of a shifted window lie apart in the picture, as -100 for a pair of them and 0 for others.

    One mask `[H / window, n, n]` for each row of windows, and one `[W / window, n, n]` for each column, to be added.
    """
    rows, columns = (tf.cast(tf.range(n) >= n - shift, "int32") for n in (height, width))  # those from the other end
    rows = tf.repeat(tf.reshape(rows, (-1, window)), window, axis=1)
    columns = tf.tile(tf.reshape(columns, (-1, window)), (1, window))
    return tuple(
        -100.0 * tf.cast(tf.reshape(ends, (-1, 1, window**2)) != tf.reshape(ends, (-1, window**2, 1)), "float32")
        for ends in (rows, columns)
    )


def shift_mask(across: int, window: int) -> np.ndarray:
    """Returns both of `shift_masks` as one, `[across**2, n, n]`, for `across` x `across` windows shifted by half."""
    rows, columns = map(np.array, shift_masks(across * window, across * window, window, window // 2))
    return np.maximum(rows[:, None] + columns[None], -100.0).reshape(-1, window**2, window**2)


def partition(x, window: int):
    """Cuts `[B, H, W, C]` into windows of n pixels, `[B * H/window * W/window, n, C]`."""
    width, channels = ops.shape(x)[2], x.shape[-1]
    x = ops.reshape(x, (-1, window, width // window, window * channels))
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, window**2, channels))


def _joined(x, window: int, height, width):
    """Undoes `partition`."""
    channels = x.shape[-1]
    x = ops.reshape(x, (-1, width // window, window, window * channels))
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, height, width, channels))


def _rolled(x, shift: int):
    """Takes the first `shift` rows and columns to the other end, or back if negative."""
    if not shift:
        return x
    x = ops.concatenate([x[:, shift:], x[:, :shift]], axis=1)
    return ops.concatenate([x[:, :, shift:], x[:, :, :shift]], axis=2)
