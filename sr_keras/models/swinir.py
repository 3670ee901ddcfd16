"""SwinIR (Liang et al., 2021): attention within windows that are shifted from block to block, and few convolutions."""

from typing import Literal

import keras
import numpy as np
from keras import layers, ops

from sr_keras.errors import InputError
from sr_keras.layers.gelu import Gelu
from sr_keras.layers.multiple import CropToSize, ReflectToMultiple
from sr_keras.layers.window_attention import WindowAttention, relative_position_index, shift_mask
from sr_keras.models._blocks import (
    check_scale,
    conv,
    into_range,
    mean_of,
    out_of_range,
    repeated,
    subpixel,
    upsampling_steps,
)
from sr_keras.models._published import Published, Tensors, count, root, upsampled, without


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 60,
    residual_groups: int = 4,
    blocks: int = 6,
    heads: int = 6,
    window: int = 8,
    mlp_ratio: float = 2.0,
    upsampler: Literal["pixelshuffledirect", "pixelshuffle", "nearest+conv"] = "pixelshuffledirect",
    upsampler_filters: int = 64,
    resi_connection: Literal["1conv", "3conv"] = "1conv",
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 2108.10257).

    The defaults are the lightweight network, 910,152 parameters at x2, 918,267 at x3 and 929,628 at x4; the paper's
    878K, 886K and 897K leave out the tables of biases, 32,400. The classical network has 180 filters, 6 residual
    groups and `pixelshuffle` (11.8M at x2); the real-world one `nearest+conv`, its large form 240 filters, 9 groups, 8
    heads and `3conv` too. A picture is continued by reflection to multiples of `window`, and the result cut. Of three
    channels the mean of DIV2K is taken off and put back. There is no stochastic depth in training.

    Raises:
        ValueError: if `scale` is below 2, or with another upsampler than the default's neither 3 nor a power of two (a
            power of two for `nearest+conv`); if `filters` is no multiple of `heads`.
    """
    check_scale(scale)
    if heads < 1 or filters % heads:
        raise ValueError(f"filters must be a multiple of heads, got {filters} and {heads}; try 60 and 6.")
    mean = mean_of(channels)
    lr = keras.Input((None, None, channels), name="lr")
    x = into_range(ReflectToMultiple(window, dtype="float32")(lr), 1.0, mean)
    x = head = conv(filters, gain=1.0, name="conv_first")(x)
    x = _norm(x, "patch_embed.norm")
    for group in range(residual_groups):
        skip = x
        for block in range(blocks):
            name, shift = f"layers.{group}.residual_group.blocks.{block}", window // 2 * (block % 2)
            attention = WindowAttention(window, heads, shift, halved=block < blocks - 1, name=f"{name}.attn")
            x = _block(x, attention, round(filters * mlp_ratio), name)
        x = layers.Add()([_connection(x, resi_connection, f"layers.{group}.conv"), skip])
    x = _connection(_norm(x, "norm"), resi_connection, "conv_after_body")
    x = layers.Add()([x, head])
    x = _enlarged(x, scale, channels, upsampler, upsampler_filters)
    x = CropToSize(scale, dtype="float32")([out_of_range(x, 1.0, mean), lr])
    return keras.Model(lr, x, name="swinir")


def _block(x, attention: WindowAttention, hidden: int, name: str):
    filters, skip = x.shape[-1], x
    x = _linear(_norm(x, f"{name}.norm1"), 3 * filters, f"{name}.attn.qkv")
    x = skip = layers.Add()([_linear(attention(x), filters, f"{name}.attn.proj"), skip])
    x = Gelu()(_linear(_norm(x, f"{name}.norm2"), hidden, f"{name}.mlp.fc1"))
    return layers.Add()([_linear(x, filters, f"{name}.mlp.fc2"), skip])


def _norm(x, name: str):
    return layers.LayerNormalization(epsilon=1e-5, name=name)(x)


def _linear(x, filters: int, name: str):
    return conv(filters, 1, gain=0.02**2 * x.shape[-1], name=name)(x)  # a standard deviation of 0.02, as published


def _connection(x, kind: str, name: str):
    if kind == "1conv":
        return conv(x.shape[-1], gain=1.0, name=name)(x)
    filters = x.shape[-1]
    x = layers.LeakyReLU(0.2)(conv(filters // 4, name=f"{name}.0")(x))
    x = layers.LeakyReLU(0.2)(conv(filters // 4, 1, name=f"{name}.2")(x))
    return conv(filters, gain=1.0, name=f"{name}.4")(x)


def _enlarged(x, scale: int, channels: int, upsampler: str, filters: int):
    if upsampler == "pixelshuffledirect":
        return ops.depth_to_space(conv(channels * scale**2, gain=1.0, dtype="float32", name="upsample.0")(x), scale)
    if upsampler == "nearest+conv" and scale == 3:
        raise ValueError("scale must be a power of two for nearest+conv, got 3; try 4.")
    steps = upsampling_steps(scale)
    x = layers.LeakyReLU(0.01)(conv(filters, name="conv_before_upsample.0")(x))
    for k, step in enumerate(steps):
        if upsampler == "pixelshuffle":
            x = subpixel(x, step, filters, f"upsample.{2 * k}")
        else:
            x = ops.depth_to_space(repeated(x, 2), 2)
            x = layers.LeakyReLU(0.2)(conv(filters, name=f"conv_up{k + 1}")(x))
    if upsampler == "nearest+conv":
        x = layers.LeakyReLU(0.2)(conv(filters, name="conv_hr")(x))
    return conv(channels, gain=1.0, dtype="float32", name="conv_last")(x)


_LARGEST_WINDOW = 32  # published networks have 7, 8 and 16
_BLOCK = "layers.0.residual_group.blocks.0."
_IN_BLOCK = {f"{layer}.{part}" for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
             for part in ("weight", "bias")} | {"attn.relative_position_bias_table"}  # fmt: skip


def published(tensors: Tensors) -> Published | None:
    """Recognises the authors' weights for super-resolution, with their buffers or without."""
    found = dict(tensors)
    inside = {name.removeprefix(_BLOCK) for name in found if name.startswith(_BLOCK)}
    ends = any(name.startswith("conv_after_body.") for name in found)
    if not ends or inside - {"attn.relative_position_index"} != _IN_BLOCK:
        return None
    _refuse_variants(found)
    table = found[f"{_BLOCK}attn.relative_position_bias_table"]
    window, heads = (round(len(table) ** 0.5) + 1) // 2, table.shape[1]
    notes = _without_buffers(found, window)
    filters, channels = found["conv_first.weight"].shape[:2]
    groups, blocks = count(found, r"layers\.(\d+)\."), count(found, r"layers\.0\.residual_group\.blocks\.(\d+)\.")
    tables = [tensor.shape for name, tensor in found.items() if name.endswith(".relative_position_bias_table")]
    if window > _LARGEST_WINDOW:  # attention takes its fourth power of memory
        raise InputError(f"this SwinIR's windows of {window}x{window} are too large; {_LARGEST_WINDOW} are taken.")
    if len(tables) != groups * blocks or set(tables) != {table.shape}:
        raise InputError("this SwinIR's groups differ in blocks, heads or windows, and it can't be imported.")
    options = {
        "channels": channels, "filters": filters, "residual_groups": groups, "blocks": blocks,
        "heads": heads, "window": window, "mlp_ratio": found[f"{_BLOCK}mlp.fc1.weight"].shape[0] / filters,
        "resi_connection": "1conv" if "conv_after_body.weight" in found else "3conv",
    }  # fmt: skip
    for name in [name for name, tensor in found.items() if name.endswith(".weight") and tensor.ndim == 2]:
        found[name] = found[name][:, :, None, None]  # linear layers are 1x1 convolutions here
    return Published({**options, **_upsampling(found, channels)}, found, notes)


