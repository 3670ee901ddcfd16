"""MATLAB's imresize: the files of Set5 and Set14, a direct formula, and the graph against the reference."""

import math

import numpy as np
import pytest
import tensorflow as tf

from sr_keras import embedded, image, resize

RANDOM = np.random.default_rng(0)
SCALES = [2, 3, 4]


def cubic(x):
    """Keys' kernel with a = -0.5, written out."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def line(values, scale):
    """Resizes one row of numbers by the definition: every input sample, weighted by the stretched kernel."""
    stretch = min(scale, 1.0)
    out = []
    for i in range(math.ceil(len(values) * scale)):
        centre = (i + 0.5) / scale - 0.5
        near = range(math.floor(centre - 2 / stretch) - 1, math.ceil(centre + 2 / stretch) + 2)
        weights = [cubic((centre - j) * stretch) for j in near]
        taken = [values[min(max(j, 0), len(values) - 1)] for j in near]
        out.append(sum(w * v for w, v in zip(weights, taken, strict=True)) / sum(weights))
    return np.array(out)


def half_up(x):
    return np.clip(np.floor(np.round(x, 9) + 0.5), 0, 255)


def direct(plane, scale):
    rows = half_up(np.stack([line(column, scale) for column in plane.T.astype(float)], axis=1))
    return half_up(np.stack([line(row, scale) for row in rows]))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_matlabs_files_are_met_to_the_last_bit(data_root, name, scale):
    folder = data_root / "eval" / name
    for path in image.listing(folder / "HR"):
        hr = image.crop_to_multiple(image.read(path), scale)
        lr = image.read(folder / f"LRbicx{scale}" / path.name)
        np.testing.assert_array_equal(resize.imresize(hr, 1 / scale), lr, err_msg=str(path))


@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4, 2, 3, 4])
def test_a_small_picture_is_what_the_formula_says(scale):
    plane = RANDOM.integers(0, 256, (24, 12)).astype(np.uint8)
    np.testing.assert_array_equal(resize.imresize(plane[..., None], scale)[..., 0], direct(plane, scale))


def test_a_step_halves_to_known_numbers():
    step = np.array([0, 0, 0, 0, 255, 255, 255, 255], np.uint8).reshape(1, 8, 1)
    # weights (-3 -9 29 111 111 29 -9 -3) / 256: 255 * -3/256 is clipped, 255 * 17/256 is 16.9, and their complements
    assert resize.imresize(step, 0.5).reshape(-1).tolist() == [0, 17, 238, 255]


@pytest.mark.parametrize("method", resize.KERNELS)
@pytest.mark.parametrize("scale", [2, 3, 1.5, 1 / 2, 1 / 3])
def test_a_constant_stays_constant(method, scale):
    constant = np.full((9, 12, 3), 77, np.uint8)
    assert np.unique(resize.imresize(constant, scale, method=method)).tolist() == [77]


@pytest.mark.parametrize("method", resize.KERNELS)
@pytest.mark.parametrize("scale", [2, 4, 1 / 2, 1 / 3])
def test_the_rows_of_the_matrix_sum_to_one(method, scale):
    np.testing.assert_allclose(resize.matrix(12, scale, method).sum(axis=1), 1.0, atol=1e-12)


def test_the_matrix_is_imresize():
    pixels = RANDOM.random((12, 9, 2))
    by_matrix = np.einsum("ih,jw,hwc->ijc", resize.matrix(12, 2), resize.matrix(9, 2), pixels)
    np.testing.assert_allclose(resize.imresize(pixels, 2), by_matrix, atol=1e-12)


def test_nearest_repeats_pixels():
    pixels = RANDOM.integers(0, 256, (4, 5, 3), np.uint8)
    np.testing.assert_array_equal(resize.imresize(pixels, 3, method="nearest"), pixels.repeat(3, 0).repeat(3, 1))


@pytest.mark.parametrize(("size", "scale", "want"), [(9, 2, 18), (9, 1 / 3, 3), (10, 1 / 3, 4), (7, 1.5, 11)])
def test_sizes_are_rounded_up(size, scale, want):
    assert resize.imresize(np.zeros((size, 4, 1)), scale).shape[0] == want


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_graph_equals_the_reference_on_random_patches(scale, channels):
    hr = RANDOM.integers(0, 256, (16, 24 * scale // 2, 36, channels), np.uint8)
    hr[1] = hr[1] // 128 * 255  # overshoots
    assert_graph_equals_reference(hr, scale)


@pytest.mark.parametrize("scale", SCALES)
def test_the_graph_equals_the_reference_on_a_photograph(scale):
    photograph = embedded.photographs("valid").picture(0)
    assert_graph_equals_reference(image.crop_to_multiple(photograph, scale)[None], scale)


def assert_graph_equals_reference(hr, scale):
    reduce = tf.function(resize.reducer(*hr.shape[1:], scale))
    reference = np.stack([resize.imresize(picture, 1 / scale) for picture in hr])
    np.testing.assert_array_equal(reduce(tf.constant(hr, tf.float32)).numpy(), reference)


def test_the_graph_refuses_a_side_that_is_no_multiple():
    with pytest.raises(ValueError, match=r"must be multiples of 3, got 10x9; crop first\."):
        resize.reducer(10, 9, 3, 3)
