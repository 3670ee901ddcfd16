"""Which files an `upscale` works on, and where their outputs go: found and checked before any work."""

import glob
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sr_keras import files, image, picture, video
from sr_keras.errors import InputError

_PARTIAL_NAME = re.compile(re.escape(files.PARTIAL) + r"\d+-")


@dataclass(frozen=True)
class Job:
    """One input and its place: a picture's file or bytes, or a video."""

    source: Path | bytes
    name: str
    target: Path
    is_video: bool = False


@dataclass(frozen=True)
class Found:
    """A file of the inputs.

    `below` is the folder whose tree is mirrored, None for a file that was named itself; `prefix` is what of a pattern
    that the file matched holds no wildcard.
    """

    path: Path | None  # None: the standard input
    below: Path | None = None
    prefix: Path | None = None


def find(inputs: Sequence[str], out: Path | None = None) -> list[Found]:
    """Finds the pictures and videos of the inputs. Raises `InputError` for what is not there or holds none.

    `out` is left out of a folder that it lies in: outputs of an earlier run are no inputs.
    """
    found: list[Found] = []
    for name in inputs:
        path = Path(name)
        if name == "-":
            found.append(Found(None))
        elif path.is_dir():
            found += _tree(path, out)
        elif path.is_file():
            found.append(Found(path))
        elif glob.has_magic(name):
            matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
            matches = _readable(matches, out)
            if not matches:
                raise InputError(f"{name}: matches no picture or video; check the pattern.")
            parts = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
            prefix = Path(*parts)
            found += [Found(match, prefix=prefix) for match in matches]
        else:
            raise InputError(f"{name}: there is no such file or folder; check the path.")
    return found


def _tree(folder: Path, out: Path | None) -> list[Found]:
    if out is not None and out.resolve() == folder.resolve():
        raise InputError(f"{out}: is the folder of the inputs, which would be overwritten; give another -o.")
    listed = _readable(sorted(folder.rglob("*")), out)
    if not listed:
        raise InputError(f"{folder}: holds no pictures or videos; see --help for what is read.")
    return [Found(p, below=folder) for p in listed]


def _readable(paths: Sequence[Path], out: Path | None) -> list[Path]:
    """Leaves pictures and videos, and of those neither what a killed run left nor what lies in `out`."""
    listed = [p for p in paths if p.is_file() and _kind(p) is not None and not _PARTIAL_NAME.match(p.name)]
    return listed if out is None else [p for p in listed if out.resolve() not in p.resolve().parents]


def place(
    found: Sequence[Found], out: Path | None, label: str, *, ending: str | None = None, content: bytes = b""
) -> list[Job]:
    """Gives every file a place for its output.

    A file goes beside itself or into the folder `out`, as `<stem>_<label>` in its own format; a folder's tree is
    mirrored, by default in `<folder>_<label>`. `ending` is another format for pictures, `content` the standard input.
    Raises `InputError` for two inputs of one output, and an output that is an input.
    """
    alone = len(found) == 1
    pairs = [(each, _job(each, out, label, ending, content, alone=alone)) for each in found]
    targets = {job.target.resolve() for _, job in pairs}
    made = [  # what a pattern matched may be the output of an earlier run
        job
        for each, job in pairs
        if not (each.prefix and isinstance(job.source, Path) and job.source.resolve() in targets)
    ]
    sources = {job.source.resolve() for job in made if isinstance(job.source, Path)}
    places: dict[Path, Job] = {}
    for job in made:
        key = job.target.resolve()
        if key in places:
            names = f"{places[key].name} and {job.name}"
            raise InputError(f"{job.target}: would be written from {names}; give them folders of their own.")
        if key in sources:
            raise InputError(f"{job.target}: is an input and would be overwritten; give another -o.")
        places[key] = job
    return made


def _job(each: Found, out: Path | None, label: str, ending: str | None, content: bytes, *, alone: bool) -> Job:
    path = each.path
    if path is None:
        return Job(content, "standard input", out or Path("-"))
    is_video = _kind(path) == "video"
    if each.below is not None:
        named = each.below if each.below.name not in ("", "..") else each.below.resolve()
        place = out or named.with_name(f"{named.name or 'root'}_{label}")
        return Job(path, str(path), _ended(place / path.relative_to(each.below), path, ending), is_video)
    if out is not None and out.suffix and not out.is_dir():
        if alone:
            return Job(path, str(path), out, is_video)
        if _kind(out) is not None:
            raise InputError(f"{out}: is one file for several inputs; give a folder.")
    folder = path.parent if out is None else out / (path.parent.relative_to(each.prefix) if each.prefix else "")
    return Job(path, str(path), _ended(folder / f"{path.stem}_{label}{path.suffix}", path, ending), is_video)


def _ended(target: Path, source: Path, ending: str | None) -> Path:
    """Gives a picture's output its format: the wanted one, its own, or PNG if its own can't be written."""
    if _kind(source) == "video":
        return target
    if ending is None and source.suffix.lower() in picture.FORMATS:
        return target
    return target.with_suffix(ending or ".png")


def _kind(path: Path) -> str | None:
    ending = path.suffix.lower()
    return "video" if ending in video.EXTENSIONS else "picture" if ending in image.EXTENSIONS else None
