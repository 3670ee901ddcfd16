"""SAFMN (Sun et al., 2023): features weighed by themselves, seen at four sizes, in place of attention."""

import keras
from keras import layers, ops

from sr_keras.layers.adaptive import AdaptiveMaxPool, RepeatLike
from sr_keras.layers.channel_norm import ChannelNorm
from sr_keras.layers.gelu import Gelu
from sr_keras.models._blocks import check_scale, conv
from sr_keras.models._published import Published, Tensors, count, root

_LEVELS = 4


def build(
    *, scale: int, channels: int = 3, filters: int = 36, hidden_filters: int = 72, blocks: int = 8
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 2302.13800).

    The defaults are the paper's network, 227,820 parameters at x2, 232,695 at x3 and 239,520 at x4; the large one
    has 128 filters, 256 hidden ones and 16 blocks (5,600,816 at x4). The weights are in github.com/sunny2109/SAFMN.
    Quarters of the channels are seen whole and as maxima of 2x2, 4x4 and 8x8 pixels. Sizes that are no multiple of 8
    give what PyTorch gives; below 8 pixels either way, which PyTorch refuses, a window is all there is.

    Raises:
        ValueError: if `scale` is below 2, or `filters` is no multiple of 4.
    """
    check_scale(scale)
    if filters % _LEVELS:
        raise ValueError(f"filters must be a multiple of 4 here, got {filters}; try {filters // 4 * 4 + 4}.")
    lr = keras.Input((None, None, channels), name="lr")
    x = head = conv(filters, gain=1.0, name="to_feat")(lr)
    for block in range(blocks):
        weighed = _weighed(ChannelNorm(name=f"feats.{block}.norm1")(x), filters, f"feats.{block}.safm")
        x = layers.Add()([weighed, x])
        mixed = _mixed(ChannelNorm(name=f"feats.{block}.norm2")(x), filters, hidden_filters, f"feats.{block}.ccm")
        x = layers.Add()([mixed, x])
    x = layers.Add()([x, head])
    x = conv(channels * scale**2, gain=1.0, dtype="float32", name="to_img.0")(x)
    return keras.Model(lr, ops.depth_to_space(x, scale), name="safmn")


def _weighed(x, filters: int, name: str):
    levels = []
    for level, part in enumerate(ops.split(x, _LEVELS, axis=-1)):
        depthwise = layers.DepthwiseConv2D(3, padding="same", name=f"{name}.mfr.{level}")
        levels.append(RepeatLike()([depthwise(AdaptiveMaxPool(2**level)(part)), x]) if level else depthwise(part))
    weights = Gelu()(conv(filters, 1, name=f"{name}.aggr")(layers.Concatenate()(levels)))
    return layers.Multiply()([weights, x])


def _mixed(x, filters: int, hidden_filters: int, name: str):
    x = Gelu()(conv(hidden_filters, name=f"{name}.ccm.0")(x))
    return conv(filters, 1, gain=1.0, name=f"{name}.ccm.2")(x)


def published(tensors: Tensors) -> Published | None:
    """Recognises the authors' weights."""
    wanted = {"to_feat.weight", "feats.0.norm1.weight", "feats.0.safm.mfr.0.weight", "feats.0.ccm.ccm.2.weight"}
    if not wanted <= set(tensors):
        return None
    filters, channels = tensors["to_feat.weight"].shape[:2]
    options = {
        "scale": root(tensors["to_img.0.weight"].shape[0], channels), "channels": channels, "filters": filters,
        "hidden_filters": tensors["feats.0.ccm.ccm.0.weight"].shape[0], "blocks": count(tensors, r"feats\.(\d+)\."),
    }  # fmt: skip
    return Published(options, dict(tensors))
