"""Enlarges a picture of any size window by window, in bounded memory, with the result of the whole picture.

A network of finite reach sees no further than its halo. Windows that overlap by two halos therefore hold, up to the
middle of their overlap, the very pixels of the whole picture; where a window ends with the picture, the network's own
padding is the whole picture's. A network that looks at everything can't be cut exactly: its windows are blended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from sr_keras import image
from sr_keras.rows import Rows

Network = Callable[[np.ndarray], np.ndarray]

BLEND = 16  # LR pixels over which two windows fade into each other where the reach is not finite
_STRIP_BYTES = 48 << 20
_MOST_AT_ONCE = 16
_JOINING = 1.03  # what it costs to put windows beside one another, as a factor of the computing


@dataclass(frozen=True)
class Reach:
    """How a network may be cut, in LR pixels.

    `halo`: how far an output pixel looks (None: at the whole picture). `alignment`: windows start at multiples of it,
    and are as long as the picture modulo it. `size`: the only (height, width) that the network takes, None if any.
    """

    halo: int | None
    alignment: int = 1
    size: tuple[int, int] | None = None

    def widened(self, by: int) -> Reach:
        """Returns the reach of a function that looks `by` pixels further."""
        return self if self.halo is None else replace(self, halo=self.halo + by)

    @property
    def exact(self) -> bool:
        """Says whether windows give the pixels of the whole picture."""
        if self.halo is None or self.size is None:
            return self.halo is not None
        return self.alignment == 1 and min(self.size) >= 2 * self.halo + 1

    @property
    def margin(self) -> int:
        """What a window sees beyond what is kept of it, at either side."""
        if self.halo is not None and self.exact:
            return self.halo
        return BLEND if self.size is None else max(min(BLEND, min(self.size) // 4), 1)

    @property
    def least(self) -> int:
        """The shortest window of which anything is kept."""
        return (2 if self.exact else 4) * self.margin + self.alignment

    @property
    def step(self) -> int:
        """What windows are aligned to; a fixed size can't be fitted to the picture's length, so it is not."""
        return self.alignment if self.size is None else 1


WHOLE_PICTURE = Reach(None)


@dataclass(frozen=True)
class Plan:
    """The (height, width) of the windows in LR pixels, and how many of them go through the network at once."""

    window: tuple[int, int]
    batch: int = 1


def plan(height: int, width: int, reach: Reach, *, most: int, row_bytes: int, tile: int | None = None) -> Plan:
    """Chooses the windows of a picture: the fewest pixels computed twice, with `most` LR pixels at once.

    `row_bytes` is what one LR row makes of output: a row of windows makes 48 MB of it at most. `tile` is the user's
    own choice of how much is kept of a window, in LR pixels at either side. Windows that are smaller than `most` go
    through the network several at once.
    """
    if reach.size is not None:
        return _batched(reach.size, most)
    overlap = 2 * reach.margin
    if tile is not None:
        side = max(tile + overlap + reach.alignment - 1, reach.least)
        return _batched((min(side, height), min(side, width)), most)
    highest = max(_STRIP_BYTES // row_bytes, 16) + overlap
    choices = []
    for columns in range(1, max(width // 32, 1) + 1):
        window_width = min(max(_share(width, columns, overlap), reach.least), width)
        window_height = min(max(min(most // window_width, highest), reach.least), height)
        rows = _count(height, window_height, overlap)
        window_height = min(max(_share(height, rows, overlap), reach.least), height)
        area = window_height * window_width
        work = columns * rows * area * (1.0 if columns == 1 else _JOINING)
        choices.append((max(area - most, 0), work, columns, (window_height, window_width)))
    return Plan(min(choices)[3])


def _batched(window: tuple[int, int], most: int) -> Plan:
    return Plan(window, max(min(most // (window[0] * window[1]), _MOST_AT_ONCE), 1))


def enlarged(rows: Rows, network: Network, *, scale: int, reach: Reach, plan: Plan, dtype: np.dtype | type) -> Rows:
    """Returns the stream of `[H, W, C]` enlarged to `[scale*H, scale*W, C]`, as pixels of `dtype`.

    `network` maps `[B, h, w, C]` of the type of `rows` to `[B, scale*h, scale*w, C]`, float32 in [0, 1] or `dtype`
    itself. Where the memory runs out, the windows are halved and the work goes on with the row it was at. Raises
    `MemoryError` once they can't be smaller; whatever else `rows` or `network` raise comes through.
    """
    runner = _Runner(rows, network, scale, reach, plan, np.dtype(dtype))
    return Rows(runner.bands(), rows.height * scale, rows.width * scale, rows.channels, dtype)


@dataclass(frozen=True)
class _Span:
    """A window along one axis, from `start` to `end`; from `first` to `last` it is nearer than its neighbours."""

    start: int
    end: int
    first: int
    last: int


class _Runner:
    def __init__(self, rows: Rows, network: Network, scale: int, reach: Reach, plan: Plan, dtype: np.dtype):
        self._rows, self._network, self._scale, self._reach, self._plan = rows, network, scale, reach, plan
        self._dtype = dtype
        self._ramp = 0 if reach.exact else reach.margin

    def bands(self) -> Iterator[np.ndarray]:
        """Yields what each row of windows adds, from the top down; the next row is computed meanwhile."""
        height, half = self._rows.height, self._ramp // 2
        top, faded = 0, None  # the first row that is not given out, and the strip above it that fades out there
        with ThreadPoolExecutor(1) as pool:
            span = self._vertical(top)
            running = pool.submit(self._strip, span)
            while top < height:
                try:
                    strip = running.result()
                except _OutOfMemoryError as error:
                    self._halve(error.__cause__ or error)
                    span = self._vertical(top)
                    running = pool.submit(self._strip, span)
                    continue
                now = span
                if now.last < height:
                    span = self._vertical(now.last)
                    running = pool.submit(self._strip, span)
                first, end = top + (half if top else 0), now.last - (half if now.last < height else 0)
                if faded is not None and half:
                    yield self._finished(_faded(faded, self._part(strip, now, top - half, first)))
                yield self._finished(self._part(strip, now, first, end))
                faded = self._part(strip, now, end, now.last + half).copy() if now.last < height else None
                top = now.last

    def _part(self, strip: np.ndarray, span: _Span, first: int, last: int) -> np.ndarray:
        return strip[(first - span.start) * self._scale : (last - span.start) * self._scale]

    def _finished(self, pixels: np.ndarray) -> np.ndarray:
        return pixels if pixels.dtype == self._dtype else image.from_float(pixels, self._dtype)

    def _halve(self, error: BaseException) -> None:
        height, width = self._plan.window
        if self._plan.batch == 1 and self._reach.size is not None:
            raise MemoryError(f"a window of {height}x{width} does not fit into the memory") from error
        if self._plan.batch > 1:
            self._plan = replace(self._plan, batch=self._plan.batch // 2)
            return
        least = self._reach.least
        smaller = (max(height // 2, min(least, height)), max(width // 2, min(least, width)))
        if smaller == self._plan.window:
            raise MemoryError(f"a window of {height}x{width} does not fit into the memory") from error
        self._plan = Plan(smaller)

    def _vertical(self, top: int) -> _Span:
        height, reach = self._rows.height, self._reach
        window = _fitting(self._plan.window[0], height, reach.step)
        start = max(top - reach.margin, 0) // reach.step * reach.step
        end = start + window
        if end >= height:
            return _Span(max(height - window, 0), height, top, height)
        return _Span(start, end, top, end - reach.margin)

    def _horizontal(self) -> list[_Span]:
        width, reach = self._rows.width, self._reach
        window = _fitting(self._plan.window[1], width, reach.step)
        count = 1 if window == width else _count(width, window - reach.step + 1, 2 * reach.margin)
        step = max(width - window, 0) / max(count - 1, 1)
        starts = [int(k * step + 1e-6) // reach.step * reach.step for k in range(count)]
        ends = [min(start + window, width) for start in starts]
        cuts = [0, *((end + start) // 2 for end, start in zip(ends[:-1], starts[1:], strict=True)), width]
        return [_Span(*each) for each in zip(starts, ends, cuts[:-1], cuts[1:], strict=True)]

    def _strip(self, vertical: _Span) -> np.ndarray:
        """Runs the windows of one row, and joins them."""
        spans, batch, scale = self._horizontal(), self._plan.batch, self._scale
        seen = self._rows.take(vertical.start, vertical.end)
        if len(spans) == 1:
            (result,) = self._run(seen[None])
            return result if self._ramp else self._finished(result)
        shape = ((vertical.end - vertical.start) * scale, self._rows.width * scale, self._rows.channels)
        strip = np.zeros(shape, np.float32 if self._ramp else self._dtype)
        for k in range(0, len(spans), batch):
            group = spans[k : k + batch]
            results = self._run(np.stack([seen[:, span.start : span.end] for span in group]))
            for span, result in zip(group, results, strict=True):
                self._join(strip, span, result)
        return strip

    def _join(self, strip: np.ndarray, span: _Span, result: np.ndarray) -> None:
        scale, half, width = self._scale, self._ramp // 2, self._rows.width
        first = span.first - (half if span.first else 0)
        last = span.last + (half if span.last < width else 0)
        part = result[:, (first - span.start) * scale : (last - span.start) * scale]
        if not self._ramp:
            strip[:, first * scale : last * scale] = self._finished(part)
            return
        weights = np.ones(part.shape[1], np.float32)
        up = _ramp(2 * half * scale)
        if span.first:
            weights[: len(up)] = up
        if span.last < width:
            weights[len(weights) - len(up) :] = 1.0 - up
        strip[:, first * scale : last * scale] += part * weights[:, None]

    def _run(self, windows: np.ndarray) -> np.ndarray:
        """Calls the network; a picture smaller than the only size that it takes is continued by its last pixels."""
        height, width = windows.shape[1:3]
        if self._reach.size is not None:
            wanted = self._reach.size
            missing = [(0, 0), (0, wanted[0] - height), (0, wanted[1] - width), (0, 0)]
            windows = np.pad(windows, missing, "edge")
        try:
            results = self._network(windows)
        except Exception as error:
            if _out_of_memory(error):
                raise _OutOfMemoryError from error
            raise
        return results[:, : height * self._scale, : width * self._scale]


def _share(length: int, count: int, overlap: int) -> int:
    """Returns how long `count` windows of one length are that cover `length` and overlap."""
    return -(-(length + overlap * (count - 1)) // count)


def _count(length: int, window: int, overlap: int) -> int:
    return 1 if length <= window else -(-(length - overlap) // (window - overlap))


def _fitting(window: int, length: int, alignment: int) -> int:
    """Returns the next window that is as long as the picture modulo `alignment`, and no longer than it."""
    return min(window + (length - window) % alignment, length)


def _ramp(count: int) -> np.ndarray:
    return (np.arange(count, dtype=np.float32) + 0.5) / max(count, 1)


def _faded(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    weights = _ramp(len(below))[:, None, None]
    return above * (1.0 - weights) + below * weights


class _OutOfMemoryError(Exception):
    """The network did not find the memory for a window; its cause is the runtime's own error."""


def _out_of_memory(error: Exception) -> bool:
    """Knows the ways in which the runtimes say it."""
    words = ("bad_alloc", "bad allocation", "out of memory", "failed to allocate", "could not allocate", "oom when")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "ResourceExhaustedError"
        or any(word in str(error).lower() for word in words)
    )
