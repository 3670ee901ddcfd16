"""Supervised training: a functional model compiled with a weighted sum of losses, each term in the logs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from sr_keras.layers.collapsible_conv import Collapsible

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
    """Copies layers in order from `source` to `target` as long as their shapes agree; returns how many variables.

    A collapsible convolution takes over a plain one, or one of another kind, and goes on from its kernel. Networks
    of two scales have the same layers up to the enlarging ones; the last layer with weights is never taken from another
    scale, even if its shape agrees, as a deconvolution's does.
    """
    into, its = ([layer for layer in network.layers if layer.weights] for network in (target, source))
    taken = 0
    for layer, other in zip(into if same_scale else into[:-1], its, strict=False):
        are_both = isinstance(layer, Collapsible) and isinstance(other, keras.layers.Conv2D)
        values = layer.weights_of(other) if are_both else other.get_weights()
        if [tuple(weight.shape) for weight in layer.weights] != [value.shape for value in values]:
            break
        layer.set_weights(values)
        taken += len(values)
    return taken
