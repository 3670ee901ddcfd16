"""Export: every artifact run and compared, the manifest, and what happens when one is too far off."""

import hashlib
import importlib.util
import json

import keras
import pytest
from keras import layers, ops

from sr_keras import component, export, models, predictor, recipe
from sr_keras.errors import InputError


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
    assert files == ["manifest.json", "model.bin", "model.onnx", "model.xml"]
    assert [a["kind"] for a in manifest["artifacts"]] == ["onnx", "openvino"]
    openvino = manifest["artifacts"][1]
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
        ("none.keras", "no such run folder"),
        ("a.onnx", "no such run folder"),
    ):
        with pytest.raises(InputError, match=message):
            export.export(tmp_path / name, plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_exporter_option_is_refused_with_a_suggestion(network, tmp_path):
    plan = recipe.Recipe.model_validate({"artifacts": [{"name": "tflite", "precison": "int8", "psnr": 40}]})
    with pytest.raises(InputError, match="did you mean 'precision'"):
        export.export(network, plan, tmp_path / "out")


def test_an_artifact_of_no_numbers_is_a_fault():
    checked = export.Checked("f", ("f",), "k", 1, "", (), {}, {}, float("nan"), None, float("nan"), 1.0, (8, 8))
    assert export._judged(checked, recipe.Target(name="tflite", psnr=1)).fault == "gives values that are no numbers"


def test_two_artifacts_of_one_name_are_refused(network, tmp_path):
    plan = recipe.Recipe.model_validate(
        {"artifacts": [{"name": "tflite", "tolerance": 1}, {"name": "tflite", "tolerance": 1}]}
    )
    with pytest.raises(InputError, match="two artifacts of the recipe have the name"):
        export.export(network, plan, tmp_path / "made" / "out")
    assert not (tmp_path / "made").exists()
