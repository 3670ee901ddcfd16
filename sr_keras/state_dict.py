"""What holds of the tensors in a file of weights, whatever the format."""

from collections.abc import Mapping
from typing import TypeVar

from sr_keras.errors import InputError

_T = TypeVar("_T")

_PREFIXES = ("module.", "netG.")  # of torch.nn.DataParallel; of a generator inside a game
_LONGEST = 500  # characters


def plain(tensors: Mapping[str, _T]) -> dict[str, _T]:
    """Takes the prefixes of wrappers (`module.`, `netG.`) off the names, where all have them.

    Raises `InputError`, in words to stand behind a path, for a name that would not fit into a line.
    """
    for name in tensors:
        if len(name) > _LONGEST or not name.isprintable():
            raise InputError(f"holds a tensor of the name {name[:40]!a}..., which is none; fetch it again.")
    found = dict(tensors)
    while prefix := next((p for p in _PREFIXES if found and all(n.startswith(p) and n != p for n in found)), ""):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found
