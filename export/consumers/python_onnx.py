"""Upscales a picture with an exported .onnx file: `python python_onnx.py MODEL IN OUT`.

Needs onnxruntime, numpy and Pillow, and nothing of sr_keras or TensorFlow. The manifest.json beside the file says how
it may be cut into tiles.

The tiles, reading and writing are those of python_tflite.py, written out again: each file is to be copied alone.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps, UnidentifiedImageError

TILE = 256  # LR pixels, for files that take any size


class InputError(Exception):
    """What a user can mend, in one line."""


@dataclass(frozen=True)
class Network:
    """An opened file: `size` is the only LR (height, width) that it takes, None if it takes any.

    A tile gives the whole picture's pixels where they lie at least `halo` LR pixels from a cut; None: no tile does.
    """

    session: onnxruntime.InferenceSession
    scale: int
    halo: int | None
    alignment: int
    size: tuple[int, int] | None

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        """Maps a uint8 picture `[H, W, 3]` to uint8 `[scale*H, scale*W, 3]`."""
        fed = {self.session.get_inputs()[0].name: lr[None].astype(np.float32) / 255.0}
        sr = np.asarray(self.session.run(None, fed)[0])[0]
        return np.floor(np.clip(sr, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def opened(path: Path, threads: int) -> Network:
    """Opens an .onnx file; what it is stands in the manifest.json beside it."""
    manifest = path.with_name("manifest.json")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give one that python -m sr_keras.export wrote.")
    if not manifest.is_file():
        raise InputError(f"{path}: no manifest.json lies beside it; copy the whole export folder.")
    try:
        said = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{manifest}: is no JSON ({error}); copy the whole export folder again.") from error
    if said["channels"] != 3:
        raise InputError(f"{path}: works on luminance alone; export a network that was trained on RGB.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own types, of which each release has others
        raise InputError(f"{path}: is not an ONNX file that can be opened ({str(error).splitlines()[0]}).") from error
    height, width = session.get_inputs()[0].shape[1:3]
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return Network(session, said["scale"], said["halo"], said.get("alignment", 1), size)


def upscaled(lr: np.ndarray, network: Network) -> np.ndarray:
    """Enlarges uint8 `[H, W, 3]` tile by tile, with the whole picture's pixels.

    A picture smaller than a file's only size is mirrored up to it: its last pixels on those sides differ a little.
    """
    height, width = lr.shape[:2]
    free = network.size is None
    if free and (network.halo is None or network.alignment > 1):
        return network(lr)  # no tile is exact
    window = network.size or tuple(min(length, TILE + 2 * (network.halo or 0)) for length in (height, width))
    if not free and (network.halo is None or network.alignment > 1) and (height, width) != window:
        raise InputError(f"this file takes pictures of {window[0]}x{window[1]} only; export one of free size.")
    missing = [max(have - want, 0) for have, want in zip(window, (height, width), strict=True)]
    padded = np.pad(lr, [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric")
    sr = np.empty((padded.shape[0] * network.scale, padded.shape[1] * network.scale, 3), np.uint8)
    rows, columns = (_windows(n, w, network.halo or 0) for n, w in zip(padded.shape[:2], window, strict=True))
    done, scale = 0, network.scale
    for top, first, last in rows:
        for left, before, after in columns:
            tile = network(padded[top : top + window[0], left : left + window[1]])
            inner = tile[(first - top) * scale : (last - top) * scale, (before - left) * scale : (after - left) * scale]
            sr[first * scale : last * scale, before * scale : after * scale] = inner
            done += 1
            print(f"\rtile {done} of {len(rows) * len(columns)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return sr[: height * scale, : width * scale]


def _windows(length: int, window: int, halo: int) -> list[tuple[int, int, int]]:
    """Returns where each window starts, and which of its pixels are kept: from, to; flush with both ends."""
    step = window - 2 * halo
    if length > window and step < 1:
        raise InputError(f"windows of {window} pixels leave nothing inside a halo of {halo}; export a larger size.")
    starts = [*range(0, length - window, max(step, 1)), length - window]
    cuts = [0, *(start + halo for start in starts[1:]), length]
    return [(start, cuts[k], cuts[k + 1]) for k, start in enumerate(starts)]


def read(path: Path) -> Image.Image:
    """Opens a picture, upright, as RGB or RGBA."""
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I;16"):  # whose conversion would cut every value above 255 to white
                picture = Image.fromarray((np.asarray(picture).astype(np.float32) / 257.0 + 0.5).astype(np.uint8))
            if picture.mode in ("I", "F"):
                raise InputError(f"{path}: has 32 bits a pixel; give one of 8 or 16.")
            if not picture.mode.startswith("RGB"):  # the profile is of other colours than what is written
                picture.info.pop("icc_profile", None)
            return picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; check the path.") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: is not a picture that can be read ({error}); give a PNG, JPEG or WebP.") from error


def main() -> int:
    """Parses the command line and upscales; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", metavar="MODEL", type=Path, help=".onnx file of an export")
    parser.add_argument("picture", metavar="IN", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="the ending chooses the format: .png, .jpg, .webp")
    parser.add_argument("--threads", type=positive, default=os.cpu_count(), help="default: all cores")
    options = parser.parse_args()
    try:
        if options.out.exists() and options.out.samefile(options.picture):
            raise InputError(f"{options.out}: is the input; name another OUT.")
        if not options.out.parent.is_dir():
            raise InputError(
                f"{options.out}: can't be written, there is no folder {options.out.parent}; make it first."
            )
        picture, network = read(options.picture), opened(options.model, options.threads)
        sr = Image.fromarray(upscaled(np.asarray(picture.convert("RGB")), network))
        if picture.mode == "RGBA":
            sr.putalpha(picture.getchannel("A").resize(sr.size, Image.Resampling.BICUBIC))
        write(options.out, sr, picture.info.get("icc_profile"))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {sr.width}x{sr.height}")
    return 0


def positive(text: str) -> int:
    """Reads a whole number of 1 or more, for argparse."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def write(path: Path, picture: Image.Image, profile: bytes | None) -> None:
    """Writes the picture whole or not at all."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            draft = Path(folder) / path.name
            picture.save(draft, quality=95, icc_profile=profile)
            draft.replace(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be written ({error}); give another OUT, such as {path.stem}.png.") from error


if __name__ == "__main__":
    sys.exit(main())
