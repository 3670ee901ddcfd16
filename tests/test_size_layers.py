"""Layers that give another size, against numpy: at sizes that no factor divides, known beforehand or not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sr_keras.layers.adaptive import AdaptiveMaxPool, RepeatLike
from sr_keras.layers.multiple import CropToSize, PadToLeast, ReflectToMultiple
from sr_keras.layers.resize import Bilinear, CubicReduction, ResizeLike

SIZES = [(1, 1), (1, 5), (5, 15), (15, 1), (16, 8), (15, 23), (23, 16)]


def _picture(height, width, batch=2, channels=3):
    return np.random.default_rng(height * 100 + width).normal(size=(batch, height, width, channels)).astype(np.float32)


def _assert_gives(layer, inputs, expected, atol=0.0):
    """Compares at a known size, at one not known when traced, and what the layer says of both, after a copy."""
    layer = type(layer).from_config(layer.get_config())
    listed = isinstance(inputs, list)
    pictures = inputs if listed else [inputs]
    np.testing.assert_allclose(layer(inputs), expected, rtol=0, atol=atol)
    unknown = [tf.TensorSpec([None, None, None, picture.shape[-1]]) for picture in pictures]
    traced = tf.function(layer, input_signature=[unknown if listed else unknown[0]])
    np.testing.assert_allclose(traced(inputs), expected, rtol=0, atol=atol)
    shapes = [picture.shape for picture in pictures]
    assert layer.compute_output_shape(shapes if listed else shapes[0]) == expected.shape
    shapes = [(None, None, None, picture.shape[-1]) for picture in pictures]
    assert layer.compute_output_shape(shapes if listed else shapes[0]) == (None, None, None, expected.shape[-1])


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("size", SIZES)
def test_the_windows_of_a_pooling_are_pytorchs(size, factor):
    picture = _picture(*size)
    expected = picture
    for axis in (1, 2):
        length, windows = size[axis - 1], max(size[axis - 1] // factor, 1)
        ends = [(k * length // windows, -(-(k + 1) * length // windows)) for k in range(windows)]
        expected = np.stack([expected.take(range(*end), axis).max(axis) for end in ends], axis)
    _assert_gives(AdaptiveMaxPool(factor), picture, expected)


@pytest.mark.parametrize("factor", [2, 8])
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_repeated_up_to_a_pictures_size_as_by_pytorch(size, factor):
    x, like = _picture(*(max(length // factor, 1) for length in size)), _picture(*size, channels=1)
    rows, columns = (np.arange(many) * few // many for few, many in zip(x.shape[1:3], size, strict=True))
    _assert_gives(RepeatLike(), [x, like], x[:, rows][:, :, columns])


@pytest.mark.parametrize("small", [(1, 1), (2, 1), (3, 7)])
@pytest.mark.parametrize("size", SIZES)
def test_a_small_map_is_brought_to_a_pictures_size_linearly(size, small):
    x, like = _picture(*small), _picture(*size, channels=1)
    _assert_gives(ResizeLike(), [x, like], _linear(x, *size), atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_a_linear_enlargement_is_interpolation(size, scale):
    picture = _picture(*size)
    _assert_gives(Bilinear(scale), picture, _linear(picture, scale * size[0], scale * size[1]), atol=1e-5)


@pytest.mark.parametrize(("scale", "stride"), [(1, 2), (1, 4), (2, 3), (2, 4), (3, 4)])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 3)])
def test_a_cubic_reduction_has_four_taps_and_no_antialiasing(size, scale, stride):
    expected = picture = _picture(stride * size[0], stride * size[1])
    for axis in (1, 2):
        length = expected.shape[axis]
        rows = []
        for place in range(length * scale // stride):
            centre = (place + 0.5) * stride / scale - 0.5
            taps = np.floor(centre) + np.arange(-1, 3)
            source = expected.take(np.clip(taps, 0, length - 1).astype(int), axis)
            rows.append(np.tensordot([_keys(tap - centre) for tap in taps], np.moveaxis(source, axis, 0), axes=1))
        expected = np.stack(rows, axis)
    _assert_gives(CubicReduction(scale, stride), picture, expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_continued_with_zeros_to_a_least_side(size):
    picture = _picture(*size)
    missing = [(0, max(15 - length, 0)) for length in size]
    _assert_gives(PadToLeast(15), picture, np.pad(picture, [(0, 0), *missing, (0, 0)]))


@pytest.mark.parametrize(("layer", "given"), [(Bilinear, (2,)), (CubicReduction, (1, 2))])
def test_interpolation_stays_in_float32_under_a_mixed_policy(layer, given, mixed_bfloat16):
    assert keras.backend.standardize_dtype(layer(*given)(_picture(6, 4)).dtype) == "float32"


@pytest.mark.parametrize(
    ("layer", "given", "says"),
    [
        (AdaptiveMaxPool, (1,), "factor must be a whole number of 2 or more"),
        (AdaptiveMaxPool, (2.5,), "factor must be a whole number of 2 or more"),
        (Bilinear, (1,), "scale must be a whole number of 2 or more"),
        (Bilinear, (2.5,), "scale must be a whole number of 2 or more"),
        (CubicReduction, (2, 2), "1 <= scale < stride"),
        (CubicReduction, (0, 2), "1 <= scale < stride"),
        (CubicReduction, (1, 2.5), "1 <= scale < stride"),
        (PadToLeast, (0,), "must be a whole number of 1 or more"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(layer, given, says):
    with pytest.raises(ValueError, match=says):
        layer(*given)


def _linear(picture, height, width):
    """Half-pixel centres, the ends held, in float64."""
    for axis, length in ((1, height), (2, width)):
        before = picture.shape[axis]
        centres = (np.arange(length) + 0.5) * before / length - 0.5
        picture = np.apply_along_axis(
            lambda line, x, n: np.interp(x, np.arange(n), line), axis, picture, centres, before
        )
    return picture


def _keys(distance):
    """Keys' kernel with a = -0.75."""
    x = abs(distance)
    if x <= 1:
        return 1.25 * x**3 - 2.25 * x**2 + 1
    return -0.75 * x**3 + 3.75 * x**2 - 6 * x + 3 if x < 2 else 0.0


