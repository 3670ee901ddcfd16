"""What every command line shares, seen from outside: each test is a process of its own."""

import os
import subprocess
import sys

import pytest

VERBS = ["train", "evaluate", "upscale", "export"]
HEAVY = {"tensorflow", "keras", "numpy", "cv2", "onnxruntime", "ai_edge_litert"}


def python(*arguments, cwd=None):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, timeout=60)


def verb(body, *, before="", after=""):
    """Runs `body` as a verb under `cli.run`; C's writes to descriptor 2 are played by `os.write`."""
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    code = (
        f"import os, sys\nfrom sr_keras import cli\nfrom sr_keras.errors import InputError\n{before}\n"
        f"def verb():\n{indented}\nstatus = cli.run(verb)\n{after}\nsys.exit(status)"
    )
    return python("-c", code)


@pytest.mark.parametrize("name", VERBS)
def test_help_imports_nothing_heavy(name):
    done = python("-X", "importtime", "-m", f"sr_keras.{name}", "--help")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported  # the list is one
    assert not HEAVY & {module.partition(".")[0] for module in imported}


@pytest.mark.parametrize("name", VERBS)
def test_help_shows_the_command(name):
    done = python("-m", f"sr_keras.{name}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m sr_keras.{name} ")


def test_the_package_alone_lists_the_verbs():
    done = python("-m", "sr_keras")
    assert all(f"python -m sr_keras.{name} " in done.stdout for name in VERBS)


def test_an_input_error_is_status_2_and_one_line():
    done = verb("raise InputError('x.png: is damaged.')")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: x.png: is damaged.\n")


def test_a_bad_config_key_is_status_2_and_one_line(tmp_path):
    done = python("-m", "sr_keras.train", "quickstart", "train.bach=8", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "unknown key 'train.bach' (did you mean 'batch'?)" in done.stderr


def test_a_bad_config_key_writes_nothing(tmp_path):
    python("-m", "sr_keras.train", "quickstart", "train.bach=8", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_verbs_status_is_the_exit_status():
    assert verb("return 7").returncode == 7


def test_nothing_returned_is_success():
    assert verb("pass").returncode == 0


def test_ctrl_c_is_status_130():
    done = verb("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_closed_pipe_is_no_traceback():
    done = verb("raise BrokenPipeError")
    assert (done.returncode, done.stderr) == (1, "")


def test_quiet_hides_what_c_writes():
    assert verb("os.write(2, b'oneDNN is on\\n')").stderr == ""


def test_quiet_lets_pythons_own_messages_through():
    assert verb("print('warning', file=sys.stderr)").stderr == "warning\n"


def test_an_input_error_keeps_what_c_wrote_hidden():
    assert verb("os.write(2, b'oneDNN is on\\n')\nraise InputError('no.')").stderr == "error: no.\n"


def test_another_exception_replays_what_c_wrote():
    done = verb("os.write(2, b'oneDNN is on\\n')\nraise ZeroDivisionError('ours')")
    assert done.returncode == 1
    assert done.stderr.startswith("oneDNN is on\nTraceback")
    assert "ZeroDivisionError: ours" in done.stderr


def test_descriptor_2_is_back_after_the_verb():
    assert verb("pass", after="os.write(2, b'after')").stderr == "after"


def test_a_verb_runs_without_a_standard_error():
    code = "import sys; from sr_keras import cli; sys.exit(cli.run(lambda: print('done')))"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, preexec_fn=lambda: os.close(2)
    )
    assert (done.returncode, done.stdout) == (0, "done\n")
