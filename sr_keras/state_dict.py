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

# Parts of the names of what is averaged over training, and of what is trained beside a network, or after it.
_AVERAGED = re.compile(r"(.*[_-])?ema([_-].*)?", re.IGNORECASE)
_BESIDE = re.compile(
    r"(\w*_|net|model)?(d|dis|disc|discriminator\d*|critic|teacher|optimi[sz]er\w*|perceptual|loss)([_-].*)?"
    r"|(perceptual|percep|loss|cri|vgg|lpips)[_\d].*|vgg|lpips|\w+_(loss|optimi[sz]er)s?",
    re.IGNORECASE,
)
_COUNTER = re.compile(r"(.*\.)?total_(ops|params)")  # what the profiler thop leaves in every layer


def check_names(names: Mapping[str, object]) -> None:
    """Raises `InputError`, in words to stand behind a path, for too many names, or for one that is no line."""
    if len(names) > _MOST:
        raise InputError(f"holds {len(names)} tensors; {_MOST} are the most here.")
    for name in names:
        if len(name) > LONGEST or not name.isprintable():
            raise InputError(f"holds a tensor of the name {name[:40]!a}..., which is none; fetch it again.")


def likelihood(place: str) -> tuple[bool, bool]:
    """Sorts where tensors stand, the likeliest first: what is averaged, then others, then what is no generator's."""
    parts = place.split(".")
    return any(map(_BESIDE.fullmatch, parts)), not any(map(_AVERAGED.fullmatch, parts))


def under(tensors: Mapping[str, _T], place: str) -> dict[str, _T]:
    """Returns those whose names begin with `place` and a dot, without both.

    Raises `InputError`, in words to stand behind a path, if there are none.
    """
    found = {name.removeprefix(f"{place}."): tensor for name, tensor in tensors.items() if name.startswith(f"{place}.")}
    if not found:
        raise InputError(f"has nothing under '{place}'; it has {listed(tensors)}.")
    return found


def candidates(tensors: Mapping[str, _T]) -> Iterator[tuple[dict[str, _T], tuple[str, ...]]]:
    """Yields what may be the tensors of one network, the likeliest first, and notes on what is not as in the file.

    First all but what only stands beside a network (`perceptual.`); then without the first parts that all names share
    (`_orig_mod.`, `net_g.`); then by themselves those of one first part (`model.`), averaged ones and the largest
    groups first.
    """
    network, notes = _without_others(tensors)
    stripped = [(network, notes), *_without_shared(network, notes)]
    yield from stripped
    found, notes = stripped[-1]
    groups = _groups(found)
    largest = sorted(groups, key=lambda part: (*likelihood(part), -len(groups[part])))
    for part in largest[:_MOST_GROUPS]:
        if left := [name for name in found if not name.startswith(f"{part}.")]:
            told = (*notes, f"of the file, what is under '{part}.' was taken, and {listed(left)} left aside")
            yield groups[part], told
            yield from _without_shared(groups[part], told)


def _without_others(tensors: Mapping[str, _T]) -> tuple[dict[str, _T], tuple[str, ...]]:
    """Returns what is no profiler's and, if anything is left then, does not only stand beside a network."""
    found = {name: tensor for name, tensor in tensors.items() if not _COUNTER.fullmatch(name)}
    notes = ("'total_ops' and 'total_params', a profiler's, were left aside",) if len(found) < len(tensors) else ()
    parts = dict.fromkeys(name.partition(".")[0] for name in found)
    beside = [part for part in parts if _BESIDE.fullmatch(part)]
    if not beside or len(beside) == len(parts):
        return found, notes
    network = {name: tensor for name, tensor in found.items() if name.partition(".")[0] not in beside}
    return network, (*notes, f"left aside, as nothing of the network: {quoted(beside)}")


def _without_shared(
    tensors: Mapping[str, _T], notes: tuple[str, ...]
) -> Iterator[tuple[dict[str, _T], tuple[str, ...]]]:
    """Yields the tensors without the first part of their names, as long as all share one."""
    found, taken = dict(tensors), ""
    for _ in range(_DEEPEST):
        part, dot, _ = next(iter(found), "").partition(".")
        prefix = f"{part}{dot}"
        if not dot or len(found) < 2 or not all(name.startswith(prefix) and name != prefix for name in found):
            return
        found, taken = {name.removeprefix(prefix): tensor for name, tensor in found.items()}, taken + prefix
        yield found, (*notes, f"'{taken}' was taken off the names of all tensors")


def _groups(tensors: Mapping[str, _T]) -> dict[str, dict[str, _T]]:
    """Returns the tensors by the first part of their names, without it; numbers are layers in a row, not networks."""
    found: dict[str, dict[str, _T]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if rest and not part.isdecimal():
            found.setdefault(part, {})[rest] = tensor
    return {part: group for part, group in found.items() if len(group) > 1}


def listed(names: Iterable[str]) -> str:
    """Names the first parts of names, some of them."""
    return quoted(list(dict.fromkeys(name.partition(".")[0] for name in names)))


def quoted(parts: Sequence[str]) -> str:
    """Names parts of names, some of them."""
    shown = ", ".join(f"'{part}'" for part in parts[:3])
    return f"{shown} and {len(parts) - 3} more" if len(parts) > 3 else shown
