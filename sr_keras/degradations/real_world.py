"""Real-ESRGAN's degradation of second order (Wang et al., 2021): blur, resize, noise and JPEG, twice.

https://arxiv.org/abs/2107.10833

Chances and ranges are those of its published training of x4plus. What differs from its code: each resize maps whole
picture to whole picture, where PyTorch's `interpolate` by a factor drifts by up to a pixel at the far border; area is
the exact mean of what a pixel covers; JPEG is libjpeg's, of 8 bits and whole qualities; every sample has its own draws.
"""

from dataclasses import dataclass

import tensorflow as tf

from sr_keras.degradations import _kernels, _noise, _ops
from sr_keras.degradations._ops import UNIT, Range, split, uniforms

_EQUAL = (1 / 3, 1 / 3, 1 / 3)  # odds of area, linear, cubic


@dataclass(frozen=True)
class _Order:
    """One round of blur, resize and noise: chance of a blur, odds of up, down and keep, and ranges."""

    blurred: float
    resized: tuple[float, float, float]
    sigma: Range
    resize: Range
    noise: Range
    poisson: Range
    grey: float

    def __post_init__(self) -> None:
        for name in ("sigma", "noise", "poisson"):
            _ops.check_range(name, getattr(self, name), 0, 255)
        low, high = self.resize
        if not 0.01 <= low <= 1 <= high <= 4:
            raise ValueError(f"resize must be two factors, 0.01 <= low <= 1 <= high <= 4, got {self.resize}.")


def build(
    *, scale: int, sigma: Range = (0.2, 3.0), sigma2: Range = (0.2, 1.5), resize: Range = (0.15, 1.5),
    resize2: Range = (0.3, 1.2), noise: Range = (1.0, 30.0), noise2: Range = (1.0, 25.0), poisson: Range = (0.05, 3.0),
    poisson2: Range = (0.05, 2.5), grey: float = 0.4, jpeg: tuple[int, int] = (30, 95),
    jpeg2: tuple[int, int] = (30, 95), blur2: float = 0.8, sinc: float = 0.8, sharpen: bool = True,
) -> _ops.Degrade:  # fmt: skip
    """Maps HR `[B, H, W, C]` in [0, 1] and seeds `[B, 2]` to LR in [0, 1] and the target, the sharpened HR.

    Pairs are (low, high), and those with a 2 belong to the second order: standard deviations of the blur in pixels,
    factors of the resize (of the HR's size; in the second order of the LR's), standard deviations of the Gaussian noise
    (of 255), factors of the Poisson noise, qualities of JPEG. `grey` is the chance of noise to be grey, `blur2` that of
    the second blur, `sinc` that of the last sinc filter. With `sharpen`, the LR is made from the sharpened HR, too.
    Raises `ValueError` for a value out of order or bounds.
    """
    for name, chance in (("grey", grey), ("blur2", blur2), ("sinc", sinc)):
        _ops.check_chance(name, chance)
    for name, pair in (("jpeg", jpeg), ("jpeg2", jpeg2)):
        _ops.check_range(name, pair, 1, 100)
    first = _Order(1.0, (0.2, 0.7, 0.1), sigma, resize, noise, poisson, grey)
    second = _Order(blur2, (0.3, 0.4, 0.3), sigma2, resize2, noise2, poisson2, grey)

    def sample(hr: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        target = _ops.sharpen(hr) if sharpen else hr
        height, width = _ops.size_of(hr)
        seed, seed_1, seed_2, seed_3 = split(seed, 4)
        drawn_quality, drawn_quality2, drawn_last = uniforms(seed, 3)
        jpeg_is_last = drawn_last < 0.5
        x = _distorted(target, seed_1, first, height, width)
        x = _ops.jpeg(x, _ops.whole(drawn_quality, jpeg))
        x = _distorted(x, seed_2, second, height // scale, width // scale)

        def compressed(x: tf.Tensor) -> tf.Tensor:
            return _ops.jpeg(x, _ops.whole(drawn_quality2, jpeg2))

        x = tf.cond(jpeg_is_last, lambda: x, lambda: compressed(x))
        x = _reduced(x, seed_3, height // scale, width // scale, sinc)
        x = tf.cond(jpeg_is_last, lambda: compressed(x), lambda: x)
        return _ops.to_8_bits(x) * UNIT, target

    return _ops.per_sample(sample, scale)


def _distorted(x: tf.Tensor, seed: tf.Tensor, order: _Order, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Blurs, resizes to about `[C, height, width]` times a factor, and adds noise; clipped to [0, 1]."""
    seed, seed_of_kernel, seed_of_noise = split(seed, 3)
    blurred, drawn_way, drawn_factor, drawn_mode = uniforms(seed, 4)

    def blur() -> tf.Tensor:
        return _ops.blur(x, _kernels.blurring(seed_of_kernel, sigma=order.sigma))

    x = tf.cond(blurred < order.blurred, blur, lambda: x)
    low, high = order.resize
    way = _ops.choice(drawn_way, order.resized)
    factor = tf.gather([_ops.between(drawn_factor, (1.0, high)), _ops.between(drawn_factor, (low, 1.0)), 1.0], way)
    x = _ops.resize(x, _ops.times(height, factor), _ops.times(width, factor), _ops.choice(drawn_mode, _EQUAL))
    x = _noise.gaussian_or_poisson(x, seed_of_noise, sigma=order.noise, poisson=order.poisson, grey=order.grey)
    return tf.clip_by_value(x, 0.0, 1.0)


def _reduced(x: tf.Tensor, seed: tf.Tensor, height: tf.Tensor, width: tf.Tensor, sinc: float) -> tf.Tensor:
    """Resizes to `[C, height, width]` exactly and applies the last sinc filter."""
    seed, seed_of_kernel = split(seed, 2)
    drawn_mode, filtered = uniforms(seed, 2)
    x = _ops.resize(x, height, width, _ops.choice(drawn_mode, _EQUAL))
    return tf.cond(filtered < sinc, lambda: _ops.blur(x, _kernels.final_sinc(seed_of_kernel)), lambda: x)
