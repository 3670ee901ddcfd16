"""`python -m sr_keras.upscale`: enlarges picture files with a model."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sr_keras import cli
from sr_keras.errors import InputError


def upscale(inputs: Sequence[Path], model: str, out: Path | None = None) -> list[Path]:
    """Enlarges each picture and returns the files written: `<stem>_x<scale>.png` beside it, or below/at `out`.

    `out` is a file where there is one input and its name ends like a picture's, else a folder. 8 and 16 bits stay.
    Raises `InputError` before anything is written if two outputs would be one file or an input would be overwritten.
    """
    from sr_keras import image, predictor, resize

    if model in resize.KERNELS:
        raise InputError(f"{model}: has no scale of its own; give a trained model.")
    predict = predictor.open_model(model)
    targets = _targets(inputs, out, predict.scale)
    for source, target in zip(inputs, targets, strict=True):
        pixels = image.read(source)
        _make_folder(target.parent)
        image.write(target, image.from_float(predict(pixels), pixels.dtype))
    return targets


def _targets(inputs: Sequence[Path], out: Path | None, scale: int) -> list[Path]:
    from sr_keras import image

    for source in inputs:
        if not source.is_file():
            raise InputError(f"{source}: is not a file; give pictures.")
    if out is not None and out.suffix.lower() in image.EXTENSIONS and not out.is_dir():
        if len(inputs) > 1:
            raise InputError(f"{out}: is one file for {len(inputs)} inputs; give a folder.")
        targets = [out]
    else:
        targets = [(out or source.parent) / f"{source.stem}_x{scale}.png" for source in inputs]
    for target in targets:
        if targets.count(target) > 1:
            raise InputError(f"{target}: would be written from several inputs; upscale them into folders of their own.")
        if any(target.resolve() == source.resolve() for source in inputs):
            raise InputError(f"{target}: is an input and would be overwritten; give another -o.")
    return targets


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: can't be made ({error.strerror}); give another -o.") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and enlarges; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sr_keras.upscale", description=__doc__)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", type=Path, help="picture files")
    parser.add_argument("--model", metavar="MODEL", help="run folder, .keras, .tflite, .onnx or SavedModel folder")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, help="file or folder (default: beside each input)")
    options = parser.parse_args(argv)
    return cli.run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    if options.model is None:
        raise InputError("--model is needed: no weights ship with this version; train one: python -m sr_keras.train")
    for target in upscale(options.inputs, options.model, options.out):
        print(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
