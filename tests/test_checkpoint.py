"""Where in a PyTorch file the weights are: checkpoints, modules pickled whole, and what stands beside them."""

import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from datetime import datetime
from pathlib import PosixPath

import numpy as np
import pytest
import torch_files
from torch_files import Parameter, module, stand_in

from sr_keras import torch_file
from sr_keras.errors import InputError

NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


@pytest.mark.parametrize(
    "names", [("params", "params_ema"), ("state_dict", "state_dict_ema"), ("state_dict", "ema_state_dict")]
)
def test_a_checkpoint_gives_its_averaged_weights(tmp_path, names):
    states = {name: {"x": torch_files.tensor(NUMBERS * k)} for k, name in enumerate(names)}
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", {"step": 7, **states}))
    np.testing.assert_array_equal(found["x"], NUMBERS)


@pytest.mark.parametrize(
    "place", ["params_ema", "state_dict", "model", "netG", "module", "gen", "models.generator", "a.b.c.d"]
)
def test_places_of_any_name_are_seen_through(tmp_path, place):
    saved: dict = {"x": torch_files.tensor(NUMBERS)}
    for name in reversed(place.split(".")):
        saved = {"step": 7, "optimizer": {"lr": 1e-4, "state": {0: {"mean": torch_files.tensor(NUMBERS)}}}, name: saved}
    tensors, notes = torch_file.choose(torch_files.save(tmp_path / "x.pth", saved))
    assert list(tensors) == ["x"] and notes == ()


def test_a_network_is_taken_before_what_has_no_kernels(tmp_path):
    counters = {"step": torch_files.tensor(NUMBERS[0, 0]), "mean": torch_files.tensor(NUMBERS[0])}
    network = {"x": torch_files.tensor(NUMBERS[None])}
    saved = {"ema": counters, "epoch": torch_files.tensor(NUMBERS[0, 0, :1]), "other": network}
    tensors, notes = torch_file.choose(torch_files.save(tmp_path / "x.pth", saved))
    assert list(tensors) == ["x"]
    assert notes == ("of the file, what is under 'other' was taken, and 'epoch', 'ema' left aside",)


def test_another_network_is_taken_where_it_is_asked_for(tmp_path):
    saved = {"models": {name: {"x.y": torch_files.tensor(NUMBERS * k)} for k, name in enumerate(["G", "D"], 1)}}
    path = torch_files.save(tmp_path / "x.pth", saved)
    np.testing.assert_array_equal(torch_file.read(path)["x.y"], NUMBERS)
    tensors, notes = torch_file.choose(path, "models.D.x")
    np.testing.assert_array_equal(tensors["y"], NUMBERS * 2)
    assert notes == ()
    with pytest.raises(InputError, match=r"x\.pth: has nothing under 'models\.d'; it has 'models\.D', 'models\.G'\."):
        torch_file.choose(path, "models.d")


def test_a_storage_of_what_is_not_taken_is_not_read(tmp_path):
    saved = {"optimizer": {0: torch_files.tensor(NUMBERS)}, "model": {"x": torch_files.tensor(NUMBERS * 2)}}
    path = torch_files.save(tmp_path / "x.pth", saved)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if not name.endswith("data/0")}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    np.testing.assert_array_equal(torch_file.read(path)["x"], NUMBERS * 2)


def test_a_single_name_is_seen_through_whatever_it_is(tmp_path):
    saved = {"whatever": {"state_dict": {"x": torch_files.tensor(NUMBERS)}}}
    assert list(torch_file.read(torch_files.save(tmp_path / "x.pth", saved))) == ["x"]


def test_a_wrapper_without_tensors_is_passed_over(tmp_path):
    saved = {"params": {"lr": 1e-4}, "state_dict": {"x": torch_files.tensor(NUMBERS)}}
    assert list(torch_file.read(torch_files.save(tmp_path / "x.pth", saved))) == ["x"]


def test_a_checkpoint_that_holds_itself_ends(tmp_path):
    saved: dict = {"step": 7}
    saved["model"] = saved["net"] = saved
    with pytest.raises(InputError, match="holds no dict of tensors"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", saved))


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "x" * 3000])
def test_a_name_that_is_no_line_is_refused_beside_a_network_too(tmp_path, name):
    saved = {name: torch_files.tensor(NUMBERS), "params": {"x": torch_files.tensor(NUMBERS[None])}}
    path = torch_files.save(tmp_path / "x.pth", saved)
    for under in ("", "params", "q"):
        with pytest.raises(InputError, match=r"x\.pth: holds a tensor of the name '\w[^\n]*$"):
            torch_file.choose(path, under)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\u2028b", "x" * 1000])
def test_a_name_that_is_no_line_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"x\.pth: holds a tensor of the name") as caught:
        torch_file.read(torch_files.save(tmp_path / "x.pth", {name: torch_files.tensor(NUMBERS)}))
    assert str(caught.value).isprintable()


class Called:
    """What is pickled as a call."""

    def __init__(self, name: str, *arguments: object):
        self.call = stand_in(name), arguments

    def __reduce__(self):
        return self.call


BESIDE = {
    "a number of numpy": lambda: np.float64(31.2),
    "an array": lambda: np.zeros(3),
    "numpy's generator": lambda: np.random.RandomState(0),
    "a counter": lambda: Counter([10, 20]),
    "a defaultdict": lambda: defaultdict(list, a=[1]),
    "a namespace": lambda: Namespace(lr=1e-4),
    "a path": lambda: PosixPath("/x"),
    "a set": lambda: {1, 2},
    "bytes": lambda: b"abc",
    "a complex number": lambda: 1j,
    "a date": lambda: datetime(2026, 11, 1),
    "a size": lambda: Called("torch.Size", (1, 2)),
    "a device": lambda: Called("torch.device", "cpu"),
    "a type": lambda: stand_in("torch.float32"),
    "an object of one's own": lambda: stand_in("__main__.options")(),
    "an object that is filled": lambda: Filled([1, 2], {"a": 1}),
    "a tensor of complex numbers": lambda: torch_files.tensor(NUMBERS, stand_in("torch.ComplexFloatStorage").__name__),
}


