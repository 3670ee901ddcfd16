"""The memory that training on a large store of pictures takes."""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .report import Report, Table, megabytes, memory_of, need_proc, say
from .stored_input import dataset

if TYPE_CHECKING:
    from sr_keras.store import Store


@dataclass(frozen=True)
class MemoryRow:
    """Bytes: of the store, of the process before it was opened, and the most that they grew by."""

    store: int
    samples: int
    rss_anon_before: int
    rss_anon_growth: int
    rss_file_growth: int


def memory(*, gigabytes: float, folder: Path | None, batch: int, patch: int, seconds: float) -> Report:
    """Takes batches all over a large store, and watches the memory that the process needs (Linux).

    RssAnon is memory of the process itself; RssFile is the mapped file, which the system takes back when it wants.
    """
    from sr_keras import store

    need_proc("memory")
    small = store.of_arrays([np.zeros((patch, patch, 3), np.uint8)], ["small"])
    with tempfile.TemporaryDirectory(prefix="sr_keras_benchmark_", dir=folder) as temporary:
        cache = Path(temporary) / "cache"
        noise = _noise_store(Path(temporary) / "noise", cache, gigabytes)
        _watched(small, batch, patch, seconds=0.5)  # TensorFlow's threads and graphs are no part of the store
        before = _resident()
        opened = store.open_folder(noise, cache)
        samples, most = _watched(opened, batch, patch, seconds)
    grown = most - before
    row = MemoryRow(opened.pixels.nbytes, samples, int(before[0]), int(grown[0]), int(grown[1]))
    header = ("store", "samples taken", "RssAnon before", "RssAnon grew by", "part of the store", "RssFile grew by")
    cells = (
        megabytes(row.store), f"{samples:,}", megabytes(row.rss_anon_before), megabytes(row.rss_anon_growth),
        f"{row.rss_anon_growth / row.store:.2%}", megabytes(row.rss_file_growth),
    )  # fmt: skip
    return Report([Table(header, [cells], [row])])


def _noise_store(folder: Path, cache: Path, gigabytes: float) -> Path:
    """Has another process build the store, whose memory then does not count, of many names of one noisy picture."""
    from sr_keras import image
    from sr_keras.errors import InputError

    height, width = 1356, 2040  # a usual size in DIV2K: 8.3 MB
    folder.mkdir()
    first = folder / "00000.bmp"
    image.write(first, np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    count = max(round(gigabytes * 1e9 / (height * width * 3)), 1)
    for k in range(1, count):
        (folder / f"{k:05}.bmp").symlink_to(first.name)
    say(f"writing a store of {count} pictures")
    code = "import sys, pathlib; from sr_keras import store; store.open_folder(*map(pathlib.Path, sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, folder, cache], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise InputError(f"memory: the store can't be made ({reason}); try --folder elsewhere or fewer --gigabytes.")
    return folder


def _watched(store: "Store", batch: int, patch: int, seconds: float) -> tuple[int, np.ndarray]:
    """Takes batches for so long; returns how many samples they were, and the largest `_resident` of the time."""
    samples, most, start = 0, _resident(), time.perf_counter()
    for _ in dataset(store, batch, patch):
        samples += batch
        if samples % (20 * batch) == 0:
            most = np.maximum(most, _resident())
        if time.perf_counter() - start > seconds:
            break
    return samples, np.maximum(most, _resident())


def _resident() -> np.ndarray:
    """Returns RssAnon and RssFile in bytes; pages of a file in a memory file system count as RssShmem."""
    now = memory_of()
    return np.array([now["RssAnon"], now["RssFile"] + now["RssShmem"]])
