"""`python -m sr_keras.import_weights`: makes a run folder of weights that PyTorch or ncnn programs ship."""

import argparse
import contextlib
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sr_keras import cli, files, state_dict
from sr_keras.errors import InputError
from sr_keras.run import Run

if TYPE_CHECKING:  # every heavy import is inside a function, so that --help answers at once
    import keras

    from sr_keras.config import Config


@dataclass(frozen=True)
class Imported:
    """What was made: the architecture, the run's config, which layer took each tensor, and what was not taken as it is.

    `agreement` is the PSNR in dB between a photograph and what the network made of it, reduced again.
    """

    architecture: str
    config: "Config"
    network: "keras.Model"
    layers: dict[str, str]
    notes: tuple[str, ...]
    agreement: float


def import_weights(
    file: Path,
    run: Run,
    *,
    architecture: str | None = None,
    scale: int | None = None,
    under: str = "",
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Imported:
    """Recognises the weights in `file`, fills the network that they are of, and writes it as the run folder `run`.

    `file` is a .pth or .pt of `torch.save`, a .safetensors, or an ncnn .param with its .bin beside it. `architecture`,
    the name of a model, settles what the tensors leave open, and so does `scale` for networks that serve several;
    `under` is the place of the network in a file of several; `options` of the model replace what was assumed where no
    tensor tells, such as a pixel range.

    Raises `InputError` for a file that can't be read, is of no architecture known here, lacks a tensor or has one too
    many, and if there is something at `run` already; nothing is left there then.
    """
    import keras

    from sr_keras import _players as players
    from sr_keras import config as config_file
    from sr_keras import recognition, zoo

    if zoo.find(run.folder):
        raise InputError(f"{run.folder}: is the name of weights that ship; take another -o.")
    with files.writing(run.folder):
        taken = run.folder.exists() and (not run.folder.is_dir() or any(run.folder.iterdir()))
    if taken:
        raise InputError(f"{run.folder}: is there already; take another -o, or remove it.")
    for key, instead in {"scale": "--scale", "name": "--arch", "channels": "none: the file tells"}.items():
        if key in options:
            raise InputError(f"{key} is no option to set here; take {instead}.")
    weights, notes = recognition.read(file, under)
    with _told(file, notes):
        name, found = recognition.recognise(weights, file, architecture, scale)
        config = config_file.parse(_settings(name, {**found.options, **options}, file), where=str(file))
        channels = found.options["channels"]
        with keras.StatelessScope(initialize_variables=False):  # no memory is taken before all shapes are known to fit
            try:
                plan = players.float_network(config, channels)
            except InputError as error:
                if config.scale == 1 and not options:
                    raise InputError(f"{file}: is a {name} that enlarges nothing (x1); take another.") from error
                raise InputError(f"{file}: {error}") from error
            matched = recognition.matched(plan, found.tensors, file)
    network = players.float_network(config, channels)
    recognition.fill(network, matched)
    layers = {tensor: layer for layer, values in matched.items() for tensor in values}
    imported = Imported(name, config, network, layers, (*notes, *found.notes), _agreement(network, config.scale, file))
    record = _record(imported, file)
    files.write_folder(run.folder, lambda beside: _write(imported, record, Run(beside)))
    return imported


@contextlib.contextmanager
def _told(file: Path, notes: Sequence[str]) -> Iterator[None]:
    """Adds to an error with a file what was taken of it."""
    try:
        yield
    except InputError as error:
        if not notes or not str(error).startswith(f"{file}: "):
            raise
        raise InputError(f"{str(error).removesuffix('.')}; {notes[0]}, --under takes another.") from error


def _settings(name: str, options: dict[str, Any], file: Path) -> dict[str, Any]:
    """Returns the config of a run that goes on from the weights, gently."""
    scale, channels = options.pop("scale"), options.pop("channels")
    if channels not in (1, 3):
        raise InputError(f"{file}: is for pictures of {channels} channels; here they have 3 (RGB) or 1 (luminance).")
    rate = {"learning_rate": 1e-5, "schedule": {"name": "cosine", "warmup": 100}}
    return {
        "scale": scale, "model": {"name": name, **options}, "train": rate,
        "data": {"channels": "rgb" if channels == 3 else "y", "patch": 48 * scale},
    }  # fmt: skip


def _agreement(network: "keras.Model", scale: int, file: Path) -> float:
    """Enlarges a photograph, reduces the result and compares. Raises `InputError` if it is not finite."""
    import numpy as np

    from sr_keras import embedded, image, metrics, predictor, resize

    lr = resize.imresize(embedded.photographs("valid").picture(0)[:192, :192], 1 / 2)
    predict = predictor.of_keras(network, str(file))
    picture = image.with_channels(lr, predict.channels)
    if not np.isfinite(predict.network(image.to_float(picture)[None])).all():
        raise InputError(f"{file}: makes numbers that are not finite of a photograph; it can't be of use.")
    sr = predict(picture)
    back = resize.imresize(image.from_float(sr, np.uint8), 1 / scale) if scale > 1 else image.from_float(sr, np.uint8)
    return metrics.psnr(picture, back)


def _record(imported: Imported, file: Path) -> dict[str, Any]:
    """Says where the weights come from, for import.json."""
    from sr_keras import __version__, recognition

    def described(path: Path) -> dict[str, Any]:
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}

    return {
        "files": [described(path) for path in recognition.sources(file)], "architecture": imported.architecture,
        "parameters": imported.network.count_params(), "agreement": imported.agreement, "notes": imported.notes,
        "layers": imported.layers, "sr_keras": __version__,
    }  # fmt: skip


