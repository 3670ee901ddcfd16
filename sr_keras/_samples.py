"""What an export compares with: the float network, the twin that int8 files are made of, what both make of pictures.

A part of the verb `export`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import get_args

import keras
import numpy as np

from sr_keras import calibration, image, metrics, predictor, quantize
from sr_keras.data import Pair
from sr_keras.errors import InputError

LARGEST, ODD = (96, 128), (75, 101)  # of the LR pictures for files of free size
_PIXELS = 8 * LARGEST[0] * LARGEST[1]  # fewer pictures where they are larger
_LEAST_PICTURES = 2
_LARGE = 2_000_000  # parameters


@dataclass(frozen=True)
class Networks:
    """What is exported: the float network, and its fake-quantised twin, which int8 files are made of.

    `twin` is None where no int8 file is wanted, or the layers allow none: `reason` says why, and TFLite's converter
    measures the ranges. `ranges` says where the twin's come from, `losses` how many dB each rule would lose. `base` is
    the float network that losses are counted from, by the name `base_name`: the one that a twin's training started
    from, where that is there.
    """

    exact: keras.Model
    twin: keras.Model | None
    base: keras.Model
    base_name: str = "the same network in float"
    ranges: str = ""
    losses: tuple[tuple[str, float], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Sample:
    """One LR picture in [0, 1], its HR, and what the networks make of it; `base_psnr` is in dB against HR."""

    lr: np.ndarray
    hr: np.ndarray
    exact: np.ndarray
    twin: np.ndarray | None
    base_psnr: float


class Samples:
    """Real pictures at any LR size, with what the networks make of them, computed once."""

    def __init__(self, pairs: Sequence[Pair], networks: Networks) -> None:
        self.pairs, self.networks = pairs, networks
        self.exact = predictor.of_keras(networks.exact, "exact")
        self._twin = networks.twin and predictor.of_keras(networks.twin, "twin")
        self._base = self.exact if networks.base is networks.exact else predictor.of_keras(networks.base, "base")
        self.size = self.exact.size or LARGEST
        self.at = cache(self._at)

    def _at(self, size: tuple[int, int]) -> list[Sample]:
        count = max(_PIXELS // (size[0] * size[1]), _LEAST_PICTURES)
        return [self._sample(pair, size) for pair in self.pairs[:count]]

    def _sample(self, pair: Pair, size: tuple[int, int]) -> Sample:
        exact = self.exact
        hr_size = (side * exact.scale for side in size)
        fit = (image.fitted(pair.lr, *size), image.fitted(pair.hr, *hr_size))
        lr, hr = (image.with_channels(image.to_float(pixels), exact.channels) for pixels in fit)
        sr = exact.network(lr[None])[0]
        base = sr if self._base is exact else self._base.network(lr[None])[0]
        twin = None if self._twin is None else self._twin.network(lr[None])[0]
        return Sample(lr, hr, sr, twin, psnr(hr, base, exact.scale))


def psnr(hr: np.ndarray, sr: np.ndarray, scale: int) -> float:
    """Returns the PSNR in dB of pictures in [0, 1], clipped, without a border of `scale` pixels."""
    return metrics.psnr(*(image.shave(pixels, scale) * 255.0 for pixels in (hr, np.clip(sr, 0.0, 1.0))))


def for_int8(network: keras.Model, rule: str, pairs: Sequence[Pair], pictures: Sequence[np.ndarray]) -> Networks:
    """Finds the twin for int8: the network itself if it was trained so, else one with ranges by `rule` from `pictures`.

    `auto` takes the rule that loses least on `pairs`. Raises `InputError` where `rule` is `qat` and it was not trained,
    or is another than the converter's own and the layers leave the ranges to TFLite's converter.
    """
    if quantize.is_fake_quantised(network):
        exact = quantize.without_fake_quantisation(network)
        return Networks(exact, network, exact, ranges="trained")
    if rule == "qat":
        raise InputError(
            "int8: qat: the network was not trained for int8; train it so, with start_from and a section quantization "
            "in its config (configs/anchor_x2_qat.yaml), or set int8: auto."
        )
    try:
        twin = quantize.fake_quantised(network)
    except ValueError as error:
        if rule not in ("auto", "minmax"):
            raise InputError(f"int8: {rule}: {error}") from error
        return Networks(network, None, network, reason=str(error))
    if network.count_params() > _LARGE:  # hours otherwise
        free = None in network.input_shape[1:3]
        pictures = [picture[:48, :64] if free else picture for picture in pictures[:8]]
    measured, losses = calibration.Calibration(twin, pictures), []
    samples = Samples(pairs, Networks(network, None, network))
    exact = samples.at(samples.size)
    for each in get_args(calibration.Rule) if rule == "auto" else (rule,):
        measured.set_ranges(each)
        enlarge = predictor.of_keras(twin, "twin").network
        lost = [s.base_psnr - psnr(s.hr, enlarge(s.lr[None])[0], samples.exact.scale) for s in exact]
        losses.append((each, float(np.mean(lost))))
    best = min(losses, key=lambda loss: loss[1])[0]
    measured.set_ranges(best)
    return Networks(network, twin, network, ranges=best, losses=tuple(losses))
