"""RLFN (Kong et al., 2022): three convolutions a block, attention over a wide neighbourhood, no distillation."""

import keras
from keras import layers, ops

from sr_keras.models._blocks import check_scale, conv, into_range, out_of_range, spatial_attention
from sr_keras.models._published import Published, Tensors, count, root


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 52,
    attention_filters: int = 16,
    blocks: int = 6,
    pixel_range: float = 1.0,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 2205.07514).

    The defaults are the paper's network, 526,856 parameters at x2 and 543,740 at x4; RLFN-S has 48 filters. The
    published weights have a `pixel_range` of 255 (github.com/bytedance/RLFN).

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    lr = keras.Input((None, None, channels), name="lr")
    x = into_range(lr, pixel_range)
    x = head = conv(filters, gain=1.0, name="conv_1")(x)
    for block in range(1, blocks + 1):
        x = _block(x, filters, attention_filters, f"block_{block}")
    x = layers.Add()([conv(filters, gain=1.0, name="conv_2")(x), head])
    x = conv(channels * scale**2, gain=1.0, dtype="float32", name="upsampler.0")(x)
    x = ops.depth_to_space(x, scale)
    return keras.Model(lr, out_of_range(x, pixel_range), name="rlfn")


def _block(x, filters: int, attention_filters: int, name: str):
    skip = x
    for k in (1, 2, 3):
        x = layers.LeakyReLU(0.05)(conv(filters, name=f"{name}.c{k}_r")(x))
    x = conv(filters, 1, gain=1.0, name=f"{name}.c5")(layers.Add()([x, skip]))
    return spatial_attention(x, attention_filters, f"{name}.esa", convolutions=("conv3",))


def published(tensors: Tensors) -> Published | None:
    """Recognises the authors' weights, whose pixels are in 0..255."""
    if "block_1.c5.weight" not in tensors or "block_1.esa.conv_f.weight" not in tensors:
        return None
    filters, channels = tensors["conv_1.weight"].shape[:2]
    options = {
        "scale": root(tensors["upsampler.0.weight"].shape[0], channels), "channels": channels, "filters": filters,
        "attention_filters": tensors["block_1.esa.conv1.weight"].shape[0], "blocks": count(tensors, r"block_(\d+)\."),
        "pixel_range": 255.0,
    }  # fmt: skip
    return Published(options, dict(tensors))
