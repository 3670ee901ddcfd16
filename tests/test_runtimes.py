"""Which runtime a network gets: the fastest that is near float32, or the one that is asked for."""

import numpy as np
import pytest

from sr_keras import component, models, predictor, runtimes
from sr_keras.errors import InputError
from sr_keras.exporters import onnx

PICTURE = np.random.default_rng(0).random((1, 20, 23, 3), np.float32)


@pytest.fixture(scope="module")
def network():
    import keras

    keras.utils.set_random_seed(0)
    return component.build(models, {"name": "anchor", "filters": 8, "blocks": 2}, scale=2)


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    place = tmp_path_factory.mktemp("model")
    network.save(place / "net.keras")
    onnx.save(network, place)
    return place


@pytest.mark.parametrize("name", runtimes.NAMES)
def test_every_runtime_gives_the_networks_picture(network, folder, name):
    if name.startswith("openvino"):
        pytest.importorskip("openvino")
    opened = runtimes.open_model(folder / "net.keras", runtime=name)
    expected = np.asarray(network(PICTURE))
    np.testing.assert_allclose(opened.network(PICTURE), expected, atol=2e-2 if "bfloat16" in name else 1e-5)
    assert opened.reach.halo == 4


def test_the_nearest_of_the_fast_is_taken(network, folder, monkeypatch):
    reference = predictor.of_keras(network, "net")
    seconds = {"TensorFlow float32": 3.0, "TensorFlow bfloat16": 2.0, "OpenVINO float32": 2.5, "OpenVINO bfloat16": 1.0}
    others = {}

    def opened(network, reference, name):
        label = {"tensorflow": "TensorFlow", "openvino": "OpenVINO"}[name.partition("-")[0]]
        label += " bfloat16" if "bfloat16" in name else " float32"
        wrong = 0.01 if label == "OpenVINO bfloat16" else 0.0  # 40 dB
        made = runtimes.replace(reference, network=lambda x: reference.network(x) + np.float32(wrong), runtime=label)
        others[id(made.network)] = seconds[label]
        return made

    monkeypatch.setattr(runtimes, "_opened", opened)
    monkeypatch.setattr(runtimes, "candidates", lambda exact: ["tensorflow", "openvino"] + (
        [] if exact else ["tensorflow-bfloat16", "openvino-bfloat16"]))  # fmt: skip
    monkeypatch.setattr(runtimes, "_seconds", lambda run, picture: others.get(id(run), 3.0))
    assert runtimes.fastest(network, reference).runtime == "TensorFlow bfloat16"
    assert runtimes.fastest(network, reference, exact=True).runtime == "OpenVINO float32"


def test_exact_leaves_float32_alone():
    assert not any("bfloat16" in name for name in runtimes.candidates(exact=True))


def test_without_native_bfloat16_it_is_no_candidate(monkeypatch):
    monkeypatch.setattr(runtimes.devices, "precision", lambda wanted: "float32")
    assert not any("bfloat16" in name for name in runtimes.candidates(exact=False))


def test_without_openvino_tensorflow_is_left(monkeypatch):
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None)
    assert {name.partition("-")[0] for name in runtimes.candidates(exact=False)} == {"tensorflow"}


def test_an_exported_file_runs_on_its_own_runtime(folder):
    assert runtimes.open_model(folder / "model.onnx").runtime == "ONNX Runtime"
    with pytest.raises(InputError, match="runs on its own runtime"):
        runtimes.open_model(folder / "model.onnx", runtime="tflite")


def test_exact_and_bfloat16_exclude_each_other(folder):
    with pytest.raises(InputError, match="exclude each other"):
        runtimes.open_model(folder / "net.keras", runtime="tensorflow-bfloat16", exact=True)


def test_a_runtime_that_there_is_not_gets_a_suggestion(folder):
    with pytest.raises(InputError, match="did you mean 'onnx'"):
        runtimes.open_model(folder / "net.keras", runtime="onx")


def test_a_runtime_that_can_not_take_the_network_is_left_out(network, monkeypatch):
    reference = predictor.of_keras(network, "net")

    def opened(network, reference, name):
        raise InputError("OpenVINO has no such operator.")

    monkeypatch.setattr(runtimes, "_opened", opened)
    monkeypatch.setattr(runtimes, "candidates", lambda exact: ["tensorflow", "openvino"])
    assert runtimes.fastest(network, reference) is reference


@pytest.mark.parametrize(("runtime", "words"), [("foo", "there is no runtime 'foo'"), ("onnx", "drop --runtime")])
def test_an_interpolation_takes_no_runtime(runtime, words):
    with pytest.raises(InputError, match=words):
        runtimes.open_model("bicubic", runtime=runtime)
