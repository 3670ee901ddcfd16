"""The adversarial game (Goodfellow et al., 2014) of super-resolution (SRGAN, Ledig et al., 2017): `train_step` alone.

Both gradients of a step are taken at the same weights, from one forward pass of each player: what SRGAN's and ESRGAN's
code does by turns, since their discriminator learns from the picture that the generator made before its own step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from sr_keras import content
from sr_keras.adversarial._objective import Objective
from sr_keras.content import Term
from sr_keras.state import inner


@dataclass(frozen=True)
class Rules:
    """How the game is played.

    The adversarial loss counts `weight` times, 0 for the first `start` steps and growing over `ramp` more. The
    discriminator takes `discriminator_steps` steps for each of the generator. It is paused while the accuracy of its
    logits, averaged over some `window` steps, has been above `pause_above` and not yet below `resume_below`.
    """

    weight: float
    start: int
    ramp: int
    discriminator_steps: int
    window: int
    pause_above: float
    resume_below: float
    seed: int


class Gan(keras.Model):
    """Trains `generator` against `discriminator`; `fit` takes `(lr, hr)` batches `[n*B, H, W, C]` in [0, 1].

    `n` is the rules' `discriminator_steps`: the discriminator learns from n parts of a batch one after another, the
    generator from the last; a part is every n-th sample, so that it is the same on any number of devices. `gate` is the
    factor of the discriminator's learning rate, 0 while it is paused; `accuracy` the average of its accuracy.

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
        count = self.rules.discriminator_steps
        parts = [(data[0][number::count], data[1][number::count]) for number in range(count)]
        for number, (lr, hr) in enumerate(parts[:-1]):
            self._train_discriminator(lr, hr, number)
        found = self._train_both(*parts[-1], count - 1)
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
        found["gradient_norm"] = _apply(self.generator_optimizer, tape, scaled, self.generator)
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
        norm = _apply(self.discriminator_optimizer, tape, loss, self.discriminator)
        return {
            "discriminator_real": tf.reduce_mean(real), "discriminator_fake": tf.reduce_mean(fake),
            "discriminator_accuracy": accuracy, "discriminator_paused": 1.0 - tf.convert_to_tensor(self.gate),
            "discriminator_gradient_norm": norm,
        }  # fmt: skip

    def _discriminator_loss(
        self, real: tf.Tensor, fake: tf.Tensor, hr: tf.Tensor, sr: tf.Tensor, number: int
    ) -> tf.Tensor:
        loss = self.objective.discriminator_loss(real, fake)
        if self.objective.gradient_penalty is None:
            return loss
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(inner(self.generator_optimizer).iterations, tf.int32)
        seed = tf.stack([step, tf.cast(replica, tf.int32) * self.rules.discriminator_steps + number])
        seed = tf.random.experimental.stateless_fold_in(seed, self.rules.seed)
        return loss + self.objective.gradient_penalty(
            lambda pictures: self.discriminator(pictures, training=True), hr, sr, seed
        )

    def _weight(self) -> tf.Tensor:
        step = tf.cast(inner(self.generator_optimizer).iterations, tf.float32)
        return self.rules.weight * tf.clip_by_value((step - self.rules.start + 1.0) / max(self.rules.ramp, 1), 0.0, 1.0)

    @staticmethod
    def _scaled_loss(optimizer: keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
        """Divides by the replicas, whose gradients are summed; under mixed_float16 the optimizer scales it, too."""
        return optimizer.scale_loss(loss / tf.distribute.get_strategy().num_replicas_in_sync)


def _scaled(optimizer: keras.optimizers.Optimizer, network: keras.Model) -> keras.optimizers.Optimizer:
    half = any(layer.dtype_policy.name == "mixed_float16" for layer in network._flatten_layers())
    return keras.optimizers.LossScaleOptimizer(optimizer) if half else optimizer


def _apply(
    optimizer: keras.optimizers.Optimizer, tape: tf.GradientTape, loss: tf.Tensor, network: keras.Model
) -> tf.Tensor:
    """Takes a step and returns the gradient's global norm before it is clipped; of several devices, their mean.

    Under mixed_float16 the scale of the loss is divided out of it.
    """
    variables = network.trainable_variables
    gradients = tape.gradient(loss, variables)
    norm = tf.linalg.global_norm(gradients) * tf.distribute.get_strategy().num_replicas_in_sync
    scale = getattr(optimizer, "dynamic_scale", None)
    if scale is not None:
        norm /= tf.convert_to_tensor(scale)
    optimizer.apply(gradients, variables)
    return norm
