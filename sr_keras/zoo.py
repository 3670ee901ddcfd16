"""The weights that ship with the package: a card (JSON) and a network file each, in `weights/`.

A card says what its files are and where they come from. A file is opened only if it is the one that the card names.
"""

import hashlib
import math
from functools import cache
from pathlib import Path

from pydantic import Field

from sr_keras import config
from sr_keras.config import Config, Section
from sr_keras.errors import InputError

FOLDER = Path(__file__).parent / "weights"


class Pictures(Section):
    """Pictures that were learnt from: what they are, their licence, and where both stand."""

    what: str
    license: str
    url: str


class Figures(Section):
    """Means over the pictures of a data set under protocol `y`: PSNR in dB, SSIM."""

    psnr: float
    ssim: float


class Weights(Section):
    """A `.keras` file beside the card, the run that trained it, and how good it is.

    `validation_psnr` is in dB, on the run's own validation pictures; `hours` are those of training alone, on `machine`;
    `commit` is that of the code when the file was packed; `note` says what came before this run. `metrics` are by data
    set.
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
    note: str = ""
    metrics: dict[str, Figures] = Field(default_factory=dict)


class Card(Section):
    """What is known of shipped weights; `parameters` are those of the network as it runs.

    `int8` is the network trained on for int8, with its ranges, where there is one; its metrics are those of the
    full-integer TFLite file that is made of it.
    """

    about: str
    scale: int = Field(ge=2)
    parameters: int
    license: str
    data: tuple[Pictures, ...]
    network: Weights
    int8: Weights | None = None


def names() -> list[str]:
    """Lists the shipped weights."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def card(name: str) -> Card:
    """Reads the card of one of `names`. Raises `InputError` for one that can't be read or is none."""
    path = FOLDER / f"{name}.json"
    return config.validate(Card, config.read_yaml(path), str(path))  # JSON is YAML


def find(model: str | Path) -> Card | None:
    """Returns the card if `model` names shipped weights, wherever you are: a folder `s-x2` needs a longer path."""
    name = str(Path(model))  # "./s-x2" is the name, too
    return card(name) if name in names() else None


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
    """Names the best weights for pictures reduced bicubically, to be enlarged `scale` times (more than 0; default 2).

    First comes the network of the fewest passes, then that which enlarges least beyond, then the best by validation.
    Raises `InputError` if there are none.
    """
    wanted = 2.0 if scale is None else scale

    def rank(name: str) -> tuple[int, int, float]:
        own = card(name).scale
        passes = max(math.ceil(math.log(wanted, own) - 1e-9), 1)
        return passes, own**passes, -card(name).network.validation_psnr

    fit = [name for name in names() if card(name).network.config.degradation.name == "bicubic"]
    if not fit:
        raise InputError(f"{FOLDER}: holds no weights; install sr_keras again, or give a model.")
    return min(fit, key=rank)
