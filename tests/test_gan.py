"""The adversarial game: what a step does, exact resume, several devices, roll-back, a player that wins or is lost."""

import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import runs
import tensorflow as tf
from rich.console import Console

from sr_keras import adversarial, component, content, gan, losses, train
from sr_keras import config as config_file
from sr_keras.errors import InputError
from sr_keras.run import Run

TINY = (
    "precision=float32", "model.filters=4", "model.blocks=1", "data.patch=16", "train.batch=4", "train.epochs=3",
    "train.steps_per_epoch=8", "train.log_every=8", "train.schedule.warmup=2", "losses=l1",
    "adversarial={discriminator: {name: patch, filters: 4, normalisation: spectral}, start: 2, ramp: 3, weight: 0.1}",
)  # fmt: skip
OBJECTIVES = component.names(adversarial)


def trained(folder, *overrides, console=None):
    run = Run(folder)
    train.train(config_file.load("quickstart", [*TINY, *overrides]), run, console=console)
    return run


def network(name, scale=1):
    """Two convolutions, for a player whose gradients can be followed."""
    x = picture = keras.Input((None, None, 3), name=name)
    x = keras.layers.Conv2D(2, 3, padding="same", activation="tanh")(x)
    x = keras.layers.Conv2D(3 * scale**2 if name == "lr" else 1, 3, padding="same")(x)
    return keras.Model(picture, keras.ops.depth_to_space(x, scale) if scale > 1 else x, name=f"{name}_net")


RULES = {
    "weight": 0.5, "start": 0, "ramp": 0, "discriminator_steps": 1, "window": 200, "pause_above": 0.98,
    "resume_below": 0.9, "seed": 0,
}  # fmt: skip


