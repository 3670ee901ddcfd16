"""Reads a safetensors file: tensors behind a header of JSON, with nothing in it that could run."""

from os import PathLike
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize

from sr_keras import files, state_dict
from sr_keras.errors import InputError

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_WIDENED = {"BF16": ml_dtypes.bfloat16, "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}


def begins(start: bytes) -> bool:
    """Tells whether the first bytes, 9 or more, may be those of such a file: a length, and a header of JSON."""
    return start[8:9] == b"{"


def read(path: str | PathLike[str], under: str = "") -> dict[str, np.ndarray]:
    """Reads names -> arrays, sorted by name, or those only whose names begin with `under` and a dot, without both.

    bfloat16 and float8 become float32, other types stay as they are.

    Raises `InputError` for a file that is missing, truncated, no safetensors file, without tensors, or with a tensor
    of another type.
    """
    path = Path(path)
    with files.reading(path) as file:
        try:  # a dict of Rust has another order at each call
            found = sorted(deserialize(file.read()), key=lambda item: item[0])
            tensors = {name: _array(name, **told) for name, told in found}
            if not tensors:
                raise InputError("holds no tensors; give a file of weights.")
            state_dict.check_names(tensors)
            if not under:
                return tensors
            return state_dict.under(tensors, under, {name.partition(".")[0] for name in tensors})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (SafetensorError, ValueError) as error:
            raise InputError(f"{path}: is no safetensors file, or truncated or damaged; fetch it again.") from error


def _array(name: str, dtype: str, shape: list[int], data: bytearray) -> np.ndarray:
    if dtype in _WIDENED:
        return np.frombuffer(data, _WIDENED[dtype]).reshape(shape).astype(np.float32)
    if dtype not in _DTYPES:
        raise InputError(f"holds {name[:80]!a} as {dtype}, which can't be read; save it as float16 or float32.")
    return np.frombuffer(data, _DTYPES[dtype]).reshape(shape)
