"""What holds of the tensors in a file of weights, whatever the format."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from sr_keras.errors import InputError

_T = TypeVar("_T")

LONGEST = 500  # characters of a name
_MOST = 10_000  # tensors; HAT-L has 2,000
_PREFIXES = ("module.", "netG.")  # of torch.nn.DataParallel; of a generator inside a game
_DEEPEST = 4  # prefixes taken off one another
_MOST_GROUPS = 8


def plain(tensors: Mapping[str, _T]) -> dict[str, _T]:
    """Takes the prefixes of wrappers (`module.`, `netG.`) off the names, where all have them.

    Raises `InputError`, in words to stand behind a path, for too many tensors, or for a name that would not fit into a
    line.
    """
    check_names(tensors)
    found = dict(tensors)
    while prefix := next((p for p in _PREFIXES if found and all(n.startswith(p) and n != p for n in found)), ""):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def check_names(names: Mapping[str, object]) -> None:
    """Raises `InputError`, in words to stand behind a path, for too many names, or for one that is no line."""
    if len(names) > _MOST:
        raise InputError(f"holds {len(names)} tensors; {_MOST} are the most here.")
    for name in names:
        if len(name) > LONGEST or not name.isprintable():
            raise InputError(f"holds a tensor of the name {name[:40]!a}..., which is none; fetch it again.")


def candidates(tensors: Mapping[str, _T]) -> Iterator[tuple[dict[str, _T], tuple[str, ...]]]:
    """Yields what may be the tensors of one network, the likeliest first, and notes on what is not as in the file.

    First all as they are; then without the first parts that all names share (`_orig_mod.`, `net_g.`); then by
    themselves those of one first part (`model.` beside `perceptual.`), averaged ones and the largest groups first.
    """
    found, notes = dict(tensors), ()
    yield found, notes
    for found, notes in _without_shared(tensors, ()):
        yield found, notes
    groups = _groups(found)
    largest = sorted(groups, key=lambda part: ("ema" not in part.lower(), -len(groups[part])))
    for part in largest[:_MOST_GROUPS]:
        if left := [name for name in found if not name.startswith(f"{part}.")]:
            told = (*notes, f"of the file, what is under '{part}.' was taken, and {_listed(left)} left aside")
            yield groups[part], told
            yield from _without_shared(groups[part], told)


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


def _listed(names: Iterable[str]) -> str:
    """Names the first parts of names, some of them."""
    parts = list(dict.fromkeys(name.partition(".")[0] for name in names))
    shown = ", ".join(f"'{part}'" for part in parts[:3])
    return f"{shown} and {len(parts) - 3} more" if len(parts) > 3 else shown
