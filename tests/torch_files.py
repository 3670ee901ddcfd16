"""Writes files as `torch.save` does, without PyTorch: what pickles by name finds stand-ins under PyTorch's names."""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from sr_keras import torch_file


@dataclass
class Storage:
    """`elements` numbers of the type `kind`, such as FloatStorage, as `data`."""

    kind: str
    data: bytes
    elements: int


@dataclass
class Tensor:
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (self.storage, self.offset, self.shape, self.strides, False, OrderedDict())


@dataclass
class Parameter:
    tensor: Tensor

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_parameter, (self.tensor, True, OrderedDict())


_STAND_INS: dict[str, type] = {}


class _Module: ...


def stand_in(name: str, base: type = object) -> type:
    """Makes a class that is pickled under a dotted name."""
    module, _, attribute = name.rpartition(".")
    return _STAND_INS.setdefault(name, type(attribute, (base,), {"__module__": module}))


def module(name: str, parameters: dict, buffers: dict, modules: dict, passing: Sequence[str] = ()) -> object:
    """Makes what is pickled like a `torch.nn.Module` of a class of that name, some of whose buffers are not kept."""
    made = stand_in(name, _Module)()
    vars(made).update(training=True, _parameters=parameters, _buffers=buffers, _non_persistent_buffers_set=set(passing))
    vars(made).update(_backward_hooks=OrderedDict(), _modules=modules)
    return made


def tensor(array: np.ndarray, kind: str = "FloatStorage") -> Tensor:
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return Tensor(Storage(kind, array.tobytes(), array.size), 0, array.shape, strides)


def save(path: Path, tree: object, *, legacy: bool = False) -> Path:
    """Writes `tree`, in which tensors are `Tensor` or `Parameter`; returns the path."""
    stand_ins = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}
    for kind in torch_file._DTYPES:
        setattr(stand_ins["torch"], kind, type(kind, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda: None).__code__, {"__name__": "torch._utils"}, name)
        function.__qualname__ = name
        setattr(stand_ins["torch._utils"], name, function)
    for made in _STAND_INS.values():
        setattr(stand_ins.setdefault(made.__module__, types.ModuleType(made.__module__)), made.__name__, made)
    with mock.patch.dict(sys.modules, stand_ins):
        text, storages = _pickled(tree, stand_ins["torch"], legacy)
    (write_legacy if legacy else write_zip)(path, text, storages)
    return path


def _pickled(tree: object, torch: types.ModuleType, legacy: bool) -> tuple[bytes, list[Storage]]:
    storages: list[Storage] = []
    classes: list[type] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if legacy and isinstance(obj, type) and issubclass(obj, _Module) and obj not in classes:
                classes.append(obj)
                return ("module", obj, "net.py", "class Net: ...")
            if not isinstance(obj, Storage):
                return None
            if not any(obj is known for known in storages):
                storages.append(obj)
            key = str([obj is known for known in storages].index(True))
            return ("storage", getattr(torch, obj.kind), key, "cpu", obj.elements, *[None] * legacy)

    text = io.BytesIO()
    Pickler(text, protocol=2).dump(tree)
    return text.getvalue(), storages


def write_zip(path: Path, text: bytes, storages: Sequence[Storage] = (), compression: int = zipfile.ZIP_STORED) -> Path:
    """Writes the new format around a pickle; returns the path."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", text)
        archive.writestr("archive/byteorder", "little")
        for key, storage in enumerate(storages):
            archive.writestr(f"archive/data/{key}", storage.data)
    return path


def write_legacy(path: Path, text: bytes, storages: Sequence[Storage] = ()) -> Path:
    """Writes the format of before PyTorch 1.6 around a pickle; returns the path."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(part, protocol=2) for part in (torch_file.MAGIC_NUMBER, 1001, system)]
    keys = pickle.dumps([str(key) for key in range(len(storages))], protocol=2)
    data = [struct.pack("<q", storage.elements) + storage.data for storage in storages]
    path.write_bytes(b"".join([*head, text, keys, *data]))
    return path
