"""The one config of a training run: frozen, typed, YAML with `key=value` overrides; loading it takes no TensorFlow."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sr_keras import embedded
from sr_keras.component import did_you_mean
from sr_keras.errors import InputError

PACKAGE = Path(__file__).parent


class Section(BaseModel):
    """Frozen, and no unknown key passes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Component(Section):
    """A component of a family: its name and its own options, checked against `build`'s signature when it is built."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


class Loss(Component):
    """A loss term; the terms are summed with their weights."""

    weight: float = 1.0


class Source(Section):
    """Pictures to learn from: an HR folder, a pair of folders, or an embedded set (`photographs`, `mnist`)."""

    hr: str
    lr: str | None = None
    weight: float = Field(default=1.0, gt=0, description="how often a patch comes from here, for each of its pixels")


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _source(value: Any) -> Any:
    return {"hr": value} if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else [value]


Named = Annotated[Component, BeforeValidator(_named)]
Terms = Annotated[tuple[Annotated[Loss, BeforeValidator(_named)], ...], Field(min_length=1), BeforeValidator(_listed)]
Sources = Annotated[
    tuple[Annotated[Source, BeforeValidator(_source)], ...], Field(min_length=1), BeforeValidator(_listed)
]


class Data(Section):
    """What is learnt from, and how patches are taken."""

    root: str | None = Field(
        default=None, description="stands before relative paths; without it the variable SR_KERAS_DATA"
    )
    train: Sources = (Source(hr="photographs"),)
    valid: Sources = (Source(hr="photographs"),)
    patch: int = Field(default=96, gt=0, description="side of the HR patch in pixels, a multiple of the scale")
    channels: Literal["rgb", "y"] = Field(
        default="rgb", description="y: the network works on luminance, chroma goes bicubic"
    )
    augment: bool = Field(default=True, description="8 flips and rotations")
    shuffle_channels: bool = False
    cache: str | None = Field(default=None, description="folder of decoded pictures; default ~/.cache/sr_keras")


class Optimizer(Section):
    """Adam or AdamW (Loshchilov and Hutter, 2019)."""

    name: Literal["adam", "adamw"] = "adam"
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-7, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)


class Schedule(Section):
    """The learning rate over the steps; `final` is the cosine's last value as a part of the first."""

    name: Literal["constant", "cosine", "multi_step"] = "constant"
    warmup: int = Field(default=0, ge=0, description="steps of linear growth from 0")
    milestones: tuple[int, ...] = Field(
        default=(), description="multi_step: steps at which the rate is multiplied by gamma"
    )
    gamma: float = Field(default=0.5, gt=0, lt=1)
    final: float = Field(default=0.0, ge=0, le=1)


class Train(Section):
    """How long, how fast, and what is watched."""

    batch: int = Field(default=16, gt=0)
    epochs: int = Field(default=10, gt=0)
    steps_per_epoch: int = Field(default=1000, gt=0, description="an epoch ends with a validation and a checkpoint")
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Annotated[Schedule, BeforeValidator(_named)] = Schedule()
    optimizer: Annotated[Optimizer, BeforeValidator(_named)] = Optimizer()
    ema: float | None = Field(default=0.999, gt=0, lt=1, description="momentum of the averaged weights; null: none")
    clip_norm: float | None = Field(default=None, gt=0, description="largest global norm of the gradient")
    checkpoint_every: int | None = Field(default=None, gt=0, description="steps; default an epoch")
    log_every: int = Field(default=100, gt=0, description="steps between two points in TensorBoard")
    weight_histograms: bool = False
    profile: bool = Field(default=False, description="profiles steps 10 to 20 for TensorBoard")


