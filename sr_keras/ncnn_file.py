"""Reads an ncnn model: the text `.param` that lists its layers, and the `.bin` that holds their weights.

ncnn's own reader is the only description of the text (github.com/Tencent/ncnn: src/net.cpp, src/paramdict.cpp).
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np

from sr_keras import _ncnn_weights, files
from sr_keras._ncnn_weights import Options
from sr_keras.errors import InputError

_MAGIC = 7767517
_BINARY_START = _MAGIC.to_bytes(4, "little")
_ARRAY = -23300  # the id of an array is written as this number less the id
_IDS = 32
_MOST = 1_000_000  # layers or blobs, as in ncnn
_LONGEST = 255  # characters of a name, as in ncnn
_NUMBER = re.compile(r"[+-]?\d{1,20}(\.\d{0,20})?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_WITHOUT_WEIGHTS = set(
    "AbsVal BinaryOp BNLL Cast CELU Clip Concat CopyTo Crop DeepCopy Dropout Eltwise ELU Erf Exp ExpandDims Flatten "
    "Flip Fold GELU GLU GridSample HardSigmoid HardSwish Input Interp Log LRN MatMul Mish MVN Noop Packing Permute "
    "PixelShuffle Pooling Power Reduction ReLU Reorg Reshape SELU Shrink ShuffleChannel Sigmoid Silence Slice Softmax "
    "Softplus Split Squeeze Swish TanH Threshold Tile UnaryOp Unfold".split()
)


@dataclass(frozen=True, eq=False)
class Layer:
    """A line of the `.param`, and its `weights` in float32, under PyTorch's names and in PyTorch's axis order.

    What a `MemoryData` holds is called `data`. A kind without weights, or one that takes them from another layer, has
    none.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Options
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def read(path: str | PathLike[str]) -> list[Layer]:
    """Reads `<stem>.param` and `<stem>.bin`, of which `path` is either, and returns the layers in the file's order.

    Raises `InputError` for a file that is missing, truncated, in ncnn's binary form or not ncnn's, for a `.bin` that
    is shorter or longer than the `.param` says, for weights in int8, and for a layer of a kind that is not known here.
    """
    param, weights = _pair(Path(path))
    missing = next((part for part in (param, weights) if not part.exists()), None)
    if missing is not None and missing != Path(path):
        raise InputError(f"{path}: needs {missing.name} beside it; ncnn keeps a network in two files of one name.")
    layers = list(_layers(param, _text(param)))
    with files.reading(weights) as file:
        blobs = _ncnn_weights.Blobs(param, weights, file.read())
        for layer in layers:
            layer.weights.update(blobs.of(layer.kind, layer.name, layer.options))
    blobs.finish()
    return layers


def _pair(path: Path) -> tuple[Path, Path]:
    suffix = path.suffix.lower()
    if path.name.lower().endswith(".param.bin"):
        raise InputError(f"{path}: is ncnn's binary form of a .param; give the .param in text form.")
    if suffix not in (".param", ".bin"):
        raise InputError(f"{path}: is neither a .param nor a .bin of ncnn; give one of the two.")
    return (path, path.with_suffix(".bin")) if suffix == ".param" else (path.with_suffix(".param"), path)


def _text(path: Path) -> str:
    with files.reading(path) as file:
        start = file.read(len(f"{_MAGIC}\n"))
        if start.startswith(_BINARY_START):
            raise InputError(f"{path}: is ncnn's binary form of a .param; give the text form.")
        if start.split() != [str(_MAGIC).encode()]:
            raise InputError(f"{path}: is no .param of ncnn, which begins with {_MAGIC}; check the path.")
        content = start + file.read()
    if not content.endswith(b"\n"):
        raise InputError(f"{path}: ends in the middle of a line; fetch it again, or end the line if it is whole.")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: holds bytes that are no ASCII text; fetch it again.") from error


def _layers(path: Path, text: str) -> Iterator[Layer]:
    """Parses the magic number, the numbers of layers and of blobs, and a line for each layer."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    counts = [_count(word) for word in lines[1][1].split()] if len(lines) > 1 else []
    if len(counts) != 2 or not all(0 < count <= _MOST for count in counts):
        raise InputError(f"{path}: lacks the numbers of layers and of blobs on its second line; fetch it again.")
    if len(lines) - 2 != counts[0]:
        raise InputError(f"{path}: lists {len(lines) - 2} layers and says {counts[0]}; fetch it again.")
    known: set[str] = set()
    for number, line in lines[2:]:
        try:
            yield _layer(line.split(), known)
        except InputError as error:
            raise InputError(f"{path}: line {number} {error}; fetch the file again.") from error
    if len(known) > counts[1]:
        raise InputError(f"{path}: names {len(known)} blobs and says {counts[1]}; fetch it again.")


def _layer(words: list[str], known: set[str]) -> Layer:
    """Parses `kind name inputs outputs input... output... id=value...`; `known` are the blobs so far."""
    counts = [_count(word) for word in words[2:4]]
    if len(counts) < 2 or min(counts) < 0 or len(words) < 4 + sum(counts):
        raise InputError("is no layer (a kind, a name, the numbers of inputs and of outputs, their names, options)")
    end = 4 + sum(counts)
    kind, name, inputs, outputs = words[0], words[1], words[4 : 4 + counts[0]], words[4 + counts[0] : end]
    if not all(len(word) <= _LONGEST and word.isprintable() for word in (kind, name, *inputs, *outputs)):
        raise InputError("holds a name that is none")
    if kind not in _ncnn_weights.KINDS and kind not in _WITHOUT_WEIGHTS:
        raise InputError(f"is a layer of the kind {kind}, which can't be read; its weights would be misread")
    for blob in inputs:
        if blob not in known:
            raise InputError(f"takes '{blob}', which no line before it makes")
    for blob in outputs:
        if blob in known:
            raise InputError(f"makes '{blob}', which another line has made")
        known.add(blob)
    return Layer(kind, name, tuple(inputs), tuple(outputs), _options(words[end:]))


def _options(words: list[str]) -> Options:
    """Parses `id=value`, and arrays: `-23300-id=count,value...`."""
    options: Options = {}
    for word in words:
        key, equals, text = word.partition("=")
        number, values = _number(key), [_number(part) for part in text.split(",")]
        if not equals or not isinstance(number, int) or None in values:
            raise InputError(f"has {word[:40]!a}, which is no option")
        is_array, count = number <= _ARRAY, 1
        if is_array:
            number, count, *values = _ARRAY - number, *values
        if not 0 <= number < _IDS or number in options or count != len(values):
            raise InputError(f"has {word[:40]!a}, which is no option or there twice")
        options[number] = values if is_array else values[0]
    return options


def _count(word: str) -> int:
    """Returns the number, or -1 if it is none."""
    return int(word) if word.isdecimal() and len(word) < 8 else -1


def _number(word: str) -> int | float | None:
    if not (found := _NUMBER.fullmatch(word)):
        return None
    value = float(word) if found[1] or found[2] else int(word)
    return value if abs(value) < (2**31 if isinstance(value, int) else math.inf) else None
