"""Safetensors files: every type, names without prefixes, and what must be refused."""

import json
import struct
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from safetensors.numpy import save_file

from sr_keras import safetensors_file
from sr_keras.errors import InputError

NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)


def write(path: Path, header: dict, data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def one(dtype: str, shape: list[int], size: int) -> dict:
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


@pytest.mark.parametrize("dtype", "f2 f4 f8 i1 i2 i4 i8 u1 u2 u4 u8 ?".split())
def test_every_type_stays_what_it_is(tmp_path, dtype):
    save_file({"x": NUMBERS.astype(dtype)}, tmp_path / "x.safetensors")
    found = safetensors_file.read(tmp_path / "x.safetensors")["x"]
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, NUMBERS.astype(dtype))


def test_bfloat16_becomes_float32(tmp_path):
    wanted = np.array([1.0, -2.5, 3.140625, 2.0**100], np.float32)  # all of them in 8 bits of mantissa
    halves = (wanted.view(np.uint32) >> 16).astype(np.uint16)
    found = safetensors_file.read(write(tmp_path / "x.safetensors", one("BF16", [2, 2], 8), halves.tobytes()))["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted.reshape(2, 2))


def test_the_order_is_that_of_the_names_at_every_reading(tmp_path):
    save_file({name: NUMBERS for name in "hgfedcba"}, tmp_path / "x.safetensors", metadata={"format": "pt"})
    for _ in range(5):
        assert list(safetensors_file.read(tmp_path / "x.safetensors")) == list("abcdefgh")


def test_what_was_read_may_be_written_to(tmp_path):
    save_file({"x": NUMBERS}, tmp_path / "x.safetensors")
    safetensors_file.read(tmp_path / "x.safetensors")["x"][:] = 0


@pytest.mark.parametrize(("dtype", "numbers"), [("F8_E4M3", [0x38, 0xC4, 0x7E]), ("F8_E5M2", [0x3C, 0xC2, 0x5F])])
def test_float8_becomes_float32(tmp_path, dtype, numbers):
    found = safetensors_file.read(write(tmp_path / "x.safetensors", one(dtype, [3], 3), bytes(numbers)))["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [1, -3, 448])


def test_a_type_that_can_not_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"x\.safetensors: holds 'x' as F8_E8M0, which can't be read; save it as"):
        safetensors_file.read(write(tmp_path / "x.safetensors", one("F8_E8M0", [4], 4), bytes(4)))


def test_what_does_not_fit_into_memory_is_not_called_damaged(tmp_path):
    save_file({"x": NUMBERS}, tmp_path / "x.safetensors")
    with (
        mock.patch.object(safetensors_file, "deserialize", side_effect=MemoryError),
        pytest.raises(InputError, match=r"x\.safetensors: does not fit into memory"),
    ):
        safetensors_file.read(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (one("F32", [2], 8), bytes(4)),
        (one("F32", [2], 8), bytes(12)),
        (one("F32", [3], 8), bytes(8)),
        (one("F32", [2**63, 2, 2], 8), bytes(8)),
        (one("F32", [-2], 8), bytes(8)),
        (one("F32", [1] * 100 + [2], 8), bytes(8)),
        (one("F128", [1], 16), bytes(16)),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)),
        ({"x": 1}, b""),
    ],
)
def test_a_header_that_is_not_of_the_data_is_refused(tmp_path, header, data):
    with pytest.raises(InputError, match=r"x\.safetensors: is no safetensors file, or truncated or damaged"):
        safetensors_file.read(write(tmp_path / "x.safetensors", header, data))


def test_tensors_that_share_their_bytes_are_refused(tmp_path):
    told = one("F32", [2], 8)["x"]
    with pytest.raises(InputError, match="truncated or damaged"):
        safetensors_file.read(write(tmp_path / "x.safetensors", {"x": told, "y": told}, bytes(8)))


def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": NUMBERS}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"x\.safetensors: is no safetensors file, or truncated or damaged[^\n]*$"):
            safetensors_file.read(path)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "x" * 1000])
def test_a_name_that_is_no_line_is_refused(tmp_path, name):
    save_file({name: NUMBERS}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"x\.safetensors: holds a tensor of the name") as caught:
        safetensors_file.read(tmp_path / "x.safetensors")
    assert str(caught.value).isprintable()


def test_a_file_without_tensors_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"x\.safetensors: holds no tensors"):
        safetensors_file.read(write(tmp_path / "x.safetensors", {"__metadata__": {"format": "pt"}}))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"gone\.safetensors: can't be read \(No such file or directory\)"):
        safetensors_file.read(tmp_path / "gone.safetensors")


def test_a_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="is a folder; give a file"):
        safetensors_file.read(tmp_path)
