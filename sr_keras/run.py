"""A run folder: the only thing that passes from one verb to the next. Paths, and files that appear whole."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_keras.errors import InputError

if TYPE_CHECKING:
    from sr_keras.config import Config

_PARTIAL = "partial-"


@dataclass(frozen=True)
class Run:
    """The paths inside a run folder."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def generator(self) -> Path:
        """The network to use: the best by validation PSNR, averaged weights, float32."""
        return self.folder / "generator.keras"

    @property
    def results(self) -> Path:
        """Metrics of the finished run; its presence says that the run is finished."""
        return self.folder / "results.json"

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
            for path in folder.glob(f"{_PARTIAL}*"):
                path.unlink(missing_ok=True)

    def load_config(self) -> "Config":
        """Reads the run's resolved config. Raises `InputError` if the folder is no run."""
        if not self.config.is_file():
            raise InputError(f"{self.folder}: is no run folder (it has no config.yaml); train one first.")
        from sr_keras import config

        return config.load(self.config)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write` make a file beside `path`, syncs it and renames it: the file is the old one or the new one, whole.

    Raises `InputError` on a full disk or a place that can't be written; what stood at `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    try:
        write(beside)
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        advice = "free some space and start again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the place"
        raise InputError(f"{path}: can't be written ({reason}); what stood there before stays; {advice}.") from error
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON with two-space indents, whole or not at all."""
    write_whole(path, lambda beside: beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8"))
