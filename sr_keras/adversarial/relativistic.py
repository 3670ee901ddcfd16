"""The relativistic average game (Jolicoeur-Martineau, 2018, arXiv 1807.00734), of ESRGAN (Wang et al., 2018)."""

import tensorflow as tf

from sr_keras.adversarial._objective import Objective, says_fake, says_real


def build() -> Objective:
    """Makes the objective in which a picture is judged against the mean logit of the other kind (arXiv 1809.00219).

    With D(a, b) = sigmoid(a - mean(b)): L_D = -[log D(real, fake) + log(1 - D(fake, real))] / 2, and L_G is the same
    with real and fake exchanged. ESRGAN's code halves both as here; its paper writes the sums.
    """

    def loss(right: tf.Tensor, wrong: tf.Tensor) -> tf.Tensor:
        return (says_real(right - tf.reduce_mean(wrong)) + says_fake(wrong - tf.reduce_mean(right))) / 2.0

    return Objective(
        generator_loss=lambda real, fake: loss(fake, real),
        discriminator_loss=lambda real, fake: loss(real, fake),
        margins=lambda real, fake: (real - tf.reduce_mean(fake), tf.reduce_mean(real) - fake),
    )
