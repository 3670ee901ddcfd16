"""What the tests of exporters share: a tiny network, and smooth pictures for it."""

import keras
import numpy as np
import tensorflow as tf

SCALE, EVEN, ODD = 2, (16, 24), (19, 23)


def tiny_network() -> keras.Model:
    # 16 filters, since the converter's dynamic range leaves kernels below 1,024 numbers in float32.
    random = keras.initializers.RandomNormal(stddev=0.05, seed=3)
    x = lr = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(3 * SCALE**2, 3, padding="same", kernel_initializer=random)(x)  # pyright: ignore[reportArgumentType]
    x = keras.layers.Add(dtype="float32")([x, keras.layers.Concatenate(dtype="float32")([lr] * SCALE**2)])
    return keras.Model(lr, keras.ops.clip(keras.ops.depth_to_space(x, SCALE), 0.0, 1.0))


def smooth_pictures(count, height, width, seed=0):
    noise = np.random.default_rng(seed).random((count, 4, 5, 3), dtype=np.float32)
    return np.clip(tf.image.resize(noise, (height, width), "bicubic").numpy(), 0.0, 1.0)


def calibration_pictures():
    # Of unequal sizes, and grey: they reach neither 0 nor 1.
    return [0.2 + 0.6 * smooth_pictures(1, 24 + 2 * k, 31 - k, seed=k)[0] for k in range(4)]
