"""The Python consumers and the check of artifacts, run as programs that can import neither TensorFlow nor sr_keras."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import skimage.data
from conftest import CHECKOUT
from PIL import Image

from sr_keras import component, export, image, models, predictor, recipe

ALONE = "import runpy, sys; sys.modules.update(dict.fromkeys(['tensorflow', 'keras', 'sr_keras'])); "
FILES = ["model_int8_48x64.tflite", "model_int8.tflite", "model_float16.tflite", "model.onnx"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("exported")
    network = component.build(models, {"name": "anchor", "filters": 8, "blocks": 1}, scale=2)
    last = [layer for layer in network.layers if layer.weights][-1]
    last.set_weights([weight * 20.0 for weight in last.get_weights()])  # away from the nearest neighbour
    network.save(folder / "net.keras")
    plan = recipe.Recipe.model_validate(
        {"artifacts": [
            {"name": "tflite", "precision": "int8", "psnr": 20, "size": [48, 64]},
            {"name": "tflite", "precision": "int8", "psnr": 20},
            {"name": "tflite", "precision": "float16", "tolerance": 1e-2},
            {"name": "onnx", "tolerance": 1e-4},
        ]}
    )  # fmt: skip
    export.export(folder / "net.keras", plan, folder / "out")
    return folder / "out"


def run(script, *arguments, folder):
    path = CHECKOUT / "export" / script
    code = f"{ALONE}sys.argv = [{str(path)!r}, *sys.argv[1:]]; runpy.run_path({str(path)!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def consumer(file, *arguments, folder):
    kind = "onnx" if str(file).endswith("onnx") else "tflite"
    return run(f"consumers/python_{kind}.py", file, *arguments, folder=folder)


@pytest.mark.parametrize("file", FILES)
def test_a_consumer_gives_the_whole_pictures_pixels(exported, file, tmp_path):
    lr = skimage.data.coffee()[:300, :331]  # several tiles, of odd size
    image.write(tmp_path / "in.png", lr)
    done = consumer(exported / file, "in.png", "out.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "out.png: 662x600" in done.stdout
    whole = predictor.open_model(exported / file.replace("_48x64", ""))(lr)
    levels = np.abs(image.read(tmp_path / "out.png").astype(int) - image.to_uint8(whole))
    assert levels.max() <= 1
    assert np.mean(levels == 0) > 0.999


@pytest.mark.parametrize("file", ["model_int8_48x64.tflite", "model.onnx"])
def test_a_consumer_keeps_alpha_and_turns_a_photograph_upright(exported, file, tmp_path):
    pixels = skimage.data.coffee()[:40, :50]
    alpha = np.tile(np.linspace(0, 255, 50, dtype=np.uint8), (40, 1))[..., None]
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(tmp_path / "in.png")
    assert consumer(exported / file, "in.png", "out.png", folder=tmp_path).returncode == 0
    assert Image.open(tmp_path / "out.png").mode == "RGBA"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "in.jpg", exif=exif)
    assert consumer(exported / file, "in.jpg", "out.webp", folder=tmp_path).returncode == 0
    assert Image.open(tmp_path / "out.webp").size == (80, 100)


@pytest.mark.parametrize("file", ["model_int8.tflite", "model.onnx"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.png", "out.png"), "none.png: there is no such file"),
        (("text.png", "out.png"), "text.png: is not a picture"),
        (("in.png", "out.xyz"), "out.xyz: can't be written"),
        (("in.png", "none/out.png"), "none/out.png: can't be written"),
    ],
)
def test_a_consumer_refuses_in_one_line(exported, file, arguments, words, tmp_path):
    image.write(tmp_path / "in.png", skimage.data.coffee()[:40, :50])
    (tmp_path / "text.png").write_text("no picture")
    done = consumer(exported / file, *arguments, folder=tmp_path)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert {path.name for path in tmp_path.iterdir()} == {"in.png", "text.png"}


@pytest.mark.parametrize("file", ["model_int8.tflite", "model.onnx"])
def test_a_consumer_reads_16_bits_and_keeps_a_profile_of_rgb_alone(exported, file, tmp_path):
    grey = np.tile(np.linspace(0, 65535, 50).astype(np.uint16), (40, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png", icc_profile=b"of grey")
    assert consumer(exported / file, "grey.png", "out.png", folder=tmp_path).returncode == 0
    out = Image.open(tmp_path / "out.png")
    assert "icc_profile" not in out.info
    assert 100 < np.asarray(out).mean() < 155
    Image.fromarray(skimage.data.coffee()[:40, :50]).save(tmp_path / "rgb.png", icc_profile=b"of rgb")
    assert consumer(exported / file, "rgb.png", "out.png", folder=tmp_path).returncode == 0
    assert Image.open(tmp_path / "out.png").info["icc_profile"] == b"of rgb"


def test_a_consumer_says_what_is_wrong_with_a_model(exported, tmp_path):
    image.write(tmp_path / "in.png", skimage.data.coffee()[:40, :50])
    half = (exported / "model_int8.tflite").read_bytes()[:3000]
    (tmp_path / "half.tflite").write_bytes(half)
    done = consumer("half.tflite", "in.png", "o.png", folder=tmp_path)
    assert done.returncode == 2
    assert "half.tflite: can't be opened" in done.stderr
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes())
    assert "no manifest.json lies beside it" in consumer("model.onnx", "in.png", "o.png", folder=tmp_path).stderr
    assert "is not a TFLite file" in consumer("in.png", "in.png", "o.png", folder=tmp_path).stderr


def test_artifacts_are_replayed_and_a_changed_one_is_found(exported, tmp_path):
    done = run("check_artifacts.py", exported, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 ok, 0 failed, 0 skipped" in done.stdout
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", exported, copy], check=True)
    golden = json.loads((copy / "manifest.json").read_text())["artifacts"][1]["golden"]
    image.write(copy / golden["sr"], image.read(copy / golden["sr"])[::-1])
    content = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = run("check_artifacts.py", copy, folder=tmp_path)
    assert done.returncode == 1
    assert "2 ok, 2 failed" in done.stdout
    assert "it is not what was exported (sha256)" in done.stdout
    (copy / golden["sr"]).unlink()
    done = run("check_artifacts.py", copy, folder=tmp_path)
    assert f"{golden['sr']} is missing" in done.stdout
    assert "2 ok, 2 failed" in done.stdout
    assert "is no export folder" in run("check_artifacts.py", tmp_path, folder=tmp_path).stderr


def test_an_artifact_without_its_runtime_is_skipped_by_name(tmp_path):
    keras.utils.set_random_seed(0)
    component.build(models, {"name": "anchor", "filters": 4, "blocks": 1}, scale=2).save(tmp_path / "net.keras")
    plan = recipe.Recipe.model_validate({"artifacts": [{"name": "saved_model", "tolerance": 1e-4}]})
    export.export(tmp_path / "net.keras", plan, tmp_path / "out")
    done = run("check_artifacts.py", tmp_path / "out", folder=tmp_path)
    assert done.returncode == 1  # nothing was checked
    assert "skipped  saved_model" in done.stdout
    assert "needs tensorflow" in done.stdout
