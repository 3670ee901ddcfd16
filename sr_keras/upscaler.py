"""Upscaler: any picture, of any size, to any size, with one model; what `upscale` runs and Python calls."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import psutil

from sr_keras import image, resize, runtimes, tiling, windows, zoo
from sr_keras.errors import InputError
from sr_keras.predictor import Predictor
from sr_keras.rows import Rows
from sr_keras.tiling import Reach
from sr_keras.windows import Options

MOST_PASSES = 3
_WINDOW_BYTES = 400 << 20
_UNKNOWN_BYTES = 1600  # a pixel of output, for a network that does not say what it needs


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


class Upscaler:
    """Enlarges pictures with one model.

    ```python
    enlarge = sr_keras.Upscaler(scale=3.5)  # with the shipped weights; or Upscaler("runs/mine", scale=3.5)
    sr = enlarge(lr)  # uint8, uint16 or float32 in [0, 1]; [H, W] or [H, W, 1, 2, 3 or 4]
    ```

    Args:
        model: the name of shipped weights such as `s-x2`, a run folder, `.keras`, `.tflite`, `.onnx`, OpenVINO
            `.xml`, SavedModel folder, or `nearest`, `bilinear`, `bicubic`, `lanczos`; default the best shipped weights
            for `scale`, those for 2 where it is not given.
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
        self, model: str | Path | None = None, *, scale: float | None = None, width: int | None = None,
        height: int | None = None, tile: int | None = None, runtime: str = "auto", exact: bool = False,
        ensemble: bool = False, back_project: int = 0, alpha: Literal["model", "bicubic"] = "model",
    ):  # fmt: skip
        self.size = Size(scale, width, height)
        self.options = Options(tile, ensemble, back_project, alpha)
        model = zoo.best(scale) if model is None else model
        self.predictor = runtimes.open_model(model, runtime=runtime, exact=exact)
        if self.predictor.interpolates and self.size == Size():
            raise InputError(f"{model}: an interpolation needs a size, such as --scale 2.")
        self._one_at_a_time = threading.Lock()  # most runtimes hold one set of buffers

    def notes_of(self, channels: int = 3) -> tuple[str, ...]:
        """Says where a picture of so many channels is not what it would be untiled, and why."""
        if self.predictor.interpolates:
            return ()
        reach = windows.network(self.predictor, self.options, channels, np.dtype(np.float32))[1]
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
        if not isinstance(pixels, np.ndarray):
            raise ValueError(f"pixels must be a NumPy array, got {type(pixels).__name__}; read the picture first.")
        if pixels.dtype not in (np.uint8, np.uint16, np.float32):
            raise ValueError(f"pixels must be uint8, uint16 or float32 in [0, 1], got {pixels.dtype}; convert first.")
        # A little above 1 is a filter's overshoot.
        if pixels.dtype == np.float32 and pixels.size and pixels.max() > 2.0:
            raise ValueError(f"float32 pixels must be in [0, 1], got up to {pixels.max():g}; divide by 255 first.")
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
            channels, has_alpha = rows.channels, rows.channels in (2, 4)
            rows = rows.mapped(windows.premultiplied, channels, np.float32) if has_alpha else rows
            rows = resize.resized_rows(rows, *wanted, method=method)
            rows = rows.mapped(windows.unmultiplied, channels, np.float32) if has_alpha else rows
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
                    f"{self.predictor.name} reach; take a smaller size, or a model of a larger scale such as s-x4."
                )
        return passes

    def _enlarged(self, rows: Rows, dtype: np.dtype | type) -> Rows:
        """One pass of the model, window by window."""
        network, reach = windows.network(self.predictor, self.options, rows.channels, np.dtype(dtype))
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
    return f"{model.name} {reason}: tiles, where there are several, are blended and differ from the untiled picture"
