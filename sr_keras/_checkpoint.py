"""A part of torch_file: finds the dicts of tensors in what a file holds: a state dict, a checkpoint, a whole module."""

from collections import deque
from typing import Any, TypeVar

from sr_keras import _pickle_names, state_dict
from sr_keras._unpickling import Unknown
from sr_keras.errors import InputError

_T = TypeVar("_T")

_MOST_DICTS = 1000
_DEEPEST = 4  # dicts in dicts
_LONGEST_PLACE = 80  # characters of a key
_MOST_PARTS = 100_000  # of modules, all their modules' together, since one may be part of many
_OF_A_MODULE = {"_parameters", "_modules"}  # attributes


def places(tree: Any, kind: type[_T], unknown: str) -> dict[str, dict[str, _T | Unknown]]:
    """Returns by their places, such as `state_dict` or `models.G`, the dicts that hold something of a `kind`.

    The place of the whole is the empty text. What may be a tensor, but is unknown, is there, too.

    Raises `InputError`, in words to stand behind a path, if there is none.
    """
    found: dict[str, dict[str, _T | Unknown]] = {}
    left, seen, parts = deque([("", tree, 0)]), set(), _Parts()
    while left and len(seen) < _MOST_DICTS:
        place, value, depth = left.popleft()
        if id(value) in seen:  # a pickle may hold itself
            continue
        seen.add(id(value))
        inside = _of_module(value, parts) if isinstance(value, Unknown) else value
        items = [item for item in inside.items() if isinstance(item[0], str)] if isinstance(inside, dict) else []
        own = {name: item for name, item in items if isinstance(item, (kind, Unknown))}
        if any(isinstance(item, kind) for item in own.values()):
            state_dict.check_names(own)
            found[place] = {name: item for name, item in own.items() if not _is_module(item)}
        if depth < _DEEPEST:
            inner = [(name, item) for name, item in items if isinstance(item, dict) or _is_module(item)]
            left += [(joined(place, name), item, depth + 1) for name, item in inner if _is_plain(name)]
    if not found:
        if unknown:
            raise _pickle_names.refused(unknown)
        raise InputError("holds no dict of tensors; give a file of torch.save(model.state_dict(), ...).")
    return found


def _is_module(value: Any) -> bool:
    return isinstance(value, Unknown) and isinstance(value.state, dict) and value.state.keys() >= _OF_A_MODULE


def _is_plain(name: str) -> bool:
    return len(name) <= _LONGEST_PLACE and name.isprintable()


def joined(place: str, name: str) -> str:
    """Returns the place of what is called `name` at a place."""
    return f"{place}.{name}" if place else name


class _Parts:
    """Counts what is looked at in modules. Raises `InputError` if it is more than any network has."""

    def __init__(self):
        self._left = _MOST_PARTS

    def take(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise InputError("holds a module of too many modules; save the weights alone.")


def _of_module(root: Unknown, parts: _Parts) -> dict[str, Any]:
    """Returns the state dict of a `torch.nn.Module` that was pickled whole, in PyTorch's order."""
    found: dict[str, Any] = {}
    left = [("", root)]
    while left:
        prefix, module = left.pop()
        state = module.state if isinstance(module, Unknown) and isinstance(module.state, dict) else {}
        skipped = state.get("_non_persistent_buffers_set")
        skipped = skipped if isinstance(skipped, (list, tuple)) else ()
        parameters, buffers, modules = (_named(state.get(f"_{n}"), parts) for n in ("parameters", "buffers", "modules"))
        parts.take(1 + len(buffers) * len(skipped))
        if len(prefix) > state_dict.LONGEST:
            raise InputError("holds a module of too many modules; save the weights alone.")
        for name, value in [*parameters.items(), *((n, b) for n, b in buffers.items() if n not in skipped)]:
            found[f"{prefix}{name}"] = value
        left += [(f"{prefix}{name}.", part) for name, part in reversed(modules.items())]
    return found


def _named(value: Any, parts: _Parts) -> dict[str, Any]:
    value = value if isinstance(value, dict) else {}
    parts.take(len(value))
    found = {name: part for name, part in value.items() if isinstance(name, str)}
    state_dict.check_names(found)
    return found