def test_a_result_is_cut_to_so_many_times_the_picture():
    sr, lr = np.random.default_rng(0).random((2, 16, 20, 1), np.float32), np.zeros((2, 7, 9, 3), np.float32)
    np.testing.assert_array_equal(CropToSize(2)([sr, lr]), sr[:, :14, :18])
    assert CropToSize(2).compute_output_shape([sr.shape, lr.shape]) == (2, 14, 18, 1)
    assert CropToSize(2).compute_output_shape([(None, None, 20, 1), (None, None, 9, 3)]) == (None, None, 18, 1)


@pytest.mark.parametrize("factor", [2, 3, 8])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 1, 5, 1), (2, 7, 2, 3), (1, 16, 8, 1), (1, 13, 9, 2)])
def test_a_picture_is_reflected_to_and_fro_to_a_multiple(factor, shape):
    picture = np.random.default_rng(0).random(shape).astype(np.float32)
    expected = np.pad(picture, [(0, 0), (0, -shape[1] % factor), (0, -shape[2] % factor), (0, 0)], "reflect")
    layer = ReflectToMultiple(factor)
    np.testing.assert_array_equal(layer(picture), expected)
    np.testing.assert_array_equal(tf.function(layer, input_signature=[tf.TensorSpec([None] * 4)])(picture), expected)
    assert layer.compute_output_shape(shape) == expected.shape
    assert layer.compute_output_shape((None, None, shape[2], 3)) == (None, None, expected.shape[2], 3)


@pytest.mark.parametrize(("layer", "factor"), [(ReflectToMultiple, 1), (ReflectToMultiple, 2.5), (CropToSize, 0)])
def test_factors_that_make_no_sense_are_refused(layer, factor):
    with pytest.raises(ValueError, match="factor must be a whole number"):
        layer(factor)
