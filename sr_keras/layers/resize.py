"""Interpolation as Keras layers: cubic (Keys, 1981) and linear by a fixed factor, and to the size of a tensor."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from sr_keras import resize
from sr_keras.layers._checked import whole


class _Interpolation(keras.layers.Layer):
    """Resizes `[B, H, W, C]` by `scale / stride` with one fixed convolution and `depth_to_space`, in float32.

    Half-pixel centres, the border clamped. Each `stride` x `stride` pixels become `scale` x `scale`, from what lies up
    to `radius` further: all three are read by sr_keras.receptive_field.
    """

    scale: int
    stride: int = 1
    radius: int

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def kernel(self, distance: np.ndarray) -> np.ndarray:
        """Weighs pixels by their distance, in pixels."""
        raise NotImplementedError  # abstract: each interpolation has its own

    def build(self, input_shape):
        taps = np.arange(-self.radius, self.stride + self.radius)
        centres = (np.arange(self.scale) + 0.5) * self.stride / self.scale - 0.5
        weights, channels = self.kernel(taps[:, None] - centres), input_shape[-1]
        phases = np.einsum("yp,xq,ab->yxapqb", weights, weights, np.eye(channels))
        self._kernel = phases.reshape(len(taps), len(taps), channels, self.scale**2 * channels).astype("float32")

    def call(self, image):
        top, bottom = [image[:, :1]] * self.radius, [image[:, -1:]] * self.radius
        image = ops.concatenate([*top, image, *bottom], axis=1)
        left, right = [image[:, :, :1]] * self.radius, [image[:, :, -1:]] * self.radius
        image = ops.concatenate([*left, image, *right], axis=2)
        image = ops.conv(image, self._kernel, strides=self.stride, padding="valid", data_format="channels_last")
        return image if self.scale == 1 else ops.depth_to_space(image, self.scale, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        height, width = (length and length // self.stride * self.scale for length in (height, width))
        return batch, height, width, channels


@keras.saving.register_keras_serializable("sr_keras")
class Bicubic(_Interpolation):
    """Enlarges `[B, H, W, C]` to `[B, scale*H, scale*W, C]` like MATLAB's `imresize`: cubic, a = -0.5.

    Not by a resize operation, because TFLite has no bicubic one.

    Raises:
        ValueError: if `scale` is not a whole number of 2 or more.
    """

    radius = 2

    def __init__(self, scale: int, **kwargs):
        super().__init__(**kwargs)
        self.scale = whole("scale", scale, least=2)

    def kernel(self, distance):
        return resize.KERNELS["bicubic"][0](distance)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("sr_keras")
class Bilinear(_Interpolation):
    """Enlarges `[B, H, W, C]` to `[B, scale*H, scale*W, C]` linearly, as PyTorch's `interpolate` does.

    Raises:
        ValueError: if `scale` is not a whole number of 2 or more.
    """

    radius = 1

    def __init__(self, scale: int, **kwargs):
        super().__init__(**kwargs)
        self.scale = whole("scale", scale, least=2)

    def kernel(self, distance):
        return resize.KERNELS["bilinear"][0](distance)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("sr_keras")
class CubicReduction(_Interpolation):
    """Reduces `[B, stride*h, stride*w, C]` to `[B, scale*h, scale*w, C]` cubically, a = -0.75, without antialiasing.

    This is what ncnn's and PyTorch's bicubic interpolation do.

    Raises:
        ValueError: unless `1 <= scale < stride`, whole numbers.
    """

    radius = 1

    def __init__(self, scale: int, stride: int, **kwargs):
        super().__init__(**kwargs)
        if not 1 <= scale < stride or (scale, stride) != (int(scale), int(stride)):
            raise ValueError(f"scale and stride must be whole numbers, 1 <= scale < stride, got {scale} and {stride}.")
        self.scale, self.stride = int(scale), int(stride)

    def kernel(self, distance):
        x, a = np.abs(distance), -0.75
        near = ((a + 2) * x - (a + 3)) * x**2 + 1
        return np.where(x <= 1, near, np.where(x < 2, a * (((x - 5) * x + 8) * x - 4), 0.0))

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "stride": self.stride}


@keras.saving.register_keras_serializable("sr_keras")
class ResizeLike(keras.layers.Layer):
    """Brings `x` in `[x, like]` linearly to the height and width of `like`: `[B, h, w, C]` to `[B, H, W, C]`.

    Half-pixel centres, no antialiasing, as PyTorch's `interpolate` without `align_corners`. Where `H / h` is no fixed
    number, what a pixel becomes depends on the size of the whole picture.
    """

    whole_picture = True  # read by sr_keras.receptive_field, as is `pictures`
    pictures = 1

    def call(self, inputs):
        x, like = inputs
        return tf.cast(tf.image.resize(x, tf.shape(like)[1:3]), x.dtype)

    def compute_output_shape(self, input_shape):
        (batch, *_, channels), (_, height, width, _) = input_shape
        return batch, height, width, channels
