"""What every measurement reports: tables, ratios to a peer, and the machine they hold for."""

import contextlib
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Table:
    """`header` and `cells` for people, `rows` for machines; `key` is the rows' name in the JSON file."""

    header: Sequence[str]
    cells: Sequence[Sequence[str]]
    rows: Sequence[Any]
    title: str = ""
    key: str = "rows"


@dataclass(frozen=True)
class Report:
    """What a measurement found, the versions of what only it uses, and `notes` on how far its figures hold."""

    tables: Sequence[Table]
    versions: dict[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Speeds:
    """Medians over the rounds, the ratio of ours to the peer's in each round, and all values of all rounds."""

    ours: float
    peer: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float
    rounds_ours: tuple[float, ...]
    rounds_peer: tuple[float, ...]

    @classmethod
    def of(cls, ours: Sequence[float], peer: Sequence[float]) -> "Speeds":
        ratios = [a / b for a, b in zip(ours, peer, strict=True)]
        middle = statistics.median
        return cls(middle(ours), middle(peer), middle(ratios), min(ratios), max(ratios), tuple(ours), tuple(peer))

    @property
    def range(self) -> str:
        return f"{self.lowest_ratio:.2f} - {self.highest_ratio:.2f}"


@dataclass(frozen=True)
class Machine:
    """Where a figure was measured; `load` is the load average of the minute before."""

    processor: str
    cores: int
    load: float
    versions: dict[str, str]
    commit: str

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.processor}, {self.cores} cores, load before {self.load:.1f}; {versions}; commit {self.commit}"


def machine(versions: dict[str, str], load: float) -> Machine:
    """Describes this machine, with `versions` beside those of sr_keras and what it stands on."""
    import cv2
    import keras
    import tensorflow as tf

    import sr_keras

    found = {
        "sr_keras": sr_keras.__version__, "Python": platform.python_version(), "TensorFlow": tf.__version__,
        "Keras": keras.__version__, "NumPy": np.__version__, "OpenCV": cv2.__version__,
    }  # fmt: skip
    return Machine(_processor(), len(os.sched_getaffinity(0)), load, found | versions, commit())


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="ignore").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit(*without: str) -> str:
    """Returns the short hash, with a + where files differ from it; those below the folders `without` do not count."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + (
            "+" if git("status", "--porcelain", "--", ":/", *(f":(top,exclude){folder}" for folder in without)) else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def megabytes(count: int) -> str:
    """Writes bytes as megabytes of a million."""
    return f"{count / 1e6:,.1f} MB"


def need_proc(measurement: str) -> None:
    """Raises `InputError` where there is no /proc to read the memory of a process from."""
    from sr_keras.errors import InputError

    if not Path("/proc/self/status").is_file():
        raise InputError(f"{measurement}: reads /proc/self/status; run it on Linux.")


def memory_of(process: int | str = "self") -> dict[str, int]:
    """Returns the lines of /proc/PID/status that are sizes, in bytes: VmHWM is the most that was resident so far."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="ignore").splitlines()
    return {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.endswith(" kB")}


def say(line: str) -> None:
    """Tells whoever waits how far it is."""
    print(line, file=sys.stderr, flush=True)
