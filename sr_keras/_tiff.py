"""TIFF: rows as the bytes of a file for libvips, and EXIF, which has TIFF's structure, out of a file and into one.

libvips carries EXIF for every format but this one. Entries are copied raw, their bytes swapped at most. See TIFF 6.0,
section 2, and https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

import struct
from collections.abc import Iterator, Mapping
from io import SEEK_END, BytesIO
from typing import BinaryIO

import numpy as np

from sr_keras.rows import Rows

# What a directory holds: the type of a tag's values and their bytes, least significant first, or a directory below it.
Directory = dict[int, "tuple[int, bytes] | Directory"]

COMPRESSION, PHOTOMETRIC = 259, 262
_EXIF, _GPS, _INTEROPERABILITY = 34665, 34853, 40965
_BELOW = {_EXIF: {_INTEROPERABILITY: {}}, _GPS: {}}
_DESCRIPTION, _IPTC = 270, 33723
_OF_THE_SIZE = {40962, 40963}  # not allowed in a TIFF file
# Names, camera, software, date, artist, host, rating, copyright, Windows' title to subject: no word of the pixels.
_DESCRIPTIVE = {269, _DESCRIPTION, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096)} | set(
    _BELOW
)
_OF_THE_ARRAY = (b"ImageJ=", b'{"shape"', b"<?xml")  # descriptions that would be wrong for other pixels
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # a value of each type
_SWAPPED = {5: 4, 10: 4}  # a fraction is two numbers
_MARK = b"Exif\0\0"  # before the block, in most formats
_SHORT, _LONG, _LONG8 = 3, 4, 16
_MOST = 1 << 15  # bytes of a value; libexif drops every tag of an EXIF block that is larger than 64 KiB


class Source:
    """Rows as the bytes of an uncompressed BigTIFF, a format that libvips reads from the front to the back."""

    def __init__(self, rows: Rows):
        self._bands = iter(rows)
        self._head = _head(rows)
        self._size = len(self._head) + rows.height * rows.width * rows.channels * rows.dtype.itemsize
        self._at = 0
        self._data = memoryview(b"")

    def read(self, count: int) -> bytes | memoryview:
        part = self._head[self._at : self._at + count] or self._next(count)
        self._at += len(part)
        return part

    def seek(self, offset: int, whence: int) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def _next(self, count: int) -> bytes | memoryview:
        while not len(self._data):
            band = next(self._bands, None)
            if band is None:
                return b""
            self._data = memoryview(np.ascontiguousarray(band)).cast("B")
        part, self._data = self._data[:count], self._data[count:]
        return part


def _head(rows: Rows, strip: int = 16) -> bytes:
    """Returns the bytes that come before the pixels."""
    count = -(-rows.height // strip)
    start = -(-(1024 + 16 * count) // 65536) * 65536  # far from what is read to recognise the format
    offsets = start + np.arange(count, dtype="<u8") * np.uint64(
        strip * rows.width * rows.channels * rows.dtype.itemsize
    )
    end = start + rows.height * rows.width * rows.channels * rows.dtype.itemsize
    directory: Directory = {
        256: _longs(rows.width), 257: _longs(rows.height), 258: _shorts(*[8 * rows.dtype.itemsize] * rows.channels),
        COMPRESSION: _shorts(1), PHOTOMETRIC: _shorts(2 if rows.channels > 2 else 1), 273: (_LONG8, offsets.tobytes()),
        277: _shorts(rows.channels), 278: _longs(strip),
        279: (_LONG8, np.diff(offsets, append=np.uint64(end)).astype("<u8").tobytes()),
    }  # fmt: skip
    if rows.channels in (2, 4):
        directory[338] = _shorts(2)  # unassociated alpha
    return (struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) + _packed(directory, 16, big=True)).ljust(start, b"\0")


class Reader:
    """Reads the first directory of a TIFF file or of an EXIF block; whatever points outside the file is left out."""

    def __init__(self, file: BinaryIO):
        self._file, self._end = file, file.seek(0, SEEK_END)
        head = self._at(0, 8)
        self._order = ">" if head[:2] == b"MM" else "<"
        self.big = head[2:4] in (b"+\0", b"\0+")
        self._first = self._number(self._at(8, 8) if self.big else head[4:])

    def number(self, tag: int) -> int | None:
        """Returns the value of a tag that has one of 16 bits."""
        places = [place for found, _, _, place in self.entries() if found == tag]
        return struct.unpack_from(f"{self._order}H", places[0])[0] if places else None

    def exif(self) -> Directory:
        """Returns what is said of the picture rather than of its pixels, with the directories below."""
        found = self._values(self._first, _BELOW, _DESCRIPTIVE)
        description = found.get(_DESCRIPTION, (0, b""))
        if isinstance(description, tuple) and description[1].startswith(_OF_THE_ARRAY):
            del found[_DESCRIPTION]
        return found

    def entries(self, at: int | None = None) -> Iterator[tuple[int, int, int, bytes]]:
        """Yields tag, type, number of values, and the values or where they are."""
        start, end = self._lines(self._first if at is None else at)
        yield from struct.iter_unpack(self._order + ("HHQ8s" if self.big else "HHI4s"), self._at(start, end - start))

    def end(self) -> int:
        """Returns where the entries end, and the place of the next directory is written."""
        return self._lines(self._first)[1]

    def _lines(self, at: int) -> tuple[int, int]:
        count, entry = (8, 20) if self.big else (2, 12)
        return at + count, at + count + entry * self._number(self._at(at, count))

    def _values(self, at: int, below: dict, wanted: set[int] | None = None) -> Directory:
        found: Directory = {}
        for tag, kind, count, place in self.entries(at):
            if tag in _OF_THE_SIZE or (wanted is not None and tag not in wanted):
                continue
            if tag in below:
                if inner := self._values(self._number(place[: _BYTES.get(kind, 8)]), below[tag]):
                    found[tag] = inner
            elif values := self._value(place, count * _BYTES.get(kind, 0)):
                width = _SWAPPED.get(kind, _BYTES[kind])
                found[tag] = kind, np.frombuffer(values, f"{self._order}u{width}").astype(f"<u{width}").tobytes()
        return found

    def _value(self, place: bytes, size: int) -> bytes:
        if size > _MOST:
            return b""
        return place[:size] if size <= len(place) else self._at(self._number(place), size)

    def _at(self, start: int, size: int) -> bytes:
        if start + size > self._end:
            return b""
        self._file.seek(start)
        return self._file.read(size)

    def _number(self, data: bytes) -> int:
        return int.from_bytes(data, "little" if self._order == "<" else "big")


def of_block(block: bytes) -> Directory:
    """Returns what the EXIF of other formats says."""
    return Reader(BytesIO(block.removeprefix(_MARK))).exif()


def exif_block(exif: Directory) -> bytes:
    """Returns a directory as the EXIF of other formats."""
    return _MARK + struct.pack("<2sHI", b"II", 42, 8) + _packed(exif, 8, big=False)


def without_thumbnail(block: bytes) -> bytes:
    """Cuts the link from an EXIF block's first directory to the second, which is the thumbnail's."""
    start = len(_MARK) if block.startswith(_MARK) else 0
    end = start + Reader(BytesIO(block[start:])).end()
    return block[:end] + b"\0" * len(block[end : end + 4]) + block[end + 4 :]


def iptc(bare: bytes) -> Directory:
    """Returns IPTC as an entry, in whole numbers of 32 bits as Adobe has it."""
    return {_IPTC: (_LONG, bare + b"\0" * (-len(bare) % 4))}


def add(file: BinaryIO, directory: Directory) -> None:
    """Appends a new first directory to a TIFF file of the machine's byte order: the old one, and what it lacked."""
    reader = Reader(file)
    form = "<HHQ8s" if reader.big else "<HHI4s"
    kept = {entry[0]: struct.pack(form, *entry) for entry in reader.entries()}
    new = {tag: value for tag, value in directory.items() if tag not in kept}
    end = file.seek(0, SEEK_END)
    at = file.seek(end + end % 2)
    file.write(_packed(new, at, big=reader.big, kept=kept))
    file.seek(8 if reader.big else 4)
    file.write(struct.pack("<Q" if reader.big else "<I", at))