def _upsampling(found: Tensors, channels: int) -> dict[str, object]:
    if "conv_before_upsample.0.weight" not in found:
        return {"scale": root(len(found["upsample.0.weight"]), channels), "upsampler": "pixelshuffledirect"}
    filters = len(found["conv_before_upsample.0.weight"])
    if "conv_up1.weight" in found:
        scale = 2 ** count(found, r"conv_up(\d+)\.")
        return {"scale": scale, "upsampler": "nearest+conv", "upsampler_filters": filters}
    scale = upsampled(found, r"upsample\.\d+\.weight", "conv_last.weight")
    return {"scale": scale, "upsampler": "pixelshuffle", "upsampler_filters": filters}


def _refuse_variants(found: Tensors) -> None:
    if "absolute_pos_embed" in found:
        raise InputError("this SwinIR has an absolute_pos_embed, for one size of picture only, and can't be imported.")
    if "conv_first.1.weight" in found:
        raise InputError("this SwinIR takes squares of pixels as one (conv_first.1) and can't be imported.")
    if not any(name.startswith(("upsample.", "conv_before_upsample.")) for name in found):
        raise InputError("this SwinIR enlarges nothing (denoising, JPEG) and can't be imported; give one for SR.")


def _without_buffers(found: dict[str, np.ndarray], window: int) -> tuple[str, ...]:
    """Takes out what is computed here, from the window's and the picture's size, once it has been checked."""
    indices = without(found, r".*\.attn\.relative_position_index")
    masks = without(found, r".*\.attn_mask")
    for index in indices:  # the shape first, lest a larger index than the file's is made
        if index.shape != (window**2,) * 2 or not np.array_equal(index, relative_position_index(window)):
            raise InputError("this SwinIR's relative_position_index is not the authors', and it can't be imported.")
    if indices and not masks and any(".blocks.1." in name for name in found):
        raise InputError("this SwinIR was made without shifted windows (it has no attn_mask) and can't be imported.")
    for mask in masks:
        across = round(len(mask) ** 0.5)
        if mask.shape != (across**2, window**2, window**2) or not np.array_equal(mask, shift_mask(across, window)):
            raise InputError("this SwinIR's attn_mask is not that of windows shifted by half; it can't be imported.")
    return ("attn_mask, relative_position_index: computed from the picture's size",) if indices or masks else ()
