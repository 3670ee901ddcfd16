"""Training samples per second from the store of decoded pictures, against files that are decoded each time."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import SCALE
from .report import Report, Speeds, Table, say

if TYPE_CHECKING:
    import tensorflow as tf

    from sr_keras.data import WaitClock
    from sr_keras.store import Store


@dataclass(frozen=True)
class InputRow:
    """Training samples per second of the store (`ours`) and of one way to read files (`peer`)."""

    peer: str
    samples_per_second: Speeds


def stored_input(*, data: Path | None, batch: int, patch: int, rounds: int, seconds: float) -> Report:
    """Times the training samples from the store, and the same ones where a picture's file is decoded for each."""
    from sr_keras import image, store

    with tempfile.TemporaryDirectory(prefix="sr_keras_benchmark_") as temporary:
        folder = data or _png_folder(Path(temporary) / "png", height=340, width=510)
        opened = store.open_folder(folder, None if data else Path(temporary) / "cache")
        ways = {"store": opened} | {
            "files, image.read": _decoding(opened, folder, image.read),
            "files, OpenCV alone": _decoding(opened, folder, _read_unchecked),
        }
        rates = _input_rates(ways, batch=batch, patch=patch, rounds=rounds, seconds=seconds)
    rows = [InputRow(way, Speeds.of(rates["store"], rates[way])) for way in ways if way != "store"]
    header = ("pictures from", "samples/s", "the store is faster by", "lowest - highest")
    cells = [("store", f"{statistics.median(rates['store']):.0f}", "1", "")]
    for row in rows:
        speeds = row.samples_per_second
        cells.append((row.peer, f"{speeds.peer:.0f}", f"{speeds.ratio:.2f}", speeds.range))
    return Report([Table(header, cells, rows)])


def _png_folder(folder: Path, *, height: int, width: int) -> Path:
    """Cuts the embedded photographs into pictures of one size, in PNG files."""
    from sr_keras import embedded, image

    folder.mkdir()
    photographs = embedded.photographs("train")
    for k, name in enumerate(photographs.names):
        picture = photographs.picture(k)
        for top in range(0, picture.shape[0] - height + 1, height):
            for left in range(0, picture.shape[1] - width + 1, width):
                path = folder / f"{Path(name).stem}_{top}_{left}.png"
                image.write(path, picture[top : top + height, left : left + width])
    return folder


def _decoding(opened: "Store", folder: Path, read: Callable[[Path], np.ndarray]) -> "Store":
    """Makes a store whose pictures are decoded each time that one is asked for."""
    from sr_keras import image, store

    class Files(store.Store):
        def picture(self, k: int) -> np.ndarray:
            return image.with_channels(image.to_uint8(read(folder / self.names[k])), 3)

    return Files(**{part.name: getattr(opened, part.name) for part in fields(opened)})


def _read_unchecked(path: Path) -> np.ndarray:
    """Decodes once; `image.read` lets Pillow decode first, since OpenCV does not report a truncated file."""
    import cv2

    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise RuntimeError(f"{path}: OpenCV can't read it.")
    return pixels[:, :, ::-1]


def _input_rates(
    ways: dict[str, "Store"], *, batch: int, patch: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    _refuse_other_samples(ways, batch, patch)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for k in range(rounds):
        for way, store in ways.items():
            rates[way].append(_rate(dataset(store, batch, patch, first_step=1000 * k), batch, seconds))
        say(f"round {k + 1} of {rounds}: " + ", ".join(f"{way} {r[-1]:.0f} samples/s" for way, r in rates.items()))
    return rates


def _refuse_other_samples(ways: dict[str, "Store"], batch: int, patch: int) -> None:
    firsts = {way: next(iter(dataset(store, batch, patch))) for way, store in ways.items()}
    for way, (lr, hr) in firsts.items():
        if not (np.array_equal(lr, firsts["store"][0]) and np.array_equal(hr, firsts["store"][1])):
            raise RuntimeError(f"{way} gives other samples than the store: nothing to compare.")


def dataset(
    store: "Store", batch: int, patch: int, *, first_step: int = 0, clock: "WaitClock | None" = None
) -> "tf.data.Dataset":
    """Makes the dataset that sr_keras trains on: crops, 8 flips and turns, MATLAB's bicubic LR in the graph."""
    from sr_keras import data, degradations
    from sr_keras.component import build

    patches = data.Patches([data.Pictures(store)], SCALE, patch, seed=0)
    degrade = build(degradations, "bicubic", scale=SCALE)
    return data.train(patches, degrade, batch=batch, first_step=first_step, clock=clock)


def _rate(dataset: "tf.data.Dataset", batch: int, seconds: float) -> float:
    """Returns the samples per second of a dataset, once what it makes in advance is used up."""
    batches = iter(dataset)
    for _ in range(8):
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        count += batch
    return count / (time.perf_counter() - start)
