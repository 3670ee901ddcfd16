"""Enlarges crops of photographs by bicubic and by models of one scale: LR | bicubic | models | HR, a row a crop."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from show_degradation import degraded, repeated

from sr_keras import cli, image
from sr_keras.errors import InputError

GAP, TITLE = 4, 28
# Of scikit-image's photographs: coffee and chelsea are CC0, astronaut (NASA) is in the public domain.
CROPS = ("coffee:250,150", "coffee:60,60", "chelsea:120,60", "astronaut:160,60")


@dataclass(frozen=True)
class Crop:
    """A place in a photograph: the top left corner in pixels of HR."""

    name: str
    left: int
    top: int

    @classmethod
    def of(cls, text: str) -> "Crop":
        name, _, place = text.rpartition(":")
        try:
            left, top = (int(number) for number in place.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"write NAME:X,Y, such as coffee:60,60; got {text!r}") from None
        return cls(name, left, top)


def sheet(
    models: Sequence[str], titles: Sequence[str], crops: Sequence[Crop], folder: Path | None, side: int,
    degradation: str = "bicubic",
) -> np.ndarray:  # fmt: skip
    """Returns a row for each crop, a column for LR, bicubic, each model and HR, titles above: uint8 `[H, W, 3]`."""
    from sr_keras import predictor

    opened = [predictor.open_model(model) for model in models]
    scale = opened[0].scale
    if any(each.scale != scale for each in opened):
        raise InputError(f"{', '.join(models)}: all of them must have one scale; leave the others out.")
    ways = [predictor.interpolation("bicubic", scale), *opened]
    rows = []
    for crop in crops:
        hr = image.crop_to_multiple(_photograph(crop.name, folder), scale)
        if min(crop.left, crop.top) < 0 or crop.left + side > hr.shape[1] or crop.top + side > hr.shape[0]:
            raise InputError(
                f"{crop.name}: is {hr.shape[1]}x{hr.shape[0]}; {side}x{side} at {crop.left},{crop.top} does not fit in."
            )
        lr = degraded(hr, degradation, scale, seed=0)
        pictures = [repeated(lr, scale), *(image.to_uint8(way(lr)) for way in ways), hr]
        place = (slice(crop.top, crop.top + side), slice(crop.left, crop.left + side))
        rows += [image.with_channels(picture[place], 3) for picture in pictures]
    columns = ["LR", "bicubic", *titles, "HR"]
    return np.concatenate([_title(columns, side), image.contact_sheet(rows, columns=len(columns), gap=GAP)])


def _photograph(name: str, folder: Path | None) -> np.ndarray:
    if folder is not None:
        return image.to_uint8(image.read(folder / name))
    import skimage.data

    if not hasattr(skimage.data, name):
        raise InputError(f"{name}: is no photograph of scikit-image's; give --data a folder.")
    pixels = getattr(skimage.data, name)()
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _title(words: Sequence[str], side: int) -> np.ndarray:
    line = np.full((TITLE, len(words) * (side + GAP) - GAP, 3), 255, np.uint8)
    for k, word in enumerate(words):
        place = (k * (side + GAP) + 2, TITLE - 9)
        cv2.putText(line, word, place, cv2.FONT_HERSHEY_DUPLEX, 0.5, (30, 30, 30), 1, cv2.LINE_AA)
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the sheet; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="shipped weights, run folders or files of one scale")
    parser.add_argument("--titles", nargs="+", metavar="TEXT", help="of the models (default: their names)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="of photographs that --crops names with their endings (default: scikit-image's)",
    )
    parser.add_argument(
        "--crops", nargs="+", type=Crop.of, metavar="NAME:X,Y", default=[Crop.of(c) for c in CROPS], help="places in HR"
    )
    parser.add_argument("--degradation", default="bicubic", metavar="NAME", help="that makes LR (default: bicubic)")
    parser.add_argument("--side", type=cli.positive, default=192, help="of a crop, in pixels (default: 192)")
    parser.add_argument("-o", "--out", type=Path, default=Path("crops.png"), help="default: crops.png")
    options = parser.parse_args(argv)
    titles = options.titles or [Path(model).name for model in options.models]
    if len(titles) != len(options.models):
        parser.error(f"as many --titles as models, got {len(titles)} and {len(options.models)}")

    def run() -> None:
        picture = sheet(
            options.models, titles, options.crops, options.data, options.side, degradation=options.degradation
        )
        image.write(options.out, picture)
        print(options.out)

    return cli.run(run)


if __name__ == "__main__":
    sys.exit(main())
