"""Puts a trained run into the package: its network, collapsed, and the card that says where it comes from."""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import commit

from sr_keras import cli, config, train, zoo
from sr_keras.config import Config
from sr_keras.errors import InputError
from sr_keras.files import write_json, write_whole
from sr_keras.run import Run

if TYPE_CHECKING:
    import keras

_RESEARCH = "academic research only"
_DIV2K = {"license": _RESEARCH, "url": "https://data.vision.ee.ethz.ch/cvl/DIV2K/"}
_CID22 = {"license": "CC BY-SA 4.0", "url": "https://cloudinary.com/labs/cid22"}
SOURCES = {
    "train/div2k_crops": zoo.Pictures(what="DIV2K, 800 crops of 128x128", **_DIV2K),
    "train/div2k_small": zoo.Pictures(what="DIV2K, 100 pictures of some 510x340", **_DIV2K),
    "train/cid22": zoo.Pictures(what="CID22, 150 pictures of 512x512", **_CID22),
}


def make(name: str, run: Run, int8: Run | None, *, machine: str, note: str = "", folder: Path = zoo.FOLDER) -> zoo.Card:
    """Writes `<name>.keras`, with `int8` also `<name>-int8.keras`, and the card `<name>.json` into `folder`.

    Raises `InputError`, and writes nothing, for a run that is not finished, that learnt from pictures of unknown
    licence, or that is not what it is given for.
    """
    from sr_keras import predictor, quantize

    its, network = _finished(run), predictor.open_collapsed(run.folder)
    pictures, files = learnt_from(its), {folder / f"{name}.keras": (run, network, note)}
    if quantize.is_fake_quantised(network):
        raise InputError(f"{run.folder}: was trained for int8; give the float network, and this one as --int8.")
    if int8 is not None:
        other, twin = _finished(int8), predictor.open_network(int8.folder)
        pictures |= learnt_from(other)
        if not quantize.is_fake_quantised(twin) or _shapes(twin) != _shapes(network):
            raise InputError(f"{int8.folder}: is not the network of {run.folder}, trained for int8.")
        if (other.scale, other.degradation) != (its.scale, its.degradation):
            raise InputError(f"{int8.folder}: has another scale or degradation than {run.folder}.")
        files[folder / f"{name}-int8.keras"] = (int8, twin, "")
    weights = [_written(path, *of, machine) for path, of in files.items()]
    licenses = dict.fromkeys(each.license for each in pictures)
    license = f"for {_RESEARCH}, see sr_keras/weights/LICENSE" if _RESEARCH in licenses else " and ".join(licenses)
    options = its.model.model_dump(exclude={"name", "expansion"})
    kind = ", ".join([its.model.name, *(f"{key} {value}" for key, value in options.items())])
    card = zoo.Card(
        about=f"{kind}; LR: {its.degradation.name}", scale=its.scale, parameters=network.count_params(),
        license=license, data=tuple(pictures), network=weights[0], int8=weights[1] if int8 else None,
    )  # fmt: skip
    write_json(folder / f"{name}.json", card.model_dump(mode="json"))
    if int8 is None:
        (folder / f"{name}-int8.keras").unlink(missing_ok=True)
    return card


def _finished(run: Run) -> Config:
    its = run.load_config()
    if not train.is_finished(its, run):
        raise InputError(f"{run.folder}: is not finished; train it to the end first.")
    return its


def learnt_from(its: Config) -> dict[zoo.Pictures, None]:
    """Returns the pictures of a run and of all that it started from, in order, without repetition."""
    unknown = [source.hr for source in its.data.train if source.hr not in SOURCES]
    if unknown:
        raise InputError(f"{', '.join(unknown)}: SOURCES of tools/make_weights.py does not know its licence; add it.")
    own = dict.fromkeys(SOURCES[source.hr] for source in its.data.train)
    if its.start_from is None:
        return own
    card = zoo.find(its.start_from)
    before = dict.fromkeys(card.data) if card else learnt_from(Run(Path(its.start_from)).load_config())
    return own | before


def _shapes(network: "keras.Model") -> list:
    from sr_keras import quantize

    return [weight.shape for weight in quantize.without_fake_quantisation(network).weights]


def _written(path: Path, run: Run, network: "keras.Model", note: str, machine: str) -> zoo.Weights:
    results = config.read_yaml(run.results)  # JSON is YAML
    write_whole(path, lambda beside: network.save(beside))
    content = path.read_bytes()
    return zoo.Weights(
        file=path.name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), config=run.load_config(),
        steps=results["steps"], hours=round(results["seconds"] / 3600, 2), machine=machine,
        commit=commit("sr_keras/weights"), validation_psnr=round(results["psnr"], 3), note=note,
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the files; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", metavar="NAME", help="such as s-x2")
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run")
    parser.add_argument("--int8", metavar="RUN", type=Path, help="of the same network, trained on for int8")
    parser.add_argument("--machine", required=True, metavar="TEXT", help="what it was trained on, for the card")
    parser.add_argument("--note", default="", metavar="TEXT", help="what came before the run, for the card")
    options = parser.parse_args(argv)

    def run() -> None:
        int8 = options.int8 and Run(options.int8)
        card = make(options.name, Run(options.run), int8, machine=options.machine, note=options.note)
        size = sum(weights.bytes for weights in (card.network, card.int8) if weights)
        print(f"{options.name}: {card.about}; {card.parameters} parameters, {size / 1024:.0f} KiB; now make_results.py")

    return cli.run(run)


if __name__ == "__main__":
    sys.exit(main())
