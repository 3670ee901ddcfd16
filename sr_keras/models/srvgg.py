"""SRVGGNetCompact (Wang et al., 2021, Real-ESRGAN): a plain chain of convolutions, all of it at the size of LR."""

import re
from collections.abc import Sequence
from typing import Literal

import keras
from keras import layers, ops

from sr_keras.layers.resize import CubicReduction
from sr_keras.models._blocks import check_scale, conv, prelu, repeated
from sr_keras.models._ncnn import named, words
from sr_keras.models._published import Published, Tensors, count, root
from sr_keras.ncnn_file import Layer


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 64,
    blocks: int = 16,
    activation: Literal["prelu", "relu"] = "prelu",
    expansion: int = 0,
    reduced_from: int | None = None,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`; the nearest-neighbour enlargement is added.

    `blocks` counts the convolutions between the first and the last: 16 is realesr-animevideov3 (621,424 parameters at
    x4), 32 is realesr-general-x4v3 (1,213,296). See arXiv 2107.10833 and github.com/xinntao/Real-ESRGAN. `relu` is for
    phones, whose delegates take a PReLU as a step of its own or not at all; with an `expansion` each convolution is
    trained as a block that many times as wide (`layers.collapsible_conv`). With `reduced_from` it enlarges that many
    times and reduces the result cubically to `scale`, as the x2 and x3 of animevideov3 do.

    Raises:
        ValueError: if `scale` is below 2, or not below `reduced_from`.
    """
    check_scale(scale)
    enlarged = reduced_from or scale
    x = lr = keras.Input((None, None, channels), name="lr")
    for k in range(blocks + 1):
        if activation == "relu":
            x = conv(filters, activation="relu", expansion=expansion, name=f"body.{2 * k}")(x)
        else:
            x = prelu(conv(filters, expansion=expansion, name=f"body.{2 * k}")(x), f"body.{2 * k + 1}")
    last = f"body.{2 * blocks + 2}"
    # small: training starts at the nearest neighbours
    x = conv(channels * enlarged**2, gain=0.01, expansion=expansion, name=last)(x)
    x = layers.Add(dtype="float32")([x, repeated(lr, enlarged)])
    x = ops.depth_to_space(x, enlarged)
    if reduced_from is not None:
        x = CubicReduction(scale, reduced_from)(x)
    return keras.Model(lr, x, name="srvgg")


def published(tensors: Tensors) -> Published | None:
    """Recognises Real-ESRGAN's compact networks with PReLU; those with another activation don't say which."""
    layers_with_weights = count(tensors, r"body\.(\d+)\.weight")
    last = f"body.{layers_with_weights - 1}.weight"
    if "body.1.weight" not in tensors or tensors["body.1.weight"].ndim != 1 or last not in tensors:
        return None
    filters, channels = tensors["body.0.weight"].shape[:2]
    options = {
        "scale": root(tensors[last].shape[0], channels), "channels": channels, "filters": filters,
        "blocks": (layers_with_weights - 3) // 2,
    }  # fmt: skip
    return Published(options, dict(tensors))


def published_ncnn(graph: Sequence[Layer]) -> Published | None:
    """Recognises the same in an ncnn file, with the cubic reduction of animevideov3's x2 and x3 behind it."""
    chain = r"(conv3:in prelu (?:conv3 prelu )*)conv3 shuffle(\d) nearest\2:in add:0,0 (?:cubic([\d.]+) )?"
    match = re.fullmatch(chain, words(graph))
    if match is None:
        return None
    parts = match[1].count("conv3") * 2 + 1
    found = published(named(graph, [f"body.{k}" for k in range(parts)]))
    enlarged = int(match[2])
    if found is None or found.options["scale"] != enlarged:
        return None
    if match[3] is None:
        return found
    scale = round(enlarged * float(match[3]))
    if abs(scale - enlarged * float(match[3])) > 1e-3:
        return None
    return Published({**found.options, "scale": scale, "reduced_from": enlarged}, found.tensors)
