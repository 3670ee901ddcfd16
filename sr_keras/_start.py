"""Where a training begins: the weights of another run, and a fake-quantised network's first ranges.

A part of the verb `train`.
"""

from collections.abc import Iterator
from pathlib import Path

import keras

from sr_keras import _players as players
from sr_keras import calibration, content, data, predictor, quantize
from sr_keras.config import Config
from sr_keras.data import Degrade, Patches
from sr_keras.errors import InputError
from sr_keras.layers.collapsible_conv import Collapsible, collapse

_PICTURE = (96, 128)  # LR pixels of a picture for calibration


def begin(generator: keras.Model, config: Config, patches: Patches, degrade: Degrade) -> Iterator[tuple[str, bool]]:
    """Gives the network the weights of `start_from`, and a fake-quantised one its ranges.

    Yields what was taken, and whether that was all. Raises `InputError` for a network that does not fit.
    """
    source = predictor.open_network(Path(config.start_from)) if config.start_from else None
    if config.quantization is None:
        if source is not None:
            source = quantize.without_fake_quantisation(source)
            wide = any(isinstance(layer, Collapsible) for layer in generator.layers)
            yield _take_weights(generator, source if wide else collapse(source), config)
        return
    if source is not None and [w.shape for w in source.weights] == [w.shape for w in generator.weights]:
        yield _take_weights(generator, source, config)  # its ranges too
        return
    if source is not None:
        exact = collapse(players.float_network(config, generator.input_shape[-1]))
        yield _take_weights(exact, collapse(quantize.without_fake_quantisation(source)), config)
        generator.set_weights(quantize.fake_quantised(exact).get_weights())
    each, (height, width) = -(-config.quantization.pictures // len(patches.sources)), generator.input_shape[1:3]
    crop = _PICTURE if height is None else (height, width)
    pairs = data.pairs(patches.sources, degrade, scale=config.scale, seed=config.seed, most=each, crop=crop)
    calibration.calibrate(generator, calibration.pictures_for(generator, pairs), rule=config.quantization.ranges)


def _take_weights(generator: keras.Model, source: keras.Model, config: Config) -> tuple[str, bool]:
    place = config.start_from
    same_scale = predictor.of_keras(source, str(place)).scale == config.scale
    taken, total = content.take_weights(generator, source, same_scale=same_scale), len(generator.weights)
    if 2 * taken < total:
        raise InputError(
            f"start_from {place}: only {taken} of {total} weights fit model {generator.name}; take a like network."
        )
    left = "" if taken == total else f"; the last {total - taken} begin anew"
    return f"start_from {place}: took {taken} of {total} weights{left}", taken == total
