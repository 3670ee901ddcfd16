"""A part of torch_file: carries out a pickle without Python's unpickler, and thus without what that can do.

A pickle can make plain values here and call the functions it is given. It imports nothing, sets no attribute, and
makes no more than its own length pays for. What it names besides is `Unknown` and stays so, whatever is done to it. To
restrict `find_class` would not do: an instruction of five bytes reserves 64 GB in Python's unpickler, and a deep tuple
as a key ends the process.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from sr_keras import _pickle_names
from sr_keras.errors import InputError

_MOST = 1_000_000  # instructions; a tensor takes about 40, in a checkpoint with its optimizer 120
_LARGEST_KEY = 2**60  # integers below all have different hashes, so that a dict stays fast
_MOST_ARGUMENTS = 10  # of a function; one tuple of many, passed again and again, would be copied at each call
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


@dataclass(eq=False, slots=True)
class Unknown:
    """A class or function that a pickle names, or what it would have made with it: nothing but the name.

    `state` is what the attributes would have been.
    """

    name: str
    state: Any = None


def load(file: IO[bytes], named: Callable[[str], Any], persistent: Callable[[Any], Any]) -> Any:
    """Carries out one pickle and leaves `file` behind it.

    `named` tells what a dotted name stands for, of which `Function` and `Dict` can be called, or that it is `Unknown`;
    `persistent` makes an object of a persistent id. The sets of protocol 4 become lists; in the protocols before, a set
    is a call by name. A dict keeps what has a text or an integer as its key.

    Raises:
        InputError: from `named`, for a call that no checkpoint needs, or for too many instructions, in words to stand
            behind a path.
        Exception: of nearly any kind, for a damaged pickle.
    """
    machine = _Machine(named, persistent)
    for count, (opcode, value, position) in enumerate(pickletools.genops(file)):
        if count == _MOST:
            raise InputError(f"holds a pickle of more than {_MOST} instructions; save the weights alone.")
        machine.step(opcode.name, value, position or 0)
    (result,) = machine.stack
    return result


class _Machine:
    def __init__(self, named: Callable[[str], Any], persistent: Callable[[Any], Any]):
        self.stack: list[Any] = []
        self._named, self._persistent = named, persistent
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
                if not isinstance(self.stack[-1], Unknown):
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
                if len(module) + len(attribute) > _pickle_names.LONGEST:  # two texts, joined again and again
                    raise DamagedError("no name")
                push(self._named(f"{module:s}.{attribute:s}"))
            case "INST":
                push(self._called(self._named(value.replace(" ", ".", 1)), tuple(self._marked()), position))
            case "NEWOBJ" if isinstance(self.stack[-2], Unknown):
                of_class, _arguments = self._last(2)
                push(Unknown(of_class.name))
            case "REDUCE" | "NEWOBJ":
                function, arguments = self._last(2)
                push(self._called(function, arguments, position))
            case "BUILD":
                attributes = pop()  # such as the versions of modules that a state dict has
                if isinstance(self.stack[-1], Unknown):
                    self.stack[-1].state = attributes
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
        if isinstance(self.stack[-1], Unknown):
            return
        if not isinstance(self.stack[-1], list):
            raise DamagedError("no list to add to")
        self.stack[-1].extend(items)

    def _called(self, function: Any, arguments: Any, position: int) -> Any:
        if isinstance(function, Unknown):
            _pickle_names.check_call(function.name)
            return Unknown(function.name)
        if not isinstance(arguments, tuple) or len(arguments) > _MOST_ARGUMENTS:
            raise DamagedError("arguments that are no tuple, or too many")
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
        if isinstance(key, str) or (isinstance(key, int) and -_LARGEST_KEY < key < _LARGEST_KEY):
            target[key] = value
    return target
