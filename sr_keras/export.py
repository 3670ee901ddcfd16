"""`python -m sr_keras.export`: writes SavedModel, TFLite, ONNX or OpenVINO, and checks each in its own runtime."""

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sr_keras import cli
from sr_keras.errors import InputError
from sr_keras.files import write_json
from sr_keras.run import Run

if TYPE_CHECKING:  # every heavy import is inside a function, so that --help answers at once
    import keras

    from sr_keras._artifacts import Checked
    from sr_keras._samples import Networks
    from sr_keras.config import Config
    from sr_keras.data import Pair
    from sr_keras.exporters._tflite_metadata import About
    from sr_keras.predictor import Predictor
    from sr_keras.receptive_field import Field
    from sr_keras.recipe import Recipe
    from sr_keras.zoo import Card


class OverToleranceError(Exception):
    """At least one artifact is further from Keras than its recipe allows; nothing was written."""


def export(model: Path, recipe: "Recipe", folder: Path) -> "list[Checked]":
    """Writes the artifacts of `recipe`, manifest.json, report.md and report.html into `folder`; returns the checks.

    Shipped weights (`zoo`) are measured on the embedded photographs, and have their own twin for int8.
    All are made and checked in a folder beside first: if one is over its tolerance, `OverToleranceError` carries the
    checks and `folder` stays as it was. Raises `InputError` for a model that can't be exported.
    """
    from sr_keras import _artifacts as artifacts
    from sr_keras import _export_report as report
    from sr_keras import _samples, calibration, predictor, zoo
    from sr_keras.config import Data

    card = zoo.find(model)
    if card and "license" not in recipe.model_fields_set:
        recipe = recipe.model_copy(update={"license": card.license})
    network, config = predictor.open_collapsed(model), _config(model, card)
    reference = predictor.of_keras(network, str(model))
    for target in recipe.artifacts:
        artifacts.check(target, reference)
    known = config.model_copy(update={"data": Data()}) if card and config else config  # the embedded photographs
    pairs = _pictures(known, reference, "valid", most=8)
    pictures = calibration.pictures_for(network, _pictures(known, reference, "train", most=64))
    networks = _shipped(network, model, card, recipe) or _networks(network, config, reference, recipe, pairs, pictures)
    samples = _samples.Samples(pairs, networks)
    field = _field(networks.exact)
    about = _about(networks.exact, reference, recipe, field)
    with _draft_beside(folder) as draft:
        checked = [artifacts.made(target, samples, pictures, about, draft) for target in recipe.artifacts]
        if any(artifact.fault for artifact in checked):
            raise OverToleranceError(checked)
        manifest = _manifest(networks.exact, reference, about, field, config, checked)
        report.write(draft, model, manifest, checked, samples)
        _publish(draft, folder, manifest)
    return checked


def _config(model: Path, card: "Card | None") -> "Config | None":
    if card:
        return card.network.config
    return Run(model).load_config() if Run(model).config.is_file() else None


def _shipped(network: "keras.Model", model: Path, card: "Card | None", recipe: "Recipe") -> "Networks | None":
    """Takes the twin for int8 that ships, if the recipe wants int8 files and leaves their ranges to the network."""
    from sr_keras import _artifacts as artifacts
    from sr_keras import _samples, predictor, zoo

    if card is None or card.int8 is None or recipe.int8 not in ("auto", "qat"):
        return None
    if not any(map(artifacts.is_int8, recipe.artifacts)):
        return None
    twin = predictor.open_network(zoo.checked(card.int8))
    return _samples.Networks(network, twin, network, base_name=str(model), ranges="trained")


def _networks(
    network: "keras.Model", config: "Config | None", reference: "Predictor", recipe: "Recipe", pairs: "list[Pair]",
    pictures: list,
) -> "Networks":  # fmt: skip
    """Finds what float files and what int8 files are made of."""
    from sr_keras import _artifacts as artifacts
    from sr_keras import _samples, quantize

    if not (quantize.is_fake_quantised(network) or any(map(artifacts.is_int8, recipe.artifacts))):
        return _samples.Networks(network, None, network)
    networks = _samples.for_int8(network, recipe.int8, pairs, pictures)
    base = _trained_from(config, reference)
    return networks if base is None else replace(networks, base=base, base_name=str(config and config.start_from))


