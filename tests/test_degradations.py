"""The contract of every file in sr_keras/degradations."""

import pkgutil

import numpy as np
import pytest
import tensorflow as tf

from sr_keras import component, degradations

NAMES = [module.name for module in pkgutil.iter_modules(degradations.__path__) if not module.name.startswith("_")]
RANDOM = np.random.default_rng(0)
SEEDS = np.array([[1, 2], [3, 4]], np.int32)
CASES = [(name, scale) for name in NAMES for scale in (2, 3, 4)]


def pictures(scale, channels=3):
    return RANDOM.integers(0, 256, (2, 8 * scale, 9 * scale, channels)).astype(np.float32) / 255.0


def test_there_are_degradations():
    assert "bicubic" in NAMES


@pytest.mark.parametrize(("name", "scale"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_lr_has_the_exact_size(name, scale, channels):
    hr = pictures(scale, channels)
    lr, target = component.build(degradations, name, scale=scale)(tf.constant(hr), tf.constant(SEEDS))
    assert (lr.shape, target.shape) == ((2, 8, 9, channels), hr.shape)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_lr_stays_in_the_unit_range(name, scale):
    hr = np.rint(pictures(scale))  # black and white: every overshoot there is
    for pixels in component.build(degradations, name, scale=scale)(tf.constant(hr), tf.constant(SEEDS)):
        assert 0.0 <= np.min(pixels) <= np.max(pixels) <= 1.0


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_the_same_seed_gives_the_same_pixels(name, scale):
    hr, degrade = tf.constant(pictures(scale)), component.build(degradations, name, scale=scale)
    np.testing.assert_array_equal(degrade(hr, tf.constant(SEEDS))[0], degrade(hr, tf.constant(SEEDS))[0])


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_a_degradation_works_inside_a_dataset(name, scale):
    hr, degrade = pictures(scale), component.build(degradations, name, scale=scale)
    mapped = tf.data.Dataset.from_tensors((hr, SEEDS)).map(degrade)
    np.testing.assert_array_equal(next(iter(mapped))[0], degrade(tf.constant(hr), tf.constant(SEEDS))[0])


def test_bicubic_leaves_the_target_alone():
    hr = pictures(2)
    np.testing.assert_array_equal(component.build(degradations, "bicubic", scale=2)(hr, SEEDS)[1], hr)
