"""What all export formats share: the loaded artifact, its input check, files that appear whole or not."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sr_keras.errors import InputError


@dataclass(frozen=True)
class Artifact:
    """Holds an exported network, opened with its native runtime; for one thread at a time.

    Attributes:
        run: maps float32 `[B, H, W, C]` in [0, 1] to float32 `[B, sH, sW, C]`, in [0, 1] if the network
            clips; raises InputError, a ValueError, for another type, C or size than the file takes.
        size: height and width in pixels of the only LR picture the file takes; None if it takes any.
        channels: C.
        operators: distinct operator names in the file, sorted.
        local: False where a pixel depends on the whole picture beyond what the layers look at: activations that are
            quantised by the picture's own range.
        run_uint8: the same on uint8 pictures in 0..255, where the file has a second entry for them.
        input_type, output_type: the file's own `dtype`, for whole numbers with `scale` and `zero_point`.
    """

    run: Callable[[np.ndarray], np.ndarray]
    size: tuple[int, int] | None
    channels: int
    operators: tuple[str, ...]
    input_type: dict[str, Any] = field(default_factory=lambda: {"dtype": "float32"})
    output_type: dict[str, Any] = field(default_factory=lambda: {"dtype": "float32"})
    run_uint8: Callable[[np.ndarray], np.ndarray] | None = None
    local: bool = True

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        return self.run(lr)


def artifact(
    run: Callable[[np.ndarray], np.ndarray],
    *,
    path: Path,
    shape: Sequence[int | None],
    dtype: str,
    operators: Iterable[str],
) -> Artifact:
    """Wraps `run` in a check of its input, given the file's input `shape` (None is any number) and `dtype`.

    Raises:
        InputError: the file does not take `[B, H, W, C]`, of one size or of all, in a type that we feed.
    """
    height, width, channels = shape[1:] if len(shape) == 4 else (None, None, None)
    if channels is None or (height is None) != (width is None) or dtype not in _TYPES:
        raise InputError(
            f"A network takes {' or '.join(_TYPES)} [B, H, W, C], but {path} takes {dtype} {list(shape)}; "
            "export it again."
        )
    size = None if height is None or width is None else (height, width)

    def checked(lr: np.ndarray) -> np.ndarray:
        if lr.dtype != np.float32 or lr.ndim != 4 or lr.shape[3] != channels:
            raise InputError(
                f"{path} takes float32 [B, H, W, {channels}] in [0, 1], got {lr.dtype} {list(lr.shape)}; "
                "convert the picture first."
            )
        if size is not None and lr.shape[1:3] != size:
            raise InputError(
                f"{path} takes pictures of size {size_name(size)} only, got {size_name(lr.shape[1:3])}; "
                "cut the picture into tiles of that size, or export without a fixed size."
            )
        return run(lr)

    return Artifact(checked, size, channels, tuple(sorted(set(operators))))


_TYPES = ("float32", "uint8", "int8")


def tensor_spec(
    model: keras.Model, *, batch: int | None, size: tuple[int, int] | None, dtype: str = "float32"
) -> tf.TensorSpec:
    """Describes the input `lr` of `model`, `[batch, H, W, C]`; without a size, H and W are the network's."""
    _, height, width, channels = model.input_shape
    return tf.TensorSpec((batch, *(size or (height, width)), channels), dtype, name="lr")


def write_saved_model(
    network: keras.Model, folder: Path, endpoints: dict[str, tuple[Callable[..., Any], tf.TensorSpec]]
) -> None:
    """Writes a SavedModel with one signature for each of `endpoints`, a name with a function and its input.

    Of all routes to TFLite, this one neither loses the variables without a word nor drops the signatures.
    """
    archive = keras.export.ExportArchive()
    archive.track(network)
    for name, (endpoint, spec) in endpoints.items():
        archive.add_endpoint(name, endpoint, input_signature=[spec])
    archive.write_out(folder, verbose=False)  # pyright: ignore[reportAttributeAccessIssue]


def size_name(size: Sequence[int]) -> str:
    """Writes height and width in pixels as `270x480`."""
    return "x".join(map(str, size))


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a draft beside `path`, a file or a folder, that takes its place once the block has ended well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        draft = Path(scratch) / path.name
        yield draft
        if path.is_dir() and draft.is_dir():  # os.replace refuses a folder that is not empty
            os.replace(path, Path(scratch) / "old")
        os.replace(draft, path)


@contextmanager
def opening(path: Path, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Turns the runtime's own `errors` for a broken file into one line.

    Raises:
        InputError: one of `errors` came, or there is nothing at `path`.
    """
    if not path.exists():
        raise InputError(f"There is no {what} at {path}; check the path, or export the network first.")
    try:
        yield
    except errors as error:
        raise InputError(f"{path} is not a readable {what}; export the network again.") from error
