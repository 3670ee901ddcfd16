"""TFLite alone: networks trained or calibrated for int8, int16x8, the shuffle, and what a file says of itself."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from networks import EVEN, ODD, SCALE, calibration_pictures, smooth_pictures, tiny_network

from sr_keras import calibration, component, models, quantize
from sr_keras.errors import InputError
from sr_keras.exporters import tflite
from sr_keras.exporters._tflite_metadata import About, read_metadata


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    return tiny_network()


def fake_quantised(network):
    twin = quantize.fake_quantised(network)
    calibration.calibrate(twin, calibration_pictures())
    return twin


@pytest.mark.parametrize("size", [None, EVEN])
@pytest.mark.parametrize("shuffle", ["depth_to_space", "transposed"])
def test_a_fake_quantised_network_becomes_int8_within_two_levels(network, tmp_path, shuffle, size):
    twin = fake_quantised(network)
    path = tflite.save(twin, tmp_path, precision="int8", shuffle=shuffle, size=size)
    artifact = tflite.load(path)
    whole = {"dtype": "uint8", "scale": pytest.approx(1 / 255, rel=1e-6), "zero_point": 0}
    assert artifact.input_type == artifact.output_type == whole
    lr = np.rint(smooth_pictures(2, *(size or ODD), seed=9) * 255.0).astype(np.float32) / 255.0
    levels = np.abs(artifact(lr) - twin(lr)) * 255.0
    assert np.rint(levels).max() <= 2
    assert np.mean(levels < 0.5) > 0.95
    tensors = Interpreter(model_path=str(path)).get_tensor_details()
    assert {tensor["dtype"] for tensor in tensors} <= {np.int8, np.uint8, np.int32}
    assert ("TRANSPOSE_CONV" in artifact.operators) == (shuffle == "transposed")
    assert not {"MINIMUM", "RELU", "DEQUANTIZE"} & set(artifact.operators)  # the ranges clip


@pytest.mark.parametrize("spec", ["espcn", {"name": "srvgg", "filters": 8, "blocks": 2}])
def test_tanh_and_prelu_are_whole_numbers_too(spec, tmp_path):
    keras.utils.set_random_seed(1)
    twin = fake_quantised(component.build(models, spec, scale=SCALE))
    path = tflite.save(twin, tmp_path, precision="int8")
    tensors = Interpreter(model_path=str(path)).get_tensor_details()
    assert {tensor["dtype"] for tensor in tensors} <= {np.int8, np.uint8, np.int32}
    lr = np.rint(smooth_pictures(2, *ODD) * 255.0).astype(np.float32) / 255.0
    assert np.rint(np.abs(tflite.load(path)(lr) - twin(lr)) * 255.0).max() <= 2


def test_float_files_of_a_fake_quantised_network_are_refused(network, tmp_path):
    with pytest.raises(InputError, match="becomes int8, not float16"):
        tflite.save(fake_quantised(network), tmp_path, precision="float16")


def test_int16x8_is_nearer_than_int8_and_float_at_both_ends(network, tmp_path):
    lr = smooth_pictures(1, *ODD)
    errors = {}
    for precision in ("int8", "int16x8"):
        path = tflite.save(network, tmp_path, precision=precision, calibration=calibration_pictures())
        artifact = tflite.load(path)
        errors[precision] = float(np.abs(artifact(lr) - network(lr)).mean())
    assert errors["int16x8"] < errors["int8"] / 2
    assert artifact.input_type == artifact.output_type == {"dtype": "float32"}
    assert "DEQUANTIZE" in artifact.operators  # around depth_to_space


def test_a_shuffle_that_is_none_is_refused(network, tmp_path):
    with pytest.raises(InputError, match="shuffle must be one of depth_to_space, transposed, got tiles"):
        tflite.save(network, tmp_path, shuffle="tiles")  # pyright: ignore[reportArgumentType]


def test_a_tflite_file_tells_what_it_is_without_changing_what_it_computes(network, tmp_path):
    about = About("tiny", "Enlarges pictures.", SCALE, 3, 2, 1, "A. Nobody", "CC0-1.0", "1")
    plain = tflite.load(tflite.save(network, tmp_path / "plain"))
    path = tflite.save(network, tmp_path / "told", about=about)
    content = path.read_bytes()
    said = read_metadata(content)
    assert said is not None
    assert {key: said[key] for key in ("scale", "halo", "alignment", "license", "author", "color", "range")} == {
        "scale": 2, "halo": 2, "alignment": 1, "license": "CC0-1.0", "author": "A. Nobody", "color": "RGB",
        "range": [0.0, 1.0],
    }  # fmt: skip
    assert read_metadata((tmp_path / "plain" / path.name).read_bytes()) is None
    lr = smooth_pictures(1, *ODD)
    np.testing.assert_array_equal(tflite.load(path)(lr), plain(lr))
    assert b"M001" in content  # the standard's own table
    assert b"CC0-1.0" in content


def test_metadata_leaves_weights_where_kernels_may_read_them(network, tmp_path):
    about = About("tiny", "Enlarges.", SCALE, 3, 2, 1, "", "", "1")
    content = tflite.save(network, tmp_path, about=about).read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    for k in range(model.BuffersLength()):
        buffer = model.Buffers(k)
        if buffer.DataLength() >= 64:
            offset = buffer._tab.Vector(buffer._tab.Offset(4))
            assert offset % 16 == 0, f"buffer {k}"
