"""Upscaler: any picture, of any size, to any size, with one model; what `upscale` runs and Python calls."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import psutil

from sr_keras import image, resize, runtimes, tiling
from sr_keras.errors import InputError
from sr_keras.predictor import Predictor
from sr_keras.rows import Rows
from sr_keras.tiling import Reach

MOST_PASSES = 3
_WINDOW_BYTES = 192 << 20
_UNKNOWN_BYTES = 1600  # a pixel of output, for a network that does not say what it needs
_FILL = 8  # LR pixels over which colours are carried into what is transparent
_FAINT = 8  # levels of alpha in 255 below which a pixel's own colour counts less and less


@dataclass(frozen=True)
class Size:
    """The wanted size: `scale` times as large, or of a `width` or `height`, or as large as fits into both.

    The aspect is kept. Without any, the model's own scale counts.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self):
        if self.scale is not None and (self.width or self.height):
            raise InputError("--scale and a size in pixels exclude each other; give one of them.")
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise InputError(f"the scale must be more than 0, got {self.scale}; try 2.")
        if min(self.width or 1, self.height or 1) < 1:
            raise InputError("a size in pixels must be 1 or more.")

    def of(self, height: int, width: int, own: int) -> tuple[int, int]:
        """Returns the (height, width) that an LR picture becomes; `own` is the model's scale."""
        if self.width is None and self.height is None:
            factor = self.scale or own
            return math.ceil(height * factor - 1e-9), math.ceil(width * factor - 1e-9)
        by_width, by_height = (self.width or math.inf) / width, (self.height or math.inf) / height
        if by_width <= by_height:
            return max(round(height * by_width), 1), int(self.width or 1)
        return int(self.height or 1), max(round(width * by_height), 1)


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


