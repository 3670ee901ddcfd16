"""The benchmark tool, at tiny sizes: what it reports, and that it compares like with like. No time is asserted."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sr_keras import store

TOOL = Path(__file__).parent.parent / "tools" / "benchmark.py"
TORCH_PYTHON = os.environ.get("SR_KERAS_TORCH_PYTHON", sys.executable)
on_linux = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc/self/status")


@pytest.fixture
def part(monkeypatch):
    """Imports a file of tools/benchmarks."""
    monkeypatch.syspath_prepend(TOOL.parent)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny anchor x2 in a .keras file."""
    import keras

    from sr_keras.models import anchor

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.keras"
    anchor.build(scale=2, filters=4, blocks=1).save(path)
    return path


@pytest.fixture(scope="module")
def torch_python():
    """A Python with PyTorch: that of SR_KERAS_TORCH_PYTHON, or this one."""
    code = "import numpy, torch"
    if subprocess.run([TORCH_PYTHON, "-c", code], capture_output=True, check=False).returncode:
        pytest.skip(f"{TORCH_PYTHON} has no PyTorch; set SR_KERAS_TORCH_PYTHON")
    return TORCH_PYTHON


def run(*words):
    return subprocess.run([sys.executable, TOOL, *map(str, words)], capture_output=True, text=True, timeout=300)


def measured(folder, *words):
    """Returns the rows of all tables as mappings, and the JSON report."""
    done = run(*words, "--json", folder / "report.json")
    assert done.returncode == 0, done.stderr
    return tables(done.stdout), json.loads((folder / "report.json").read_text())


def tables(text):
    found, header = [], None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            header = None
        elif header is None:
            header = cells
            found.append([])
        elif not cells[0].startswith("--"):
            found[-1].append(dict(zip(header, cells, strict=True)))
    return found


def test_input_reports_the_store_and_both_ways_to_read_files(tmp_path):
    (table,), report = measured(tmp_path, "input", "--rounds", 1, "--seconds", 0.05, "--batch", 2)
    assert [row["pictures from"] for row in table] == ["store", "files, image.read", "files, OpenCV alone"]
    assert all(float(row["samples/s"]) > 0 and float(row["the store is faster by"]) > 0 for row in table)
    for row in report["rows"]:
        speeds = row["samples_per_second"]
        assert speeds["ratio"] == pytest.approx(speeds["ours"] / speeds["peer"])
    assert set(report["machine"]) == {"processor", "cores", "load", "versions", "commit"}
    assert all(report["machine"][key] for key in ("processor", "cores", "versions", "commit"))


@on_linux
def test_degradation_reports_each_of_them_and_its_stages(tmp_path):
    tiny = ("--rounds", 1, "--seconds", 0.05, "--batch", 2, "--patch", 32, "--names", "real_world")
    (samples, stages), _ = measured(tmp_path, "degradation", *tiny)
    assert [row["degradation"] for row in samples] == ["bicubic", "real_world"]
    assert {"Poisson noise", "JPEG", "sharpening"} <= {row["stage"] for row in stages}


def test_a_store_is_not_read_into_memory(tmp_path):
    (tmp_path / "work").mkdir()
    words = ("memory", "--gigabytes", 0.1, "--seconds", 0.5, "--folder", tmp_path / "work")
    (table,), report = measured(tmp_path, *words)
    row = report["rows"][0]
    assert set(table[0]) == {
        "store", "samples taken", "RssAnon before", "RssAnon grew by", "part of the store", "RssFile grew by",
    }  # fmt: skip
    assert min(row["store"], row["samples"], row["rss_anon_before"], row["rss_file_growth"]) > 0
    assert row["rss_anon_growth"] < row["store"] / 2
    assert not list((tmp_path / "work").iterdir())


