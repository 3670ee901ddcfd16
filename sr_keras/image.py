"""Reads and writes picture files, and the conversions between pixels: uint8 and [0, 1], RGB and Y, crops."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from sr_keras.errors import InputError
from sr_keras.files import write_whole

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
_HOLDS_16_BITS = {".png", ".tif", ".tiff"}
_CHECKED_BY_PILLOW = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}

# ITU-R BT.601, studio range, for RGB in [0, 1]: the Y (16-235), Cb and Cr (16-240) of MATLAB's rgb2ycbcr.
YCBCR = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]) / 255.0
YCBCR_OFFSET = np.array([16.0, 128.0, 128.0]) / 255.0
_BLOCK = 1 << 18  # values


def read(path: Path | str) -> np.ndarray:
    """Reads a picture as uint8 (or uint16 for 16-bit files) `[H, W, C]` in RGB order; C is 1 for grey, else 3.

    The EXIF orientation is applied and an alpha channel dropped. Raises `InputError` for a file that is missing, is
    no picture, or is truncated (OpenCV alone would return the part that it could decode).
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check the path.") from error
    if path.suffix.lower() in _CHECKED_BY_PILLOW:
        _refuse_damaged(path)
    pixels = _decode(data)
    if pixels is None:
        raise InputError(f"{path}: is not a picture that can be read; use PNG, JPEG, WebP, BMP or TIFF.")
    return pixels


def _decode(data: bytes) -> np.ndarray | None:
    buffer = np.frombuffer(data, np.uint8)
    if buffer.size == 0:
        return None
    try:
        pixels = cv2.imdecode(buffer, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    except cv2.error:
        return None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        return None
    return pixels[:, :, None] if pixels.ndim == 2 else np.ascontiguousarray(pixels[:, :, 2::-1])


def _refuse_damaged(path: Path) -> None:
    try:
        with Image.open(path) as picture:
            picture.load()
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: is not a picture that can be read; use PNG, JPEG, WebP, BMP or TIFF.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: is damaged ({error}); copy it again from its source.") from error


def write(path: Path | str, pixels: np.ndarray) -> None:
    """Writes uint8 or uint16 `[H, W, 1 or 3]` RGB pixels in the format of the path's ending, beside and then renamed.

    Only PNG and TIFF hold 16 bits; for other endings they are brought to 8. Raises `InputError` for an ending that no
    encoder knows or a place that can't be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _HOLDS_16_BITS:  # OpenCV would cut every value above 255 to 255
        pixels = to_uint8(pixels)
    ordered = pixels[:, :, ::-1] if pixels.shape[2] == 3 else pixels
    try:
        done, data = cv2.imencode(path.suffix, np.ascontiguousarray(ordered))
    except cv2.error:
        done, data = False, b""
    if not done:
        raise InputError(f"{path}: no encoder for '{path.suffix}'; use one of {' '.join(sorted(EXTENSIONS))}.")
    write_whole(path, lambda beside: beside.write_bytes(data))


def listing(folder: Path | str) -> list[Path]:
    """Lists the picture files below a folder, sorted. Raises `InputError` if it is no folder or holds none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; check the path (the data root is SR_KERAS_DATA or data.root).")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
    if not files:
        raise InputError(f"{folder}: holds no pictures; put PNG, JPEG, WebP, BMP or TIFF files there.")
    return files


def to_float(pixels: np.ndarray) -> np.ndarray:
    """Maps uint8 or uint16 pixels to float32 in [0, 1]; float pixels pass."""
    if np.issubdtype(pixels.dtype, np.floating):
        return pixels.astype(np.float32, copy=False)
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Maps float pixels in [0, 1] to uint8, rounded half up and clipped; uint16 is brought to 8 bits; uint8 passes."""
    return pixels if pixels.dtype == np.uint8 else from_float(to_float(pixels), np.dtype(np.uint8))


def from_float(pixels: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
    """Maps float pixels in [0, 1] to uint8 or uint16, rounded half up and clipped; for float32 it only clips.

    Done in blocks that stay in the processor's cache: no second float copy of a large picture.
    """
    dtype = np.dtype(dtype)
    if np.issubdtype(dtype, np.floating):
        return np.clip(pixels, 0.0, 1.0).astype(dtype, copy=False)
    out = np.empty(pixels.shape, dtype)
    peak = np.iinfo(dtype).max
    lines = max(_BLOCK // max(int(np.prod(pixels.shape[1:])), 1), 1)
    for top in range(0, len(pixels), lines):
        block = pixels[top : top + lines].astype(np.float64 if pixels.dtype == np.float64 else np.float32)
        np.clip(block, 0.0, 1.0, out=block)
        block *= block.dtype.type(peak)
        block += block.dtype.type(0.5)
        out[top : top + lines] = block  # the cast cuts the fraction off
    return out


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Repeats a grey `[H, W, 1]` picture to 3 channels where 3 are wanted, and takes the Y of RGB where 1 is."""
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, channels, axis=-1)
    if channels != 1:
        raise ValueError(f"channels must be 1 or 3 for a picture, got {channels}.")
    return rgb_to_y(to_float(pixels))


def rgb_to_y(rgb: np.ndarray) -> np.ndarray:
    """Maps RGB `[..., 3]` in [0, 1] to Y `[..., 1]` in [16/255, 235/255] (BT.601, as MATLAB's rgb2ycbcr, unrounded)."""
    return (rgb @ YCBCR[0].astype(rgb.dtype) + rgb.dtype.type(YCBCR_OFFSET[0]))[..., None]


def rgb_to_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Maps RGB `[..., 3]` in [0, 1] to YCbCr in [0, 1] (BT.601, studio range)."""
    return rgb @ YCBCR.T.astype(rgb.dtype) + YCBCR_OFFSET.astype(rgb.dtype)


def ycbcr_to_rgb(ycbcr: np.ndarray) -> np.ndarray:
    """Inverts `rgb_to_ycbcr`; values may fall outside [0, 1]."""
    return (ycbcr - YCBCR_OFFSET.astype(ycbcr.dtype)) @ np.linalg.inv(YCBCR).T.astype(ycbcr.dtype)


def shave(pixels: np.ndarray, border: int) -> np.ndarray:
    """Cuts `border` pixels off each side of `[H, W, C]`."""
    height, width = pixels.shape[:2]
    return pixels[border : height - border, border : width - border]


def crop_to_multiple(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Cuts `[H, W, C]` at the bottom and the right so that both sides are multiples of `scale`."""
    height, width = pixels.shape[:2]
    return pixels[: height - height % scale, : width - width % scale]


def fitted(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cuts `[H, W, C]` at the bottom and the right, or mirrors it there, to `[height, width, C]`."""
    cut = pixels[:height, :width]
    return np.pad(cut, [(0, height - cut.shape[0]), (0, width - cut.shape[1]), (0, 0)], "symmetric")


def contact_sheet(pictures: Sequence[np.ndarray], *, columns: int, gap: int = 4) -> np.ndarray:
    """Puts uint8 pictures `[H, W, 3]` of one size on a white sheet, `gap` pixels apart; returns uint8."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for k, picture in enumerate(pictures):
        top, left = k // columns * (height + gap), k % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet
