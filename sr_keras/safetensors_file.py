"""Reads a safetensors file: tensors behind a header of JSON, with nothing in it that could run."""

from os import PathLike
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from sr_keras import files, state_dict
from sr_keras.errors import InputError

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1", "BF16": "<u2",
}  # fmt: skip


def read(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Reads names -> arrays, sorted by name, bfloat16 as float32, other types as they are; `module.` is taken off.

    Raises `InputError` for a file that is missing, truncated, no safetensors file, without tensors, or with a tensor
    of a type that numpy lacks, such as float8.
    """
    path = Path(path)
    with files.reading(path) as file:
        content = file.read()
    try:  # a dict of Rust has another order at each call
        found = sorted(deserialize(content), key=lambda item: item[0])
        tensors = {name: _array(name, **told) for name, told in found}
        if not tensors:
            raise InputError("holds no tensors; give a file of weights.")
        return state_dict.plain(tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: is no safetensors file, or truncated or damaged; fetch it again.") from error


def _array(name: str, dtype: str, shape: list[int], data: bytearray) -> np.ndarray:
    if dtype not in _DTYPES:
        raise InputError(f"holds {name[:80]!a} as {dtype}, which can't be read; save it as float16 or float32.")
    array = np.frombuffer(data, _DTYPES[dtype]).reshape(shape)
    if dtype == "BF16":  # the upper half of a float32
        return (array.astype("<u4") << 16).view("<f4")
    return array