def game(objective="vanilla", *, rate=0.1, discriminator_rate=0.1, **rules):
    keras.utils.set_random_seed(0)
    gate = keras.Variable(1.0, trainable=False)
    term = content.Term("l1", 1.0, component.build(losses, "l1"))
    made = gan.Gan(
        network("lr", scale=2), network("picture"), component.build(adversarial, objective), [term],
        gan.Rules(**{**RULES, **rules}), gate,
    )  # fmt: skip

    class Gated(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return discriminator_rate * keras.ops.convert_to_tensor(gate)

    made.compile(keras.optimizers.SGD(rate), keras.optimizers.SGD(Gated()))
    return made


def batch(size=4, side=6, seed=0):
    random = np.random.default_rng(seed)
    shapes = (size, side, side, 3), (size, 2 * side, 2 * side, 3)
    return tuple(tf.constant(random.random(shape), tf.float32) for shape in shapes)


def played(made, pictures, steps=1):
    step = tf.function(made.train_step)
    for _ in range(steps):
        logs = step(pictures)
    return {name: float(value) for name, value in logs.items()}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_both_players_take_the_gradients_of_the_same_weights(objective):
    made, (lr, hr) = game(objective), batch()
    rules = component.build(adversarial, objective)
    with tf.GradientTape(persistent=True) as tape:
        sr = made.generator(lr)
        real, fake = made.discriminator(hr), made.discriminator(sr)
        mine = tf.reduce_mean(tf.abs(hr - sr)) + 0.5 * rules.generator_loss(real, fake)
        theirs = rules.discriminator_loss(real, fake)
    want = {}
    for name, loss in (("generator", mine), ("discriminator", theirs)):
        variables = getattr(made, name).trainable_variables
        want[name] = [v - 0.1 * g for v, g in zip(variables, tape.gradient(loss, variables), strict=True)]
    logs = played(made, (lr, hr))
    for name, values in want.items():
        if objective == "wasserstein" and name == "discriminator":
            continue  # its penalty has a test of its own
        for variable, value in zip(getattr(made, name).trainable_variables, values, strict=True):
            np.testing.assert_allclose(variable, value, atol=1e-6)
    assert logs["loss"] == pytest.approx(float(mine), rel=1e-5)


def test_the_wasserstein_penalty_changes_with_the_step_and_moves_the_discriminator():
    made = game("wasserstein", rate=0.0, discriminator_rate=0.0)
    assert len({played(made, batch())["discriminator_loss"] for _ in range(3)}) == 3
    with_penalty, without = game("wasserstein"), game("wasserstein")
    without.objective = without.objective._replace(gradient_penalty=None)
    for each in (with_penalty, without):
        played(each, batch())
    kernels = (each.discriminator.get_weights()[0] for each in (with_penalty, without))
    assert np.abs(np.subtract(*kernels)).max() > 1e-3


def test_with_a_weight_of_0_the_generator_learns_as_without_a_game():
    made, alone, pictures = game(weight=0.0), game(), batch()
    content.compile_supervised(alone.generator, alone.terms, keras.optimizers.SGD(0.1))
    played(made, pictures, steps=5)
    for _ in range(5):
        alone.generator.train_on_batch(*pictures)
    for mine, other in zip(made.generator.get_weights(), alone.generator.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_the_weight_starts_late_and_grows():
    made = game(start=2, ramp=4)
    weights = []
    for _ in range(8):
        made.reset_metrics()
        weights.append(played(made, batch())["adversarial_weight"])
    assert weights == pytest.approx([0.0, 0.0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5])


def test_the_discriminator_takes_as_many_steps_as_the_rules_say():
    made, (lr, hr) = game(discriminator_steps=3), batch(size=12)
    played(made, (lr, hr), steps=2)
    assert int(made.generator_optimizer.iterations) == 2
    assert int(made.discriminator_optimizer.iterations) == 6
    made, one_by_one = game(discriminator_steps=3, rate=0.0), game(rate=0.0)
    played(made, (lr, hr))
    for number in range(3):
        played(one_by_one, (lr[number::3], hr[number::3]))
    for mine, other in zip(made.discriminator.get_weights(), one_by_one.discriminator.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_a_discriminator_that_wins_is_paused_and_one_that_lost_its_lead_goes_on():
    made, pictures = game(rate=0.0, window=1, pause_above=0.9, resume_below=0.8), batch()
    made.objective = made.objective._replace(margins=lambda real, fake: (tf.ones(4), tf.ones(4)))
    played(made, pictures)
    before = made.discriminator.get_weights()
    assert played(made, pictures)["discriminator_paused"] == 1.0
    assert runs.same(before, made.discriminator.get_weights())
    made.objective = made.objective._replace(margins=lambda real, fake: (tf.ones(4), -tf.ones(4)))
    made.reset_metrics()
    assert played(made, pictures)["discriminator_paused"] == 0.0
    assert not runs.same(before, made.discriminator.get_weights())


GREY = """
import keras

def build(*, scale: int, channels: int = 3):
    lr = keras.Input((None, None, channels), name="lr")
    x = keras.layers.Conv2D(channels * scale**2, 1, kernel_initializer="zeros", bias_initializer=HALF)(lr)
    return keras.Model(lr, keras.ops.depth_to_space(x, scale))

HALF = keras.initializers.Constant(0.5)
"""


def module(tmp_path, monkeypatch, name, source):
    """Makes a component of the user's own, `faults.<name>`."""
    package = tmp_path / "path" / f"faults_{name}"
    package.mkdir(parents=True)
    (package / "part.py").write_text(source)
    monkeypatch.syspath_prepend(package.parent)
    return f"faults_{name}.part"


def listener():
    return Console(record=True, width=200, file=io.StringIO())


def test_a_dominant_discriminator_is_reported(tmp_path, photographs, monkeypatch):
    grey = module(tmp_path, monkeypatch, "grey", GREY)  # no picture is so flat
    fast = "adversarial={discriminator: {name: patch, filters: 8}, learning_rate: 0.003, window: 4, weight: 0}"
    words = [f"model={{name: {grey}}}", "train.learning_rate=1e-9", "train.log_every=2", "train.epochs=8", fast]
    run, console = Run(tmp_path / "run"), listener()
    given = [word for word in TINY if not word.startswith(("model.", "adversarial"))]
    train.train(config_file.load("quickstart", [*given, *photographs, *words]), run, console=console)
    assert "the discriminator wins: it is paused until below 0.9" in console.export_text()


def test_a_lost_discriminator_is_reported(tmp_path, photographs):
    # What it says does not depend on the picture: it is right about every real one and wrong about every fake.
    slow = "adversarial={discriminator: {name: patch, filters: 2}, learning_rate: 1e-12, window: 2, weight: 0}"
    console = listener()
    trained(tmp_path / "run", *photographs, "train.log_every=2", "train.epochs=2", slow, console=console)
    assert "the discriminator is lost: raise adversarial.learning_rate" in console.export_text()


PLANTED = """
import tensorflow as tf

calls = tf.Variable(0)

def build(*, at: int, times: int = 1):
    def loss(hr, sr):
        number = calls.assign_add(1)
        bad = tf.logical_and(number > at, number <= at + times)
        return tf.reduce_mean(tf.abs(hr - sr)) * tf.where(bad, float("nan"), 1.0)
    return loss
"""


def planted(tmp_path, monkeypatch, name, *, at, times):
    return f"losses={{name: {module(tmp_path, monkeypatch, name, PLANTED)}, at: {at}, times: {times}}}"


@pytest.mark.parametrize("mode", ["game", "supervised"])
def test_a_loss_that_is_not_a_number_is_survived_at_half_the_rate(tmp_path, photographs, monkeypatch, mode):
    fault = planted(tmp_path, monkeypatch, f"once_{mode}", at=13, times=1)
    supervised = ["adversarial=null"] if mode == "supervised" else []
    console = listener()
    run = trained(tmp_path / "run", *photographs, fault, *supervised, console=console)
    results = json.loads(run.results.read_text())
    assert (results["steps"], results["rollbacks"]) == (24, 1)
    assert "back to step 8, at half the learning rate" in console.export_text()
    values = runs.arrays(run)
    assert all(np.isfinite(value).all() for value in values)
    assert values[-1 if supervised else -3] == 0.5


def test_a_loss_that_stays_not_a_number_ends_the_run_and_keeps_what_was_saved(tmp_path, photographs, monkeypatch):
    fault = planted(tmp_path, monkeypatch, "always", at=13, times=10**6)
    with pytest.raises(InputError, match=r"not finite at step 16, though the learning rate was halved 2 times.*lower"):
        trained(tmp_path / "run", *photographs, fault)
    assert all(np.isfinite(value).all() for value in runs.arrays(Run(tmp_path / "run")))
    assert json.loads(Run(tmp_path / "run").progress.read_text())["step"] == 8


@pytest.mark.parametrize("times", [1, 9])  # a roll-back is after 8 steps
def test_before_the_first_checkpoint_a_run_goes_back_to_its_start(tmp_path, photographs, monkeypatch, times):
    run = trained(tmp_path / "run", *photographs, planted(tmp_path, monkeypatch, f"early{times}", at=3, times=times))
    results = json.loads(run.results.read_text())
    assert (results["rollbacks"], results["steps"]) == (1 + (times > 1), 24)


def test_a_game_killed_in_mid_epoch_ends_with_the_state_of_an_uninterrupted_one(tmp_path, photographs):
    slow = [*photographs, "train.checkpoint_every=3", "train.epochs=8", "adversarial.discriminator_steps=2"]
    whole = trained(tmp_path / "whole", *slow)
    killed = runs.killed_after_a_checkpoint(tmp_path / "killed", *TINY, *slow)
    trained(killed.folder, *slow)
    assert runs.same(runs.arrays(whole), runs.arrays(killed))


def test_two_devices_play_as_one_with_the_same_global_batch(tmp_path, photographs):
    words = [*TINY, *photographs, "adversarial.discriminator_steps=2"]
    assert runs.difference_on_two_devices(tmp_path, *words) < 1e-5


def test_the_saved_generator_is_the_last_average_and_opens_as_any_other(tmp_path, photographs):
    from sr_keras.evaluate import evaluate

    run = trained(tmp_path / "run", *photographs)
    results = json.loads(run.results.read_text())
    assert results["best_step"] == results["steps"] == 24
    assert set(results["measures"]) == {"l1", "colour_drift"}
    folder = photographs[1].removeprefix("data.valid=")
    assert evaluate(str(run.folder), Path(folder)).psnr == pytest.approx(results["psnr"], abs=1e-4)


@pytest.mark.parametrize(("precision", "discriminator"), [("mixed_bfloat16", "vgg"), ("mixed_float16", "unet")])
def test_every_precision_and_discriminator_plays(tmp_path, photographs, precision, discriminator):
    other = f"adversarial={{discriminator: {{name: {discriminator}, filters: 4}}, weight: 0.1}}"
    run = trained(tmp_path / "run", *photographs, f"precision={precision}", other, "train.epochs=1")
    values = runs.arrays(run)
    assert len(values) > 20
    assert all(np.isfinite(value).all() for value in values)


def test_two_losses_of_a_name_both_count(tmp_path, photographs):
    two = "losses=[{name: l1, weight: 2}, {name: l1, weight: 3}]"
    run = trained(tmp_path / "run", *photographs, two, "train.epochs=1")
    assert set(json.loads(run.results.read_text())["measures"]) == {"l1", "l1_2", "colour_drift"}


def test_the_discriminators_rate_ends_with_the_run_however_many_steps_it_takes(tmp_path, photographs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["adversarial.discriminator_steps=3", "train.schedule={name: cosine}", "train.log_every=1"]
    run = trained(tmp_path / "run", *photographs, *words)
    log = EventAccumulator(str(run.logs), size_guidance={"tensors": 0})
    log.Reload()
    both = [
        [float(tf.make_ndarray(point.tensor_proto)) for point in log.Tensors(f"{player}learning_rate")]
        for player in ("", "discriminator_")
    ]
    np.testing.assert_allclose(*both, rtol=1e-5)
    assert both[0][11] == pytest.approx(both[0][0] / 2, rel=0.1)


def test_tensorboard_shows_the_game(tmp_path, photographs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = trained(tmp_path / "run", *photographs)
    log = EventAccumulator(str(run.logs))
    log.Reload()
    tags = set(log.Tags()["tensors"])
    assert {f"train/discriminator_{name}" for name in ("real", "fake", "accuracy", "gradient_norm", "paused")} <= tags
    assert {"train/adversarial", "train/adversarial_weight", "train/l1", "train/gradient_norm"} <= tags
    assert {"learning_rate", "discriminator_learning_rate", "LR samples", "generator", "discriminator"} <= tags
    assert {"validation/psnr", "validation/ssim", "validation/l1", "validation/colour_drift"} <= tags


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("adversarial={discriminator: unet} data.patch=20", "discriminator unet: patch must be a multiple of 8"),
        ("adversarial={objective: hing}", "adversarial has no 'hing' .*did you mean 'hinge'"),
        ("adversarial={discriminator: {name: patch, filter: 3}}", "did you mean 'filters'"),
        ("adversarial={objective: wasserstein}", "discriminator patch normalises over the batch; take"),
        ("adversarial={resume_below: 0.99}", "resume_below must not be above pause_above"),
    ],
)
def test_a_game_that_can_not_be_played_is_said_before_it(tmp_path, photographs, override, line):
    words = override.split(" data.")
    with pytest.raises(InputError, match=line):
        trained(tmp_path / "run", *photographs, words[0], *(f"data.{word}" for word in words[1:]))
