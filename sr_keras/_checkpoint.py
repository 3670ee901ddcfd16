"""A part of torch_file: finds the dict of tensors in what a file holds: a state dict, a checkpoint, a whole module."""

from collections.abc import Mapping
from typing import Any, TypeVar

from sr_keras import _pickle_names, state_dict
from sr_keras._unpickling import Unknown
from sr_keras.errors import InputError

_T = TypeVar("_T")

# Where a checkpoint keeps its weights, the averaged ones first: Real-ESRGAN's files hold both.
_WRAPPERS = (
    "params_ema", "params-ema", "state_dict_ema", "ema_state_dict", "model_ema", "ema", "g_ema", "params",
    "model_state_dict", "state_dict", "model", "net", "generator", "netG", "net_g", "G", "weights",
)  # fmt: skip
_MOST_WRAPPERS = 20
_MOST_PARTS = 100_000  # of a module, all its modules' together, since one may be part of many


def tensors(tree: Any, kind: type[_T], unknown: str) -> dict[str, _T]:
    """Returns the dict of what is a `kind` inside, behind the wrappers of a checkpoint or a single name.

    Raises `InputError`, in words to stand behind a path, if there is none, or if something in it is unknown.
    """
    found = _unwrapped(tree, kind, set())
    if not found:
        if unknown:
            raise _pickle_names.refused(unknown)
        raise InputError("holds no dict of tensors; give a file of torch.save(model.state_dict(), ...).")
    state_dict.check_names(found)
    for name, value in found.items():
        if isinstance(value, Unknown):
            raise _pickle_names.refused(value.name, f" for '{name[:80]}'")
    return found


def _unwrapped(tree: Any, kind: type, seen: set[int]) -> dict[str, Any]:
    if not isinstance(tree, (dict, Unknown)) or id(tree) in seen or len(seen) == _MOST_WRAPPERS:
        return {}
    seen.add(id(tree))  # a pickle may hold itself
    if isinstance(tree, Unknown):
        return _with_any(_of_module(tree), kind)
    for name in _WRAPPERS if len(tree) > 1 else list(tree):
        if found := _unwrapped(tree.get(name), kind, seen):
            return found
    return _with_any(tree, kind)


def _with_any(items: Mapping[Any, Any], kind: type) -> dict[str, Any]:
    """Returns the items of a `kind`, and those that may be; none, if all only may."""
    found = {n: value for n, value in items.items() if isinstance(n, str) and isinstance(value, (kind, Unknown))}
    return found if any(isinstance(value, kind) for value in found.values()) else {}


def _of_module(root: Unknown) -> dict[str, Any]:
    """Returns the state dict of a `torch.nn.Module` that was pickled whole, in PyTorch's order."""
    found: dict[str, Any] = {}
    left, parts = [("", root)], 0
    while left:
        prefix, module = left.pop()
        state = module.state if isinstance(module, Unknown) and isinstance(module.state, dict) else {}
        skipped = state.get("_non_persistent_buffers_set")
        parameters, buffers, modules = (_named(state.get(f"_{name}")) for name in ("parameters", "buffers", "modules"))
        skipped = skipped if isinstance(skipped, (list, tuple)) else ()
        parts += 1 + len(parameters) + len(buffers) * (1 + len(skipped)) + len(modules)
        if parts > _MOST_PARTS or len(prefix) > state_dict.LONGEST:
            raise InputError("holds a module of too many modules; save the weights alone.")
        for name, value in [*parameters.items(), *((n, b) for n, b in buffers.items() if n not in skipped)]:
            found[f"{prefix}{name}"] = value
        left += [(f"{prefix}{name}.", part) for name, part in reversed(modules.items())]
    return found


def _named(value: Any) -> dict[str, Any]:
    found = {name: part for name, part in value.items() if isinstance(name, str)} if isinstance(value, dict) else {}
    state_dict.check_names(found)
    return found
