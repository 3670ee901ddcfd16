"""Training: exact resume, several devices, stopping, starting from other weights, run folders."""

import json
import os
import resource
import signal
import subprocess
import time

import numpy as np
import pytest
import runs

from sr_keras import config as config_file
from sr_keras import predictor, train
from sr_keras.errors import InputError
from sr_keras.run import Run

TINY = (
    "precision=float32", "model.filters=4", "model.blocks=1", "data.patch=16", "train.batch=4",
    "train.epochs=3", "train.steps_per_epoch=8", "train.log_every=1000", "train.schedule.warmup=2",
)  # fmt: skip


def trained(folder, *overrides):
    run = Run(folder)
    train.train(config_file.load("quickstart", [*TINY, *overrides]), run)
    return run


def test_a_run_killed_in_mid_epoch_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, photographs):
    slow = [*photographs, "train.checkpoint_every=3", "train.epochs=40"]
    whole = trained(tmp_path / "whole", *slow)
    killed = runs.killed_after_a_checkpoint(tmp_path / "killed", *TINY, *slow)
    trained(killed.folder, *slow)
    assert runs.same(runs.arrays(whole), runs.arrays(killed))


@pytest.mark.slow
def test_five_random_kills_change_nothing(tmp_path, photographs):
    slow = [*photographs, "train.checkpoint_every=7", "train.epochs=10", "train.steps_per_epoch=500"]
    whole = trained(tmp_path / "whole", *slow)
    killed, random, kills = Run(tmp_path / "killed"), np.random.default_rng(), 0
    while not killed.results.is_file():
        process = subprocess.Popen(runs.command(killed.folder, *TINY, *slow))
        try:
            process.wait(random.uniform(6.0, 9.0) if kills < 5 else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills == 5
    assert runs.same(runs.arrays(whole), runs.arrays(killed))


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path, photographs):
    long = [*photographs, "train.checkpoint_every=3", "train.epochs=1000"]
    process = subprocess.Popen(runs.command(tmp_path / "run", *TINY, *long), stderr=subprocess.PIPE, text=True)
    run = Run(tmp_path / "run")
    while not run.last.is_file():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    step = int(json.loads(run.progress.read_text())["step"])
    assert f"at step {step};" in said


def test_more_epochs_go_on_from_the_end_of_a_finished_run(tmp_path, photographs):
    constant = [*photographs, "train.schedule=constant"]
    once = trained(tmp_path / "once", *constant, "train.epochs=5")
    twice = trained(tmp_path / "twice", *constant)
    trained(tmp_path / "twice", *constant, "train.epochs=5")
    assert runs.same(runs.arrays(once), runs.arrays(twice))


def test_two_devices_give_the_weights_of_one_with_the_same_global_batch(tmp_path, photographs):
    words = [*TINY, *photographs, "losses=[l1, {name: ssim, weight: 0.1}]"]
    assert runs.difference_on_two_devices(tmp_path, *words) < 1e-6


def test_weights_of_another_scale_are_taken_up_to_the_last_layer(tmp_path, photographs):
    import keras

    source = trained(tmp_path / "x2", *photographs)
    start = [*photographs, "scale=3", "data.patch=24", f"start_from={source.folder}", "train.learning_rate=1e-30"]
    target = trained(tmp_path / "x3", *start, "train.ema=null")
    x2, x3 = (keras.saving.load_model(run.generator, compile=False).get_weights() for run in (source, target))
    assert runs.same(x2[:4], x3[:4])
    assert x2[4].shape != x3[4].shape


