"""The classical degradation in one order: blur, reduction, noise, JPEG; milder and quicker than the others."""

import tensorflow as tf

from sr_keras.degradations import _kernels, _noise, _ops
from sr_keras.degradations._ops import UNIT, Range, split, uniforms

_SIZE = 21  # of the kernel; holds more than 99 % of a Gaussian of sigma 4


def build(
    *, scale: int, sigma: Range = (0.2, 2.0), noise: Range = (0.0, 15.0), jpeg: tuple[int, int] = (50, 95)
) -> _ops.Degrade:
    """Maps HR `[B, H, W, C]` in [0, 1] and seeds `[B, 2]` to LR in [0, 1] and the unchanged HR.

    Each pair is (low, high), drawn from uniformly: standard deviation of the isotropic Gaussian blur in HR pixels (at
    most 4), that of the Gaussian noise of all channels (of 255), quality of JPEG (1 ... 100). The reduction is the mean
    of scale x scale pixels, as a sensor's. Raises `ValueError` for a value out of order or bounds.
    """
    for name, pair, least, most in (("sigma", sigma, 0, 4), ("noise", noise, 0, 255), ("jpeg", jpeg, 1, 100)):
        _ops.check_range(name, pair, least, most)

    def sample(hr: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seed, seed_of_noise = split(seed, 2)
        drawn_sigma, drawn_noise, drawn_quality = uniforms(seed, 3)
        variance = tf.square(_ops.between(drawn_sigma, sigma))
        height, width = _ops.size_of(hr)
        x = _ops.blur(hr, _kernels.gaussian((variance, variance), 0.0, _SIZE, _SIZE))
        x = _ops.resize(x, height // scale, width // scale, _ops.AREA)
        x += _noise.gaussian(x, seed_of_noise, False) * (_ops.between(drawn_noise, noise) * UNIT)
        return _ops.jpeg(x, _ops.whole(drawn_quality, jpeg)), hr

    return _ops.per_sample(sample, scale)
