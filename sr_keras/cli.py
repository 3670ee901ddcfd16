"""What every command line shares: silence at start-up, errors as one line, exit codes."""

import contextlib
import faulthandler
import io
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

from sr_keras.errors import InputError


def run(verb: Callable[[], int | None]) -> int:
    """Calls `verb` under `quiet` and returns its exit status: 2 and one line for an `InputError`, 130 for Ctrl-C.

    Any other exception is a fault of ours: what the C++ libraries said is replayed and the traceback goes through.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
    try:
        with quiet():
            status = verb() or 0
            sys.stdout.flush()  # a closed pipe shows here, not at exit
            return status
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what C++ code writes to descriptor 2 out of the terminal, while Python's `sys.stderr` still reaches it.

    TensorFlow's oneDNN and CUDA lines come before any log level is read, so only the descriptor can be redirected.
    If the block raises something else than an `InputError`, the hidden lines are printed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # graphs that are traced again for another picture's size
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        real = os.dup(2)
    except OSError:  # started without a standard error: nothing to protect
        yield
        return
    shown = open(real, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - lives as long as sys.stderr points to it
    python_stderr = sys.stderr
    with tempfile.TemporaryFile("w+b") as hidden:
        if python_stderr is sys.__stderr__:
            sys.stderr = shown
        os.dup2(hidden.fileno(), 2)
        faulthandler.enable(shown)
        try:
            yield
        except (InputError, KeyboardInterrupt, SystemExit, BrokenPipeError):
            raise
        except BaseException:
            hidden.seek(0)
            os.write(real, hidden.read())
            raise
        finally:
            faulthandler.disable()
            sys.stderr.flush()
            os.dup2(real, 2)
            sys.stderr = python_stderr
            os.close(real)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lays out a Markdown table with padded columns: the first column to the left, the others to the right."""
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = f"|{'-' * (widths[0] + 2)}|{'|'.join('-' * (w + 1) + ':' for w in widths[1:])}|"
    return "\n".join([line(header), rule, *map(line, rows)])


def positive(text: str) -> int:
    """Reads a whole number of 1 or more, for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value
