"""Training steps per second of sr_keras against the same network in PyTorch, on the same pictures."""

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import SCALE
from .report import Report, Speeds, Table, say
from .stored_input import dataset
from .workers import Worker, started, torch_version

if TYPE_CHECKING:
    import keras

    from sr_keras.data import WaitClock
    from sr_keras.store import Store


@dataclass(frozen=True)
class Network:
    """A network of the training benchmark; `patch` is the side of its LR patch."""

    label: str
    model: str
    filters: int
    blocks: int
    patch: int
    learning_rate: float


NETWORKS = {
    "anchor": Network("anchor S x2", "anchor", filters=32, blocks=4, patch=64, learning_rate=1e-3),
    "edsr_baseline": Network("EDSR-baseline x2", "edsr", filters=64, blocks=16, patch=48, learning_rate=1e-4),
}


@dataclass(frozen=True)
class TrainingRow:
    """Training steps per second; the input shares are the parts of the time in which a step waited for its batch."""

    network: str
    parameters: int
    precision: str
    torch_precision: str
    steps_per_second: Speeds
    input_share: float
    torch_input_share: float


def training(
    *, data: Path | None, pictures: int, networks: Sequence[str], precision: str, batch: int, torch_python: str,
    torch_precision: str, threads: int, rounds: int, steps: int, warm_up: int,
) -> Report:  # fmt: skip
    """Times training steps of sr_keras and of the same network in PyTorch, on the same pictures.

    Raises `InputError` where `torch_python` has no PyTorch.
    """
    version = torch_version(torch_python)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # both halves on the CPU
    import tensorflow as tf

    from sr_keras import devices

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    precision = devices.precision(precision)
    chosen = [NETWORKS[name] for name in networks]
    rows = []
    with tempfile.TemporaryDirectory(prefix="sr_keras_benchmark_") as temporary:
        store = _pictures(data, pictures, SCALE * max(network.patch for network in chosen))
        pairs = _write_pairs(store, Path(temporary) / "pairs.npz")
        for network in chosen:
            spec = asdict(network) | {
                "pairs": str(pairs), "batch": batch, "precision": torch_precision, "threads": threads,
                "steps": steps, "warm_up": warm_up,
            }  # fmt: skip
            with started(torch_python, "training", spec) as peer:
                turns = Turns(peer, network.label, rounds=rounds, steps=steps, warm_up=warm_up)
                rows.append(_train(network, store, turns, precision, torch_precision, batch))
    header = (
        "network", "parameters", f"sr_keras {precision}, steps/s", f"PyTorch {torch_precision}, steps/s", "ratio",
        "lowest - highest", "waits for input", "PyTorch in its input",
    )  # fmt: skip
    cells = [
        (
            r.network, f"{r.parameters:,}", f"{r.steps_per_second.ours:.2f}", f"{r.steps_per_second.peer:.2f}",
            f"{r.steps_per_second.ratio:.2f}", r.steps_per_second.range, f"{r.input_share:.1%}",
            f"{r.torch_input_share:.1%}",
        )
        for r in rows
    ]  # fmt: skip
    return Report([Table(header, cells, rows)], {"PyTorch": version})


