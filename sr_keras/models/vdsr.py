"""VDSR (Kim et al., 2016): twenty convolutions learn what is missing from the cubic enlargement."""

import keras
from keras import layers

from sr_keras.layers.resize import Bicubic
from sr_keras.models._blocks import conv
from sr_keras.models._published import Published, Tensors, count, renamed


def build(*, scale: int, channels: int = 3, filters: int = 64, depth: int = 20, use_bias: bool = True) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`.

    `depth` counts the convolutions (arXiv 1511.04587); the weights in circulation have no biases.

    Raises:
        ValueError: if `scale` is below 2.
    """
    lr = keras.Input((None, None, channels), name="lr")
    x = enlarged = Bicubic(scale)(lr)
    for name in ("input", *(f"residual_layer.{k}.conv" for k in range(depth - 2))):
        x = conv(filters, activation="relu", use_bias=use_bias, name=name)(x)
    # small: training starts at the cubic enlargement
    x = conv(channels, gain=0.01, use_bias=use_bias, name="output")(x)
    x = layers.Add(dtype="float32")([enlarged, x])
    return keras.Model(lr, x, name="vdsr")


def published(tensors: Tensors, scale: int | None = None) -> Published | None:
    """Recognises the weights of twtygqyy, in both versions, and of Lornatang.

    They take a picture that is enlarged already, and serve every scale: unless `scale` is given, 2 is taken.
    """
    depth = count(tensors, r"(?:features\.|residual_layer\.|trunk\.)(\d+)\.(?:conv\.)?weight")
    if "features.0.weight" in tensors:  # one Sequential with a ReLU behind each convolution
        if f"features.{2 * depth - 2}.weight" not in tensors or tensors["features.0.weight"].shape[2:] != (3, 3):
            return None
        rules = (
            (r"features\.0\.", "input."), (rf"features\.{2 * depth - 2}\.", "output."),
            (r"features\.(\d*[02468])\.", lambda match: f"residual_layer.{int(match[1]) // 2 - 1}.conv."),
        )  # fmt: skip
    else:
        depth += 2
        rules = ((r"conv1\.0\.", "input."), (r"trunk\.", "residual_layer."), (r"conv2\.", "output."))
    if depth < 3:
        return None
    found = renamed(tensors, *rules)
    if not {"input.weight", "residual_layer.0.conv.weight", "output.weight"} <= found.keys():
        return None
    filters, channels = found["input.weight"].shape[:2]
    if found["output.weight"].shape[:2] != (channels, filters):
        return None
    options = {
        "scale": scale or 2, "channels": channels, "filters": filters, "depth": depth,
        "use_bias": "input.bias" in found,
    }  # fmt: skip
    return Published(options, found, () if scale else ("the weights serve every scale; here they enlarge x2",))
