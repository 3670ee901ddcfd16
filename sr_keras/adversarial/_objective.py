"""What an objective is, and the logistic terms that two of them are made of."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


def logits_at_zero(real: tf.Tensor, fake: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the margins of a discriminator that says "real" with a positive logit and "fake" with a negative one."""
    return real, -fake


class Objective(NamedTuple):
    """The two losses of a game, each a scalar of the logits that the discriminator gives `(real, fake)` pictures.

    Logits have any shape, such as `[B, 1]` or, per patch, `[B, h, w, 1]`: all of them count alike. Where there is a
    `gradient_penalty`, the discriminator's loss is to be increased by it; it is a scalar of `(discriminator, hr, sr)`
    and takes a seed `[2]` besides. `margins` says by how much each logit is on the right side: what is positive is
    judged right.
    """

    generator_loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    discriminator_loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    gradient_penalty: Callable[..., tf.Tensor] | None = None
    margins: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]] = logits_at_zero


def says_real(logits: tf.Tensor) -> tf.Tensor:
    """Returns the mean of -log(sigmoid(logits)) as a scalar: 0 where the discriminator is sure of "real"."""
    return tf.reduce_mean(tf.nn.softplus(-logits))


def says_fake(logits: tf.Tensor) -> tf.Tensor:
    """Returns the mean of -log(1 - sigmoid(logits)) as a scalar: 0 where the discriminator is sure of "fake"."""
    return tf.reduce_mean(tf.nn.softplus(logits))
