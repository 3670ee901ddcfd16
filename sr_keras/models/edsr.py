"""EDSR (Lim et al., 2017): residual blocks without batch normalisation."""

import keras
import numpy as np
from keras import layers

from sr_keras.models._blocks import DIV2K_MEAN, conv, into_range, mean_of, out_of_range, subpixel, upsampling_steps
from sr_keras.models._published import Published, Tensors, count, renamed, upsampled, without_mean_shift


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 64,
    blocks: int = 16,
    residual_scaling: float = 1.0,
    pixel_range: float = 1.0,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`.

    The defaults are the paper's baseline (arXiv 1707.02921); the full network has 256 filters, 32 blocks
    and a residual scaling of 0.1. With three channels the mean of DIV2K is taken off and put back. The published
    weights have a `pixel_range` of 255.

    Raises:
        ValueError: if `scale` is neither 3 nor a power of two.
    """
    steps = upsampling_steps(scale)
    mean = mean_of(channels)
    lr = keras.Input((None, None, channels), name="lr")
    x = into_range(lr, pixel_range, mean)
    x = head = conv(filters, gain=1.0, name="conv_first")(x)
    for block in range(blocks):
        x = _residual_block(x, filters, residual_scaling, f"body.{block}")
    x = conv(filters, gain=1.0, name="conv_after_body")(x)
    x = layers.Add()([x, head])
    for k, step in enumerate(steps):
        x = subpixel(x, step, filters, f"upsample.{2 * k}")
    x = conv(channels, gain=1.0, dtype="float32", name="conv_last")(x)
    return keras.Model(lr, out_of_range(x, pixel_range, mean), name="edsr")


def _residual_block(x, filters: int, residual_scaling: float, name: str):
    skip = x
    x = conv(filters, activation="relu", name=f"{name}.conv1")(x)
    x = conv(filters, gain=0.02, name=f"{name}.conv2")(x)  # a gain of 2 would triple the variance in each block
    if residual_scaling != 1.0:
        x = layers.Rescaling(residual_scaling)(x)
    return layers.Add()([skip, x])


def published(tensors: Tensors) -> Published | None:
    """Recognises EDSR's weights by the names of EDSR-PyTorch and of BasicSR; their pixels are in 0..255.

    The residual scaling is in no tensor: it is 0.1 for the full network of 256 filters, 1 for any other.
    """
    if "body.0.body.0.weight" in tensors:
        tensors = renamed(
            tensors, (r"head\.0\.", "conv_first."), (r"body\.(\d+)\.body\.0\.", r"body.\1.conv1."),
            (r"body\.(\d+)\.body\.2\.", r"body.\1.conv2."), (r"body\.\d+\.(?=weight|bias)", "conv_after_body."),
            (r"tail\.0\.", "upsample."), (r"tail\.1\.", "conv_last."),
        )  # fmt: skip
    if "conv_after_body.weight" not in tensors or "body.0.conv1.weight" not in tensors:
        return None
    tensors, notes = without_mean_shift(tensors, np.multiply(DIV2K_MEAN, 255.0))
    filters, channels = tensors["conv_first.weight"].shape[:2]
    options = {
        "scale": upsampled(tensors, r"upsample\.\d+\.weight", "conv_last.weight"), "channels": channels,
        "filters": filters, "blocks": count(tensors, r"body\.(\d+)\.conv1\."),
        "residual_scaling": 0.1 if filters == 256 else 1.0, "pixel_range": 255.0,
    }  # fmt: skip
    return Published(options, tensors, notes)
