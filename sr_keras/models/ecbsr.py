"""ECBSR (Zhang et al., 2021): plain 3x3 convolutions, each of them trained as five, some of which see edges."""

from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from sr_keras.errors import InputError
from sr_keras.layers.edge_conv import EdgeOrientedConv2D
from sr_keras.models._blocks import check_scale, conv, into_range, out_of_range, prelu, repeated
from sr_keras.models._published import Published, Tensors, count, renamed, root, without


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 16,
    blocks: int = 4,
    activation: Literal["prelu", "relu"] = "prelu",
    edge_oriented: bool = True,
    expansion: int = 2,
    identity: bool = False,
    pixel_range: float = 1.0,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`; the nearest-neighbour enlargement is added.

    The paper's networks (doi 10.1145/3474085.3475291) see luminance, and are named after `blocks`, the convolutions
    between the first and the last, and `filters`: M4C16 has 10,100 parameters at x2 once collapsed, and 11,840 at x4,
    M4C8 2,748 and 3,624, M10C32 94,308 and 97,776. If `edge_oriented`, each convolution is trained as a block
    (`layers.edge_conv`) with a branch `expansion` times as wide, and with `identity` as a change of what comes in. The
    authors' pixels have a `pixel_range` of 255 (github.com/xindongzhang/ECBSR), BasicSR's of 1.

    Raises:
        ValueError: if `scale` is below 2.
    """
    check_scale(scale)
    lr = keras.Input((None, None, channels), name="lr")
    x = image = into_range(lr, pixel_range)

    def convolved(x, width: int, name: str, gain: float):
        if not edge_oriented:
            return conv(width, gain=gain, name=name)(x)
        start = keras.initializers.VarianceScaling(gain, mode="fan_in")
        return EdgeOrientedConv2D(width, 3, expansion, identity, kernel_initializer=start, name=name)(x)

    for k in range(blocks + 1):
        x = convolved(x, filters, f"backbone.{k}", 2.0)
        x = prelu(x, f"backbone.{k}.act") if activation == "prelu" else layers.ReLU()(x)
    # small: training starts at the nearest neighbours
    x = convolved(x, channels * scale**2, f"backbone.{blocks + 1}", 0.01)
    x = layers.Add(dtype="float32")([x, repeated(image, scale)])
    x = ops.depth_to_space(x, scale)
    return keras.Model(lr, out_of_range(x, pixel_range), name="ecbsr")


_WHITE = (
    "the file does not tell its white: 255 is taken for luminance, as the authors do, and 1 for colours, as BasicSR"
)
_IDENTITY = "the file does not tell whether its blocks add what comes in (`identity`): none do in the authors' configs"
_BRANCH = r"backbone\.\d+\.conv1x1_(?:sbx|sby|lpl)\."


def published(tensors: Tensors) -> Published | None:
    """Recognises the authors' and BasicSR's weights, as trained (`ECBSR`) and collapsed (`PlainSR`)."""
    if "backbone.0.conv3x3.weight" not in tensors or "backbone.1.conv3x3.weight" not in tensors:
        return None
    edge_oriented = "backbone.0.conv1x1_3x3.k0" in tensors
    found = dict(tensors) if edge_oriented else renamed(tensors, (r"(backbone\.\d+)\.conv3x3", r"\1"))
    blocks = count(tensors, r"backbone\.(\d+)\.conv3x3\.weight") - 2
    filters, channels = tensors["backbone.0.conv3x3.weight"].shape[:2]
    options = {
        "scale": root(tensors[f"backbone.{blocks + 1}.conv3x3.bias"].shape[0], channels), "channels": channels,
        "filters": filters, "blocks": blocks,
        "activation": "prelu" if "backbone.0.act.weight" in tensors else "relu",
        "edge_oriented": edge_oriented, "pixel_range": 255.0 if channels == 1 else 1.0,
    }  # fmt: skip
    if not edge_oriented:
        return Published(options, found, (_WHITE,))
    options["expansion"] = tensors["backbone.0.conv1x1_3x3.k0"].shape[0] // filters
    _drop_masks(found)
    before = without(found, _BRANCH + "b0")
    note = f"{len(before)} biases before the masks of edges: without effect, since each mask's sum is 0"
    return Published(options, found, (note, _IDENTITY, _WHITE))


def _drop_masks(found: dict[str, np.ndarray]) -> None:
    """Takes the masks out, which must be the authors'."""
    for branch, mask in EdgeOrientedConv2D.masks.items():
        for tensor in without(found, rf"backbone\.\d+\.{branch}\.mask"):
            if not np.array_equal(tensor, np.broadcast_to(np.array(mask), tensor.shape)):
                raise InputError(f"'{branch}.mask' is another one than the authors'; it can't be imported.")
