"""What an export writes: a YAML list of artifacts, each with its exporter's options and the error it may have."""

from pathlib import Path

from pydantic import Field, model_validator

from sr_keras import config


class Target(config.Component):
    """One artifact: an exporter's name and options, and how far from Keras it may be."""

    tolerance: float | None = Field(
        default=None, gt=0, description="largest absolute difference from Keras, pixels in [0, 1]"
    )
    psnr: float | None = Field(default=None, gt=0, description="least PSNR in dB against Keras' output")

    @model_validator(mode="after")
    def _bounded(self) -> "Target":
        if self.tolerance is None and self.psnr is None:
            raise ValueError("give tolerance or psnr, else nothing is checked")
        return self

    def options(self) -> dict:
        """Returns the exporter's own options, with its name."""
        return self.model_dump(exclude={"tolerance", "psnr"})


class Recipe(config.Section):
    """The artifacts to write, in order."""

    artifacts: tuple[Target, ...] = Field(min_length=1)


def load(source: str | Path) -> Recipe:
    """Reads a recipe file, or the shipped one of that name. Raises `InputError` with the place and a suggestion."""
    path = config.find("recipes", source)
    return config.validate(Recipe, config.read_yaml(path), str(path))
