"""Every model through every exporter and precision: slow, `pytest -m slow tests/test_model_exports.py`."""

import importlib.util

import keras
import numpy as np
import pytest
from tiny import SCALES, TINY

from sr_keras import component, embedded, exporters, image, metrics, models, predictor, resize

OPTIONS = {**TINY, "cnn_fc": {"filters": 4, "height": 24, "width": 32}}
NAMES_AND_SCALES = [
    (name, scale)
    for name in component.names(models)
    for scale in SCALES.get(name, (2, 3, 4))[: 3 if name in SCALES else 2]
]
# exporter, its options, largest difference from Keras, least PSNR in dB against Keras
TARGETS = [
    ("saved_model", {}, 1e-4, 60),
    ("onnx", {}, 1e-4, 60),
    ("tflite", {"precision": "float32"}, 1e-4, 60),
    ("tflite", {"precision": "float16"}, 1e-2, 50),
    ("tflite", {"precision": "dynamic"}, 1.0, 30),
    ("tflite", {"precision": "int8"}, 1.0, 25),
    ("openvino", {}, 1e-4, 60),
    ("openvino", {"compress": True}, 1e-2, 50),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), NAMES_AND_SCALES)
@pytest.mark.parametrize(("exporter", "options", "tolerance", "psnr"), TARGETS)
def test_the_artifact_gives_keras_picture(name, exporter, options, tolerance, psnr, scale, tmp_path):
    model, sizes = _built(name, scale), [(24, 32), (31, 19)]
    _compare(model, exporter, options, tolerance, psnr, [_fixed_size(model)] if _fixed_size(model) else sizes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(("exporter", "options", "tolerance", "psnr"), TARGETS)
def test_a_network_that_continues_the_picture_is_exported_for_one_size(
    exporter, options, tolerance, psnr, scale, tmp_path
):
    fixed = options if exporter == "saved_model" else {**options, "size": (31, 19)}
    _compare(_built("rrdbnet", scale), exporter, fixed, tolerance, psnr, [(31, 19)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize(("exporter", "options", "tolerance", "psnr"), TARGETS)
def test_grouped_convolutions_are_exported(exporter, options, tolerance, psnr, scale, tmp_path):
    model = _built("carn", scale, recursive=True, groups=4)
    _compare(model, exporter, options, tolerance, psnr, [(24, 32), (31, 19)], tmp_path)


def _built(name, scale, **more):
    keras.utils.set_random_seed(0)
    return component.build(models, {"name": name, **OPTIONS.get(name, {}), **more}, scale=scale)


def _fixed_size(model):
    return None if model.input_shape[1] is None else model.input_shape[1:3]


def _compare(model, exporter, options, tolerance, psnr, sizes, folder):
    if exporter == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    reference = predictor.of_keras(model, model.name)
    photograph = embedded.photographs("valid").picture(0)
    lr = image.to_float(resize.imresize(photograph, 1 / 2))
    crops = [lr[40 : 40 + h, 60 : 60 + w] for h, w in sizes]
    given = {"calibration": [lr[y : y + 32, x : x + 32] for y in (0, 64) for x in (0, 64, 128)]}
    save, _ = component.resolve(exporters, exporter, "save")
    load, _ = component.resolve(exporters, exporter, "load")
    artifact = load(save(model, folder, **options, **(given if options.get("precision") == "int8" else {})))
    for crop in crops:
        expected, found = reference.network(crop[None]), artifact(crop[None])
        assert found.shape == expected.shape
        if options.get("precision") == "int8":  # its output can't leave the range it was calibrated on
            expected, found = np.clip(expected, 0, 1), np.clip(found, 0, 1)
        assert np.abs(found - expected).max() <= tolerance
        assert metrics.psnr(expected * 255, found * 255) >= psnr
