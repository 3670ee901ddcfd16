"""The textbook network: convolution, pooling and a fully connected layer that paints the whole picture."""

import keras
from keras import layers

from sr_keras.models._blocks import check_scale, conv


def build(*, scale: int, channels: int = 3, filters: int = 32, height: int = 14, width: int = 14) -> keras.Model:
    """Maps `[B, height, width, C]` in [0, 1] to `[B, scale*height, scale*width, C]`.

    The input size is fixed, because the fully connected layer has a weight for every pair of positions; the
    network is here to be compared with the convolutional ones.

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    x = lr = keras.Input((height, width, channels), name="lr")
    x = conv(filters, activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(scale * height * scale * width * channels, dtype="float32")(x)
    x = layers.Reshape((scale * height, scale * width, channels), dtype="float32")(x)
    return keras.Model(lr, x, name="cnn_fc")
