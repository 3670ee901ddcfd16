"""Picture files with all that is in them: rows as a stream, alpha, 8 and 16 bits, ICC, EXIF and XMP, by libvips.

libvips (Cupitt and Martinez, https://www.libvips.org) decodes and encodes from the top down, so neither side of an
enlargement is ever whole in memory, but for what can't be read or written in part: WebP, interlaced PNG, BMP that is
read, pictures that must be turned.
"""

import os
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyvips
from PIL import Image, UnidentifiedImageError

from sr_keras import _metadata, _tiff, image
from sr_keras._metadata import Metadata
from sr_keras.errors import InputError
from sr_keras.files import write_whole
from sr_keras.rows import Rows

MOST_PIXELS = 268_435_456
_BAND_BYTES = 4 << 20
_BY_PILLOW = ("BMP", "DIB", "JPEG2000", "PPM", "TGA")
_LOOKS_OF_BANDS = {1: ("b-w", "grey16"), 2: ("b-w", "grey16"), 3: ("srgb", "rgb16"), 4: ("srgb", "rgb16")}

pyvips.concurrency_set(1)  # the processor is the network's; more threads only hold more rows
pyvips.cache_set_max(0)
pyvips.block_untrusted_set(True)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # `load` has a limit of its own


@dataclass(frozen=True)
class Picture:
    """A picture that is being read: upright `rows`, uint8 or uint16, of 1 (grey), 2, 3 (RGB) or 4 channels.

    Channel 2 of 2 and 4 of 4 is alpha, not premultiplied. `notes` say what of the file was left aside.
    """

    rows: Rows
    metadata: Metadata = _metadata.NONE
    notes: tuple[str, ...] = ()

    @property
    def has_alpha(self) -> bool:
        return self.rows.channels in (2, 4)


@dataclass(frozen=True)
class Format:
    """What a file format holds; `most` is the largest side in pixels, by default libvips's own limit."""

    options: Callable[[int, int], dict[str, Any]]  # of quality 1..100 and the number of bytes of the pixels
    deep: bool = False
    alpha: bool = True
    most: int = 100_000_000


_PNG = Format(lambda quality, size: {"compression": 3, "filter": "up"}, deep=True)
_TIFF = Format(  # level 3 takes a sixth of the usual level's time for 4 % more bytes
    lambda quality, size: {
        "compression": "deflate", "level": 3, "predictor": "horizontal", "bigtiff": size > 4_000_000_000,
    },
    deep=True,
)  # fmt: skip
_JPEG = Format(lambda quality, size: {"Q": quality}, alpha=False, most=65_535)
_WEBP = Format(
    lambda quality, size: {"Q": quality, "lossless": quality == 100, "exact": quality == 100, "effort": 3}, most=16_383
)
_BMP = Format(lambda quality, size: {}, alpha=False, most=32_767)  # its sizes in bytes are numbers of 32 bits
FORMATS = {
    ".png": _PNG, ".tif": _TIFF, ".tiff": _TIFF, ".jpg": _JPEG, ".jpeg": _JPEG, ".webp": _WEBP, ".bmp": _BMP,
}  # fmt: skip


def load(source: Path | bytes, name: str | None = None, *, most_pixels: int = MOST_PIXELS) -> Picture:
    """Opens a picture file, or the bytes of one, and reads its size; the rows are decoded as they are taken.

    The EXIF orientation is applied to the pixels, CMYK becomes sRGB. Raises `InputError` here, or while rows are taken,
    for a file that is missing, no picture, damaged, of pixels that are neither 8 nor 16 bits, or larger than
    `most_pixels`.
    """
    name = name or ("the input" if isinstance(source, bytes) else str(source))
    _refuse_empty(source, name)
    try:
        return _by_vips(source, name, most_pixels)
    except pyvips.Error as error:
        if error.message.startswith("unable to load from"):  # pyvips's own words; libvips's may be lost, see below
            return _by_pillow(source, name, most_pixels)
        raise _damaged(name, error) from error


def _refuse_empty(source: Path | bytes, name: str) -> None:
    try:
        with _file(source) as file:
            if not file.read(1):
                raise InputError(f"{name}: is empty; copy it again from its source.")
    except OSError as error:
        raise InputError(f"{name}: can't be read ({error.strerror}); check the path.") from error


def _file(source: Path | bytes) -> BinaryIO:
    return BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _by_vips(source: Path | bytes, name: str, most: int) -> Picture:
    opened = _opened(source, "sequential")
    _check_size(name, opened.width, opened.height, most)
    turned = _field(opened, "orientation", 1) > 1
    if turned:
        opened = _opened(source, "random").autorot()  # a turn needs the whole input
    pixels = _grey_or_rgb(opened, name)
    converted = pixels.interpretation != opened.interpretation
    metadata = _metadata_of(opened, source, name, turned, converted)
    pages = _field(opened, "n-pages", 1)
    notes = (f"only the first of {pages} pages or frames",) if pages > 1 else ()
    notes += (f"{opened.interpretation} became sRGB",) if converted else ()
    dtype = np.uint8 if pixels.format == "uchar" else np.uint16
    rows = Rows(_bands(pixels, name, dtype), pixels.height, pixels.width, pixels.bands, dtype)
    return Picture(rows, metadata, notes)


