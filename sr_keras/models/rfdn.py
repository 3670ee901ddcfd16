"""RFDN (Liu et al., 2020): IMDN's distillation by 1x1 convolutions, beside residual ones of all channels."""

from typing import Literal

import keras
from keras import layers, ops

from sr_keras.models._blocks import (
    check_scale,
    contrast_attention,
    conv,
    into_range,
    out_of_range,
    spatial_attention,
)
from sr_keras.models._published import Published, Tensors, count, root

Attention = Literal["contrast", "spatial"]


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 48,
    blocks: int = 6,
    attention: Attention = "contrast",
    attention_filters: int = 12,
    pixel_range: float = 1.0,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 2009.11551).

    The defaults are the paper's network, 534,036 parameters at x2, 540,531 at x3 and 549,624 at x4. What won the AIM
    2020 challenge, and was published (github.com/njulj/RFDN), has 50 filters, 4 blocks, `spatial` attention and a
    `pixel_range` of 255: 433,448 parameters at x4.

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    lr = keras.Input((None, None, channels), name="lr")
    x = into_range(lr, pixel_range)
    x = head = conv(filters, gain=1.0, name="fea_conv")(x)
    found = []
    for block in range(1, blocks + 1):
        x = _block(x, filters, attention, attention_filters, f"B{block}")
        found.append(x)
    x = layers.LeakyReLU(0.05)(conv(filters, 1, name="c.0")(layers.Concatenate()(found)))
    x = layers.Add()([conv(filters, gain=1.0, name="LR_conv")(x), head])
    x = conv(channels * scale**2, gain=1.0, dtype="float32", name="upsampler.0")(x)
    x = ops.depth_to_space(x, scale)
    return keras.Model(lr, out_of_range(x, pixel_range), name="rfdn")


def _block(x, filters: int, attention: Attention, attention_filters: int, name: str):
    distilled = []
    for k in (1, 2, 3):
        distilled.append(layers.LeakyReLU(0.05)(conv(filters // 2, 1, name=f"{name}.c{k}_d")(x)))
        x = _leaky_sum(conv(filters, gain=1.0, name=f"{name}.c{k}_r")(x), x)
    distilled.append(layers.LeakyReLU(0.05)(conv(filters // 2, name=f"{name}.c4")(x)))
    x = conv(filters, 1, gain=1.0, name=f"{name}.c5")(layers.Concatenate()(distilled))
    if attention == "contrast":
        return contrast_attention(x, attention_filters, f"{name}.cca")
    return spatial_attention(x, attention_filters, f"{name}.esa", convolutions=("conv_max", "conv3", "conv3_"))


def _leaky_sum(x, skip):
    # No LeakyReLU: TensorFlow 2.21 with oneDNN fuses it with sum and convolution, and then its slope is always 0.2.
    x = layers.Add()([x, skip])
    return layers.Maximum()([x, layers.Rescaling(0.05)(x)])


def published(tensors: Tensors) -> Published | None:
    """Recognises the authors' weights, whose pixels are in 0..255, and the paper's network by IMDN's name `cca`."""
    if "B1.c1_d.weight" not in tensors or "LR_conv.weight" not in tensors:
        return None
    spatial = "B1.esa.conv_max.weight" in tensors
    inner = tensors["B1.esa.conv1.weight" if spatial else "B1.cca.conv_du.0.weight"]
    filters, channels = tensors["fea_conv.weight"].shape[:2]
    options = {
        "scale": root(tensors["upsampler.0.weight"].shape[0], channels), "channels": channels, "filters": filters,
        "blocks": count(tensors, r"B(\d+)\."), "attention": "spatial" if spatial else "contrast",
        "attention_filters": inner.shape[0], "pixel_range": 255.0,
    }  # fmt: skip
    return Published(options, dict(tensors))
