"""Reads the tensors of a PyTorch file (`torch.save`) without PyTorch, and without running what the file says.

A pickle may name any function to be called. Here only those that rebuild a tensor are. What else a checkpoint needs is
not made, and not missed unless it is among the weights; what no checkpoint needs is refused (_pickle_names).
"""

import errno
import io
import math
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from sr_keras import _checkpoint, _pickle_names, _unpickling, files, state_dict
from sr_keras._unpickling import DamagedError, Unknown
from sr_keras.errors import InputError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # the first pickle of a file in the format of before PyTorch 1.6
_LEGACY_STARTS = tuple(pickle.dumps(MAGIC_NUMBER, protocol) for protocol in range(2, 6))
_ZIP_START = b"PK\x03\x04"
_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_DTYPES = {
    "FloatStorage": np.dtype("<f4"), "DoubleStorage": np.dtype("<f8"), "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": _BFLOAT16, "LongStorage": np.dtype("<i8"), "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"), "CharStorage": np.dtype("|i1"), "ByteStorage": np.dtype("|u1"),
    "BoolStorage": np.dtype("|b1"),
}  # fmt: skip
_MOST_DIMENSIONS = 64  # as in numpy
_MOST_ELEMENTS = 2**48
_LONGEST_ID = 6  # parts of a persistent id
_COPIES = 8  # all tensors together may be that many times the file: they may share storages, or repeat elements
_SPARE = 2**20  # bytes


def begins(start: bytes) -> bool:
    """Tells whether the first bytes, 24 or more, are those of a PyTorch file, or of another zip archive."""
    return start.startswith((*_LEGACY_STARTS, _ZIP_START))