def _opened(source: Path | bytes, access: str) -> pyvips.Image:
    # a file by its bytes: a name may end with [...], in which libvips would see options, or be no UTF-8
    opened = (
        pyvips.Source.new_from_memory(source)
        if isinstance(source, bytes)
        else pyvips.Source.new_from_file(os.fsencode(source))
    )
    return pyvips.Image.new_from_source(opened, "", access=access, fail_on="error")


def _field(opened: pyvips.Image, key: str, default: Any) -> Any:
    return opened.get(key) if opened.get_typeof(key) else default


def _check_size(name: str, width: int, height: int, most: int) -> None:
    if width * height > most:
        limit = round(most / 1e6) if most >= 10**6 else most / 1e6
        raise InputError(
            f"{name}: has {width}x{height} pixels, more than {limit} megapixels; "
            f"if that is meant, --max-pixels {-(-width * height // 1_000_000)}."
        )


def _metadata_of(opened: pyvips.Image, source: Path | bytes, name: str, turned: bool, converted: bool) -> Metadata:
    if not opened.get("vips-loader").startswith("tiff"):
        return _metadata.read(opened, None, turned=turned, converted=converted)
    with _file(source) as file:
        tiff = _tiff.Reader(file)
        if tiff.number(_tiff.PHOTOMETRIC) == 6 and tiff.number(_tiff.COMPRESSION) not in (6, 7):  # libvips: as RGB
            raise InputError(f"{name}: has YCbCr pixels that are no JPEG; save it as RGB first.")
        return _metadata.read(opened, tiff, turned=turned, converted=converted)


def _grey_or_rgb(opened: pyvips.Image, name: str) -> pyvips.Image:
    """Returns 1 to 4 bands of uchar or ushort; CMYK is converted."""
    pixels = opened
    if opened.format not in ("uchar", "ushort"):
        raise InputError(f"{name}: has pixels of type {opened.format}; save it with 8 or 16 bits a channel first.")
    if opened.interpretation == "cmyk":
        depth = 16 if opened.format == "ushort" else 8
        pixels = opened.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
    if not 1 <= pixels.bands <= 4:
        raise InputError(f"{name}: has {pixels.bands} channels; save it as grey or RGB, with or without alpha.")
    return pixels


def _bands(pixels: pyvips.Image, name: str, dtype: type) -> Iterator[np.ndarray]:
    region = pyvips.Region.new(pixels)
    for top, height in _cut(pixels.height, pixels.width * pixels.bands * np.dtype(dtype).itemsize):
        try:
            data = region.fetch(0, top, pixels.width, height)
        except pyvips.Error as error:
            raise _damaged(name, error) from error
        yield np.frombuffer(data, dtype).reshape(height, pixels.width, pixels.bands)


def _cut(height: int, line: int) -> Iterator[tuple[int, int]]:
    """Yields first line and height of bands that hold about `_BAND_BYTES`."""
    most = max(_BAND_BYTES // line // 16 * 16, 16)
    return ((top, min(most, height - top)) for top in range(0, height, most))


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"{name}: is damaged, or of a kind that can't be decoded ({_reason(error)}); "
        "copy it again from its source, or save it as PNG."
    )


def _reason(error: Exception) -> str:
    # libvips keeps one text for all threads: an encoder in another one may have taken it
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("unable to call", "unable to load"))]
    return said[-1] if said else "the decoder doesn't say why"


