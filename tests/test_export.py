"""Export: every artifact run and compared, the manifest, and what happens when one is too far off."""

import hashlib
import importlib.util
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from sr_keras import _artifacts, calibration, component, config, export, image, models, predictor, quantize, recipe
from sr_keras.errors import InputError
from sr_keras.exporters._tflite_metadata import read_metadata


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("network") / "net.keras"
    component.build(models, {"name": "anchor", "filters": 16, "blocks": 1}, scale=2).save(path)
    return path


def test_the_default_recipe_is_written_checked_and_described(network, tmp_path, capsys):
    assert export.main([str(network), "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["scale"], manifest["channels"]) == (2, 3)
    assert (manifest["halo"], manifest["alignment"], manifest["whole_picture"]) == (3, 1, [])
    assert [a["kind"] for a in manifest["artifacts"]] == [
        "saved_model", "onnx", "tflite float32", "tflite float16", "tflite dynamic", "tflite int8",
    ]  # fmt: skip
    for artifact in manifest["artifacts"]:
        path = tmp_path / "out" / artifact["file"]
        assert artifact["file"] in said
        assert artifact["milliseconds"] > 0
        assert artifact["psnr_vs_hr"] > 20
        if path.is_file():
            assert (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) == (
                artifact["bytes"], artifact["sha256"],
            )  # fmt: skip
    differences = {a["kind"]: a["max_abs_difference"] for a in manifest["artifacts"]}
    assert max(differences[kind] for kind in ("saved_model", "onnx", "tflite float32")) <= 1e-4
    assert differences["tflite float16"] <= 2e-3
    assert manifest["artifacts"][-1]["psnr_vs_keras"] >= 40
    for artifact in manifest["artifacts"]:
        assert predictor.open_model(tmp_path / "out" / artifact["file"]).scale == 2


def manifest_of(x, lr, tmp_path):
    keras.Model(lr, x).save(tmp_path / "net.keras")
    plan = recipe.Recipe.model_validate({"artifacts": [{"name": "onnx", "tolerance": 1e-3}]})
    export.export(tmp_path / "net.keras", plan, tmp_path / "out")
    return json.loads((tmp_path / "out" / "manifest.json").read_text())


def test_the_manifest_tells_where_a_network_with_strides_may_be_cut(tmp_path):
    lr = keras.Input((32, 32, 3))
    x = layers.Conv2D(48, 3, strides=2, padding="same")(lr)
    manifest = manifest_of(ops.depth_to_space(x, 4), lr, tmp_path)
    assert (manifest["scale"], manifest["halo"], manifest["alignment"], manifest["whole_picture"]) == (2, 2, 2, [])


def test_the_manifest_names_the_layers_that_look_at_the_whole_picture(tmp_path):
    lr = keras.Input((None, None, 3))
    weight = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(lr)
    x = layers.UpSampling2D(2)(layers.Multiply()([lr, weight]))
    manifest = manifest_of(x, lr, tmp_path)
    assert (manifest["halo"], manifest["alignment"]) == (None, 1)
    assert manifest["whole_picture"] == ["GlobalAveragePooling2D 'squeeze'"]


def test_the_manifest_leaves_out_the_alignment_of_an_unknown_layer(tmp_path):
    lr = keras.Input((None, None, 3))
    manifest = manifest_of(keras.ops.repeat(keras.ops.repeat(lr, 2, axis=1), 2, axis=2), lr, tmp_path)
    assert manifest["halo"] is None
    assert "alignment" not in manifest


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
def test_the_desktop_recipe_writes_both_files_of_openvino_and_describes_them(network, tmp_path):
    for _ in range(2):  # the second replaces the first
        assert export.main([str(network), "desktop", "-o", str(tmp_path / "out")]) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    reports = ["report.html", "report.md", "report.png"]
    artifacts = ["manifest.json", "model.bin", "model.onnx", "model.xml", "model_float32.tflite"]
    assert files == ["golden", *artifacts, *reports]
    assert [a["kind"] for a in manifest["artifacts"]] == ["onnx", "tflite float32", "openvino"]
    openvino = manifest["artifacts"][2]
    assert (openvino["file"], openvino["files"]) == ("model.xml", ["model.bin", "model.xml"])
    contents = [(tmp_path / "out" / name).read_bytes() for name in openvino["files"]]
    assert openvino["bytes"] == sum(map(len, contents))
    assert openvino["sha256"] == hashlib.sha256(b"model.bin" + contents[0] + b"model.xml" + contents[1]).hexdigest()
    assert openvino["max_abs_difference"] <= 1e-4
    assert "openvino" in manifest["versions"]


def test_a_fixed_size_artifact_is_checked_at_its_size(network, tmp_path):
    plan = recipe.Recipe.model_validate(
        {"artifacts": [{"name": "tflite", "precision": "float16", "size": [40, 56], "tolerance": 2e-3}]}
    )
    (checked,) = export.export(network, plan, tmp_path / "out")
    assert checked.file == "model_float16_40x56.tflite"
    assert checked.timed_size == (40, 56)
    assert predictor.open_model(tmp_path / "out" / checked.file).size == (40, 56)


def test_an_artifact_over_its_tolerance_leaves_everything_as_it_was(network, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("of before")
    (tmp_path / "strict.yaml").write_text("artifacts: [{name: tflite, precision: float16, tolerance: 1.0e-9}]")
    assert export.main([str(network), str(tmp_path / "strict.yaml"), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "allowed 1.0e-09" in said.err
    assert "FAILED" in said.out
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["manifest.json"]
    assert (tmp_path / "out" / "manifest.json").read_text() == "of before"


def test_a_mixed_precision_network_is_exported_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = component.build(models, {"name": "anchor", "filters": 4, "blocks": 1}, scale=3)
    finally:
        keras.config.set_dtype_policy("float32")
    net.save(tmp_path / "bf16.keras")
    plan = recipe.Recipe.model_validate({"artifacts": [{"name": "tflite", "tolerance": 1e-4}]})
    (checked,) = export.export(tmp_path / "bf16.keras", plan, tmp_path / "out")
    assert checked.fault is None


def test_what_is_no_model_is_refused_in_one_line(tmp_path):
    plan = recipe.load("default")
    (tmp_path / "net.keras").write_text("not a model")
    for name, message in (
        ("net.keras", "is not a .keras file"),
        ("none.keras", "there is no such model"),
        ("a.onnx", "there is no such model"),
    ):
        with pytest.raises(InputError, match=message):
            export.export(tmp_path / name, plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_exporter_option_is_refused_with_a_suggestion(network, tmp_path):
    plan = recipe.Recipe.model_validate({"artifacts": [{"name": "tflite", "precison": "int8", "psnr": 40}]})
    with pytest.raises(InputError, match="did you mean 'precision'"):
        export.export(network, plan, tmp_path / "out")


def test_an_artifact_of_no_numbers_is_a_fault():
    checked = measured(max_abs_difference=float("nan"))
    assert _artifacts.judged(checked, recipe.Target(name="tflite", psnr=1)).fault == "gives values that are no numbers"


def measured(**figures):
    there = {
        "max_abs_difference": 0.01, "psnr_vs_keras": 50.0, "psnr_vs_hr": 30.0, "loss": 0.05, "levels": 4,
        "levels_999": 2, "milliseconds": 1.0, "timed_size": (8, 8), "golden": {},
    }  # fmt: skip
    return _artifacts.Checked("f", ("f",), "tflite", "int8", None, 1, "", (), {}, {}, **{**there, **figures})


@pytest.mark.parametrize(
    ("figures", "fault"),
    [
        ({}, None),
        ({"loss": 0.2}, "loses 0.20 dB against HR, allowed 0.1; train it for int8"),
        ({"loss": float("nan")}, "loses nan dB"),
        ({"levels_999": 3}, "one value in 1,000 is over 2 levels from the twin in Keras, 4 at most"),
        ({"levels_999": None}, None),  # ranges of the converter's
        ({"psnr_vs_keras": 39.0}, "39.0 dB against Keras, at least 40 needed"),
    ],
)
def test_int8_is_judged_by_what_it_loses(figures, fault):
    found = _artifacts.judged(measured(**figures), recipe.Target(name="tflite", psnr=40, loss=0.1, levels=2)).fault
    assert found is None if fault is None else found is not None and found.startswith(fault)


def test_what_to_do_about_a_loss_depends_on_the_network():
    target = recipe.Target(name="tflite", loss=0.1)
    for told, advice in (
        ({"trained": True}, "train it for longer"), ({"trainable": False}, "take float16, or a looser recipe"),
    ):  # fmt: skip
        fault = _artifacts.judged(measured(loss=0.2), target, **told).fault
        assert fault == f"loses 0.20 dB against HR, allowed 0.1; {advice}"


def test_the_help_lists_every_recipe(capsys):
    with pytest.raises(SystemExit):
        export.main(["--help"])
    shown = re.split(r"[\s,]+", capsys.readouterr().out)
    assert {path.stem for path in (Path(__file__).parent.parent / "export" / "recipes").glob("*.yaml")} <= set(shown)


def int8_plan(**more):
    target = {"name": "tflite", "precision": "int8", "loss": 1.0, "levels": 2}
    return recipe.Recipe.model_validate({"artifacts": [target], **more})


def test_auto_takes_the_ranges_that_lose_least_and_the_report_says_so(network, tmp_path):
    (checked,) = export.export(network, int8_plan(author="A. Nobody", license="CC0-1.0"), tmp_path / "out")
    assert checked.levels is not None
    assert checked.output_type == {"dtype": "uint8", "scale": pytest.approx(1 / 255), "zero_point": 0}
    text = (tmp_path / "out" / "report.md").read_text()
    lost = {name: float(loss) for name, loss in re.findall(r"(minmax|percentile|mse) ([+-][\d.]+) dB", text)}
    assert set(lost) == {"minmax", "percentile", "mse"}
    assert re.search(r"ranges by (\w+)\.", text)[1] in [
        name for name in lost if lost[name] <= min(lost.values()) + 1e-3
    ]
    assert re.search(r"Worst layers: conv2d\w*, conv2d\w*", text)
    said = read_metadata((tmp_path / "out" / checked.file).read_bytes())
    assert (said["author"], said["license"], said["halo"]) == ("A. Nobody", "CC0-1.0", 3)


def test_the_report_lists_operators_delegates_their_sources_and_pictures(network, tmp_path):
    plan = recipe.Recipe.model_validate(
        {"artifacts": [{"name": "tflite", "precision": "int8", "psnr": 30}, {"name": "tflite", "tolerance": 1e-3}]}
    )
    export.export(network, plan, tmp_path / "out")
    text, page = ((tmp_path / "out" / name).read_text() for name in ("report.md", "report.html"))
    for words in ("DEPTH_TO_SPACE 1", "XNNPACK partitions", "Hexagon delegate", "all but DEPTH_TO_SPACE", "coral_386"):
        assert words in text
        assert words in page
    assert "shuffle: transposed" in text
    assert page.count("<figure>") == 4  # bicubic and float, float and int8, of two photographs
    assert image.read(tmp_path / "out" / "report.png").shape[2] == 3
    assert "![bicubic, the float network, int8, HR](report.png)" in text


def test_qat_is_asked_for_where_the_recipe_wants_no_other(network, tmp_path):
    with pytest.raises(InputError, match="was not trained for int8; train it so, with start_from"):
        export.export(network, int8_plan(int8="qat"), tmp_path / "out")


def test_a_network_that_was_trained_for_int8_has_its_own_ranges_and_float_files_too(network, tmp_path):
    twin = quantize.fake_quantised(keras.models.load_model(network))
    lr = [np.random.default_rng(0).random((20, 20, 3)).astype(np.float32)]
    calibration.calibrate(twin, lr)
    twin.save(tmp_path / "qat.keras")
    plan = recipe.Recipe.model_validate(
        {"int8": "qat", "artifacts": [
            {"name": "tflite", "precision": "int8", "psnr": 30, "levels": 2}, {"name": "onnx", "tolerance": 1e-4},
        ]}
    )  # fmt: skip
    whole, exact = export.export(tmp_path / "qat.keras", plan, tmp_path / "out")
    assert whole.levels is not None
    assert whole.levels <= 2
    assert exact.max_abs_difference <= 1e-4
    assert "the ranges are the training's own" in (tmp_path / "out" / "report.md").read_text()


def test_a_network_without_a_twin_is_quantised_by_the_converter(tmp_path):
    keras.utils.set_random_seed(0)
    component.build(models, {"name": "fsrcnn"}, scale=2).save(tmp_path / "net.keras")
    plan = recipe.Recipe.model_validate({"artifacts": [{"name": "tflite", "precision": "int8", "psnr": 10}]})
    (checked,) = export.export(tmp_path / "net.keras", plan, tmp_path / "out")
    assert checked.levels is None
    assert "layer by layer" not in (tmp_path / "out" / "report.md").read_text()


def test_a_collapsible_network_is_shipped_with_plain_convolutions(tmp_path):
    wide = component.build(models, {"name": "anchor", "filters": 8, "blocks": 1, "expansion": 4}, scale=2)
    wide.save(tmp_path / "wide.keras")
    plan = recipe.Recipe.model_validate({"artifacts": [{"name": "onnx", "tolerance": 1e-5}]})
    export.export(tmp_path / "wide.keras", plan, tmp_path / "out")
    plain = component.build(models, {"name": "anchor", "filters": 8, "blocks": 1, "expansion": 0}, scale=2)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["parameters"] == plain.count_params()


def test_two_artifacts_of_one_name_are_refused(network, tmp_path):
    plan = recipe.Recipe.model_validate(
        {"artifacts": [{"name": "tflite", "tolerance": 1}, {"name": "tflite", "tolerance": 1}]}
    )
    with pytest.raises(InputError, match="two artifacts of the recipe have the name"):
        export.export(network, plan, tmp_path / "made" / "out")
    assert not (tmp_path / "made").exists()


def test_a_network_of_one_size_becomes_int8_too(tmp_path):
    keras.utils.set_random_seed(0)
    lr = keras.Input((40, 48, 3))
    x = layers.Conv2D(12, 3, padding="same")(lr)
    keras.Model(lr, ops.depth_to_space(x, 2)).save(tmp_path / "net.keras")
    (checked,) = export.export(tmp_path / "net.keras", int8_plan(), tmp_path / "out")
    assert checked.levels is not None
    assert tuple(checked.size or ()) == (40, 48)


def test_an_export_into_a_folder_of_before_leaves_no_artifact_that_the_manifest_does_not_name(network, tmp_path):
    both = {"artifacts": [{"name": "onnx", "tolerance": 1e-3}, {"name": "tflite", "tolerance": 1e-3}]}
    export.export(network, recipe.Recipe.model_validate(both), tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("of the user")
    one = {"artifacts": [{"name": "onnx", "tolerance": 1e-3}]}
    export.export(network, recipe.Recipe.model_validate(one), tmp_path / "out")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert "model_float32.tflite" not in files
    assert {"model.onnx", "mine.txt"} <= files


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": [0, 64]}, "size must be height and width of 8 or more"),
        ({"size": [-4, 64]}, "size must be height and width of 8 or more"),
        ({"calibration": []}, "calibration can't be set in a recipe"),
    ],
)
def test_a_recipe_is_checked_before_anything_is_made(network, tmp_path, options, words):
    targets = [{"name": "onnx", "tolerance": 1e-3}, {"name": "tflite", "tolerance": 1e-3, **options}]
    with pytest.raises(InputError, match=words):
        export.export(network, recipe.Recipe.model_validate({"artifacts": targets}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ranges_that_a_network_can_not_have_are_refused_and_the_converters_are_told(tmp_path):
    keras.utils.set_random_seed(0)
    component.build(models, {"name": "fsrcnn"}, scale=2).save(tmp_path / "net.keras")
    with pytest.raises(InputError, match="int8: mse: quantisation takes plain convolutions"):
        export.export(tmp_path / "net.keras", int8_plan(int8="mse"), tmp_path / "out")
    target = {"name": "tflite", "precision": "int8", "psnr": 10}
    export.export(tmp_path / "net.keras", recipe.Recipe.model_validate({"artifacts": [target]}), tmp_path / "out")
    assert "TFLite's converter measured the ranges" in (tmp_path / "out" / "report.md").read_text()


def test_the_manifest_says_whether_a_network_clips(network, tmp_path):
    lr = keras.Input((None, None, 3))
    for x, clips in ((layers.Conv2D(12, 1)(lr), False), (ops.clip(layers.Conv2D(12, 1)(lr), 0.0, 1.0), True)):
        manifest = manifest_of(ops.depth_to_space(x, 2), lr, tmp_path)
        assert manifest["output"]["clipped"] is clips


def test_a_start_that_is_gone_or_of_another_scale_is_no_base_for_losses(network, tmp_path):
    other = tmp_path / "x3.keras"
    component.build(models, {"name": "anchor", "filters": 4, "blocks": 1}, scale=3).save(other)
    reference = predictor.of_keras(keras.models.load_model(network), "net")
    settings = config.load("anchor_x2_qat", [f"start_from={other}"])
    assert export._trained_from(settings, reference) is None
    settings = config.load("anchor_x2_qat", [f"start_from={tmp_path / 'none'}"])
    assert export._trained_from(settings, reference) is None
    settings = config.load("anchor_x2_qat", [f"start_from={network}"])
    assert export._trained_from(settings, reference) is not None
