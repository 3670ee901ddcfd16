"""Puts a trained run into the package: its network, collapsed, and the card that says where it comes from."""

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sr_keras import cli, config, zoo
from sr_keras.errors import InputError
from sr_keras.files import write_json, write_whole
from sr_keras.run import Run

LICENSE = "CC-BY-SA-4.0; for academic research, as the DIV2K pictures that the weights learnt from"
SOURCES = {
    "train/div2k_crops": zoo.Source(what="DIV2K, 800 crops of 128x128", license="academic research"),
    "train/div2k_small": zoo.Source(what="DIV2K, 100 pictures of some 510x340", license="academic research"),
    "train/cid22": zoo.Source(what="CID22, 150 pictures of 512x512", license="CC BY-SA 4.0"),
}


def make(name: str, run: Run, int8: Run | None, machine: str, folder: Path = zoo.FOLDER) -> zoo.Card:
    """Writes `<name>.keras`, with `int8` also `<name>-int8.keras`, and the card `<name>.json` into `folder`.

    Figures of an older card stay if the file they belong to is the same. Raises `InputError` for a run that is not
    finished, or that learnt from pictures of unknown licence.
    """
    from sr_keras import predictor

    network = predictor.open_collapsed(run.folder)
    its = run.load_config()
    unknown = [source.hr for source in its.data.train if source.hr not in SOURCES]
    if unknown:
        raise InputError(f"{run.folder}: learnt from {', '.join(unknown)}, whose licence SOURCES of this tool lacks.")
    options = its.model.model_dump()
    kind = ", ".join([options.pop("name"), *(f"{key} {value}" for key, value in options.items() if key != "expansion")])
    card = zoo.Card(
        about=f"{kind}; LR: {its.degradation.name}",
        scale=its.scale,
        parameters=network.count_params(),
        license=LICENSE,
        data=tuple(SOURCES[source.hr] for source in its.data.train),
        network=_weights(network, folder / f"{name}.keras", run, machine),
        int8=int8 and _weights(predictor.open_network(int8.folder), folder / f"{name}-int8.keras", int8, machine),
    )
    write_json(folder / f"{name}.json", card.model_dump(mode="json"))
    return card


def _weights(network, path: Path, run: Run, machine: str) -> zoo.Weights:
    if not run.results.is_file():
        raise InputError(f"{run.folder}: is not finished; train it to the end first.")
    results = config.read_yaml(run.results)  # JSON is YAML
    write_whole(path, lambda beside: network.save(beside.with_suffix(".keras")))
    content = path.read_bytes()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return zoo.Weights(
        file=path.name,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        config=run.load_config(),
        steps=results["steps"],
        hours=round(results["seconds"] / 3600, 2),
        machine=machine,
        commit=commit.stdout.strip(),
        validation_psnr=round(results["psnr"], 3),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the files; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", metavar="NAME", help="such as s-x2")
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a finished run")
    parser.add_argument("--int8", metavar="RUN", type=Path, help="of the same network, trained on for int8")
    parser.add_argument("--machine", default="2 cores with AVX512-BF16, no GPU", help="for the card")
    options = parser.parse_args(argv)

    def run() -> None:
        card = make(options.name, Run(options.run), options.int8 and Run(options.int8), options.machine)
        size = sum(weights.bytes for weights in (card.network, card.int8) if weights)
        print(f"{options.name}: {card.about}; {card.parameters} parameters, {size / 1024:.0f} KiB; now make_results.py")

    return cli.run(run)


if __name__ == "__main__":
    sys.exit(main())
