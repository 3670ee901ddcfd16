"""Every exporter against Keras: the file gives the picture that the network gives."""

import importlib.util
import sys
from typing import Any

import keras
import numpy as np
import onnx as onnx_format
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from networks import EVEN, ODD, SCALE, calibration_pictures, smooth_pictures, tiny_network

from sr_keras.errors import InputError
from sr_keras.exporters import onnx, openvino, saved_model, tflite
from sr_keras.exporters._artifact import whole
from sr_keras.float32 import float32_twin

LARGEST_DIFFERENCE = {
    "saved_model": 1e-4,
    "onnx": 1e-4,
    "tflite_float32": 1e-4,
    "tflite_float16": 2e-3,
    "tflite_dynamic": 3e-2,
    "openvino": 1e-4,
    "openvino_compressed": 2e-3,
    "openvino_bfloat16": 1e-2,
}
LOADERS = {"saved_model": saved_model, "onnx": onnx, "tflite": tflite, "openvino": openvino}
# `pytest.importorskip` would import it, and its telemetry
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
TARGETS = [
    pytest.param(target, marks=needs_openvino) if target.startswith("openvino") else target
    for target in [*LARGEST_DIFFERENCE, "tflite_int8"]
]
IN_FLOAT32 = ["saved_model", "onnx", "tflite_float32", pytest.param("openvino", marks=needs_openvino)]


def save(target, network, folder, size=None):
    name, variant = parts(target)
    if name == "tflite":
        return tflite.save(network, folder, size=size, precision=variant, calibration=calibration_pictures())
    if name == "openvino":
        return openvino.save(network, folder, size=size, compress=variant == "compressed")
    return LOADERS[name].save(network, folder, size=size)


def load(target, path):
    name, variant = parts(target)
    return LOADERS[name].load(path, **({"precision": variant} if variant == "bfloat16" else {}))


def parts(target):
    name, _, variant = target.partition("_")
    return (target, "") if target == "saved_model" else (name, variant)


def assert_agree(target, network, artifact, size):
    lr = smooth_pictures(2, *size, seed=99)
    expected, got = network(lr, training=False).numpy(), artifact(lr)
    assert got.dtype == np.float32
    assert got.shape == (2, SCALE * size[0], SCALE * size[1], 3)
    if target == "tflite_int8":
        assert -10 * np.log10(np.mean((got - expected) ** 2)) >= 40
    else:
        assert np.abs(got - expected).max() <= LARGEST_DIFFERENCE[target]


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    return tiny_network()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("exported"), {}

    def path(target, size=None):
        if (target, size) not in paths:
            paths[target, size] = save(target, network, folder / target / str(size), size)
        return paths[target, size]

    return path


@pytest.fixture
def mixed_bfloat16():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize("target", TARGETS)
def test_a_dynamic_file_agrees_with_keras_whatever_size_came_before(target, network, exported):
    artifact = load(target, exported(target))
    for size in (EVEN, ODD, EVEN):
        assert_agree(target, network, artifact, size)


@pytest.mark.parametrize("target", TARGETS)
def test_a_fixed_size_file_agrees_with_keras_at_its_size(target, network, exported):
    assert_agree(target, network, load(target, exported(target, ODD)), ODD)


@pytest.mark.parametrize("target", TARGETS)
def test_a_fixed_size_file_refuses_another_size_and_names_its_own(target, exported):
    with pytest.raises(InputError, match="19x23 only, got 16x24"):
        load(target, exported(target, ODD))(smooth_pictures(1, *EVEN))


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_refuses_pictures_that_are_not_float32(target, exported):
    with pytest.raises(InputError, match=r"takes float32 \[B, H, W, 3\].*got uint8"):
        load(target, exported(target))(np.zeros((1, *EVEN, 3), np.uint8))


@pytest.mark.parametrize("target", TARGETS)
def test_an_artifact_tells_its_size_channels_and_operators(target, exported):
    artifact, fixed = load(target, exported(target)), load(target, exported(target, ODD))
    assert (artifact.size, artifact.channels, fixed.size) == (None, 3, ODD)
    assert any(name.replace("_", "").lower() == "depthtospace" for name in artifact.operators)
    assert list(artifact.operators) == sorted(set(artifact.operators))


def test_file_names_tell_precision_and_size(exported):
    names = [exported(target, size).name for target in ("onnx", "tflite_float16") for size in (None, ODD)]
    assert names == ["model.onnx", "model_19x23.onnx", "model_float16.tflite", "model_float16_19x23.tflite"]


