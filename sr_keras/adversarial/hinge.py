"""The hinge game (Lim and Ye, 2017, arXiv 1705.02894; Miyato et al., 2018, arXiv 1802.05957)."""

import tensorflow as tf

from sr_keras.adversarial._objective import Objective


def build() -> Objective:
    """Makes L_D = mean(max(0, 1 - real)) + mean(max(0, 1 + fake)) and L_G = -mean(fake)."""
    return Objective(
        generator_loss=lambda real, fake: -tf.reduce_mean(fake),
        discriminator_loss=lambda real, fake: (
            tf.reduce_mean(tf.nn.relu(1.0 - real)) + tf.reduce_mean(tf.nn.relu(1.0 + fake))
        ),
    )
