"""The Wasserstein game with gradient penalty (Gulrajani et al., 2017, arXiv 1704.00028)."""

from collections.abc import Callable

import tensorflow as tf

from sr_keras.adversarial._objective import Objective


def build(*, weight: float = 10.0) -> Objective:
    """Makes L_D = mean(fake) - mean(real) and L_G = -mean(fake); the penalty has the paper's lambda as `weight`.

    The discriminator must treat the pictures of a batch apart: no batch normalisation.
    """

    def penalty(
        discriminator: Callable[[tf.Tensor], tf.Tensor], hr: tf.Tensor, sr: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Pulls the gradient's norm towards 1 at a random place between `[B, H, W, C]` of real and fake pictures."""
        part = tf.random.stateless_uniform((tf.shape(hr)[0], 1, 1, 1), seed, dtype=hr.dtype)
        between = hr + part * (sr - hr)
        with tf.GradientTape() as tape:
            tape.watch(between)
            logits = discriminator(between)
            each = tf.reduce_mean(tf.reshape(logits, (tf.shape(logits)[0], -1)), axis=1)
        gradient = tf.convert_to_tensor(tape.gradient(each, between))
        norm = tf.sqrt(tf.reduce_sum(gradient**2, axis=(1, 2, 3)) + 1e-12)  # finite gradient at 0
        return weight * tf.reduce_mean(tf.square(norm - 1.0))

    def margins(real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        middle = (tf.reduce_mean(real) + tf.reduce_mean(fake)) / 2.0  # a critic's logits have no zero of their own
        return real - middle, middle - fake

    return Objective(
        generator_loss=lambda real, fake: -tf.reduce_mean(fake),
        discriminator_loss=lambda real, fake: tf.reduce_mean(fake) - tf.reduce_mean(real),
        gradient_penalty=penalty,
        margins=margins,
    )
