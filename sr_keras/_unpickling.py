"""A part of torch_file: carries out a pickle without Python's unpickler, and thus without what that can do.

A pickle can make plain values here and call the functions it is given. It imports nothing, sets no attribute, and
makes no more than its own length pays for. To restrict `find_class` would not do: an instruction of five bytes reserves
64 GB in Python's unpickler, and a deep tuple as a key ends the process.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from sr_keras.errors import InputError

_MOST = 1_000_000  # instructions; a tensor takes about 40, in a checkpoint with its optimizer 120
_LARGEST_KEY = 2**60  # integers below all have different hashes, so that a dict stays fast
_SHOWN = 80  # characters of a name in an error
_NAMED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_WITH_VALUE = set(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES BINBYTES8 "
    "SHORT_BINBYTES BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split()
)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class DamagedError(Exception):
    """The pickle can't be carried out."""


@dataclass(frozen=True)
class Function:
    """What a pickle may call."""

    call: Callable[..., Any]


@dataclass(frozen=True)
class Dict:
    """The type of a dict, which a pickle calls without arguments, or with a list of pairs."""


def load(file: IO[bytes], known: Mapping[str, Any], persistent: Callable[[Any], Any]) -> Any:
    """Carries out one pickle and leaves `file` behind it.

    `known` tells what its dotted names stand for, of which `Function` and `Dict` can be called; `persistent` makes an
    object of a persistent id. Sets become lists; a dict keeps what has a text or an integer as its key.

    Raises:
        InputError: for a name that is not known, or for too many instructions, in words to stand behind a path.
        Exception: of nearly any kind, for a damaged pickle.
    """
    machine = _Machine(known, persistent)
    for count, (opcode, value, position) in enumerate(pickletools.genops(file)):
        if count == _MOST:
            raise InputError(f"holds a pickle of more than {_MOST} instructions; save the weights alone.")
        machine.step(opcode.name, value, position or 0)
    (result,) = machine.stack
    return result


class _Machine:
    def __init__(self, known: Mapping[str, Any], persistent: Callable[[Any], Any]):
        self.stack: list[Any] = []
        self._known, self._persistent = known, persistent
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._copied = 0

    def step(self, name: str, value: Any, position: int) -> None:
        """Carries out the instruction at a position, counted in bytes."""
        push, pop = self.stack.append, self.stack.pop
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _ if name in _WITH_VALUE:
                push(value)
            case _ if name in _NAMED:
                push(_NAMED[name])
            case "EMPTY_LIST" | "EMPTY_SET":
                push([])
            case "EMPTY_DICT":
                push({})
            case "LIST" | "FROZENSET":
                push(self._marked())
            case "TUPLE":
                push(tuple(self._marked()))
            case _ if name in _TUPLES:
                push(tuple(self._last(_TUPLES[name])))
            case "DICT":
                push(_filled({}, self._marked()))
            case "APPEND":
                self._add(self._last(1))
            case "APPENDS" | "ADDITEMS":
                self._add(self._marked())
            case "SETITEM" | "SETITEMS":
                items = self._last(2) if name == "SETITEM" else self._marked()
                _filled(self.stack[-1], items)
            case "MARK":
                self._marks.append(len(self.stack))
            case "POP_MARK":
                self._marked()
            case "POP":
                pop()
            case "DUP":
                push(self.stack[-1])
            case "GET" | "BINGET" | "LONG_BINGET":
                push(self._memo[value])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[value] = self.stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self.stack[-1]
            case "GLOBAL":
                push(self._named(value.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                module, attribute = self._last(2)
                push(self._named(f"{module:s}.{attribute:s}"))
            case "INST":
                push(self._called(self._named(value.replace(" ", ".", 1)), tuple(self._marked()), position))
            case "REDUCE" | "NEWOBJ":
                function, arguments = self._last(2)
                push(self._called(function, arguments, position))
            case "BUILD":
                pop()  # attributes, such as the versions of modules that a state dict has
            case "PERSID" | "BINPERSID":
                push(self._persistent(value if name == "PERSID" else pop()))
            case _:
                raise DamagedError(name)

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) - count < (self._marks[-1] if self._marks else 0):
            raise DamagedError("the stack is empty")
        start = len(self.stack) - count
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def _marked(self) -> list[Any]:
        return self._last(len(self.stack) - self._marks.pop())

    def _add(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise DamagedError("no list to add to")
        self.stack[-1].extend(items)

    def _named(self, name: str) -> Any:
        if name not in self._known:
            shown = name if name.isprintable() and name.isascii() else ascii(name)
            raise InputError(
                f"needs {shown[:_SHOWN]}, which is refused because a file could run code that way; "
                "save the weights alone: torch.save(model.state_dict(), ...)."
            )
        return self._known[name]

    def _called(self, function: Any, arguments: Any, position: int) -> Any:
        if not isinstance(arguments, tuple):
            raise DamagedError("arguments that are no tuple")
        if isinstance(function, Dict):
            return self._dict(*arguments, position=position)
        if not isinstance(function, Function):
            raise DamagedError("no function")
        return function.call(*arguments)

    def _dict(self, pairs: Any = (), *, position: int) -> dict:
        if not isinstance(pairs, (list, tuple)):
            raise DamagedError("a dict of what is no list")
        self._copied += len(pairs)
        if self._copied > position:  # one list, copied again and again
            raise DamagedError("more copies than bytes")
        return _filled({}, [part for key, value in pairs for part in (key, value)])


def _filled(target: Any, items: list[Any]) -> dict:
    if not isinstance(target, dict) or len(items) % 2:
        raise DamagedError("no dict, or a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str) or (isinstance(key, int) and abs(key) < _LARGEST_KEY):
            target[key] = value
    return target
