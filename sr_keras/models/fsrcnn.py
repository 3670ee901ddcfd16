"""FSRCNN (Dong et al., 2016): shrink the channels, map, expand, and enlarge only in the last layer."""

from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from sr_keras.errors import InputError
from sr_keras.models._blocks import check_scale, conv, prelu
from sr_keras.models._published import Published, Tensors, count, renamed


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 56,
    shrunk_filters: int = 12,
    mapping_layers: int = 4,
    upsampling: Literal["deconvolution", "subpixel"] = "deconvolution",
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`.

    `filters`, `shrunk_filters`, `mapping_layers` are the paper's d, s, m (arXiv 1608.00367); its kernels hold
    12,464 weights for one channel. `upsampling="subpixel"` puts a convolution that sees as much and
    `depth_to_space` in the place of the 9x9 deconvolution.

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    x = lr = keras.Input((None, None, channels), name="lr")
    x = prelu(conv(filters, 5, name="first_part.0")(x), "first_part.1")
    sizes = [(shrunk_filters, 1), *[(shrunk_filters, 3)] * mapping_layers, (filters, 1)]
    for k, (width, kernel_size) in enumerate(sizes):
        x = prelu(conv(width, kernel_size, name=f"mid_part.{2 * k}")(x), f"mid_part.{2 * k + 1}")
    if upsampling == "deconvolution":
        x = _deconvolution(x, scale, channels)
    else:
        size = 2 * _reach(scale) + 1
        x = conv(channels * scale**2, size, gain=1.0, dtype="float32", name="last_part")(x)
        x = ops.depth_to_space(x, scale)
    return keras.Model(lr, x, name="fsrcnn")


def _deconvolution(x, scale: int, channels: int):
    return layers.Conv2DTranspose(
        channels,
        9,
        strides=scale,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),  # the paper's, section 3.4
        dtype="float32",
        name="last_part",
    )(x)


def _reach(scale: int) -> int:
    """Returns how many LR pixels a pixel sees on either side through the deconvolution's nine taps."""
    return (scale + 3) // scale


def published(tensors: Tensors, scale: int | None = None) -> Published | None:
    """Recognises the weights of yjn870 and Lornatang, for luminance or colours.

    Their deconvolution becomes the sub-pixel convolution that computes the same, since Keras' own places its taps
    otherwise. Its nine taps are there at every scale: unless `scale` is given, it is the one at which an even area
    stays even.
    """
    maps = count(tensors, r"map\.(\d+)\.") // 2  # Lornatang's names for the same layers
    found = renamed(
        tensors, (r"feature_extraction\.", "first_part."), (r"shrink\.", "mid_part."), (r"deconv\.", "last_part."),
        (r"map\.(\d+)\.", lambda match: f"mid_part.{int(match[1]) + 2}."),
        (r"expand\.(\d+)\.", lambda match: f"mid_part.{int(match[1]) + 2 + 2 * maps}."),
    )  # fmt: skip
    if "first_part.1.weight" not in found or "mid_part.0.weight" not in found or "last_part.weight" not in found:
        return None
    taps = found["last_part.weight"]
    if taps.shape[2:] != (9, 9):
        return None
    scale, guessed = scale or _scale(found), scale is None
    filters, channels = found["first_part.0.weight"].shape[:2]
    options = {
        "scale": scale, "channels": channels, "filters": filters,
        "shrunk_filters": found["mid_part.0.weight"].shape[0],
        "mapping_layers": count(found, r"mid_part\.(\d+)\.weight") // 2 - 2, "upsampling": "subpixel",
    }  # fmt: skip
    found["last_part.weight"] = _as_convolution(taps, scale)
    found["last_part.bias"] = found["last_part.bias"].repeat(scale**2)
    told = f"the file does not tell its scale; at x{scale} an even area stays even"
    deconvolution = "last_part: the deconvolution, as the sub-pixel convolution that computes the same"
    return Published(options, found, (told, deconvolution) if guessed else (deconvolution,))


def _as_convolution(taps: np.ndarray, scale: int) -> np.ndarray:
    """Turns a deconvolution `[C, c, 9, 9]`, padding 4, into a kernel `[c * scale**2, C, k, k]` before a shuffle."""
    reach = _reach(scale)
    phases = np.arange(scale)[:, None] + 4 - scale * np.arange(-reach, reach + 1)  # [phase, pixel]: which tap
    there = (phases >= 0) & (phases < 9)
    phases = phases.clip(0, 8)
    kernel = taps[:, :, phases[:, None, :, None], phases[None, :, None, :]]  # [C, c, phase, phase, pixel, pixel]
    kernel = kernel * (there[:, None, :, None] & there[None, :, None, :])
    return kernel.transpose(1, 2, 3, 0, 4, 5).reshape(-1, taps.shape[0], 2 * reach + 1, 2 * reach + 1)


def _scale(found: Tensors) -> int:
    """Finds the scale at which an even area is enlarged to one. Raises `InputError` if there is none."""
    x = np.multiply.outer(np.ones(found["first_part.0.weight"].shape[1]), [0.25, 0.5, 0.75])  # [C, greys]
    names = ["first_part.0", *(f"mid_part.{2 * k}" for k in range(count(found, r"mid_part\.(\d+)\.weight") // 2))]
    for name in names:
        part, number = name.split(".")
        x = found[f"{name}.weight"].sum((2, 3)) @ x + found[f"{name}.bias"][:, None]
        x = np.maximum(x, 0) + found[f"{part}.{int(number) + 1}.weight"].reshape(-1, 1) * np.minimum(x, 0)
    for scale in (4, 3, 2):  # what is even at x4 is so at x2, but never the other way
        y = _as_convolution(found["last_part.weight"], scale).sum((2, 3)) @ x
        y = y.reshape(-1, scale**2, x.shape[1]) + found["last_part.bias"][:, None, None]
        if (np.ptp(y, axis=1) < 0.1 * np.abs(y).mean(axis=1)).all():
            return scale
    raise InputError("an FSRCNN's file does not tell its scale, nor do its weights; give the scale.")