class Game(Section):
    """The generator plays against a discriminator; the losses above are its content terms."""

    objective: Named = Component(name="vanilla")
    discriminator: Named = Component(name="patch")
    weight: float = Field(default=5e-3, ge=0, description="of the adversarial loss in the generator's")
    start: int = Field(default=0, ge=0, description="steps in which only the discriminator learns from the other")
    ramp: int = Field(default=0, ge=0, description="steps over which the weight then grows from 0")
    discriminator_steps: int = Field(default=1, gt=0, description="for each of the generator, on train.batch pictures")
    learning_rate: float | None = Field(default=None, gt=0, description="the discriminator's; default the generator's")
    schedule: Annotated[Schedule | None, BeforeValidator(_named)] = None
    optimizer: Annotated[Optimizer | None, BeforeValidator(_named)] = None
    clip_norm: float | None = Field(default=None, gt=0, description="largest global norm of its gradient")
    window: int = Field(default=200, gt=0, description="steps over which the discriminator's accuracy is averaged")
    pause_above: float = Field(default=0.98, gt=0.5, le=1, description="accuracy at which it is paused; 1: never")
    resume_below: float = Field(default=0.9, gt=0.5, le=1, description="accuracy at which it goes on")

    @model_validator(mode="after")
    def _pause_ends(self) -> "Game":
        low, high = self.resume_below, self.pause_above
        if low > high:
            raise ValueError(f"resume_below must not be above pause_above, got {low} and {high}; try {high}")
        return self


class Quantization(Section):
    """Quantisation-aware training: the network computes in the values that int8 has."""

    ranges: Literal["minmax", "percentile", "mse"] = Field(
        default="minmax", description="how the first ranges follow from what the float network computes"
    )
    pictures: int = Field(default=64, gt=0, description="LR pictures that these are measured on, from data.train")
    momentum: float = Field(default=0.99, ge=0, le=1, description="of the ranges' moving averages; 1: they stay")