def _trained_from(config: "Config | None", reference: "Predictor") -> "keras.Model | None":
    """Opens the float network that a training for int8 started from; None where there is none for these pictures."""
    from sr_keras import predictor, quantize

    if config is None or config.quantization is None or config.start_from is None:
        return None
    try:
        base = quantize.without_fake_quantisation(predictor.open_collapsed(Path(config.start_from)))
    except InputError:
        return None
    its = predictor.of_keras(base, "base")
    alike = (its.scale, its.channels, its.size) == (reference.scale, reference.channels, reference.size)
    return base if alike else None


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
    from sr_keras._samples import LARGEST

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
    pairs = list(data.pairs(opened, degrade, scale=scale, most=most, crop=reference.size or LARGEST))
    largest = max(min(pair.lr.shape[:2]) for pair in pairs)
    return [pair for pair in pairs if 2 * min(pair.lr.shape[:2]) >= largest]  # a tiny one would shrink them all


def _field(network: "keras.Model") -> "Field | None":
    from sr_keras import receptive_field

    try:
        return receptive_field.field(network)
    except ValueError:  # a layer of the user's own
        return None


def _about(network: "keras.Model", reference: "Predictor", recipe: "Recipe", field: "Field | None") -> "About":
    from sr_keras import __version__
    from sr_keras.exporters._tflite_metadata import About

    scale = reference.scale
    return About(
        network.name, f"Super-resolution: enlarges pictures {scale} times in height and width.", scale,
        reference.channels, field.halo if field else None, field.alignment if field else 1,
        recipe.author, recipe.license, f"sr_keras {__version__}",
    )  # fmt: skip


def _manifest(
    network: "keras.Model", reference: "Predictor", about: "About", field: "Field | None", config: "Config | None",
    checked: "list[Checked]",
) -> dict:  # fmt: skip
    from importlib import metadata

    from sr_keras import __version__, quantize

    tiles = asdict(field) if field else {"halo": None}  # without an alignment, a reader knows to measure both
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
        "output": {"name": "sr", "range": [0.0, 1.0], "clipped": quantize.ends_clipped(network)},
        "signatures": {"saved_model": ["serving_default", "serving_uint8"], "tflite": ["serving_default"]},
        "parameters": network.count_params(),
        "author": about.author,
        "license": about.license,
        "versions": versions,
        "config": config.model_dump(mode="json") if config else None,
        "artifacts": [{k: v for k, v in asdict(c).items() if k != "fault"} | {"kind": c.kind} for c in checked],
    }


def _publish(draft: Path, folder: Path, manifest: dict) -> None:
    """Moves the artifacts into place; the manifest goes first and comes last, so it never names a file of before."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _files_of(folder / "manifest.json")
        (folder / "manifest.json").unlink(missing_ok=True)
        for file in before - {item.name for item in draft.iterdir()}:  # of an earlier export, now without a manifest
            shutil.rmtree(folder / file) if (folder / file).is_dir() else (folder / file).unlink(missing_ok=True)
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


def _files_of(manifest: Path) -> set[str]:
    """Names the artifacts of an export of before; none where there is no manifest to read."""
    try:
        artifacts = json.loads(manifest.read_text(encoding="utf-8"))["artifacts"]
        return {Path(file).name for artifact in artifacts for file in artifact["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line, exports and prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sr_keras.export", description=__doc__)
    parser.add_argument("model", metavar="MODEL", type=Path, help="name of shipped weights, run folder or .keras file")
    names = "default, server, desktop, portable, portable_int8, mobile, mobile_int8, benchmark"
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", default="default", help=f"recipe file or name: {names}")
    parser.add_argument("--author", metavar="NAME", help="in the metadata of TFLite files (default: the recipe's)")
    parser.add_argument("--license", metavar="NAME", help="of the weights, such as CC0-1.0 (default: the recipe's)")
    parser.add_argument("-o", "--out", metavar="DIR", type=Path, help="default: <MODEL>/export/<recipe>")
    options = parser.parse_args(argv)
    return cli.run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    from sr_keras import _export_report as report
    from sr_keras import recipe, zoo

    plan = recipe.load(options.recipe)
    said = {key: value for key in ("author", "license") if (value := getattr(options, key)) is not None}
    plan = plan.model_copy(update=said)
    base = options.model if options.model.is_dir() or zoo.find(options.model) else options.model.parent
    folder = options.out or base / "export" / Path(options.recipe).stem
    try:
        checked = export(options.model, plan, folder)
    except OverToleranceError as failure:
        checked = failure.args[0]
    print(cli.markdown(*report.table(checked)))
    faults = [artifact for artifact in checked if artifact.fault]
    for artifact in faults:
        print(f"error: {artifact.file}: {artifact.fault}; nothing was written.", file=sys.stderr)
    if faults:
        return 1
    print(
        f"\n{folder}: {len(checked)} artifacts, manifest.json, report.md and report.html; "
        "ms: median for an LR picture of that height x width"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
