"""`python -m sr_keras.export`: writes SavedModel, TFLite, ONNX or OpenVINO, and checks each in its own runtime."""

import argparse
import contextlib
import hashlib
import inspect
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sr_keras import cli
from sr_keras.errors import InputError
from sr_keras.files import write_json
from sr_keras.run import Run

if TYPE_CHECKING:  # every heavy import is inside a function, so that --help answers at once
    import keras
    import numpy as np

    from sr_keras.config import Config
    from sr_keras.data import Pair
    from sr_keras.exporters._artifact import Artifact
    from sr_keras.predictor import Predictor
    from sr_keras.recipe import Recipe, Target

_LARGEST, _ODD = (96, 128), (75, 101)


@dataclass(frozen=True)
class Checked:
    """An artifact and what its own runtime made of real LR pictures of two sizes.

    `max_abs_difference` is in units of [0, 1]; the PSNRs in dB over RGB (or Y for a network on luminance), the border
    of `scale` pixels cut from HR's; `milliseconds` the median for a `timed_size` LR picture. The types say how numbers
    become pixels: `dtype`, and for whole numbers `scale` and `zero_point`. `files` are all that belong to it, `file`
    the one to open; `sha256` is of the file, or of the names and contents of all files in order.
    """

    file: str
    files: tuple[str, ...]
    kind: str
    bytes: int
    sha256: str
    operators: tuple[str, ...]
    input_type: dict[str, Any]
    output_type: dict[str, Any]
    max_abs_difference: float
    psnr_vs_keras: float | None
    psnr_vs_hr: float
    milliseconds: float
    timed_size: tuple[int, int]
    fault: str | None = None


class OverToleranceError(Exception):
    """At least one artifact is further from Keras than its recipe allows; nothing was written."""


def export(model: Path, recipe: "Recipe", folder: Path) -> list[Checked]:
    """Writes the artifacts of `recipe` and manifest.json into `folder`; returns what was measured.

    All are made and checked in a folder beside first: if one is over its tolerance, `OverToleranceError` carries the
    checks and `folder` stays as it was. Raises `InputError` for a model that can't be exported.
    """
    from sr_keras import predictor

    network, config = _opened(model)
    reference = predictor.of_keras(network, str(model))
    pairs = _pictures(config, reference, "valid", most=4)
    calibration = [_planes(pair.lr, reference.channels) for pair in _pictures(config, reference, "train", most=64)]
    with _draft_beside(folder) as draft:
        checked = [_made(target, network, reference, pairs, calibration, draft) for target in recipe.artifacts]
        if any(artifact.fault for artifact in checked):
            raise OverToleranceError(checked)
        _publish(draft, folder, _manifest(network, reference, config, checked))
    return checked


def _opened(model: Path) -> "tuple[keras.Model, Config | None]":
    from sr_keras import float32, predictor

    network = float32.float32_twin(predictor.open_network(model))
    return network, Run(model).load_config() if Run(model).config.is_file() else None


@contextlib.contextmanager
def _draft_beside(folder: Path) -> Iterator[Path]:
    """Gives a folder beside `folder` that is removed in the end, with the parents that were made for it if empty."""
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.")
    except OSError as error:
        raise InputError(f"{folder}: can't be written ({error.strerror}); give another -o.") from error
    try:
        with scratch as name:
            yield Path(name)
    finally:
        for parent in made:
            with contextlib.suppress(OSError):  # not empty: something was written
                parent.rmdir()


def _pictures(
    config: "Config | None", reference: "Predictor", split: Literal["train", "valid"], *, most: int
) -> "list[Pair]":
    """Takes real pictures: those of the run, or the embedded photographs where the run's data is not here."""
    from sr_keras import component, data, degradations
    from sr_keras import config as config_file

    scale, opened = reference.scale, None
    spec = config.degradation.model_dump() if config else "bicubic"
    if config is not None:
        try:
            sources = config_file.sources(config, split)
            opened = data.open_sources(sources, scale=scale, split=split, cache=config.data.cache)
        except InputError as error:
            print(f"warning: {error} The embedded photographs are used instead.", file=sys.stderr)
    opened = opened or data.open_sources([config_file.Source(hr="photographs")], scale=scale, split=split)
    degrade = component.build(degradations, spec, scale=scale)
    pairs = list(data.pairs(opened, degrade, scale=scale, most=most, crop=reference.size or _LARGEST))
    largest = max(min(pair.lr.shape[:2]) for pair in pairs)
    return [pair for pair in pairs if 2 * min(pair.lr.shape[:2]) >= largest]  # a tiny one would shrink them all