def _pictures(data: Path | None, most: int, side: int) -> "Store":
    """Opens the pictures to train on: at most `most`, at equal distances, none smaller than the patch."""
    from sr_keras import embedded, store
    from sr_keras.errors import InputError

    opened = store.open_folder(data) if data else embedded.photographs("train")
    fits = np.flatnonzero(np.minimum(opened.heights, opened.widths) // SCALE * SCALE >= side)
    if not len(fits):
        raise InputError(f"{data}: all pictures are smaller than the patch of {side} pixels; take a folder of larger.")
    count = min(most, len(fits))
    return opened.take(fits[np.arange(count) * len(fits) // count].tolist())


def _write_pairs(store: "Store", path: Path) -> Path:
    """Writes the pictures with their bicubic LR ones, so that PyTorch has nothing to do but crop."""
    from sr_keras import image, resize

    arrays = {}
    for k in range(len(store)):
        hr = image.crop_to_multiple(store.picture(k), SCALE)
        arrays[f"hr_{k}"], arrays[f"lr_{k}"] = hr, resize.imresize(hr, 1 / SCALE)
    np.savez(path, **arrays)
    return path


def _train(
    network: Network, store: "Store", turns: "Turns", precision: str, torch_precision: str, batch: int
) -> TrainingRow:
    """Trains as sr_keras.train does: its optimizer with averaged weights, its loss and metric, its dataset, one fit."""
    import keras

    from sr_keras import data

    keras.utils.set_random_seed(0)
    generator = _compiled(network, precision, turns.total)
    ours, theirs = generator.count_params(), turns.peer.ready["parameters"]
    if ours != theirs:
        raise RuntimeError(f"{network.label} has {ours} parameters here and {theirs} in PyTorch: not the same network.")
    say(f"{network.label}: {ours:,} parameters, here and in PyTorch")
    turns.clock = data.WaitClock()
    batches = dataset(store, batch, SCALE * network.patch, clock=turns.clock)
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: turns.after_step())
    generator.fit(batches, steps_per_epoch=turns.total, epochs=1, shuffle=False, verbose=0, callbacks=[watch])
    return TrainingRow(
        network.label, ours, precision, torch_precision, Speeds.of(turns.ours, turns.theirs),
        statistics.median(turns.waits), statistics.median(turns.peer_waits),
    )  # fmt: skip


def _compiled(network: Network, precision: str, steps: int) -> "keras.Model":
    import keras

    from sr_keras import config, content, losses, models, optimization
    from sr_keras.component import build

    defaults = config.Train()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        spec = {"name": network.model, "filters": network.filters, "blocks": network.blocks}
        generator = build(models, spec, scale=SCALE, channels=3)
    finally:
        keras.config.set_dtype_policy(before)
    schedule = optimization.Schedule(network.learning_rate, name="cosine", steps=steps)
    optimizer = optimization.optimizer(schedule, **defaults.optimizer.model_dump(), ema=defaults.ema)
    content.compile_supervised(generator, [content.Term("l1", 1.0, build(losses, "l1"))], optimizer)
    return generator


@dataclass
class Turns:
    """Alternates within one `fit`: so many steps here, then as many in PyTorch while `fit` waits in its callback.

    Each turn starts with steps that are not timed. The first turn of each does not count: it builds graphs and caches.
    """

    peer: Worker
    label: str
    rounds: int
    steps: int
    warm_up: int
    clock: "WaitClock | None" = None
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    peer_waits: list[float] = field(default_factory=list)
    _done: int = 0
    _start: tuple[float, float] = (0.0, 0.0)

    @property
    def total(self) -> int:
        return (self.rounds + 1) * (self.warm_up + self.steps)

    def after_step(self) -> None:
        """Called after each step of `fit`."""
        now, waited = time.perf_counter(), self.clock.seconds if self.clock else 0.0
        self._done += 1
        place = self._done % (self.warm_up + self.steps)
        if place == self.warm_up:
            self._start = (now, waited)
        elif place == 0:
            seconds, waited = now - self._start[0], waited - self._start[1]
            peer = self.peer.ask()
            self._note(seconds, waited, peer["seconds"], peer["input_seconds"])

    def _note(self, seconds: float, waited: float, peer_seconds: float, peer_waited: float) -> None:
        turn = self._done // (self.warm_up + self.steps) - 1
        name = f"round {turn} of {self.rounds}" if turn else "warm-up"
        ours, theirs = self.steps / seconds, self.steps / peer_seconds
        say(f"{self.label}, {name}: sr_keras {ours:.2f} steps/s, PyTorch {theirs:.2f}, ratio {ours / theirs:.2f}")
        if turn:
            self.ours.append(ours)
            self.theirs.append(theirs)
            self.waits.append(waited / seconds)
            self.peer_waits.append(peer_waited / peer_seconds)
