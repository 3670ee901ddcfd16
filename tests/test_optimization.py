"""Schedules at known steps, and optimizers that survive being saved."""

import keras
import numpy as np
import pytest

from sr_keras import optimization
from sr_keras.optimization import Schedule

SCHEDULES = {
    "constant": Schedule(0.1),
    "warm-up": Schedule(0.1, warmup=4),
    "cosine": Schedule(0.1, name="cosine", steps=100, warmup=20, final=0.01),
    "multi_step": Schedule(0.1, name="multi_step", milestones=(10, 20), gamma=0.5),
}


@pytest.mark.parametrize(
    ("name", "step", "rate"),
    [
        ("constant", 0, 0.1),
        ("constant", 10**6, 0.1),
        ("warm-up", 0, 0.025),
        ("warm-up", 1, 0.05),
        ("warm-up", 3, 0.1),
        ("warm-up", 50, 0.1),
        ("cosine", 9, 0.05),
        ("cosine", 20, 0.1),
        ("cosine", 60, 0.0505),
        ("cosine", 100, 0.001),
        ("cosine", 1000, 0.001),
        ("multi_step", 9, 0.1),
        ("multi_step", 10, 0.05),
        ("multi_step", 19, 0.05),
        ("multi_step", 20, 0.025),
    ],
)
def test_the_rate_at_a_step_is_known(name, step, rate):
    assert float(SCHEDULES[name](step)) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_rate_is_a_function_of_the_step_alone(schedule):
    forwards = [float(schedule(step)) for step in range(0, 30, 3)]
    assert forwards == [float(schedule(step)) for step in range(27, -1, -3)][::-1]


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_survives_being_saved(schedule):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [float(again(step)) for step in range(0, 120, 5)] == [float(schedule(step)) for step in range(0, 120, 5)]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_an_optimizer_survives_being_saved(name):
    made = optimization.optimizer(SCHEDULES["cosine"], name=name, beta_1=0.8, ema=0.99, clip_norm=0.5, weight_decay=0.1)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert again.get_config() == made.get_config()


@pytest.mark.parametrize(("name", "kind"), [("adam", keras.optimizers.Adam), ("adamw", keras.optimizers.AdamW)])
def test_the_name_chooses_the_optimizer(name, kind):
    assert type(optimization.optimizer(SCHEDULES["constant"], name=name)) is kind


def one_step(optimizer, gradient):
    variable = keras.Variable(np.zeros(2, np.float32))
    optimizer.apply([np.array(gradient, np.float32)], [variable])
    return optimizer, variable


def test_the_first_step_goes_at_the_rate_of_the_warm_up():
    _, variable = one_step(optimization.optimizer(SCHEDULES["warm-up"]), [1.0, -2.0])
    np.testing.assert_allclose(variable, [-0.025, 0.025], rtol=1e-5)  # Adam's first step is the rate


def test_gradients_are_clipped_by_their_global_norm():
    optimizer = optimization.optimizer(SCHEDULES["constant"], beta_1=0.5, clip_norm=1.0)
    optimizer.apply([np.float32([30.0]), np.float32([40.0])], [keras.Variable(np.zeros(1, np.float32)) for _ in "ab"])
    np.testing.assert_allclose(np.concatenate(optimizer._momentums), [0.3, 0.4], rtol=1e-5)  # half of what is left


def test_no_clipping_is_the_default():
    optimizer, _ = one_step(optimization.optimizer(SCHEDULES["constant"], beta_1=0.5), [30.0, 40.0])
    np.testing.assert_allclose(optimizer._momentums[0], [15.0, 20.0], rtol=1e-5)


def test_averages_are_kept_with_the_given_momentum():
    made = optimization.optimizer(SCHEDULES["constant"], ema=0.75)
    variable = keras.Variable(np.zeros(2, np.float32))
    values = []
    for _ in range(2):
        made.apply([np.ones(2, np.float32)], [variable])
        values.append(np.array(variable))
    made.finalize_variable_values([variable])
    np.testing.assert_allclose(variable, 0.75 * values[0] + 0.25 * values[1], rtol=1e-5)


def test_no_averages_are_kept_without_a_momentum():
    assert optimization.optimizer(SCHEDULES["constant"], ema=None).use_ema is False


def test_the_rate_is_multiplied_by_factors_that_may_change():
    half, gate = (keras.Variable(value, trainable=False) for value in (0.5, 1.0))
    schedule = Schedule(0.1, warmup=4, factors=(half, gate))
    assert float(schedule(50)) == pytest.approx(0.05)
    half.assign(0.25)
    assert float(schedule(50)) == pytest.approx(0.025)
    gate.assign(0.0)
    assert float(schedule(50)) == 0.0


def test_an_optimizer_of_several_steps_in_one_has_the_rate_of_that_one():
    slow, quick = (Schedule(0.1, name="cosine", steps=100, warmup=4, every=every) for every in (1, 3))
    assert [float(quick(step)) for step in range(0, 30)] == [float(slow(step // 3)) for step in range(0, 30)]
