"""The least-squares game (Mao et al., 2017, arXiv 1611.04076)."""

import tensorflow as tf

from sr_keras.adversarial._objective import Objective


def build() -> Objective:
    """Makes L_D = [mean((real - 1)^2) + mean(fake^2)] / 2 and L_G = mean((fake - 1)^2) / 2, equation 9 of the paper."""
    return Objective(
        generator_loss=lambda real, fake: tf.reduce_mean(tf.square(fake - 1.0)) / 2.0,
        discriminator_loss=lambda real, fake: (
            (tf.reduce_mean(tf.square(real - 1.0)) + tf.reduce_mean(tf.square(fake))) / 2.0
        ),
        margins=lambda real, fake: (real - 0.5, 0.5 - fake),
    )
