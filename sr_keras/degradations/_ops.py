"""What the degradations share: draws, one sample after another, blur, resize, JPEG, sharpening, the last rounding.

Inside, a picture is `[C, H, W]` in [0, 1]: Fourier transforms and matrix products work on its last two axes. A seed
`[2]` is used once: it is either split into others or drawn from, so no two draws share their random bits.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

Range = tuple[float, float]
Degrade = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

AREA, LINEAR, CUBIC = range(3)  # modes of `resize`
UNIT = 1.0 / 255.0  # a factor: the graph's optimizer replaces divisions by it, with other last bits than eagerly
_A = -0.75  # of Keys' cubic kernel, as OpenCV and PyTorch choose it
# The weights of the pixels -1, 0, 1, 2 where the centre lies t behind pixel 0: factors of 1, t, t^2, t^3, a row each.
_WEIGHTS = np.array(
    [
        [[0, 1, 0, 0], [0, -1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[0, 1, 0, 0], [_A, 0, -_A, 0], [-2 * _A, -_A - 3, 2 * _A + 3, _A], [_A, _A + 2, -_A - 2, -_A]],
    ],
    np.float32,
)

_SMOOTH = np.array(
    sorted(2**a * 3**b * 5**c for a, b, c in itertools.product(range(17), range(11), range(8))), np.int64
)
_SMOOTH = _SMOOTH[_SMOOTH <= 2**16].astype(np.int32)


def per_sample(sample: Degrade, scale: int) -> Degrade:
    """Makes the degradation of batches from that of one picture: `[C, H, W]` and `[2]` to LR and target.

    Every sample has its own sizes and kernels, and none shares a sum with its neighbours, so the same picture and seed
    give the same pixels in any batch. What it makes raises `ValueError` for sides that are no multiples of `scale`.
    """

    def one(pair: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        hr, seed = pair
        lr, target = sample(tf.transpose(hr, (2, 0, 1)), seed)
        return tf.transpose(lr, (1, 2, 0)), tf.transpose(target, (1, 2, 0))

    @tf.autograph.experimental.do_not_convert  # no control flow of Python's here; tracing takes 1 s, not 3
    def degrade(hr: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        hr, seed = tf.convert_to_tensor(hr), tf.convert_to_tensor(seed)
        batch, height, width, channels = hr.shape
        if height % scale or width % scale:
            raise ValueError(f"height and width must be multiples of {scale}, got {height}x{width}; crop first.")
        picture = tf.TensorSpec([None, None, channels], tf.float32)
        lr, target = tf.map_fn(one, (hr, seed), fn_output_signature=(picture, picture))
        lr = tf.ensure_shape(lr, (batch, height // scale, width // scale, channels))
        return lr, tf.ensure_shape(target, hr.shape)

    return degrade


def check_range(name: str, limits: Range, least: float, most: float) -> None:
    """Raises `ValueError` unless `limits` are a low and a high value, in order, within [least, most]."""
    low, high = limits
    if not least <= low <= high <= most:
        raise ValueError(f"{name} must be two values, the low one first, within {least} ... {most}, got {limits}.")


def check_chance(name: str, chance: float) -> None:
    """Raises `ValueError` unless `chance` lies in [0, 1]."""
    if not 0 <= chance <= 1:
        raise ValueError(f"{name} must be a probability within 0 ... 1, got {chance}.")


def split(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Makes `count` seeds `[2]` of one."""
    return tf.unstack(tf.random.split(seed, count), num=count)


