"""The contract of every file in sr_keras/adversarial, and its formula written with log and sigmoid in float64."""

import numpy as np
import pytest
import tensorflow as tf

from sr_keras import adversarial, component
from sr_keras.errors import InputError

NAMES = component.names(adversarial)
RANDOM = np.random.default_rng(0)
REAL, FAKE = RANDOM.normal(1, 2, (4, 3, 3, 1)), RANDOM.normal(-1, 2, (4, 3, 3, 1))


def _d(logits):
    return 1.0 / (1.0 + np.exp(-logits))


def _relativistic(a, b):
    return -(np.log(_d(a - b.mean())).mean() + np.log(1 - _d(b - a.mean())).mean()) / 2


FORMULAS = {  # spec -> the generator's and the discriminator's loss
    "vanilla": lambda r, f: (-np.log(_d(f)).mean(), -np.log(_d(r)).mean() - np.log(1 - _d(f)).mean()),
    "minimax": lambda r, f: (np.log(1 - _d(f)).mean(), -np.log(_d(r)).mean() - np.log(1 - _d(f)).mean()),
    "relativistic": lambda r, f: (_relativistic(f, r), _relativistic(r, f)),
    "hinge": lambda r, f: (-f.mean(), np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean()),
    "least_squares": lambda r, f: (((f - 1) ** 2).mean() / 2, ((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2),
    "wasserstein": lambda r, f: (-f.mean(), f.mean() - r.mean()),
}


def built(name):
    return component.build(adversarial, {"name": "vanilla", "generator": "minimax"} if name == "minimax" else name)


def test_every_objective_has_its_formula():
    assert set(NAMES) == set(FORMULAS) - {"minimax"}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_losses_are_what_the_formula_says(name):
    objective = built(name)
    given = tf.constant(REAL, tf.float32), tf.constant(FAKE, tf.float32)
    found = [objective.generator_loss(*given), objective.discriminator_loss(*given)]
    assert [each.shape for each in found] == [(), ()]
    np.testing.assert_allclose(found, FORMULAS[name](REAL, FAKE), rtol=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_perfect_discriminator_has_a_lower_loss_than_a_wrong_one_and_the_generator_a_higher(name):
    objective, sure = built(name), tf.fill((2, 1), 3.0)
    assert objective.discriminator_loss(sure, -sure) < objective.discriminator_loss(-sure, sure)
    assert objective.generator_loss(sure, -sure) > objective.generator_loss(-sure, sure)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("size", [0.0, 100.0, 1e4])
def test_losses_and_gradients_stay_finite_far_from_zero(name, size):
    objective, logits = built(name), tf.constant([[size], [-size]])
    for loss in (objective.generator_loss, objective.discriminator_loss):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(logits, -logits)
        gradient = tape.gradient(value, logits)
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_the_non_saturating_generator_still_learns_where_the_discriminator_wins():
    lost, gradients = tf.fill((1, 1), -20.0), {}
    for name in ("vanilla", "minimax"):
        with tf.GradientTape() as tape:
            tape.watch(lost)
            value = built(name).generator_loss(-lost, lost)
        gradients[name] = abs(float(tape.gradient(value, lost)[0, 0]))
    assert gradients["vanilla"] == pytest.approx(1.0, abs=1e-6) and gradients["minimax"] < 1e-6


def test_the_gradient_penalty_of_a_linear_discriminator_is_known():
    penalty = component.build(adversarial, {"name": "wasserstein", "weight": 5.0}).gradient_penalty
    hr, sr = (tf.constant(RANDOM.random((3, 4, 4, 2)), tf.float32) for _ in range(2))
    for slope in (0.0, 0.25, 3.0):
        value = penalty(lambda x, slope=slope: slope * tf.reduce_sum(x, axis=(1, 2, 3))[:, None], hr, sr, seed=(0, 1))
        assert float(value) == pytest.approx(5 * (slope * np.sqrt(32) - 1) ** 2, rel=1e-4)


def test_the_gradient_penalty_is_taken_between_the_pictures_by_the_seed_and_moves_the_discriminator():
    penalty = built("wasserstein").gradient_penalty
    weight, hr, sr = tf.Variable(0.5), tf.zeros((2, 4, 4, 1)), tf.ones((2, 4, 4, 1))

    def found(seed):
        with tf.GradientTape() as tape:
            value = penalty(lambda x: weight * tf.reduce_sum(x**2, axis=(1, 2, 3))[:, None], hr, sr, seed=seed)
        return float(value), float(tape.gradient(value, weight))

    assert found((0, 1)) == found((0, 1)) != found((0, 2))
    assert found((0, 1))[1] != 0.0


def test_only_wasserstein_has_a_penalty():
    assert [name for name in NAMES if built(name).gradient_penalty] == ["wasserstein"]


def test_an_unknown_form_is_one_line():
    with pytest.raises(InputError, match="generator"):
        component.build(adversarial, {"name": "vanilla", "generator": "other"})
