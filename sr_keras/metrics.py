"""PSNR and SSIM under named protocols, so that a number says how it was made (docs/protocols.md)."""

from dataclasses import dataclass

import cv2
import numpy as np

from sr_keras import image


@dataclass(frozen=True)
class Protocol:
    """How a prediction is compared: on Y or on RGB, rounded to 8 bits or not; the border cut off is the scale."""

    name: str
    luma: bool
    rounded: bool
    description: str

    def prepare(self, pixels: np.ndarray, scale: int) -> np.ndarray:
        """Maps `[H, W, C]` (float in [0, 1], or uint8/uint16) to float64 in [0, 255], ready for `psnr` and `ssim`.

        A grey picture (C = 1) stays as it is under every protocol: it is not sent through RGB to Y.
        """
        full = image.to_uint8(pixels) / 255.0 if self.rounded else image.to_float(pixels).astype(np.float64)
        if self.luma and full.shape[2] == 3:
            full = image.rgb_to_y(full)
        return image.shave(full, scale) * 255.0


PROTOCOLS = {
    p.name: p
    for p in (
        Protocol(
            "y", True, True, "Y of BT.601 (16-235), prediction rounded to uint8, border of `scale` cut, grey as grey"
        ),
        Protocol("rgb", False, True, "all channels, prediction rounded to uint8, border of `scale` cut"),
        Protocol("y-float", True, False, "as y, but the prediction is not rounded"),
    )
}


def psnr(hr: np.ndarray, sr: np.ndarray) -> float:
    """Returns 10 log10(255^2 / MSE) in dB of two `[H, W, C]` pictures in [0, 255]; infinite where they are equal."""
    error = np.mean(np.square(hr.astype(np.float64) - sr.astype(np.float64)))
    return float("inf") if error == 0.0 else float(10.0 * np.log10(255.0**2 / error))


def ssim(hr: np.ndarray, sr: np.ndarray) -> float:
    """Returns the mean SSIM of two `[H, W, C]` pictures in [0, 255] (Wang et al., 2004), averaged over the channels.

    11x11 Gaussian window with sigma 1.5, positions wholly inside the picture, K1 0.01, K2 0.03; NaN for a picture
    smaller than the window.
    """
    if min(hr.shape[:2]) < 11:
        return float("nan")
    c1, c2 = (0.01 * 255.0) ** 2, (0.03 * 255.0) ** 2
    x, y = hr.astype(np.float64), sr.astype(np.float64)
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float(similarity.mean())


def colour_drift(lr: np.ndarray, sr: np.ndarray) -> float:
    """Returns how far the colours of SR `[s*h, s*w, C]` are from LR's `[h, w, C]`: 2.3 is just noticeable to the eye.

    It is the mean distance in CIE L*a*b* (1976) of both pictures (uint8, or float in [0, 1]) after a Gaussian blur of
    4 LR pixels, SR reduced to LR's size before: what texture adds is averaged out, a cast stays.
    """
    height, width = lr.shape[:2]
    reduced = cv2.resize(image.to_float(image.with_channels(sr, 3)), (width, height), interpolation=cv2.INTER_AREA)
    both = (image.to_float(image.with_channels(lr, 3)), reduced)
    first, second = (cv2.cvtColor(cv2.GaussianBlur(pixels, (0, 0), 4.0), cv2.COLOR_RGB2LAB) for pixels in both)
    return float(np.linalg.norm(first - second, axis=2).mean())


def _window(x: np.ndarray) -> np.ndarray:
    blurred = cv2.GaussianBlur(x, (11, 11), 1.5)
    return blurred[5:-5, 5:-5]
