"""RRDBNet (Wang et al., 2018): the generator of ESRGAN, residual blocks in residual dense blocks."""

import re
from collections.abc import Sequence

import keras
from keras import layers, ops

from sr_keras.layers.multiple import CropToSize, ReflectToMultiple
from sr_keras.models._blocks import conv, repeated
from sr_keras.models._ncnn import named, words
from sr_keras.models._published import Published, Tensors, count, renamed
from sr_keras.ncnn_file import Layer

_DENSE = 0.02  # He's start times 0.1, as published


def build(
    *, scale: int, channels: int = 3, filters: int = 64, growth: int = 32, blocks: int = 23, unshuffle: bool = True
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 1809.00219).

    It enlarges its features four times. For a scale of 2 or 1 it takes 2x2 or 4x4 pixels as one of more
    channels, as Real-ESRGAN does (arXiv 2107.10833); a picture of another size is continued by reflection, and the
    result cut. Without `unshuffle` it enlarges as many times as the scale says. `blocks` is 23 in
    RealESRGAN_x4plus (16,697,987 parameters at x4), 6 in its anime_6B (4,467,779).

    Raises:
        ValueError: if `scale` is not 1, 2 or 4; without `unshuffle`, 1, 2, 4 or 8.
    """
    known = (1, 2, 4) if unshuffle else (1, 2, 4, 8)
    if scale not in known:
        raise ValueError(f"scale must be {', '.join(map(str, known[:-1]))} or {known[-1]} here, got {scale}; try 4.")
    together = 4 // scale if unshuffle else 1
    x = lr = keras.Input((None, None, channels), name="lr")
    if together > 1:
        x = ops.space_to_depth(ReflectToMultiple(together)(x), together)
    x = head = _conv(filters, "conv_first")(x)
    for block in range(blocks):
        x = _residual_in_residual(x, filters, growth, f"body.{block}")
    x = _conv(filters, "conv_body")(x)
    x = layers.Add()([x, head])
    for step in range(1, (scale * together).bit_length()):
        x = layers.LeakyReLU(0.2)(_conv(filters, f"conv_up{step}")(ops.depth_to_space(repeated(x, 2), 2)))
    x = layers.LeakyReLU(0.2)(_conv(filters, "conv_hr")(x))
    x = _conv(channels, "conv_last", dtype="float32")(x)
    if together > 1:
        x = CropToSize(scale, dtype="float32")([x, lr])
    return keras.Model(lr, x, name="rrdbnet")


def _residual_in_residual(x, filters: int, growth: int, name: str):
    skip = x
    for block in (1, 2, 3):
        x = _residual_dense(x, filters, growth, f"{name}.rdb{block}")
    return _scaled_sum(skip, x)


def _residual_dense(x, filters: int, growth: int, name: str):
    skip = x
    for k in range(1, 5):
        x = layers.Concatenate()([x, layers.LeakyReLU(0.2)(conv(growth, gain=_DENSE, name=f"{name}.conv{k}")(x))])
    return _scaled_sum(skip, conv(filters, gain=_DENSE, name=f"{name}.conv5")(x))


def _scaled_sum(skip, x):
    return layers.Add()([skip, layers.Rescaling(0.2)(x)])


def _conv(filters: int, name: str, *, dtype: str | None = None) -> layers.Conv2D:
    return conv(filters, gain=1 / 3, dtype=dtype, name=name)  # PyTorch's own start, which the published code leaves


def published(tensors: Tensors) -> Published | None:
    """Recognises ESRGAN's weights by the names of its first code, of its later, of BSRGAN and of BasicSR."""
    if "model.1.sub.0.RDB1.conv1.0.weight" in tensors:
        blocks, convolutions = (count(tensors, rf"model\.{part}") for part in (r"1\.sub\.(\d+)\.RDB", r"(\d+)\.weight"))
        tensors = renamed(tensors, *_first_names(blocks, steps=convolutions - 3))
    tensors = renamed(
        tensors, (r"RRDB_trunk\.(\d+)\.RDB", r"body.\1.rdb"), (r"trunk_conv\.", "conv_body."),
        (r"upconv(\d)\.", r"conv_up\1."), (r"HRconv\.", "conv_hr."),
    )  # fmt: skip
    if "body.0.rdb1.conv1.weight" not in tensors or "conv_body.weight" not in tensors:
        return None
    filters, channels = tensors["conv_first.weight"].shape[0], tensors["conv_last.weight"].shape[0]
    together = {1: 1, 4: 2, 16: 4}[tensors["conv_first.weight"].shape[1] // channels]
    enlarged = 2 ** count(tensors, r"conv_up(\d)\.")
    if together > 1 and enlarged != 4:
        return None
    options = {
        "scale": enlarged // together, "channels": channels, "filters": filters,
        "growth": tensors["body.0.rdb1.conv1.weight"].shape[0], "blocks": count(tensors, r"body\.(\d+)\."),
        "unshuffle": enlarged == 4,
    }  # fmt: skip
    return Published(options, tensors)


def _first_names(blocks: int, steps: int) -> list[tuple[str, str]]:
    """Returns the rules for names by places in a list, two activations and `steps` enlargements among them."""
    up = [(rf"model\.{3 * step}\.", f"conv_up{step}.") for step in range(1, min(steps, 9) + 1)]
    return [
        (r"model\.0\.", "conv_first."), (rf"model\.1\.sub\.{blocks}\.", "conv_body."),
        (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."), *up,
        (rf"model\.{3 * steps + 2}\.", "conv_hr."), (rf"model\.{3 * steps + 4}\.", "conv_last."),
    ]  # fmt: skip


def published_ncnn(graph: Sequence[Layer]) -> Published | None:
    """Recognises the same in an ncnn file."""
    ages = ("1,0", "2,1,0", "3,2,1,0", "4,3,2,1,0")
    dense = "".join(f"conv3 leaky0.2 concat:{age} " for age in ages) + "conv3 sum0.2,1:0,5 "
    block = re.escape(dense * 3 + "sum0.2,1:0,15 ")
    up = r"(?:nearest2 conv3 leaky0\.2 )*"
    match = re.fullmatch(
        rf"conv3:in ((?:{block})+)conv3 add:(?:\d+,0|0,\d+) ({up})conv3 leaky0\.2 conv3 ", words(graph)
    )
    if match is None:
        return None
    blocks, steps = match[1].count("conv3") // 15, match[2].count("conv3")
    body = [f"body.{k}.rdb{dense}.conv{c}" for k in range(blocks) for dense in (1, 2, 3) for c in range(1, 6)]
    up = [f"conv_up{k + 1}" for k in range(steps)]
    return published(named(graph, ["conv_first", *body, "conv_body", *up, "conv_hr", "conv_last"]))
