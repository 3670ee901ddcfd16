"""The main job as a user does it: the verbs as processes, from an empty folder."""

import json
import subprocess
import sys

import pytest

FEW = ("train.epochs=2", "train.steps_per_epoch=20", "train.batch=4", "data.patch=32", "train.schedule.warmup=0")


def run(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder in which the quickstart was trained for a few steps."""
    folder = tmp_path_factory.mktemp("empty")
    done = run(folder, "sr_keras.train", *FEW)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "next: python -m sr_keras.export runs/quickstart"
    for noise in ("oneDNN", "cuda", "WARNING", "absl", "Warning"):
        assert noise not in done.stdout + done.stderr
    return folder


def test_a_run_folder_holds_what_it_promises(folder):
    run_folder = folder / "runs" / "quickstart"
    for name in ("generator.keras", "config.yaml", "results.json", "logs"):
        assert (run_folder / name).exists()
    results = json.loads((run_folder / "results.json").read_text())
    assert {"psnr", "ssim", "bicubic_psnr", "steps"} <= set(results)


def test_the_run_is_exported_quietly_and_every_artifact_evaluates(folder):
    done = run(folder, "sr_keras.export", "runs/quickstart", "server")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("| ok |") == 2


def test_a_photograph_is_upscaled(folder):
    import skimage.data

    from sr_keras import image

    image.write(folder / "cat.jpg", skimage.data.chelsea()[:60, :80])
    done = run(folder, "sr_keras.upscale", "cat.jpg", "--model", "runs/quickstart")
    assert done.returncode == 0 and "cat_x2.jpg" in done.stdout
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("runs/quickstart x2 on ")
    assert image.read(folder / "cat_x2.jpg").shape == (120, 160, 3)


def test_the_list_of_verbs_is_printed(folder):
    done = run(folder, "sr_keras")
    for verb in ("train", "evaluate", "upscale", "export"):
        assert f"python -m sr_keras.{verb}" in done.stdout


def test_tensorboard_files_hold_every_promised_tag(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorflow import make_ndarray

    events = EventAccumulator(str(folder / "runs" / "quickstart" / "logs"), size_guidance={"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {
        "train/loss", "train/psnr", "validation/psnr", "validation/ssim", "learning_rate",
        "speed/steps_per_second", "speed/data_wait_share", "final/psnr",
    } <= tags  # fmt: skip
    assert any(tag.startswith("LR - bicubic - SR - HR/") for tag in tags)
    assert events.SummaryMetadata("generator").plugin_data.plugin_name == "graph_run_metadata_graph"
    shares = [float(make_ndarray(tensor.tensor_proto)) for tensor in events.Tensors("speed/data_wait_share")]
    assert all(0 <= share <= 1 for share in shares)
