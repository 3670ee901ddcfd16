"""`python -m sr_keras.evaluate`: PSNR and SSIM of a model on pictures, under a named protocol, beside bicubic."""

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sr_keras import cli, run
from sr_keras.errors import InputError


@dataclass(frozen=True)
class Picture:
    """The figures of one picture: PSNR in dB, SSIM, and bicubic's PSNR."""

    name: str
    psnr: float
    ssim: float
    bicubic_psnr: float


@dataclass(frozen=True)
class Evaluation:
    """The means over `pictures`; `seconds_per_megapixel` counts the output's pixels and leaves reading files out."""

    model: str
    data: str
    scale: int
    protocol: str
    psnr: float
    ssim: float
    bicubic_psnr: float
    seconds_per_megapixel: float
    pictures: tuple[Picture, ...]


def evaluate(model: str, folder: Path, *, scale: int | None = None, protocol: str = "y") -> Evaluation:
    """Scores `model` (see `predictor.open_model`) on HR pictures, in float32.

    A folder with `HR/` and `LRbicx<scale>/` gives its pairs; else LR is made from HR by MATLAB's bicubic imresize.
    Raises `InputError` for a model or pictures that can't be used; no picture is skipped.
    """
    from sr_keras import metrics, predictor, scoring

    rule = metrics.PROTOCOLS[protocol]
    predict = predictor.open_model(model, scale)
    pairs = list(_pairs(folder, predict.scale))
    predict(pairs[0].lr)  # the first call traces or allocates; it is not to be timed
    found = list(scoring.scores(predict, pairs, scale=predict.scale, protocol=rule))
    bicubic = predictor.interpolation("bicubic", predict.scale)
    base = scoring.scores(bicubic, pairs, scale=predict.scale, protocol=rule)
    pictures = tuple(Picture(s.name, s.psnr, s.ssim, b.psnr) for s, b in zip(found, base, strict=True))
    return Evaluation(
        model=model, data=str(folder), scale=predict.scale, protocol=protocol,
        psnr=scoring.mean(p.psnr for p in pictures), ssim=scoring.mean(p.ssim for p in pictures),
        bicubic_psnr=scoring.mean(p.bicubic_psnr for p in pictures),
        seconds_per_megapixel=sum(s.seconds for s in found) / sum(s.megapixels for s in found), pictures=pictures,
    )  # fmt: skip


def _pairs(folder: Path, scale: int) -> Iterator:
    """Yields the folder's LR and HR pictures; LR stays as its file has it."""
    from sr_keras import image, resize
    from sr_keras.data import Pair

    hr_folder, lr_folder = folder / "HR", folder / f"LRbicx{scale}"
    paired = hr_folder.is_dir() and lr_folder.is_dir()
    files = image.listing(hr_folder if hr_folder.is_dir() else folder)
    partners = {file.stem: file for file in image.listing(lr_folder)} if paired else {}
    for file in files:
        hr = image.crop_to_multiple(image.read(file), scale)
        if min(hr.shape[:2]) <= 2 * scale:
            raise InputError(f"{file}: nothing is left of it after a border of {scale} pixels; leave it out.")
        if not paired:
            yield Pair(file.name, resize.imresize(image.to_uint8(hr), 1 / scale), hr)
            continue
        if file.stem not in partners:
            raise InputError(f"{lr_folder}: has no picture for {file.name}; pairs need the same name in both folders.")
        lr = image.read(partners[file.stem])
        if (lr.shape[0] * scale, lr.shape[1] * scale) != hr.shape[:2]:
            raise InputError(
                f"{partners[file.stem]}: is {lr.shape[0]}x{lr.shape[1]} but must be {hr.shape[0] // scale}x"
                f"{hr.shape[1] // scale} for {file.name} at scale {scale}; check --scale and the folders."
            )
        yield Pair(file.name, lr, hr)


def table(result: Evaluation) -> str:
    """Returns the Markdown table, a picture a row, the mean last."""
    rows = [[p.name, f"{p.psnr:.2f}", f"{p.ssim:.4f}", f"{p.psnr - p.bicubic_psnr:+.2f}"] for p in result.pictures]
    rows.append(["mean", f"{result.psnr:.2f}", f"{result.ssim:.4f}", f"{result.psnr - result.bicubic_psnr:+.2f}"])
    return cli.markdown(["picture", "PSNR dB", "SSIM", "over bicubic"], rows)


def as_csv(result: Evaluation) -> str:
    """Returns the pictures as CSV with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "psnr", "ssim", "bicubic_psnr"])
    writer.writerows([p.name, p.psnr, p.ssim, p.bicubic_psnr] for p in result.pictures)
    return text.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line, evaluates and prints; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sr_keras.evaluate", description=__doc__)
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="run folder, .keras, .tflite, .onnx, SavedModel folder, or nearest, bilinear, bicubic, lanczos",
    )
    parser.add_argument(
        "data", metavar="DATA", type=Path, help="folder of HR pictures, or with HR/ and LRbicx2/ ... inside"
    )
    parser.add_argument("--scale", type=int, metavar="N", help="needed for an interpolation; else the model's")
    parser.add_argument(
        "--protocol", default="y", choices=("y", "rgb", "y-float"), help="default: y (docs/protocols.md)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the figures as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="writes the figures of the pictures as CSV")
    options = parser.parse_args(argv)
    return cli.run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    from sr_keras import metrics

    result = evaluate(options.model, options.data, scale=options.scale, protocol=options.protocol)
    print(f"{result.model} x{result.scale} on {result.data}, protocol {result.protocol}:")
    print(f"{metrics.PROTOCOLS[result.protocol].description}\n")
    print(table(result))
    print(f"\n{result.seconds_per_megapixel:.3f} seconds per megapixel of output")
    if options.json:
        run.write_json(options.json, _finite(asdict(result)))
    if options.csv:
        run.write_whole(options.csv, lambda beside: beside.write_text(as_csv(result), encoding="utf-8"))
    return 0


def _finite(value):
    """JSON knows no infinity (equal pictures) and no NaN (SSIM of a picture below 11 pixels): they become null."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    sys.exit(main())
