"""IMDN (Hui et al., 2019): each convolution hands a quarter of its channels on, and goes on with the rest."""

import keras
from keras import layers, ops

from sr_keras.models._blocks import check_scale, contrast_attention, conv
from sr_keras.models._published import Published, Tensors, count, root


def build(
    *, scale: int, channels: int = 3, filters: int = 64, blocks: int = 6, attention_filters: int = 4
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 1909.11856).

    The defaults are the paper's network, 694,404 parameters at x2, 703,059 at x3 and 715,176 at x4; its weights are in
    github.com/Zheng222/IMDN. The attention weighs channels by their contrast in the whole picture.

    Raises:
        ValueError: if `scale` is below 2, or `filters` is no multiple of 4.
    """
    check_scale(scale)
    if filters % 4:
        raise ValueError(f"filters must be a multiple of 4 here, got {filters}; try {filters // 4 * 4 + 4}.")
    lr = keras.Input((None, None, channels), name="lr")
    x = head = conv(filters, gain=1.0, name="fea_conv")(lr)
    found = []
    for block in range(1, blocks + 1):
        x = _block(x, filters, attention_filters, f"IMDB{block}")
        found.append(x)
    x = layers.LeakyReLU(0.05)(conv(filters, 1, name="c.0")(layers.Concatenate()(found)))
    x = layers.Add()([conv(filters, gain=1.0, name="LR_conv")(x), head])
    x = conv(channels * scale**2, gain=1.0, dtype="float32", name="upsampler.0")(x)
    return keras.Model(lr, ops.depth_to_space(x, scale), name="imdn")


def _block(x, filters: int, attention_filters: int, name: str):
    skip, distilled = x, []
    for k in (1, 2, 3):
        x = layers.LeakyReLU(0.05)(conv(filters, name=f"{name}.c{k}")(x))
        quarter, x = list(ops.split(x, [filters // 4], axis=-1))
        distilled.append(quarter)
    distilled.append(conv(filters // 4, gain=1.0, name=f"{name}.c4")(x))
    x = contrast_attention(layers.Concatenate()(distilled), attention_filters, f"{name}.cca")
    return layers.Add()([conv(filters, 1, gain=1.0, name=f"{name}.c5")(x), skip])


def published(tensors: Tensors) -> Published | None:
    """Recognises the authors' weights."""
    if "IMDB1.cca.conv_du.0.weight" not in tensors or "LR_conv.weight" not in tensors:
        return None
    filters, channels = tensors["fea_conv.weight"].shape[:2]
    options = {
        "scale": root(tensors["upsampler.0.weight"].shape[0], channels), "channels": channels, "filters": filters,
        "blocks": count(tensors, r"IMDB(\d+)\."),
        "attention_filters": tensors["IMDB1.cca.conv_du.0.weight"].shape[0],
    }  # fmt: skip
    return Published(options, dict(tensors))
