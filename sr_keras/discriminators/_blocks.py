"""What the discriminators share: their activation."""

from keras import layers


def leaky(x):
    """Applies a LeakyReLU of slope 0.2, which all of the papers take (Radford et al., 2016, arXiv 1511.06434)."""
    return layers.LeakyReLU(0.2)(x)