@pytest.mark.parametrize("target", IN_FLOAT32)
def test_a_bfloat16_network_exports_in_float32(target, network, tmp_path, mixed_bfloat16):
    half = tiny_network()
    half.set_weights(network.get_weights())
    assert_agree(target, network, load(target, save(target, half, tmp_path)), ODD)


def test_the_twin_of_a_float32_network_is_itself(network):
    assert float32_twin(network) is network


@keras.saving.register_keras_serializable("test_exporters")
class Hidden(keras.layers.Layer):
    """Makes a layer that its config does not mention."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = keras.layers.Conv2D(4, 3, padding="same")

    def build(self, input_shape):
        self.conv.build(input_shape)

    def call(self, x):
        return self.conv(x)


def test_the_twin_reaches_nested_networks_hidden_layers_policy_maps_and_casts(mixed_bfloat16):
    half = keras.dtype_policies.DTypePolicyMap(default_policy=keras.DTypePolicy("mixed_bfloat16"))
    lr = keras.Input((None, None, 3))
    x = Hidden()(lr)
    x = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Conv2D(3, 1, dtype=half)])(x)
    x = keras.ops.cast(keras.ops.cast(x, "bfloat16"), "float32")
    mixed = keras.Model(lr, x)
    twin = float32_twin(mixed)
    assert {layer.compute_dtype for layer in twin._flatten_layers()} == {"float32"}
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    picture = smooth_pictures(1, *ODD)
    weights = mixed.get_weights()
    hidden = tf.nn.conv2d(picture, weights[0], 1, "SAME") + weights[1]
    np.testing.assert_allclose(twin(picture), hidden @ weights[2][0, 0] + weights[3], atol=1e-5)


def test_the_uint8_signature_clips_and_rounds_half_up(network, exported):
    lr = np.round(smooth_pictures(2, *ODD) * 255).astype(np.uint8)
    signature = tf.saved_model.load(str(exported("saved_model"))).signatures["serving_uint8"]
    sr = signature(lr=tf.constant(lr))["sr"].numpy()
    expected = np.floor(np.clip(network(lr / np.float32(255)).numpy(), 0, 1) * 255 + 0.5)
    assert sr.dtype == np.uint8
    np.testing.assert_array_equal(sr, expected)


def test_the_uint8_signature_clips_a_network_that_does_not(tmp_path):
    lr = keras.Input((None, None, 3))
    path = saved_model.save(keras.Model(lr, keras.layers.Rescaling(3.0, offset=-1.0)(lr)), tmp_path)
    signature = tf.saved_model.load(str(path)).signatures["serving_uint8"]
    sr = signature(lr=tf.constant([0, 100, 255], tf.uint8, shape=(1, 1, 1, 3)))["sr"]
    assert sr.numpy().ravel().tolist() == [0, 45, 255]


def test_int8_takes_uint8_as_it_is_in_a_picture_file(exported):
    interpreter = Interpreter(model_path=str(exported("tflite_int8")))
    (lr,), (sr,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert lr["dtype"] == sr["dtype"] == np.uint8
    assert lr["quantization"] == (pytest.approx(1 / 255, rel=1e-5), 0)


def test_int8_computes_in_whole_numbers_alone(exported):
    interpreter = Interpreter(model_path=str(exported("tflite_int8")))
    assert {t["dtype"] for t in interpreter.get_tensor_details()} <= {np.int8, np.uint8, np.int32}


def test_int8_output_has_the_range_of_the_calibration_pictures(tmp_path):
    lr: Any = keras.Input((None, None, 3))
    slope = keras.Model(lr, lr[:, :, 1:] - lr[:, :, :-1])  # 0 for the black and the white picture
    artifact = tflite.load(tflite.save(slope, tmp_path, precision="int8", calibration=calibration_pictures()))
    picture = calibration_pictures()[0][None]
    np.testing.assert_allclose(artifact(picture), slope(picture), atol=0.01)


@pytest.mark.parametrize("precision", ["float16", "dynamic", "int8"])
def test_a_kernel_is_stored_in_the_smaller_numbers(precision, exported):
    tensors = Interpreter(model_path=str(exported(f"tflite_{precision}"))).get_tensor_details()
    kernel = next(tensor for tensor in tensors if tuple(tensor["shape"]) == (12, 3, 3, 16))
    assert kernel["dtype"] == (np.float16 if precision == "float16" else np.int8)


def test_int8_needs_calibration_pictures(network, tmp_path):
    with pytest.raises(InputError, match="calibration"):
        tflite.save(network, tmp_path, precision="int8")


def test_int8_refuses_calibration_pictures_in_uint8(network, tmp_path):
    with pytest.raises(InputError, match="calibration picture is float32.*got uint8"):
        tflite.save(network, tmp_path, precision="int8", calibration=[np.zeros((8, 8, 3), np.uint8)])


def test_int8_refuses_calibration_pictures_beyond_one(network, tmp_path):
    with pytest.raises(InputError, match="divide by 255"):
        tflite.save(network, tmp_path, precision="int8", calibration=[255 * smooth_pictures(1, *EVEN)[0]])


def test_an_int8_input_of_another_scale_is_refused(network, tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "_calibration", lambda *_: [{"lr": smooth_pictures(1, *EVEN) / 2}])
    with pytest.raises(RuntimeError, match="scale 1/255"):
        tflite.save(network, tmp_path, precision="int8")


def test_an_unknown_precision_is_refused(network, tmp_path):
    with pytest.raises(InputError, match="float32, float16, dynamic, int8, int16x8, got half"):
        tflite.save(network, tmp_path, precision="half")  # pyright: ignore[reportArgumentType]


def test_a_file_without_its_weights_is_refused(network, tmp_path, monkeypatch):
    function = tf.function(lambda lr: network(lr)).get_concrete_function(tf.TensorSpec((1, *EVEN, 3)))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], network)
    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", lambda folder: converter)
    with pytest.raises(RuntimeError, match="VAR_HANDLE"):
        tflite.save(network, tmp_path)


def test_onnx_names_its_axes(exported):
    graph = onnx_format.load(exported("onnx")).graph
    axes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)]
    assert axes == [["N", "H", "W", 3], ["N", "H_out", "W_out", 3]]
    assert (graph.input[0].name, graph.output[0].name) == ("lr", "sr")


def test_onnx_refuses_an_operator_that_it_lacks(tmp_path):
    lr = keras.Input((None, None, 4))
    grouped = keras.Model(lr, keras.layers.Conv2D(4, 3, groups=2)(lr))
    with pytest.raises(InputError, match="StatefulPartitionedCall"):
        onnx.save(grouped, tmp_path)


@pytest.mark.parametrize("content", [np.random.default_rng(0).bytes(4000), b"", b"Not a model.\n" * 9, "cut"])
@pytest.mark.parametrize("target", IN_FLOAT32)
def test_a_file_that_is_no_model_is_refused_in_one_line(target, content, exported, tmp_path):
    path = tmp_path / "broken"
    file = path
    if target == "saved_model":
        path.mkdir()
        file = path / "saved_model.pb"
    if content == "cut":
        intact = exported(target) / "saved_model.pb" if target == "saved_model" else exported(target)
        content = intact.read_bytes()[:-400]
    file.write_bytes(content)
    with pytest.raises(InputError, match="broken is not a readable .*; export the network again") as error:
        load(target, path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", IN_FLOAT32)
def test_a_missing_file_is_named(target, tmp_path):
    with pytest.raises(InputError, match="at .*nowhere"):
        load(target, tmp_path / "nowhere")


@pytest.mark.parametrize("target", TARGETS)
def test_save_and_load_print_nothing_on_stdout(target, network, tmp_path, capfd):
    load(target, save(target, network, tmp_path))(smooth_pictures(1, *EVEN))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("target", IN_FLOAT32)
def test_a_second_export_replaces_the_first_and_leaves_nothing_else(target, network, tmp_path):
    path = save(target, network, tmp_path)
    tripled = keras.Model(network.input, keras.layers.Rescaling(3.0)(network.output))
    assert save(target, tripled, tmp_path) == path
    lr = smooth_pictures(1, *EVEN)
    np.testing.assert_allclose(load(target, path)(lr), tripled(lr), atol=1e-4)
    beside = [path.with_suffix(".bin")] if target == "openvino" else []
    assert sorted(tmp_path.iterdir()) == [*beside, path]


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole(path) as draft:
        draft.write_text("half a f")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@needs_openvino
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), EVEN, ODD])
def test_openvino_on_uint8_rounds_half_up_what_it_gives_on_floats(size, precision, exported):
    artifact = openvino.load(exported("openvino"), precision=precision)
    lr = np.round(smooth_pictures(2, *size) * 255).astype(np.uint8)
    expected = np.floor(artifact(lr / np.float32(255)) * 255 + 0.5)
    for _ in range(3):  # from the third on, by a graph of its own for the size
        sr = artifact.run_uint8(lr)  # pyright: ignore[reportOptionalCall]
        assert sr.dtype == np.uint8
        np.testing.assert_array_equal(sr, expected)


@needs_openvino
@pytest.mark.parametrize(
    ("last", "levels"),
    [
        (lambda x: keras.layers.Rescaling(3.0, offset=-1.0)(x), [0, 45, 255]),
        (lambda x: keras.ops.clip(keras.layers.Rescaling(3.0, offset=-1.0)(x), 0.0, 1.0), [0, 45, 255]),
        (lambda x: keras.ops.clip(x, 0.2, 0.8), [51, 100, 204]),
        (lambda x: keras.ops.clip(keras.ops.depth_to_space(keras.ops.tile(x, (1, 1, 1, 4)), 2), 0.0, 0.5), None),
    ],
)
def test_openvino_on_uint8_clips_as_the_network_does_and_to_what_a_pixel_holds(last, levels, tmp_path):
    x = keras.Input((None, None, 1))
    network = keras.Model(x, last(x))
    lr = np.array([0, 100, 255], np.uint8).reshape(1, 1, 3, 1)
    sr = openvino.load(openvino.save(network, tmp_path)).run_uint8(lr)  # pyright: ignore[reportOptionalCall]
    expected = np.floor(np.clip(network(lr / np.float32(255)).numpy(), 0, 1) * 255 + 0.5)
    np.testing.assert_array_equal(sr, expected)
    assert levels is None or sr.ravel().tolist() == levels


@needs_openvino
def test_openvino_gives_a_picture_that_the_next_run_leaves_alone(exported):
    artifact = openvino.load(exported("openvino"))
    found = [artifact(smooth_pictures(1, *EVEN)) for _ in range(3)][-1]  # by one graph from the second on
    kept = found.copy()
    artifact(np.zeros((1, *EVEN, 3), np.float32))
    np.testing.assert_array_equal(found, kept)


@needs_openvino
def test_openvino_takes_a_crop_and_pixels_that_cannot_be_written(network, exported):
    artifact, picture = openvino.load(exported("openvino")), smooth_pictures(1, *ODD)
    picture.flags.writeable = False
    for lr in (picture, picture[:, 2:9, 3:8], picture[:, ::-1]):
        np.testing.assert_allclose(artifact(lr), network(lr), atol=1e-4)


@needs_openvino
def test_openvino_gives_the_same_bits_before_and_after_it_has_compiled_for_a_size(exported):
    artifact, lr = openvino.load(exported("openvino")), smooth_pictures(1, 40, 56)
    first, *others = [artifact(lr) for _ in range(3)]
    for other in others:
        np.testing.assert_array_equal(other, first)


@needs_openvino
def test_openvino_stores_compressed_weights_in_half_the_bytes(exported):
    full, half = (exported(target).with_suffix(".bin").stat().st_size for target in ("openvino", "openvino_compressed"))
    assert half < 0.6 * full
    assert exported("openvino", ODD).name == "model_19x23.xml"


@needs_openvino
@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-400])])
def test_openvino_refuses_a_file_without_its_weights(spoil, network, tmp_path):
    path = openvino.save(network, tmp_path)
    spoil(path.with_suffix(".bin"))
    with pytest.raises(InputError, match="is not a readable OpenVINO file; export the network again"):
        openvino.load(path)


@keras.saving.register_keras_serializable("test_exporters")
class Gamma(keras.layers.Layer):
    """Makes an operator that OpenVINO lacks."""

    def call(self, x):
        return tf.math.igamma(x, x)


@needs_openvino
def test_openvino_refuses_an_operator_that_it_lacks(tmp_path):
    lr = keras.Input((None, None, 3))
    with pytest.raises(InputError, match="says: No conversion rule found for operations: Igamma; replace"):
        openvino.save(keras.Model(lr, Gamma()(lr)), tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_openvino_refuses_an_unknown_precision(exported):
    with pytest.raises(InputError, match="float32, bfloat16, got half"):
        openvino.load(exported("openvino"), precision="half")  # pyright: ignore[reportArgumentType]


@needs_openvino
def test_openvino_is_imported_without_its_telemetry(exported):
    openvino.load(exported("openvino"))
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__ == "openvino.tools.ovc.telemetry_stub"


def test_a_missing_openvino_is_one_line_with_its_extra(network, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    for call in (lambda: openvino.save(network, tmp_path), lambda: openvino.load(tmp_path / "model.xml")):
        with pytest.raises(InputError, match=r"pip install 'sr_keras\[openvino\]'"):
            call()
