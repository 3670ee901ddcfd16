"""Video files: every picture goes through a function, all else (sound, subtitles, times, tags) stays; over PyAV."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sr_keras import _video_reading as reading
from sr_keras import _video_writing as writing
from sr_keras._video_writing import Summary
from sr_keras.errors import InputError
from sr_keras.files import write_whole

EXTENSIONS = frozenset(
    ".3g2 .3gp .asf .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .nut .ogv .ts .vob .webm .wmv".split()
)
_AHEAD = 2  # decoded, and enlarged, pictures that may wait: an 8K one takes 100 MB


def size(source: Path, target: Path | None = None) -> tuple[int, int]:
    """Returns height and width of the frames that `enlarge` hands to its function.

    A rotation tag isn't applied where it is kept; for a `target` whose container holds none, the frames are upright.
    """
    first = reading.first_frame(source, target or source.with_suffix(".mkv"))
    return first.height, first.width


def enlarge(
    source: Path,
    target: Path,
    upscale: Callable[[np.ndarray], np.ndarray],
    *,
    codec: str | None = None,
    crf: int | None = None,
    preset: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Summary:
    """Writes the video `source` to `target`, its frames through `upscale`, whole or not at all.

    `upscale` maps `[H, W, 3]` RGB uint8 (uint16 if the source has more than 8 bits) to a new array of the same type
    and any size; it is called in the caller's thread, once for a run of equal frames. `progress` gets the frames done
    and their number (the container's, or an estimate, or None). Raises `InputError` for what the user can mend.
    """
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise InputError(f"{target}: is the source itself, which is never overwritten; give another name.")
    first = reading.first_frame(source, target)
    encoder = writing.encoder_of(target, codec, crf, preset, first)
    made: list[Summary] = []

    def write(beside: Path) -> None:
        with contextlib.ExitStack() as stack:
            container = stack.enter_context(reading.opened(source))
            stack.enter_context(writing.writing_errors(target))
            output = stack.enter_context(writing.create(beside))
            plan = writing.plan(source, target, container, output, first)
            writer = writing.Writer(container, output, encoder, first, plan)
            made.append(
                _run(reading.steps(source, container, first, plan.copied), upscale, writer, first.frames, progress)
            )

    write_whole(target, write)
    return made[0]


def _run(
    steps: Iterator[reading.Step],
    upscale: Callable[[np.ndarray], np.ndarray],
    writer: writing.Writer,
    total: int | None,
    progress: Callable[[int, int | None], None] | None,
) -> Summary:
    """Reads, decodes and converts in one thread, computes in the caller's, converts, encodes and writes in another."""

    def done(frames: int | None) -> None:
        if frames and progress:
            progress(frames, total and max(total, frames))

    with _thread() as before, _thread() as after:
        coming = deque(before.submit(next, steps, None) for _ in range(_AHEAD))
        going = deque()
        while (step := coming.popleft().result()) is not None:
            coming.append(before.submit(next, steps, None))
            enlarged = None if step.pixels is None else _checked(upscale(step.pixels), step.pixels.dtype)
            going.append(after.submit(writer.write, step, enlarged))
            if len(going) > _AHEAD:
                done(going.popleft().result())
        for written in going:
            done(written.result())
        return after.submit(writer.finish).result()


@contextlib.contextmanager
def _thread() -> Iterator[ThreadPoolExecutor]:
    """Gives a thread that has ended when the block has: a container closed under it would end the process."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _checked(enlarged: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if enlarged.ndim != 3 or enlarged.shape[2] != 3 or enlarged.dtype != dtype:
        raise ValueError(f"upscale must return [H, W, 3] {dtype}, got {enlarged.shape} {enlarged.dtype}.")
    return enlarged
