"""SRCNN (Dong et al., 2014): cubic enlargement, then patch extraction, mapping and reconstruction."""

from typing import Literal

import keras

from sr_keras.layers.resize import Bicubic
from sr_keras.models._blocks import conv
from sr_keras.models._published import Published, Tensors, renamed


def build(*, scale: int, channels: int = 3, filters: int = 64, middle_kernel: Literal[1, 3, 5] = 5) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`; 9-5-5, or 9-1-5 with `middle_kernel=1`.

    57,281 and 8,129 parameters for one channel, as in the paper (arXiv 1501.00092); its second layer has half as many
    filters as the first.

    Raises:
        ValueError: if `scale` is below 2.
    """
    lr = keras.Input((None, None, channels), name="lr")
    x = Bicubic(scale)(lr)
    x = conv(filters, 9, activation="relu", name="conv1")(x)
    x = conv(filters // 2, middle_kernel, activation="relu", name="conv2")(x)
    x = conv(channels, 5, gain=1.0, dtype="float32", name="conv3")(x)
    return keras.Model(lr, x, name="srcnn")


def published(tensors: Tensors, scale: int | None = None) -> Published | None:
    """Recognises the weights of yjn870 and Lornatang.

    They take a picture that is enlarged already, and no tensor tells the scale: unless `scale` is given, 2 is taken.
    """
    if len(tensors) != 6:
        return None
    found = renamed(
        tensors, (r"features\.0\.", "conv1."), (r"map\.0\.", "conv2."), (r"reconstruction\.", "conv3.")
    )  # fmt: skip
    if found.keys() != {f"conv{k}.{part}" for k in (1, 2, 3) for part in ("weight", "bias")}:
        return None
    kernels = [found[f"conv{k}.weight"].shape for k in (1, 2, 3)]
    if [kernel[2] for kernel in kernels[::2]] != [9, 5]:
        return None
    options = {
        "scale": scale or 2, "channels": kernels[0][1], "filters": kernels[0][0], "middle_kernel": kernels[1][2],
    }  # fmt: skip
    note = "the weights are for pictures that are enlarged already, by a scale they don't tell; here they enlarge x2"
    return Published(options, found, () if scale else (note,))
