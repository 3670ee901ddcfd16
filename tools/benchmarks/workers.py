"""Processes that take turns: each does its work when it is asked to, and sleeps while another works."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .report import say

TOOL = Path(__file__).parent.parent / "benchmark.py"
_PARKED = 0.1  # seconds after which the threads of a runtime no longer spin in wait of more work

Answer = dict[str, Any]
Work = Callable[..., Answer]


@dataclass(frozen=True)
class Worker:
    """A process that answers orders; `ready` is what it said once it was prepared."""

    process: Any  # subprocess.Popen[str], whose type does not know that both pipes are there
    ready: Answer

    def ask(self, **order: Any) -> Answer:
        """Gives an order and waits for the answer."""
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return _answer(self.process)


@contextlib.contextmanager
def started(python: str, kind: str, spec: Mapping[str, Any]) -> Iterator[Worker]:
    """Starts the worker `kind` of tools/benchmark.py with that Python, and ends it after the block."""
    command = [python, str(TOOL), "--worker", kind, json.dumps(spec)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Worker(process, _answer(process))
        finally:
            process.kill()


def _answer(process: Any) -> Answer:
    line = process.stdout.readline()
    if not line:
        name = " ".join(process.args[:4])
        raise RuntimeError(f"'{name}' ended before its time; its own error is among the lines above.")
    return json.loads(line)


def serve(prepare: Callable[[Mapping[str, Any]], tuple[Answer, Work]], spec: Mapping[str, Any]) -> None:
    """Is a worker: prepares itself, says that it is ready, and does its work for each line of the standard input."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    ready, work = prepare(spec)
    answers.write(json.dumps(ready) + "\n")
    for line in sys.stdin:
        answers.write(json.dumps(work(**json.loads(line))) + "\n")


def in_turns(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Takes the turns one after another, so many rounds; returns the seconds of each in all rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for k in range(rounds):
        for name, turn in turns.items():
            time.sleep(_PARKED)
            seconds[name].append(turn())
        say(f"round {k + 1} of {rounds}: " + ", ".join(f"{name} {s[-1]:.3f} s" for name, s in seconds.items()))
    return seconds


def bind(threads: int) -> None:
    """Keeps this process on so many cores: every runtime then starts as many threads, without a setting of its own."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.cpu_count = lambda: threads  # LiteRT's number of threads is made of it


def torch_version(python: str) -> str:
    """Returns the version of PyTorch there. Raises `InputError` if there is none."""
    from sr_keras.errors import InputError

    command = [python, "-c", "import numpy, torch; print(torch.__version__)"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    raise InputError(
        f"{python}: has no PyTorch; pip install torch numpy in an environment and give --torch-python ENV/bin/python."
    )
