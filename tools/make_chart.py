"""Draws a test chart, enlarges its LR by bicubic and by a model, and writes docs/chart.png: LR | bicubic | SR | HR."""

import argparse
import math
import sys
from pathlib import Path

import cv2
import numpy as np

from sr_keras import cli, image, resize

SIDE, ZOOM = 128, 2


def chart() -> np.ndarray:
    """Draws a star, lines, circles and letters, antialiased: uint8 `[SIDE, SIDE, 3]`."""
    fine = 8
    big = np.full((SIDE * fine, SIDE * fine, 3), (236, 232, 222), np.uint8)
    centre = (40 * fine, 42 * fine)
    for k in range(0, 36, 2):
        a, b = (math.tau * (k + d) / 36 for d in (0, 1))
        corners = [
            centre,
            *((round(centre[0] + 36 * fine * math.cos(t)), round(centre[1] + 36 * fine * math.sin(t))) for t in (a, b)),
        ]
        cv2.fillPoly(big, [np.array(corners, np.int32)], (32, 44, 72))
    for k in range(8):
        x = (82 + 6 * k) * fine
        cv2.line(big, (x, 6 * fine), (x - 12 * fine, 50 * fine), (150, 40, 36), (1 + k // 3) * fine)
    for radius in range(3, 24, 4):
        cv2.circle(big, (100 * fine, 96 * fine), radius * fine, (24, 96, 84), round(1.4 * fine))
    for text, y, size in (("super", 98, 0.62), ("resolution", 112, 0.42), ("0123456789", 123, 0.3)):
        cv2.putText(
            big, text, (5 * fine, y * fine), cv2.FONT_HERSHEY_DUPLEX, size * fine, (20, 20, 20), fine, cv2.LINE_AA
        )
    return cv2.resize(big, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a x2 model: run folder, .keras, .tflite, .onnx")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parent.parent / "docs" / "chart.png")
    options = parser.parse_args()
    sys.exit(cli.run(lambda: draw(options.model, options.out)))


def draw(model: str, out: Path) -> None:
    """Writes LR, bicubic, the model's picture and the chart side by side."""
    from sr_keras import predictor
    from sr_keras.board import panel
    from sr_keras.data import Pair

    hr = chart()
    predict = predictor.open_model(model, 2)
    pair = Pair("chart", resize.imresize(hr, 0.5), hr)
    strip = panel(pair, predict(pair.lr), 2, side=SIDE)
    image.write(out, cv2.resize(strip, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST))
    print(out)


if __name__ == "__main__":
    main()
