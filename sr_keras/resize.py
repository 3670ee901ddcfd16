"""MATLAB's imresize: in float64 numpy (the reference), and in the TensorFlow graph with the same uint8 numbers.

For uint8 input MATLAB resizes rows first and rounds and clips the picture between its two passes. The border is
clamped. This equals the LR files of Set5 and Set14 to the last bit (tests/test_resize.py). The cubic kernel is Keys'
(1981) with a = -0.5; when reducing, every kernel is stretched by the factor (antialiasing).
"""

import functools
import math
from collections.abc import Callable, Iterator

import numpy as np

from sr_keras import image
from sr_keras.rows import Rows

_CHUNK, _CACHED = 1 << 20, 1 << 16  # values that are taken at once from a stream; that stay in a processor's cache


def _nearest(x: np.ndarray) -> np.ndarray:
    return ((x >= -0.5) & (x < 0.5)).astype(np.float64)


def _bilinear(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _bicubic(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1.0, near, np.where(x <= 2.0, far, 0.0))


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


# name: (kernel, width)
KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "nearest": (_nearest, 1.0),
    "bilinear": (_bilinear, 2.0),
    "bicubic": (_bicubic, 4.0),
    "lanczos": (_lanczos, 6.0),
}


def imresize(pixels: np.ndarray, scale: float, *, method: str = "bicubic") -> np.ndarray:
    """Resizes `[H, W, C]` to `[ceil(H*scale), ceil(W*scale), C]`, as MATLAB's `imresize(A, scale)`.

    uint8 pixels give uint8, rounded after each pass; float pixels give float64, not clipped.
    """
    rounded = pixels.dtype == np.uint8
    out = pixels.astype(np.float64)
    for axis in (0, 1):
        indices, weights = taps(pixels.shape[axis], scale, method)
        moved = np.moveaxis(out, axis, 0)
        total = np.zeros((len(indices), *moved.shape[1:]))
        for tap in range(indices.shape[1]):
            total += weights[:, tap].reshape(-1, 1, 1) * moved[indices[:, tap]]
        out = np.moveaxis(total, 0, axis)
        if rounded:
            out = np.clip(np.floor(out + 0.5), 0.0, 255.0)
    return out.astype(np.uint8) if rounded else out


def resized(pixels: np.ndarray, height: int, width: int, *, method: str = "bicubic") -> np.ndarray:
    """Resizes float32 `[H, W, C]` to `[height, width, C]` like `imresize`, fast, in float32 and not clipped.

    Every value is summed in one order whatever the picture's size, so a part gives the numbers of the whole.
    """
    return _along_rows(_along_columns(pixels, height, method), width, method)


def resized_rows(rows: Rows, height: int, width: int, *, method: str = "bicubic") -> Rows:
    """Returns a stream resized to `[height, width, C]`: float32 in [0, 1], unclipped, the type of imresize's result.

    Holds no more of the picture than the kernel spans. uint8 and uint16 pixels are taken to [0, 1] first.
    """

    def bands() -> Iterator[np.ndarray]:
        indices, weights = taps(rows.height, height / rows.height, method)
        lines = max(_CHUNK // (rows.width * rows.channels), 1)
        end = 0
        for top in range(0, height, lines):
            wanted = indices[top : top + lines]
            first, end = min(int(wanted.min()), end), max(int(wanted.max()) + 1, end)
            source = image.to_float(rows.take(first, end))
            yield _along_rows(_weighed(source, wanted - first, weights[top : top + lines]), width, method)

    return Rows(bands(), height, width, rows.channels, np.float32)


def _along_columns(pixels: np.ndarray, height: int, method: str) -> np.ndarray:
    if height == len(pixels):
        return pixels
    return _weighed(pixels, *taps(len(pixels), height / len(pixels), method))


def _along_rows(pixels: np.ndarray, width: int, method: str) -> np.ndarray:
    if width == pixels.shape[1]:
        return pixels
    return _along_columns(np.ascontiguousarray(pixels.swapaxes(0, 1)), width, method).swapaxes(0, 1)


def _weighed(pixels: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    weights = np.round(weights, 9).astype(np.float32)  # the same at every place, whatever the rounding of its centre
    total = np.zeros((len(indices), *pixels.shape[1:]), np.float32)
    lines = max(_CACHED // max(int(np.prod(pixels.shape[1:])), 1), 1)
    for top in range(0, len(indices), lines):
        block = slice(top, top + lines)
        for tap in range(indices.shape[1]):
            total[block] += weights[block, tap].reshape(-1, 1, 1) * pixels[indices[block, tap]]
    return total


@functools.lru_cache(maxsize=64)
def taps(length: int, scale: float, method: str = "bicubic") -> tuple[np.ndarray, np.ndarray]:
    """Returns, for one axis, the input indices and the weights of each output sample: `[ceil(length*scale), taps]`."""
    kernel, width = KERNELS[method]
    stretch = min(scale, 1.0) if method != "nearest" else 1.0
    centre = (np.arange(math.ceil(length * scale - 1e-9)) + 0.5) / scale - 0.5
    first = np.floor(centre - width / stretch / 2.0)
    indices = first[:, None] + np.arange(math.ceil(width / stretch) + 2)
    weights = kernel((centre[:, None] - indices) * stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0.0, axis=0)
    return np.clip(indices[:, used], 0, length - 1).astype(np.int64), weights[:, used]


def matrix(length: int, scale: float, method: str = "bicubic") -> np.ndarray:
    """Returns one axis' resizing as a matrix `[ceil(length*scale), length]` in float64, for fixed sizes in a graph."""
    indices, weights = taps(length, scale, method)
    dense = np.zeros((len(indices), length))
    np.add.at(dense, (np.arange(len(indices))[:, None], indices), weights)
    return dense


def reducer(height: int, width: int, channels: int, scale: int) -> Callable:
    """Builds the in-graph reduction of uint8-valued pictures of one size, equal to `imresize(hr, 1 / scale)`.

    The returned function maps a float32 tensor `[B, height, width, channels]` of whole numbers in [0, 255] to
    `[B, height/scale, width/scale, channels]`, again whole numbers. For an integer factor the cubic weights are
    fractions of one denominator (2 s^4, or 16 s^4 for even s): the products and sums of numerators are whole numbers
    below 2^24 up to scale 4, so float32 holds them exactly and no order of summation can change a rounding.
    Raises `ValueError` where a side is not a multiple of the scale.
    """
    import tensorflow as tf

    if height % scale or width % scale:
        raise ValueError(f"height and width must be multiples of {scale}, got {height}x{width}; crop first.")
    denominator = (2 if scale % 2 else 16) * scale**4
    rows = np.rint(matrix(height, 1 / scale) * denominator).astype(np.float32)
    columns = np.rint(matrix(width, 1 / scale) * denominator).astype(np.float32)
    columns = np.kron(columns.T, np.eye(channels, dtype=np.float32))
    low_height, low_width = height // scale, width // scale

    def to_pixels(total):
        return tf.clip_by_value(tf.floor((2.0 * total + denominator) / (2.0 * denominator)), 0.0, 255.0)

    def reduce(hr):
        x = tf.reshape(hr, (-1, height, width * channels))
        x = to_pixels(tf.matmul(tf.constant(rows), x))
        x = to_pixels(tf.matmul(tf.reshape(x, (-1, width * channels)), tf.constant(columns)))
        return tf.reshape(x, (-1, low_height, low_width, channels))

    return reduce