class Upscaler:
    """Enlarges pictures with one model.

    ```python
    enlarge = sr_keras.Upscaler("runs/mine", scale=3.5)
    sr = enlarge(lr)  # uint8, uint16 or float32 in [0, 1]; [H, W] or [H, W, 1, 2, 3 or 4]
    ```

    Args:
        model: a run folder, `.keras`, `.tflite`, `.onnx`, OpenVINO `.xml`, SavedModel folder, or `nearest`,
            `bilinear`, `bicubic`, `lanczos`.
        scale: any number; default the model's own. The model runs as often as needed, three times at most, then the
            result is reduced, antialiased as by MATLAB's imresize.
        width, height: the wanted size in pixels instead; with both, the picture fits into them.
        tile: LR pixels that are kept of each window; default from the free memory.
        runtime: for a Keras network: `auto` (the fastest that is within 60 dB of float32), or one of `runtimes.NAMES`.
        exact: `auto` takes float32 only.
        ensemble, back_project, alpha: see `Options`.

    Raises:
        InputError: what is no model, or options that exclude each other.
    """

    def __init__(
        self, model: str | Path, *, scale: float | None = None, width: int | None = None, height: int | None = None,
        tile: int | None = None, runtime: str = "auto", exact: bool = False, ensemble: bool = False,
        back_project: int = 0, alpha: Literal["model", "bicubic"] = "model",
    ):  # fmt: skip
        self.size = Size(scale, width, height)
        self.options = Options(tile, ensemble, back_project, alpha)
        self.predictor = runtimes.open_model(model, runtime=runtime, exact=exact)
        if self.predictor.interpolates and self.size == Size():
            raise InputError(f"{model}: an interpolation needs a size, such as --scale 2.")
        self._one_at_a_time = threading.Lock()  # most runtimes hold one set of buffers

    def notes_of(self, channels: int = 3) -> tuple[str, ...]:
        """Says where a picture of so many channels is not what it would be untiled, and why."""
        if self.predictor.interpolates:
            return ()
        reach = _window_network(self.predictor, self.options, channels, np.dtype(np.float32))[1]
        return () if reach.exact else (_blended(self.predictor, reach),)

    @property
    def scale(self) -> int:
        """The model's own scale; 1 for an interpolation."""
        return self.predictor.scale

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Enlarges `[H, W]` or `[H, W, C]` (1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha) to the same type.

        Pixels are uint8, uint16, or float32 in [0, 1]; alpha is not premultiplied. Raises `ValueError` for others, and
        `InputError` for a size that takes more than three passes.
        """
        if pixels.dtype not in (np.uint8, np.uint16, np.float32):
            raise ValueError(f"pixels must be uint8, uint16 or float32 in [0, 1], got {pixels.dtype}; convert first.")
        planes = pixels[..., None] if pixels.ndim == 2 else pixels
        if planes.ndim != 3 or not 1 <= planes.shape[2] <= 4 or planes.size == 0:
            raise ValueError(f"a picture is [H, W] or [H, W, 1 to 4], got {list(pixels.shape)}; give one at a time.")
        out = self.stream(Rows.of(planes), pixels.dtype).whole()
        return out[..., 0] if pixels.ndim == 2 else out

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Returns the (height, width) that a picture of that size becomes. Raises `InputError` over three passes."""
        wanted = self.size.of(height, width, self.scale)
        self._passes(height, width, wanted)
        return wanted

    def stream(self, rows: Rows, dtype: np.dtype | type) -> Rows:
        """Returns the stream of an enlarged picture, of `dtype`; nothing is computed before it is taken."""
        wanted = self.target(rows.height, rows.width)
        passes = self._passes(rows.height, rows.width, wanted)
        for k in range(passes):
            reached = (rows.height * self.scale, rows.width * self.scale)
            rows = self._enlarged(rows, dtype if k == passes - 1 and reached == wanted else np.dtype(np.float32))
        if (rows.height, rows.width) == wanted and rows.dtype == dtype:
            return rows
        if (rows.height, rows.width) != wanted:
            method = self.predictor.name if self.predictor.interpolates else "bicubic"
            has_alpha = rows.channels in (2, 4)
            rows = resize.resized_rows(rows.mapped(_premultiplied, rows.channels, np.float32) if has_alpha else rows,
                                       *wanted, method=method)  # fmt: skip
            rows = rows.mapped(_unmultiplied, rows.channels, np.float32) if has_alpha else rows
        return rows.mapped(lambda band: image.from_float(band, dtype), rows.channels, dtype)  # clips, too

    def _passes(self, height: int, width: int, wanted: tuple[int, int]) -> int:
        if self.predictor.interpolates:
            return 0
        passes = 0
        while height < wanted[0] or width < wanted[1]:
            height, width, passes = height * self.scale, width * self.scale, passes + 1
            if passes > MOST_PASSES or self.scale == 1:
                most = self.scale**MOST_PASSES
                raise InputError(
                    f"{wanted[1]}x{wanted[0]} is more than {most} times as large, what {MOST_PASSES} passes of "
                    f"{self.predictor.name} reach; take a smaller size or a model of a larger scale."
                )
        return passes

    def _enlarged(self, rows: Rows, dtype: np.dtype | type) -> Rows:
        """One pass of the model, window by window."""
        network, reach = _window_network(self.predictor, self.options, rows.channels, np.dtype(dtype))
        plan = tiling.plan(
            rows.height, rows.width, reach, most=self._window_pixels(), tile=self.options.tile,
            row_bytes=rows.width * self.scale**2 * rows.channels * np.dtype(dtype).itemsize,
        )  # fmt: skip

        def alone(batch: np.ndarray) -> np.ndarray:
            with self._one_at_a_time:
                return network(batch)

        return tiling.enlarged(rows, alone, scale=self.scale, reach=reach, plan=plan, dtype=dtype)

    def _window_pixels(self) -> int:
        each = self.predictor.bytes_per_pixel or _UNKNOWN_BYTES * self.scale**2
        return max(min(_WINDOW_BYTES, free_memory() // 4) // each, 1024)


def free_memory() -> int:
    """Returns the bytes that are free on the machine, or within the limit of its control group (a container's)."""
    free = psutil.virtual_memory().available
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
        return max(min(free, int(limit) - int(used)), 0)
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return free


def _blended(model: Predictor, reach: Reach) -> str:
    if reach.halo is None:
        reason = f"looks at the whole picture ({', '.join(model.global_layers) or 'measured'})"
    elif reach.alignment > 1:
        reason = f"shrinks its fixed size by {reach.alignment} inside"
    else:
        height, width = reach.size or (0, 0)
        reason = f"sees {reach.halo} pixels far, more than its size {height}x{width} leaves"
    return f"{model.name} {reason}: tiles are blended and differ from the untiled picture"


def _window_network(
    model: Predictor, options: Options, channels: int, dtype: np.dtype
) -> tuple[Callable[[np.ndarray], np.ndarray], Reach]:
    """Builds what is run on each window `[B, h, w, channels]`, and how far it looks."""
    reach = model.reach
    if model.channels == 1 and channels > 2 and reach.halo is not None:
        reach = replace(reach, halo=max(reach.halo, 3))  # chroma is interpolated
    network = model.enlarge
    plain = not options.ensemble and not options.back_project and channels in (1, 3)
    if plain and dtype == np.uint8 and reach.exact:
        return model.enlarge_uint8, reach
    if options.ensemble:
        network = _ensemble(network, turns=model.size is None or model.size[0] == model.size[1])
    if options.back_project:
        network = _back_projected(network, options.back_project)
        reach = reach.widened(5 * options.back_project)
    if channels in (2, 4):
        network = _with_alpha(network, model.scale, options.alpha)
        reach = reach.widened(_FILL)
    return network, reach


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


def _premultiplied(band: np.ndarray) -> np.ndarray:
    x = image.to_float(band)
    return np.concatenate([x[..., :-1] * x[..., -1:], x[..., -1:]], axis=2)


def _unmultiplied(band: np.ndarray) -> np.ndarray:
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
