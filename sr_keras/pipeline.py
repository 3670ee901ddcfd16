"""Many pictures through one Upscaler: while one is computed, the next is decoded and the last is encoded."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sr_keras import image, picture, resize
from sr_keras.errors import InputError
from sr_keras.jobs import Job
from sr_keras.picture import Picture
from sr_keras.rows import Rows
from sr_keras.upscaler import Upscaler

_READ_AHEAD = 12  # bands of 4 MB
_WRITE_BEHIND = 2  # bands that wait for the encoder, and pictures whose encoder has not ended
_NICE = 5  # of the decoder's and the encoder's threads
_SWITCH = 0.0005  # seconds that a thread keeps Python's lock while the network's waits for it: 1 % faster than 0.005
_SHOWN = (720, 1080)  # height and width of what a comparison shows at the most, in pixels of the output


@dataclass(frozen=True)
class Shown:
    """The middle of a picture for a before/after comparison: bicubic and the model's, uint8 of one shape.

    `place` is its (left, top) in pixels of the output.
    """

    before: np.ndarray
    after: np.ndarray
    place: tuple[int, int]


@dataclass(frozen=True)
class Result:
    """What became of one input. Sizes are (width, height) in pixels; `seconds` is the time from its first row on."""

    name: str
    target: str
    status: Literal["done", "skipped", "failed"]
    input_size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str | None = None
    shown: Shown | None = field(default=None, compare=False, repr=False)

    @property
    def megapixels(self) -> float:
        """The size of the output."""
        return self.output_size[0] * self.output_size[1] / 1e6 if self.output_size else 0.0


@dataclass(frozen=True)
class Saving:
    """How pictures are read and written: the quality of JPEG and WebP, and the most pixels of an input."""

    quality: int = 95
    most_pixels: int = picture.MOST_PIXELS
    show: bool = False


def run(
    jobs: Sequence[Job],
    upscaler: Upscaler,
    saving: Saving = Saving(),
    progress: Callable[[float, float], None] = lambda part, megapixels: None,
) -> Iterator[Result]:
    """Enlarges every picture and yields what became of it, in order; a bad one is a failed result, no exception.

    `progress` gets the part of a picture, and the megapixels of output, that were computed since it was last called.
    With `saving.show` the results hold the middle of each picture for a comparison.
    """
    pending: deque[tuple[Result, Future | None]] = deque()
    reader = _Reader(jobs, saving.most_pixels)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        with ThreadPoolExecutor(_WRITE_BEHIND, initializer=_give_way) as pool:
            for job in jobs:
                pending.append(_enlarge(job, reader.next(), upscaler, saving, progress, pool))
                while len(pending) > _WRITE_BEHIND or (pending and pending[0][1] is None):
                    yield _ended(*pending.popleft())
            while pending:
                yield _ended(*pending.popleft())
    finally:
        sys.setswitchinterval(usual)
        reader.stop()


def _enlarge(
    job: Job,
    opened: Picture | Exception,
    upscaler: Upscaler,
    saving: Saving,
    progress: Callable[[float, float], None],
    pool: ThreadPoolExecutor,
) -> tuple[Result, Future | None]:
    """Computes one picture and hands its bands to an encoder in another thread, that ends later."""
    result = Result(job.name, str(job.target), "done")
    done, channel, writing = 0.0, _Channel(_WRITE_BEHIND), None
    start = time.perf_counter()
    try:
        if isinstance(opened, Exception):
            raise opened
        rows, notes = opened.rows, (*opened.notes, *upscaler.notes_of(opened.rows.channels))
        height, width = upscaler.target(rows.height, rows.width)
        result = replace(result, input_size=(rows.width, rows.height), output_size=(width, height))
        picture.check_target(job.target, height, width)
        if opened.has_alpha and not picture.FORMATS[job.target.suffix.lower()].alpha:
            notes += (f"{job.target.suffix} has no transparency: laid on white",)
        middle = _Middle(rows, height, width) if saving.show else None
        if middle:
            rows = middle.of_input(rows)
        sr = upscaler.stream(rows, picture.file_type(job.target, rows.dtype))
        stream = Rows(channel, sr.height, sr.width, sr.channels, sr.dtype)
        writing = pool.submit(_save, job.target, stream, opened.metadata, saving.quality, channel)
        for band in middle.of_output(sr) if middle else sr:
            channel.put(band)
            done += len(band) / height
            progress(len(band) / height, len(band) * width / 1e6)
        channel.put(_END)
        shown = middle.shown() if middle else None
        return replace(result, seconds=time.perf_counter() - start, notes=notes, shown=shown), writing
    except _ClosedError:  # the encoder gave up; its own error says why
        progress(1.0 - done, 0.0)
        return result, writing
    except (InputError, MemoryError) as error:
        progress(1.0 - done, 0.0)
        channel.put(error)
        if writing is not None:
            with contextlib.suppress(Exception):
                writing.result()
        return failed(result, error), None
    except BaseException as error:
        channel.put(error)  # so that the encoder removes what it has written
        raise
    finally:
        if isinstance(opened, Picture):
            opened.rows.close()


def _save(target: Path, rows: Rows, metadata: picture.Metadata, quality: int, channel: _Channel) -> None:
    try:
        picture.save(target, rows, metadata, quality=quality)
    finally:
        channel.close()


def _give_way() -> None:
    """Lowers the priority of this thread below the network's, whose threads wait for one another at every layer."""
    if sys.platform == "linux":  # elsewhere it is one for the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _ended(result: Result, writing: Future | None) -> Result:
    if writing is None:
        return result
    try:
        writing.result()
    except (InputError, MemoryError) as error:
        return failed(result, error)
    return result


