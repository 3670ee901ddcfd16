"""A run folder: the only thing that passes from one verb to the next."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sr_keras import files
from sr_keras.errors import InputError

if TYPE_CHECKING:
    from sr_keras.config import Config


@dataclass(frozen=True)
class Run:
    """The paths inside a run folder."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def generator(self) -> Path:
        """The network to use, averaged weights, float32: the best by validation PSNR, of a game the last."""
        return self.folder / "generator.keras"

    @property
    def results(self) -> Path:
        """Metrics of the finished run; its presence says that the run is finished."""
        return self.folder / "results.json"

    @property
    def imported(self) -> Path:
        """What file the weights come from, in a run that was not trained here."""
        return self.folder / "import.json"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def last(self) -> Path:
        """The checkpoint that a run resumes from: weights, optimizer with averages, step."""
        return self.folder / "checkpoints" / "last.npz"

    @property
    def progress(self) -> Path:
        """What the trainer knows beside tensors: the best PSNR so far and its step."""
        return self.folder / "checkpoints" / "progress.json"

    def remove_partial(self) -> None:
        """Removes what a killed process was in the middle of writing."""
        for folder in (self.folder, self.last.parent):
            for path in folder.glob(f"{files.PARTIAL}*"):
                path.unlink(missing_ok=True)

    def load_config(self) -> "Config":
        """Reads the run's resolved config. Raises `InputError` if the folder is no run."""
        if not self.config.is_file():
            raise InputError(f"{self.folder}: is no run folder (it has no config.yaml); train one first.")
        from sr_keras import config

        return config.load(self.config)
