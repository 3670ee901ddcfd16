"""How fast TFLite files are on a phone: LiteRT's benchmark_model over adb, and a JSON that people can contribute.

benchmark_model: https://ai.google.dev/edge/litert/models/measurement says where to get it.
"""

import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .report import Report, Table, say

_PLACE = "/data/local/tmp"
_BACKENDS = {"cpu": "--use_xnnpack=true", "gpu": "--use_gpu=true", "nnapi": "--use_nnapi=true"}
_PROPERTIES = {
    "manufacturer": "ro.product.manufacturer", "model": "ro.product.model", "board": "ro.board.platform",
    "Android": "ro.build.version.release",
}  # fmt: skip
_COUNT = re.compile(r"count=\d+ .*avg=(\S+)")
_SPREAD = re.compile(r"median=(\S+) p95=(\S+)")
_AVERAGE = re.compile(r"Inference \(avg\): (\S+)")
_MEMORY = re.compile(r"Overall peak memory footprint \(MB\)[^:]*: (\S+)")
_DELEGATED = re.compile(r"Replacing (\d+) out of (\d+) node")


@dataclass(frozen=True)
class PhoneRow:
    """Milliseconds of one LR picture; `median` and `p95` are None where benchmark_model is too old to say them.

    `delegated` is how many of the file's operators the delegate took, such as "11/13"; `error` says why there is no
    time.
    """

    file: str
    backend: str
    threads: int
    average: float | None
    median: float | None
    p95: float | None
    peak_megabytes: float | None
    delegated: str | None
    error: str | None = None


def phone(
    *, folder: Path, binary: Path | None, serial: str | None, threads: Sequence[int], backends: Sequence[str], runs: int
) -> Report:
    """Runs every TFLite file of fixed size in a folder on the phone at adb, on each backend."""
    from sr_keras.errors import InputError

    files = sorted(file for file in folder.glob("*.tflite") if re.search(r"_\d+x\d+$", file.stem))
    if not files:
        raise InputError(f"{folder}: holds no .tflite file of fixed size; run python -m sr_keras.export RUN mobile")
    adb = ["adb", *(["-s", serial] if serial else [])]
    device = {name: _said(adb, "shell", "getprop", key).strip() for name, key in _PROPERTIES.items()}
    if binary is not None:
        _said(adb, "push", str(binary), f"{_PLACE}/benchmark_model")
        _said(adb, "shell", "chmod", "+x", f"{_PLACE}/benchmark_model")
    rows: list[PhoneRow] = []
    for file in files:
        _said(adb, "push", str(file), f"{_PLACE}/{file.name}")
        for backend in backends:
            for count in threads if backend == "cpu" else threads[-1:]:
                say(f"{file.name}, {backend}, {count} threads")
                rows.append(_run(adb, file.name, backend, count, runs))
        _said(adb, "shell", shlex.join(["rm", f"{_PLACE}/{file.name}"]))
    header = ("file", "backend", "threads", "average", "median", "p95", "peak memory", "delegated", "error")
    cells = [
        (
            row.file, row.backend, str(row.threads), *(_milliseconds(x) for x in (row.average, row.median, row.p95)),
            "-" if row.peak_megabytes is None else f"{row.peak_megabytes:.1f} MB",
            row.delegated or "-", row.error or "-",
        )
        for row in rows
    ]  # fmt: skip
    notes = [f"{name}: {value}" for name, value in device.items()]
    return Report([Table(header, cells, rows)], {}, notes)


def _run(adb: Sequence[str], name: str, backend: str, threads: int, runs: int) -> PhoneRow:
    command = [
        f"{_PLACE}/benchmark_model", f"--graph={_PLACE}/{name}", f"--num_threads={threads}", f"--num_runs={runs}",
        "--warmup_runs=3", "--report_peak_memory_footprint=true", _BACKENDS[backend],
    ]  # fmt: skip
    done = subprocess.run([*adb, "shell", shlex.join(command)], capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    average = _AVERAGE.search(text)
    if done.returncode or average is None:
        lines = [line for line in text.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        return PhoneRow(name, backend, threads, None, None, None, None, None, lines[-1])
    spreads = [_SPREAD.search(line) for line in text.splitlines() if _COUNT.search(line)]
    spread = spreads[-1] if spreads else None  # the first count is the warm-up's
    memory, delegated = _MEMORY.search(text), _DELEGATED.search(text)
    return PhoneRow(
        name, backend, threads, float(average[1]) / 1e3,
        float(spread[1]) / 1e3 if spread else None, float(spread[2]) / 1e3 if spread else None,
        float(memory[1]) if memory else None, f"{delegated[1]}/{delegated[2]}" if delegated else None,
    )  # fmt: skip


def _said(adb: Sequence[str], *words: str) -> str:
    """Returns what adb printed. Raises `InputError` where it can't be run or fails."""
    from sr_keras.errors import InputError

    try:
        done = subprocess.run([*adb, *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError("phone: there is no adb; install Android's platform tools and plug a phone in.") from error
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise InputError(f"phone: adb {words[0]} failed ({reason}); plug one phone in with USB debugging, or --serial.")
    return done.stdout


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
