"""The game of Goodfellow et al., 2014 (arXiv 1406.2661), as SRGAN plays it (Ledig et al., 2017, arXiv 1609.04802)."""

from typing import Literal

from sr_keras.adversarial._objective import Objective, says_fake, says_real


def build(*, generator: Literal["non_saturating", "minimax"] = "non_saturating") -> Objective:
    """Makes the objective L_D = -[log D(x) + log(1 - D(G(z)))] with D = sigmoid of the logits.

    `non_saturating` is L_G = -log D(G(z)), whose gradient is largest where the discriminator wins; `minimax` is
    L_G = log(1 - D(G(z))), the discriminator's loss with its sign turned, whose gradient vanishes there.
    """
    return Objective(
        generator_loss=lambda real, fake: says_real(fake) if generator == "non_saturating" else -says_fake(fake),
        discriminator_loss=lambda real, fake: says_real(real) + says_fake(fake),
    )