def read(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the tensors that `choose` takes."""
    return choose(path)[0]


def choose(path: str | PathLike[str], under: str = "") -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Reads a state dict: names -> arrays in PyTorch's own axis order, bfloat16 as float32, other types as they are.

    Both formats of `torch.save` are understood. Of a checkpoint that holds several dicts of tensors, or modules pickled
    whole, the likeliest to be a trained network is taken, averaged weights first, and a note says so; or what stands
    `under` a place in it, such as `models.student`. Values that are no tensors are left out.

    Raises `InputError` for a file that is missing, truncated, no PyTorch file, without tensors, larger inside than
    outside, or that names what could run or what its weights need and is not here.
    """
    path = Path(path)
    with files.reading(path) as file:
        try:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            return _read(_Reader(), file, size, under)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except MemoryError:
            raise
        except Exception as error:  # a damaged file raises nearly anything, and whatever it is, the file is no good
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: an archive that begins before 0
                raise
            raise InputError(f"{path}: is truncated or damaged; fetch it again.") from error


def _read(reader: "_Reader", file: IO[bytes], size: int, under: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    start = file.read(max(map(len, _LEGACY_STARTS)))
    file.seek(0)
    if start.startswith(_LEGACY_STARTS):
        tree, storages = _legacy(reader, file.read())
        tensors, notes = _chosen(tree, reader.unknown, under)
        return _arrays(tensors, storages, size), notes
    if not start.startswith(_ZIP_START):
        raise InputError("is no PyTorch file; give one that torch.save wrote (.pth, .pt).")
    with zipfile.ZipFile(file) as archive:
        tree, entries = _zipped(reader, archive, size)
        tensors, notes = _chosen(tree, reader.unknown, under)
        keys = dict.fromkeys(tensor.storage.key for tensor in tensors.values())  # an optimizer's are not read
        storages = {key: reader.storages[key].decoded(entries.read(f"data/{key}")) for key in keys}
    return _arrays(tensors, storages, size), notes


def _chosen(tree: Any, unknown: str, under: str) -> tuple[dict[str, "_Tensor"], tuple[str, ...]]:
    """Takes one dict of tensors of all that the object holds, and says what was left."""
    places = _checkpoint.places(tree, _Tensor, unknown)
    if under:
        whole = {_checkpoint.joined(place, name): t for place in places for name, t in places[place].items()}
        found = state_dict.under(whole, under, filter(None, places))
        state_dict.check_names(found)
        return _known(found), ()
    networks = [place for place in places if any(len(tensor.shape) == 4 for tensor in _tensors(places[place]))]
    place = min(networks or places, key=lambda place: (*state_dict.rank(place), -_elements(places[place])))
    left = [name for other, found in places.items() if other != place for name in ([other] if other else [*found])]
    return _known(places[place]), (state_dict.taken(place, left),) if left else ()


def _tensors(found: Mapping[str, "_Tensor | Unknown"]) -> "list[_Tensor]":
    return [tensor for tensor in found.values() if isinstance(tensor, _Tensor)]


def _elements(found: Mapping[str, "_Tensor | Unknown"]) -> int:
    return sum(math.prod(tensor.shape) for tensor in _tensors(found))


def _known(tensors: Mapping[str, "_Tensor | Unknown"]) -> dict[str, "_Tensor"]:
    """Returns the same. Raises `InputError` if there is what is no tensor for certain."""
    for name, value in tensors.items():
        if isinstance(value, Unknown):
            raise _pickle_names.refused(value.name, f" for '{name[:80]}'")
    return {name: value for name, value in tensors.items() if isinstance(value, _Tensor)}


def _legacy(reader: "_Reader", content: bytes) -> tuple[Any, Mapping[str, np.ndarray]]:
    """Reads five pickles (magic number, version, system, object, keys) and the storages in the order of the keys."""
    file = io.BytesIO(content)
    _magic, _version, system, tree, keys = (reader.load(file) for _ in range(5))
    _refuse_big_endian(not system["little_endian"])
    storages, position = {}, file.tell()
    for key in keys:
        storage, start = reader.storages[key], position + 8  # bytes that repeat the number of elements
        if int.from_bytes(content[position:start], "little") != storage.elements:
            raise DamagedError("another number of elements")
        position = start + storage.size
        storages[key] = storage.decoded(memoryview(content)[start:position])
    return tree, storages


def _zipped(reader: "_Reader", archive: zipfile.ZipFile, size: int) -> tuple[Any, "_Entries"]:
    """Reads `data.pkl` in the one folder of a zip archive, beside which the storages are `data/<key>`."""
    names = archive.namelist()
    pickles = [name for name in names if name.split("/")[-1] == "data.pkl"]
    if not pickles:
        raise InputError("is a zip archive without data.pkl, no PyTorch file; give one that torch.save wrote.")
    folder = pickles[0].removesuffix("data.pkl")
    if any(name == f"{folder}constants.pkl" or name.startswith(f"{folder}code/") for name in names):
        raise InputError(
            "is a TorchScript program; save its weights alone: torch.save(torch.jit.load(...).state_dict(), ...)."
        )
    entries = _Entries(archive, folder, size)
    if f"{folder}byteorder" in names:
        _refuse_big_endian(entries.read("byteorder") == b"big")
    return reader.load(io.BytesIO(entries.read("data.pkl"))), entries


class _Entries:
    """Reads what lies in a zip archive's folder: together no more than the archive, since PyTorch does not compress."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, size: int):
        self._archive, self._folder, self._left = archive, folder, size

    def read(self, name: str) -> bytes:
        entry = self._archive.getinfo(f"{self._folder}{name}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise InputError("is a compressed zip archive, which torch.save never writes; fetch it again.")
        self._left -= entry.file_size
        if self._left < 0:
            raise DamagedError("more in the entries than in the file")
        del entry.CRC  # torch.serialization.set_crc32_options(False) writes none, and zipfile checks it if it is there
        return self._archive.read(entry)


def _refuse_big_endian(big: bool) -> None:
    if big:
        raise InputError("was written on a big-endian machine; load and save it once with PyTorch on another.")


class _Reader:
    """Unpickles from a file and notes which storages the tensors need, and the first name that is not known here."""

    def __init__(self):
        self.storages: dict[str, _Storage] = {}
        self.unknown = ""

    def load(self, file: IO[bytes]) -> Any:
        return _unpickling.load(file, self._named, self._view)

    def _named(self, name: str) -> Any:
        if name in _KNOWN:
            return _KNOWN[name]
        _pickle_names.check(name)
        if not _pickle_names.is_pythons(name):
            self.unknown = self.unknown or name
        return Unknown(name)

    def _view(self, saved: Any) -> "_View | Unknown":
        """Returns where a tensor's storage begins, which in the old format may be a view of another itself."""
        if isinstance(saved, str):
            raise InputError("is a pickle of protocol 0, which PyTorch can't read either; save it without the option.")
        if not isinstance(saved, tuple) or len(saved) > _LONGEST_ID:
            raise DamagedError("no persistent id")
        if saved[0] == "module" and isinstance(saved[1], Unknown):  # a class and its source, in the old format
            return saved[1]
        kind, dtype, key, _device, elements, *view = saved
        if isinstance(dtype, Unknown):
            if view:  # in the old format the storages behind it can't be found then
                raise _pickle_names.refused(dtype.name)
            return dtype
        storage = _Storage(dtype, elements)
        if kind != "storage" or not isinstance(key, str) or self.storages.setdefault(key, storage) != storage:
            raise DamagedError("no storage, or another of its key")
        return _View(key, _whole(view[0][1]) if view and view[0] else 0)


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: np.dtype
    elements: int

    def __post_init__(self):
        if not isinstance(self.dtype, np.dtype):
            raise DamagedError("no type of a storage")
        _whole(self.elements)

    @property
    def size(self) -> int:
        """The number of bytes in the file."""
        return self.elements * self.dtype.itemsize

    def decoded(self, data: bytes | memoryview) -> np.ndarray:
        """Returns the numbers in `data`. Raises `ValueError` if there are too few."""
        flat = np.frombuffer(data, self.dtype, self.elements)
        return flat.astype("<f4") if self.dtype == _BFLOAT16 else flat


@dataclass(frozen=True, slots=True)
class _View:
    """A storage from an element on."""

    key: str
    start: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """Which elements of a storage make up a tensor; `offset` and `strides` count elements."""

    storage: _View
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def size(self, storages: Mapping[str, np.ndarray]) -> int:
        """The number of bytes."""
        return math.prod(self.shape) * storages[self.storage.key].itemsize

    def array(self, storages: Mapping[str, np.ndarray]) -> np.ndarray:
        """Copies the tensor out of its storage. Raises `DamagedError` if it would reach beyond it."""
        flat, first = storages[self.storage.key], self.storage.start + self.offset
        if not math.prod(self.shape):
            return np.zeros(self.shape, flat.dtype)
        last = first + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        if last >= len(flat):
            raise DamagedError("a tensor beyond its storage")
        strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[first:], self.shape, strides).copy()


def _rebuilt_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_ignored: Any) -> _Tensor | Unknown:
    if isinstance(storage, Unknown):  # of a type that numpy lacks
        return storage
    if not isinstance(storage, _View) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise DamagedError("no tensor")
    if len(shape) > _MOST_DIMENSIONS or len(shape) != len(strides):
        raise DamagedError("no shape")
    return _Tensor(storage, _whole(offset), tuple(map(_whole, shape)), tuple(map(_whole, strides)))


