"""BSRGAN's shuffled degradation (Zhang et al., 2021, https://arxiv.org/abs/2103.14006): blurs, reductions, noise, JPEG.

The chain of its released code without the model of a camera (the default there); each sample has an order of its own.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from sr_keras import resize
from sr_keras.degradations import _kernels, _noise, _ops
from sr_keras.degradations._ops import UNIT, Range, choice, split, uniforms, whole

_LARGEST = 25  # side of a kernel
_EQUAL = (1 / 3, 1 / 3, 1 / 3)  # odds of area, linear, cubic
_FIRST_REDUCTION, _LAST_REDUCTION = 2, 3  # of the six steps, numbers 0 ... 5


def build(
    *, scale: int, halved: float = 0.25, noise: tuple[int, int] = (2, 25), jpeg: tuple[int, int] = (30, 95),
    early_jpeg: float = 0.9,
) -> _ops.Degrade:  # fmt: skip
    """Maps HR `[B, H, W, C]` in [0, 1] and seeds `[B, 2]` to LR in [0, 1] and the unchanged HR.

    Pairs are (low, high): `noise` are whole standard deviations of the Gaussian noise (of 255), `jpeg` qualities of
    JPEG. `halved` is the chance of a halving before all else, at scale 4 alone, and `early_jpeg` that of a JPEG before
    the last one. Raises `ValueError` for a value out of order or bounds.
    """
    _ops.check_range("noise", noise, 0, 255)
    _ops.check_range("jpeg", jpeg, 1, 100)
    _ops.check_chance("halved", halved)
    _ops.check_chance("early_jpeg", early_jpeg)

    def sample(hr: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seed, seed_of_order, seed_of_half, *seeds = split(seed, 9)
        is_halved, drawn_quality = uniforms(seed, 2)
        x, left = hr, tf.constant(scale)  # the factor that is left to be reduced by
        if scale == 4:
            x, left = tf.cond(is_halved < halved, lambda: (_halved(hr, seed_of_half), 2), lambda: (hr, 4))
        height, width = _ops.size_of(x)
        steps = [
            lambda x: _blurred(x, seeds[0], left),
            lambda x: _blurred(x, seeds[1], left),
            lambda x: _reduced(x, seeds[2], left),
            lambda x: _resized(x, seeds[3], height // left, width // left),
            lambda x: _noisy(x, seeds[4], noise),
            lambda x: _compressed(x, seeds[5], jpeg, early_jpeg),
        ]
        x = _in_order(steps, _order(seed_of_order), x)
        return _ops.jpeg(x, whole(drawn_quality, jpeg)), hr

    return _ops.per_sample(sample, scale)


def _order(seed: tf.Tensor) -> tf.Tensor:
    """Draws an order of the six steps, int32, in which the last reduction comes after the first."""
    order = tf.argsort(tf.random.stateless_uniform([6], seed))
    first, last = (tf.argmax(tf.equal(order, step)) for step in (_FIRST_REDUCTION, _LAST_REDUCTION))
    swapped = _FIRST_REDUCTION + _LAST_REDUCTION - order
    is_reduction = tf.equal(order, _FIRST_REDUCTION) | tf.equal(order, _LAST_REDUCTION)
    return tf.where(is_reduction & (first > last), swapped, order)


def _in_order(steps: Sequence[Callable[[tf.Tensor], tf.Tensor]], order: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Applies the steps in the order of their numbers; each is in the graph once."""
    any_size = (x.shape[0], None, None)

    def body(k: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.switch_case(order[k], [lambda step=step: step(x) for step in steps])
        return k + 1, tf.ensure_shape(x, any_size)

    shapes = (tf.TensorShape([]), tf.TensorShape(any_size))
    return tf.while_loop(lambda k, _: k < len(steps), body, (0, x), shape_invariants=shapes)[1]


def _halved(hr: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Halves both sides: by MATLAB's bicubic with antialiasing, or as often without it."""
    drawn_way, drawn_mode = uniforms(seed, 2)
    _, height, width = hr.shape

    def antialiased() -> tf.Tensor:
        rows, columns = (tf.constant(resize.matrix(length, 0.5), tf.float32) for length in (height, width))
        return tf.matmul(tf.matmul(rows, hr), columns, transpose_b=True)

    def plain() -> tf.Tensor:
        return _ops.resize(hr, height // 2, width // 2, choice(drawn_mode, _EQUAL))

    return tf.clip_by_value(tf.cond(drawn_way < 0.5, plain, antialiased), 0.0, 1.0)


def _blurred(x: tf.Tensor, seed: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
    """Blurs by a Gaussian of 7, 9 ... 25 pixels, isotropic as often as not."""
    drawn_size, drawn_kind, drawn_angle, drawn_spread, drawn_other = uniforms(seed, 5)
    factor = tf.cast(left, tf.float32)
    sigma = (2.0 + 0.2 * factor) * drawn_spread
    round_variances = tf.stack([tf.square(sigma), tf.square(sigma)])
    variances = (4.0 + factor) * tf.stack([drawn_spread, drawn_other])
    first, second = tf.unstack(tf.where(drawn_kind < 0.5, variances, round_variances))
    size = 2 * whole(drawn_size, (2, 11)) + 3
    return _ops.blur(x, _kernels.gaussian((first, second), math.pi * drawn_angle, size, _LARGEST))


def _reduced(x: tf.Tensor, seed: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
    """Resizes by any factor down to half of what is left, or takes every so many pixel after a blur."""
    drawn_way, drawn_factor, drawn_mode, drawn_sigma = uniforms(seed, 4)
    factor = tf.cast(left, tf.float32)

    def resized() -> tf.Tensor:
        shrunk = 1.0 / (1.0 + (2.0 * factor - 1.0) * drawn_factor)
        height, width = (_ops.times(length, shrunk) for length in _ops.size_of(x))
        return _ops.resize(x, height, width, choice(drawn_mode, _EQUAL))

    def taken() -> tf.Tensor:
        return _ops.blur(x, _shifted_kernel(0.1 + (0.6 * factor - 0.1) * drawn_sigma, left))[:, ::left, ::left]

    return tf.clip_by_value(tf.cond(drawn_way < 0.75, resized, taken), 0.0, 1.0)


def _shifted_kernel(sigma: tf.Tensor, left: tf.Tensor) -> tf.Tensor:
    """Makes a Gaussian `[25, 25]` that brings the middle of `left` x `left` pixels to the first of them.

    That lies between pixels where `left` is even: the kernel is then interpolated linearly there.
    """
    reach = _LARGEST // 2
    taps = tf.exp(-0.5 * tf.square(tf.range(-reach, reach + 1.0) / sigma))
    low, high = (tf.minimum(tf.range(_LARGEST) + shift, _LARGEST - 1) for shift in ((left - 1) // 2, left // 2))
    taps = tf.gather(taps, low) + tf.gather(taps, high)
    taps /= tf.reduce_sum(taps)
    return taps[:, None] * taps


def _resized(x: tf.Tensor, seed: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    (drawn_mode,) = uniforms(seed, 1)
    return tf.clip_by_value(_ops.resize(x, height, width, choice(drawn_mode, _EQUAL)), 0.0, 1.0)


def _noisy(x: tf.Tensor, seed: tf.Tensor, noise: Range) -> tf.Tensor:
    """Adds Gaussian noise: of each channel its own, of all the same, or of correlated channels."""
    seed, seed_of_noise = split(seed, 2)
    drawn_kind, drawn_level = uniforms(seed, 2)
    kind = choice(drawn_kind, (0.4, 0.4, 0.2))
    added = tf.cond(
        tf.equal(kind, 2),
        lambda: _correlated(x, seed_of_noise) * (noise[1] * UNIT),
        lambda: (
            _noise.gaussian(x, seed_of_noise, tf.equal(kind, 1))
            * (tf.cast(whole(drawn_level, noise), tf.float32) * UNIT)
        ),
    )
    return tf.clip_by_value(x + added, 0.0, 1.0)


def _correlated(x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws noise `[C, H, W]` of mean 0 whose channels have random variances below 1 and covariances, none negative."""
    seed_of_turn, seed_of_variances, seed = split(seed, 3)
    turn = tf.linalg.svd(tf.random.stateless_uniform([3, 3], seed_of_turn))[1]
    covariance = tf.abs(
        tf.matmul(turn, tf.random.stateless_uniform([3, 1], seed_of_variances) * turn, transpose_a=True)
    )
    variances, axes = tf.linalg.eigh(covariance)
    mixing = (axes * tf.sqrt(tf.maximum(variances, 0.0)))[: x.shape[0]]
    height, width = _ops.size_of(x)
    return tf.tensordot(mixing, tf.random.stateless_normal(tf.stack([3, height, width]), seed), 1)


def _compressed(x: tf.Tensor, seed: tf.Tensor, jpeg: Range, chance: float) -> tf.Tensor:
    is_compressed, drawn_quality = uniforms(seed, 2)
    return tf.cond(is_compressed < chance, lambda: _ops.jpeg(x, whole(drawn_quality, jpeg)), lambda: x)