@pytest.mark.parametrize("expansion", [0, 2])
def test_collapsible_convolutions_go_on_from_plain_ones_and_from_others(tmp_path, photographs, expansion):
    words = [*photographs, "precision=float32", "train.ema=null"]
    source = trained(tmp_path / "source", *words, f"model.expansion={expansion}")
    start = [f"start_from={source.folder}", "model.expansion=3", "train.learning_rate=1e-30"]
    target = trained(tmp_path / "target", *words, *start)
    expected, weights = (predictor.open_collapsed(run.folder).get_weights() for run in (source, target))
    for one, other in zip(expected, weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_run_of_another_config_is_refused_with_the_differences(tmp_path, photographs):
    run = trained(tmp_path / "run", *photographs)
    before = run.config.read_bytes()
    with pytest.raises(InputError, match=r"train\.batch is 4 there and 8 here.*another --run"):
        trained(tmp_path / "run", *photographs, "train.batch=8")
    assert run.config.read_bytes() == before


def test_bad_options_leave_no_run_folder(tmp_path, capfd):
    assert train.main(["model.filers=3", "--run", str(tmp_path / "run")]) == 2
    assert "did you mean 'filters'?" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_says_so_and_exits_0(tmp_path, photographs, capsys):
    run = trained(tmp_path / "run", *photographs)
    changed = run.generator.stat().st_mtime_ns
    assert train.main([*TINY, *photographs, "--run", str(run.folder)]) == 0
    assert "finished, 24 steps" in capsys.readouterr().out
    assert run.generator.stat().st_mtime_ns == changed


def test_a_second_process_on_the_same_run_is_refused(tmp_path, photographs, capfd):
    from filelock import FileLock

    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        assert train.main([*TINY, *photographs, "--run", str(tmp_path / "run")]) == 2
    assert "another process trains there" in capfd.readouterr().err


def test_a_disk_that_fills_while_saving_keeps_the_last_good_checkpoint(tmp_path, photographs):
    run = trained(tmp_path / "run", *photographs)
    before = run.last.read_bytes(), run.generator.read_bytes()

    def limit():  # a file can't grow beyond this size: write() fails as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (run.last.stat().st_size // 2,) * 2)

    more = runs.command(run.folder, *TINY, *photographs, "train.epochs=4")
    done = subprocess.run(more, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "what stood there before stays" in done.stderr
    assert (run.last.read_bytes(), run.generator.read_bytes()) == before
    assert not [name for name in os.listdir(run.last.parent) if name.startswith("partial")]


def test_the_validation_figures_are_those_of_the_saved_network(tmp_path, photographs):
    from sr_keras.evaluate import evaluate

    run = trained(tmp_path / "run", *photographs)
    results = json.loads(run.results.read_text())
    folder = photographs[1].removeprefix("data.valid=")
    found = evaluate(str(run.folder), tmp_path / folder)
    assert found.psnr == pytest.approx(results["psnr"], abs=1e-4)
    assert found.bicubic_psnr == pytest.approx(results["bicubic_psnr"], abs=1e-9)


def test_luminance_networks_train_and_enlarge_colour(tmp_path, photographs):
    from sr_keras import predictor

    y = [*photographs, "data.channels=y", "model={name: espcn}", "losses=mse"]
    run = trained(tmp_path / "run", *y)
    predict = predictor.open_model(run.folder)
    assert predict.channels == 1
    assert predict(np.full((9, 7, 3), 200, np.uint8)).shape == (18, 14, 3)


def test_pairs_of_folders_are_learnt_from(tmp_path, photographs):
    from sr_keras import image, resize

    hr, lr = tmp_path / "hr", tmp_path / "lr"
    hr.mkdir()
    lr.mkdir()
    for file in image.listing(photographs[0].removeprefix("data.train=")):
        image.write(hr / file.name, image.read(file))
        image.write(lr / file.name, resize.imresize(image.read(file), 0.5))
    made = trained(tmp_path / "made", *photographs)
    paired = trained(tmp_path / "paired", f"data.train={{hr: {hr}, lr: {lr}}}", photographs[1])
    assert not runs.same(runs.arrays(made), runs.arrays(paired))
    assert json.loads(paired.results.read_text())["steps"] == 24


def test_loss_scaling_and_averages_survive_a_resume_under_float16(tmp_path, photographs):
    half = [
        *photographs,
        "precision=mixed_float16",
        "train.ema=0.5",
        "train.steps_per_epoch=2",
        "train.schedule=constant",
    ]
    whole = trained(tmp_path / "whole", *half, "train.epochs=2")
    parts = trained(tmp_path / "parts", *half, "train.epochs=1")
    trained(parts.folder, *half, "train.epochs=2")
    assert runs.same(runs.arrays(whole), runs.arrays(parts))


def test_a_first_start_that_failed_does_not_bind_the_folder(tmp_path, photographs):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("train: {batch: 9}")
    assert trained(tmp_path / "run", *photographs).results.is_file()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("losses=ssim data.patch=8", "can't take patches of 8 pixels"),
        ("model=cnn_fc", "takes only LR pictures of 14x14"),
        ("model.scale=3", "'scale' is not an option to set here"),
    ],
)
def test_what_would_break_in_the_first_step_is_said_before_it(tmp_path, photographs, override, line):
    with pytest.raises(InputError, match=line):
        trained(tmp_path / "run", *photographs, *override.split())
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_grey_validation_pictures_stay_grey(tmp_path, photographs):
    from sr_keras import image
    from sr_keras.evaluate import evaluate

    folder = tmp_path / "grey"
    folder.mkdir()
    for file in image.listing(photographs[0].removeprefix("data.train=")):
        image.write(folder / file.name, image.read(file)[..., :1])
    run = trained(tmp_path / "run", photographs[0], f"data.valid={folder}")
    assert evaluate(str(run.folder), folder).psnr == pytest.approx(
        json.loads(run.results.read_text())["psnr"], abs=1e-4
    )
