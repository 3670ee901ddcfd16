"""Supervised training: a functional model compiled with a weighted sum of losses, each term in the logs."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Term:
    """A loss `f(hr, sr) -> scalar`, its name in the logs and its weight in the sum."""

    name: str
    weight: float
    function: LossFunction


def compile_supervised(generator: keras.Model, terms: Sequence[Term], optimizer: keras.optimizers.Optimizer) -> None:
    """Compiles `generator` for `fit` on `(lr, hr)` batches and builds the optimizer's variables.

    The logs hold `loss`, `psnr` of the batch, and each term by name where there is more than one. XLA stays off: on a
    CPU it is slower than oneDNN's convolutions.
    """

    def loss(hr: tf.Tensor, sr: tf.Tensor) -> tf.Tensor:
        # Keras divides losses by the replicas, whose gradients are summed, but leaves a scalar as it is.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        return tf.add_n([term.weight * term.function(hr, sr) for term in terms]) / replicas

    metrics = [keras.metrics.MeanMetricWrapper(psnr, name="psnr")]
    if len(terms) > 1:
        metrics += [keras.metrics.MeanMetricWrapper(term.function, name=term.name) for term in terms]
    generator.compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=False)
    generator.optimizer.build(generator.trainable_variables)  # under float16 it is wrapped to scale the loss


def psnr(hr: tf.Tensor, sr: tf.Tensor) -> tf.Tensor:
    """Returns the PSNR in dB of each of `[B, H, W, C]` pictures in [0, 1], all channels and pixels: `[B]`."""
    error = tf.reduce_mean(tf.square(hr - sr), axis=(1, 2, 3))
    return -10.0 * tf.math.log(tf.maximum(error, 1e-10)) / tf.math.log(10.0)


def take_weights(target: keras.Model, source: keras.Model, *, same_scale: bool) -> int:
    """Copies weights in order from `source` to `target` as long as their shapes agree; returns how many variables.

    Networks of two scales have the same layers up to the enlarging ones; the last layer with weights is never taken
    from another scale, even if its shape agrees, as a deconvolution's does.
    """
    kept = 0 if same_scale else len([layer for layer in target.layers if layer.weights][-1].weights)
    taken = 0
    for into, value in zip(target.weights[: len(target.weights) - kept], source.get_weights(), strict=False):
        if tuple(into.shape) != value.shape:
            break
        into.assign(value)
        taken += 1
    return taken


def averaged_weights(model: keras.Model) -> list:
    """Returns the model's weights with the optimizer's moving averages in place of the trained ones, if it keeps any.

    `finalize_variable_values` is Keras' public way to the averages; the trained weights are put back at once.
    """
    trained = model.get_weights()
    optimizer = _optimizer(model)
    if not optimizer.use_ema or steps_done(model) == 0:
        return trained
    optimizer.finalize_variable_values(model.trainable_variables)
    averaged = model.get_weights()
    model.set_weights(trained)
    return averaged


def steps_done(model: keras.Model) -> int:
    """Returns the step count that the optimizer keeps, on one device or several."""
    return int(ops.convert_to_numpy(_optimizer(model).iterations))


def state(model: keras.Model) -> bytes:
    """Packs the weights and the optimizer's variables (step, slots, averages) of a compiled model as an .npz file.

    It is made in memory: on a full disk the HDF5 library of `save_weights` prints pages of errors and crashes.
    """
    packed = io.BytesIO()
    np.savez(packed, *(ops.convert_to_numpy(variable) for variable in _variables(model)))
    return packed.getvalue()


def restore(model: keras.Model, path: Path) -> None:
    """Puts `state` back. Raises `ValueError` if it is of another network, `OSError` if it can't be read."""
    with np.load(path) as packed:
        variables, values = _variables(model), [packed[name] for name in packed.files]
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise ValueError("it is of another network or optimizer")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _variables(model: keras.Model) -> list:
    return [*model.weights, *model.optimizer.variables]


def _optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Under mixed_float16 Keras wraps the optimizer in one that scales the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)
