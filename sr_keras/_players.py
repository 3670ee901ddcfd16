"""What a training is made of, built from its config: networks, losses, optimizers, one player or two.

A part of the verbs `train` and `import_weights`; beside it only verbs see a `Config`.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import fields
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

from sr_keras import (
    adversarial,
    component,
    content,
    degradations,
    discriminators,
    losses,
    metrics,
    models,
    optimization,
    quantize,
    scoring,
)  # fmt: skip
from sr_keras.adversarial._objective import Objective
from sr_keras.config import Component, Config, Game, Train
from sr_keras.content import Term
from sr_keras.data import Degrade
from sr_keras.errors import InputError
from sr_keras.gan import Gan, Rules
from sr_keras.scoring import Measure
from sr_keras.state import Player, State


def supervised(config: Config, generator: keras.Model, terms: list[Term]) -> tuple[keras.Model, State]:
    """Compiles the generator with the sum of the losses."""
    counter, rate = _counter(), _factor("rate")
    optimizer = _optimizer(config, config.train, rate, ema=config.train.ema)
    content.compile_supervised(generator, terms, optimizer)
    return generator, State(Player(generator, generator.optimizer), counter, rate)


def game(config: Config, generator: keras.Model, terms: list[Term]) -> tuple[keras.Model, State]:
    """Sets the generator against a discriminator, which shares the learning rate's options where it has no own."""
    options = config.adversarial
    sizes = {"patch": config.data.patch, "channels": generator.output_shape[-1]}
    discriminator = _built(discriminators, "discriminator", options.discriminator, config.precision, **sizes)
    objective = _built(adversarial, "objective", options.objective, "float32")
    _check_penalty(objective, discriminator, options)
    counter, rate, gate = _counter(), _factor("rate"), _factor("gate")
    own = {field.name: getattr(options, field.name) for field in fields(Rules) if field.name != "seed"}
    model = Gan(generator, discriminator, objective, terms, Rules(seed=config.seed, **own), gate)
    shared = {key: getattr(config.train, key) for key in ("learning_rate", "schedule", "optimizer")}
    its = options.model_copy(update={key: getattr(options, key) or value for key, value in shared.items()})
    model.compile(
        _optimizer(config, config.train, rate, ema=config.train.ema),
        _optimizer(config, its, rate, gate, every=options.discriminator_steps),
    )
    state = State(
        Player(generator, model.generator_optimizer), counter, rate,
        Player(discriminator, model.discriminator_optimizer), (gate, model.accuracy),
    )  # fmt: skip
    return model, state


def _counter() -> keras.Variable:
    return keras.Variable(0, trainable=False, dtype="int32", name="steps", aggregation="only_first_replica")


def _factor(name: str) -> keras.Variable:
    return keras.Variable(1.0, trainable=False, name=name, aggregation="mean")


def _check_penalty(objective: Objective, discriminator: keras.Model, options: Game) -> None:
    normalised = any(isinstance(layer, keras.layers.BatchNormalization) for layer in discriminator.layers)
    if objective.gradient_penalty and normalised:
        raise InputError(
            f"objective {options.objective.name}: its penalty is of each picture alone, but discriminator "
            f"{options.discriminator.name} normalises over the batch; take patch with normalisation: none, or unet."
        )


def _optimizer(
    config: Config, options: Train | Game, *factors: keras.Variable, ema: float | None = None, every: int = 1
) -> keras.optimizers.Optimizer:
    steps = config.train.epochs * config.train.steps_per_epoch
    schedule = optimization.Schedule(
        options.learning_rate, steps=steps, every=every, factors=factors, **options.schedule.model_dump()
    )
    # Keras clips on each device what is then summed, the gradient of its part of the mean loss.
    clip_norm = options.clip_norm and options.clip_norm / tf.distribute.get_strategy().num_replicas_in_sync
    return optimization.optimizer(schedule, **options.optimizer.model_dump(), ema=ema, clip_norm=clip_norm)


def terms(config: Config, precision: str) -> list[Term]:
    """Builds the losses, whose networks compute in `precision`; a second one of a name is called `name_2`."""
    found: list[Term] = []
    for loss in config.losses:
        before = sum(other.name == loss.name for other in config.losses[: len(found)])
        function = _built(losses, "loss", Component(**loss.model_dump(exclude={"weight"})), precision)
        found.append(Term(f"{loss.name}_{before + 1}" if before else loss.name, loss.weight, function))
    return found


def degradation(config: Config) -> Degrade:
    """Builds what makes LR from HR."""
    return _built(degradations, "degradation", config.degradation, "float32", scale=config.scale)


def measures(terms: list[Term]) -> dict[str, Measure]:
    """Returns what a game is watched by on whole validation pictures: its content terms and the drift of colours."""
    drift = {"colour_drift": lambda pair, sr: metrics.colour_drift(pair.lr, sr)}
    return {term.name: scoring.of_loss(term.function) for term in terms} | drift


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
    """Builds the generator to compute in `precision`, fake-quantised if the config has a section for it."""
    model = float_network(config, channels, precision)
    if config.quantization is None:
        return model
    try:
        with _policy(precision):
            return quantize.fake_quantised(model, momentum=config.quantization.momentum)
    except ValueError as error:
        raise InputError(f"model {config.model.name}: {error}") from error


def float_network(config: Config, channels: int, precision: str = "float32") -> keras.Model:
    """Builds the generator without fake quantisation."""
    return _built(models, "model", config.model, precision, scale=config.scale, channels=channels)


def _built(family: ModuleType, kind: str, spec: Component, precision: str, **given: Any) -> Any:
    """Builds a component; what it says against its options or sizes is the user's to mend."""
    try:
        with _policy(precision):
            return component.build(family, spec.model_dump(), **given)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{kind} {spec.name}: {error}") from error
    except RecursionError as error:  # Keras walks a network's graph by calls in calls
        raise InputError(f"{kind} {spec.name}: is deeper than Keras can build; take one of fewer blocks.") from error
