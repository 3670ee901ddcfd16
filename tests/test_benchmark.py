"""The benchmark tool, at tiny sizes: what it reports, and that it compares like with like. No time is asserted."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sr_keras import store

TOOL = Path(__file__).parent.parent / "tools" / "benchmark.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark", TOOL)
    assert spec
    assert spec.loader
    module = sys.modules["benchmark"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["benchmark"]


def run(*words):
    return subprocess.run([sys.executable, TOOL, *map(str, words)], capture_output=True, text=True, timeout=300)


def measured(folder, *words):
    """Returns the table's rows as mappings, and the JSON report."""
    done = run(*words, "--json", folder / "report.json")
    assert done.returncode == 0, done.stderr
    header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table_lines(done.stdout))
    return [dict(zip(header, row, strict=True)) for row in rows], json.loads((folder / "report.json").read_text())


def table_lines(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_input_reports_the_store_and_both_ways_to_read_files(tmp_path):
    table, report = measured(tmp_path, "input", "--rounds", 1, "--seconds", 0.05, "--batch", 2)
    assert [row["pictures from"] for row in table] == ["store", "files, image.read", "files, OpenCV alone"]
    assert all(float(row["samples/s"]) > 0 and float(row["the store is faster by"]) > 0 for row in table)
    for row in report["rows"]:
        speeds = row["samples_per_second"]
        assert speeds["ratio"] == pytest.approx(speeds["ours"] / speeds["peer"])
    assert set(report["machine"]) == {"processor", "cores", "load", "versions", "commit"}
    assert all(report["machine"][key] for key in ("processor", "cores", "versions", "commit"))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads /proc/self/status")
def test_a_store_is_not_read_into_memory(tmp_path):
    (tmp_path / "work").mkdir()
    words = ("memory", "--gigabytes", 0.1, "--seconds", 0.5, "--folder", tmp_path / "work")
    table, report = measured(tmp_path, *words)
    row = report["rows"][0]
    assert set(table[0]) == {
        "store", "samples taken", "RssAnon before", "RssAnon grew by", "part of the store", "RssFile grew by",
    }  # fmt: skip
    assert min(row["store"], row["samples"], row["rss_anon_before"], row["rss_file_growth"]) > 0
    assert row["rss_anon_growth"] < row["store"] / 2
    assert not list((tmp_path / "work").iterdir())


def test_input_refuses_to_compare_other_samples(benchmark):
    grey, black = (store.of_arrays([np.full((16, 16, 3), value, np.uint8)], ["one"]) for value in (128, 0))
    with pytest.raises(RuntimeError, match="black gives other samples"):
        benchmark._refuse_other_samples({"store": grey, "same": grey, "black": black}, 2, 8)


def test_a_ratio_is_the_median_of_the_rounds_ratios(benchmark):
    speeds = benchmark.Speeds.of([10.0, 2.0, 9.0], [5.0, 0.5, 3.0])  # the middle round was slow for both
    assert (speeds.ratio, speeds.lowest_ratio, speeds.highest_ratio) == (3.0, 2.0, 4.0)


def test_training_takes_turns_and_leaves_the_first_out(benchmark):
    done = []

    class Peer:
        def turn(self):
            done.append("theirs")
            return 2.0, 0.5

    turns = benchmark.Turns(Peer(), "tiny", rounds=2, steps=3, warm_up=1)
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