class Config(Section):
    """A training run. A section's presence decides what is done: `adversarial: null` is supervised training."""

    scale: int = Field(default=2, ge=1, le=16)
    seed: int = Field(default=0, ge=0, lt=2**31)
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    model: Named = Component(name="anchor")
    degradation: Named = Component(name="bicubic")
    losses: Terms = (Loss(name="l1"),)
    start_from: str | None = Field(
        default=None, description="shipped weights, a run folder or .keras file whose layers are taken over"
    )
    adversarial: Game | None = Field(default=None, description="null: supervised training")
    quantization: Quantization | None = Field(default=None, description="null: float training")
    data: Data = Data()
    train: Train = Train()

    @model_validator(mode="after")
    def _patch_fits(self) -> "Config":
        patch, scale = self.data.patch, self.scale
        if patch % scale:
            below = max(patch // scale, 1) * scale
            raise ValueError(f"data.patch must be a multiple of the scale {scale}, got {patch}; try {below}")
        return self


def load(source: str | Path | None, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Reads a YAML file or the recipe of that name (`None`: quickstart) and applies `key.sub=value` overrides.

    Raises `InputError` with the place and a suggestion for a missing file, bad YAML, an unknown key, a wrong type.
    """
    path = find("configs", source or "quickstart")
    content = read_yaml(path)
    for key, value in pairs(overrides):
        _set(content, key.split("."), value)
    return parse(content, where=f"{path.name} with the command line" if overrides else str(path))


def pairs(overrides: Iterable[str], example: str = "train.batch=8") -> list[tuple[str, Any]]:
    """Reads `key=value` words, the values as YAML. Raises `InputError` for a word that is none."""
    found = []
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InputError(f"override '{override}': write key=value, such as {example}.")
        try:
            found.append((key, yaml.load(text, Loader=_Loader)))
        except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2020-13-01
            raise InputError(f"override '{override}': the value is not YAML ({_problem(error)}).") from error
    return found


def parse(content: Any, *, where: str) -> Config:
    """Validates a mapping as a `Config`; `where` opens the error line."""
    return validate(Config, content, where)


def validate(kind: type[Any], content: Any, where: str) -> Any:
    """Validates a mapping as the pydantic model `kind`; its first error becomes an `InputError` of one line."""
    if not isinstance(content, dict):
        raise InputError(f"{where}: must be a mapping of keys to values, got {type(content).__name__}.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{where}: {_first_line(kind, error)}") from error


def find(folder: str, name: str | Path) -> Path:
    """Finds a YAML file by path, or by its bare name among those that the package carries in `configs` or `recipes`.

    Raises `InputError` that lists the names there are.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = _shipped(folder)
    if path.parent == Path(".") and path.suffix in ("", ".yaml", ".yml") and path.stem in shipped:
        return shipped[path.stem]
    kind = "config" if folder == "configs" else "recipe"
    raise InputError(f"{name}: there is no such {kind} file or name{did_you_mean(path.stem, sorted(shipped))}.")


def _shipped(folder: str) -> dict[str, Path]:
    checkout = PACKAGE.parent / ("export/recipes" if folder == "recipes" else folder)
    place = PACKAGE / folder if (PACKAGE / folder).is_dir() else checkout
    return {path.stem: path for path in place.glob("*.yaml")}


def dump(config: Config) -> str:
    """Returns the whole config as YAML, defaults included, in the order of the fields."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def differences(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Returns the dotted keys in which two configs differ, with both values."""
    left, right = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    return {key: (left.get(key), right.get(key)) for key in {**left, **right} if left.get(key) != right.get(key)}


def scalars(config: Config) -> dict[str, bool | int | float | str]:
    """Returns the dotted keys with a plain value, as hyper-parameters for TensorBoard."""
    return {k: v for k, v in _flat(config.model_dump(mode="json")).items() if isinstance(v, (bool, int, float, str))}


def sources(config: Config, split: Literal["train", "valid"]) -> list[Source]:
    """Returns the sources of a split with the data root (`data.root`, else SR_KERAS_DATA) before relative paths."""
    root = config.data.root or os.environ.get("SR_KERAS_DATA") or "."

    def place(path: str) -> str:
        if path in embedded.NAMES:
            return path
        return os.path.abspath(Path(root).expanduser() / Path(path).expanduser())

    chosen = config.data.train if split == "train" else config.data.valid
    return [s.model_copy(update={"hr": place(s.hr), "lr": s.lr and place(s.lr)}) for s in chosen]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as a string; this loader reads it as the number that everyone means."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file of keys and values, 1e-3 a number. Raises `InputError` for what is no such file."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read as text ({error}).") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2020-13-01
        raise InputError(f"{path}: is not YAML ({_problem(error)}).") from error
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{path}: must hold keys and values, got {type(content).__name__}.")
    return content or {}


def _problem(error: Exception) -> str:
    return " ".join(str(error).split())


def _set(content: dict[str, Any], keys: list[str], value: Any) -> None:
    """Sets a dotted key; a short form on the way (`model: edsr`) becomes its long one."""
    for key in keys[:-1]:
        if key in ("train", "valid", "losses") and content.get(key) is not None and not isinstance(content[key], dict):
            raise InputError(f"override '{'.'.join(keys)}': {key} is a list; write its whole value, {key}=[...].")
        if not isinstance(content.get(key), dict):
            content[key] = {"name": content[key]} if isinstance(content.get(key), str) else {}
        content = content[key]
    content[keys[-1]] = value


def _first_line(kind: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key '{place}'{did_you_mean(str(first['loc'][-1]), _keys_at(kind, first['loc'][:-1]))}."
    message = first["msg"].removeprefix("Value error, ")
    return f"{message}." if not place else f"{place}: {message}, got {first['input']!r}."


def _keys_at(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    for part in place:
        if isinstance(part, int):
            continue
        kind = kind.model_fields[part].annotation
        while not hasattr(kind, "model_fields"):
            kind = next((a for a in getattr(kind, "__args__", ()) if a not in (type(None), ...)), Section)
    return list(kind.model_fields)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, sub in value.items() for k, v in _flat(sub, f"{prefix}.{key}" if prefix else key).items()}
