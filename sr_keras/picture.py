"""Picture files with all that is in them: rows as a stream, alpha, 8 and 16 bits, ICC, EXIF and XMP, by libvips.

libvips (Cupitt and Martinez, https://www.libvips.org) decodes and encodes from the top down, so neither side of an
enlargement is ever whole in memory, formats aside that can't be read or written in part (WebP, interlaced PNG, BMP).
"""

import errno
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image, UnidentifiedImageError

from sr_keras import image
from sr_keras.errors import InputError
from sr_keras.files import write_whole
from sr_keras.rows import Rows

MOST_PIXELS = 268_435_456
_BAND_BYTES = 4 << 20
_KEPT = ("exif-data", "icc-profile-data", "xmp-data", "iptc-data")
_LOOKS_OF_BANDS = {1: ("b-w", "grey16"), 2: ("b-w", "grey16"), 3: ("srgb", "rgb16"), 4: ("srgb", "rgb16")}

pyvips.concurrency_set(1)  # the processor is the network's; more threads only hold more rows
pyvips.cache_set_max(0)
pyvips.block_untrusted_set(True)


@dataclass(frozen=True)
class Metadata:
    """What goes from an input to its output: the blobs of ICC, EXIF, XMP and IPTC, and pixels per millimetre."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    resolution: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """A picture that is being read: upright `rows`, uint8 or uint16, of 1 (grey), 2, 3 (RGB) or 4 channels.

    Channel 2 of 2 and 4 of 4 is alpha, not premultiplied. `notes` say what of the file was left aside.
    """

    rows: Rows
    metadata: Metadata = Metadata()
    notes: tuple[str, ...] = ()

    @property
    def has_alpha(self) -> bool:
        return self.rows.channels in (2, 4)


@dataclass(frozen=True)
class Format:
    """What a file format holds; `most` is the largest side in pixels."""

    options: Callable[[int, int], dict]  # of quality 1..100 and the number of bytes of the pixels
    deep: bool = False
    alpha: bool = True
    most: int = 2**31 - 1


_PNG = Format(lambda quality, size: {"compression": 4, "filter": "sub"}, deep=True)
_TIFF = Format(
    lambda quality, size: {"compression": "deflate", "predictor": "horizontal", "bigtiff": size > 4_000_000_000},
    deep=True,
)
_JPEG = Format(lambda quality, size: {"Q": quality, "background": 255.0}, alpha=False, most=65_535)
_WEBP = Format(lambda quality, size: {"Q": quality, "lossless": quality == 100, "effort": 3}, most=16_383)
_BMP = Format(lambda quality, size: {}, alpha=False)
FORMATS = {
    ".png": _PNG, ".tif": _TIFF, ".tiff": _TIFF, ".jpg": _JPEG, ".jpeg": _JPEG, ".webp": _WEBP, ".bmp": _BMP,
}  # fmt: skip


def load(source: Path | bytes, name: str | None = None, *, most_pixels: int = MOST_PIXELS) -> Picture:
    """Opens a picture file, or the bytes of one, and reads its size; the rows are decoded as they are taken.

    The EXIF orientation is applied to the pixels. CMYK and Lab become sRGB. Raises `InputError` here, or while rows are
    taken, for a file that is missing, no picture, damaged, of pixels that are neither 8 nor 16 bits, or larger than
    `most_pixels`.
    """
    name = name or str(source)
    try:
        opened = _opened(source, name, "sequential")
    except pyvips.Error as error:
        if "not in a known format" in str(error) or "not a known" in str(error):
            return _by_pillow(source, name, most_pixels)
        raise InputError(f"{name}: is damaged ({_reason(error)}); copy it again from its source.") from error
    _check_size(name, opened.width, opened.height, most_pixels)
    if opened.get_typeof("orientation") and opened.get("orientation") > 1:
        opened = _opened(source, name, "random").autorot()  # a turn needs the whole input
    metadata = _metadata(opened)
    pages = opened.get("n-pages") if opened.get_typeof("n-pages") else 1
    notes = (f"only the first of {pages} pages or frames",) if pages > 1 else ()
    pixels = _grey_or_rgb(opened, name)
    if pixels.interpretation != opened.interpretation and opened.interpretation not in ("multiband", "histogram"):
        metadata = Metadata({k: v for k, v in metadata.blobs.items() if k != "icc-profile-data"}, metadata.resolution)
        notes += (f"{opened.interpretation} became sRGB",)
    dtype = np.uint8 if pixels.format == "uchar" else np.uint16
    rows = Rows(_bands(pixels, name, dtype), pixels.height, pixels.width, pixels.bands, dtype)
    return Picture(rows, metadata, notes)


def _opened(source: Path | bytes, name: str, access: str) -> pyvips.Image:
    if isinstance(source, bytes):
        if not source:
            raise InputError(f"{name}: is empty; give it a picture.")
        return pyvips.Image.new_from_buffer(source, "", access=access, fail_on="error")
    try:
        with open(source, "rb") as file:
            if not file.read(1):
                raise InputError(f"{name}: is empty; copy it again from its source.")
    except OSError as error:
        raise InputError(f"{name}: can't be read ({error.strerror}); check the path.") from error
    return pyvips.Image.new_from_file(str(source), access=access, fail_on="error")


def _check_size(name: str, width: int, height: int, most: int) -> None:
    if width * height > most:
        raise InputError(
            f"{name}: has {width}x{height} pixels, more than {most / 1e6:.0f} megapixels; "
            f"if that is meant, --max-pixels {-(-width * height // 1_000_000)}."
        )


def _metadata(opened: pyvips.Image) -> Metadata:
    blobs = {key: opened.get(key) for key in _KEPT if opened.get_typeof(key)}
    return Metadata(blobs, (opened.xres, opened.yres))


def _grey_or_rgb(opened: pyvips.Image, name: str) -> pyvips.Image:
    """Returns 1 to 4 bands of uchar or ushort; colour spaces other than RGB and grey are converted."""
    kind, pixels = opened.interpretation, opened
    if opened.format not in ("uchar", "ushort"):
        raise InputError(f"{name}: has pixels of type {opened.format}; save it with 8 or 16 bits a channel first.")
    if kind == "cmyk":
        depth = 16 if opened.format == "ushort" else 8
        pixels = opened.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
    elif kind not in ("srgb", "rgb16", "b-w", "grey16", "rgb", "multiband", "histogram"):
        pixels = opened.colourspace("rgb16" if opened.format == "ushort" else "srgb")
    if not 1 <= pixels.bands <= 4:
        raise InputError(f"{name}: has {pixels.bands} channels; save it as grey or RGB, with or without alpha.")
    return pixels


def _bands(pixels: pyvips.Image, name: str, dtype: type) -> Iterator[np.ndarray]:
    line = pixels.width * pixels.bands * np.dtype(dtype).itemsize
    height = max(_BAND_BYTES // line // 16 * 16, 16)
    region = pyvips.Region.new(pixels)
    for top in range(0, pixels.height, height):
        count = min(height, pixels.height - top)
        try:
            data = region.fetch(0, top, pixels.width, count)
        except pyvips.Error as error:
            raise InputError(f"{name}: is damaged ({_reason(error)}); copy it again from its source.") from error
        yield np.frombuffer(data, dtype).reshape(count, pixels.width, pixels.bands)


def _reason(error: pyvips.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "libvips can't decode it"


def _by_pillow(source: Path | bytes, name: str, most: int) -> Picture:
    """Reads what libvips has no loader for, BMP above all, with Pillow, whole."""
    warnings.filterwarnings("ignore", module="PIL")
    try:
        with warnings.catch_warnings(), Image.open(BytesIO(source) if isinstance(source, bytes) else source) as opened:
            _check_size(name, opened.width, opened.height, most)
            if opened.mode not in ("L", "LA", "RGB", "RGBA"):
                opened = opened.convert("L" if opened.mode == "1" else "RGB")
            pixels = np.asarray(opened)
            profile = opened.info.get("icc_profile")
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        usual = " ".join(sorted(FORMATS))
        raise InputError(f"{name}: is not a picture that can be read, or is cut off; use one of {usual}.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{name}: is damaged ({error}); copy it again from its source.") from error
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return Picture(Rows.of(pixels), Metadata({"icc-profile-data": profile} if profile else {}))


def file_type(path: Path, dtype: np.dtype) -> np.dtype:
    """Returns the type of pixels that a file of this ending holds: `dtype`, or uint8 where it has no 16 bits."""
    return dtype if FORMATS[path.suffix.lower()].deep else np.dtype(np.uint8)


def check_target(path: Path, height: int, width: int) -> None:
    """Raises `InputError` for an ending that can't be written, or a size that the format can't hold."""
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise InputError(f"{path}: no encoder for '{path.suffix}'; use one of {' '.join(sorted(FORMATS))}.")
    if max(height, width) > known.most:
        raise InputError(
            f"{path}: would be {width}x{height}, and {path.suffix} holds {known.most} pixels a side; take --format png."
        )


def save(path: Path, rows: Rows, metadata: Metadata = Metadata(), *, quality: int = 95) -> None:
    """Writes uint8 or uint16 rows of 1 to 4 channels as they come, beside and then renamed.

    The ending names the format. `quality` (1 to 100) counts for JPEG and WebP, whose 100 is lossless. What lacks alpha
    is laid on white. Raises `InputError` if it can't be written; whatever `rows` raises comes through.
    """
    check_target(path, rows.height, rows.width)
    known = FORMATS[path.suffix.lower()]
    write = _write_bmp if known is _BMP else _write
    options = known.options(quality, rows.height * rows.width * rows.channels * rows.dtype.itemsize)
    write_whole(path, lambda beside: write(beside, rows, metadata, options))


def _write(path: Path, rows: Rows, metadata: Metadata, options: dict) -> None:
    stream = _TiffStream(rows)
    try:
        pixels = pyvips.Image.new_from_source(stream.source(), "", access="sequential")
        look = _LOOKS_OF_BANDS[rows.channels][rows.dtype.itemsize - 1]
        density = dict(zip(("xres", "yres"), metadata.resolution, strict=True)) if metadata.resolution else {}
        pixels = pixels.copy(interpretation=look, **density)
        for key, value in metadata.blobs.items():
            pixels.set_type(pyvips.GValue.blob_type, key, value)
        if "exif-data" in metadata.blobs:
            pixels.set_type(pyvips.GValue.gint_type, "orientation", 1)  # the pixels are upright
        pixels.write_to_file(str(path), **options)
    except pyvips.Error as error:
        if stream.error is not None:
            raise stream.error from None
        full = "No space left" in str(error) or "write error" in str(error)
        raise OSError(errno.ENOSPC if full else 0, _reason(error)) from error
    if stream.error is not None:  # an encoder that made do with what came
        raise stream.error


def _write_bmp(path: Path, rows: Rows, metadata: Metadata, options: dict) -> None:
    import cv2

    pixels = rows.whole()
    if rows.channels in (2, 4):
        pixels = on_background(pixels, 255)
    if pixels.shape[2] == 3:
        cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, dst=pixels) if pixels.flags.writeable else None
        pixels = pixels if pixels.flags.writeable else pixels[:, :, ::-1]
    if not cv2.imwrite(str(path), np.ascontiguousarray(pixels)):
        raise OSError(errno.ENOSPC, "OpenCV can't write it")


def on_background(pixels: np.ndarray, level: int) -> np.ndarray:
    """Lays uint8 pixels with alpha `[H, W, 2 or 4]` on a background of that grey level."""
    alpha = pixels[..., -1:].astype(np.float32) / 255.0
    return np.floor(pixels[..., :-1] * alpha + level * (1.0 - alpha) + 0.5).astype(np.uint8)


class _TiffStream:
    """Rows as the bytes of an uncompressed BigTIFF, a format that libvips reads from the front to the back."""

    def __init__(self, rows: Rows):
        self._bands = iter(rows)
        self._head = _tiff_head(rows)
        self._size = len(self._head) + rows.height * rows.width * rows.channels * rows.dtype.itemsize
        self._at = 0
        self._data = memoryview(b"")
        self.error: BaseException | None = None

    def source(self) -> pyvips.SourceCustom:
        custom = pyvips.SourceCustom()
        custom.on_read(self._read)
        custom.on_seek(self._seek)
        return custom

    def _read(self, count: int) -> bytes:
        if self._at < len(self._head):
            part = self._head[self._at : self._at + count]
        else:
            part = self._next(count)
        self._at += len(part)
        return part

    def _next(self, count: int) -> bytes:
        try:
            while not len(self._data):
                band = next(self._bands, None)
                if band is None:
                    return b""
                self._data = memoryview(np.ascontiguousarray(band)).cast("B")
        except BaseException as error:  # it would be lost in C; `_write` raises it
            self.error = error
            return b""
        part, self._data = bytes(self._data[:count]), self._data[count:]
        return part

    def _seek(self, offset: int, whence: int) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at


def _tiff_head(rows: Rows, strip: int = 16) -> bytes:
    """Returns the bytes that come before the pixels, see https://www.awaresystems.be/imaging/tiff/bigtiff.html."""
    count = -(-rows.height // strip)
    line = rows.width * rows.channels * rows.dtype.itemsize
    bits = [8 * rows.dtype.itemsize] * rows.channels
    tags = {  # number: (type 3 is 16, 4 is 32, 16 is 64 bits; values)
        256: (4, [rows.width]), 257: (4, [rows.height]), 258: (3, bits), 259: (3, [1]),
        262: (3, [2 if rows.channels > 2 else 1]), 273: (16, None), 277: (3, [rows.channels]), 278: (4, [strip]),
        279: (16, None),
    }  # fmt: skip
    if rows.channels in (2, 4):
        tags[338] = (3, [2])  # unassociated alpha
    lists = 16 + 8 + 20 * len(tags) + 8
    start = -(-(lists + 16 * count) // 65536) * 65536  # far from what is read to recognise the format
    heights = np.full(count, strip, np.uint64)
    heights[-1] = rows.height - (count - 1) * strip
    sizes = heights * np.uint64(line)
    offsets = np.uint64(start) + np.concatenate([np.zeros(1, np.uint64), np.cumsum(sizes)[:-1]])
    head = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(tags))
    for number, (kind, values) in sorted(tags.items()):
        length = count if values is None else len(values)
        if values is not None:
            value = struct.pack(f"<{length}{'H' if kind == 3 else 'I'}", *values)
        else:
            numbers = offsets if number == 273 else sizes
            place = lists if number == 273 else lists + 8 * count
            value = struct.pack("<Q", int(numbers[0]) if count == 1 else place)
        head += struct.pack("<HHQ", number, kind, length) + value.ljust(8, b"\0")
    head += struct.pack("<Q", 0) + offsets.astype("<u8").tobytes() + sizes.astype("<u8").tobytes()
    return head.ljust(start, b"\0")
