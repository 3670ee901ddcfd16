"""Writes ncnn models as its tools do, with kernels in each of the types that it knows."""

import struct
from pathlib import Path

import numpy as np

TAGS = {"raw": 0, "float32": 0x0002C056, "float16": 0x01306B47, "bfloat16": 0x01348B83, "int8": 0x000D4B38, "table": 1}
TABLE = np.linspace(-1, 1, 256, dtype=np.float32)


def tagged(array: np.ndarray, kind: str = "raw") -> bytes:
    """Returns a kernel behind its tag; of the kind `table`, an array of indices into TABLE."""
    if kind == "bfloat16":
        data = (array.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    else:
        types = {"raw": "<f4", "float32": "<f4", "float16": "<f2", "int8": "|i1", "table": "|u1"}
        data = array.astype(types[kind]).tobytes()
    return struct.pack("<I", TAGS[kind]) + TABLE.tobytes() * (kind == "table") + data + bytes(-len(data) % 4)


def raw(*arrays: np.ndarray) -> bytes:
    return b"".join(array.astype("<f4").tobytes() for array in arrays)


def save(folder: Path, lines: list[str], content: bytes, *, stem: str = "net") -> Path:
    """Writes the layers behind an input called `data`; returns the path of the `.param`."""
    lines = ["Input in 0 1 data", *lines]
    blobs = sum(int(line.split()[3]) for line in lines)
    path = folder / f"{stem}.param"
    path.write_text("\n".join(["7767517", f"{len(lines)} {blobs}", *lines, ""]), encoding="ascii")
    path.with_suffix(".bin").write_bytes(content)
    return path


def tiny(folder: Path, kind: str = "raw") -> Path:
    """A network as published ones are: kernels of a kind, slopes, a skip over a nearest enlargement, x2."""
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=shape) for shape in ((2, 3, 3, 3), (12, 2, 1, 1))]
    if kind == "table":
        kernels = [rng.integers(0, 256, kernel.shape) for kernel in kernels]
    lines = [
        "Split split 1 2 data data_0 data_1",
        "Convolution conv_0 1 1 data_1 a 0=2 1=3 4=1 5=1 6=54 9=2 -23310=1,2.000000e-01",
        "PReLU slope 1 1 a b 0=2",
        "Convolution conv_1 1 1 b c 0=12 1=1 5=1 6=24",
        "PixelShuffle shuffle 1 1 c d 0=2",
        "Interp nearest 1 1 data_0 e 0=1 1=2.000000e+00 2=2.000000e+00",
        "BinaryOp add 2 1 d e output 0=0",
    ]
    vectors = [rng.normal(size=size) for size in (2, 2, 12)]
    content = tagged(kernels[0], kind) + raw(*vectors[:2]) + tagged(kernels[1], kind) + raw(vectors[2])
    return save(folder, lines, content)
