"""The verb import_weights: foreign files become run folders that every other verb takes; bad ones leave nothing."""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import torch_files
from ncnn_reference import enlarged, real_esrgan
from safetensors.numpy import save_file

from sr_keras import embedded, evaluate, image, import_weights, metrics, predictor, torch_file
from sr_keras.run import Run

FIXTURES = Path(__file__).parent / "fixtures" / "imports"
SRVGG = FIXTURES / "srvgg-x2.pth"


def test_a_run_folder_is_made_that_opens_as_any_other(tmp_path, capsys):
    assert import_weights.main([str(SRVGG), "-o", str(tmp_path / "run")]) == 0
    predict = predictor.open_model(tmp_path / "run")
    with np.load(SRVGG.with_suffix(".npz")) as pair:
        lr, sr = pair["lr"][0], pair["sr"][0]
    np.testing.assert_allclose(predict(lr), np.clip(sr, 0, 1), atol=1e-4)
    printed = capsys.readouterr().out
    assert "srvgg x2, RGB, 1,506 parameters" in printed
    assert "| body.*.weight |" in printed


def test_the_folder_says_where_the_weights_come_from(tmp_path):
    import_weights.main([str(SRVGG), "-o", str(tmp_path / "run")])
    record = json.loads(Run(tmp_path / "run").imported.read_text())
    (source,) = record["files"]
    assert (source["name"], source["bytes"]) == ("srvgg-x2.pth", SRVGG.stat().st_size)
    assert source["sha256"] == hashlib.sha256(SRVGG.read_bytes()).hexdigest()
    assert record["layers"]["body.0.weight"] == "body.0"
    assert set(record["layers"]) == set(torch_file.read(SRVGG))


def test_the_default_folder_has_the_files_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert import_weights.main([str(SRVGG)]) == 0
    assert Run(Path("runs/srvgg-x2")).generator.is_file()


def test_a_network_on_luminance_says_so(tmp_path):
    import_weights.main([str(FIXTURES / "srvgg-grey.pth"), "-o", str(tmp_path / "run")])
    assert Run(tmp_path / "run").load_config().data.channels == "y"


def test_training_goes_on_from_it(tmp_path, photographs):
    from sr_keras import train

    run = tmp_path / "run"
    import_weights.main([str(SRVGG), "-o", str(run)])
    small = ["train.epochs=1", "train.steps_per_epoch=1", "train.batch=1", "data.patch=32", *photographs]
    tuned = tmp_path / "tuned"
    assert train.main([str(run / "config.yaml"), f"start_from={run}", *small, "--run", str(tuned)]) == 0
    before, after = (predictor.open_network(folder).get_weights() for folder in (run, tuned))
    moved = max(np.abs(new - old).max() for new, old in zip(after, before, strict=True))
    assert 0 < moved < 1e-3


def test_training_does_not_write_over_it(tmp_path, capsys):
    from sr_keras import train

    run = Run(tmp_path / "run")
    import_weights.main([str(SRVGG), "-o", str(run.folder)])
    before = run.generator.read_bytes()
    assert train.main([str(run.config), "--run", str(run.folder)]) == 2
    assert f"holds imported weights; take another --run, with start_from={run.folder}." in capsys.readouterr().err
    assert run.generator.read_bytes() == before