def test_input_refuses_to_compare_other_samples(part):
    grey, black = (store.of_arrays([np.full((16, 16, 3), value, np.uint8)], ["one"]) for value in (128, 0))
    with pytest.raises(RuntimeError, match="black gives other samples"):
        part("stored_input")._refuse_other_samples({"store": grey, "same": grey, "black": black}, 2, 8)


def test_a_ratio_is_the_median_of_the_rounds_ratios(part):
    speeds = part("report").Speeds.of([10.0, 2.0, 9.0], [5.0, 0.5, 3.0])  # the middle round was slow for both
    assert (speeds.ratio, speeds.lowest_ratio, speeds.highest_ratio) == (3.0, 2.0, 4.0)


def test_training_takes_turns_and_leaves_the_first_out(part):
    done = []

    class Peer:
        def ask(self):
            done.append("theirs")
            return {"seconds": 2.0, "input_seconds": 0.5}

    turns = part("training").Turns(Peer(), "tiny", rounds=2, steps=3, warm_up=1)
    for _ in range(turns.total):
        done.append("ours")
        turns.after_step()
    assert done == (["ours"] * 4 + ["theirs"]) * 3
    assert (len(turns.ours), turns.theirs, turns.peer_waits) == (2, [1.5, 1.5], [0.25, 0.25])


