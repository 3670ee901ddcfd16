"""A part of torch_file: which names in a pickle may stand there.

Nothing is ever imported or called because of a name that is unknown here. But a file that names what no checkpoint
needs was made to run something, and is refused whole, wherever the name stands.
"""

import re
import sys

from sr_keras.errors import InputError

LONGEST = 200  # characters
_SHOWN = 80  # characters in an error
_PYTHON = sys.stdlib_module_names | set("__builtin__ cPickle commands copy_reg distutils imp pipes popen2".split())
_OF_PYTHON = re.compile(
    r"(builtins|__builtin__)\.(bool|bytearray|bytes|complex|dict|float|frozenset|int|list|long|object|range|set|slice)"
    r"|(builtins|__builtin__)\.(str|tuple|unicode|xrange)"
    r"|collections\.(Counter|OrderedDict|defaultdict|deque)"
    r"|datetime\.(date|datetime|time|timedelta|timezone)"
    r"|argparse\.Namespace|types\.SimpleNamespace"
    r"|pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path"
    r"|_codecs\.encode|(copyreg|copy_reg)\._reconstructor"
    r"|(builtins|__builtin__)\.getattr|functools\.partial"  # of nested classes, bound methods, Hydra; nothing is got
    r"|typing\.\w+|decimal\.Decimal|fractions\.Fraction|uuid\.UUID"
)
# Functions, and classes that are written like functions; of the others, a call is one of a class.
_CALLED = re.compile(
    r"numpy\.dtype|numpy\._?core\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer)"
    r"|numpy\.random\._pickle\.__\w+_ctor|numpy\.random\.bit_generator\.__pyx_unpickle_\w+"
    r"|torch\.device|torch\._(utils|tensor)\._rebuild_\w+|torch\.serialization\._get_layout"
    r"|torch\.nn\.backends\.thnn\._get_thnn_function_backend"  # in modules of before PyTorch 1.2
)
_CLASS = re.compile(r".*\._*[A-Z]\w*")


def check(name: str) -> None:
    """Raises `InputError` for a dotted name of Python's own library that no checkpoint needs, or for what is none."""
    parts = name.split(".")
    plain = len(name) <= LONGEST and len(parts) > 1 and all(part.isidentifier() for part in parts)
    if not plain or (parts[0] in _PYTHON and not is_pythons(name)):
        raise refused(name)


def check_call(name: str) -> None:
    """Raises `InputError` if a pickle must not even ask for a call of that; none is made anyway."""
    if not any(pattern.fullmatch(name) for pattern in (_OF_PYTHON, _CALLED, _CLASS)):
        raise refused(name)


def is_pythons(name: str) -> bool:
    """Tells whether a name is of Python's own library and may stand in a checkpoint."""
    return _OF_PYTHON.fullmatch(name) is not None


def refused(name: str, what_for: str = "") -> InputError:
    """Says that a file needs a name, in words to stand behind a path."""
    shown = name if name.isprintable() and name.isascii() else ascii(name)
    return InputError(
        f"needs {shown[:_SHOWN]}{what_for}, which is refused because a file could run code that way; "
        "save the weights alone: torch.save(model.state_dict(), ...)."
    )
