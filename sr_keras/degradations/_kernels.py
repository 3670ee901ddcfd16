"""Blur kernels: Gaussians, generalised and plateau ones, sinc filters; `[K, K]` float32 that sum to 1.

The kinds and their chances are Real-ESRGAN's (Wang et al., 2021, https://arxiv.org/abs/2107.10833); the generalised
Gaussian is from Pascal et al. (2013), https://arxiv.org/abs/1302.6498. A kernel of varying size K lies in the middle of
a square of the largest one, so that shapes in the graph stay fixed.
"""

import math

import numpy as np
import tensorflow as tf

from sr_keras.degradations._ops import Range, between, choice, split, uniforms, whole

SIZE = 21  # of the square that holds Real-ESRGAN's kernels of 7, 9 ... 21 pixels
KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
ODDS = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
_GENERALIZED, _PLATEAU = (0.5, 4.0), (1.0, 2.0)  # exponents
_LEAST_VARIANCE = 1e-6  # below it, a kernel is one pixel all the same, and a division by 0 is near


def gaussian(
    variances: tuple[tf.Tensor, tf.Tensor], angle: tf.Tensor | float, size: tf.Tensor, largest: int
) -> tf.Tensor:
    """Makes a Gaussian of two variances in pixels^2, its first axis turned by `angle` radians; `[largest, largest]`."""
    return _normalized(tf.exp(-0.5 * _distance(variances, angle, largest)), size)


def blurring(seed: tf.Tensor, *, sigma: Range, sinc: float = 0.1) -> tf.Tensor:
    """Draws one of Real-ESRGAN's blur kernels `[21, 21]`: a sinc filter with probability `sinc`, else one of KINDS.

    `sigma` is the range of standard deviations in pixels.
    """
    seed, seed_of_kind = split(seed, 2)
    is_sinc, drawn_size, drawn_cutoff = uniforms(seed, 3)
    size = _size(drawn_size)
    lowest = tf.where(size < 13, math.pi / 3, math.pi / 5)
    cutoff = lowest + (math.pi - lowest) * drawn_cutoff
    return tf.cond(is_sinc < sinc, lambda: _sinc(cutoff, size), lambda: _mixed(seed_of_kind, size, sigma))


def final_sinc(seed: tf.Tensor) -> tf.Tensor:
    """Draws a sinc filter `[21, 21]` with a cutoff of pi/3 ... pi radians a pixel: ringing, as after sharpening."""
    drawn_size, drawn_cutoff = uniforms(seed, 2)
    return _sinc(between(drawn_cutoff, (math.pi / 3, math.pi)), _size(drawn_size))


def _size(drawn: tf.Tensor) -> tf.Tensor:
    return 2 * whole(drawn, (3, 10)) + 1


def _mixed(seed: tf.Tensor, size: tf.Tensor, sigma: Range) -> tf.Tensor:
    drawn_kind, drawn_sigma, drawn_other, drawn_angle, drawn_side, drawn_exponent = uniforms(seed, 6)
    kind = choice(drawn_kind, ODDS)
    shape = kind // 2  # Gaussian, generalised, plateau
    first = tf.square(between(drawn_sigma, sigma))
    second = tf.where(kind % 2 == 0, first, tf.square(between(drawn_other, sigma)))
    low, high = (tf.gather([1.0, *pair], shape) for pair in zip(_GENERALIZED, _PLATEAU, strict=True))
    exponent = tf.where(drawn_side < 0.5, low + (1.0 - low) * drawn_exponent, 1.0 + (high - 1.0) * drawn_exponent)
    power = _distance((first, second), between(drawn_angle, (-math.pi, math.pi)), SIZE) ** exponent
    return _normalized(tf.where(shape == 2, tf.math.reciprocal(1.0 + power), tf.exp(-0.5 * power)), size)


def _sinc(cutoff: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Makes the low-pass filter that keeps the frequencies below `cutoff` radians a pixel, in all directions alike."""
    rows, columns = _grid(SIZE)
    radius = np.hypot(rows, columns)
    radius[SIZE // 2, SIZE // 2] = 1.0  # whose value is set below
    kernel = cutoff * tf.math.special.bessel_j1(cutoff * radius) * (0.5 / math.pi / radius)
    return _normalized(tf.where(rows**2 + columns**2 == 0.0, tf.square(cutoff) * (0.25 / math.pi), kernel), size)


def _distance(variances: tuple[tf.Tensor, tf.Tensor], angle: tf.Tensor | float, largest: int) -> tf.Tensor:
    """Returns the squared Mahalanobis distance of each pixel to the middle."""
    rows, columns = _grid(largest)
    first, second = (tf.maximum(variance, _LEAST_VARIANCE) for variance in variances)
    along = columns * tf.cos(angle) + rows * tf.sin(angle)
    across = rows * tf.cos(angle) - columns * tf.sin(angle)
    return tf.square(along) / first + tf.square(across) / second


def _normalized(kernel: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Cuts a kernel to its middle `size` pixels, zeros around, and brings its sum to 1."""
    rows, columns = _grid(kernel.shape[0])
    inside = 2 * tf.cast(np.maximum(abs(rows), abs(columns)), tf.int32) < size
    kernel = tf.where(inside, kernel, 0.0)
    return kernel / tf.reduce_sum(kernel)


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns each pixel's row and column, counted from the middle."""
    places = np.arange(size, dtype=np.float32) - size // 2
    rows, columns = np.meshgrid(places, places, indexing="ij")
    return rows, columns
