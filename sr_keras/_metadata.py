"""What a picture file says beside its pixels, ICC, EXIF, XMP, IPTC and resolution, from an input to its output."""

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

import pyvips

from sr_keras import _tiff

_EXIF, _ICC, _XMP, _IPTC = "exif-data", "icc-profile-data", "xmp-data", "iptc-data"
_NO_RESOLUTION = (1.0, 1.0)  # what libvips says where a file has none
_LEAST, _MOST = 0.001, 100_000.0  # pixels per millimetre in reason; above a million libvips complains
_TURN_OF_XMP = re.compile(rb"(tiff:Orientation\s*(?:>|=\s*[\"'])\s*)[2-8]")
_PHOTOSHOP, _IPTC_BLOCK = b"Photoshop 3.0\0", b"8BIM\x04\x04"


@dataclass(frozen=True)
class Metadata:
    """Blobs by libvips's names, IPTC without the frame that JPEG has around it, and pixels per millimetre.

    The resolution is 72 to the inch where none is known, as EXIF has it.
    """

    blobs: Mapping[str, bytes] = field(default_factory=dict)
    resolution: tuple[float, float] = (72 / 25.4, 72 / 25.4)


NONE = Metadata()


def of_profile(profile: bytes | None) -> Metadata:
    """Returns an ICC profile, or none, as metadata."""
    blob = _whole_profile(profile or b"")
    return Metadata({_ICC: blob} if blob else {})


def read(opened: pyvips.Image, tiff: _tiff.Reader | None, *, turned: bool, converted: bool) -> Metadata:
    """Takes what libvips has read, and EXIF from a TIFF file, which it leaves there.

    EXIF's thumbnail goes: it shows the picture as it was. Where the pixels were `turned` upright, XMP says so, as EXIF
    does by `attach`; `converted` ones have no profile.
    """
    blobs: dict[str, bytes] = {
        key: bytes(opened.get(key)) for key in (_EXIF, _ICC, _XMP, _IPTC) if opened.get_typeof(key)
    }
    if tiff is not None and (exif := tiff.exif()):
        blobs[_EXIF] = _tiff.exif_block(exif)
    elif _EXIF in blobs:
        blobs[_EXIF] = _tiff.without_thumbnail(blobs[_EXIF])
    if turned and _XMP in blobs:
        blobs[_XMP] = _TURN_OF_XMP.sub(rb"\g<1>1", blobs[_XMP])
    blobs[_ICC] = b"" if converted else _whole_profile(blobs.get(_ICC, b""))
    if blobs.get(_IPTC, b"").startswith(_PHOTOSHOP):
        blobs[_IPTC] = _bare_iptc(blobs[_IPTC])
    blobs = {key: blob for key, blob in blobs.items() if len(blob) > 4}
    resolution = (opened.xres, opened.yres)
    known = resolution != _NO_RESOLUTION and _LEAST < min(resolution) <= max(resolution) < _MOST
    return Metadata(blobs, resolution) if known else Metadata(blobs)


def attach(pixels: pyvips.Image, metadata: Metadata, ending: str) -> pyvips.Image:
    """Returns the image with all that libvips can write into a file of that ending."""
    pixels = pixels.copy(xres=metadata.resolution[0], yres=metadata.resolution[1])
    for key, blob in metadata.blobs.items():
        if key != _IPTC:
            pixels.set_type(pyvips.GValue.blob_type, key, blob)
        elif ending in (".jpg", ".jpeg"):
            pixels.set_type(pyvips.GValue.blob_type, key, _framed_iptc(blob))
    if _EXIF in metadata.blobs:
        pixels.set_type(pyvips.GValue.gint_type, "orientation", 1)  # the pixels are upright
    return pixels


def add_to_tiff(file: BinaryIO, metadata: Metadata) -> None:
    """Appends what libvips can't write into a TIFF file: it has no EXIF, and of IPTC a quarter (8.18)."""
    extra: _tiff.Directory = {}
    if _EXIF in metadata.blobs:
        extra |= _tiff.of_block(metadata.blobs[_EXIF])
    if _IPTC in metadata.blobs:
        extra |= _tiff.iptc(metadata.blobs[_IPTC])
    if extra:
        _tiff.add(file, extra)


def _whole_profile(blob: bytes) -> bytes:
    """Cuts a profile to the length that it states, because libpng refuses others; one that is shorter is none."""
    size = int.from_bytes(blob[:4], "big")
    return blob[:size] if len(blob) >= size else b""


def _bare_iptc(framed: bytes) -> bytes:
    """Takes IPTC out of Photoshop's blocks: a mark, a name of even length with its own, four bytes of size, content."""
    _, mark, rest = framed.partition(_IPTC_BLOCK)
    if not mark or not rest:
        return b""
    start = rest[0] // 2 * 2 + 2
    return rest[start + 4 : start + 4 + int.from_bytes(rest[start : start + 4], "big")]


def _framed_iptc(bare: bytes) -> bytes:
    return _PHOTOSHOP + _IPTC_BLOCK + struct.pack(">HI", 0, len(bare)) + bare + b"\0" * (len(bare) % 2)
