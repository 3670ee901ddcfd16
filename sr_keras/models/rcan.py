"""RCAN (Zhang et al., 2018): residual blocks in residual groups, their channels weighed by the whole picture."""

import keras
import numpy as np
from keras import layers

from sr_keras.errors import InputError
from sr_keras.models._blocks import DIV2K_MEAN, conv, into_range, mean_of, out_of_range, subpixel, upsampling_steps
from sr_keras.models._published import Published, Tensors, count, renamed, upsampled, without_mean_shift

_DF2K_MEAN = (0.4690, 0.4490, 0.4036)  # of DIV2K's and Flickr2K's training pictures


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 64,
    attention_filters: int = 4,
    residual_groups: int = 10,
    blocks: int = 20,
    mean: tuple[float, ...] | None = None,
    pixel_range: float = 1.0,
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 1807.02758).

    The defaults are the paper's network, 15,444,643 parameters at x2 and 15,592,355 at x4: `residual_groups` of
    `blocks`, in each of which the means of the channels go through `attention_filters`. `mean` is taken off and put
    back: DIV2K's, if it is not given and there are three channels. The published weights have a `pixel_range` of 255.
    The weights of channels are those of the whole picture, so no tile gives the whole picture's pixels.

    Raises:
        ValueError: if `scale` is neither 3 nor a power of two, or `mean` has another length than 0 or `channels`.
    """
    steps = upsampling_steps(scale)
    mean = mean_of(channels, mean)
    lr = keras.Input((None, None, channels), name="lr")
    x = head = conv(filters, gain=1.0, name="conv_first")(into_range(lr, pixel_range, mean))
    for group in range(residual_groups):
        x = _group(x, attention_filters, blocks, f"body.{group}")
    x = layers.Add()([conv(filters, gain=1.0, name="conv_after_body")(x), head])
    for k, step in enumerate(steps):
        x = subpixel(x, step, filters, f"upsample.{2 * k}")
    x = conv(channels, gain=1.0, dtype="float32", name="conv_last")(x)
    return keras.Model(lr, out_of_range(x, pixel_range, mean), name="rcan")


def _group(x, attention_filters: int, blocks: int, name: str):
    skip, filters = x, x.shape[-1]
    for block in range(blocks):
        x = _block(x, attention_filters, f"{name}.residual_group.{block}.rcab")
    return layers.Add()([conv(filters, gain=0.02, name=f"{name}.conv")(x), skip])


def _block(x, attention_filters: int, name: str):
    skip, filters = x, x.shape[-1]
    x = conv(filters, activation="relu", name=f"{name}.0")(x)
    x = conv(filters, gain=0.02, name=f"{name}.2")(x)
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = conv(attention_filters, 1, activation="relu", name=f"{name}.3.attention.1")(weights)
    weights = conv(filters, 1, gain=1.0, activation="sigmoid", name=f"{name}.3.attention.3")(weights)
    return layers.Add()([layers.Multiply()([x, weights]), skip])


def published(tensors: Tensors) -> Published | None:
    """Recognises RCAN's weights by the names of the authors, EDSR-PyTorch and spandrel, and by BasicSR's.

    Their pixels are in 0..255. Files of spandrel's kind without a mean have pixels in [0, 1].
    """
    mean, pixel_range = DIV2K_MEAN, 255.0
    notes: tuple[str, ...] = ()
    if "body.0.body.0.body.3.conv_du.0.weight" in tensors:
        tensors = renamed(
            tensors, (r"head\.0\.", "conv_first."), (r"tail\.0\.", "upsample."), (r"tail\.1\.", "conv_last."),
            (r"body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.0\.", r"body.\1.residual_group.\2.rcab.3.attention.1."),
            (r"body\.(\d+)\.body\.(\d+)\.body\.3\.conv_du\.2\.", r"body.\1.residual_group.\2.rcab.3.attention.3."),
            (r"body\.(\d+)\.body\.(\d+)\.body\.", r"body.\1.residual_group.\2.rcab."),
            (r"body\.(\d+)\.body\.\d+\.(?=weight|bias)", r"body.\1.conv."),
            (r"body\.\d+\.(?=weight|bias)", "conv_after_body."),
        )  # fmt: skip
        if "add_mean.bias" in tensors:
            shift = tensors["add_mean.bias"].astype(np.float64)
            pixel_range = 255.0 if shift.max() > 1.0 else 1.0
            mean = _DF2K_MEAN if np.allclose(shift / pixel_range, _DF2K_MEAN, atol=1e-3) else DIV2K_MEAN
            tensors, _ = without_mean_shift(tensors, np.multiply(mean, pixel_range))
            notes = (f"sub_mean and add_mean: a mean colour of {mean}, fixed in the network",)
        else:
            mean, pixel_range = (), 1.0
    if "body.0.residual_group.0.rcab.3.attention.1.weight" not in tensors:
        return None
    filters, channels = tensors["conv_first.weight"].shape[:2]
    if len(mean) not in (0, channels):
        return None
    groups = count(tensors, r"body\.(\d+)\.residual_group\.")
    blocks = count(tensors, r"body\.0\.residual_group\.(\d+)\.")
    if sum(name.endswith(".rcab.3.attention.1.weight") for name in tensors) != groups * blocks:
        raise InputError("this RCAN's groups differ in blocks, and it can't be imported.")
    options = {
        "scale": upsampled(tensors, r"upsample\.\d+\.weight", "conv_last.weight"), "channels": channels,
        "filters": filters, "residual_groups": groups, "blocks": blocks,
        "attention_filters": tensors["body.0.residual_group.0.rcab.3.attention.1.weight"].shape[0],
        "mean": mean, "pixel_range": pixel_range,
    }  # fmt: skip
    return Published(options, tensors, notes)
