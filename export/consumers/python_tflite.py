"""Upscales a picture with an exported .tflite file: `python python_tflite.py MODEL IN OUT`.

Needs ai-edge-litert, numpy and Pillow, and nothing of sr_keras or TensorFlow. The file's own metadata says how it is to
be fed; a manifest.json beside it does for files without.

The tiles, reading and writing are those of python_onnx.py, written out again: each file is to be copied alone.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps, UnidentifiedImageError

TILE = 256  # LR pixels, for files that take any size


class InputError(Exception):
    """What a user can mend, in one line."""


@dataclass(frozen=True)
class Network:
    """An opened file: `size` is the only LR (height, width) that it takes, None if it takes any.

    A tile gives the whole picture's pixels where they lie at least `halo` LR pixels from a cut; None: no tile does.
    """

    interpreter: Interpreter
    scale: int
    halo: int | None
    alignment: int
    size: tuple[int, int] | None

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        """Maps a uint8 picture `[H, W, 3]` to uint8 `[scale*H, scale*W, 3]`."""
        source, target = self.interpreter.get_input_details()[0], self.interpreter.get_output_details()[0]
        if tuple(source["shape"]) != (1, *lr.shape):
            self.interpreter.resize_tensor_input(source["index"], (1, *lr.shape), strict=True)
            self.interpreter.allocate_tensors()
        # Whole-number files take pixels as they are: their input has scale 1/255 and zero point 0.
        fed = lr if source["dtype"] == np.uint8 else lr.astype(np.float32) / 255.0
        self.interpreter.set_tensor(source["index"], fed[None])
        self.interpreter.invoke()
        sr = self.interpreter.get_tensor(target["index"])[0].astype(np.float32)
        scale, zero_point = target["quantization"]
        if scale:
            sr = (sr - zero_point) * scale
        return np.floor(np.clip(sr, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def opened(path: Path, threads: int) -> Network:
    """Opens a .tflite file and reads what it says of itself."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give one that python -m sr_keras.export wrote.")
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise InputError(f"{path}: is not a TFLite file; give one that python -m sr_keras.export wrote.")
    try:
        said = _metadata(content) or _manifest(path)
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    except Exception as error:  # of the flatbuffer's reader, of JSON's, of the runtime
        raise InputError(f"{path}: can't be opened ({str(error).splitlines()[0]}); export it again.") from error
    if said is None:
        raise InputError(f"{path}: has no metadata, and no manifest.json lies beside it; copy the whole export folder.")
    if said["channels"] != 3:
        raise InputError(f"{path}: works on luminance alone; export a network that was trained on RGB.")
    height, width = (int(n) for n in interpreter.get_input_details()[0]["shape_signature"][1:3])
    size = None if min(height, width) < 0 else (height, width)
    return Network(interpreter, said["scale"], said["halo"], said.get("alignment", 1), size)


def _metadata(content: bytes) -> dict | None:
    model = schema.Model.GetRootAs(content, 0)
    for k in range(model.MetadataLength()):
        if model.Metadata(k).Name() == b"sr_keras":
            return json.loads(model.Buffers(model.Metadata(k).Buffer()).DataAsNumpy().tobytes())
    return None


def _manifest(path: Path) -> dict | None:
    manifest = path.with_name("manifest.json")
    return json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else None


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
    parser.add_argument("model", metavar="MODEL", type=Path, help=".tflite file of an export")
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
