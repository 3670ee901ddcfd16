"""What the degradations are made of, against OpenCV, SciPy and formulas."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from sr_keras.degradations import _kernels, _noise, _ops

RANDOM = np.random.default_rng(0)


def seeds(count):
    return [tf.constant([7, k]) for k in range(count)]


def traced(function):
    return tf.function(function, autograph=False)


def smooth(height, width):
    """A picture `[3, H, W]` with edges of all strengths."""
    picture = cv2.resize(RANDOM.random((12, 12, 3), np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.GaussianBlur(picture, (0, 0), 2.0).transpose(2, 0, 1)


def by_opencv(function, x, *arguments, **options):
    """Calls a function of OpenCV, which wants `[H, W, C]`, on `[C, H, W]`."""
    return function(np.ascontiguousarray(np.transpose(x, (1, 2, 0))), *arguments, **options).transpose(2, 0, 1)


# Draws


def test_seeds_split_from_one_differ():
    split = [tuple(seed.numpy()) for k in range(20) for seed in _ops.split(tf.constant([0, k]), 9)]
    assert len(set(split)) == len(split)


def test_odds_become_shares():
    shares = np.bincount(
        [int(_ops.choice(tf.constant(u, tf.float32), (0.2, 0.7, 0.1))) for u in (np.arange(100) + 0.5) / 100]
    )
    assert shares.tolist() == [20, 70, 10]


def test_whole_numbers_reach_both_ends_and_no_further():
    drawn = _ops.whole(tf.constant([0.0, 1.0 - 2.0**-23], tf.float32), (200, 255))
    assert drawn.numpy().tolist() == [200, 255]


# Kernels


@pytest.fixture(scope="module")
def kernels():
    draw = traced(lambda seed: (_kernels.blurring(seed, sigma=(0.2, 3.0)), _kernels.final_sinc(seed)))
    return np.array([draw(seed) for seed in seeds(300)])


def test_every_kernel_sums_to_one(kernels):
    np.testing.assert_allclose(kernels.sum(axis=(2, 3)), 1.0, atol=1e-5)


def test_every_kernel_is_symmetric_about_its_middle(kernels):
    np.testing.assert_allclose(kernels, kernels[:, :, ::-1, ::-1], atol=1e-6)


def test_a_tenth_of_the_kernels_are_sinc_filters(kernels):
    ringing = (kernels[:, 0] < 0).any(axis=(1, 2))
    assert 0.05 < ringing.mean() < 0.16


def test_kernels_have_all_sizes_as_often():
    draw = traced(lambda seed: _kernels.blurring(seed, sigma=(50.0, 60.0), sinc=0.0))  # so wide that no tap vanishes
    sizes, counts = np.unique([np.count_nonzero(draw(seed)[10]) for seed in seeds(300)], return_counts=True)
    assert sizes.tolist() == [7, 9, 11, 13, 15, 17, 19, 21]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_an_isotropic_gaussian_is_opencvs():
    taps = cv2.getGaussianKernel(13, 1.7)
    kernel = _kernels.gaussian((tf.constant(1.7**2), tf.constant(1.7**2)), 0.3, 13, 21)
    np.testing.assert_allclose(kernel[4:-4, 4:-4], taps @ taps.T, atol=1e-6)
    assert np.count_nonzero(kernel) == 13 * 13


def test_a_turned_gaussian_has_its_variances_along_its_axes():
    angle, places = 0.5, np.arange(-12, 13)
    kernel = _kernels.gaussian((tf.constant(6.0), tf.constant(2.0)), angle, 25, 25).numpy()
    rows, columns = np.meshgrid(places, places, indexing="ij")
    for turn, variance in ((0.0, 6.0), (np.pi / 2, 2.0)):
        along = columns * np.cos(angle + turn) + rows * np.sin(angle + turn)
        assert (kernel * along**2).sum() == pytest.approx(variance, rel=0.01)


def test_a_sinc_filter_is_the_disc_of_frequencies():
    radius = np.hypot(*np.mgrid[-6:7, -6:7])
    radius[6, 6] = 1e-9
    wanted = 1.9 * special.j1(1.9 * radius) / (2.0 * np.pi * radius)
    np.testing.assert_allclose(_kernels._sinc(tf.constant(1.9), 13)[4:-4, 4:-4], wanted / wanted.sum(), atol=1e-6)


@pytest.mark.parametrize(
    ("odds", "logarithm", "limits"),
    [
        ((0, 0, 1, 0, 0, 0), lambda kernel: np.log(-2.0 * np.log(kernel / kernel[0])), (0.5, 4.0)),
        ((0, 0, 0, 0, 1, 0), lambda kernel: np.log(kernel[0] / kernel - 1.0), (1.0, 2.0)),
    ],
    ids=["generalized", "plateau"],
)
def test_kernels_have_the_published_exponents(monkeypatch, odds, logarithm, limits):
    monkeypatch.setattr(_kernels, "ODDS", odds)
    draw = traced(lambda seed: _kernels.blurring(seed, sigma=(3.0, 3.0), sinc=0.0)[10, 10:14])
    with np.errstate(divide="ignore"):
        values = np.array([logarithm(draw(seed).numpy().astype(np.float64)) for seed in seeds(120)])
    exponents = (values[:, 3] - values[:, 1]) / (2.0 * np.log(3.0))  # kernel = f((r / sigma)^(2 * exponent))
    np.testing.assert_allclose(values[:, 1], -2.0 * np.log(3.0) * exponents, atol=2e-2)
    assert limits[0] - 1e-2 < exponents.min() and exponents.max() < limits[1] + 1e-2
    assert 0.35 < (exponents < 1.0 + 1e-3).mean() < 0.65  # the half below 1; plateaus start there


# Blur and resize


@pytest.mark.parametrize("size", [(40, 53), (5, 3), (1, 1)])
def test_blur_is_a_convolution_with_a_mirrored_border(size):
    x, kernel = smooth(*size), RANDOM.random((21, 21), np.float32) / 220
    wide = np.pad(x, ((0, 0), (20, 20), (20, 20)), "reflect")
    wanted = by_opencv(cv2.filter2D, wide, -1, kernel[::-1, ::-1].copy())[:, 20:-20, 20:-20]
    np.testing.assert_allclose(_ops.blur(x, tf.constant(kernel)), wanted, atol=2e-6)


@pytest.mark.parametrize("size", [(23, 31), (37, 53), (55, 81), (1, 1), (74, 106)])
@pytest.mark.parametrize(
    ("mode", "flag"),
    [(_ops.AREA, cv2.INTER_AREA), (_ops.LINEAR, cv2.INTER_LINEAR), (_ops.CUBIC, cv2.INTER_CUBIC)],
    ids=["area", "linear", "cubic"],
)
def test_resize_is_opencvs(mode, flag, size):
    x = smooth(37, 53)
    wanted = by_opencv(cv2.resize, x, size[::-1], interpolation=flag)
    np.testing.assert_allclose(_ops.resize(x, *map(tf.constant, size), mode), wanted, atol=3e-6)


def test_area_averages_blocks():
    x = smooth(24, 36)
    wanted = x.reshape(3, 6, 4, 9, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(_ops.resize(x, tf.constant(6), tf.constant(9), _ops.AREA), wanted, atol=1e-6)


# Noise


@pytest.mark.parametrize("power", range(9))
def test_the_tables_hold_the_poisson_distributions(power):
    rates, cells = np.arange(256) / 255.0 * 2.0**power, _noise._CELLS[power]
    table = _noise._alias_table(rates, cells).astype(np.int64)
    share, other = (table >> _noise._OUTCOME_BITS) / 2.0**_noise._SHARE_BITS, table & (2**_noise._OUTCOME_BITS - 1)
    found = share / cells
    for row in range(256):
        found[row] += np.bincount(other[row], (1.0 - share[row]) / cells, minlength=cells)
    np.testing.assert_allclose(found, stats.poisson.pmf(np.arange(cells), rates[:, None]), rtol=0, atol=3e-8)


@pytest.mark.parametrize(("level", "power"), [(255, 8), (100, 8), (128, 7), (60, 5), (200, 2), (9, 4)])
def test_draws_follow_the_poisson_distribution(level, power):
    count, rate = 200_000, level / 255.0 * 2.0**power
    drawn = _noise.poisson(tf.fill([count], float(level)), tf.constant(power), tf.constant([3, 4])).numpy()
    assert drawn.mean() == pytest.approx(rate, abs=5.0 * np.sqrt(rate / count))
    assert drawn.var() == pytest.approx(rate, abs=5.0 * np.sqrt((rate + 2.0 * rate**2) / count))
    outcomes = np.arange(drawn.max() + 2)
    wanted = count * stats.poisson.pmf(outcomes, rate)
    often = wanted > 10.0
    seen, wanted = np.bincount(drawn, minlength=len(outcomes))[often], wanted[often]
    assert stats.chisquare([*seen, count - seen.sum()], [*wanted, count - wanted.sum()]).pvalue > 1e-3


def test_black_has_no_poisson_noise():
    assert not _noise.poisson(tf.zeros([10_000]), tf.constant(8), tf.constant([3, 4])).numpy().any()


@pytest.mark.parametrize(("different", "power"), [(1, 0), (2, 1), (3, 2), (128, 7), (129, 8), (256, 8)])
def test_the_rate_follows_the_number_of_levels(different, power):
    levels = np.repeat(RANDOM.permutation(256)[:different], 3).astype(np.float32)
    assert int(_noise._power(tf.constant(levels))) == power


def test_poisson_noise_has_the_published_variance():
    x = np.repeat(np.arange(256.0), 3 * 400).reshape(3, 320, 320).astype(np.float32) / 255.0
    noise = _noise.poisson_noise(tf.constant(x), tf.constant([1, 2]), tf.constant(False)).numpy()
    assert noise.mean() == pytest.approx(0.0, abs=5.0 * np.sqrt(0.5 / 256 / noise.size))
    assert (noise**2 * 256 - x).mean() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("kind", [_noise.gaussian, _noise.poisson_noise])
def test_grey_noise_is_one_for_all_channels(kind):
    x = tf.constant(smooth(20, 30))
    assert kind(x, tf.constant([1, 2]), tf.constant(True)).shape == (1, 20, 30)
    colours = kind(x, tf.constant([1, 2]), tf.constant(False)).numpy().reshape(3, -1)
    assert abs(np.corrcoef(colours) - np.eye(3)).max() < 0.2


def test_grey_poisson_noise_is_that_of_the_luma():
    x = np.zeros((3, 300, 300), np.float32)
    x[1] = 1.0  # luma 0.587, 150 of 255; one level, so the rate is that itself
    noise = _noise.poisson_noise(tf.constant(x), tf.constant([1, 2]), tf.constant(True)).numpy()
    assert noise.var() == pytest.approx(150 / 255, rel=0.05)
    assert noise.min() == pytest.approx(-150 / 255)


# JPEG and sharpening


@pytest.mark.parametrize("quality", [30, 60, 95])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_opencvs(quality, channels):
    x = smooth(53, 70)[:channels]
    pixels = np.ascontiguousarray(np.rint(x * 255.0).astype(np.uint8).transpose(1, 2, 0)[..., ::-1])
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    wanted = cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(pixels.shape)[..., ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(np.rint(_ops.jpeg(x, tf.constant(quality)) * 255.0), wanted)


def test_a_lower_quality_is_further_off():
    x = smooth(64, 64)
    errors = [np.abs(_ops.jpeg(x, tf.constant(quality)) - x).mean() for quality in (95, 60, 30)]
    assert errors == sorted(errors) and errors[0] < errors[2] / 2


@pytest.mark.parametrize("size", [(80, 90), (16, 24)])
def test_sharpening_is_opencvs(size):
    x = smooth(*size)
    wide = np.pad(x, ((0, 0), (50, 50), (50, 50)), "reflect")  # OpenCV mirrors a small picture's border but once
    blurred = by_opencv(cv2.GaussianBlur, wide, (51, 51), 0)[:, 50:-50, 50:-50]
    detail = x - blurred
    mask = (np.abs(detail) * 255.0 > 10.0).astype(np.float32)
    mask = np.pad(mask, ((0, 0), (50, 50), (50, 50)), "reflect")
    mask = by_opencv(cv2.GaussianBlur, mask, (51, 51), 0)[:, 50:-50, 50:-50]
    wanted = mask * np.clip(x + 0.5 * detail, 0.0, 1.0) + (1.0 - mask) * x
    np.testing.assert_allclose(_ops.sharpen(tf.constant(x)), wanted, atol=1e-4)
    assert np.abs(wanted - x).max() > 0.05
