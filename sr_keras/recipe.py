"""What an export writes: a YAML list of artifacts, each with its exporter's options and the error it may have."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sr_keras import config


class Target(config.Component):
    """One artifact: an exporter's name and options, and how far from Keras it may be."""

    tolerance: float | None = Field(
        default=None, gt=0, description="largest absolute difference from Keras, pixels in [0, 1]"
    )
    psnr: float | None = Field(default=None, gt=0, description="least PSNR in dB against Keras' output")
    loss: float | None = Field(
        default=None, gt=0, description="most dB of PSNR against HR that it may lose to the float network"
    )
    levels: int | None = Field(
        default=None, gt=0, description="int8: by how many of 255 one value in 1,000 may differ from its twin in Keras"
    )

    @model_validator(mode="after")
    def _bounded(self) -> "Target":
        if self.tolerance is None and self.psnr is None and self.loss is None:
            raise ValueError("give tolerance, psnr or loss, else nothing is checked")
        return self

    def options(self) -> dict:
        """Returns the exporter's own options, with its name."""
        return self.model_dump(exclude={"tolerance", "psnr", "loss", "levels"})


class Recipe(config.Section):
    """The artifacts to write, in order; how int8 files get their ranges; what the files say of themselves."""

    int8: Literal["auto", "minmax", "percentile", "mse", "qat"] = Field(
        default="auto",
        description="auto: a network trained for int8 has its own ranges, another gets those that lose least; "
        "qat: no other than a trained one",
    )
    author: str = Field(default="not stated", description="in the metadata of TFLite files")
    license: str = Field(default="not stated", description="of the weights, in the metadata of TFLite files")
    artifacts: tuple[Target, ...] = Field(min_length=1)


def load(source: str | Path) -> Recipe:
    """Reads a recipe file, or the shipped one of that name. Raises `InputError` with the place and a suggestion."""
    path = config.find("recipes", source)
    return config.validate(Recipe, config.read_yaml(path), str(path))