def uniforms(seed: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Draws `count` numbers in [0, 1)."""
    return tf.unstack(tf.random.stateless_uniform([count], seed), num=count)


def between(drawn: tf.Tensor, limits: Range) -> tf.Tensor:
    """Takes a number drawn from [0, 1) to [low, high)."""
    low, high = limits
    return low + (high - low) * drawn


def whole(drawn: tf.Tensor, limits: Range) -> tf.Tensor:
    """Takes a number drawn from [0, 1) to the whole numbers low ... high, int32, each equally often."""
    low, high = limits
    return tf.minimum(tf.cast(tf.floor(low + (high - low + 1) * drawn), tf.int32), high)  # the sum may round up


def choice(drawn: tf.Tensor, odds: Sequence[float]) -> tf.Tensor:
    """Takes a number drawn from [0, 1) to an index, int32; `odds` sum to 1."""
    return tf.reduce_sum(tf.cast(drawn >= tf.constant(np.cumsum(odds)[:-1], tf.float32), tf.int32))


def size_of(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns height and width of `[C, H, W]`, int32."""
    _, height, width = tf.unstack(tf.shape(x), num=3)
    return height, width


def times(length: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns a side of `length` times `factor`, rounded down, at least 1, int32."""
    return tf.maximum(tf.cast(tf.floor(tf.cast(length, tf.float32) * factor), tf.int32), 1)


def blur(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolves `[C, H, W]` with an odd kernel `[K, K]`; the border is mirrored, its pixels not repeated.

    By Fourier transform: 256x256x3 with 21x21 takes 4 ms, a depthwise convolution 15. What its wrapping around spoils
    are the first K - 1 rows and columns.
    """
    height, width = size_of(x)
    spoilt = kernel.shape[0] - 1
    channels, x = x.shape[0], _mirrored(_mirrored(x, spoilt // 2, axis=1), spoilt // 2, axis=2)
    length = tf.gather(_SMOOTH, tf.searchsorted(_SMOOTH, tf.shape(x)[1:]))
    x = tf.raw_ops.IRFFT2D(input=_spectrum(x, length) * _spectrum(kernel[None], length), fft_length=length)
    return tf.ensure_shape(x[:, spoilt : spoilt + height, spoilt : spoilt + width], (channels, None, None))


def _spectrum(x: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Transforms `[C, H, W]`, filled up with zeros to the sides `length`; `tf.signal` takes 60 nodes there and back."""
    missing = tf.concat([[0], length - tf.shape(x)[1:]], 0)
    return tf.raw_ops.RFFT2D(input=tf.pad(x, tf.stack([[0, 0, 0], missing], 1)), fft_length=length)


def _mirrored(x: tf.Tensor, reach: int, *, axis: int) -> tf.Tensor:
    """Enlarges by `reach` on both sides; unlike `tf.pad`, also where that is more than the picture's own side."""
    length = tf.shape(x)[axis]
    period = tf.maximum(2 * length - 2, 1)
    beyond = tf.math.floormod(tf.concat([tf.range(-reach, 0), length + tf.range(reach)], 0), period)
    before, after = tf.split(tf.gather(x, tf.minimum(beyond, period - beyond), axis=axis), 2, axis)
    return tf.concat([before, x, after], axis)


def resize(x: tf.Tensor, height: tf.Tensor, width: tf.Tensor, mode: tf.Tensor) -> tf.Tensor:
    """Resizes `[C, H, W]` to `[C, height, width]` without antialiasing, by the rules of OpenCV and PyTorch.

    `mode` is AREA (the mean of what a pixel covers), LINEAR or CUBIC (a = -0.75); half-pixel centres, border repeated.
    """
    old_height, old_width = size_of(x)
    rows, columns = tf.cond(
        tf.equal(mode, AREA),
        lambda: (_area(old_height, height), _area(old_width, width)),
        lambda: (_interpolation(old_height, height, mode), _interpolation(old_width, width, mode)),
    )
    return tf.matmul(tf.matmul(rows, x), columns, transpose_b=True)


def _area(length: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """Returns the weights `[new, length]` of the mean over what a new pixel covers."""
    step = length / new  # float64, as float32 is off by 1e-4 of a pixel at 1000 pixels
    edges = step * tf.range(new + 1, dtype=tf.float64)
    covered = tf.clip_by_value(edges[:, None] - tf.range(length, dtype=tf.float64), 0.0, 1.0)
    return tf.cast((covered[1:] - covered[:-1]) / step, tf.float32)


def _interpolation(length: tf.Tensor, new: tf.Tensor, mode: tf.Tensor) -> tf.Tensor:
    """Returns the weights `[new, length]` of the four pixels around a new one's centre."""
    centre = (tf.range(new, dtype=tf.float64) + 0.5) * (length / new) - 0.5
    before = tf.floor(centre)
    powers = tf.cast(centre - before, tf.float32)[:, None] ** tf.range(4.0)
    columns = tf.clip_by_value(tf.cast(before, tf.int32)[:, None] + tf.range(-1, 3), 0, length - 1)
    rows = tf.zeros_like(columns) + tf.range(new)[:, None]
    weights = tf.matmul(powers, tf.gather(_WEIGHTS, mode - LINEAR))
    return tf.scatter_nd(tf.stack([rows, columns], 2), weights, tf.stack([new, length]))


def to_8_bits(x: tf.Tensor) -> tf.Tensor:
    """Clips to [0, 1] and rounds to the whole numbers 0 ... 255, still float32."""
    return tf.round(tf.clip_by_value(x, 0.0, 1.0) * 255.0)


def jpeg(x: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """Compresses and decompresses `[C, H, W]` at a quality of 1 ... 100, int32; chroma at half the resolution.

    The pixels are OpenCV's. The decoder's default method would take 1/255 off red and blue each time.
    """
    channels = x.shape[0]
    pixels = tf.transpose(tf.cast(to_8_bits(x), tf.uint8), (1, 2, 0))
    data = tf.raw_ops.EncodeJpegVariableQuality(images=pixels, quality=quality)
    pixels = tf.io.decode_jpeg(data, channels=channels, dct_method="INTEGER_ACCURATE")
    return tf.transpose(tf.cast(pixels, tf.float32), (2, 0, 1)) * UNIT


def sharpen(x: tf.Tensor) -> tf.Tensor:
    """Applies the unsharp mask of Real-ESRGAN's targets (Wang et al., 2021): weight 0.5 where it changes the picture.

    The Gaussian is 51x51 of sigma 8 pixels; only differences above 10/255 count, and the mask of them is blurred, too.
    """
    taps = np.exp(-0.5 * (np.arange(-25, 26) / 8.0) ** 2)
    kernel = tf.constant(np.outer(taps, taps) / taps.sum() ** 2, tf.float32)
    detail = x - blur(x, kernel)
    mask = blur(tf.cast(tf.abs(detail) * 255.0 > 10.0, tf.float32), kernel)
    mask = tf.clip_by_value(mask, 0.0, 1.0)
    return x + mask * (tf.clip_by_value(x + 0.5 * detail, 0.0, 1.0) - x)
