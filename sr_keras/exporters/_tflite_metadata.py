"""What a TFLite file says of itself: TFLite's metadata for tools, and the same as JSON with what a tile runner needs.

See https://ai.google.dev/edge/litert/models/metadata; the table's slots are those of metadata_schema.fbs in
github.com/tensorflow/tflite-support.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import flatbuffers
import numpy as np

JSON = "sr_keras"  # the name of our own entry
_STANDARD = "TFLITE_METADATA"


@dataclass(frozen=True)
class About:
    """What a user of a network must know: scale, and how far it looks and where it may be cut, in LR pixels.

    `halo` is None for a network that looks at the whole picture. `license` is an SPDX name or a sentence.
    """

    name: str
    description: str
    scale: int
    channels: int
    halo: int | None
    alignment: int
    author: str
    license: str
    version: str


def with_metadata(content: bytes, about: About, precision: str) -> bytes:
    """Returns the TFLite file `content` with two entries of metadata: the standard's, and `about` as JSON."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    color = "RGB" if about.channels == 3 else "Y"
    ours = {"format": 1, **asdict(about), "color": color, "layout": "NHWC", "range": [0.0, 1.0], "precision": precision}
    entries = {_STANDARD: _standard(about, 255.0 if precision == "int8" else 1.0), JSON: json.dumps(ours).encode()}
    model.metadata = [entry for entry in model.metadata or [] if entry.name.decode() not in entries]
    for name, data in entries.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(data, np.uint8)  # pyright: ignore[reportAttributeAccessIssue]
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    model.description = about.description
    builder = _Aligned(len(content) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Aligned(flatbuffers.Builder):
    """Lays weights at multiples of 16 bytes, as TFLite's schema demands and Python's flatbuffers forgets."""

    def CreateNumpyVector(self, x):  # noqa: N802
        self.StartVector(x.itemsize, x.size, 16)
        length = x.itemsize * x.size
        self.head -= length
        self.Bytes[self.head : self.head + length] = x.tobytes(order="C")
        self.vectorNumElems = x.size
        return self.EndVector()


def read_metadata(content: bytes) -> dict | None:
    """Returns the JSON entry of a TFLite file; None if it has none."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content, 0)
    for k in range(model.MetadataLength()):
        if model.Metadata(k).Name() == JSON.encode():
            return json.loads(model.Buffers(model.Metadata(k).Buffer()).DataAsNumpy().tobytes())
    return None


def _standard(about: About, most: float) -> bytes:
    builder = flatbuffers.Builder(1024)
    lr = _tensor(builder, "lr", f"low resolution picture, {about.channels} channels, 0 to {most:g}", about, most)
    sr = _tensor(builder, "sr", f"the picture enlarged {about.scale} times, 0 to {most:g}", about, most)
    inputs, outputs = _vector(builder, [lr]), _vector(builder, [sr])
    subgraph = _table(builder, 4, {2: inputs, 3: outputs})
    words = {0: about.name, 1: about.description, 2: about.version, 4: about.author, 5: about.license, 7: "1.0.0"}
    fields = {slot: builder.CreateString(text) for slot, text in words.items()}
    builder.Finish(_table(builder, 8, {**fields, 3: _vector(builder, [subgraph])}), b"M001")
    return bytes(builder.Output())


def _tensor(builder: flatbuffers.Builder, name: str, description: str, about: About, most: float) -> int:
    """A TensorMetadata: an image whose values go from 0 to `most`, from whole pixels by mean 0 and 255 / most."""
    image = _table(builder, 2, {}, {0: 1 if about.channels == 3 else 2})  # ColorSpaceType: RGB, GRAYSCALE
    content = _table(builder, 3, {1: image}, {0: 2})  # ContentProperties: ImageProperties
    norm = _table(builder, 2, {0: _floats(builder, [0.0]), 1: _floats(builder, [255.0 / most])})
    unit = _table(builder, 2, {1: norm}, {0: 1})  # ProcessUnitOptions: NormalizationOptions
    stats = _table(builder, 2, {0: _floats(builder, [most]), 1: _floats(builder, [0.0])})
    words = {0: builder.CreateString(name), 1: builder.CreateString(description)}
    return _table(builder, 7, {**words, 3: content, 4: _vector(builder, [unit]), 5: stats})


def _table(
    builder: flatbuffers.Builder, slots: int, offsets: dict[int, int], bytes_: dict[int, int] | None = None
) -> int:
    builder.StartObject(slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in (bytes_ or {}).items():
        builder.PrependUint8Slot(slot, value, 0)
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    return _filled(builder, offsets, builder.PrependUOffsetTRelative)


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    return _filled(builder, values, builder.PrependFloat32)


def _filled(builder: flatbuffers.Builder, values: Sequence, prepend: Callable) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        prepend(value)
    return builder.EndVector()
