"""Shows what a degradation does: the middle of a picture in HR and several LR, enlarged by repeating pixels."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from sr_keras import cli, image
from sr_keras.errors import InputError

SIDE, COLUMNS = 256, 4


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and writes the sheet; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path, help="its middle, 256x256 at most, is the HR")
    parser.add_argument("--degradation", default="real_world", metavar="NAME", help="default: real_world")
    parser.add_argument("--scale", type=cli.positive, default=4, metavar="N", help="default: 4")
    parser.add_argument("--count", type=cli.positive, default=11, metavar="N", help="of LR pictures (default: 11)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first; others follow (default: 0)")
    parser.add_argument("-o", "--out", type=Path, default=Path("degradation.png"), metavar="FILE")
    options = parser.parse_args(argv)
    return cli.run(lambda: draw(**vars(options)))


def draw(*, picture: Path, degradation: str, scale: int, count: int, seed: int, out: Path) -> None:
    """Writes the sheet and prints its path."""
    hr = middle(image.to_uint8(image.read(picture)), scale)
    if hr.size == 0:
        raise InputError(
            f"{picture}: its middle of {SIDE}x{SIDE} at most is smaller than one LR pixel at scale {scale}."
        )
    pictures = {"HR": hr} | {
        f"{degradation} {k}": repeated(degraded(hr, degradation, scale, k), scale) for k in range(seed, seed + count)
    }
    image.write(out, image.contact_sheet([labelled(*item) for item in pictures.items()], columns=COLUMNS))
    print(out)


def middle(pixels: np.ndarray, scale: int) -> np.ndarray:
    """Cuts the middle out of uint8 `[H, W, C]`, at most 256x256, sides a multiple of `scale`."""
    height, width = (min(side, SIDE) // scale * scale for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def degraded(hr: np.ndarray, degradation: str, scale: int, seed: int) -> np.ndarray:
    """Returns the LR of uint8 `[H, W, C]`."""
    import tensorflow as tf

    from sr_keras import component, degradations

    degrade = component.build(degradations, degradation, scale=scale)
    lr, _ = degrade(tf.constant(image.to_float(hr)[None]), tf.constant([[0, seed]]))
    return image.to_uint8(lr[0].numpy())


def repeated(lr: np.ndarray, scale: int) -> np.ndarray:
    """Repeats every pixel to the size of HR."""
    return lr.repeat(scale, axis=0).repeat(scale, axis=1)


def labelled(label: str, pixels: np.ndarray) -> np.ndarray:
    """Writes a label above uint8 `[H, W, C]`; returns `[H + 18, W, 3]`."""
    strip = np.full((18, pixels.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, label, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, image.with_channels(pixels, 3)])


if __name__ == "__main__":
    sys.exit(main())
