"""The store of decoded pictures: built once, rebuilt on a change, safe under kills and races, not held in memory."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sr_keras import image, store
from sr_keras.errors import InputError

RANDOM = np.random.default_rng(0)


def picture(height=6, width=9, channels=3):
    return RANDOM.integers(0, 256, (height, width, channels), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three pictures of three sizes, one in a subfolder, one grey."""
    place = tmp_path / "pictures"
    (place / "sub").mkdir(parents=True)
    image.write(place / "a.png", picture(6, 9))
    image.write(place / "b.png", picture(4, 5, channels=1))
    image.write(place / "sub" / "c.png", picture(8, 7))
    return place


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def assert_holds(opened: store.Store, folder: Path) -> None:
    assert len(opened) == len(opened.names) > 0
    for k, name in enumerate(opened.names):
        np.testing.assert_array_equal(opened.picture(k), image.with_channels(image.read(folder / name), 3))


def stores(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def test_the_pictures_are_those_of_the_files(folder, cache):
    opened = store.open_folder(folder, cache)
    assert opened.names == ("a.png", "b.png", "sub/c.png")
    assert_holds(opened, folder)


def test_grey_files_are_marked(folder, cache):
    for _ in range(2):  # built, then opened
        assert store.open_folder(folder, cache).grey.tolist() == [False, True, False]


def test_16_bit_pictures_are_brought_to_8(tmp_path, cache):
    deep = RANDOM.integers(0, 65536, (3, 4, 3), np.uint16)
    (tmp_path / "deep").mkdir()
    image.write(tmp_path / "deep" / "a.png", deep)
    np.testing.assert_array_equal(store.open_folder(tmp_path / "deep", cache).picture(0), image.to_uint8(deep))


def test_pictures_are_decoded_once(folder, cache, monkeypatch):
    store.open_folder(folder, cache)
    monkeypatch.setattr(image, "read", None)
    assert len(store.open_folder(folder, cache)) == 3


def test_the_cache_is_where_the_environment_says(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SR_KERAS_CACHE", str(tmp_path / "elsewhere"))
    store.open_folder(folder)
    assert len(stores(tmp_path / "elsewhere")) == 1


def test_progress_counts_to_the_number_of_files(folder, cache):
    seen = []
    store.open_folder(folder, cache, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("change", ["added", "removed", "touched"])
def test_a_changed_folder_gets_a_new_store(folder, cache, change):
    store.open_folder(folder, cache)
    (before,) = stores(cache)
    if change == "added":
        image.write(folder / "d.png", picture())
    elif change == "removed":
        (folder / "a.png").unlink()
    else:
        image.write(folder / "a.png", picture())
        os.utime(folder / "a.png", ns=(1, 1))
    assert_holds(store.open_folder(folder, cache), folder)
    assert before not in stores(cache)  # the old one goes
    assert len(stores(cache)) == 1


def test_stores_of_two_folders_live_side_by_side(folder, cache, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    store.open_folder(folder, cache)
    store.open_folder(tmp_path / "other", cache)
    assert len(stores(cache)) == 2


@pytest.mark.parametrize("missing", ["index.json", "pixels.bin"])
def test_a_half_removed_store_is_built_again(folder, cache, missing):
    store.open_folder(folder, cache)
    (stores(cache)[0] / missing).unlink()  # as a process leaves it that is killed while it removes an old store
    assert_holds(store.open_folder(folder, cache), folder)


@pytest.mark.parametrize("name", ["index.json", "pixels.bin"])
def test_a_store_that_a_power_cut_left_short_is_built_again(folder, cache, name):
    store.open_folder(folder, cache)
    os.truncate(stores(cache)[0] / name, 20)
    assert_holds(store.open_folder(folder, cache), folder)


def test_unreadable_and_truncated_pictures_are_skipped_and_named(folder, cache):
    (folder / "text.png").write_text("hello")
    data = (folder / "a.png").read_bytes()
    (folder / "cut.png").write_bytes(data[: len(data) // 2])
    for _ in range(2):  # built, then opened
        opened = store.open_folder(folder, cache)
        assert opened.names == ("a.png", "b.png", "sub/c.png")
        assert [Path(reason.partition(": ")[0]).name for reason in opened.skipped] == ["cut.png", "text.png"]


def test_a_folder_with_no_readable_picture_is_an_error(tmp_path, cache):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("hello")
    with pytest.raises(InputError, match=r"bad: none of its 1 pictures can be read; the first: .*a\.png: is not"):
        store.open_folder(tmp_path / "bad", cache)
    assert stores(cache) == []


def test_a_full_disk_is_an_error_and_leaves_nothing(folder, cache, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.json, "dumps", full)
    with pytest.raises(InputError, match=r"can't be built there \(No space left on device\); set data\.cache\."):
        store.open_folder(folder, cache)
    assert stores(cache) == []


def test_a_taken_order_shares_the_pixels(folder, cache):
    opened = store.open_folder(folder, cache)
    taken = opened.take([2, 0])
    assert taken.names == ("sub/c.png", "a.png")
    assert taken.pixels is opened.pixels
    np.testing.assert_array_equal(taken.picture(0), opened.picture(2))


def test_arrays_make_a_store_in_memory():
    pictures = [picture(3, 4), picture(5, 2)]
    made = store.of_arrays(pictures, ["a", "b"])
    assert all(np.array_equal(made.picture(k), pictures[k]) for k in range(2))


def test_grey_arrays_among_rgb_ones_stand_three_times_and_are_marked():
    grey = picture(3, 4, channels=1)
    made = store.of_arrays([grey, picture(5, 2)], ["a", "b"])
    np.testing.assert_array_equal(made.picture(0), grey.repeat(3, 2))
    assert made.grey.tolist() == [True, False]


# Real processes: the builder says when it is in the middle, and waits there for a line.
BUILDER = """
import hashlib, sys
from pathlib import Path
from sr_keras import store

def progress(done, total):
    print("built", done, flush=True)
    if wait and done == 2:
        sys.stdin.readline()

class Lock(store.FileLock):
    def acquire(self, *arguments, **options):
        print("asking", flush=True)  # there was no store yet
        return super().acquire(*arguments, **options)

store.FileLock = Lock
folder, cache, wait = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "wait"
opened = store.open_folder(folder, cache, progress=progress)
print(hashlib.sha256(opened.pixels.tobytes()).hexdigest(), opened.names, flush=True)
"""


def builder(folder, cache, mode):
    arguments = [sys.executable, "-c", BUILDER, str(folder), str(cache), mode]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def read_until(process, line):
    for said in process.stdout:
        if said == line:
            return
    pytest.fail(f"the builder never said {line!r}")


def test_a_killed_build_leaves_nothing_to_trip_over(folder, cache):
    with builder(folder, cache, "wait") as process:
        read_until(process, "built 2\n")
        assert [path.suffix for path in stores(cache)] == [".partial"]
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert_holds(store.open_folder(folder, cache), folder)
    assert [path.suffix for path in stores(cache)] == [""]


def test_what_a_killed_build_left_goes_though_the_folder_changed_since(folder, cache):
    with builder(folder, cache, "wait") as process:
        read_until(process, "built 2\n")
        process.send_signal(signal.SIGKILL)
    image.write(folder / "d.png", picture())
    store.open_folder(folder, cache)
    assert [path.suffix for path in stores(cache)] == [""]


def test_of_two_processes_one_builds_and_both_get_it(folder, cache):
    with builder(folder, cache, "wait") as first:
        read_until(first, "built 2\n")
        with builder(folder, cache, "go") as second:
            read_until(second, "asking\n")
            told = [first.communicate("go\n")[0], second.communicate()[0]]
    assert told[0].splitlines()[0] == "built 3"
    assert told[1] == told[0].splitlines()[1] + "\n"  # the same pixels, and nothing built
    assert (first.returncode, second.returncode) == (0, 0)


READER = """
import sys
from pathlib import Path
from sr_keras import store

def anonymous():
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("RssAnon:") + 1]) * 1024

before = anonymous()
opened = store.open_folder(Path(sys.argv[1]), Path(sys.argv[2]))
total = sum(int(opened.picture(k).sum()) for k in range(len(opened)))
print(anonymous() - before, total)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="counts memory by Linux's /proc")
def test_reading_all_of_a_store_keeps_it_out_of_the_processes_own_memory(tmp_path, cache):
    (tmp_path / "large").mkdir()
    size = 1000 * 1000 * 3
    for k in range(12):
        image.write(tmp_path / "large" / f"{k:02}.bmp", np.full((1000, 1000, 3), k, np.uint8))
    store.open_folder(tmp_path / "large", cache)
    command = [sys.executable, "-c", READER, str(tmp_path / "large"), str(cache)]
    grown, total = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert total == size * sum(range(12))  # all of it was read
    assert grown < 3 * size  # of 12
