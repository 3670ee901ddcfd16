"""The weights that ship with the package: a card (JSON) and a network file each, in `weights/`.

A card says what its files are and where they come from. A file is opened only if it is the one that the card names.
"""

import hashlib
from functools import cache
from pathlib import Path

from pydantic import Field

from sr_keras import config
from sr_keras.component import did_you_mean
from sr_keras.config import Config, Section
from sr_keras.errors import InputError

FOLDER = Path(__file__).parent / "weights"


class Source(Section):
    """Pictures that were learnt from, and their licence."""

    what: str
    license: str


class Figures(Section):
    """Means over the pictures of a data set under protocol `y`: PSNR in dB, SSIM."""

    psnr: float
    ssim: float


class Weights(Section):
    """A `.keras` file beside the card, the run that trained it, and how good it is.

    `validation_psnr` is in dB, on the run's own validation pictures; `hours` are those of training alone, on `machine`;
    `commit` is that of the code. `metrics` has a data set's name for each of its figures.
    """

    file: str
    bytes: int
    sha256: str
    config: Config
    steps: int
    hours: float
    machine: str
    commit: str
    validation_psnr: float
    metrics: dict[str, Figures] = Field(default_factory=dict)


class Card(Section):
    """What is known of shipped weights; `parameters` are those of the network as it runs.

    `int8` is the network trained on for int8, with its ranges, where there is one; its metrics are those of the
    full-integer TFLite file that is made of it.
    """

    about: str
    scale: int
    parameters: int
    license: str
    data: tuple[Source, ...]
    network: Weights
    int8: Weights | None = None


def names() -> list[str]:
    """Lists the shipped weights."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def card(name: str) -> Card:
    """Reads a card. Raises `InputError` for a name that does not ship."""
    if name not in names():
        raise InputError(f"{name}: no weights of that name ship{did_you_mean(name, names())}.")
    path = FOLDER / f"{name}.json"
    return config.validate(Card, config.read_yaml(path), str(path))  # JSON is YAML


def ships(model: str | Path) -> bool:
    """Says whether `model` names shipped weights; a file or a run folder of that name, where you are, goes first."""
    path = Path(model)
    return str(model) in names() and not path.is_file() and not (path / "config.yaml").is_file()


def checked(weights: Weights) -> Path:
    """Returns the path of a network file. Raises `InputError` if it is not the one that its card names."""
    path = FOLDER / weights.file
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); install sr_keras again.") from error
    if digest != weights.sha256:
        raise InputError(f"{path}: is not the file that its card names (SHA-256 differs); install sr_keras again.")
    return path


def best(scale: float | None = None) -> str:
    """Names the best weights for pictures reduced bicubically, to be enlarged `scale` times (default 2).

    First comes the network of the fewest passes, then that which enlarges least beyond, then the best by validation.
    """
    wanted = 2.0 if scale is None else scale

    def rank(name: str) -> tuple[int, int, float]:
        its = card(name)
        passes = 1
        while its.scale**passes < wanted - 1e-9:
            passes += 1
        return passes, its.scale**passes, -its.network.validation_psnr

    return min((name for name in names() if card(name).network.config.degradation.name == "bicubic"), key=rank)
