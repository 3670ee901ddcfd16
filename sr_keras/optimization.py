"""Learning-rate schedules and optimizers, as a function of the step alone, so that a resumed run goes on exactly."""

import math
from collections.abc import Sequence
from typing import Literal

import keras
from keras import ops


@keras.saving.register_keras_serializable("sr_keras")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then constant, cosine (Loshchilov and Hutter, 2017) or multi-step.

    `steps` is the length of the whole run, `final` the cosine's last value as a part of `learning_rate`, `milestones`
    the steps at which `multi_step` multiplies the rate by `gamma`. `every` says how many steps of the optimizer are one
    of the run. The rate is multiplied by the `factors`, variables that whoever made them may change meanwhile.
    """

    def __init__(
        self, learning_rate: float, *, name: Literal["constant", "cosine", "multi_step"] = "constant",
        steps: int = 1, warmup: int = 0, milestones: tuple[int, ...] = (), gamma: float = 0.5, final: float = 0.0,
        every: int = 1, factors: Sequence[keras.Variable] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.learning_rate, self.name, self.steps, self.warmup = learning_rate, name, steps, warmup
        self.milestones, self.gamma, self.final = tuple(milestones), gamma, final
        self.every, self.factors = every, tuple(factors)

    def __call__(self, step):
        step = ops.cast(step // self.every, "float32")
        rate = self.learning_rate * self._shape(step)
        for factor in self.factors:
            rate = rate * factor
        return rate * ops.minimum((step + 1.0) / self.warmup, 1.0) if self.warmup else rate

    def _shape(self, step):
        if self.name == "cosine":
            part = ops.clip((step - self.warmup) / max(self.steps - self.warmup, 1), 0.0, 1.0)
            return self.final + (1.0 - self.final) * 0.5 * (1.0 + ops.cos(math.pi * part))
        shape = ops.ones_like(step)
        if self.name == "multi_step":
            for milestone in self.milestones:
                shape = shape * ops.where(step >= milestone, self.gamma, 1.0)
        return shape

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate, "name": self.name, "steps": self.steps, "warmup": self.warmup,
            "milestones": self.milestones, "gamma": self.gamma, "final": self.final, "every": self.every,
        }  # fmt: skip


def optimizer(
    schedule: Schedule, *, name: Literal["adam", "adamw"] = "adam", beta_1: float = 0.9, beta_2: float = 0.999,
    epsilon: float = 1e-7, weight_decay: float | None = None, ema: float | None = None, clip_norm: float | None = None,
) -> keras.optimizers.Optimizer:  # fmt: skip
    """Builds Adam or AdamW with averaged weights (`ema`: momentum) and clipping of the global gradient norm."""
    kind = keras.optimizers.AdamW if name == "adamw" else keras.optimizers.Adam
    decay = {} if weight_decay is None else {"weight_decay": weight_decay}
    return kind(
        learning_rate=schedule, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, global_clipnorm=clip_norm,
        use_ema=ema is not None, ema_momentum=ema or 0.99, **decay,
    )  # fmt: skip