def _packed(directory: Directory, at: int, *, big: bool, kept: Mapping[int, bytes] = {}) -> bytes:
    """Returns the bytes of a directory that lies at `at`, `kept` entries among it, with all that it points to."""
    counter, entry, offset = ("<Q", "<HHQ", "<Q") if big else ("<H", "<HHI", "<I")
    room = struct.calcsize(offset)
    entries, beyond = dict(kept), b""
    count = len(directory) + len(kept)
    end = at + struct.calcsize(counter) + count * (struct.calcsize(entry) + room) + room
    for tag, value in directory.items():
        place = end + len(beyond)
        if isinstance(value, dict):
            beyond += _packed(value, place, big=big)
            value = (_LONG8 if big else _LONG, struct.pack(offset, place))
        elif len(value[1]) > room:
            beyond += value[1] + b"\0" * (len(value[1]) % 2)
        kind, data = value
        stored = data.ljust(room, b"\0") if len(data) <= room else struct.pack(offset, place)
        entries[tag] = struct.pack(entry, tag, kind, len(data) // {**_BYTES, _LONG8: 8}[kind]) + stored
    rows = b"".join(entries[tag] for tag in sorted(entries))
    return struct.pack(counter, count) + rows + struct.pack(offset, 0) + beyond


def _shorts(*values: int) -> tuple[int, bytes]:
    return _SHORT, struct.pack(f"<{len(values)}H", *values)


def _longs(*values: int) -> tuple[int, bytes]:
    return _LONG, struct.pack(f"<{len(values)}I", *values)