def _made(
    target: "Target",
    network: "keras.Model",
    reference: "Predictor",
    pairs: "list[Pair]",
    calibration: list,
    draft: Path,
) -> Checked:
    """Writes one artifact into `draft`, opens it with its runtime and compares."""
    from sr_keras import component, exporters

    save, options = component.resolve(exporters, target.options(), "save")
    load, _ = component.resolve(exporters, target.name, "load")
    fixed, size = reference.size, options.get("size")
    if fixed and size and fixed != size:
        raise InputError(f"{target.name}: the network takes only {fixed[0]}x{fixed[1]} pictures, not {tuple(size)}.")
    given = {"calibration": calibration} if "calibration" in inspect.signature(save).parameters else {}
    there = set(draft.iterdir())
    path = save(network, draft, **options, **given)
    if path in there:
        raise InputError(f"{target.name}: two artifacts of the recipe have the name {path.name}; drop one.")
    written = sorted({*draft.iterdir()} - there)
    artifact = load(path)
    figures = _compared(artifact, reference, pairs)
    kind = " ".join([target.name, *(str(v) for k, v in options.items() if k == "precision")])
    in_bytes, digest = _size_and_digest(written)
    checked = Checked(
        path.name,
        tuple(file.name for file in written),
        kind,
        in_bytes,
        digest,
        artifact.operators,
        artifact.input_type,
        artifact.output_type,
        **figures,
    )
    return _judged(checked, target)


def _judged(checked: Checked, target: "Target") -> Checked:
    if not math.isfinite(checked.max_abs_difference):
        return replace(checked, fault="gives values that are no numbers")
    if target.tolerance is not None and not checked.max_abs_difference <= target.tolerance:
        return replace(checked, fault=f"differs by {checked.max_abs_difference:.1e}, allowed {target.tolerance:.1e}")
    psnr = checked.psnr_vs_keras
    if target.psnr is not None and psnr is not None and not psnr >= target.psnr:
        return replace(checked, fault=f"{psnr:.1f} dB against Keras, at least {target.psnr:g} needed")
    return checked


def _compared(artifact: "Artifact", reference: "Predictor", pairs: "list[Pair]") -> dict[str, Any]:
    """Runs the artifact on pictures of two sizes (of the one that it takes, if fixed) beside Keras."""
    import time

    import numpy as np

    from sr_keras import image, metrics

    scale, differences, against_keras, against_hr = reference.scale, [], [], []
    sizes = [artifact.size] if artifact.size else [_LARGEST, _ODD]
    for pair in pairs:
        for wanted in sizes:
            lr, hr = _fitted(pair, wanted, scale, reference.channels)
            keras_sr, sr = reference.network(lr[None])[0], artifact(lr[None])[0]
            differences.append(float(np.abs(sr - keras_sr).max()))
            if artifact.run_uint8 is not None:
                differences.append(_uint8_difference(artifact.run_uint8, reference, image.to_uint8(lr)))
            against_keras.append(metrics.psnr(keras_sr * 255.0, sr * 255.0))
            cut = [image.shave(p, scale) * 255.0 for p in (hr, np.clip(sr, 0.0, 1.0))]
            against_hr.append(metrics.psnr(*cut))
    lr, _ = _fitted(pairs[0], sizes[0], scale, reference.channels)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        artifact(lr[None])
        times.append((time.perf_counter() - start) * 1e3)
    finite = [p for p in against_keras if np.isfinite(p)]
    return {
        "max_abs_difference": float(np.max(differences)),  # a NaN stays one
        "psnr_vs_keras": float(np.mean(finite)) if finite else None,
        "psnr_vs_hr": float(np.mean(against_hr)),
        "milliseconds": float(np.median(times)),
        "timed_size": lr.shape[:2],
    }


def _uint8_difference(run: "Callable[[np.ndarray], np.ndarray]", reference: "Predictor", lr: "np.ndarray") -> float:
    """Compares the uint8 entry with Keras' rounded output: 0 if they are a level apart at most, as rounding may be."""
    import numpy as np

    from sr_keras import image

    expected = image.to_uint8(reference.network(image.to_float(lr[None])))
    levels = int(np.abs(run(lr[None]).astype(int) - expected).max())
    return levels / 255.0 if levels > 1 else 0.0


