"""What holds of the tensors in a file of weights, whatever the format."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from sr_keras.errors import InputError

_T = TypeVar("_T")

LONGEST = 500  # characters of a name
_MOST = 10_000  # tensors; HAT-L has 2,000
_DEEPEST = 4  # prefixes taken off one another
_MOST_GROUPS = 8

ENDINGS = {".pth", ".pt", ".tar", ".ckpt", ".bin", ".param", ".safetensors"}  # of files of weights

# First parts of names: of what is averaged over training, and of what is trained beside a network, or judges it.
_AVERAGED = re.compile(r"(.*[_-])?(ema|swa|shadow|averaged)([_-].*)?", re.IGNORECASE)
_BESIDE = re.compile(
    r"(net|model)_?d\d*|disc|discrim\w*|critic\w*|teacher\w*|percep\w*|vgg\w*|lpips\w*|feature_extractor"
    r"|(\w+_)?loss(es)?|loss_\w+|cri_\w+|criterion\w*",
    re.IGNORECASE,
)
_LAST = re.compile(  # these may be parts of a network, too
    rf"({_BESIDE.pattern}|(\w*_)?(d\d*|dis|disc)|opt(im)?|\w*optimi[sz]ers?|net_?f)([_-].*)?", re.IGNORECASE
)
_COUNTER = re.compile(r"(.*\.)?total_(ops|params)")  # what the profiler thop leaves in every layer


def check_names(names: Mapping[str, object]) -> None:
    """Raises `InputError`, in words to stand behind a path, for too many names, or for one that is no line."""
    if len(names) > _MOST:
        raise InputError(f"holds {len(names)} tensors; {_MOST} are the most here.")
    for name in names:
        if len(name) > LONGEST or not name.isprintable():
            raise InputError(f"holds a tensor of the name {name[:40]!a}..., which is none; fetch it again.")


def rank(place: str) -> tuple[bool, bool]:
    """Sorts where tensors stand, the likeliest first: what is averaged, then others, then what is no generator's."""
    parts = place.split(".")
    return any(map(_LAST.fullmatch, parts)), not any(map(_AVERAGED.fullmatch, parts))


def under(tensors: Mapping[str, _T], place: str, places: Iterable[str]) -> dict[str, _T]:
    """Returns those whose names begin with `place` and a dot, without both.

    Raises `InputError`, in words to stand behind a path, if there are none; it lists `places` that there are.
    """
    start = f"{place.rstrip('.')}."
    found = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    if not found:
        raise InputError(f"has nothing under {place[:80]!a}; it has {_quoted(sorted(places))}.")
    return found


def taken(place: str, left: Sequence[str]) -> str:
    """Notes which of several places was taken; the empty text is that of the whole."""
    what = f"what is under '{place}'" if place else "its own dict"
    return f"of the file, {what} was taken, and {_quoted(left)} left aside"


def candidates(tensors: Mapping[str, _T]) -> Iterator[tuple[dict[str, _T], tuple[str, ...]]]:
    """Yields what may be the tensors of one network, the likeliest first, and notes on what is not as in the file.

    First all, but not what only stands beside a network (`perceptual.`); then without the first parts that all names
    share (`_orig_mod.`, `net_g.`); then by themselves those of one first part (`model.`), averaged ones and the largest
    groups first.
    """
    whole = {name: tensor for name, tensor in tensors.items() if not _COUNTER.fullmatch(name)}
    notes = ("'total_ops' and 'total_params', a profiler's, were left aside",) if len(whole) < len(tensors) else ()
    peeled = list(_peeled(whole, notes))
    yield from peeled
    yield from _one_group(*peeled[-1])
    if len(peeled[-1][0]) < len(whole):  # what seemed to stand beside may be all that there is
        yield from _one_group(whole, notes)


def _peeled(tensors: Mapping[str, _T], notes: tuple[str, ...]) -> Iterator[tuple[dict[str, _T], tuple[str, ...]]]:
    """Yields the tensors without what stands beside, and without the first parts of their names that all share."""
    found, off = dict(tensors), ""
    for _ in range(_DEEPEST + 1):
        beside = dict.fromkeys(p for name in found if _BESIDE.fullmatch(p := name.partition(".")[0]))
        network = {name: tensor for name, tensor in found.items() if name.partition(".")[0] not in beside}
        if network and beside:
            found, notes = network, (*notes, f"left aside, as nothing of the network: {_quoted([*beside])}")
        yield found, (*notes, f"'{off}' was taken off the names of all tensors") if off else notes
        part, dot, _ = next(iter(found), "").partition(".")
        prefix = f"{part}{dot}"
        if not dot or len(found) < 2 or not all(name.startswith(prefix) and name != prefix for name in found):
            return
        found, off = {name.removeprefix(prefix): tensor for name, tensor in found.items()}, off + prefix


def _one_group(found: Mapping[str, _T], notes: tuple[str, ...]) -> Iterator[tuple[dict[str, _T], tuple[str, ...]]]:
    """Yields the tensors of one first part, for each of the likeliest."""
    groups = _groups(found)
    for part in sorted(groups, key=lambda part: (*rank(part), -len(groups[part])))[:_MOST_GROUPS]:
        if left := [name for name in found if not name.startswith(f"{part}.")]:
            first = list(dict.fromkeys(name.partition(".")[0] for name in left))
            yield from _peeled(groups[part], (*notes, taken(part, first)))


def _groups(tensors: Mapping[str, _T]) -> dict[str, dict[str, _T]]:
    """Returns the tensors by the first part of their names, without it; numbers are layers in a row, not networks."""
    found: dict[str, dict[str, _T]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if rest and not part.isdecimal():
            found.setdefault(part, {})[rest] = tensor
    return {part: group for part, group in found.items() if len(group) > 1}


def _quoted(parts: Sequence[str]) -> str:
    """Names parts of names, some of them."""
    shown = ", ".join(f"'{part}'" for part in parts[:3])
    return f"{shown} and {len(parts) - 3} more" if len(parts) > 3 else shown
