"""The phone and C++ programs of export/consumers: what parses is parsed, what compiles here is compiled and run."""

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
from conftest import CHECKOUT
from PIL import Image

from sr_keras import receptive_field
from sr_keras.exporters import tflite

CONSUMERS = CHECKOUT / "export" / "consumers"
ANDROID = CONSUMERS / "android" / "app" / "src"
SCALE, SIZE = 2, (24, 32)


def named(paths):
    return [pytest.param(path, id=str(path.relative_to(CONSUMERS))) for path in sorted(paths)]


@pytest.mark.parametrize("path", named([*CONSUMERS.glob("android/**/*.kt"), *CONSUMERS.glob("ios/**/*.swift")]))
def test_kotlin_and_swift_parse(path):
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip({".kt": "tree_sitter_kotlin", ".swift": "tree_sitter_swift"}[path.suffix])
    tree = tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(path.read_bytes())
    nodes, faults = [tree.root_node], []
    while nodes:
        node = nodes.pop()
        faults += [node.start_point.row + 1] if node.is_error or node.is_missing else []
        nodes += node.children
    assert not faults


@pytest.mark.parametrize("path", named(CONSUMERS.glob("android/**/*.xml")))
def test_the_xml_of_the_android_app_is_well_formed(path):
    ElementTree.parse(path)


def test_the_android_app_defines_every_resource_that_it_names():
    code = "".join(path.read_text() for path in [*ANDROID.glob("main/**/*.kt"), *ANDROID.glob("main/**/*.xml")])
    defined = {("string", name) for name in re.findall(r'<string name="(\w+)"', code)}
    defined |= {("id", name) for name in re.findall(r"@\+id/(\w+)", code)}
    defined |= {("layout", path.stem) for path in ANDROID.glob("main/res/layout/*.xml")}
    assert {*re.findall(r"\bR\.(\w+)\.(\w+)", code), *re.findall(r'"@(string|layout)/(\w+)"', code)} <= defined


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The C++ program, built against the library that the package ai-edge-litert ships."""
    litert = importlib.util.find_spec("ai_edge_litert")
    library = next(Path(litert.submodule_search_locations[0]).glob("libLiteRt.*"), None) if litert else None
    if library is None or not (shutil.which("cmake") and (shutil.which("c++") or shutil.which("g++"))):
        pytest.skip("no CMake, C++ compiler or libLiteRt of ai-edge-litert here")
    folder = tmp_path_factory.mktemp("build")
    for command in (
        ["cmake", "-S", CONSUMERS / "cpp", "-B", folder, f"-DLITERT_LIBRARY={library}"],
        ["cmake", "--build", folder, "--parallel"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in done.stdout + done.stderr
    return folder / "upscale"


def local_network():
    """Large weights and biases: a window that is cut too narrowly shows."""
    lr = x = keras.Input((None, None, 3))
    for filters in (8, 8, 3 * SCALE**2):
        x = keras.layers.Conv2D(filters, 3, padding="same", bias_initializer="random_normal", activation="tanh")(x)
    x = 0.3 * x + keras.layers.Concatenate()([lr] * SCALE**2)
    return keras.Model(lr, keras.ops.depth_to_space(x, SCALE))


def halving_network():
    """Works at half the resolution, so windows must start at even pixels."""
    lr = x = keras.Input((None, None, 3))
    x = keras.layers.AveragePooling2D(2)(x)
    x = keras.layers.Conv2D(3 * SCALE**2, 3, padding="same", bias_initializer="random_normal")(x)
    return keras.Model(lr, keras.layers.UpSampling2D(2)(keras.ops.depth_to_space(x, SCALE)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder of files and their manifest for each network."""
    keras.utils.set_random_seed(5)
    pictures = [np.random.default_rng(0).random((40, 40, 3), dtype=np.float32)]
    folders = {}
    for build, variants in (
        (local_network, [("float32", None), ("float32", SIZE), ("int8", SIZE)]),
        (halving_network, [("float32", None)]),
    ):
        network, folder = build(), tmp_path_factory.mktemp(build.__name__)
        for precision, size in variants:
            tflite.save(network, folder, size=size, precision=precision, calibration=pictures)
        write_manifest(folder, receptive_field.field(network))
        folders[build] = folder
    return folders


def write_manifest(folder, field, channels=3):
    files = [{"file": path.name, "bytes": path.stat().st_size} for path in folder.glob("*.tflite")]
    content = {"scale": SCALE, "channels": channels, "halo": field.halo, "alignment": field.alignment}
    (folder / "manifest.json").write_text(json.dumps({"config": {"scale": 9}, **content, "artifacts": files}))