def _write(imported: Imported, record: dict[str, Any], run: Run) -> None:
    from sr_keras import config as config_file

    imported.network.save(run.generator)
    run.config.write_text(config_file.dump(imported.config), encoding="utf-8")
    files.write_json(run.imported, record)


def table(tensors: Iterable[str]) -> str:
    """Returns a Markdown table of what was matched, names that differ by numbers in one row."""
    groups: dict[str, list[str]] = {}
    for name in tensors:
        groups.setdefault(re.sub(r"\d+", "*", name), []).append(name)
    rows = [[pattern if len(names) > 1 else names[0], str(len(names))] for pattern, names in groups.items()]
    return cli.markdown(["tensors", "matched"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line, imports and prints what was matched; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sr_keras.import_weights", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help=".pth, .pt, .safetensors, or .param with its .bin")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="options of the model that no tensor tells, as pixel_range=1"
    )
    parser.add_argument(
        "--arch", metavar="NAME", help="the model that the weights are of (default: what they look like)"
    )
    parser.add_argument("--scale", type=cli.positive, metavar="N", help="of weights that serve several scales")
    parser.add_argument(
        "--under", default="", metavar="PLACE", help="of a file of several networks, the one there, as models.student"
    )
    parser.add_argument(
        "-o", "--output", metavar="RUN", type=Path, help="run folder to make (default: runs/<file's name>)"
    )
    options = parser.parse_intermixed_args(argv)
    return cli.run(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    from sr_keras import config as config_file

    run = Run(options.output or Path("runs") / _stem(options.file))
    given = dict(config_file.pairs(options.overrides, "pixel_range=255"))
    found = import_weights(
        options.file, run, architecture=options.arch, scale=options.scale, under=options.under, options=given
    )
    built = {key: value for key, value in found.config.model.model_dump().items() if key != "name"}
    listed = ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in built.items())
    colours = "RGB" if found.config.data.channels == "rgb" else "luminance"
    kind = f"{found.architecture} x{found.config.scale}, {colours}, {found.network.count_params():,} parameters"
    print(f"{options.file}: {kind}")
    print(f"{listed}\n\n{table(found.layers)}\n")
    for note in found.notes:
        print(note)
    print(f"a photograph enlarged and reduced again: {found.agreement:.1f} dB from itself")
    if found.agreement < 20:
        print("warning: that is far; are the weights trained?", file=sys.stderr)
    print(
        f"{run.folder}: made; next: python -m sr_keras.upscale PICTURE --model {run.folder}\n"
        f"fine-tuning: python -m sr_keras.train {run.config} start_from={run.folder} data.train=PHOTOS "
        f"data.valid=OTHER_PHOTOS --run {run.folder}_finetuned"
    )
    return 0


def _stem(file: Path) -> str:
    """Returns a file's name without its endings: `g_best` of g_best.pth.tar."""
    name = file.name
    while (path := Path(name)).suffix.lower() in state_dict.ENDINGS and path.stem:
        name = path.stem
    return name


if __name__ == "__main__":
    sys.exit(main())
