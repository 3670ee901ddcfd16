"""All that a training must save to go on exactly: the players' weights, their optimizers, and a few variables more."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops


@dataclass(frozen=True)
class Player:
    """A network that is trained, and the optimizer that holds its step, slots and averages, as `fit` uses it.

    Under mixed_float16 that is the optimizer that scales the loss, with the real one inside.
    """

    network: keras.Model
    optimizer: keras.optimizers.Optimizer

    @property
    def variables(self) -> list:
        return [*self.network.weights, *self.optimizer.variables]

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(ops.convert_to_numpy(self.optimizer.learning_rate))


@dataclass(frozen=True)
class State:
    """The state of a training.

    `counter` holds the steps done when the state was last saved: the optimizers' own counts stand still where float16
    overflows and a step is left out. `rate` is the factor of every learning rate, halved at each roll-back; `others`
    are variables that no network and no optimizer holds.
    """

    generator: Player
    counter: keras.Variable
    rate: keras.Variable
    discriminator: Player | None = None
    others: Sequence[keras.Variable] = ()

    @property
    def players(self) -> list[Player]:
        return [self.generator] if self.discriminator is None else [self.generator, self.discriminator]

    @property
    def variables(self) -> list:
        own = (variable for player in self.players for variable in player.variables)
        return [*own, self.counter, self.rate, *self.others]

    @property
    def step(self) -> int:
        """The number of steps done when the state was saved or restored."""
        return int(ops.convert_to_numpy(self.counter))

    def averaged_weights(self) -> list:
        """Returns the generator's weights, the moving averages in place of the trained ones if there are any.

        What is not trained, such as the statistics of batch normalisation, is not averaged.
        `finalize_variable_values` is Keras' public way to the averages; the trained weights are put back at once.
        """
        network, optimizer = self.generator.network, inner(self.generator.optimizer)
        trained = network.get_weights()
        if not optimizer.use_ema or int(ops.convert_to_numpy(optimizer.iterations)) == 0:
            return trained
        optimizer.finalize_variable_values(network.trainable_variables)
        averaged = network.get_weights()
        network.set_weights(trained)
        return averaged

    def packed(self, step: int) -> bytes:
        """Packs all variables as an .npz file; `step` is how many are done.

        It is made in memory: on a full disk the HDF5 library of `save_weights` prints pages of errors and crashes.
        """
        self.counter.assign(step)
        file = io.BytesIO()
        np.savez(file, *(ops.convert_to_numpy(variable) for variable in self.variables))
        return file.getvalue()

    def restore(self, file: Path | io.BytesIO) -> None:
        """Puts `packed` back. Raises `ValueError` if it is of another network, `OSError` if it can't be read."""
        with np.load(file) as packed:
            variables, values = self.variables, [packed[name] for name in packed.files]
        if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
            raise ValueError("it is of another network, optimizer or version")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def is_finite(self) -> bool:
        """Says whether no weight of a player is infinite or not a number."""
        return all(np.isfinite(w).all() for player in self.players for w in player.network.get_weights())


def inner(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer itself where another one around it scales the loss."""
    return optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer
