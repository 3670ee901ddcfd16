"""SRResNet (Ledig et al., 2017): the generator of SRGAN, residual blocks with batch normalisation; and without."""

import math
from typing import Literal

import keras
from keras import layers

from sr_keras.layers.resize import Bilinear
from sr_keras.models._blocks import conv, prelu, subpixel, upsampling_steps
from sr_keras.models._published import Published, Tensors, count, renamed, upsampled, without


def build(
    *,
    scale: int,
    channels: int = 3,
    filters: int = 64,
    blocks: int = 16,
    variant: Literal["original", "modified"] = "original",
) -> keras.Model:
    """Maps `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]` (arXiv 1609.04802).

    The `modified` one is the MSRResNet of ESRGAN's authors (arXiv 1809.00219, BasicSR): no batch normalisation, 3x3
    convolutions at both ends, two of them behind the enlargement, added to the linear enlargement; 1,517,571
    parameters at x4.

    Raises:
        ValueError: if `scale` is neither 3 nor a power of two.
    """
    steps = upsampling_steps(scale)
    lr = keras.Input((None, None, channels), name="lr")
    network = _original if variant == "original" else _modified
    return keras.Model(lr, network(lr, steps, filters, blocks), name="srresnet")


def _original(lr, steps: list[int], filters: int, blocks: int):
    x = head = prelu(conv(filters, 9, name="conv_block1.0")(lr), "conv_block1.1")
    for block in range(blocks):
        x = _residual_block(x, filters, f"trunk.{block}.rcb")
    x = _conv_norm(x, filters, "conv_block2", 0)
    x = layers.Add()([x, head])
    for k, step in enumerate(steps):
        name = f"upsampling.{k}.upsample_block"
        x = prelu(subpixel(x, step, filters, f"{name}.0"), f"{name}.2")
    return conv(lr.shape[-1], 9, gain=1.0, dtype="float32", name="conv_block3")(x)


def _residual_block(x, filters: int, name: str):
    skip = x
    x = prelu(_conv_norm(x, filters, name, 0), f"{name}.2")
    x = _conv_norm(x, filters, name, 3)
    return layers.Add()([skip, x])


def _conv_norm(x, filters: int, name: str, place: int):
    x = conv(filters, use_bias=False, name=f"{name}.{place}")(x)
    # PyTorch's epsilon is 1e-5.
    return layers.BatchNormalization(name=f"{name}.{place + 1}", epsilon=1e-5)(x)


def _modified(lr, steps: list[int], filters: int, blocks: int):
    x = layers.LeakyReLU(0.1)(conv(filters, name="conv_first")(lr))
    for block in range(blocks):
        skip = x
        x = conv(filters, activation="relu", gain=0.02, name=f"body.{block}.conv1")(x)
        x = conv(filters, gain=0.02, name=f"body.{block}.conv2")(x)
        x = layers.Add()([skip, x])
    for k, step in enumerate(steps, start=1):
        x = layers.LeakyReLU(0.1)(subpixel(x, step, filters, f"upconv{k}"))
    x = layers.LeakyReLU(0.1)(conv(filters, name="conv_hr")(x))
    x = conv(lr.shape[-1], gain=0.02, dtype="float32", name="conv_last")(x)
    return layers.Add(dtype="float32")([x, Bilinear(math.prod(steps))(lr)])


def published(tensors: Tensors) -> Published | None:
    """Recognises the original by the names of Lornatang's SRGAN-PyTorch, the modified one by those of BasicSR."""
    if "trunk.0.rcb.0.weight" in tensors:
        return _published_original(tensors)
    tensors = renamed(tensors, (r"recon_trunk\.", "body."), (r"HRconv\.", "conv_hr."))
    if "body.0.conv1.weight" not in tensors or "upconv1.weight" not in tensors:
        return None
    filters, channels = tensors["conv_first.weight"].shape[:2]
    options = {
        "scale": upsampled(tensors, r"upconv\d\.weight", "conv_hr.weight"), "channels": channels, "filters": filters,
        "blocks": count(tensors, r"body\.(\d+)\."), "variant": "modified",
    }  # fmt: skip
    return Published(options, tensors)


def _published_original(tensors: Tensors) -> Published:
    found = dict(tensors)
    notes = (
        ("num_batches_tracked: counts batches of the training",) if without(found, r".*\.num_batches_tracked") else ()
    )
    filters, channels = found["conv_block1.0.weight"].shape[:2]
    scale = upsampled(found, r"upsampling\.\d+\.upsample_block\.0\.weight", "conv_block3.weight")
    options = {"scale": scale, "channels": channels, "filters": filters, "blocks": count(found, r"trunk\.(\d+)\.")}
    return Published(options, found, notes)
