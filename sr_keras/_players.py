"""What a training is made of, built from its config: networks, losses, optimizers, one player or two.

A part of the verb `train`, beside which only verbs see a `Config`.
"""

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sr_keras import adversarial, component, content, discriminators, losses, metrics, models, optimization, scoring
from sr_keras.callbacks import Measure
from sr_keras.config import Component, Config, Game, Train
from sr_keras.content import Term
from sr_keras.errors import InputError
from sr_keras.gan import Gan, Rules
from sr_keras.state import Player, State

_RULES = ("weight", "start", "ramp", "discriminator_steps", "window", "pause_above", "resume_below")


def supervised(config: Config, generator: keras.Model, channels: int) -> tuple[keras.Model, State]:
    """Compiles the generator with the sum of the losses."""
    rate = keras.Variable(1.0, trainable=False, name="rate")
    optimizer = _optimizer(config, config.train, rate, ema=config.train.ema)
    content.compile_supervised(generator, terms(config, config.precision), optimizer)
    return generator, State(Player(generator, generator.optimizer), rate)


def game(config: Config, generator: keras.Model, channels: int) -> tuple[keras.Model, State]:
    """Sets the generator against a discriminator, which shares the learning rate's options where it has no own."""
    options = config.adversarial
    sizes = {"patch": config.data.patch, "channels": channels}
    discriminator = _built(discriminators, "discriminator", options.discriminator, config.precision, **sizes)
    rate, gate = (keras.Variable(1.0, trainable=False, name=name, aggregation="mean") for name in ("rate", "gate"))
    rules = Rules(seed=config.seed, **{key: getattr(options, key) for key in _RULES})
    objective = component.build(adversarial, options.objective.model_dump())
    model = Gan(generator, discriminator, objective, terms(config, config.precision), rules, gate)
    own = {
        key: getattr(options, key) or getattr(config.train, key) for key in ("learning_rate", "schedule", "optimizer")
    }
    its = options.model_copy(update=own)
    model.compile(_optimizer(config, config.train, rate, ema=config.train.ema), _optimizer(config, its, rate, gate))
    state = State(
        Player(generator, model.generator_optimizer), rate, Player(discriminator, model.discriminator_optimizer),
        (gate, model.accuracy),
    )  # fmt: skip
    return model, state


def _optimizer(
    config: Config, options: Train | Game, *factors: keras.Variable, ema: float | None = None
) -> keras.optimizers.Optimizer:
    steps = config.train.epochs * config.train.steps_per_epoch
    schedule = optimization.Schedule(
        options.learning_rate, steps=steps, factors=factors, **options.schedule.model_dump()
    )
    return optimization.optimizer(schedule, **options.optimizer.model_dump(), ema=ema, clip_norm=options.clip_norm)


def terms(config: Config, precision: str) -> list[Term]:
    """Builds the losses; what networks they hold compute in `precision`."""
    found = []
    with _policy(precision):
        for loss in config.losses:
            options = loss.model_dump(exclude={"weight"})
            found.append(Term(loss.name, loss.weight, component.build(losses, options)))
    return found


def measures(config: Config) -> dict[str, Measure]:
    """Returns what a game is watched by on whole validation pictures: its content terms and the drift of colours."""

    def of_term(term: Term) -> Measure:
        function = tf.function(term.function, reduce_retracing=True)
        return lambda pair, sr: scoring.perceptual_distance(function, pair.hr, sr)

    drift = {"colour_drift": lambda pair, sr: metrics.colour_drift(pair.lr, np.asarray(sr))}
    return {term.name: of_term(term) for term in terms(config, "float32")} | drift


@contextlib.contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Makes the layers that are built within it compute in `precision`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def network(config: Config, channels: int, precision: str) -> keras.Model:
    """Builds the generator to compute in `precision`."""
    return _built(models, "model", config.model, precision, scale=config.scale, channels=channels)


def _built(family: ModuleType, kind: str, spec: Component, precision: str, **given: Any) -> keras.Model:
    """Builds a network; what it says against its options or sizes is the user's to mend."""
    try:
        with _policy(precision):
            return component.build(family, spec.model_dump(), **given)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{kind} {spec.name}: {error}") from error
