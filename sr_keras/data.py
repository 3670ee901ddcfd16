"""Patches for training, whole pictures for validation. A patch is a pure function of (seed, global index).

Pictures lie decoded in a store, so a patch is a memory copy. `Patches.batch` makes batch number n of a run whatever
ran before it: training resumes exactly from a step number, and several workers share a run by taking their part of
each batch's indices.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from sr_keras import embedded, image, store
from sr_keras.errors import InputError

Degrade = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
_PERMUTATIONS = np.array([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])


@dataclass(frozen=True)
class Pictures:
    """The HR pictures of one source, with their LR partners where the source is a pair of folders."""

    hr: store.Store
    lr: store.Store | None = None
    weight: float = 1.0


class Source(Protocol):
    """Where pictures lie: a folder, a pair of folders, or an embedded name; `config.Source` is one."""

    hr: str
    lr: str | None
    weight: float


def open_sources(
    sources: Iterable[Source], *, scale: int, split: embedded.Split, cache: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Pictures]:  # fmt: skip
    """Opens folders, pairs of folders, and the embedded `photographs` and `mnist`; `cache` is the stores' folder.

    Raises `InputError` for a folder without pictures and for LR and HR pictures that do not fit each other.
    """
    place = Path(cache).expanduser() if cache else None
    return [_opened(source, scale, split, place, progress) for source in sources]


def _opened(
    source: Source, scale: int, split: embedded.Split, cache: Path | None, progress: Callable[[int, int], None] | None
) -> Pictures:
    if source.hr in embedded.NAMES:
        return Pictures(embedded.open_store(source.hr, split), weight=source.weight)
    high = store.open_folder(Path(source.hr), cache, progress=progress)
    if source.lr is None:
        return Pictures(high, weight=source.weight)
    low = store.open_folder(Path(source.lr), cache, progress=progress)
    return Pictures(*_matched(high, low, scale, source.lr), weight=source.weight)


def _matched(high: store.Store, low: store.Store, scale: int, where: str) -> tuple[store.Store, store.Store]:
    """Orders the LR pictures as the HR ones, by path without ending, and checks every size.

    An HR picture whose LR file could not be read is left out; `low.skipped` names that file.
    """
    by_stem = {_stem(name): k for k, name in enumerate(low.names)}
    unreadable = tuple(_stem(reason.partition(": ")[0]) for reason in low.skipped)
    kept, order = [], []
    for k, name in enumerate(high.names):
        match = by_stem.get(_stem(name))
        if match is None and any(path.endswith(f"/{_stem(name)}") for path in unreadable):
            continue
        if match is None:
            raise InputError(f"{where}: has no LR picture for {name}; pairs need the same name in both folders.")
        want = (high.heights[k] // scale, high.widths[k] // scale)
        got = (low.heights[match], low.widths[match])
        if want != got:
            raise InputError(
                f"{where}/{low.names[match]}: is {got[0]}x{got[1]}, but its HR picture of {high.heights[k]}x"
                f"{high.widths[k]} at scale {scale} needs {want[0]}x{want[1]}; check scale and folders."
            )
        kept.append(k)
        order.append(match)
    return high.take(kept), low.take(order)


def _stem(path: str) -> str:
    return Path(path).with_suffix("").as_posix()


@dataclass(frozen=True)
class Patches:
    """Cuts training patches out of sources; `left_out` counts the pictures smaller than the patch.

    `patch` is the side of the HR patch. A picture is chosen by its pixels times its source's weight. Raises
    `InputError` if no picture is large enough, or if pairs and sources without LR are mixed.
    """

    sources: Sequence[Pictures]
    scale: int
    patch: int
    seed: int
    augment: bool = True
    shuffle_channels: bool = False
    left_out: int = field(init=False)
    _places: np.ndarray = field(init=False)
    _cumulative: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        if len({source.lr is None for source in self.sources}) > 1:
            raise InputError("data.train: either every source has an 'lr' folder or none has.")
        if len({source.hr.channels for source in self.sources}) > 1:
            raise InputError("data.train: grey sources (mnist) and RGB ones can't be mixed.")
        places, chances, left_out = [], [], 0
        for s, source in enumerate(self.sources):
            fits = np.minimum(source.hr.heights, source.hr.widths) // self.scale * self.scale >= self.patch
            left_out += int((~fits).sum())
            places += [(s, k) for k in np.flatnonzero(fits)]
            chances.append(source.weight * (source.hr.heights * source.hr.widths)[fits].astype(np.float64))
        if not places:
            raise InputError(
                f"data.train: all {left_out} pictures are smaller than data.patch={self.patch}; take a smaller patch."
            )
        cumulative = np.cumsum(np.concatenate(chances))
        object.__setattr__(self, "left_out", left_out)
        object.__setattr__(self, "_places", np.array(places))
        object.__setattr__(self, "_cumulative", cumulative / cumulative[-1])

    @property
    def channels(self) -> int:
        return self.sources[0].hr.channels

    @property
    def paired(self) -> bool:
        return self.sources[0].lr is not None

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns samples `first` ... `first + count - 1`: HR and LR patches `[count, P, P, C]` uint8 and seeds.

        Without LR partners the LR array is empty (`[count, 0, 0, C]`). The seeds `[count, 2]` int32 are the
        degradation's.
        """
        low = self.patch // self.scale if self.paired else 0
        hr = np.empty((count, self.patch, self.patch, self.channels), np.uint8)
        lr = np.empty((count, low, low, self.channels), np.uint8)
        seeds = np.empty((count, 2), np.int32)
        for k in range(count):
            seeds[k] = self._cut(first + k, hr[k], lr[k])
        return hr, lr, seeds

    def _cut(self, index: int, hr: np.ndarray, lr: np.ndarray) -> np.ndarray:
        """Fills `hr` and `lr` with sample `index` and returns its seeds. Philox is a counter-based generator."""
        words = np.random.Philox(key=self.seed, counter=[0, index, 0, 0]).random_raw(8)
        chosen = np.searchsorted(self._cumulative, float(words[0]) / 2.0**64, side="right")
        s, k = self._places[min(chosen, len(self._places) - 1)]
        source = self.sources[s]
        picture = source.hr.picture(k)
        step = self.scale if self.paired else 1
        top = int(words[1]) % ((picture.shape[0] - self.patch) // step + 1)
        left = int(words[2]) % ((picture.shape[1] - self.patch) // step + 1)
        turn = int(words[3]) % 8 if self.augment else 0
        swap = _PERMUTATIONS[int(words[4]) % 6] if self.shuffle_channels and self.channels == 3 else slice(None)
        hr[:] = turned(picture[top * step :, left * step :][: self.patch, : self.patch], turn)[..., swap]
        if source.lr is not None:
            low = self.patch // self.scale
            lr[:] = turned(source.lr.picture(k)[top : top + low, left : left + low], turn)[..., swap]
        return (words[5:7] & np.uint64(0x7FFFFFFF)).astype(np.int32)


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Returns one of the 8 flips and rotations of `[H, W, C]` as a view; bits of `turn`: transpose, rows, columns."""
    if turn & 4:
        pixels = pixels.swapaxes(0, 1)
    if turn & 2:
        pixels = pixels[::-1]
    return pixels[:, ::-1] if turn & 1 else pixels


class WaitClock:
    """Sums the seconds that the consumer of a dataset waited for it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def add(self, before: np.ndarray, after: np.ndarray) -> np.int64:
        """Adds one wait, from `before` to `after` in seconds; returns 0, since a graph's function must return."""
        self.seconds += float(after - before)
        return np.int64(0)


def train(
    patches: Patches, degrade: Degrade, *, batch: int, first_step: int = 0, luma: bool = False,
    worker: int = 0, workers: int = 1, clock: WaitClock | None = None,
) -> tf.data.Dataset:  # fmt: skip
    """Makes the endless dataset of `(lr, target)` batches in [0, 1], float32, from batch number `first_step` on.

    A worker takes `batch / workers` consecutive samples of each global batch. `luma` turns RGB into Y. With `clock`,
    what the consumer waits is measured.
    """
    share = batch // workers
    size, channels, low = patches.patch, patches.channels, patches.patch // patches.scale

    def cut(step: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return patches.batch(int(step) * batch + worker * share, share)

    def sample(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        hr, lr, seeds = tf.numpy_function(cut, [step], [tf.uint8, tf.uint8, tf.int32], stateful=False)
        hr = tf.cast(tf.ensure_shape(hr, (share, size, size, channels)), tf.float32) / 255.0
        if patches.paired:
            lr, target = tf.cast(tf.ensure_shape(lr, (share, low, low, channels)), tf.float32) / 255.0, hr
        else:
            lr, target = degrade(hr, tf.ensure_shape(seeds, (share, 2)))
        return (to_luma(lr), to_luma(target)) if luma else (lr, target)

    steps = tf.data.Dataset.counter(start=first_step)
    dataset = steps.map(sample, num_parallel_calls=2, deterministic=True).prefetch(4)
    if clock is not None:
        dataset = _timed(dataset, clock)
    return dataset.with_options(_options())


def _timed(dataset: tf.data.Dataset, clock: WaitClock) -> tf.data.Dataset:
    """Reads the time before and after each element: a zip asks its parts in order, in the consumer's thread."""
    now = tf.data.Dataset.counter().map(lambda _: tf.timestamp())

    def note(before: tf.Tensor, element: tuple[tf.Tensor, tf.Tensor], after: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        done = tf.numpy_function(clock.add, [before, after], tf.int64)
        with tf.control_dependencies([done]):
            return tuple(tf.identity(part) for part in element)

    return tf.data.Dataset.zip((now, dataset, now)).map(note)


def _options() -> tf.data.Options:
    """Autotuning off: its thread sleeps for doubling periods, and the end of `fit` waits for it (20 s measured)."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options


def to_luma(pixels: tf.Tensor) -> tf.Tensor:
    """Maps RGB `[B, H, W, 3]` in [0, 1] to Y `[B, H, W, 1]` (BT.601, 16-235); one channel passes."""
    if pixels.shape[-1] == 1:
        return pixels
    weights = tf.constant(image.YCBCR[:1].T, pixels.dtype)
    return tf.tensordot(pixels, weights, 1) + tf.constant(image.YCBCR_OFFSET[0], pixels.dtype)


@dataclass(frozen=True)
class Pair:
    """A validation picture: its name and uint8 `[h, w, C]` LR and `[h*scale, w*scale, C]` HR pixels."""

    name: str
    lr: np.ndarray
    hr: np.ndarray


def pairs(
    sources: Sequence[Pictures], degrade: Degrade, *, scale: int, seed: int = 0, most: int | None = None,
    crop: tuple[int, int] | None = None,
) -> Iterator[Pair]:  # fmt: skip
    """Yields the pictures of the sources with their LR partners, or ones made by `degrade`, always the same.

    `most` takes that many pictures at equal distances of each source, `crop` the middle of each picture: LR height
    and width at most.
    """
    for source in sources:
        for k in _spread(len(source.hr), most):
            name, kept = source.hr.names[k], slice(0, 1 if source.hr.grey[k] else None)
            hr = image.crop_to_multiple(source.hr.picture(k), scale)[..., kept]
            if hr.size == 0:
                raise InputError(f"{name}: is smaller than one LR pixel at scale {scale}; leave it out.")
            if source.lr is not None:
                yield _middle(Pair(name, source.lr.picture(k)[..., kept], hr), scale, crop)
                continue
            hr = _middle(Pair(name, hr, hr), 1, crop and (crop[0] * scale, crop[1] * scale)).hr
            lr, target = degrade(tf.constant(hr[None] / np.float32(255.0)), tf.constant([[seed, k]], tf.int32))
            yield Pair(name, image.to_uint8(lr[0].numpy()), image.to_uint8(target[0].numpy()))


def _spread(count: int, most: int | None) -> Iterable[int]:
    return range(count) if most is None or most >= count else (k * count // most for k in range(most))


def _middle(pair: Pair, scale: int, size: tuple[int, int] | None) -> Pair:
    if size is None:
        return pair
    height, width = (min(want, there) for want, there in zip(size, pair.lr.shape[:2], strict=True))
    top, left = (pair.lr.shape[0] - height) // 2, (pair.lr.shape[1] - width) // 2
    lr = pair.lr[top : top + height, left : left + width]
    hr = pair.hr[top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    return Pair(pair.name, lr, hr)