def _fitted(pair: "Pair", size: tuple[int, int], scale: int, channels: int) -> "tuple[np.ndarray, np.ndarray]":
    """Cuts LR and HR to `size`, or mirrors them up to it: float32 in [0, 1]."""
    import numpy as np

    def fit(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
        cut = pixels[:height, :width]
        missing = [(0, height - cut.shape[0]), (0, width - cut.shape[1]), (0, 0)]
        return _planes(np.pad(cut, missing, "symmetric"), channels)

    height, width = size
    return fit(pair.lr, height, width), fit(pair.hr, height * scale, width * scale)


def _planes(pixels: "np.ndarray", channels: int) -> "np.ndarray":
    """Maps a uint8 picture to the float32 planes that the network works on."""
    from sr_keras import image

    return image.with_channels(image.to_float(pixels), channels)


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


def _manifest(network: "keras.Model", reference: "Predictor", config: "Config | None", checked: list[Checked]) -> dict:
    from importlib import metadata

    from sr_keras import __version__, receptive_field

    try:
        tiles = asdict(receptive_field.field(network))
    except ValueError:  # a layer of the user's own: without an alignment, a reader knows to measure both
        tiles = {"halo": None}
    versions = {"sr_keras": __version__}
    for name in ("tensorflow", "keras", "numpy", "tf2onnx", "ai-edge-litert", "openvino"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # OpenVINO may be left out
            versions[name] = metadata.version(name)
    return {
        "format": 1,
        "model": network.name,
        "scale": reference.scale,
        "channels": reference.channels,
        "color": "RGB" if reference.channels == 3 else "Y",
        "layout": "NHWC",
        **tiles,
        "input": {"name": "lr", "range": [0.0, 1.0]},
        "output": {"name": "sr", "range": [0.0, 1.0], "clipped": network.layers[-1].__class__.__name__ == "Clip"},
        "signatures": {"saved_model": ["serving_default", "serving_uint8"], "tflite": ["serving_default"]},
        "parameters": network.count_params(),
        "versions": versions,
        "config": config.model_dump(mode="json") if config else None,
        "artifacts": [{k: v for k, v in asdict(c).items() if k != "fault"} for c in checked],
    }


def _publish(draft: Path, folder: Path, manifest: dict) -> None:
    """Moves the artifacts into place; the manifest goes first and comes last, so it never names a file of before."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").unlink(missing_ok=True)
        items = sorted(draft.iterdir())  # a .bin comes before its .xml, which never stands beside another network's
        for target in (folder / item.name for item in reversed(items)):
            if target.is_dir():
                shutil.rmtree(target)
            target.unlink(missing_ok=True)
        for item in items:
            item.replace(folder / item.name)
    except OSError as error:
        raise InputError(f"{folder}: can't be written ({error.strerror}); give another -o.") from error
    write_json(folder / "manifest.json", manifest)


def table(checked: Sequence[Checked]) -> str:
    """Returns the Markdown table of the artifacts."""
    rows = [
        [
            c.file, f"{c.bytes / 1024:.1f}", str(len(c.operators)), f"{c.max_abs_difference:.1e}",
            "equal" if c.psnr_vs_keras is None else f"{c.psnr_vs_keras:.1f}", f"{c.psnr_vs_hr:.2f}",
            f"{c.timed_size[0]}x{c.timed_size[1]}", f"{c.milliseconds:.1f}", "ok" if c.fault is None else "FAILED",
        ]
        for c in checked
    ]  # fmt: skip
    header = ["file", "KiB", "operators", "max diff", "dB vs Keras", "dB vs HR", "LR", "ms", ""]
    return cli.markdown(header, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line, exports and prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sr_keras.export", description=__doc__)
    parser.add_argument("model", metavar="MODEL", type=Path, help="run folder or .keras file")
    names = "default, server, mobile, desktop"
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", default="default", help=f"recipe file or name: {names}")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, help="default: <MODEL>/export/<recipe>")
    options = parser.parse_args(argv)
    return cli.run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    from sr_keras import recipe

    plan = recipe.load(options.recipe)
    base = options.model if options.model.is_dir() else options.model.parent
    folder = options.out or base / "export" / Path(options.recipe).stem
    try:
        checked = export(options.model, plan, folder)
    except OverToleranceError as failure:
        checked = failure.args[0]
        print(table(checked))
        for artifact in checked:
            if artifact.fault:
                print(f"error: {artifact.file}: {artifact.fault}; nothing was written.", file=sys.stderr)
        return 1
    print(table(checked))
    print(
        f"\n{folder}: {len(checked)} artifacts and manifest.json; ms: median for an LR picture of that height x width"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