def _by_pillow(source: Path | bytes, name: str, most: int) -> Picture:
    """Reads what the libvips in pyvips's wheel has no loader for, with Pillow, whole."""
    try:
        with _file(source) as file:
            opened = Image.open(file, formats=_BY_PILLOW)
            _check_size(name, opened.width, opened.height, most)
            metadata = _metadata.of_profile(opened.info.get("icc_profile"))
            opened.load()
    except UnidentifiedImageError as error:
        usual = " ".join(sorted(FORMATS))
        raise InputError(f"{name}: is not a picture that can be read, or is cut off; use one of {usual}.") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        raise InputError(f"{name}: has over {limit:.0f} megapixels, the most of its format; save it as PNG.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(name, error) from error
    pixels = _plain(opened, name)
    dtype = np.uint16 if pixels.mode.startswith("I;16") else np.uint8
    channels = len(pixels.getbands())

    def band(top: int, height: int) -> np.ndarray:
        part = np.asarray(pixels.crop((0, top, pixels.width, top + height)))
        return part.reshape(height, pixels.width, channels).astype(dtype, copy=False)

    cut = _cut(pixels.height, pixels.width * channels * np.dtype(dtype).itemsize)
    return Picture(Rows((band(*place) for place in cut), pixels.height, pixels.width, channels, dtype), metadata)


def _plain(opened: Image.Image, name: str) -> Image.Image:
    if opened.mode in ("I", "F"):
        raise InputError(f"{name}: has pixels of 32 bits; save it with 8 or 16 bits a channel first.")
    if opened.mode in ("L", "LA", "RGB", "RGBA") or opened.mode.startswith("I;16"):
        return opened
    return opened.convert("L" if opened.mode == "1" else "RGBA" if opened.has_transparency_data else "RGB")


def file_type(path: Path, dtype: np.dtype) -> np.dtype:
    """Returns the type of pixels that a file of this ending holds: `dtype`, or uint8 where it has no 16 bits."""
    return dtype if FORMATS[path.suffix.lower()].deep else np.dtype(np.uint8)


def check_target(path: Path, height: int, width: int) -> None:
    """Raises `InputError` for an ending that can't be written, or a size that the format can't hold."""
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise InputError(f"{path}: no encoder for '{path.suffix}'; use one of {' '.join(sorted(FORMATS))}.")
    if max(height, width) > known.most:
        advice = "take --format png" if max(height, width) <= _PNG.most else "take a smaller size"
        raise InputError(
            f"{path}: would be {width}x{height}, and {path.suffix} holds {known.most} pixels a side; {advice}."
        )


def save(path: Path, rows: Rows, metadata: Metadata = _metadata.NONE, *, quality: int = 95) -> None:
    """Writes uint8 or uint16 rows of 1 to 4 channels as they come, beside and then renamed.

    The ending names the format. `quality` (1 to 100) counts for JPEG and WebP, whose 100 is lossless. What lacks alpha
    is laid on white, what lacks 16 bits gets 8. Raises `InputError` if it can't be written; whatever `rows` raises
    comes through.
    """
    check_target(path, rows.height, rows.width)
    known = FORMATS[path.suffix.lower()]
    if rows.dtype != file_type(path, rows.dtype):
        rows = rows.mapped(image.to_uint8, rows.channels, np.uint8)
    if rows.channels in (2, 4) and not known.alpha:
        rows = rows.mapped(lambda band: on_background(band, 255), rows.channels - 1, np.uint8)

    def write(beside: Path) -> None:
        with open(beside, "w+b") as file:
            if known is _BMP:
                _write_bmp(file, rows)
            else:
                _write(file, path.suffix.lower(), rows, metadata, quality)

    write_whole(path, write)


def _write(file: BinaryIO, ending: str, rows: Rows, metadata: Metadata, quality: int) -> None:
    failed: list[BaseException] = []
    source, target = pyvips.SourceCustom(), pyvips.TargetCustom()
    stream = _tiff.Source(rows)
    source.on_read(_guarded(stream.read, failed, b""))
    source.on_seek(_guarded(stream.seek, failed, -1))
    target.on_write(_guarded(file.write, failed, -1))
    target.on_read(_guarded(file.read, failed, b""))
    target.on_seek(_guarded(file.seek, failed, -1))
    options = FORMATS[ending].options(quality, rows.height * rows.width * rows.channels * rows.dtype.itemsize)
    try:
        pixels = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error")
        pixels = pixels.copy(interpretation=_LOOKS_OF_BANDS[rows.channels][rows.dtype.itemsize - 1])
        pixels.set_type(pyvips.GValue.gint_type, "vips-concurrency", 1)  # encoders have one thread: a fifth less time
        _metadata.attach(pixels, metadata, ending).write_to_target(target, ending, **options)
    except pyvips.Error as error:
        raise failed[0] if failed else OSError(_reason(error)) from error
    if failed:  # an encoder that made do with what came
        raise failed[0]
    if FORMATS[ending] is _TIFF:
        _metadata.add_to_tiff(file, metadata)


def _guarded(function: Callable, failed: list[BaseException], instead: Any) -> Callable:
    """Wraps what C calls, where an exception would be lost: it goes to `failed`, and C gets `instead`."""

    def called(*given: Any) -> Any:
        try:
            return function(*given)
        except BaseException as error:
            failed.append(error)
            return instead

    return called


def _write_bmp(file: BinaryIO, rows: Rows) -> None:
    """Writes grey or BGR lines of a multiple of 4 bytes, the lowest first: so every band has its place from the end."""
    line = -(-rows.width * rows.channels // 4) * 4
    palette = bytes(value for level in range(256) for value in (level, level, level, 0)) if rows.channels == 1 else b""
    start, size = 54 + len(palette), line * rows.height
    sides = (40, rows.width, rows.height, 1, 8 * rows.channels, 0, size, 2835, 2835, len(palette) // 4, 0)
    file.write(struct.pack("<2sIIIIiiHHIIiiII", b"BM", start + size, 0, start, *sides) + palette)
    end = start + size
    for band in rows:
        lines = np.zeros((len(band), line), np.uint8)
        lines[:, : rows.width * rows.channels] = band[::-1, :, ::-1].reshape(len(band), -1)
        end -= lines.size
        file.seek(end)
        file.write(lines.data)


def on_background(pixels: np.ndarray, level: int) -> np.ndarray:
    """Lays uint8 pixels with alpha `[H, W, 2 or 4]` on a background of that grey level."""
    alpha = pixels[..., -1:].astype(np.float32) / 255.0
    return np.floor(pixels[..., :-1] * alpha + level * (1.0 - alpha) + 0.5).astype(np.uint8)
