"""Damaged and malicious files of weights: each gives arrays or one line, in a process of its own that is watched."""

import os
import pickle
import random
import re
import shutil
import subprocess
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ncnn_files
import numpy as np
import pytest
import torch_files
import watched
from safetensors.numpy import save_file

from sr_keras import ncnn_file, safetensors_file, torch_file
from sr_keras.errors import InputError

CHECKOUT = Path(__file__).parent.parent
FIXTURES = sorted((CHECKOUT / "tests" / "fixtures" / "imports").glob("rlfn-*.pth"))
NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

# Reads every file of a folder.
READ = """
import numpy as np
from sr_keras import ncnn_file, safetensors_file, torch_file
readers = {".pth": torch_file, ".safetensors": safetensors_file, ".param": ncnn_file}
def work(path):
    if path.suffix not in readers:
        return "no file of weights"
    found = readers[path.suffix].read(path)
    found = found if isinstance(found, dict) else {n: layer.weights for n, layer in enumerate(found)}
    assert all(isinstance(value, (dict, np.ndarray)) for value in found.values())
    return "read"
"""


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
    return bytes(changed)


def truncated(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def inserted(content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + rng.randbytes(rng.choice([1, 2, 4, 100])) + content[place:]


def swapped(content: bytes, rng: random.Random) -> bytes:
    size = min(rng.choice([1, 4, 16, 64]), len(content) // 2)
    first, second = sorted((rng.randrange(len(content) - 2 * size + 1), rng.randrange(len(content) - 2 * size + 1)))
    second += size
    middle = content[first + size : second]
    return (
        content[:first]
        + content[second : second + size]
        + middle
        + content[first : first + size]
        + content[second + size :]
    )


def repeated(content: bytes, rng: random.Random) -> bytes:
    """Writes one line twice, or one in the place of another."""
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place : place + rng.randrange(2)] = [rng.choice(lines)] * rng.choice([1, 2])
    return b"\n".join(lines)


def renumbered(content: bytes, rng: random.Random) -> bytes:
    """Writes another number in the place of one."""
    lines = [line.split(b"=") for line in content.split(b"\n")]
    parts = rng.choice(lines)
    place = rng.randrange(len(parts))
    odd = [
        b"0",
        b"-1",
        b"-233",
        b"2147483647",
        b"-23300",
        b"9999999999999999999999",
        b"1e30",
        b"nan",
        b"",
        b"\xff",
        b"1",
    ]
    words = parts[place].split(b" ")
    words[rng.randrange(len(words))] = rng.choice(odd)
    parts[place] = b" ".join(words)
    return b"\n".join(b"=".join(line) for line in lines)


ANY = [flipped, flipped, truncated, inserted, swapped]
TEXT = [*ANY, repeated, repeated, renumbered, renumbered]


def torch_seeds(folder: Path) -> list[tuple[bytes, bytes]]:
    """What stands before and behind the part that is changed, of which the whole file is one."""
    state = OrderedDict(a=torch_files.tensor(NUMBERS), b=torch_files.Parameter(torch_files.tensor(NUMBERS[0])))
    saved = {"step": 3, "params": state, "names": ("x", 1.5, None, True, -7, 2**40, ["y"])}
    block = torch_files.module("net.Block", state, {"c": torch_files.tensor(NUMBERS)}, {}, passing=["d"])
    whole = torch_files.module("net.Net", {}, {}, {"first": block, "last": block})
    beside = {"model": whole, "best": np.float64(30), "seen": Counter([1])}
    return [
        torch_files.save(folder / "seed", tree, legacy=legacy).read_bytes()
        for tree in (saved, beside)
        for legacy in (False, True)
    ]


def mutated_torch(folder: Path, path: Path, rng: random.Random) -> None:
    """Changes a whole file, or the pickle in it, which a zip archive's checksum would else protect."""
    if rng.random() < 0.5:
        seeds = [path.read_bytes() for path in FIXTURES] + torch_seeds(folder)
        path.write_bytes(rng.choice(ANY)(rng.choice(seeds), rng))
        return
    storage = torch_files.Storage("FloatStorage", NUMBERS.tobytes(), NUMBERS.size)
    text = pickled(folder)
    for _ in range(rng.choice([1, 1, 3])):
        text = rng.choice(ANY)(text, rng) or b"."
    write = rng.choice([torch_files.write_zip, torch_files.write_legacy])
    write(path, text, [storage, replace(storage, elements=12)])


def pickled(folder: Path) -> bytes:
    whole = torch_seeds(folder)[1]
    start = sum(len(pickle.dumps(part, 2)) for part in (torch_file.MAGIC_NUMBER, 1001))
    start = whole.index(b"\x80\x02", whole.index(b"\x80\x02", start) + 2)  # behind the system's
    return whole[start : whole.index(b"\x80\x02]", start)]


def mutated_safetensors(folder: Path, path: Path, rng: random.Random) -> None:
    save_file({"module.a": NUMBERS, "module.b": NUMBERS.astype(np.float16), "module.c": NUMBERS[0]}, folder / "seed")
    whole = (folder / "seed").read_bytes()
    if rng.random() < 0.5:
        path.write_bytes(rng.choice(ANY)(whole, rng))
        return
    end = 8 + int.from_bytes(whole[:8], "little")
    header = rng.choice(ANY)(whole[8:end], rng)
    path.write_bytes(len(header).to_bytes(8, "little") + header + whole[end:])


def mutated_ncnn(folder: Path, path: Path, rng: random.Random) -> None:
    kind = rng.choice(["raw", "float16", "bfloat16", "table"])
    shutil.move(ncnn_files.tiny(folder, kind).with_suffix(".bin"), path.with_suffix(".bin"))
    shutil.move(folder / "net.param", path)
    changed, mutations = (path, TEXT) if rng.random() < 0.7 else (path.with_suffix(".bin"), ANY)
    changed.write_bytes(rng.choice(mutations)(changed.read_bytes(), rng))


MUTATIONS: dict[str, tuple[int, Callable[[Path, Path, random.Random], None]]] = {
    "pth": (220, mutated_torch),
    "safetensors": (100, mutated_safetensors),
    "param": (180, mutated_ncnn),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    """What came of 500 files."""
    folder, beside = tmp_path_factory.mktemp("damaged"), tmp_path_factory.mktemp("beside")
    for suffix, (count, mutate) in MUTATIONS.items():
        for number in range(count):
            mutate(beside, folder / f"{number:05}.{suffix}", random.Random(f"{suffix} {number}"))
    found = watched.run(READ, folder, megabytes=512)
    return {name: outcome for name, outcome in found.items() if outcome != "no file of weights"}


def test_the_files_are_whole_before_they_are_damaged(tmp_path):
    for number, whole in enumerate([*torch_seeds(tmp_path), *(path.read_bytes() for path in FIXTURES)]):
        (tmp_path / f"{number}.pth").write_bytes(whole)
    storage = torch_files.Storage("FloatStorage", NUMBERS.tobytes(), NUMBERS.size)
    for write in (torch_files.write_zip, torch_files.write_legacy):
        write(tmp_path / f"{write.__name__}.pth", pickled(tmp_path), [storage, replace(storage, elements=12)])
    ncnn_files.tiny(tmp_path)
    assert FIXTURES and set(watched.run(READ, tmp_path, megabytes=512).values()) <= {"read", "no file of weights"}


@pytest.mark.parametrize("suffix", MUTATIONS)
def test_damaged_files_give_arrays_or_one_line(outcomes, suffix):
    found = {name: outcome for name, outcome in outcomes.items() if name.endswith(suffix)}
    assert len(found) == MUTATIONS[suffix][0]
    refused = {name: outcome.removeprefix("refused ") for name, outcome in found.items() if outcome != "read"}
    for name, line in refused.items():
        assert "\\n" not in line and name.split(".")[0] in line and line[-2] == ".", line
    assert len(refused) > len(found) / 2  # or the damage is none


class Calls:
    def __init__(self, function: Callable, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


PAYLOADS = {
    "os.system": lambda mark: Calls(os.system, f"touch '{mark}'"),
    "eval": lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Calls(exec, f"open({str(mark)!r}, 'w')"),
    "subprocess": lambda mark: Calls(subprocess.check_call, ["touch", str(mark)]),
    "a pickle in a pickle": lambda mark: Calls(pickle.loads, pickle.dumps(Calls(os.system, f"touch '{mark}'"))),
    "getattr": lambda mark: Calls(getattr, Calls(__import__, "pathlib"), "Path"),
}
PLACES = {
    "alone": lambda payload: payload,
    "beside a tensor": lambda payload: {"x": torch_files.tensor(NUMBERS), "y": payload},
    "deep inside": lambda payload: {"x": torch_files.tensor(NUMBERS), "y": [({"z": (1, [payload])},)]},
    "among an OrderedDict's items": lambda payload: {"x": torch_files.tensor(NUMBERS), "y": OrderedDict(z=payload)},
    "in an OrderedDict's pairs": lambda payload: Calls(
        OrderedDict, [["x", torch_files.tensor(NUMBERS)], ["y", payload]]
    ),
    "in the wrapper": lambda payload: {"params": {"x": torch_files.tensor(NUMBERS)}, "step": payload},
    "as a key": lambda payload: {"x": torch_files.tensor(NUMBERS), "y": {Hashable(payload): 1}},
    "as a size": lambda payload: {"x": torch_files.Tensor(torch_files.tensor(NUMBERS).storage, payload, (2,), (1,))},
}


class Hashable:
    def __init__(self, payload):
        self.payload = payload

    def __reduce__(self):
        return self.payload.__reduce__()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path, payload, place, legacy):
    mark = tmp_path / "ran"
    path = torch_files.save(tmp_path / "x.pth", PLACES[place](PAYLOADS[payload](mark)), legacy=legacy)
    with pytest.raises(InputError, match=r"x\.pth: needs [\w.]+, which is refused[^\n]*$"):
        torch_file.read(path)
    assert not mark.exists()


@pytest.mark.parametrize("payload", list(PAYLOADS)[:-1])
def test_pythons_own_unpickler_would_run_it(tmp_path, payload):
    pickle.loads(pickle.dumps(PAYLOADS[payload](tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("position", range(1, 5))
def test_each_of_the_five_pickles_of_the_old_format_is_restricted(tmp_path, position):
    mark, path = tmp_path / "ran", tmp_path / "x.pth"
    system = {"protocol_version": 1001, "little_endian": True}
    parts = [pickle.dumps(part, 2) for part in (torch_file.MAGIC_NUMBER, 1001, system, {}, [])]
    parts[position] = pickle.dumps(Calls(os.system, f"touch '{mark}'"), 2)
    path.write_bytes(b"".join(parts))
    with pytest.raises(InputError, match=r"needs \w+\.system, which is refused"):
        torch_file.read(path)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_refused_in_every_protocol(tmp_path, protocol):
    mark = tmp_path / "ran"
    text = pickle.dumps({"x": Calls(os.system, f"touch '{mark}'")}, protocol)
    with pytest.raises(InputError, match=r"needs \w+\.system, which is refused"):
        torch_file.read(torch_files.write_zip(tmp_path / "x.pth", text))
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    [
        b"(S'touch ran'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch ran'\no.",  # OBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.",  # STACK_GLOBAL
        b"\x80\x04\x8c\x0bcollections\x8c\x15OrderedDict.__class__\x93)R.",  # an attribute of what is known
        b"\x80\x04\x8c\x03a\nb\x8c\x04\x1b[2J\x93.",
    ],
)
def test_other_ways_to_a_name_are_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"x\.pth: needs [^\n]*, which is refused") as caught:
        torch_file.read(torch_files.write_zip(tmp_path / "x.pth", text))
    assert str(caught.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


NAMES = """
os.system os.path.join os.Popen nt.system posix.system sys.exit subprocess.Popen builtins.setattr builtins.eval
builtins.type builtins.open builtins.__import__ __builtin__.apply __builtin__.execfile shutil.rmtree socket.socket
importlib.import_module runpy.run_path pickle.loads _pickle.Unpickler cPickle.loads code.InteractiveInterpreter
ctypes.CDLL operator.attrgetter functools.reduce webbrowser.open commands.getoutput timeit.timeit types.CodeType
types.FunctionType copyreg.__newobj__ collections.namedtuple argparse.FileType pathlib.os.system _codecs.lookup
builtins.set.__class__ platform.popen pip.main pip._internal.main numpy.load numpy.testing._private.utils.runstring
numpy.core.multiarray.fromfile torch.load torch.hub.load torch._utils._import_dotted_name net.run __main__.main
torch.os.system
""".split()
CALLS = {
    "REDUCE": lambda module, name: b"c" + module + b"\n" + name + b"\n)R",
    "INST": lambda module, name: b"(i" + module + b"\n" + name + b"\n",
    "STACK_GLOBAL": lambda module, name: b"\x8c%c%b\x8c%c%b\x93)R" % (len(module), module, len(name), name),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_no_checkpoint_needs_is_refused(tmp_path, name, call):
    with pytest.raises(InputError, match=rf"x\.pth: needs {re.escape(name)}, which is refused[^\n]*$"):
        torch_file.read(beside_a_tensor(tmp_path, CALLS[call](*map(str.encode, name.rsplit(".", 1)))))


def test_a_name_of_pythons_own_need_not_be_called_to_be_refused(tmp_path):
    with pytest.raises(InputError, match=r"x\.pth: needs functools\.reduce, which is refused"):
        torch_file.read(beside_a_tensor(tmp_path, b"cfunctools\nreduce\n"))


def test_a_function_of_others_need_not_be_refused_if_it_is_not_called(tmp_path):
    found = torch_file.read(beside_a_tensor(tmp_path, b"ctorch.nn.functional\nrelu\n"))
    np.testing.assert_array_equal(found["x"], NUMBERS[0, 0, :2])


NEEDED = """
builtins.getattr __builtin__.getattr functools.partial typing.Any decimal.Decimal uuid.UUID fractions.Fraction
numpy.random.bit_generator.__pyx_unpickle_SeedSequence collections.Counter pathlib.PosixPath argparse.Namespace
""".split()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", NEEDED)
def test_what_checkpoints_hold_beside_their_weights_is_passed_over(tmp_path, name, call):
    text = CALLS[call](*map(str.encode, name.rsplit(".", 1)))
    found = torch_file.read(beside_a_tensor(tmp_path, text + (b")R" if call != "INST" else b"")))  # and what it gives
    np.testing.assert_array_equal(found["x"], NUMBERS[0, 0, :2])


def test_a_tensor_with_attributes_is_read(tmp_path):
    text = b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n("
    text += ARGUMENTS + b"NtR"
    storage = torch_files.Storage("FloatStorage", NUMBERS.tobytes(), NUMBERS.size)
    path = torch_files.write_zip(tmp_path / "x.pth", b"\x80\x04}X\x01\x00\x00\x00y" + text + b"s.", [storage])
    np.testing.assert_array_equal(torch_file.read(path)["y"], NUMBERS[0, 0, :2])


ARGUMENTS = (  # of two numbers of the first storage
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x18tQ"
    b"K\x00K\x02\x85K\x01\x85\x89Nt"
)


def beside_a_tensor(folder: Path, text: bytes) -> Path:
    """Writes a file of a dict of a tensor, `x`, and of what a part of a pickle makes."""
    storage = torch_files.Storage("FloatStorage", NUMBERS.tobytes(), NUMBERS.size)
    text = b"\x80\x04}(X\x01\x00\x00\x00x" + tensor_text() + b"X\x01\x00\x00\x00y](" + text + b"eu."
    return torch_files.write_zip(folder / "x.pth", text, [storage])


def test_what_is_done_to_an_unknown_object_does_nothing(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(
        f"mark = {str(tmp_path / 'ran')!r}\n"
        "class Evil:\n"
        "    def ran(self, *given): open(mark, 'w')\n"
        "    __new__ = __init__ = __call__ = __setstate__ = __setitem__ = append = extend = add = ran\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    evil = b"cevil\nEvil\n"
    made = [evil + b")\x81", evil + b")R", b"(ievil\nEvil\n", evil + b")R)R"]
    done = [b"", b"}b", b"Na", b"(NNe", b"NNs", b"(NNu", b"(N\x90"]
    path = beside_a_tensor(tmp_path, b"".join(one + other for one in made for other in done))
    assert list(torch_file.read(path)) == ["x"] and not (tmp_path / "ran").exists()


def tensor_text() -> bytes:
    """The part of a pickle that makes the first two numbers of the first storage."""
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + ARGUMENTS + b"R"


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_pickle_among_the_numbers_is_only_numbers(tmp_path, legacy):
    mark = tmp_path / "ran"
    hidden = pickle.dumps(Calls(os.system, f"touch '{mark}'"), 2)
    saved = {"x": torch_files.tensor(np.frombuffer(hidden, np.uint8), "ByteStorage")}
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", saved, legacy=legacy))
    assert found["x"].tobytes() == hidden
    assert not mark.exists()


@pytest.mark.parametrize("reader", [safetensors_file, ncnn_file, torch_file])
def test_a_pipe_is_not_waited_for(tmp_path, reader):
    path = tmp_path / "x.param"
    os.mkfifo(path)
    (tmp_path / "x.bin").touch()
    with pytest.raises(InputError, match=r"x\.param: is no file"):
        reader.read(path)
