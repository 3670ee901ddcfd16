"""Upscale: files, folders, globs and streams in; where their outputs go; what bad input is told."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from sr_keras import component, image, jobs, models, picture, resize, upscale
from sr_keras.errors import InputError
from sr_keras.rows import Rows


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net.keras"
    keras.utils.set_random_seed(0)  # an unlucky start is far from the nearest neighbours
    component.build(models, {"name": "anchor", "filters": 4, "blocks": 1}, scale=2).save(path)
    return str(path)


def make(path: Path, height=11, width=14, channels=3, dtype=np.uint8) -> Path:
    peak = np.iinfo(dtype).max
    picture.save(path, Rows.of(np.random.default_rng(0).integers(0, peak, (height, width, channels), dtype)))
    return path


def run(*words, model=None) -> int:
    """Runs the verb; on TensorFlow, since to measure the runtimes takes longer than such small pictures."""
    chosen = [] if model is None else ["--model", model]
    chosen += ["--runtime", "tensorflow"] if "--runtime" not in words and model not in resize.KERNELS else []
    return upscale.main([*map(str, words), *chosen])


def read(path: Path) -> np.ndarray:
    return picture.load(path).rows.whole()


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("partial-*"))


def test_the_output_comes_beside_its_input_in_its_own_format(model, tmp_path, capfd):
    for name in ("a.png", "b.jpg", "c.webp", "d.bmp", "e.tif"):
        make(tmp_path / name)
    assert run(*sorted(tmp_path.iterdir()), model=model) == 0
    for name in ("a_x2.png", "b_x2.jpg", "c_x2.webp", "d_x2.bmp", "e_x2.tif"):
        assert read(tmp_path / name).shape == (22, 28, 3)
    assert capfd.readouterr().out.count(" done |") == 5
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("channels", "dtype", "ending"),
    [(1, np.uint8, "png"), (2, np.uint16, "png"), (3, np.uint16, "tif"), (4, np.uint8, "webp")],
)
def test_channels_and_bits_stay(model, tmp_path, channels, dtype, ending):
    source = make(tmp_path / f"p.{ending}", channels=channels, dtype=dtype)
    assert run(source, "-o", tmp_path / f"out.{ending}", model=model) == 0
    out = read(tmp_path / f"out.{ending}")
    assert (out.shape, out.dtype) == ((22, 28, channels), dtype)


def test_sixteen_bits_become_eight_where_the_format_holds_no_more(model, tmp_path):
    picture.save(tmp_path / "deep.png", Rows.of(np.full((8, 9, 3), 20_000, np.uint16)))
    assert run(tmp_path / "deep.png", "-o", tmp_path / "out.jpg", model=model) == 0
    assert abs(float(read(tmp_path / "out.jpg").mean()) - 20_000 / 257) < 3


def test_a_folders_tree_is_mirrored(model, tmp_path):
    make(tmp_path / "in" / "a.png")
    make(tmp_path / "in" / "deep" / "er" / "b.jpg")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    assert run(tmp_path / "in", "-o", tmp_path / "out", model=model) == 0
    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert found == ["a.png", "deep/er/b.jpg"]
    assert run(tmp_path / "in", "--format", "webp", "--quality", "80", model=model) == 0
    assert (tmp_path / "in_x2" / "deep" / "er" / "b.webp").is_file()


def test_outputs_inside_the_folder_are_not_inputs_of_the_next_run(model, tmp_path):
    make(tmp_path / "in" / "a.png")
    for _ in range(2):
        assert run(tmp_path / "in", "-o", tmp_path / "in" / "big", model=model) == 0
    assert sorted(p.name for p in tmp_path.rglob("*.png")) == ["a.png", "a.png"]


def test_a_glob_finds_pictures(model, tmp_path):
    for name in ("a1.png", "a2.png", "b.png"):
        make(tmp_path / "in" / "sub" / name)
    assert run(tmp_path / "in" / "**" / "a*.png", "-o", tmp_path / "out", model=model) == 0
    assert sorted(p.name for p in (tmp_path / "out" / "sub").iterdir()) == ["a1_x2.png", "a2_x2.png"]


def test_a_glob_takes_no_outputs_of_an_earlier_run(model, tmp_path):
    make(tmp_path / "a.png")
    for _ in range(2):
        assert run(tmp_path / "*.png", model=model) == 0
        assert run(tmp_path / "**" / "*.png", "-o", tmp_path / "big", model=model) == 0
    names = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))
    assert names == ["a.png", "a_x2.png", "big/a_x2.png", "big/a_x2_x2.png"]


def test_the_current_folder_is_a_folder(model, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    make(tmp_path / "in" / "a.png"), make(tmp_path / "in" / "partial-eclipse.png")
    assert run(".", model=model) == 0
    assert sorted(p.name for p in (tmp_path / "in_x2").iterdir()) == ["a.png", "partial-eclipse.png"]


def test_any_name_is_told_and_reported(model, tmp_path, capfd):
    make(tmp_path / "in" / "a | b.png"), make(tmp_path / "in" / "<i>.png")
    (tmp_path / "in" / "b\udcff.png").write_bytes(b"no picture")
    words = ["-o", tmp_path / "out", "--report", tmp_path / "r.html", "--json", tmp_path / "s.json"]
    assert run(tmp_path / "in", *words, model=model) == 1
    assert (tmp_path / "r.html").is_file() and len(json.loads((tmp_path / "s.json").read_text())["results"]) == 3
    assert len([x for x in capfd.readouterr().err.splitlines() if x.startswith("error")]) == 1


def test_standard_input_goes_to_standard_output(model, tmp_path):
    source = make(tmp_path / "a.png")
    command = [sys.executable, "-m", "sr_keras.upscale", "-", "--model", model, "--runtime", "tensorflow"]
    done = subprocess.run(command, input=source.read_bytes(), capture_output=True, check=True, cwd=tmp_path)
    (tmp_path / "out.png").write_bytes(done.stdout)
    assert read(tmp_path / "out.png").shape == (22, 28, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "out.png"]


def test_a_bad_file_is_reported_and_the_others_go_on(model, tmp_path, capfd):
    good = [make(tmp_path / "in" / f"{k}.png", 30 + k, 40) for k in range(4)]
    (tmp_path / "in" / "1.png").write_bytes(good[1].read_bytes()[:200])
    (tmp_path / "in" / "text.png").write_text("I am no picture")
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--json", tmp_path / "s.json", model=model) == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.png", "2.png", "3.png"]
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 3 and all(str(tmp_path / "in") in line for line in errors)
    results = json.loads((tmp_path / "s.json").read_text())["results"]
    assert [r["status"] for r in results] == ["done", "failed", "done", "done", "failed", "failed"]
    assert results[0]["output_size"] == [80, 60] and results[1]["error"]


def test_existing_outputs_can_be_skipped(model, tmp_path, capfd):
    make(tmp_path / "in" / "a.png"), make(tmp_path / "in" / "b.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    assert run(tmp_path / "in", "-o", tmp_path / "out", "--skip-existing", model=model) == 0
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    assert read(tmp_path / "out" / "b.png").shape == (22, 28, 3)
    assert "skipped" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "size", "name"),
    [
        (["--scale", "3.5"], (39, 49), "a_x3.5.png"), (["--width", "100"], (79, 100), "a_w100.png"),
        (["--fit", "30x30"], (24, 30), "a_30x30.png"), (["--height", "22"], (22, 28), "a_h22.png"),
    ],
)  # fmt: skip
def test_the_size_can_be_any(model, tmp_path, words, size, name):
    assert run(make(tmp_path / "a.png"), *words, model=model) == 0
    assert read(tmp_path / name).shape[:2] == size


def test_bicubic_is_a_model_too(tmp_path):
    source = make(tmp_path / "a.png")
    assert run(source, "--scale", "2", model="bicubic") == 0
    expected = image.to_uint8(resize.imresize(image.to_float(read(source)), 2).clip(0, 1))
    np.testing.assert_array_equal(read(tmp_path / "a_x2.png"), expected)


def test_an_interpolation_needs_a_size(tmp_path, capfd):
    assert run(make(tmp_path / "a.png"), model="bicubic") == 2
    assert "needs a size" in capfd.readouterr().err


def test_exif_and_profile_are_kept_and_the_picture_is_upright(model, tmp_path):
    from PIL import Image, ImageCms, ImageOps

    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, icc_profile=profile, quality=100, subsampling=0)
    assert run(tmp_path / "a.jpg", "--quality", "100", model=model) == 0
    with Image.open(tmp_path / "a_x2.jpg") as out:
        assert out.size == (40, 60)
        assert (out.getexif()[0x0112], out.getexif()[0x010F]) == (1, "Maker")
        assert out.info["icc_profile"] == profile
        turned = np.asarray(
            ImageOps.exif_transpose(Image.fromarray(pixels).rotate(0)).transpose(Image.Transpose.ROTATE_270)
        )
        assert np.abs(np.asarray(out.resize((20, 30), Image.Resampling.BOX)).astype(int) - turned).mean() < 12


def test_a_report_shows_every_picture(model, tmp_path):
    make(tmp_path / "in" / "a.png"), make(tmp_path / "in" / "b.png", channels=2, dtype=np.uint16)
    words = ["-o", tmp_path / "out", "--report", tmp_path / "r.html", "--scale", "3"]
    assert run(tmp_path / "in", *words, model=model) == 0
    page = (tmp_path / "r.html").read_text()
    assert page.count('role="slider"') == 2 and "a.png" in page and "14x11" in page


def test_a_sixteen_bit_report_is_in_eight_bits_and_middle_of_what_is_large(model, tmp_path):
    make(tmp_path / "a.png", 900, 700, dtype=np.uint16)
    from sr_keras import pipeline
    from sr_keras.upscaler import Upscaler

    task = jobs.Job(tmp_path / "a.png", "a", tmp_path / "o.png")
    (result,) = pipeline.run([task], Upscaler(model), pipeline.Saving(show=True))
    shown, out = result.shown, read(tmp_path / "o.png")
    assert shown.after.shape == shown.before.shape == (720, 1080, 3) and shown.after.dtype == np.uint8
    left, top = shown.place
    np.testing.assert_array_equal(shown.after, image.to_uint8(out[top : top + 720, left : left + 1080]))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["missing.png"], "there is no such file or folder"), (["*.nothing"], "matches no picture"),
        (["a.png", "-o", "a.png"], "would be overwritten"),
        (["a.png", "b.png", "-o", "one.png"], "one file for several"),
        (["a.png", "b.png", "sub/a.png", "-o", "out"], "would be written from"),
        (["a.png", "--fit", "10"], "WIDTHxHEIGHT"), (["a.png", "--fit", "9x9", "--width", "3"], "exclude each other"),
        (["a.png", "--scale", "2", "--width", "3"], "exclude each other"), (["a.png", "--scale", "-1"], "more than 0"),
        (["a.png", "--runtime", "tensorflw"], "did you mean 'tensorflow'"), (["empty"], "holds no pictures"),
        (["sub", "-o", "sub"], "would be overwritten"), (["a.png", "--report", "sub"], "is a folder"),
        (["a.png", "-", "-o", "-"], "takes one picture"),
        (["a.png", "-o", "b.jpg", "--format", "png"], "another format"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line_before_anything_is_written(model, tmp_path, monkeypatch, capfd, words, line):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "sub/a.png"):
        make(tmp_path / name)
    Path("empty").mkdir()
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert run(*words, model=model) == 2
    error = capfd.readouterr().err.strip().splitlines()
    assert line in error[-1] and error[-1].startswith("error: ")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["a.png", "--max-pixels", "0.0001"], "--max-pixels"), (["a.png", "-o", "a.png/x/out.png"], "can't be written"),
        (["a.png", "--scale", "9"], "3 passes"), (["a.png", "-o", "out.xyz"], "no encoder"),
        (["a.png", "--width", "20000", "--format", "webp"], "3 passes"),
    ],
)  # fmt: skip
def test_what_only_one_picture_can_not_do_is_its_own_failure(model, tmp_path, monkeypatch, capfd, words, line):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.png")
    assert run(*words, model=model) == 1
    errors = [x for x in capfd.readouterr().err.splitlines() if x.startswith("error: ")]
    assert len(errors) == 1 and line in errors[0] and "a.png" in errors[0]
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_killed_run_leaves_no_file_that_looks_finished(model, tmp_path):
    make(tmp_path / "large.png", 1200, 1600)
    command = [sys.executable, "-m", "sr_keras.upscale", "large.png", "--model", model, "--scale", "8"]
    command += ["--runtime", "tensorflow"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            if leftovers(tmp_path) or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "large_x8.png").exists()


def test_a_full_disk_is_one_line(model, tmp_path, capfd):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system of 64 kB can't be mounted here")
    try:
        make(tmp_path / "a.png", 300, 300)
        assert run(tmp_path / "a.png", "-o", small / "o.png", model=model) == 1
        error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error")]
        assert len(error) == 1 and "No space left on device" in error[0]
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_videos_are_enlarged_beside_pictures(model, tmp_path):
    av = pytest.importorskip("av")
    make(tmp_path / "in" / "a.png")
    with av.open(str(tmp_path / "in" / "clip.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * k, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert run(tmp_path / "in", "-o", tmp_path / "out", model=model) == 0
    with av.open(str(tmp_path / "out" / "clip.mkv")) as container:
        frames = list(container.decode(video=0))
    assert (len(frames), frames[0].width, frames[0].height) == (5, 128, 96)
    assert (tmp_path / "out" / "a.png").is_file()


def test_jobs_are_found_without_reading_any(tmp_path):
    make(tmp_path / "a.png")
    (job,) = jobs.place(jobs.find([str(tmp_path / "a.png")]), None, "x2")
    assert job.target == tmp_path / "a_x2.png"
    both = jobs.find([str(tmp_path / "a.png"), str(make(tmp_path / "a_x2.png"))])
    with pytest.raises(InputError, match="would be overwritten"):
        jobs.place(both, None, "x2")