def _changed(tmp_path, change):
    """Writes the file of SRVGG with other tensors."""
    tensors = change({name: array.astype(np.float64) for name, array in torch_file.read(SRVGG).items()})
    stored = {name: torch_files.tensor(array, "DoubleStorage") for name, array in tensors.items()}
    return torch_files.save(tmp_path / "changed.pth", stored)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {**t, "body.2.bias": t["body.2.bias"][:3]}, "'body.2.bias' has the shape [3], which does not fit"),
        (lambda t: {**t, "extra.weight": t["body.0.bias"]}, "the tensors 'extra.weight' [6] fit nothing in srvgg"),
        (lambda t: {n: a for n, a in t.items() if n != "body.2.bias"}, "lacks 'body.2.bias'"),
        (lambda t: {**t, "body.2.bias": t["body.2.bias"] * np.nan}, "'body.2.bias' holds numbers that are not finite"),
        (lambda t: {**t, "body.2.bias": t["body.2.bias"] * 1e300}, "'body.2.bias' holds numbers that are not finite"),
        (lambda t: {**t, "body.2.bias": t["body.2.bias"][0]}, "'body.2.bias' has the shape [], which does not fit"),
        (lambda t: {**t, "body.1.weight": t["body.1.weight"][:3]}, "'body.1.weight' has the shape [3], which does not"),
        (lambda t: {f"other_{n}": a for n, a in t.items()}, "of no architecture known here ("),
    ],
)
def test_tensors_that_do_not_fit_are_one_line_and_leave_nothing(change, said, tmp_path, capsys):
    path = _changed(tmp_path, change)
    assert import_weights.main([str(path), "-o", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["changed.pth"]


def test_what_stands_beside_the_network_is_told(tmp_path, capsys):
    path = _changed(
        tmp_path,
        lambda t: {**{f"model.{n}": a for n, a in t.items()}, "vgg.a": t["body.0.bias"], "vgg.b": t["body.0.bias"]},
    )
    assert import_weights.main([str(path), "-o", str(tmp_path / "run")]) == 0
    assert "left aside, as nothing of the network: 'vgg'\n" in capsys.readouterr().out


def _two(tmp_path):
    """Writes a checkpoint of two networks, and returns the path and the tensors of either."""
    first = torch_file.read(SRVGG)
    networks = {"first": first, "second": {name: array[..., ::-1].copy() for name, array in first.items()}}
    stored = {
        place: {name: torch_files.tensor(array.astype(np.float32)) for name, array in tensors.items()}
        for place, tensors in networks.items()
    }
    return torch_files.save(tmp_path / "two.pth", {"models": stored}), networks


def test_of_two_networks_one_is_taken_and_the_other_can_be_asked_for(tmp_path, capsys):
    path, networks = _two(tmp_path)
    for place, given in (("first", []), ("second", ["--under", "models.second"])):
        assert import_weights.main([str(path), *given, "-o", str(tmp_path / place)]) == 0
        layer = keras.models.load_model(tmp_path / place / "generator.keras").get_layer("body.0")
        np.testing.assert_array_equal(layer.kernel.numpy().transpose(3, 2, 0, 1), networks[place]["body.0.weight"])
    printed = capsys.readouterr().out
    assert printed.count("of the file, what is under 'models.first' was taken, and 'models.second' left aside") == 1


def test_an_error_tells_what_was_taken_of_the_file(tmp_path, capsys):
    path, _ = _two(tmp_path)
    assert import_weights.main([str(path), "--arch", "edsr", "-o", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert (
        "is srvgg, not edsr; drop --arch, or name that; of the file, what is under 'models.first' was taken" in printed
    )
    assert printed.endswith("--under takes another.\n") and printed.count("\n") == 1


def test_an_error_in_what_was_taken_tells_of_the_rest(tmp_path, capsys):
    tensors = {name: torch_files.tensor(array.astype(np.float32)) for name, array in torch_file.read(SRVGG).items()}
    saved = {"ema": {**tensors, "decay": torch_files.tensor(np.zeros(1, np.float32))}, "model": tensors}
    path = torch_files.save(tmp_path / "x.pth", saved)
    assert import_weights.main([str(path), "-o", str(tmp_path / "run")]) == 2
    assert "'decay' [1] fit nothing in srvgg" in (printed := capsys.readouterr().err)
    assert "of the file, what is under 'ema' was taken, and 'model' left aside, --under takes another." in printed
    assert import_weights.main([str(path), "--arch", "srvg", "-o", str(tmp_path / "run")]) == 2
    assert "--under" not in capsys.readouterr().err
    assert import_weights.main([str(path), "--under", "model", "-o", str(tmp_path / "run")]) == 0


def test_an_option_that_does_not_fit_is_told_of_an_x1_network_too(tmp_path, capsys):
    path = SRVGG.with_name("rrdbnet-first-x1.pth")
    assert import_weights.main([str(path), "growth=0", "-o", str(tmp_path / "run")]) == 2
    assert "enlarges nothing" not in capsys.readouterr().err
    assert import_weights.main([str(path), "-o", str(tmp_path / "run")]) == 0


def test_a_place_in_safetensors_is_taken(tmp_path, capsys):
    tensors = {f"a.{name}": array.astype(np.float32) for name, array in torch_file.read(SRVGG).items()}
    save_file({**tensors, "b.x": np.zeros(3, np.float32)}, path := tmp_path / "x.safetensors")
    assert import_weights.main([str(path), "--under", "q", "-o", str(tmp_path / "run")]) == 2
    assert f"{path}: has nothing under 'q'; it has 'a', 'b'." in capsys.readouterr().err
    assert import_weights.main([str(path), "--under", "a", "-o", str(tmp_path / "run")]) == 0


def test_a_place_in_an_ncnn_file_is_refused(tmp_path, capsys):
    for suffix in (".param", ".bin"):
        (tmp_path / f"net{suffix}").touch()
    assert import_weights.main([str(tmp_path / "net.param"), "--under", "q", "-o", str(tmp_path / "run")]) == 2
    assert "--under q: is for files of several networks" in capsys.readouterr().err


def test_a_file_is_told_by_its_content(tmp_path, capsys):
    tensors = {name: array.astype(np.float32) for name, array in torch_file.read(SRVGG).items()}
    save_file(tensors, tmp_path / "a.pth")
    (tmp_path / "b.safetensors").write_bytes(SRVGG.read_bytes())
    for name in ("a.pth", "b.safetensors"):
        assert import_weights.main([str(tmp_path / name), "-o", str(tmp_path / Path(name).stem)]) == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("photo.pth", b"\xff\xd8\xff\xe0" + bytes(100), "is neither PyTorch's (.pth, .pt, .ckpt), nor a .safetensors"),
        ("model.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(100), "a .tflite, .onnx or .keras goes to upscale as it is."),
        ("net.bin", bytes(100), "were it ncnn's, net.param would lie beside it"),
        ("net.param", b"7767517\n", "needs net.bin beside it"),
        ("empty.pth", b"", "is neither PyTorch's"),
    ],
)
def test_what_holds_no_weights_is_told_what_it_might_be(name, content, said, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    assert import_weights.main([str(tmp_path / name), "-o", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1 and not (tmp_path / "run").exists()


def test_other_verbs_tell_how_weights_come_in(capsys):
    from sr_keras import export, upscale

    for verb in (export, upscale):
        given = [str(SRVGG)] if verb is export else [str(SRVGG), "--model", str(SRVGG)]
        assert verb.main(given) == 2
        assert "python -m sr_keras.import_weights makes one of PyTorch's and ncnn's files" in capsys.readouterr().err


def test_a_network_that_enlarges_nothing_is_refused(tmp_path, capsys):
    path = _changed(
        tmp_path, lambda t: {n: a[:3] if len(a) == 12 and n != "body.1.weight" else a for n, a in t.items()}
    )
    assert import_weights.main([str(path), "-o", str(tmp_path / "run")]) == 2
    assert "is a srvgg that enlarges nothing (x1); take another." in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", ".nan"])
def test_a_pixel_range_that_is_none_is_one_line(value, tmp_path, capsys):
    path = SRVGG.with_name("rlfn-x2.pth")
    assert import_weights.main([str(path), f"pixel_range={value}", "-o", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert "pixel_range" in printed and printed.count("\n") == 1 and not (tmp_path / "run").exists()


def test_another_architecture_than_the_files_is_refused(tmp_path, capsys):
    assert import_weights.main([str(SRVGG), "--arch", "edsr", "-o", str(tmp_path / "run")]) == 2
    assert "is srvgg, not edsr; drop --arch, or name that." in capsys.readouterr().err


def test_an_unknown_architecture_is_refused_with_the_nearest(tmp_path, capsys):
    assert import_weights.main([str(SRVGG), "--arch", "srvg", "-o", str(tmp_path / "run")]) == 2
    assert "(did you mean 'srvgg'?)" in capsys.readouterr().err


def test_another_scale_than_the_files_is_refused(tmp_path, capsys):
    assert import_weights.main([str(SRVGG), "--scale", "3", "-o", str(tmp_path / "run")]) == 2
    assert "enlarges 2 times, not 3; drop --scale" in capsys.readouterr().err


def test_what_is_there_already_stays(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert import_weights.main([str(SRVGG), "-o", str(tmp_path / "run")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_a_name_that_ships_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert import_weights.main([str(SRVGG), "-o", "s-x2"]) == 2
    assert "is the name of weights that ship" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing.pth", "missing.param", "missing.safetensors"])
def test_a_missing_file_is_one_line(name, tmp_path, capsys):
    assert import_weights.main([str(tmp_path / name), "-o", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert name in printed and printed.count("\n") == 1


@pytest.mark.parametrize(("scale", "psnr"), [(2, 38.07), (4, 32.24)])
def test_rlfn_has_its_papers_figure(scale, psnr, data_root, tmp_path):
    weights = data_root / "weights" / "RLFN" / f"rlfn_x{scale}.pth"
    if not weights.is_file():
        pytest.skip(f"no {weights}")
    assert import_weights.main([str(weights), "-o", str(tmp_path / "run")]) == 0
    assert evaluate.evaluate(str(tmp_path / "run"), data_root / "eval" / "Set5").psnr == pytest.approx(psnr, abs=0.01)


def _agree_with_ncnn(name: str, tmp_path: Path) -> None:
    param = real_esrgan() / f"{name}.param"
    assert import_weights.main([str(param), "-o", str(tmp_path / "run")]) == 0
    crop = embedded.photographs("valid").picture(0)[100:164, 100:164]
    found = predictor.open_model(tmp_path / "run").network(image.to_float(crop)[None])[0]
    psnr = metrics.psnr(enlarged(param, image.to_float(crop)) * 255.0, found * 255.0)
    print(f"{name}: {psnr:.1f} dB PSNR from ncnn's picture")
    assert psnr > 110.0


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_animevideov3_makes_ncnns_picture(scale, tmp_path):
    _agree_with_ncnn(f"realesr-animevideov3-x{scale}", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["realesrgan-x4plus", "realesrgan-x4plus-anime"])
def test_x4plus_makes_ncnns_picture(name, tmp_path):
    _agree_with_ncnn(name, tmp_path)


def test_a_bin_of_another_param_is_refused(tmp_path, capsys):
    models = real_esrgan()
    (tmp_path / "mixed.param").write_bytes((models / "realesr-animevideov3-x4.param").read_bytes())
    (tmp_path / "mixed.bin").write_bytes((models / "realesrgan-x4plus-anime.bin").read_bytes())
    assert import_weights.main([str(tmp_path / "mixed.param"), "-o", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert "mixed.bin" in printed and printed.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_photograph_enlarged_and_reduced_is_itself(tmp_path):
    found = import_weights.import_weights(
        real_esrgan() / "realesr-animevideov3-x4.param", Run(tmp_path / "run"), architecture="srvgg"
    )
    assert found.agreement > 25.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scale=3"], "scale is no option to set here; take --scale."),
        (["name=edsr"], "name is no option to set here; take --arch."),
        (["filter=3"], "has no option 'filter' (did you mean 'filters'?)"),
        (["--scale", "17"], "--scale must be 16 at the most, got 17."),
    ],
)
def test_options_that_the_file_tells_are_refused(words, said, tmp_path, capsys):
    assert import_weights.main([str(SRVGG), "-o", str(tmp_path / "run"), *words]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_no_tensor_tells_can_be_said(tmp_path):
    path = FIXTURES / "edsr-x2.pth"
    import_weights.main([str(path), "pixel_range=1", "residual_scaling=0.5", "-o", str(tmp_path / "run")])
    model = Run(tmp_path / "run").load_config().model.model_dump()
    assert (model["pixel_range"], model["residual_scaling"], model["filters"]) == (1, 0.5, 5)


def test_a_name_too_long_for_a_folder_is_one_line(tmp_path, capsys):
    assert import_weights.main([str(SRVGG), "-o", str(tmp_path / ("x" * 300))]) == 2
    assert "can't be written (File name too long)" in capsys.readouterr().err


def test_the_endings_are_not_the_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("g_best.pth.tar").write_bytes(SRVGG.read_bytes())
    assert import_weights.main(["g_best.pth.tar"]) == 0
    assert Run(Path("runs/g_best")).generator.is_file()
