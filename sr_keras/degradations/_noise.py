"""Noise: Gaussian, and Poisson (shot) noise drawn from tables. A picture is `[C, H, W]` in [0, 1]; nothing is clipped.

Poisson noise is Real-ESRGAN's (Wang et al., 2021). Its rates are whole 8-bit levels times a power of two over 255, of
which there are few, so each has a table that Walker's alias method (1974) draws from: one random number and one look-up
a value, 4 times as fast as `tf.random.stateless_poisson`.
"""

import functools

import numpy as np
import tensorflow as tf

from sr_keras.degradations._ops import UNIT, Range, between, size_of, split, to_8_bits, uniforms

LUMA = (0.299, 0.587, 0.114)  # of RGB (ITU-R BT.601)

_CELLS = (16, 32, 32, 64, 64, 128, 128, 256, 512)  # outcomes 0, 1 ... of rates up to 2^k; the rest has less than 1e-11
_OUTCOME_BITS = 9
_SHARE_BITS = 31 - _OUTCOME_BITS


def gaussian_or_poisson(x: tf.Tensor, seed: tf.Tensor, *, sigma: Range, poisson: Range, grey: float) -> tf.Tensor:
    """Adds Gaussian noise of `sigma` / 255, or as often Poisson noise times `poisson`; `grey` is the chance of grey."""
    seed, seed_of_noise = split(seed, 2)
    is_gaussian, drawn_strength, drawn_grey = uniforms(seed, 3)
    is_grey = drawn_grey < grey
    noise = tf.cond(
        is_gaussian < 0.5,
        lambda: gaussian(x, seed_of_noise, is_grey) * (between(drawn_strength, sigma) * UNIT),
        lambda: poisson_noise(x, seed_of_noise, is_grey) * between(drawn_strength, poisson),
    )
    return tf.ensure_shape(x + noise, (x.shape[0], None, None))


def gaussian(x: tf.Tensor, seed: tf.Tensor, is_grey: tf.Tensor) -> tf.Tensor:
    """Draws noise of mean 0 and variance 1 for `[C, H, W]`: one channel for all, `[1, H, W]`, where it is grey."""
    height, width = size_of(x)
    channels = tf.where(is_grey, 1, x.shape[0])
    return tf.random.stateless_normal(tf.stack([channels, height, width]), seed)


def poisson_noise(x: tf.Tensor, seed: tf.Tensor, is_grey: tf.Tensor) -> tf.Tensor:
    """Draws the shot noise of a picture of 8 bits, of its luma where it is grey; `[C, H, W]` or `[1, H, W]`.

    With v the number of its different values, raised to a power of two, a value p has noise Poisson(p*v)/v - p.
    """
    levels = tf.cond(is_grey, lambda: to_8_bits(_luma(x)), lambda: to_8_bits(x))
    power = _power(levels)
    counts = poisson(levels, power, seed)
    return tf.cast(counts, tf.float32) / tf.cast(tf.bitwise.left_shift(1, power), tf.float32) - levels * UNIT


def _luma(x: tf.Tensor) -> tf.Tensor:
    if x.shape[0] == 1:
        return x
    return tf.tensordot(tf.constant([LUMA]), x, 1)


def _power(levels: tf.Tensor) -> tf.Tensor:
    """Returns k, int32: the smallest power of two that is no less than the number of different levels is 2^k."""
    present = tf.math.bincount(tf.reshape(tf.cast(levels, tf.int32), [-1]), minlength=256, maxlength=256) > 0
    different = tf.reduce_sum(tf.cast(present, tf.int32))
    return tf.reduce_sum(tf.cast(different > 2 ** np.arange(8), tf.int32))


def poisson(levels: tf.Tensor, power: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws from the Poisson distributions of rates `levels / 255 * 2^power`, int32; levels 0 ... 255, power 0 ... 8.

    A level's table has a cell for each outcome, which holds another one, too, and the share of its own. The lowest bits
    of a random number choose the cell, its highest the outcome.
    """
    starts, table = _tables()
    cells = tf.gather(_CELLS, power)
    bits = tf.random.stateless_uniform(tf.shape(levels), seed, None, None, tf.int32)
    own = tf.bitwise.bitwise_and(bits, cells - 1)
    entry = tf.gather(table, tf.gather(starts, power) + tf.cast(levels, tf.int32) * cells + own)
    share = tf.bitwise.right_shift(tf.bitwise.bitwise_and(bits, 2**31 - 1), _OUTCOME_BITS)
    other = tf.bitwise.bitwise_and(entry, 2**_OUTCOME_BITS - 1)
    return tf.where(share < tf.bitwise.right_shift(entry, _OUTCOME_BITS), own, other)


@functools.lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Returns where each power's table starts, and the tables (1.3 MB): share of the cell's own outcome, the other."""
    tables = [_alias_table(np.arange(256) / 255.0 * 2.0**power, cells) for power, cells in enumerate(_CELLS)]
    starts = np.cumsum([0, *(table.size for table in tables)])[:-1]
    return starts.astype(np.int32), np.concatenate([table.ravel() for table in tables])


def _alias_table(rates: np.ndarray, cells: int) -> np.ndarray:
    """Makes the tables `[rates, cells]`: again and again, the fullest cell of all fills up the emptiest one."""
    left = _probabilities(rates, cells) * cells  # a cell that is done holds 1, the mean
    share, other = np.ones_like(left), np.tile(np.arange(cells), (len(rates), 1))
    row = np.arange(len(rates))
    for _ in range(cells):
        poor, rich = left.argmin(axis=1), left.argmax(axis=1)
        more = left[row, poor] < 1.0 - 1e-12
        at, poor, rich = row[more], poor[more], rich[more]
        share[at, poor], other[at, poor] = left[at, poor], rich
        left[at, rich] -= 1.0 - left[at, poor]
        left[at, poor] = 1.0
    whole = np.minimum(np.rint(share * 2.0**_SHARE_BITS), 2.0**_SHARE_BITS - 1)  # a full cell's other is its own
    return (whole.astype(np.int64) << _OUTCOME_BITS | other).astype(np.int32)


def _probabilities(rates: np.ndarray, cells: int) -> np.ndarray:
    """Returns the Poisson probabilities of the outcomes 0, 1 ... `cells - 1` for each rate, brought to a sum of 1."""
    outcomes = np.arange(cells)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(outcomes[1:]))])
    logs = outcomes * np.log(np.maximum(rates, 1e-300))[:, None] - rates[:, None] - log_factorial
    probabilities = np.exp(logs)
    return probabilities / probabilities.sum(axis=1, keepdims=True)
