"""Quantisation-aware and collapsible training: where it begins, exact resume, averages, what is saved."""

import numpy as np
import pytest
import runs

from sr_keras import Upscaler, image, predictor, quantize, train
from sr_keras import config as config_file
from sr_keras.errors import InputError
from sr_keras.layers.collapsible_conv import CollapsibleConv2D
from sr_keras.layers.fake_quant import FakeQuant
from sr_keras.run import Run

TINY = (
    "precision=float32", "model={name: anchor, filters: 4, blocks: 1}", "data.patch=16", "train.batch=4",
    "train.epochs=2", "train.steps_per_epoch=8", "train.log_every=1000",
)  # fmt: skip
QUANTIZED = ("quantization.pictures=4", "train.learning_rate=1e-4")


def trained(folder, *overrides):
    run = Run(folder)
    train.train(config_file.load("quickstart", [*TINY, *overrides]), run)
    return run


def ranges(network):
    return [layer.ends for layer in network.layers if isinstance(layer, FakeQuant)]


@pytest.fixture(scope="module")
def float_run(tmp_path_factory):
    """A run of a collapsible network, trained on a photograph of its own."""
    import skimage.data

    from sr_keras import image

    folder = tmp_path_factory.mktemp("float")
    image.write(folder / "pictures" / "cat.png", skimage.data.chelsea()[100:164, 100:180])
    data = [f"data.train={folder / 'pictures'}", f"data.valid={folder / 'pictures'}"]
    return trained(folder / "run", *data, "model.expansion=2")


def test_a_collapsible_run_keeps_what_it_learnt_with_and_counts_what_it_ships(float_run):
    kept = predictor.open_network(float_run.folder)
    assert any(isinstance(layer, CollapsibleConv2D) for layer in kept.layers)
    shipped = predictor.open_collapsed(float_run.folder)
    assert not any(isinstance(layer, CollapsibleConv2D) for layer in shipped.layers)
    assert f'"parameters": {shipped.count_params()},' in float_run.results.read_text()
    lr = np.random.default_rng(0).random((1, 12, 10, 3)).astype(np.float32)
    np.testing.assert_allclose(shipped(lr), kept(lr), atol=1e-5)


def test_quantised_training_begins_at_the_float_network_with_ranges_of_real_pictures(float_run, tmp_path, photographs):
    still = ("train.learning_rate=1e-12", "quantization.momentum=1", "train.epochs=1")
    run = trained(tmp_path / "run", *photographs, *QUANTIZED, *still, f"start_from={float_run.folder}")
    twin, shipped = predictor.open_network(run.folder), predictor.open_collapsed(float_run.folder)
    back = quantize.without_fake_quantisation(twin)
    lr = np.random.default_rng(0).random((1, 12, 10, 3)).astype(np.float32)
    np.testing.assert_allclose(back(lr), np.clip(shipped(lr), 0.0, 1.0), atol=1e-5)
    assert len(set(ranges(twin))) > 3  # one a tensor, none as it was before calibration
    assert (-1.0, 1.0) not in ranges(twin)


def test_a_quantised_run_that_was_killed_ends_as_an_uninterrupted_one(float_run, tmp_path, photographs):
    slow = [*photographs, *QUANTIZED, f"start_from={float_run.folder}", "train.checkpoint_every=3", "train.epochs=12"]
    whole = trained(tmp_path / "whole", *slow)
    killed = runs.killed_after_a_checkpoint(tmp_path / "killed", *TINY, *slow)
    trained(killed.folder, *slow)
    assert runs.same(runs.arrays(whole), runs.arrays(killed))
    assert len(set(ranges(predictor.open_network(whole.folder)))) > 3


def test_averaged_weights_are_saved_with_ranges_that_are_no_average_of_weights(float_run, tmp_path, photographs):
    run = trained(tmp_path / "run", *photographs, *QUANTIZED, f"start_from={float_run.folder}", "train.ema=0.5")
    kept = predictor.open_network(run.folder)
    names = [(variable.path, variable.trainable) for variable in kept.variables]
    trained_last = dict(zip(names, runs.arrays(run), strict=False))  # a checkpoint begins with the network's own
    for variable in kept.variables:
        same = np.array_equal(variable, trained_last[variable.path, variable.trainable])
        assert same != variable.trainable, variable.path


