"""The pipeline: order, overlap, failures in the middle, nothing that hangs."""

import os
import sys
import threading

import numpy as np
import pytest

from sr_keras import picture, pipeline, predictor
from sr_keras.errors import InputError
from sr_keras.jobs import Job
from sr_keras.pipeline import Saving
from sr_keras.rows import Rows
from sr_keras.upscaler import Size, Upscaler
from sr_keras.windows import Options


@pytest.fixture
def doubling():
    made = Upscaler.__new__(Upscaler)
    made.size, made.options = Size(scale=2), Options()
    made._one_at_a_time = threading.Lock()
    made.predictor = predictor.interpolation("nearest", 1)
    return made


def tasks(folder, count, height=40, width=50):
    made = []
    for k in range(count):
        source = folder / f"{k}.png"
        picture.save(source, Rows.of(np.full((height + k, width, 3), 10 * k, np.uint8)))
        made.append(Job(source, f"{k}.png", folder / "out" / f"{k}.png"))
    return made


def test_results_come_in_order_and_the_files_are_there(doubling, tmp_path):
    results = list(pipeline.run(tasks(tmp_path, 9), doubling))
    assert [r.name for r in results] == [f"{k}.png" for k in range(9)]
    for k, result in enumerate(results):
        assert (result.status, result.output_size) == ("done", (100, 80 + 2 * k))
        assert (picture.load(tmp_path / "out" / f"{k}.png").rows.whole() == 10 * k).all()


def test_progress_sums_up_to_every_picture(doubling, tmp_path):
    work, parts = tasks(tmp_path, 5), []
    work[2].source.write_bytes(work[2].source.read_bytes()[:90])
    list(pipeline.run(work, doubling, progress=lambda part, megapixels: parts.append((part, megapixels))))
    assert sum(part for part, _ in parts) == pytest.approx(5)
    assert sum(m for _, m in parts) == pytest.approx(sum((80 + 2 * k) * 100 for k in (0, 1, 3, 4)) / 1e6)


def test_a_fault_in_the_middle_of_a_picture_leaves_nothing_and_the_next_goes_on(doubling, tmp_path, monkeypatch):
    work, original = tasks(tmp_path, 3, height=400), doubling.stream

    def stream(rows, dtype):
        made = original(rows, dtype)
        if rows.height != 401:
            return made

        def bands():
            bands = iter(made)
            yield next(bands)[:100]
            raise InputError("the network fell over.")

        return Rows(bands(), made.height, made.width, 3, np.uint8)

    monkeypatch.setattr(doubling, "stream", stream)
    results = list(pipeline.run(work, doubling))
    assert [r.status for r in results] == ["done", "failed", "done"]
    assert results[1].error == "1.png: the network fell over."
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.png", "2.png"]


def test_memory_that_runs_out_is_a_line(doubling, tmp_path, monkeypatch):
    def stream(rows, dtype):
        raise MemoryError

    monkeypatch.setattr(doubling, "stream", stream)
    (result,) = pipeline.run(tasks(tmp_path, 1), doubling)
    assert result.status == "failed" and "the memory ran out for 100x80," in result.error


def test_a_fault_of_ours_comes_through_and_every_thread_ends(doubling, tmp_path, monkeypatch):
    def stream(rows, dtype):
        def bands():
            yield np.zeros((10, 100, 3), np.uint8)
            raise ZeroDivisionError

        return Rows(bands(), 2 * rows.height, 100, 3, np.uint8)

    before = _threads()
    monkeypatch.setattr(doubling, "stream", stream)
    with pytest.raises(ZeroDivisionError):
        list(pipeline.run(tasks(tmp_path, 4), doubling))
    for _ in range(100):
        if _threads() <= before:
            break
        threading.Event().wait(0.05)
    assert _threads() <= before
    assert list((tmp_path / "out").iterdir()) == []


def _threads():
    return {each for each in threading.enumerate() if not each.name.startswith("Dummy")}  # libvips' own


def test_a_place_that_can_not_be_written_is_that_pictures_failure(doubling, tmp_path):
    work = tasks(tmp_path, 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").mkdir()
    results = list(pipeline.run(work, doubling))
    assert [r.status for r in results] == ["done", "failed", "done"]
    assert "can't be written" in results[1].error


def test_the_next_picture_is_decoded_while_one_is_computed(doubling, tmp_path, monkeypatch):
    work, loaded, load, original = tasks(tmp_path, 3), threading.Semaphore(0), picture.load, doubling.stream

    def counting(*words, **options):
        loaded.release()
        return load(*words, **options)

    def stream(rows, dtype):
        if rows.height == 40:  # the first: wait until the second has been opened
            assert loaded.acquire(timeout=20) and loaded.acquire(timeout=20)
        return original(rows, dtype)

    monkeypatch.setattr(pipeline.picture, "load", counting)
    monkeypatch.setattr(doubling, "stream", stream)
    assert [r.status for r in pipeline.run(work, doubling)] == ["done"] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all threads have one priority")
def test_decoder_and_encoder_give_way_to_the_network_and_nothing_of_it_stays(doubling, tmp_path, monkeypatch):
    usual, found, load, save = sys.getswitchinterval(), {}, picture.load, picture.save

    def noted(name, function):
        def run(*args, **kwargs):
            found[name] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            return function(*args, **kwargs)

        return run

    work = tasks(tmp_path, 2)
    monkeypatch.setattr(picture, "load", noted("decoder", load))
    monkeypatch.setattr(picture, "save", noted("encoder", save))
    list(pipeline.run(work, doubling, progress=lambda part, megapixels: noted("network", lambda: None)()))
    assert found["decoder"] == found["encoder"] > found["network"]
    assert (os.getpriority(os.PRIO_PROCESS, 0), sys.getswitchinterval()) == (found["network"], usual)


def test_what_is_shown_is_the_middle(doubling, tmp_path):
    (result,) = pipeline.run(tasks(tmp_path, 1, height=500, width=900), doubling, Saving(show=True))
    assert result.shown.after.shape == (720, 1080, 3)
    assert result.shown.place == (360, 140)