def test_training_without_pytorch_says_what_to_install(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # without the installed packages
    bare.chmod(0o755)
    done = run("training", "--torch-python", bare)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "pip install torch" in done.stderr
    assert "--torch-python" in done.stderr


def test_the_pytorch_half_needs_nothing_of_tensorflow_or_sr_keras():
    code = "import benchmark, sys; print(*{'tensorflow', 'keras', 'sr_keras', 'cv2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=TOOL.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


TINY = ("--size", "64x48", "--rounds", 1, "--pictures", 2)


@on_linux
def test_upscale_reports_a_row_for_each_runtime_and_for_each_kind_of_folder(tmp_path, model):
    words = ("upscale", *TINY, "--model", model, "--runtimes", "keras", "opencv", "upscaler-default")
    (runtimes, folder), report = measured(tmp_path, *words)
    names = [row["runtime"].partition(" (")[0] for row in runtimes]
    assert names == ["Keras float32", "OpenCV bicubic", "Upscaler, default install"]
    assert [row["pictures"] for row in folder] == ["2 JPEG", "2 PNG"]
    keras, opencv, upscaler = report["rows"]
    assert keras["psnr_to_keras"] is None and keras["times"] is None
    assert opencv["peak_memory"] < keras["peak_memory"]  # it has no TensorFlow
    assert "OpenVINO" not in upscaler["chosen"]
    assert upscaler["psnr_to_keras"] is None or upscaler["psnr_to_keras"] > 45
    for row in report["folder"]:
        assert row["rates"]["ratio"] == pytest.approx(row["rates"]["ours"] / row["rates"]["peer"])


@pytest.fixture
def upscale(part, model, torch_python, monkeypatch):
    """Measures Keras and PyTorch on a tiny picture, without a process of its own."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # is set, and would stay so
    return lambda: part("upscaling").upscale(
        model=model, data=None, evaluated=None, size=(16, 24), runtimes=["torch"], tables=["runtimes"],
        torch_python=torch_python, threads=1, rounds=1, pictures=1, without_openvino=False,
    )  # fmt: skip


@on_linux
def test_upscale_measures_pytorch_with_the_same_weights(upscale):
    report = upscale()
    keras, torch = report.tables[0].rows
    assert torch.psnr_to_keras is None or torch.psnr_to_keras > 100
    assert torch.times.ratio == 1.0
    assert keras.times.ratio == pytest.approx(keras.seconds / torch.seconds)
    assert "PyTorch" in report.versions


@on_linux
def test_upscale_refuses_pytorch_in_another_channel_order(upscale, part, monkeypatch):
    monkeypatch.setattr(part("torch_networks"), "pixel_order", lambda channels, scale: np.arange(channels * scale**2))
    with pytest.raises(RuntimeError, match="not the same network"):
        upscale()


def test_pytorch_gets_the_weights_in_its_own_order(part, model):
    import keras

    networks = part("torch_networks")
    network = keras.models.load_model(model)
    last = [layer for layer in network.layers if layer.weights][-1].get_weights()[0]
    state = networks.anchor_weights(network)
    assert [state[f"body.{k}.weight"].shape for k in (0, 2, 4)] == [(4, 3, 3, 3), (4, 4, 3, 3), (12, 4, 3, 3)]
    for dy, dx, colour in np.ndindex(2, 2, 3):
        theirs = state["body.4.weight"][(colour * 2 + dy) * 2 + dx]
        np.testing.assert_array_equal(theirs, last[..., (dy * 2 + dx) * 3 + colour].transpose(2, 0, 1))


def test_other_pixels_of_pytorch_are_refused(part, model):
    import keras

    upscaling, networks = part("upscaling"), part("torch_networks")
    lr = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
    network = keras.models.load_model(model)
    before = keras.Model(network.input, network.layers[-1].output)  # the sum, before its pixels are put in place
    channels, expected = before(lr).numpy(), np.asarray(network(lr))
    for order in (networks.pixel_order(3, 2), np.arange(12)):
        shuffled = channels[..., order].reshape(1, 8, 8, 3, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(1, 16, 16, 3)
        sr = shuffled.clip(0.0, 1.0)
        if order[1] == 3:
            upscaling.refuse_other_pixels("torch", sr, expected)
        else:
            with pytest.raises(RuntimeError, match="not the same network"):
                upscaling.refuse_other_pixels("torch", sr, expected)


def test_pytorch_has_no_other_network_than_an_anchor(part):
    from sr_keras.errors import InputError
    from sr_keras.models import espcn

    with pytest.raises(InputError, match="--runtimes"):
        part("torch_networks").anchor_weights(espcn.build(scale=2))


def test_a_mosaic_is_of_photographs_alone(part):
    squares = [np.full((4, 4, 3), value, np.uint8) for value in (10, 20)]
    pixels = part("mosaic").mosaic(squares, 10, 6, seed=0)
    assert pixels.shape == (10, 6, 3)
    assert set(np.unique(pixels)) == {10, 20}


@on_linux
def test_upscale_memory_watches_the_command_line(tmp_path, model):
    (tmp_path / "work").mkdir()
    words = ("upscale-memory", "--model", model, "--megapixels", 0.01, "--scales", 2, "--formats", "png", "--tiff", 0)
    (table,), report = measured(tmp_path, *words, "--runtime", "tensorflow", "--folder", tmp_path / "work")
    (row,) = report["rows"]
    assert table[0]["runtime"] == row["runtime"] == "TensorFlow float32"
    assert [2 * side for side in row["input_size"]] == row["output_size"]
    assert row["peak_memory"] > 1e8  # TensorFlow alone takes that
    assert row["output_bytes"] > 0 and row["seconds"] > row["enlarging"] > 0 and row["error"] is None
    assert not list((tmp_path / "work").iterdir())


@on_linux
def test_upscale_memory_tells_of_a_picture_that_failed(part, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    row = part("upscale_memory")._run(tmp_path / "broken.png", tmp_path / "none.keras", 2, "auto", "png")
    assert "none.keras" in row.error
    assert row.output_bytes == 0


@on_linux
def test_artifacts_are_timed_in_turns_beside_bicubic_and_float32(tmp_path, model):
    from sr_keras import export, recipe

    files = [{"precision": "float32"}, {"precision": "float32", "size": [48, 64]}, {"precision": "float16"}]
    targets = [{"name": "tflite", "tolerance": 1e-2, **file} for file in files] + [{"name": "onnx", "tolerance": 1e-3}]
    export.export(model, recipe.Recipe.model_validate({"artifacts": targets}), tmp_path / "out")
    words = ("artifacts", tmp_path / "out", "--size", "64x48", "--threads", 1, "--rounds", 2)
    (table,), report = measured(tmp_path, *words)
    assert [row["file"] for row in table] == [
        "OpenCV bicubic", "model_float32_48x64.tflite", "model_float16.tflite", "model.onnx",
    ]  # fmt: skip
    for row in report["rows"]:
        assert row["median"] > 0 and row["p95"] >= row["median"] and len(row["rounds"]) == 2
        assert row["peak"] > row["grown"] > 0
        assert (row["speed"] is None) == (row["kind"] == "tflite float32")
    assert "model_float32.tflite" in report["notes"][1]  # the one of free size, beside the fixed one


def test_artifacts_says_what_is_no_export_folder(tmp_path):
    done = run("artifacts", tmp_path)
    assert done.returncode != 0
    assert "is no export folder" in done.stderr


ADB = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *getprop\\ ro.product.model*) echo "Pixel of the tests";;
  *use_gpu*) echo "ERROR: no GPU here"; exit 1;;
  *benchmark_model\\ --graph*)
    echo "INFO: Replacing 11 out of 13 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1 partitions"
    echo "count=3 first=99000 curr=9 min=1 max=9 avg=9 std=1 p5=1 median=99000 p95=99000"
    echo "count=50 first=266601 curr=266931 min=265837 max=268116 avg=12500 std=419 p5=12000 median=12400 p95=13100"
    echo "Inference timings in us: Init: 5685, First inference: 18535, Warmup (avg): 99000, Inference (avg): 1.25e+04"
    echo "Overall peak memory footprint (MB) via periodic monitoring: 42.5";;
esac
"""


@pytest.fixture
def adb(tmp_path, monkeypatch):
    """Puts a program of the name adb first on PATH that says what benchmark_model says; no phone is here."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "adb"
    program.write_text(ADB.format(log=tmp_path / "adb.log"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "adb.log"


def test_a_phones_figures_are_read_off_benchmark_model(tmp_path, adb):
    (tmp_path / "model_int8_128x128.tflite").write_bytes(b"")
    (tmp_path / "model_int8.tflite").write_bytes(b"")  # of free size: left out
    (table,), report = measured(tmp_path, "phone", tmp_path, "--binary", TOOL, "--threads", 4)
    cpu, gpu = report["rows"]
    assert (cpu["average"], cpu["median"], cpu["p95"], cpu["peak_megabytes"]) == (12.5, 12.4, 13.1, 42.5)
    assert (cpu["delegated"], cpu["error"]) == ("11/13", None)
    assert (gpu["average"], gpu["error"]) == (None, "ERROR: no GPU here")
    assert [row["file"] for row in table] == ["model_int8_128x128.tflite"] * 2
    assert "model: Pixel of the tests" in report["notes"]
    said = adb.read_text()
    assert "push" in said and "chmod +x" in said and "--num_threads=4" in said and "--use_xnnpack=true" in said
    assert "rm /data/local/tmp/model_int8_128x128.tflite" in said


def test_a_phone_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "model_int8_128x128.tflite").write_bytes(b"")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run("phone", tmp_path)
    assert done.returncode != 0
    assert "there is no adb; install" in done.stderr
    done = run("phone", tmp_path / "none")
    assert "holds no .tflite file of fixed size" in done.stderr


@on_linux
def test_widths_are_timed_in_int8_and_float32(tmp_path):
    (table,), report = measured(tmp_path, "widths", "--filters", 8, "--size", "32x24", "--rounds", 2, "--threads", 1)
    assert [row["filters"] for row in table] == ["8"]
    for row in report["rows"]:
        assert row["int8"] > 0 and row["float32"] > 0 and len(row["speed"]["rounds_ours"]) == 2
    assert report["rows"][0]["macs"] == 9 * (3 * 8 + 4 * 64 + 8 * 12)