class Filled:
    """What is pickled as an object that is a list, a dict and more."""

    def __init__(self, items: list, pairs: dict):
        self.items, self.pairs, self.kind = items, pairs, stand_in("utils.AttrDict")

    def __reduce__(self):
        return self.kind, (), {"x": 1}, iter(self.items), iter(self.pairs.items())


@pytest.mark.parametrize("what", BESIDE)
def test_what_stands_beside_the_weights_is_not_missed(tmp_path, what):
    saved = {"state_dict": {"x": torch_files.tensor(NUMBERS)}, "other": {"deep": [BESIDE[what]()]}}
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", saved))
    assert list(found) == ["x"]
    np.testing.assert_array_equal(found["x"], NUMBERS)


def test_what_is_unknown_among_the_weights_is_named(tmp_path):
    for number, what in enumerate(("an array", "a tensor of complex numbers")):
        saved = {"state_dict": {"x": torch_files.tensor(NUMBERS), "y": BESIDE[what]()}, "step": 1}
        with pytest.raises(InputError, match=r"\.pth: needs (numpy|torch)\.[\w.]+ for 'y', which is refused"):
            torch_file.read(torch_files.save(tmp_path / f"{number}.pth", saved))


def test_a_storage_of_an_unknown_type_hides_those_behind_it_in_the_old_format(tmp_path):
    saved = {"state_dict": {"x": torch_files.tensor(NUMBERS)}, "y": BESIDE["a tensor of complex numbers"]()}
    with pytest.raises(InputError, match=r"x\.pth: needs torch\.ComplexFloatStorage, which is refused"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", saved, legacy=True))


def test_arrays_of_numpy_alone_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"x\.pth: needs numpy[\w.]+, which is refused"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", {"x": NUMBERS, "y": NUMBERS}))


def network(**modules: object) -> object:
    """A module with two inside, whose state dict has four tensors."""
    block = module(
        "vdsr.Block",
        {"weight": Parameter(torch_files.tensor(NUMBERS)), "bias": None},
        {"mean": torch_files.tensor(NUMBERS[0]), "passing": torch_files.tensor(NUMBERS[1])},
        {},
        passing=["passing"],
    )
    layers = module("torch.nn.modules.container.Sequential", {}, {}, OrderedDict([("0", block), ("1", None)]))
    alpha = Called("torch.nn.parameter.Parameter", torch_files.tensor(-NUMBERS), True)  # as before PyTorch 0.4
    last = module("vdsr.Block", {"weight": torch_files.tensor(NUMBERS[0])}, {}, {})
    return module("vdsr.Net", {"alpha": alpha}, {}, {"layers": layers, "last": last, **modules})


NETWORK = {"alpha": -NUMBERS, "layers.0.weight": NUMBERS, "layers.0.mean": NUMBERS[0], "last.weight": NUMBERS[0]}


@FORMATS
@pytest.mark.parametrize("place", [lambda net: {"epoch": 1, "model": net}, lambda net: net, lambda net: {"any": net}])
def test_a_module_pickled_whole_gives_its_state_dict(tmp_path, legacy, place):
    found = torch_file.read(torch_files.save(tmp_path / "x.pth", place(network()), legacy=legacy))
    assert list(found) == list(NETWORK)
    for name, wanted in NETWORK.items():
        np.testing.assert_array_equal(found[name], wanted)


def test_a_module_that_holds_itself_ends(tmp_path):
    net = network()
    vars(net)["_modules"]["last"] = net
    with pytest.raises(InputError, match=r"x\.pth: holds a module of too many modules"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", {"model": net}))


def test_modules_that_share_modules_end(tmp_path):
    net = network()
    for _ in range(40):
        net = module("vdsr.Block", {}, {}, {"a": net, "b": net})
    with pytest.raises(InputError, match=r"x\.pth: holds a module of too many modules"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", net))


def test_modules_that_share_a_large_dict_end(tmp_path):
    """Each is looked at once for each way to it, though what has numbers for names is no module."""
    many = dict.fromkeys(range(2000))
    net = module("vdsr.Block", {"x": torch_files.tensor(NUMBERS)}, {}, {})
    for _ in range(14):
        net = module("vdsr.Block", many, {}, {"a": net, "b": net})
    with pytest.raises(InputError, match=r"x\.pth: holds a module of too many modules"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", net))


def test_more_tensors_than_a_network_has_are_refused(tmp_path):
    saved = dict.fromkeys(map(str, range(10_001)), torch_files.tensor(NUMBERS))
    with pytest.raises(InputError, match=r"x\.pth: holds 10001 tensors; 10000 are the most"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", saved))


def test_the_classes_of_a_module_are_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "evil_net.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    net = module("evil_net.Net", {"x": torch_files.tensor(NUMBERS)}, {}, {})
    assert list(torch_file.read(torch_files.save(tmp_path / "x.pth", net))) == ["x"]
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("tree", [{}, [1, 2], {"step": 3}])
def test_a_file_without_tensors_is_an_error(tmp_path, tree):
    with pytest.raises(InputError, match="holds no dict of tensors"):
        torch_file.read(torch_files.save(tmp_path / "x.pth", tree))