def picture(height, width):
    noise = np.random.default_rng(1).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), np.uint8)
    return np.kron(noise, np.ones((3, 3, 1), np.uint8))[:height, :width]


def whole(path, lr):
    """The whole picture in one call."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (1, *lr.shape))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(source["index"], lr[None] if source["dtype"] == np.uint8 else lr[None] / np.float32(255))
    interpreter.invoke()
    sr = interpreter.get_tensor(target["index"])[0].astype(np.float32)
    if target["dtype"] == np.uint8:
        scale, zero_point = target["quantization"]
        sr = (sr - zero_point) * scale
    return np.rint(255 * sr.clip(0, 1))


def upscaled(program, model, lr, folder, *options, ending=".ppm"):
    Image.fromarray(lr).save(folder / f"lr{ending}")
    command = [program, *options, model, folder / f"lr{ending}", folder / f"sr{ending}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.asarray(Image.open(folder / f"sr{ending}"), np.float32)


@pytest.mark.parametrize(
    ("build", "file", "size"),
    [
        (local_network, "model_float32.tflite", (61, 83)),
        (local_network, "model_float32_24x32.tflite", (61, 83)),
        (local_network, "model_float32_24x32.tflite", (24, 90)),
        (local_network, "model_int8_24x32.tflite", (61, 83)),
        (halving_network, "model_float32.tflite", (62, 94)),
    ],
)
def test_windows_give_the_pixels_of_the_whole_picture(program, exported, tmp_path, build, file, size):
    lr, model = picture(*size), exported[build] / file
    sr = upscaled(program, model, lr, tmp_path, "--tile", "15", "--threads", "2")
    assert np.abs(sr - whole(model, lr)).max() <= 1


def test_a_picture_smaller_than_the_window_is_mirrored_up_to_it(program, exported, tmp_path):
    lr, model = picture(17, 5), exported[local_network] / "model_float32_24x32.tflite"
    mirrored = np.pad(lr, [(0, SIZE[0] - 17), (0, SIZE[1] - 5), (0, 0)], "symmetric")
    expected = whole(model, mirrored)[: 17 * SCALE, : 5 * SCALE]
    assert np.abs(upscaled(program, model, lr, tmp_path) - expected).max() <= 1


def test_png_files_hold_the_pixels_of_ppm_files(program, exported, tmp_path):
    if "PNG" not in subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("built without libpng")
    model = exported[local_network] / "model_float32.tflite"
    sr = [upscaled(program, model, picture(20, 30), tmp_path, ending=ending) for ending in (".png", ".ppm")]
    np.testing.assert_array_equal(*sr)


def luminance(folder, _):
    write_manifest(folder, receptive_field.Field(3, 1), channels=1)


def whole_picture_network(folder, _):
    write_manifest(folder, receptive_field.Field(None, 1, ("pool",)))


def wide_halo(folder, _):
    write_manifest(folder, receptive_field.Field(12, 1))


def other_manifest(folder, _):
    (folder / "manifest.json").write_text('{"scale": 2, "channels": 3, "halo": 3, "artifacts": []}')


def cut_manifest(folder, _):
    (folder / "manifest.json").write_text('{"scale": 2, "chan')


def cut_model(_, model):
    model.write_bytes(model.read_bytes()[:-1000])


def cut_picture(folder, _):
    (folder / "lr.ppm").write_bytes(b"P6 40 40 255\n" + bytes(99))


def no_picture(folder, _):
    (folder / "lr.ppm").write_bytes(b"hello")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (luminance, "use an RGB network"),
        (whole_picture_network, "looks at the whole picture"),
        (wide_halo, "export a size of 25 or more"),
        (other_manifest, "does not name model_float32_24x32.tflite"),
        (cut_manifest, "manifest.json: ends in the middle"),
        (cut_model, "bytes of model_float32_24x32.tflite"),
        (cut_picture, "lr.ppm: ends in the middle"),
        (no_picture, "lr.ppm: is none of the kinds"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(program, exported, tmp_path, fault, said):
    for path in exported[local_network].iterdir():
        shutil.copy(path, tmp_path)
    Image.fromarray(picture(40, 40)).save(tmp_path / "lr.ppm")
    (tmp_path / "sr.ppm").write_bytes(b"as it was")
    model = tmp_path / "model_float32_24x32.tflite"
    fault(tmp_path, model)
    there = set(tmp_path.iterdir())
    command = [program, model, tmp_path / "lr.ppm", tmp_path / "sr.ppm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(rf"upscale: [^\n]*{re.escape(said)}[^\n]*\n", done.stderr)
    assert set(tmp_path.iterdir()) == there and (tmp_path / "sr.ppm").read_bytes() == b"as it was"
