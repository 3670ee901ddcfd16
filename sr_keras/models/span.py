"""SPAN (Wan et al., 2024): attention without parameters, a symmetric function of the very features it weighs."""

import re
from functools import partial

import keras
import numpy as np
from keras import layers, ops

from sr_keras.models._blocks import DIV2K_MEAN, check_scale, conv, into_range, mean_of
from sr_keras.models._published import Published, Tensors, count, root, without


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 52,
    blocks: int = 6,
    pixel_range: float = 1.0,
    mean: tuple[float, ...] | None = (),
    expansion: int = 0,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 2311.12770).

    The defaults are the paper's network, 481,324 parameters at x2, 488,359 at x3 and 498,208 at x4; SPAN-S has 48
    filters, 410,700 at x2. The authors' weights (github.com/hongyuanyu/SPAN) take `mean` off what comes in and multiply
    it by a `pixel_range` of 255; what goes out is in [0, 1] all the same. They were trained with three convolutions and
    a skip for each of 3x3, which `published` merges; ours is trained as a wide block by an `expansion`
    (`layers.collapsible_conv`).

    Raises:
        ValueError: if `scale` is below 2, or `mean` has another length than 0 or `channels`.
    """
    check_scale(scale)
    mean = mean_of(channels, mean)
    wide = partial(conv, filters, expansion=expansion)
    lr = keras.Input((None, None, channels), name="lr")
    x = into_range(lr, pixel_range, mean)
    x = first = inner = head = wide(gain=1.0, name="conv_1")(x)
    for block in range(1, blocks + 1):
        x, inner = _block(x, wide, f"block_{block}")
        first = x if block == 1 else first
    x = wide(gain=1.0, name="conv_2")(x)
    x = layers.Concatenate()([head, x, first, inner])
    x = conv(filters, 1, gain=1.0, name="conv_cat")(x)
    x = conv(channels * scale**2, gain=1.0, dtype="float32", name="upsampler.0")(x)
    return keras.Model(lr, ops.depth_to_space(x, scale), name="span")


def _block(x, wide, name: str):
    skip = x
    x = inner = layers.Activation("silu")(wide(name=f"{name}.c1_r")(x))  # the authors' SiLU works in place: it goes out
    x = layers.Activation("silu")(wide(name=f"{name}.c2_r")(x))
    x = wide(gain=1.0, name=f"{name}.c3_r")(x)
    # A sigmoid less 0.5, written so that bfloat16 does not round it at 0.5.
    weights = layers.Rescaling(0.5)(layers.Activation("tanh")(layers.Rescaling(0.5)(x)))
    return layers.Multiply()([layers.Add()([x, skip]), weights]), inner


def published(tensors: Tensors) -> Published | None:
    """Recognises the authors' weights, before and after their three branches were merged."""
    first = {"block_1.c1_r.sk.weight", "block_1.c1_r.eval_conv.weight"}
    if "conv_cat.weight" not in tensors or not first & set(tensors):
        return None
    plain, notes = dict(tensors), []
    raw = bool(without(plain, "no_norm"))
    if raw:
        notes.append("'no_norm' says that pixels go in as they are")
    branched = [name.removesuffix(".sk.weight") for name in plain if name.endswith(".sk.weight")]
    for name in branched:
        merged = _merged(plain, name)
        without(plain, rf"{re.escape(name)}\.(sk|conv\.[012])\.(weight|bias)")
        plain |= merged
    if branched:
        notes.append(
            f"{len(branched)} convolutions were made of their branches; the eval_conv beside them is not needed"
        )
    plain = {name.replace(".eval_conv.", "."): tensor for name, tensor in plain.items()}
    filters, channels = plain["conv_1.weight"].shape[:2]
    options = {
        "scale": root(plain["upsampler.0.weight"].shape[0], channels), "channels": channels, "filters": filters,
        "blocks": count(plain, r"block_(\d+)\."), **({} if raw else {"pixel_range": 255.0, "mean": DIV2K_MEAN}),
    }  # fmt: skip
    return Published(options, plain, tuple(notes))


def _merged(tensors: Tensors, name: str) -> dict[str, np.ndarray]:
    """Multiplies out 1x1, 3x3, 1x1 and adds the 1x1 beside them: one 3x3 convolution in place of `eval_conv`, float64.

    As in the authors' own, the picture is continued with zeros, where the branches have the first one's bias.
    """
    parts = [f"{name}.{part}" for part in ("conv.0", "conv.1", "conv.2", "sk")]
    first, middle, last, skip = (tensors[f"{part}.weight"].astype(np.float64) for part in parts)
    first, last, skip = (kernel.squeeze((2, 3)) for kernel in (first, last, skip))
    if skip.shape != (len(last), first.shape[1]) or middle.shape != (last.shape[1], len(first), 3, 3):
        raise ValueError(f"the branches of '{name}' don't fit each other")
    b_first, b_middle, b_last, b_skip = (tensors[f"{part}.bias"].astype(np.float64) for part in parts)
    kernel = np.einsum("op,pmyx,mi->oiyx", last, middle, first, optimize=True)
    kernel[:, :, 1, 1] += skip
    bias = last @ (np.einsum("pmyx,m->p", middle, b_first) + b_middle) + b_last + b_skip
    return {f"{name}.eval_conv.weight": kernel, f"{name}.eval_conv.bias": bias}
