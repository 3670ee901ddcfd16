"""Reads the tensors of a PyTorch file (`torch.save`) without PyTorch, and without running what the file says.

A pickle may name any function to be called. Here only those that rebuild a tensor are known; all others are refused.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np

from sr_keras.errors import InputError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # the first pickle of a file in the format of before PyTorch 1.6
_LEGACY_START = pickle.dumps(MAGIC_NUMBER, protocol=2)
_ZIP_START = b"PK\x03\x04"
_DTYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}  # fmt: skip
_MOST = 2**30  # elements of a tensor: an expanded one may claim any number
_WRAPPERS = ("params_ema", "params", "state_dict")  # Real-ESRGAN's files hold both of the first; the average is better


def read(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a state dict: names -> arrays in PyTorch's own axis order, bfloat16 as float32, other types as they are.

    Both formats of `torch.save` are understood. Of a checkpoint with `params_ema`, `params` or `state_dict` inside,
    the first of these is taken; values that are no tensors are left out. Raises `InputError` for a file that is
    missing, truncated, no PyTorch file, without tensors, or in need of any other class than a tensor's.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            tree, storages = _parsed(path, file)
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}); check the path.") from error
    tensors = _tensors(path, tree)
    try:
        return {name: tensor.array(storages) for name, tensor in tensors.items()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path) from error


def _parsed(path: Path, file: IO[bytes]) -> tuple[Any, Mapping[str, np.ndarray]]:
    """Returns the pickled object, its tensors still as `_Tensor`, and the flat arrays that these look into."""
    start = file.read(len(_LEGACY_START))
    file.seek(0)
    try:
        if start == _LEGACY_START:
            return _legacy(file)
        if start.startswith(_ZIP_START):
            return _zipped(file)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything, and whatever it is, the file is no good
        raise _damaged(path) from error
    raise InputError(f"{path}: is no PyTorch file; give one that torch.save wrote (.pth, .pt).")


def _legacy(file: IO[bytes]) -> tuple[Any, Mapping[str, np.ndarray]]:
    """Reads five pickles (magic number, version, system, object, keys) and the storages in the order of the keys."""
    reader = _Reader()
    _magic, _version, system, tree, keys = (reader.load(file) for _ in range(5))
    _refuse_big_endian(not system["little_endian"])
    storages = {}
    for key in keys:
        file.read(8)  # the number of elements, which the pickle has told too
        storages[key] = reader.storages[key].decoded(file.read(reader.storages[key].size))
    return tree, storages


def _zipped(file: IO[bytes]) -> tuple[Any, Mapping[str, np.ndarray]]:
    """Reads `data.pkl` and the storages `data/<key>` from the one folder of a zip archive."""
    reader = _Reader()
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.split("/")[-1] == "data.pkl"]
        if not pickles:
            raise InputError("is a zip archive without data.pkl, no PyTorch file; give one that torch.save wrote.")
        folder = pickles[0].removesuffix("data.pkl")
        _refuse_big_endian(f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") == b"big")
        tree = reader.load(io.BytesIO(archive.read(pickles[0])))
        storages = {key: s.decoded(archive.read(f"{folder}data/{key}")) for key, s in reader.storages.items()}
    return tree, storages


def _refuse_big_endian(big: bool) -> None:
    if big:
        raise InputError("was written on a big-endian machine; load and save it once with PyTorch on another.")


class _Reader:
    """Unpickles from a file and notes which storages the tensors need."""

    def __init__(self):
        self.storages: dict[str, _Storage] = {}

    def load(self, file: IO[bytes]) -> Any:
        return _Unpickler(file, self._storage).load()

    def _storage(self, saved: tuple) -> tuple[str, int]:
        """Returns where a tensor's storage begins: its key, and the offset in elements if it is a view itself."""
        kind, dtype, key, _device, elements, *view = saved
        if kind != "storage" or dtype not in _DTYPES.values():
            raise pickle.UnpicklingError
        self.storages[key] = _Storage(dtype, elements)
        return key, view[0][1] if view and view[0] else 0


class _Unpickler(pickle.Unpickler):
    """Knows the classes of a state dict and refuses all others, so that no file can run code."""

    def __init__(self, file: IO[bytes], storage: Callable[[tuple], tuple[str, int]]):
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def persistent_load(self, pid: Any) -> tuple[str, int]:
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _rebuilt_tensor,
            "torch._utils._rebuild_parameter": _rebuilt_parameter,
        }
        known |= {f"torch.{storage}": dtype for storage, dtype in _DTYPES.items()}
        if f"{module}.{name}" not in known:
            raise InputError(
                f"needs {module}.{name}, which is refused because a file could run code that way; "
                "save the weights alone: torch.save(model.state_dict(), ...)."
            )
        return known[f"{module}.{name}"]


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    elements: int

    @property
    def size(self) -> int:
        """The number of bytes in the file."""
        return self.elements * (2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize)

    def decoded(self, data: bytes) -> np.ndarray:
        """Returns the numbers in `data`. Raises `ValueError` if there are too few."""
        if self.dtype == "bfloat16":  # the upper half of a float32
            return (np.frombuffer(data, "<u2", self.elements).astype("<u4") << 16).view("<f4")
        return np.frombuffer(data, self.dtype, self.elements)


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Which elements of a storage make up a tensor; `offset` and `strides` count elements."""

    storage: tuple[str, int]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, storages: Mapping[str, np.ndarray]) -> np.ndarray:
        """Copies the tensor out of its storage. Raises `ValueError` if it would reach beyond it."""
        key, start = self.storage
        flat, first = storages[key], start + self.offset
        if min([first, *self.shape, *self.strides]) < 0:
            raise ValueError
        last = first + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if math.prod(self.shape) and (last >= len(flat) or math.prod(self.shape) > _MOST):
            raise ValueError
        if not math.prod(self.shape):
            return np.zeros(self.shape, flat.dtype)
        strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[first:], self.shape, strides).copy()


def _rebuilt_tensor(storage: tuple, offset: int, shape: tuple, strides: tuple, *_ignored: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _rebuilt_parameter(tensor: _Tensor, *_ignored: Any) -> _Tensor:
    return tensor


def _tensors(path: Path, tree: Any) -> dict[str, _Tensor]:
    for _ in range(3):  # a pickle may hold itself
        wrappers = [name for name in _WRAPPERS if isinstance(tree, dict) and isinstance(tree.get(name), dict)]
        tree = tree[wrappers[0]] if wrappers else tree
    found = {n: v for n, v in tree.items() if isinstance(v, _Tensor)} if isinstance(tree, dict) else {}
    if not found:
        raise InputError(f"{path}: holds no dict of tensors; give a file of torch.save(model.state_dict(), ...).")
    return found


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: is truncated or damaged; fetch it again.")
