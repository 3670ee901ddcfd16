"""What an export makes: each artifact written, opened with its own runtime, run beside Keras on real pictures, judged.

A part of the verb `export`.
"""

import hashlib
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sr_keras import component, exporters, image, metrics
from sr_keras._samples import LARGEST, ODD, Samples, psnr
from sr_keras.errors import InputError
from sr_keras.exporters._artifact import Artifact, size_name
from sr_keras.exporters._tflite_metadata import About
from sr_keras.predictor import Predictor
from sr_keras.recipe import Target

_SMALLEST = 8  # LR pixels


@dataclass(frozen=True)
class Checked:
    """An artifact and what its own runtime made of real LR pictures of two sizes.

    `max_abs_difference` is in units of [0, 1]; the PSNRs in dB over RGB (or Y for a network on luminance), the border
    of `scale` pixels cut from HR's; `loss` is how many dB of `psnr_vs_hr` the float network has more; `levels` the
    largest difference from the fake-quantised twin, of 255, where the file was made of it, and `levels_999` that of all
    values but one in 1,000; `milliseconds` the median for a `timed_size` LR picture. The types say how numbers become
    pixels: `dtype`, and for whole numbers `scale` and `zero_point`. `files` are all that belong to it, `file` the one
    to open; `sha256` is of the file, or of the names and contents of all files in order. `golden` names an LR picture,
    what the artifact made of it, and within how many `levels` of that which `share` of the values must be on another
    machine. `size` is the only LR (height, width) that the file takes, None if it takes any.
    """

    file: str
    files: tuple[str, ...]
    exporter: str
    precision: str
    size: tuple[int, int] | None
    bytes: int
    sha256: str
    operators: tuple[str, ...]
    input_type: dict[str, Any]
    output_type: dict[str, Any]
    max_abs_difference: float
    psnr_vs_keras: float | None
    psnr_vs_hr: float
    loss: float
    levels: int | None
    levels_999: int | None
    milliseconds: float
    timed_size: tuple[int, int]
    golden: dict[str, Any]
    fault: str | None = None

    @property
    def kind(self) -> str:
        """The exporter and, where it has more than one, what its file computes in."""
        return f"{self.exporter} {self.precision}".strip()

    @property
    def whole(self) -> bool:
        """Says whether it computes in whole numbers, which kernels round in more than one way."""
        return self.precision in ("int8", "int16x8", "dynamic")


def is_int8(target: Target) -> bool:
    """Says whether the artifact is a full-integer TFLite file."""
    return target.options().get("precision") == "int8"


def check(target: Target, network: Predictor) -> None:
    """Raises `InputError` for options that the exporter does not have, or a size that the network does not take."""
    options = component.resolve(exporters, target.options(), "save")[1]
    if fixed_by_us := {"calibration", "about"} & set(options):
        raise InputError(f"{target.name}: {', '.join(fixed_by_us)} can't be set in a recipe; leave it out.")
    size = options.get("size")
    if size is not None and min(size) < _SMALLEST:
        raise InputError(f"{target.name}: size must be height and width of {_SMALLEST} or more, got {list(size)}.")
    if size and network.size and network.size != tuple(size):
        height, width = network.size
        raise InputError(f"{target.name}: the network takes only {height}x{width} pictures, not {tuple(size)}.")


def made(target: Target, samples: Samples, pictures: list[np.ndarray], about: About, draft: Path) -> Checked:
    """Writes one artifact into `draft`, opens it with its runtime and compares; `pictures` are for calibration."""
    networks = samples.networks
    save, options = component.resolve(exporters, target.options(), "save")
    load, _ = component.resolve(exporters, target.name, "load")
    taken = inspect.signature(save).parameters
    precision = options.get("precision", taken["precision"].default) if "precision" in taken else ""
    if precision == "dynamic":  # whose ranges follow the picture, so that no tile is exact
        about = replace(about, halo=None)
    twin = networks.twin if is_int8(target) else None
    given = {key: value for key, value in {"calibration": pictures, "about": about}.items() if key in taken}
    there = set(draft.iterdir())
    path = save(twin or networks.exact, draft, **options, **given)
    if path in there:
        raise InputError(f"{target.name}: two artifacts of the recipe have the name {path.name}; drop one.")
    written = sorted({*draft.iterdir()} - there)
    artifact = load(path)
    figures = _compared(artifact, samples, against_twin=twin is not None)
    in_bytes, digest = _size_and_digest(written)
    checked = Checked(
        path.name, tuple(file.name for file in written), target.name, precision, artifact.size, in_bytes, digest,
        artifact.operators, artifact.input_type, artifact.output_type, **figures, golden={},
    )  # fmt: skip
    checked = replace(checked, golden=_golden(artifact, checked, samples, draft))
    return judged(checked, target, trained=networks.ranges == "trained", trainable=networks.twin is not None)


