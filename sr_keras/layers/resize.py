"""Enlargement by cubic interpolation (Keys, 1981), and to the size of another tensor, as Keras layers."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from sr_keras import resize


@keras.saving.register_keras_serializable("sr_keras")
class Bicubic(keras.layers.Layer):
    """Enlarges `[B, H, W, C]` to `[B, scale*H, scale*W, C]` like MATLAB's `imresize`.

    Half-pixel centres, a = -0.5, the border clamped. One fixed convolution and `depth_to_space`, because
    TFLite has no bicubic operation; always in float32.

    Raises:
        ValueError: if `scale` is not a whole number of 2 or more.
    """

    radius = 2  # input pixels that it looks at on either side; read by sr_keras.receptive_field

    def __init__(self, scale: int, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        if scale != int(scale) or scale < 2:
            raise ValueError(f"scale must be a whole number of 2 or more, got {scale}; try 2, 3 or 4.")
        self.scale = int(scale)

    def build(self, input_shape):
        self._kernel = _kernel(self.scale, channels=input_shape[-1])

    def call(self, image):
        image = _replicate_border(image)
        phases = ops.conv(image, self._kernel, padding="valid", data_format="channels_last")
        return ops.depth_to_space(phases, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return batch, height and height * self.scale, width and width * self.scale, channels

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def _kernel(scale: int, channels: int) -> np.ndarray:
    """Returns the weights of every phase, `[5, 5, C, scale*scale*C]`, as `depth_to_space` wants them."""
    taps = np.arange(-Bicubic.radius, Bicubic.radius + 1)
    centres = (np.arange(scale) + 0.5) / scale - 0.5
    weights = resize.KERNELS["bicubic"][0](taps[:, None] - centres)
    kernel = np.einsum("yp,xq,ab->yxapqb", weights, weights, np.eye(channels))
    return kernel.reshape(len(taps), len(taps), channels, scale * scale * channels).astype("float32")


def _replicate_border(x):
    top, bottom = x[:, :1], x[:, -1:]
    x = ops.concatenate([top, top, x, bottom, bottom], axis=1)
    left, right = x[:, :, :1], x[:, :, -1:]
    return ops.concatenate([left, left, x, right, right], axis=2)


@keras.saving.register_keras_serializable("sr_keras")
class ResizeLike(keras.layers.Layer):
    """Brings `x` in `[x, like]` to the height and width of `like`: `[B, h, w, C]` to `[B, H, W, C]`.

    Half-pixel centres, no antialiasing, as PyTorch's `interpolate` without `align_corners`. Where `H / h` is no fixed
    number, what a pixel becomes depends on the size of the whole picture.

    Raises:
        ValueError: if `method` is neither `bilinear` nor `nearest`.
    """

    whole_picture = True  # read by sr_keras.receptive_field, as is `pictures`
    pictures = 1

    def __init__(self, method: str = "bilinear", **kwargs):
        super().__init__(**kwargs)
        if method not in ("bilinear", "nearest"):
            raise ValueError(f"method must be 'bilinear' or 'nearest', got {method!r}.")
        self.method = method

    def call(self, inputs):
        x, like = inputs
        return tf.cast(tf.image.resize(x, tf.shape(like)[1:3], self.method), x.dtype)

    def compute_output_shape(self, input_shape):
        (batch, *_, channels), (_, height, width, _) = input_shape
        return batch, height, width, channels

    def get_config(self):
        return {**super().get_config(), "method": self.method}
