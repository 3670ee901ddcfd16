"""Pictures decoded once: a folder becomes one memory-mapped file of uint8 RGB pixels in the cache folder.

The store of a folder carries a fingerprint of the folder's files (name, size, time of change) in its name: a changed
folder gets a new store. It is built beside under a lock and renamed, so a killed build leaves nothing that is read,
and of two runs that need it at once the second waits for the first.
"""

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from sr_keras import image
from sr_keras.errors import InputError

_VERSION = 2


@dataclass(frozen=True)
class Store:
    """Pictures one after another in `pixels` (uint8, flat, in memory or mapped).

    `grey` marks those whose files are grey; in a store of 3 channels their values stand three times. `skipped` says
    which files were unreadable, and why.
    """

    pixels: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    offsets: np.ndarray
    channels: int
    names: tuple[str, ...]
    grey: np.ndarray
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, k: int) -> np.ndarray:
        """Returns picture `k` as a view `[H, W, C]`, uint8."""
        height, width, start = int(self.heights[k]), int(self.widths[k]), int(self.offsets[k])
        return self.pixels[start : start + height * width * self.channels].reshape(height, width, self.channels)

    def take(self, order: list[int]) -> "Store":
        """Returns a store of the pictures `order`, over the same pixels."""
        return replace(
            self,
            heights=self.heights[order],
            widths=self.widths[order],
            offsets=self.offsets[order],
            grey=self.grey[order],
            names=tuple(self.names[k] for k in order),
        )


def of_arrays(pictures: Iterable[np.ndarray], names: Iterable[str]) -> Store:
    """Makes a store in memory from uint8 pictures `[H, W, C]`; grey ones among RGB ones stand three times."""
    pictures = list(pictures)
    grey, channels = [p.shape[2] == 1 for p in pictures], max(p.shape[2] for p in pictures)
    pictures = [image.with_channels(p, channels) for p in pictures]
    sizes = np.array([p.size for p in pictures], np.int64)
    return Store(
        pixels=np.concatenate([p.reshape(-1) for p in pictures]),
        heights=np.array([p.shape[0] for p in pictures], np.int64),
        widths=np.array([p.shape[1] for p in pictures], np.int64),
        offsets=np.cumsum(sizes) - sizes,
        channels=channels,
        names=tuple(names),
        grey=np.array(grey),
    )


def open_folder(
    folder: Path, cache: Path | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Store:
    """Opens the store of a picture folder (recursive) and builds it first if there is none or the folder changed.

    `cache` is where stores are kept: the variable SR_KERAS_CACHE, else `~/.cache/sr_keras`. `progress(done, total)`
    is called while building. Raises `InputError` for a folder without a readable picture and for a full disk.
    """
    files = image.listing(folder)
    cache = cache or Path(os.environ.get("SR_KERAS_CACHE", Path.home() / ".cache" / "sr_keras"))
    family, fingerprint = _key(folder, files)
    place = cache / f"{family}-{fingerprint}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{family}.lock"):
            if not _is_whole(place):
                _build(place, folder, files, progress)
                _remove_older(cache, family, keep=place)
            return _opened(place)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise InputError(f"{cache}: the picture store can't be built there ({reason}); set data.cache.") from error


def _is_whole(place: Path) -> bool:
    """A process killed while it removed an old store may have left one of the files, a power cut a part of one."""
    if not ((place / "index.json").is_file() and (place / "pixels.bin").is_file()):
        return False
    try:
        index = json.loads((place / "index.json").read_text(encoding="utf-8"))
    except ValueError:
        return False
    pixels = sum(height * width for height, width in zip(index["heights"], index["widths"], strict=True))
    return (place / "pixels.bin").stat().st_size == 3 * pixels


def _key(folder: Path, files: list[Path]) -> tuple[str, str]:
    family = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    content = hashlib.sha256(f"{_VERSION}".encode())
    for file in files:
        status = file.stat()
        content.update(f"{file.relative_to(folder)}|{status.st_size}|{status.st_mtime_ns}\n".encode())
    return family, content.hexdigest()[:16]


def _build(place: Path, folder: Path, files: list[Path], progress: Callable[[int, int], None] | None) -> None:
    partial = place.with_name(f"{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write(partial, folder, files, progress)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(partial: Path, folder: Path, files: list[Path], progress: Callable[[int, int], None] | None) -> None:
    names, heights, widths, grey, skipped = [], [], [], [], []
    with open(partial / "pixels.bin", "wb") as output:
        for done, (file, pixels) in enumerate(_decoded(files), start=1):
            if isinstance(pixels, InputError):
                skipped.append(str(pixels))
            else:
                output.write(image.with_channels(pixels, 3).tobytes())
                grey.append(pixels.shape[2] == 1)
                names.append(str(file.relative_to(folder)))
                heights.append(pixels.shape[0])
                widths.append(pixels.shape[1])
            if progress:
                progress(done, len(files))
        output.flush()
        os.fsync(output.fileno())
    if not names:
        raise InputError(f"{folder}: none of its {len(files)} pictures can be read; the first: {skipped[0]}")
    index = {"folder": str(folder), "names": names, "heights": heights, "widths": widths, "grey": grey}
    index["skipped"] = skipped
    (partial / "index.json").write_text(json.dumps(index), encoding="utf-8")


def _decoded(files: list[Path]) -> Iterator[tuple[Path, np.ndarray | InputError]]:
    """Decodes in threads, in order, at most two pictures a thread ahead of the writer, so that memory stays small."""

    def decode(file: Path) -> np.ndarray | InputError:
        try:
            return image.to_uint8(image.read(file))
        except InputError as error:
            return error

    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=threads) as pool:
        ahead: deque = deque()
        for file in files:
            ahead.append((file, pool.submit(decode, file)))
            if len(ahead) > 2 * threads:
                first, pixels = ahead.popleft()
                yield first, pixels.result()
        yield from ((file, pixels.result()) for file, pixels in ahead)


def _remove_older(cache: Path, family: str, keep: Path) -> None:
    for other in cache.glob(f"{family}-*"):
        if other != keep:
            shutil.rmtree(other, ignore_errors=True)


def _opened(place: Path) -> Store:
    index = json.loads((place / "index.json").read_text(encoding="utf-8"))
    heights, widths = np.array(index["heights"], np.int64), np.array(index["widths"], np.int64)
    sizes = heights * widths * 3
    return Store(
        pixels=np.memmap(place / "pixels.bin", np.uint8, "r"),
        heights=heights,
        widths=widths,
        offsets=np.cumsum(sizes) - sizes,
        channels=3,
        names=tuple(index["names"]),
        grey=np.array(index["grey"], bool),
        skipped=tuple(index["skipped"]),
    )
