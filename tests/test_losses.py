"""The contract of every file in sr_keras/losses."""

import pkgutil

import numpy as np
import pytest
import tensorflow as tf

from sr_keras import component, losses

NAMES = [module.name for module in pkgutil.iter_modules(losses.__path__) if not module.name.startswith("_")]
REGULARISERS = {"total_variation"}  # they see the prediction alone
RANDOM = np.random.default_rng(0)
HR = tf.constant(RANDOM.random((2, 16, 14, 3)), tf.float32)
DISTURBED = tf.clip_by_value(HR + RANDOM.normal(0, 0.1, HR.shape).astype(np.float32), 0.0, 1.0)


def test_there_are_losses():
    assert {"l1", "charbonnier", "mse", "ssim", "total_variation"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_a_scalar(name):
    assert component.build(losses, name)(HR, DISTURBED).shape == ()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REGULARISERS])
def test_the_truth_costs_less_than_a_disturbed_picture(name):
    loss = component.build(losses, name)
    assert loss(HR, HR) < loss(HR, DISTURBED)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sr", [DISTURBED, HR, tf.zeros_like(HR)], ids=["disturbed", "equal", "black"])
def test_the_gradient_is_finite(name, sr):
    loss = component.build(losses, name)
    with tf.GradientTape() as tape:
        tape.watch(sr)
        value = loss(HR, sr)
    assert np.isfinite(tape.gradient(value, sr)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_works_on_one_channel_inside_a_graph(name):
    loss = tf.function(component.build(losses, name))
    assert np.isfinite(loss(HR[..., :1], DISTURBED[..., :1]))


@pytest.mark.parametrize(
    ("name", "wanted"), [("l1", 0.5), ("mse", 0.25), ("charbonnier", np.sqrt(0.25 + 1e-6)), ("total_variation", 0.0)]
)
def test_a_constant_error_costs_what_the_formula_says(name, wanted):
    loss = component.build(losses, name)
    assert float(loss(tf.zeros((1, 4, 4, 1)), tf.fill((1, 4, 4, 1), 0.5))) == pytest.approx(wanted, rel=1e-6)


def test_total_variation_counts_both_directions():
    loss, step = component.build(losses, "total_variation"), np.zeros((1, 4, 4, 1), np.float32)
    step[:, 2:] = 1.0
    for sr in (step, step.swapaxes(1, 2)):
        assert float(loss(sr, sr)) == pytest.approx(1 / 3)