def _rebuilt_parameter(tensor: Any, *_ignored: Any) -> _Tensor | Unknown:
    if not isinstance(tensor, (_Tensor, Unknown)):
        raise DamagedError("a parameter that is no tensor")
    return tensor


def _rebuilt_from_type(function: Any, _type: Any, arguments: Any, *_ignored: Any) -> _Tensor | Unknown:
    if not isinstance(function, _unpickling.Function) or function.call not in (_rebuilt_tensor, _rebuilt_parameter):
        return Unknown("torch._tensor._rebuild_from_type_v2")
    return function.call(*arguments[:4])  # all that either looks at, however many there are


def _whole(number: Any) -> int:
    if not isinstance(number, int) or not 0 <= number < _MOST_ELEMENTS:
        raise DamagedError("no number of elements")
    return number


def _listed(items: Any = ()) -> list[Any] | tuple[Any, ...]:
    if not isinstance(items, (list, tuple)):
        raise DamagedError("a set of what is no list")
    return items


_KNOWN = {
    "collections.OrderedDict": _unpickling.Dict(),
    "collections.defaultdict": _unpickling.Function(lambda *_ignored: {}),
    **{
        f"{builtins}.{name}": _unpickling.Function(_listed)
        for builtins in ("builtins", "__builtin__")
        for name in ("set", "frozenset")
    },
    "torch._utils._rebuild_tensor": _unpickling.Function(_rebuilt_tensor),
    "torch._utils._rebuild_tensor_v2": _unpickling.Function(_rebuilt_tensor),
    "torch._tensor._rebuild_from_type_v2": _unpickling.Function(_rebuilt_from_type),  # with attributes
    "torch._utils._rebuild_parameter": _unpickling.Function(_rebuilt_parameter),
    "torch._utils._rebuild_parameter_with_state": _unpickling.Function(_rebuilt_parameter),
    "torch.nn.parameter.Parameter": _unpickling.Function(_rebuilt_parameter),  # before PyTorch 0.4
    "torch.autograd.variable.Variable": _unpickling.Function(_rebuilt_parameter),
    **{f"torch.{storage}": dtype for storage, dtype in _DTYPES.items()},
}


def _arrays(tensors: Mapping[str, _Tensor], storages: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    if sum(tensor.size(storages) for tensor in tensors.values()) > _COPIES * size + _SPARE:
        raise InputError(f"claims tensors of more than {_COPIES} times its own size; fetch it again.")
    return {name: tensor.array(storages) for name, tensor in tensors.items()}
