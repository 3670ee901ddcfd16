"""The adversarial game (Goodfellow et al., 2014) of super-resolution (SRGAN, Ledig et al., 2017): `train_step` alone.

Both gradients of a step are taken at the same weights, from one forward pass of each player: what SRGAN's and ESRGAN's
code does by turns, since their discriminator learns from the picture that the generator made before its own step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import tensorflow as tf

from sr_keras import content
from sr_keras.content import Term


class Objective(Protocol):
    """The losses of the game on logits; `sr_keras.adversarial` makes them."""

    generator_loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    discriminator_loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    gradient_penalty: Callable[..., tf.Tensor] | None
    margins: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@dataclass(frozen=True)
class Rules:
    """How the game is played.

    The adversarial loss counts `weight` times, 0 for the first `start` steps and growing over `ramp` more. The
    discriminator takes `discriminator_steps` steps for each of the generator. It is paused while the accuracy of its
    logits, averaged over some `window` steps, has been above `pause_above` and not yet below `resume_below`.
    """

    weight: float
    start: int = 0
    ramp: int = 0
    discriminator_steps: int = 1
    window: int = 200
    pause_above: float = 0.98
    resume_below: float = 0.9
    seed: int = 0


class Gan(keras.Model):
    """Trains `generator` against `discriminator`; `fit` takes `(lr, hr)` batches `[n*B, H, W, C]` in [0, 1].

    `n` is the rules' `discriminator_steps`: the generator learns from the last part of a batch, the discriminator from
    every part. `gate` is the factor of the discriminator's learning rate, 0 while it is paused; `accuracy` its average.

    The logs hold the total `loss`, the content terms by name, `adversarial`, the batch's `psnr`, the norms of both
    gradients before they are clipped, and what the discriminator thinks: its loss, mean logits of `real` and `fake`.
    """

    def __init__(
        self, generator: keras.Model, discriminator: keras.Model, objective: Objective, terms: Sequence[Term],
        rules: Rules, gate: keras.Variable,
    ) -> None:  # fmt: skip
        super().__init__(name="gan")
        self.generator, self.discriminator = generator, discriminator
        self.objective, self.terms, self.rules, self.gate = objective, tuple(terms), rules, gate
        self.accuracy = self.add_weight(
            name="accuracy", shape=(), initializer=keras.initializers.Constant(0.5), trainable=False, aggregation="mean"
        )
        names = ["loss", *(term.name for term in terms), "adversarial", "adversarial_weight", "psnr", "gradient_norm"]
        names += [f"discriminator_{name}" for name in ("loss", "real", "fake", "accuracy", "gradient_norm", "paused")]
        self.trackers = [keras.metrics.Mean(name=name) for name in names]
        self.built = True

    def compile(
        self, generator_optimizer: keras.optimizers.Optimizer, discriminator_optimizer: keras.optimizers.Optimizer
    ) -> None:
        """Takes both optimizers and builds their variables. Keras is given none: `fit` would average all weights."""
        super().compile(optimizer=None, jit_compile=False)
        self.generator_optimizer = _scaled(generator_optimizer, self.generator)
        self.discriminator_optimizer = _scaled(discriminator_optimizer, self.discriminator)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, Any]:
        """Plays one step of the generator and `discriminator_steps` of the discriminator; returns the logs."""
        number = self.rules.discriminator_steps
        parts = list(zip(tf.split(data[0], number), tf.split(data[1], number), strict=True))
        for number, (lr, hr) in enumerate(parts[:-1]):
            self._train_discriminator(lr, hr, number)
        found = self._train_both(*parts[-1], len(parts) - 1)
        for tracker in self.trackers:
            tracker.update_state(found[tracker.name])
        return {tracker.name: tracker.result() for tracker in self.trackers}

    def _train_discriminator(self, lr: tf.Tensor, hr: tf.Tensor, number: int) -> None:
        sr = tf.stop_gradient(self.generator(lr, training=True))
        with tf.GradientTape() as tape:
            real, fake = self.discriminator(hr, training=True), self.discriminator(sr, training=True)
            loss = self._discriminator_loss(real, fake, hr, sr, number)
            scaled = self._scaled_loss(self.discriminator_optimizer, loss)
        self._apply_discriminator(tape, scaled, real, fake)

    def _train_both(self, lr: tf.Tensor, hr: tf.Tensor, number: int) -> dict[str, tf.Tensor]:
        weight = self._weight()
        with tf.GradientTape(persistent=True) as tape:
            sr = self.generator(lr, training=True)
            real, fake = self.discriminator(hr, training=True), self.discriminator(sr, training=True)
            found = {term.name: term.function(hr, sr) for term in self.terms}
            found["adversarial"] = self.objective.generator_loss(real, fake)
            found["loss"] = tf.add_n([term.weight * found[term.name] for term in self.terms])
            found["loss"] += weight * found["adversarial"]
            scaled = self._scaled_loss(self.generator_optimizer, found["loss"])
            found["discriminator_loss"] = self._discriminator_loss(real, fake, hr, tf.stop_gradient(sr), number)
            scaled_discriminator = self._scaled_loss(self.discriminator_optimizer, found["discriminator_loss"])
        variables = self.generator.trainable_variables
        gradients = tape.gradient(scaled, variables)
        found["gradient_norm"] = _norm(gradients, self.generator_optimizer)
        self.generator_optimizer.apply(gradients, variables)
        found |= self._apply_discriminator(tape, scaled_discriminator, real, fake)
        found["adversarial_weight"], found["psnr"] = weight, tf.reduce_mean(content.psnr(hr, sr))
        return found

    def _apply_discriminator(
        self, tape: tf.GradientTape, loss: tf.Tensor, real: tf.Tensor, fake: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Opens or shuts the gate by the accuracy so far, and takes a step of the discriminator's."""
        accuracy = tf.reduce_mean(
            [tf.reduce_mean(tf.cast(m > 0.0, tf.float32)) for m in self.objective.margins(real, fake)]
        )
        self.accuracy.assign(self.accuracy + (accuracy - self.accuracy) / self.rules.window)
        average = tf.convert_to_tensor(self.accuracy)
        gate = tf.where(average < self.rules.resume_below, 1.0, tf.convert_to_tensor(self.gate))
        self.gate.assign(tf.where(average > self.rules.pause_above, 0.0, gate))
        variables = self.discriminator.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.discriminator_optimizer.apply(gradients, variables)
        return {
            "discriminator_real": tf.reduce_mean(real), "discriminator_fake": tf.reduce_mean(fake),
            "discriminator_accuracy": accuracy, "discriminator_paused": 1.0 - tf.convert_to_tensor(self.gate),
            "discriminator_gradient_norm": _norm(gradients, self.discriminator_optimizer),
        }  # fmt: skip

    def _discriminator_loss(
        self, real: tf.Tensor, fake: tf.Tensor, hr: tf.Tensor, sr: tf.Tensor, number: int
    ) -> tf.Tensor:
        loss = self.objective.discriminator_loss(real, fake)
        if self.objective.gradient_penalty is None:
            return loss
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(_iterations(self.generator_optimizer), tf.int32)
        seed = tf.stack([step, tf.cast(replica, tf.int32) * self.rules.discriminator_steps + number])
        seed = tf.random.experimental.stateless_fold_in(seed, self.rules.seed)
        return loss + self.objective.gradient_penalty(
            lambda pictures: self.discriminator(pictures, training=True), hr, sr, seed
        )

    def _weight(self) -> tf.Tensor:
        step = tf.cast(_iterations(self.generator_optimizer), tf.float32)
        return self.rules.weight * tf.clip_by_value((step - self.rules.start + 1.0) / max(self.rules.ramp, 1), 0.0, 1.0)

    @staticmethod
    def _scaled_loss(optimizer: keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
        """Divides by the replicas, whose gradients are summed; under mixed_float16 the optimizer scales it, too."""
        return optimizer.scale_loss(loss / tf.distribute.get_strategy().num_replicas_in_sync)


def _scaled(optimizer: keras.optimizers.Optimizer, network: keras.Model) -> keras.optimizers.Optimizer:
    half = any(layer.dtype_policy.name == "mixed_float16" for layer in network.layers)
    return keras.optimizers.LossScaleOptimizer(optimizer) if half else optimizer


def _iterations(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    return tf.convert_to_tensor(getattr(optimizer, "inner_optimizer", optimizer).iterations)


def _norm(gradients: Sequence[tf.Tensor], optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """Returns the gradients' global norm; under mixed_float16 the scale of the loss is divided out."""
    norm = tf.linalg.global_norm(gradients)
    scale = getattr(optimizer, "dynamic_scale", None)
    return norm if scale is None else norm / tf.convert_to_tensor(scale)
