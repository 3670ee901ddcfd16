"""A picture as a stream of rows: bands come from the top down, and only the rows that are still needed stay."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np


class Rows:
    """A picture `[height, width, channels]` that arrives in bands `[h, width, channels]`, top to bottom, once.

    `bands` yields arrays of one type, `dtype`, whose heights sum up to `height`; `close` tells whoever makes them that
    no more are wanted.
    """

    def __init__(
        self,
        bands: Iterable[np.ndarray],
        height: int,
        width: int,
        channels: int,
        dtype: np.dtype | type,
        close: Callable[[], None] = lambda: None,
    ):
        self.height, self.width, self.channels, self.dtype = height, width, channels, np.dtype(dtype)
        self._bands, self.close = iter(bands), close
        self._kept = np.empty((0, width, channels), self.dtype)
        self._top = 0  # the picture's row that `_kept` starts with

    @classmethod
    def of(cls, pixels: np.ndarray) -> "Rows":
        """Wraps a picture `[H, W, C]` that is in memory."""
        height, width, channels = pixels.shape
        return cls([pixels], height, width, channels, pixels.dtype)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields what is kept, and the bands as they come. Raises `ValueError` if they end before the height."""
        kept, self._kept = self._kept, self._kept[:0]
        self._top += len(kept)
        if len(kept):
            yield kept
        for band in self._bands:
            self._top += len(band)
            yield band
        if self._top != self.height:
            raise ValueError(f"the bands end at row {self._top}, the height is {self.height}.")

    def take(self, top: int, bottom: int) -> np.ndarray:
        """Returns rows `top` to `bottom`; those above `top` are forgotten, so it may never be less than before.

        Raises `ValueError` for rows that are gone, or that the bands lack.
        """
        end = self._top + len(self._kept)
        if not self._top <= top <= end:
            raise ValueError(f"rows {self._top} to {end} are kept, got {top}; take from above down, leaving none out.")
        parts = [self._kept[top - self._top :]]
        missing = bottom - end
        while missing > 0:
            band = next(self._bands, None)
            if band is None:
                raise ValueError(f"the bands end {missing} rows before row {bottom}, the height is {self.height}.")
            parts.append(band)
            missing -= len(band)
        self._kept = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._top = top
        return self._kept[: bottom - top]

    def whole(self) -> np.ndarray:
        """Returns what is kept and what comes as one array, filled band by band: there is no second copy of it."""
        if len(self._kept) == self.height - self._top:
            return self._kept
        out = np.empty((self.height - self._top, self.width, self.channels), self.dtype)
        row = 0
        for band in self:
            out[row : row + len(band)] = band
            row += len(band)
        return out

    def mapped(self, function: Callable[[np.ndarray], np.ndarray], channels: int, dtype: np.dtype | type) -> "Rows":
        """Returns the stream in which every band went through `function`, which keeps its height and width."""
        return Rows(map(function, self), self.height, self.width, channels, dtype, self.close)
