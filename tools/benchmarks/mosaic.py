"""Pictures of any size, laid out of photographs: a benchmark of enlarging needs larger ones than are at hand."""

import itertools
from pathlib import Path

import numpy as np

_LARGEST, _SMALLEST = 480, 64  # side of a cell; 3840x2160 is 8 x 4.5 of the largest


def cells(data: Path | None, most: int = 200) -> list[np.ndarray]:
    """Cuts photographs, at most `most` of a folder or the embedded ones, into squares of one side, uint8 `[s, s, 3]`.

    Raises `InputError` for a folder whose pictures are all too small.
    """
    from sr_keras.errors import InputError

    photographs = [p for p in _photographs(data, most) if min(p.shape[:2]) >= _SMALLEST]
    if not photographs:
        raise InputError(f"{data}: all pictures are smaller than {_SMALLEST} pixels; take a folder of larger.")
    side = min(_LARGEST, *(min(p.shape[:2]) for p in photographs))
    return [
        photograph[top : top + side, left : left + side]
        for photograph in photographs
        for top in range(0, photograph.shape[0] - side + 1, side)
        for left in range(0, photograph.shape[1] - side + 1, side)
    ]


def _photographs(data: Path | None, most: int) -> list[np.ndarray]:
    from sr_keras import embedded, image

    if data is None:
        stores = [embedded.photographs(split) for split in ("train", "valid")]
        return [store.picture(k) for store in stores for k in range(len(store))]
    files = image.listing(data)
    count = min(most, len(files))
    chosen = [files[k * len(files) // count] for k in range(count)]
    return [image.with_channels(image.to_uint8(image.read(file)), 3) for file in chosen]


def mosaic(squares: list[np.ndarray], height: int, width: int, seed: int) -> np.ndarray:
    """Fills uint8 `[height, width, 3]` with cells in an order of its own; what comes again is turned or flipped."""
    out, side = np.empty((height, width, 3), np.uint8), len(squares[0])
    order = np.random.default_rng(seed).permutation(len(squares))
    for k, (top, left) in enumerate(itertools.product(range(0, height, side), range(0, width, side))):
        time, place = divmod(k, len(squares))
        turned = np.rot90(squares[order[place]], time % 4)
        part = out[top : top + side, left : left + side]
        part[:] = (turned[:, ::-1] if time & 4 else turned)[: part.shape[0], : part.shape[1]]
    return out
