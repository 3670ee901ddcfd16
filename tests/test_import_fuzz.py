"""Tensors that no network has, through the whole recognition: a network's shapes fit, or there is one line."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch_files
import watched
from torch_files import Tensor

from sr_keras import torch_file

SEEDS = [
    "srvgg-x2",
    "rlfn-x2",
    "span-merged-x4",
    "wdsr-yu-b-x4",
    "swinir-x3-without-buffers",
    "fsrcnn-x3",
    "vdsr-sequential",
]
FILES = 250
FIXTURES = Path(__file__).parent / "fixtures" / "imports"

# Follows import_weights up to where memory would be taken for the network.
MATCH = """
import keras
from sr_keras import _players, import_weights, recognition
from sr_keras import config as config_file
def work(path):
    name, found = recognition.recognise(recognition.read(path)[0], path)
    config = config_file.parse(import_weights._settings(name, dict(found.options), path), where=str(path))
    with keras.StatelessScope(initialize_variables=False):
        recognition.matched(_players.float_network(config, found.options["channels"]), found.tensors, path)
    return name
"""
Tensors = dict[str, Tensor]


def replaced(change: Callable[[Tensor, random.Random], Tensor]) -> Callable[[Tensors, random.Random], Tensors]:
    """Makes a mutation of a file of one of a tensor: that of one tensor, or of all of one kind."""

    def mutation(tensors: Tensors, rng: random.Random) -> Tensors:
        chosen = {rng.choice(list(tensors))}
        if rng.random() < 0.3:
            ending = next(iter(chosen)).rpartition(".")[2]
            chosen = {name for name in tensors if name.endswith(ending)}
        return {name: change(tensor, rng) if name in chosen else tensor for name, tensor in tensors.items()}

    return mutation


def shaped(tensor: Tensor, shape: tuple, strides: tuple | None = None) -> Tensor:
    return Tensor(tensor.storage, tensor.offset, shape, strides or (0,) * len(shape))


def huge(tensor: Tensor, rng: random.Random) -> Tensor:
    """Makes an axis as long as can be, and another of no length, so that it costs nothing."""
    shape = [*tensor.shape, *[1] * (2 - len(tensor.shape))]
    first, second = rng.sample(range(len(shape)), 2)
    shape[first], shape[second] = rng.choice([2**12, 2**20, 2**40]), 0
    return shaped(tensor, tuple(shape))


def longer(tensor: Tensor, rng: random.Random) -> Tensor:
    """Repeats along an axis."""
    shape, axis = list(tensor.shape or (1,)), rng.randrange(len(tensor.shape or (1,)))
    shape[axis] = rng.choice([2, 3, 7, 64])
    return shaped(tensor, tuple(shape))


def transposed(tensor: Tensor, rng: random.Random) -> Tensor:
    axes = rng.sample(range(len(tensor.shape)), len(tensor.shape))
    return shaped(tensor, tuple(tensor.shape[k] for k in axes), tuple(tensor.strides[k] for k in axes))


def renamed(tensors: Tensors, rng: random.Random) -> Tensors:
    """Changes or drops a part of a name, of one tensor or of all that have it."""
    parts = rng.choice(list(tensors)).split(".")
    old = rng.choice(parts)
    new = rng.choice([*parts, "x", "0", "-1", "٣", "10000000", "", "weight", "body"])
    one = rng.choice(list(tensors))
    return {
        ".".join(new if part == old else part for part in name.split("."))
        if rng.random() < 0.5 or name == one
        else name: t
        for name, t in tensors.items()
    }


def duplicated(tensors: Tensors, rng: random.Random) -> Tensors:
    """Adds a block, or a tensor beside another."""
    one = rng.choice(list(tensors))
    start = one[: rng.randrange(len(one))]
    again = {
        f"{start}{rng.choice('0129x.')}{name.removeprefix(start)}": t
        for name, t in tensors.items()
        if name.startswith(start)
    }
    return tensors | again


def dropped(tensors: Tensors, rng: random.Random) -> Tensors:
    gone = rng.choice(list(tensors))
    return {name: tensor for name, tensor in tensors.items() if name != gone} or tensors


def prefixed(tensors: Tensors, rng: random.Random) -> Tensors:
    """Names all, or about half, as another program would."""
    prefix, half = rng.choice(["model.", "_orig_mod.", "net_g.model.", "module.x."]), rng.random() < 0.3
    return {name if half and rng.random() < 0.5 else f"{prefix}{name}": tensor for name, tensor in tensors.items()}


MUTATIONS = [
    replaced(lambda tensor, rng: shaped(tensor, ())),
    replaced(lambda tensor, rng: shaped(tensor, (0,))),
    replaced(lambda tensor, rng: shaped(tensor, (1, *tensor.shape), (1, *tensor.strides))),
    replaced(lambda tensor, rng: shaped(tensor, tensor.shape)),
    replaced(lambda tensor, rng: shaped(tensor, (*tensor.shape[:-1], 0))),
    replaced(huge),
    replaced(longer),
    replaced(transposed),
    renamed,
    duplicated,
    dropped,
    prefixed,
]  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    """What came of every file, those of the fixtures as they are among them."""
    folder = tmp_path_factory.mktemp("odd")
    for number in range(FILES):
        rng, seed = random.Random(f"import {number}"), SEEDS[number % len(SEEDS)]
        read = torch_file.read(FIXTURES / f"{seed}.pth")
        tensors = {name: torch_files.tensor(array.astype(np.float32)) for name, array in read.items()}
        for _ in range(rng.choice([1, 1, 2]) if number >= len(SEEDS) else 0):
            tensors = rng.choice(MUTATIONS)(tensors, rng)
        torch_files.save(folder / f"{number:03}.pth", tensors)
    return watched.run(MATCH, folder, megabytes=1024)


def test_the_seeds_are_networks(outcomes):
    found = [outcomes[f"{number:03}.pth"] for number in range(len(SEEDS))]
    assert found == [seed.partition("-")[0] for seed in SEEDS]


def test_odd_tensors_fit_a_network_or_give_one_line(outcomes):
    assert len(outcomes) == FILES
    refused = [line.removeprefix("refused ") for line in outcomes.values() if line.startswith("refused ")]
    for line in refused:
        assert "\\n" not in line and line[-2] in ".?", line
    assert FILES / 2 < len(refused) < FILES - len(SEEDS)
