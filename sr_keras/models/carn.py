"""CARN (Ahn et al., 2018): residual blocks in two levels of cascades, each of which sees all before it."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from sr_keras.layers.grouped_conv import GroupedConv2D
from sr_keras.models._blocks import DIV2K_MEAN, conv, into_range, mean_of, out_of_range, upsampling_steps
from sr_keras.models._published import Published, Tensors, renamed, upsampled, without, without_mean_shift


def build(*, scale: int, channels: int = 3, filters: int = 64, recursive: bool = False, groups: int = 1) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 1803.08664).

    The defaults are the paper's CARN, 964,163 parameters at x2 and 1,111,875 at x4; the paper's 1,592 thousand are of
    one network with the upsamplers of x2, x3 and x4. CARN-M is `recursive`, its cascades calling one block three times,
    with 4 `groups` in the convolutions of blocks and upsampler: 257,027 and 294,147 parameters. Without `recursive`
    the upsampler alone has groups, as in the authors' code. With three channels the mean of DIV2K is taken off and put
    back.

    Raises:
        ValueError: if `scale` is neither 3 nor a power of two, or `filters` no multiple of `groups`.
    """
    steps = upsampling_steps(scale)
    if groups < 1 or filters % groups:
        raise ValueError(f"filters must be a multiple of groups, got {filters} and {groups}; try 64 and 4.")
    mean = mean_of(channels)
    lr = keras.Input((None, None, channels), name="lr")
    x = conv(filters, gain=1.0, name="entry")(into_range(lr, 1.0, mean))
    cascades = [_cascade(filters, f"b{k}.", _blocks(filters, recursive, groups, f"b{k}")) for k in (1, 2, 3)]
    x = _cascade(filters, "", cascades)(x)
    for k, step in enumerate(steps):
        x = _grouped(filters * step**2, groups, f"upsample.up.body.{3 * k}")(x)
        x = _shuffled(x, step, groups)
    x = conv(channels, gain=1.0, dtype="float32", name="exit")(x)
    return keras.Model(lr, out_of_range(x, 1.0, mean), name="carn")


def _shuffled(x, step: int, groups: int):
    """Enlarges the channels of each group for itself, as PyTorch's order of channels does."""
    if groups == 1:
        return ops.depth_to_space(x, step)
    parts: Any = ops.split(x, groups, axis=-1)
    return layers.Concatenate()([ops.depth_to_space(part, step) for part in parts])


def _cascade(filters: int, name: str, blocks: list[Callable]) -> Callable:
    def apply(x):
        seen = x
        for k, block in enumerate(blocks, start=1):
            seen = layers.Concatenate()([seen, block(x)])
            x = conv(filters, 1, activation="relu", name=f"{name}c{k}.body.0")(seen)
        return x

    return apply


def _blocks(filters: int, recursive: bool, groups: int, name: str) -> list[Callable]:
    if not recursive:
        return [
            _residual([conv(filters, activation="relu", name=f"{name}.b{k}.body.0"),
                       conv(filters, gain=0.02, name=f"{name}.b{k}.body.2")])
            for k in (1, 2, 3)
        ]  # fmt: skip
    shared = [_grouped(filters, groups, f"{name}.b1.body.{k}") for k in (0, 2)]
    return [_residual([*shared, conv(filters, 1, gain=0.02, name=f"{name}.b1.body.4")])] * 3


def _residual(convolutions: list[layers.Layer]) -> Callable:
    def apply(x):
        skip = x
        for convolution in convolutions:
            x = convolution(x)
        return layers.ReLU()(layers.Add()([x, skip]))

    return apply


def _grouped(filters: int, groups: int, name: str) -> layers.Layer:
    if groups == 1:
        return conv(filters, activation="relu", name=name)
    return GroupedConv2D(filters, 3, groups, activation="relu", kernel_initializer="he_normal", name=name)


def published(tensors: Tensors, scale: int | None = None) -> Published | None:
    """Recognises the authors' weights. Of a file for several scales it takes the given one, else the largest."""
    if "b1.c1.body.0.weight" not in tensors or "c3.body.0.weight" not in tensors:
        return None
    tensors, notes = _for_one_scale(renamed(tensors, (r"(sub|add)_mean\.shifter\.", r"\1_mean.")), scale)
    tensors, shift = without_mean_shift(tensors, np.array(DIV2K_MEAN))
    filters, channels = tensors["entry.weight"].shape[:2]
    options = {
        "scale": upsampled(tensors, r"upsample\.up\.body\.\d+\.weight", "exit.weight"), "channels": channels,
        "filters": filters, "recursive": "b1.b1.body.4.weight" in tensors,
        "groups": filters // tensors["upsample.up.body.0.weight"].shape[1],
    }  # fmt: skip
    return Published(options, tensors, (*shift, *notes))


def _for_one_scale(tensors: dict[str, np.ndarray], scale: int | None) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    scales = [each for each in (2, 3, 4) if f"upsample.up{each}.body.0.weight" in tensors]
    if not scales:
        return tensors, ()
    chosen = scale if scale in scales else scales[-1]
    left_out = [f"x{other}" for other in scales if other != chosen]
    for other in left_out:
        without(tensors, rf"upsample\.up{other[1:]}\..*")
    notes = (
        (f"the upsampler of x{chosen} is taken, those of {' and '.join(left_out)} are left out",) if left_out else ()
    )
    return renamed(tensors, (rf"upsample\.up{chosen}\.", "upsample.up.")), notes
