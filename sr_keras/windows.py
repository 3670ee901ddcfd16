"""What is run on each window of a picture: the network for grey, RGB and alpha, ensemble, back-projection.

Each is a function of windows `[B, h, w, C]` that looks a known number of pixels further than the network (its reach is
widened by them), and none may depend on where a window was cut: rules are local, sums have one order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np

from sr_keras import image, resize
from sr_keras.errors import InputError
from sr_keras.predictor import Predictor
from sr_keras.tiling import Reach

_FILL = 8  # LR pixels over which colours are carried into what is transparent
_FAINT = 8  # levels of alpha in 255 below which a pixel's own colour counts less and less


@dataclass(frozen=True)
class Options:
    """How pictures are enlarged.

    `tile` is what is kept of a window, in LR pixels (None: from the free memory). `ensemble` averages the 8 flips and
    rotations (Timofte et al., 2016). `back_project` is the number of steps that bring the reduced output back to the
    input (Irani and Peleg, 1991). `alpha` says who enlarges transparency.
    """

    tile: int | None = None
    ensemble: bool = False
    back_project: int = 0
    alpha: Literal["model", "bicubic"] = "model"

    def __post_init__(self):
        if self.tile is not None and self.tile < 1:
            raise InputError(f"the tile must be 1 pixel or more, got {self.tile}; leave it out to follow the memory.")
        if self.back_project < 0:
            raise InputError(f"the steps of back-projection must be 0 or more, got {self.back_project}; try 10.")
        if self.alpha not in ("model", "bicubic"):
            raise InputError(f"alpha must be model or bicubic, got {self.alpha}.")


def network(
    model: Predictor, options: Options, channels: int, dtype: np.dtype
) -> tuple[Callable[[np.ndarray], np.ndarray], Reach]:
    """Builds what is run on each window `[B, h, w, channels]`, and how far it looks."""
    reach = model.reach
    if model.channels == 1 and channels > 2 and reach.halo is not None:
        reach = replace(reach, halo=max(reach.halo, 3))  # chroma is interpolated
    run = model.enlarge
    plain = not options.ensemble and not options.back_project and channels in (1, 3)
    if plain and dtype == np.uint8 and reach.exact:
        return model.enlarge_uint8, reach
    if options.ensemble:
        run = _ensemble(run, turns=model.size is None or model.size[0] == model.size[1])
    if options.back_project:
        run = _back_projected(run, options.back_project)
        reach = reach.widened(5 * options.back_project)
    if channels in (2, 4):
        run = _with_alpha(run, model.scale, options.alpha)
        reach = reach.widened(_FILL)
    return run, reach


def _ensemble(network: Callable, turns: bool) -> Callable:
    """Averages over the flips and, for windows that may be turned, the rotations by 90 degrees."""

    def enlarge(batch: np.ndarray) -> np.ndarray:
        total: Any = np.float32(0.0)
        for turn in range(4) if turns else (0, 2):
            for flip in (False, True):
                x = np.rot90(batch, turn, (1, 2))
                y = network(np.ascontiguousarray(x[:, :, ::-1] if flip else x))
                total = total + np.rot90(y[:, :, ::-1] if flip else y, -turn, (1, 2))
        return total / np.float32(8 if turns else 4)

    return enlarge


def _back_projected(network: Callable, steps: int) -> Callable:
    """Adds, step by step, the enlarged difference between the input and the reduced output."""

    def enlarge(batch: np.ndarray) -> np.ndarray:
        lr, sr = image.to_float(batch), network(batch).copy()
        for picture, result in zip(lr, sr, strict=True):
            for _ in range(steps):
                wrong = picture - resize.resized(result, *picture.shape[:2])
                result += resize.resized(wrong, *result.shape[:2])
                np.clip(result, 0.0, 1.0, out=result)
        return sr

    return enlarge


def _with_alpha(network: Callable, scale: int, method: str) -> Callable:
    """Enlarges colour and transparency apart; colours that nobody sees are replaced by those beside them first.

    Else the network would sharpen the edge between a logo's colour and whatever, mostly black, stands where it is
    transparent: dark fringes. The colours of neighbours are averaged with alpha as the weight, that is premultiplied.
    """

    def enlarge(batch: np.ndarray) -> np.ndarray:
        x = image.to_float(batch)
        alpha = x[..., -1:]
        out = np.empty((len(x), x.shape[1] * scale, x.shape[2] * scale, x.shape[3]), np.float32)
        out[..., :-1] = network(_filled(x[..., :-1], alpha))
        for k, plane in enumerate(alpha):
            if plane.min() == plane.max():
                out[k, ..., -1] = plane.max()  # what `_flat_kept` would make of it
                continue
            large = network(plane[None])[0] if method == "model" else resize.resized(plane, *out.shape[1:3])
            out[k, ..., -1] = _flat_kept(np.clip(large[..., 0], 0.0, 1.0), plane[..., 0], scale)
        return out

    return enlarge


def _flat_kept(large: np.ndarray, small: np.ndarray, scale: int) -> np.ndarray:
    """Puts `[h, w]` into its enlargement wherever it is flat for two pixels around: what is opaque stays opaque."""
    around = np.ones((5, 5), np.uint8)
    flat = cv2.dilate(small, around) == cv2.erode(small, around)
    return np.where(flat.repeat(scale, 0).repeat(scale, 1), small.repeat(scale, 0).repeat(scale, 1), large)


def _filled(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    if alpha.min() == 1.0:
        return colours
    near, weight = _blurred(colours * alpha), _blurred(alpha)
    seen = weight > 1e-6
    near = np.where(seen, near / np.where(seen, weight, 1.0), colours)
    trusted = np.clip(alpha * np.float32(255 / _FAINT), 0.0, 1.0)
    return np.clip(trusted * colours + (1.0 - trusted) * near, 0.0, 1.0)


def premultiplied(band: np.ndarray) -> np.ndarray:
    """Multiplies the colours of `[h, W, 2 or 4]` by alpha: float32 in [0, 1], fit for sums over neighbours."""
    x = image.to_float(band)
    return np.concatenate([x[..., :-1] * x[..., -1:], x[..., -1:]], axis=2)


def unmultiplied(band: np.ndarray) -> np.ndarray:
    """Inverts `premultiplied`; colours that nobody sees become black."""
    alpha = band[..., -1:]
    seen = alpha > 1e-3
    colours = np.where(seen, band[..., :-1] / np.where(seen, alpha, 1.0), 0.0)
    return np.concatenate([colours, alpha], axis=2)


def _blurred(pixels: np.ndarray) -> np.ndarray:
    """Blurs `[B, H, W, C]` with a Gaussian of 2.5 pixels, cut off at `_FILL`; beyond the border is nothing."""
    kernel = np.exp(-0.5 * (np.arange(-_FILL, _FILL + 1) / 2.5) ** 2).astype(np.float32)
    for axis in (1, 2):
        padding = [(_FILL, _FILL) if k == axis else (0, 0) for k in range(4)]
        padded, total = np.pad(pixels, padding), np.zeros_like(pixels)
        for k, weight in enumerate(kernel):
            total += weight * padded.take(range(k, k + pixels.shape[axis]), axis)
        pixels = total
    return pixels