def test_a_quantised_run_goes_on_from_a_quantised_one_with_its_ranges(float_run, tmp_path, photographs):
    first = trained(tmp_path / "first", *photographs, *QUANTIZED, f"start_from={float_run.folder}")
    still = ("train.learning_rate=1e-12", "quantization.momentum=1", "train.epochs=1")
    second = trained(tmp_path / "second", *photographs, *QUANTIZED, *still, f"start_from={first.folder}")
    before, after = (ranges(predictor.open_network(run.folder)) for run in (first, second))
    np.testing.assert_allclose(before, after, rtol=1e-6)


@pytest.mark.parametrize("expansion", [0, 2])
def test_a_float_run_begins_at_a_collapsible_one_with_the_same_layers_or_plain_ones(
    float_run, tmp_path, photographs, expansion
):
    still = ("train.learning_rate=1e-12", "train.epochs=1", f"model.expansion={expansion}")
    run = trained(tmp_path / "run", *photographs, *still, f"start_from={float_run.folder}")
    lr = np.random.default_rng(0).random((1, 12, 10, 3)).astype(np.float32)
    before, after = (predictor.open_collapsed(each.folder)(lr) for each in (float_run, run))
    np.testing.assert_allclose(before, after, atol=1e-5)


def test_a_float_run_begins_at_one_trained_for_int8(float_run, tmp_path, photographs):
    first = trained(tmp_path / "first", *photographs, *QUANTIZED, f"start_from={float_run.folder}")
    still = ("train.learning_rate=1e-12", "train.epochs=1")
    run = trained(tmp_path / "run", *photographs, *still, f"start_from={first.folder}")
    assert not quantize.is_fake_quantised(predictor.open_network(run.folder))


def test_quantised_training_takes_float32_by_itself_and_counts_no_ranges(float_run, tmp_path, photographs):
    auto = (*photographs, *QUANTIZED, f"start_from={float_run.folder}", "precision=auto", "train.epochs=1")
    run = trained(tmp_path / "run", *auto)
    assert run.load_config().precision == "float32"
    assert f'"parameters": {predictor.open_collapsed(float_run.folder).count_params()},' in run.results.read_text()


def test_what_was_trained_for_int8_is_upscaled_with_as_it_computes(float_run, tmp_path, photographs):
    run = trained(tmp_path / "run", *photographs, *QUANTIZED, f"start_from={float_run.folder}")
    lr = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    expected = predictor.open_model(run.folder)(lr)
    np.testing.assert_array_equal(Upscaler(run.folder)(lr), image.to_uint8(expected))
    with pytest.raises(InputError, match="runs on TensorFlow float32 only"):
        Upscaler(run.folder, runtime="onnx")


@pytest.mark.parametrize("precision", ["mixed_bfloat16"])
def test_quantised_training_under_bfloat16_is_kept_in_float32(float_run, tmp_path, photographs, precision):
    overrides = (*photographs, *QUANTIZED, f"start_from={float_run.folder}", f"precision={precision}")
    run = trained(tmp_path / "run", *overrides)
    assert {layer.compute_dtype for layer in predictor.open_network(run.folder).layers} == {"float32"}


def test_a_network_that_can_not_be_quantised_is_refused_before_the_first_step(tmp_path, photographs):
    with pytest.raises(InputError, match=r"model fsrcnn: quantisation takes plain convolutions.*take a network"):
        trained(tmp_path / "run", *photographs, *QUANTIZED, "model={name: fsrcnn}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["anchor", "espcn", "srvgg", "edsr"])
def test_a_short_training_becomes_int8_within_two_levels_of_its_twin(name, tmp_path, photographs):
    from sr_keras import export, recipe

    small = {"espcn": ""}.get(name, ", filters: 16, blocks: 2")
    model = f"model={{name: {name}{small}}}"
    long = ("train.steps_per_epoch=300", "train.epochs=2", "data.patch=48", "train.batch=8", model)
    first = trained(tmp_path / "float", *photographs, *long, "train.learning_rate=2e-3")
    run = trained(tmp_path / "qat", *photographs, *long, *QUANTIZED, f"start_from={first.folder}")
    plan = recipe.load("mobile_int8").model_copy(update={"artifacts": recipe.load("mobile_int8").artifacts[:2]})
    for checked in export.export(run.folder, plan, tmp_path / "out"):
        assert checked.fault is None
        assert checked.levels_999 is not None
        assert checked.levels_999 <= (2 if name == "edsr" else 1)
        assert checked.levels is not None
        assert checked.levels <= (6 if name == "edsr" else 2)  # a residual network passes each step on