def judged(checked: Checked, target: Target, *, trained: bool = False, trainable: bool = True) -> Checked:
    """Returns `checked` with its `fault` where it is further from Keras than `target` allows.

    What is to be done depends on whether the network was `trained` for int8, and else on whether it is `trainable` so.
    """
    near, fault = checked.psnr_vs_keras, None
    if not math.isfinite(checked.max_abs_difference):
        fault = "gives values that are no numbers"
    elif target.tolerance is not None and not checked.max_abs_difference <= target.tolerance:
        fault = f"differs by {checked.max_abs_difference:.1e}, allowed {target.tolerance:.1e}"
    elif target.psnr is not None and near is not None and not near >= target.psnr:
        fault = f"{near:.1f} dB against Keras, at least {target.psnr:g} needed"
    elif target.loss is not None and not checked.loss <= target.loss:
        fault = f"loses {checked.loss:.2f} dB against HR, allowed {target.loss:g}"
        if checked.precision == "int8":
            if trained:
                fault += "; train it for longer"
            else:
                fault += f"; {'train it for int8 (docs/phone.md)' if trainable else 'take float16, or a looser recipe'}"
    elif target.levels is not None and (checked.levels_999 or 0) > target.levels:
        fault = (
            f"one value in 1,000 is over {target.levels} levels from the twin in Keras, {checked.levels} at most; "
            "recipe portable_int8 asks for the loss alone"
        )
    return replace(checked, fault=fault)


def _compared(artifact: Artifact, samples: Samples, *, against_twin: bool) -> dict[str, Any]:
    """Runs the artifact on pictures of two sizes (of the one that it takes, if fixed) beside Keras."""
    exact, differences, against_keras, against_hr, losses = samples.exact, [], [], [], []
    counts = np.zeros(256, np.int64)
    sizes = [artifact.size] if artifact.size else [LARGEST, ODD]
    for sample in (sample for size in sizes for sample in samples.at(size)):
        sr = artifact(sample.lr[None])[0]
        differences.append(float(np.abs(sr - sample.exact).max()))
        if artifact.run_uint8 is not None:
            differences.append(_uint8_difference(artifact.run_uint8, exact, image.to_uint8(sample.lr)))
        if against_twin and sample.twin is not None:
            levels = np.rint(np.minimum(np.abs(sr - sample.twin), 1.0) * 255.0).astype(np.int64)
            counts += np.bincount(levels.ravel(), minlength=256)
        against_keras.append(metrics.psnr(sample.exact * 255.0, sr * 255.0))
        against_hr.append(psnr(sample.hr, sr, exact.scale))
        losses.append(sample.base_psnr - against_hr[-1])
    lr, times = samples.at(sizes[0])[0].lr, []
    for _ in range(7):
        start = time.perf_counter()
        artifact(lr[None])
        times.append((time.perf_counter() - start) * 1e3)
    finite = [p for p in against_keras if np.isfinite(p)]
    return {
        "max_abs_difference": float(np.max(differences)),  # a NaN stays one
        "psnr_vs_keras": float(np.mean(finite)) if finite else None,
        "psnr_vs_hr": float(np.mean(against_hr)),
        "loss": float(np.mean(losses)),
        "levels": int(np.flatnonzero(counts).max()) if counts.any() else None,
        "levels_999": int(np.searchsorted(np.cumsum(counts), 0.999 * counts.sum())) if counts.any() else None,
        "milliseconds": float(np.median(times)),
        "timed_size": lr.shape[:2],
    }


def _uint8_difference(run: Callable[[np.ndarray], np.ndarray], exact: Predictor, lr: np.ndarray) -> float:
    """Compares the uint8 entry with Keras' rounded output: 0 if they are a level apart at most, as rounding may be."""
    expected = image.to_uint8(exact.network(image.to_float(lr[None])))
    levels = int(np.abs(run(lr[None]).astype(int) - expected).max())
    return levels / 255.0 if levels > 1 else 0.0


def _golden(artifact: Artifact, checked: Checked, samples: Samples, draft: Path) -> dict[str, Any]:
    """Writes a picture and what the artifact makes of it, for export/check_artifacts.py on other machines."""
    lr = image.to_uint8(samples.at(artifact.size or LARGEST)[0].lr)
    sr = image.to_uint8(artifact(image.to_float(lr)[None])[0])
    names = {"lr": f"golden/lr_{size_name(lr.shape[:2])}.png", "sr": f"golden/{checked.file.replace('.', '_')}.png"}
    image.write(draft / names["lr"], lr)
    image.write(draft / names["sr"], sr)
    # Kernels round sums of whole numbers in more than one way, and deep networks pass each step on.
    return {**names, "levels": 2 if checked.whole else 1, "share": 0.98 if checked.whole else 1.0}


def _size_and_digest(written: list[Path]) -> tuple[int, str]:
    """Adds up the bytes of files or a folder; the digest of more than one file is that of their names and contents."""
    folder = written[0] if written[0].is_dir() else written[0].parent
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if written[0].is_dir() else written
    digest = hashlib.sha256()
    for file in files:
        if written[0].is_dir() or len(files) > 1:
            digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(file.read_bytes())
    return sum(file.stat().st_size for file in files), digest.hexdigest()