def failed(result: Result, error: Exception) -> Result:
    """Returns the result with the error as one line that names the input."""
    message = str(error)
    if isinstance(error, MemoryError):
        size = "" if result.output_size is None else " for {}x{}".format(*result.output_size)
        message = f"{result.name}: the memory ran out{size}, even with small tiles; free some or enlarge less."
    elif result.name not in message:
        message = f"{result.name}: {message}"
    return replace(result, status="failed", error=message, shown=None)


_END = object()


class _ClosedError(Exception):
    """Whoever read the channel has gone."""


class _Channel:
    """A bounded queue between two threads; an exception that is put into it is raised where it is read.

    Once it is closed, or `stopped` is set, nobody reads any more: bands are refused, and what ends them is dropped.
    """

    def __init__(self, most: int, stopped: threading.Event | None = None):
        self._items: queue.Queue[Any] = queue.Queue(most)
        self._closed, self._stopped = threading.Event(), stopped or threading.Event()

    def put(self, item: Any) -> None:
        while not (self._closed.is_set() or self._stopped.is_set()):
            with contextlib.suppress(queue.Full):
                return self._items.put(item, timeout=0.1)
        if not (isinstance(item, BaseException) or item is _END):
            raise _ClosedError

    def close(self) -> None:
        self._closed.set()

    def get(self) -> Any:
        return self._items.get()

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            try:
                item = self._items.get(timeout=0.1)
            except queue.Empty:
                if self._closed.is_set() or self._stopped.is_set():
                    return
                continue
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item


class _Reader:
    """Opens and decodes one picture after another in a thread of its own, a few bands ahead."""

    def __init__(self, jobs: Sequence[Job], most_pixels: int):
        self._stopped = threading.Event()
        self._ready = _Channel(1, self._stopped)
        threading.Thread(target=self._read, args=(jobs, most_pixels), daemon=True).start()

    def next(self) -> Picture | Exception:
        """Returns the next picture, or why there is none."""
        return self._ready.get()

    def stop(self) -> None:
        self._stopped.set()

    def _read(self, jobs: Sequence[Job], most_pixels: int) -> None:
        _give_way()
        for job in jobs:
            if self._stopped.is_set():
                return
            channel = _Channel(_READ_AHEAD, self._stopped)
            try:
                opened = picture.load(job.source, job.name, most_pixels=most_pixels)
            except Exception as error:
                self._ready.put(error)
                continue
            rows = opened.rows
            stream = Rows(channel, rows.height, rows.width, rows.channels, rows.dtype, close=channel.close)
            try:
                self._ready.put(replace(opened, rows=stream))
                for band in rows:
                    channel.put(band)
                channel.put(_END)
            except _ClosedError:
                continue
            except Exception as error:
                channel.put(error)


class _Middle:
    """Copies the middle of a picture out of the bands that pass by, of the input and of the output."""

    def __init__(self, lr: Rows, height: int, width: int):
        factors = (height / lr.height, width / lr.width)
        sides = [min(lr_side, max(int(most / f), 1)) for lr_side, most, f in
                 zip((lr.height, lr.width), _SHOWN, factors, strict=True)]  # fmt: skip
        self._in = _Box((lr.height - sides[0]) // 2, (lr.width - sides[1]) // 2, *sides)
        self._out = _Box(
            round(self._in.top * factors[0]), round(self._in.left * factors[1]),
            min(round(sides[0] * factors[0]), height), min(round(sides[1] * factors[1]), width),
        )  # fmt: skip

    def of_input(self, rows: Rows) -> Rows:
        return Rows(self._in.copied(rows), rows.height, rows.width, rows.channels, rows.dtype)

    def of_output(self, rows: Rows) -> Iterator[np.ndarray]:
        return self._out.copied(rows)

    def shown(self) -> Shown:
        after = _as_shown(self._out.pixels())
        before = resize.resized(image.to_float(_as_shown(self._in.pixels())), *after.shape[:2])
        return Shown(image.from_float(before, np.uint8), after, (self._out.left, self._out.top))


@dataclass
class _Box:
    top: int
    left: int
    height: int
    width: int
    parts: list[np.ndarray] = field(default_factory=list)

    def copied(self, rows: Rows) -> Iterator[np.ndarray]:
        """Passes the bands on, and keeps what of them lies in the box."""
        row = 0
        for band in rows:
            first, last = max(self.top - row, 0), min(self.top + self.height - row, len(band))
            if first < last:
                self.parts.append(band[first:last, self.left : self.left + self.width].copy())
            row += len(band)
            yield band

    def pixels(self) -> np.ndarray:
        return np.concatenate(self.parts)


def _as_shown(pixels: np.ndarray) -> np.ndarray:
    pixels = image.to_uint8(pixels)
    return pixels[..., [0, 0, 0, 1]] if pixels.shape[2] == 2 else pixels
