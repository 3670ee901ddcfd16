"""Files that appear whole or not at all, and files that are read."""

import contextlib
import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from sr_keras.errors import InputError

PARTIAL = "partial-"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an `OSError` of the block, which writes `path` beside and renames it, into an `InputError` of one line."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        advice = "free some space and start again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the place"
        raise InputError(f"{path}: can't be written ({reason}); what stood there before stays; {advice}.") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file of bytes; an `OSError` or a `MemoryError`, also of the block, becomes an `InputError` of one line.

    So does what is no file: a pipe might never end, nor a device.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is {'a folder' if path.is_dir() else 'no file'}; give a file.")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}); check the path.") from error
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory; end other programs, or take a larger machine.") from error


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write` make a file beside `path`, syncs it and renames it: the file is the old one or the new one, whole.

    Raises `InputError` on a full disk or a place that can't be written; what stood at `path` stays.
    """
    beside = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(beside)
            with open(beside, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):  # its folder may not be one
            beside.unlink(missing_ok=True)


def write_folder(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write` fill a folder beside `path`, syncs its files and renames it: it is there whole or not at all.

    At `path` there may be an empty folder. Raises `InputError` as `write_whole` does.
    """
    beside = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    try:
        with writing(path):
            beside.mkdir(parents=True)
            write(beside)
            for part in beside.iterdir():
                with open(part, "rb+") as file:
                    os.fsync(file.fileno())
            if path.is_dir():
                path.rmdir()
            os.replace(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON with two-space indents, whole or not at all; infinity and NaN, which JSON lacks, become null."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
