"""WDSR (Yu et al., 2018): blocks that are wide before the activation and narrow between blocks."""

import re
from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from sr_keras.models._blocks import DIV2K_MEAN, check_scale, conv, into_range, mean_of, out_of_range
from sr_keras.models._published import Published, Tensors, count, merged_weight_norm, renamed, root


def build(
    *,
    scale: int,
    channels: int = 3,
    variant: Literal["a", "b"] = "a",
    filters: int = 32,
    inner_filters: int | None = None,
    low_rank_filters: int | None = None,
    blocks: int = 16,
    mean: tuple[float, ...] | None = None,
    pixel_range: float = 1.0,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 1808.08718).

    The defaults are the paper's baseline, 1,187,484 parameters at x2 and 1,200,624 at x4; the large network has 128
    filters and 32 blocks. Variant `b` is wider, by 1x1 kernels, and then goes through `low_rank_filters`. Before its
    activation a block has `inner_filters`: 4 times `filters`, or 6 times in `b`.

    `mean` is taken off and put back: DIV2K's, if it is not given and there are three channels. Published are weights
    for a mean of 0.5 (github.com/ychfan/wdsr), and for DIV2K's with a `pixel_range` of 2: 0..255 divided by 127.5
    (github.com/JiahuiYu/wdsr_ntire2018). Their weight normalisation helps training only and is not built.

    Raises:
        ValueError: if `scale` is below 2, or `mean` has another length than 0 or `channels`.
    """
    check_scale(scale)
    mean = mean_of(channels, mean)
    inner = inner_filters or filters * (4 if variant == "a" else 6)
    low_rank = low_rank_filters or int(filters * 0.8)
    lr = keras.Input((None, None, channels), name="lr")
    image = into_range(lr, pixel_range, mean)
    x = conv(filters, gain=1.0, name="head.0")(image)
    for block in range(blocks):
        x = _block(x, [inner] if variant == "a" else [inner, low_rank], f"body.{block}.body")
    outputs = channels * scale**2
    x = conv(outputs, gain=1.0, dtype="float32", name="tail.0")(x)
    x = layers.Add(dtype="float32")([x, conv(outputs, 5, gain=1.0, dtype="float32", name="skip.0")(image)])
    x = ops.depth_to_space(x, scale)
    return keras.Model(lr, out_of_range(x, pixel_range, mean), name="wdsr")


def _block(x, inner: list[int], name: str):
    skip, filters, size = x, x.shape[-1], 3 if len(inner) == 1 else 1
    x = conv(inner[0], size, activation="relu", name=f"{name}.0")(x)
    for low_rank in inner[1:]:
        x = conv(low_rank, 1, gain=1.0, name=f"{name}.2")(x)
    x = conv(filters, gain=0.02, name=f"{name}.{len(inner) + 1}")(x)
    return layers.Add()([x, skip])


def published(tensors: Tensors) -> Published | None:
    """Recognises the weights of both of the authors' repositories, and of github.com/yjn870/WDSR-pytorch.

    The mean is in no tensor: it is told by the names.
    """
    if not any(name.startswith("skip.0.") for name in tensors):
        return None
    tensors = renamed(merged_weight_norm(tensors), (r"body\.(\d+)\.module\.", r"body.\1.body."))
    blocks = count(tensors, r"body\.(\d+)\.body\.0\.weight")
    one_body = "body.0.weight" in tensors
    if one_body:
        tensors = _split(tensors, blocks)
    filters, channels = tensors["head.0.weight"].shape[:2]
    mean = (0.5,) * channels if one_body else DIV2K_MEAN
    if len(mean) != channels:
        return None
    variant = "b" if "body.0.body.3.weight" in tensors else "a"
    options = {
        "scale": root(tensors["tail.0.weight"].shape[0], channels), "channels": channels, "variant": variant,
        "filters": filters, "inner_filters": tensors["body.0.body.0.weight"].shape[0], "blocks": blocks,
        "mean": mean, "pixel_range": 1.0 if one_body else 2.0,
    }  # fmt: skip
    if variant == "b":
        options["low_rank_filters"] = tensors["body.0.body.2.weight"].shape[0]
    notes = () if one_body else ("the mean colour is not in the file: DIV2K's, as in the authors' repository",)
    return Published(options, tensors, notes)


def _split(tensors: Tensors, blocks: int) -> dict[str, np.ndarray]:
    """Renames the parts of a body that begins with the head, `body.0`, and ends with the tail."""
    found = {}
    for name, tensor in tensors.items():
        if (match := re.fullmatch(r"body\.(0|[1-9]\d*)\.(.+)", name)) is not None:
            ends = {0: "head.0", blocks + 1: "tail.0"}
            name = f"{ends.get(int(match[1]), f'body.{int(match[1]) - 1}')}.{match[2]}"
        found[name] = tensor
    return found
