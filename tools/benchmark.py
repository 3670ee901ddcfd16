"""Measures sr_keras against a peer in one run: training against PyTorch, the picture store against PNG files; memory.

Speeds are compared in turns (A B A B ...), of which only one works at a time; what counts is the median of the rounds'
ratios, since a busy or slow machine then slows both. What is measured how: docs/benchmark.md.
"""

import argparse
import contextlib
import itertools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # this file also runs in an environment that holds PyTorch and NumPy alone
    import keras
    import tensorflow as tf

    from sr_keras.data import WaitClock
    from sr_keras.store import Store

SCALE = 2


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
class Report:
    """A table for people, `rows` for machines, and the versions of what only this benchmark uses."""

    header: Sequence[str]
    cells: Sequence[Sequence[str]]
    rows: Sequence[Any]
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Speeds:
    """Medians over the rounds, the ratio of ours to the peer's in each round, and all speeds of all rounds."""

    ours: float
    peer: float
    ratio: float
    lowest_ratio: float
    highest_ratio: float
    rounds_ours: tuple[float, ...]
    rounds_peer: tuple[float, ...]

    @classmethod
    def of(cls, ours: Sequence[float], peer: Sequence[float]) -> "Speeds":
        ratios = [a / b for a, b in zip(ours, peer, strict=True)]
        middle = statistics.median
        return cls(middle(ours), middle(peer), middle(ratios), min(ratios), max(ratios), tuple(ours), tuple(peer))

    @property
    def range(self) -> str:
        return f"{self.lowest_ratio:.2f} - {self.highest_ratio:.2f}"


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
    version = _torch_version(torch_python)
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
            with _torch_half(torch_python, spec) as peer:
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
    return Report(header, cells, rows, {"PyTorch": version})


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
    if generator.count_params() != turns.peer.parameters:
        ours, theirs = generator.count_params(), turns.peer.parameters
        raise RuntimeError(f"{network.label} has {ours} parameters here and {theirs} in PyTorch: not the same network.")
    _say(f"{network.label}: {turns.peer.parameters:,} parameters, here and in PyTorch")
    turns.clock = data.WaitClock()
    dataset = _dataset(store, batch, SCALE * network.patch, clock=turns.clock)
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: turns.after_step())
    generator.fit(dataset, steps_per_epoch=turns.total, epochs=1, shuffle=False, verbose=0, callbacks=[watch])
    return TrainingRow(
        network.label, turns.peer.parameters, precision, torch_precision, Speeds.of(turns.ours, turns.theirs),
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

    peer: "TorchHalf"
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
            self._note(seconds, waited, *self.peer.turn())

    def _note(self, seconds: float, waited: float, peer_seconds: float, peer_waited: float) -> None:
        turn = self._done // (self.warm_up + self.steps) - 1
        name = f"round {turn} of {self.rounds}" if turn else "warm-up"
        ours, theirs = self.steps / seconds, self.steps / peer_seconds
        _say(f"{self.label}, {name}: sr_keras {ours:.2f} steps/s, PyTorch {theirs:.2f}, ratio {ours / theirs:.2f}")
        if turn:
            self.ours.append(ours)
            self.theirs.append(theirs)
            self.waits.append(waited / seconds)
            self.peer_waits.append(peer_waited / peer_seconds)


@dataclass(frozen=True)
class TorchHalf:
    """The process that trains with PyTorch when it is told to, and sleeps otherwise."""

    process: Any  # subprocess.Popen[str], whose type does not know that both pipes are there
    parameters: int

    def turn(self) -> tuple[float, float]:
        """Has the steps of one turn done; returns their seconds and those of them in which a batch was made."""
        self.process.stdin.write("turn\n")
        self.process.stdin.flush()
        answer = _answer(self.process)
        return answer["seconds"], answer["input_seconds"]


@contextlib.contextmanager
def _torch_half(python: str, spec: dict[str, Any]) -> Iterator[TorchHalf]:
    command = [python, __file__, "--torch-worker", json.dumps(spec)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield TorchHalf(process, _answer(process)["parameters"])
        finally:
            process.kill()


def _answer(process: Any) -> dict[str, Any]:
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the PyTorch process ended before its time; its own error is among the lines above.")
    return json.loads(line)


def _torch_version(python: str) -> str:
    from sr_keras.errors import InputError

    command = [python, "-c", "import numpy, torch; print(torch.__version__)"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    raise InputError(
        f"{python}: has no PyTorch; pip install torch numpy in an environment and give --torch-python ENV/bin/python."
    )


def torch_worker(spec: dict[str, Any]) -> None:
    """Is the other half of `training`: trains with PyTorch, a turn for each line of its standard input.

    Eager, channels_last, the fused Adam. Its input is as cheap as it gets: crops and flips of pictures in memory whose
    LR was made before, uint8 until they are a tensor.
    """
    import torch  # pyright: ignore[reportMissingImports]
    from torch.nn import functional  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    network = _torch_network(spec).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), spec["learning_rate"], fused=True)
    mixed = spec["precision"] == "bfloat16"
    arrays = np.load(spec["pairs"])
    pairs = [(arrays[f"hr_{k}"], arrays[f"lr_{k}"]) for k in range(len(arrays) // 2)]
    random = np.random.default_rng(0)

    def to_tensor(pixels: np.ndarray) -> Any:
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255.0)  # channels_last as it lies

    def step() -> float:
        start = time.perf_counter()
        hr, lr = map(to_tensor, _crops(pairs, random, spec["batch"], spec["patch"]))
        ready = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = functional.l1_loss(network(lr), hr)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return ready - start

    _tell(parameters=sum(p.numel() for p in network.parameters()))
    for _ in sys.stdin:
        for _ in range(spec["warm_up"]):
            step()
        start = time.perf_counter()
        waited = sum(step() for _ in range(spec["steps"]))
        _tell(seconds=time.perf_counter() - start, input_seconds=waited)


def _crops(pairs: Sequence, random: np.random.Generator, batch: int, patch: int) -> tuple[np.ndarray, np.ndarray]:
    high = np.empty((batch, SCALE * patch, SCALE * patch, 3), np.uint8)
    low = np.empty((batch, patch, patch, 3), np.uint8)
    for k in range(batch):
        hr, lr = pairs[int(random.integers(len(pairs)))]
        top, left = (int(random.integers(side - patch + 1)) for side in lr.shape[:2])
        turn = int(random.integers(8))
        for out, picture, factor in ((high[k], hr, SCALE), (low[k], lr, 1)):
            rows, columns = [slice(factor * at, factor * (at + patch)) for at in (top, left)]
            turned = np.rot90(picture[rows, columns], turn % 4)
            out[:] = turned[:, ::-1] if turn & 4 else turned
    return high, low


def _torch_network(spec: dict[str, Any]) -> Any:
    """Builds sr_keras.models.anchor or .edsr in PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    filters, blocks = spec["filters"], spec["blocks"]

    def conv(inputs: int, outputs: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    class Anchor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [3, *[filters] * (blocks + 1)]
            inner = [part for a, b in itertools.pairwise(widths) for part in (conv(a, b), nn.ReLU(inplace=True))]
            self.body = nn.Sequential(*inner, conv(filters, 3 * SCALE**2))
            self.shuffle = nn.PixelShuffle(SCALE)

        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            return self.shuffle(self.body(lr) + lr.repeat_interleave(SCALE**2, dim=1)).clamp(0.0, 1.0)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(conv(filters, filters), nn.ReLU(inplace=True), conv(filters, filters))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.body(x)

    class Edsr(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)
            self.head = conv(3, filters)
            self.body = nn.Sequential(*[Residual() for _ in range(blocks)], conv(filters, filters))
            self.tail = nn.Sequential(conv(filters, filters * SCALE**2), nn.PixelShuffle(SCALE), conv(filters, 3))

        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            x = self.head(lr - self.mean)
            return self.tail(x + self.body(x)) + self.mean

    return {"anchor": Anchor, "edsr": Edsr}[spec["model"]]()


def _tell(**answer: float) -> None:
    print(json.dumps(answer), flush=True)


@dataclass(frozen=True)
class InputRow:
    """Training samples per second of the store (`ours`) and of one way to read files (`peer`)."""

    peer: str
    samples_per_second: Speeds


def stored_input(*, data: Path | None, batch: int, patch: int, rounds: int, seconds: float) -> Report:
    """Times the training samples from the store, and the same ones where a picture's file is decoded for each."""
    from sr_keras import image, store

    with tempfile.TemporaryDirectory(prefix="sr_keras_benchmark_") as temporary:
        folder = data or _png_folder(Path(temporary) / "png", height=340, width=510)
        opened = store.open_folder(folder, None if data else Path(temporary) / "cache")
        ways = {"store": opened} | {
            "files, image.read": _decoding(opened, folder, image.read),
            "files, OpenCV alone": _decoding(opened, folder, _read_unchecked),
        }
        rates = _input_rates(ways, batch=batch, patch=patch, rounds=rounds, seconds=seconds)
    rows = [InputRow(way, Speeds.of(rates["store"], rates[way])) for way in ways if way != "store"]
    header = ("pictures from", "samples/s", "the store is faster by", "lowest - highest")
    cells = [("store", f"{statistics.median(rates['store']):.0f}", "1", "")]
    for row in rows:
        speeds = row.samples_per_second
        cells.append((row.peer, f"{speeds.peer:.0f}", f"{speeds.ratio:.2f}", speeds.range))
    return Report(header, cells, rows)


def _png_folder(folder: Path, *, height: int, width: int) -> Path:
    """Cuts the embedded photographs into pictures of one size, in PNG files."""
    from sr_keras import embedded, image

    folder.mkdir()
    photographs = embedded.photographs("train")
    for k, name in enumerate(photographs.names):
        picture = photographs.picture(k)
        for top in range(0, picture.shape[0] - height + 1, height):
            for left in range(0, picture.shape[1] - width + 1, width):
                path = folder / f"{Path(name).stem}_{top}_{left}.png"
                image.write(path, picture[top : top + height, left : left + width])
    return folder


def _decoding(opened: "Store", folder: Path, read: Callable[[Path], np.ndarray]) -> "Store":
    """Makes a store whose pictures are decoded each time that one is asked for."""
    from sr_keras import image, store

    class Files(store.Store):
        def picture(self, k: int) -> np.ndarray:
            return image.with_channels(image.to_uint8(read(folder / self.names[k])), 3)

    return Files(**{part.name: getattr(opened, part.name) for part in fields(opened)})


def _read_unchecked(path: Path) -> np.ndarray:
    """Decodes once; `image.read` lets Pillow decode first, since OpenCV does not report a truncated file."""
    import cv2

    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise RuntimeError(f"{path}: OpenCV can't read it.")
    return pixels[:, :, ::-1]


def _input_rates(
    ways: dict[str, "Store"], *, batch: int, patch: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    _refuse_other_samples(ways, batch, patch)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for k in range(rounds):
        for way, store in ways.items():
            rates[way].append(_rate(_dataset(store, batch, patch, first_step=1000 * k), batch, seconds))
        _say(f"round {k + 1} of {rounds}: " + ", ".join(f"{way} {r[-1]:.0f} samples/s" for way, r in rates.items()))
    return rates


def _refuse_other_samples(ways: dict[str, "Store"], batch: int, patch: int) -> None:
    firsts = {way: next(iter(_dataset(store, batch, patch))) for way, store in ways.items()}
    for way, (lr, hr) in firsts.items():
        if not (np.array_equal(lr, firsts["store"][0]) and np.array_equal(hr, firsts["store"][1])):
            raise RuntimeError(f"{way} gives other samples than the store: nothing to compare.")


def _dataset(
    store: "Store", batch: int, patch: int, *, first_step: int = 0, clock: "WaitClock | None" = None
) -> "tf.data.Dataset":
    """Makes the dataset that sr_keras trains on: crops, 8 flips and turns, MATLAB's bicubic LR in the graph."""
    from sr_keras import data, degradations
    from sr_keras.component import build

    patches = data.Patches([data.Pictures(store)], SCALE, patch, seed=0)
    degrade = build(degradations, "bicubic", scale=SCALE)
    return data.train(patches, degrade, batch=batch, first_step=first_step, clock=clock)


def _rate(dataset: "tf.data.Dataset", batch: int, seconds: float) -> float:
    """Returns the samples per second of a dataset, once what it makes in advance is used up."""
    batches = iter(dataset)
    for _ in range(8):
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        count += batch
    return count / (time.perf_counter() - start)


@dataclass(frozen=True)
class MemoryRow:
    """Bytes: of the store, of the process before it was opened, and the most that they grew by."""

    store: int
    samples: int
    rss_anon_before: int
    rss_anon_growth: int
    rss_file_growth: int


def memory(*, gigabytes: float, folder: Path | None, batch: int, patch: int, seconds: float) -> Report:
    """Takes batches all over a large store, and watches the memory that the process needs (Linux).

    RssAnon is memory of the process itself; RssFile is the mapped file, which the system takes back when it wants.
    """
    from sr_keras import store
    from sr_keras.errors import InputError

    if not Path("/proc/self/status").is_file():
        raise InputError("memory: reads /proc/self/status; run it on Linux.")
    small = store.of_arrays([np.zeros((patch, patch, 3), np.uint8)], ["small"])
    with tempfile.TemporaryDirectory(prefix="sr_keras_benchmark_", dir=folder) as temporary:
        cache = Path(temporary) / "cache"
        noise = _noise_store(Path(temporary) / "noise", cache, gigabytes)
        _watched(small, batch, patch, seconds=0.5)  # TensorFlow's threads and graphs are no part of the store
        before = _resident()
        opened = store.open_folder(noise, cache)
        samples, most = _watched(opened, batch, patch, seconds)
    grown = most - before
    row = MemoryRow(opened.pixels.nbytes, samples, int(before[0]), int(grown[0]), int(grown[1]))
    header = ("store", "samples taken", "RssAnon before", "RssAnon grew by", "part of the store", "RssFile grew by")
    cells = (
        _megabytes(row.store), f"{samples:,}", _megabytes(row.rss_anon_before), _megabytes(row.rss_anon_growth),
        f"{row.rss_anon_growth / row.store:.2%}", _megabytes(row.rss_file_growth),
    )  # fmt: skip
    return Report(header, [cells], [row])


def _noise_store(folder: Path, cache: Path, gigabytes: float) -> Path:
    """Has another process build the store, whose memory then does not count, of many names of one noisy picture."""
    from sr_keras import image
    from sr_keras.errors import InputError

    height, width = 1356, 2040  # a usual size in DIV2K: 8.3 MB
    folder.mkdir()
    first = folder / "00000.bmp"
    image.write(first, np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    count = max(round(gigabytes * 1e9 / (height * width * 3)), 1)
    for k in range(1, count):
        (folder / f"{k:05}.bmp").symlink_to(first.name)
    _say(f"writing a store of {count} pictures")
    code = "import sys, pathlib; from sr_keras import store; store.open_folder(*map(pathlib.Path, sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, folder, cache], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise InputError(f"memory: the store can't be made ({reason}); try --folder elsewhere or fewer --gigabytes.")
    return folder


def _watched(store: "Store", batch: int, patch: int, seconds: float) -> tuple[int, np.ndarray]:
    """Takes batches for so long; returns how many samples they were, and the largest `_resident` of the time."""
    samples, most, start = 0, _resident(), time.perf_counter()
    for _ in _dataset(store, batch, patch):
        samples += batch
        if samples % (20 * batch) == 0:
            most = np.maximum(most, _resident())
        if time.perf_counter() - start > seconds:
            break
    return samples, np.maximum(most, _resident())


def _resident() -> np.ndarray:
    """Returns RssAnon and RssFile in bytes; pages of a file in a memory file system count as RssShmem."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Rss")}
    return 1024 * np.array([kilobytes["RssAnon"], kilobytes["RssFile"] + kilobytes["RssShmem"]])


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


@dataclass(frozen=True)
class Machine:
    """Where a figure was measured; `load` is the load average of the minute before."""

    processor: str
    cores: int
    load: float
    versions: dict[str, str]
    commit: str

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.processor}, {self.cores} cores, load before {self.load:.1f}; {versions}; commit {self.commit}"


def machine(versions: dict[str, str], load: float) -> Machine:
    """Describes this machine, with `versions` beside those of sr_keras and what it stands on."""
    import cv2
    import keras
    import tensorflow as tf

    import sr_keras

    found = {
        "sr_keras": sr_keras.__version__, "Python": platform.python_version(), "TensorFlow": tf.__version__,
        "Keras": keras.__version__, "NumPy": np.__version__, "OpenCV": cv2.__version__,
    }  # fmt: skip
    return Machine(_processor(), len(os.sched_getaffinity(0)), load, found | versions, _commit())


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="ignore").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Returns the short hash, with a + where files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line, measures and prints; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--torch-worker"]:
        torch_worker(json.loads(words[1]))
        return 0
    from sr_keras import cli

    options = vars(_parser().parse_args(words))
    return cli.run(lambda: _main(words, options.pop("measure"), options.pop("json"), options))


def _main(words: Sequence[str], measure: Callable[..., Report], place: Path | None, options: dict[str, Any]) -> None:
    from sr_keras import cli

    load = os.getloadavg()[0]
    report = measure(**options)
    where = machine(report.versions, load)
    command = shlex.join(["python", "tools/benchmark.py", *words])
    print(f"{where}\n{command}\n\n{cli.markdown(report.header, report.cells)}")
    if place:
        rows = [asdict(row) for row in report.rows]
        content = {"command": command, "machine": asdict(where), "options": options, "rows": rows}
        place.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(required=True, metavar="training | input | memory")
    training_parser = _kind(kinds, "training", training, "training steps per second against PyTorch")
    training_parser.add_argument("--torch-python", default=sys.executable, metavar="PATH", help="a Python with PyTorch")
    training_parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    training_parser.add_argument("--precision", choices=("auto", "float32", "mixed_bfloat16"), default="auto")
    training_parser.add_argument("--torch-precision", choices=("float32", "bfloat16"), default="float32")
    training_parser.add_argument("--pictures", type=_count, default=100, help="so many at most (default: 100)")
    training_parser.add_argument("--threads", type=_count, default=2, help="of each side (default: 2)")
    training_parser.add_argument("--steps", type=_count, default=20, help="timed in each turn (default: 20)")
    training_parser.add_argument("--warm-up", type=_count, default=6, help="steps before those (default: 6)")
    input_parser = _kind(kinds, "input", stored_input, "training samples per second, store against files")
    for each in (training_parser, input_parser):
        each.add_argument("--data", type=Path, metavar="FOLDER", help="pictures (default: the embedded photographs)")
        each.add_argument("--rounds", type=_count, default=7, help="turns of each that count (default: 7)")
    memory_parser = _kind(kinds, "memory", memory, "memory that a large store takes")
    memory_parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the store (default: 4)")
    memory_parser.add_argument("--folder", type=Path, help="where the store is made and deleted (default: TMPDIR)")
    for each, seconds in ((input_parser, 3.0), (memory_parser, 30.0)):
        each.add_argument("--seconds", type=float, default=seconds, help=f"of one turn or run (default: {seconds:.0f})")
        each.add_argument("--patch", type=_count, default=96, help="side of the HR patch")
    return parser


def _kind(kinds: Any, name: str, measure: Callable[..., Report], text: str) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=text, description=measure.__doc__)
    parser.set_defaults(measure=measure)
    parser.add_argument("--batch", type=_count, default=16)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
