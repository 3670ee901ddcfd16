"""SESR (Bhardwaj et al., 2022): few convolutions, each of them trained as a much wider linear block."""

from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from sr_keras.errors import InputError
from sr_keras.models._blocks import check_scale, conv, into_range, prelu, repeated
from sr_keras.models._published import Published, Tensors, count, renamed, root, without


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 16,
    blocks: int = 5,
    activation: Literal["prelu", "relu"] = "prelu",
    first_activated: bool = False,
    use_bias: bool = False,
    grey: float = 0.5,
    width: int = 256,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`; the nearest-neighbour enlargement is added.

    `blocks` is the paper's m (arXiv 2103.09404), its `filters` f: M5 has 13,520 weights in kernels for luminance at x2
    and 18,320 at x4, M3, M7, M11 so many more or less; XL, of 11 blocks and 32 filters, 105,376 and 114,976. Each
    convolution is trained as a block `width` channels wide (`layers.collapsible_conv`), or with a width of 0 as it is.
    The authors subtract a `grey` first, and have no biases (github.com/ARM-software/sesr); Qualcomm's networks do
    without the grey, have them, and an activation behind the first convolution too (github.com/quic/aimet-model-zoo).

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    lr = keras.Input((None, None, channels), name="lr")

    def activated(x, name: str):
        return prelu(x, f"{name}.activation") if activation == "prelu" else layers.ReLU()(x)

    x = into_range(lr, 1.0, (grey,) * channels)
    x = conv(filters, 5, gain=2.0 if first_activated else 1.0, use_bias=use_bias, width=width, name="conv_first")(x)
    x = first = activated(x, "conv_first") if first_activated else x
    for k in range(blocks):
        name = f"residual_block.{k}"
        x = activated(conv(filters, use_bias=use_bias, width=width, name=name)(x), name)
    x = layers.Add()([x, first])
    # small: training starts at the nearest neighbours
    x = conv(channels * scale**2, 5, gain=0.01, use_bias=use_bias, width=width, name="conv_last")(x)
    x = layers.Add(dtype="float32")([x, repeated(lr, scale)])
    return keras.Model(lr, ops.depth_to_space(x, scale), name="sesr")


def published(tensors: Tensors) -> Published | None:
    """Recognises Qualcomm's weights, as trained and collapsed."""
    if "conv_first.conv_expand.weight" not in tensors or "conv_last.conv_expand.weight" not in tensors:
        return None
    wide = "conv_first.conv_squeeze.weight" in tensors
    first = tensors["conv_first.conv_expand.weight"]
    filters = tensors["conv_first.conv_squeeze.weight" if wide else "conv_first.conv_expand.weight"].shape[0]
    found = renamed(
        tensors,
        (r"(.*)\.conv_expand\.weight", r"\1.expand" if wide else r"\1.weight"),
        (r"(.*)\.conv_squeeze\.weight", r"\1.project"),
        (r"(.*)\.conv_(?:squeeze|expand)\.bias", r"\1.bias"),
    )
    for name in [name for name in found if name.endswith(".project")]:
        found[name] = found[name].reshape(found[name].shape[:2])
    scale = root(found["conv_last.bias"].shape[0], first.shape[1])
    anchors, biases = without(found, r"anchor\.net\.weight"), without(found, r"anchor\.net\.bias")
    repeating = np.eye(min(first.shape[1], 4)).repeat(scale**2, axis=0)[:, :, None, None]
    if not all(np.array_equal(anchor, repeating) for anchor in anchors) or any(bias.any() for bias in biases):
        raise InputError("'anchor.net' does more than repeat the input, so it can't be imported.")
    options = {
        "scale": scale, "channels": first.shape[1], "filters": filters,
        "blocks": count(tensors, r"residual_block\.(\d+)\.conv_expand\.weight"),
        "activation": "prelu" if "conv_first.activation.weight" in tensors else "relu",
        "first_activated": True, "use_bias": True, "grey": 0.0, "width": first.shape[0] if wide else 0,
    }  # fmt: skip
    notes = ("anchor.net repeats the input, which the network does without weights",) if anchors else ()
    return Published(options, found, notes)
