"""Everything periodic in a training: validation, checkpoints, TensorBoard, the progress bar. Counted in global steps.

`fit` runs once, as one long epoch, so that a run can resume at any step; what users call an epoch is
`steps_per_epoch` of these steps.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sr_keras import content, image, metrics, predictor, scoring
from sr_keras.data import Pair, WaitClock
from sr_keras.errors import InputError
from sr_keras.files import write_json, write_whole
from sr_keras.run import Run

_PROFILED = (10, 20)  # steps of this process


@dataclass
class Record:
    """What a run knows beside its tensors; kept in checkpoints/progress.json."""

    step: int = 0
    best_psnr: float = float("-inf")
    best_ssim: float = float("nan")
    best_step: int = 0
    psnr: float = float("nan")
    ssim: float = float("nan")
    seconds: float = 0.0

    def save(self, run: Run) -> None:
        write_json(run.progress, asdict(self))


class StepCallback(keras.callbacks.Callback):
    """Gives its heirs `step`, the number of steps done in the whole run."""

    def __init__(self, first_step: int) -> None:
        super().__init__()
        self.step = first_step

    def on_train_batch_end(self, batch, logs=None) -> None:
        self.step += 1
        self.after_step(logs or {})

    def after_step(self, logs: Mapping[str, float]) -> None:
        """Called after each step."""


class Validate(StepCallback):
    """Every `every` steps: the averaged weights go into the float32 twin, it is scored, and the best one is saved."""

    def __init__(
        self, twin: keras.Model, pairs: Sequence[Pair], run: Run, record: Record, *,
        scale: int, every: int, first_step: int,
    ) -> None:  # fmt: skip
        super().__init__(first_step)
        self.twin, self.pairs, self.run, self.record = twin, pairs, run, record
        self.scale, self.every = scale, every
        self.predict = predictor.of_keras(twin, "generator")

    def after_step(self, logs: Mapping[str, float]) -> None:
        if self.step % self.every == 0:
            self.validate()

    def validate(self) -> None:
        """Scores the averaged weights now; writes generator.keras if no earlier ones were better."""
        self.twin.set_weights(content.averaged_weights(self.model))
        protocol = metrics.PROTOCOLS["y"]
        found = list(scoring.scores(self.predict, self.pairs, scale=self.scale, protocol=protocol))
        self.record.psnr, self.record.ssim = (scoring.mean(getattr(s, k) for s in found) for k in ("psnr", "ssim"))
        if self.record.psnr > self.record.best_psnr or not self.run.generator.is_file():
            write_model(self.run.generator, self.twin)
            self.record.best_psnr, self.record.best_ssim = self.record.psnr, self.record.ssim
            self.record.best_step = self.step


def write_model(path: Path, model: keras.Model) -> None:
    """Saves a .keras file, whole or not at all."""
    write_whole(path, model.save)


class Checkpoint(StepCallback):
    """Saves the trained weights and the optimizer every `every` steps, and on Ctrl-C or SIGTERM before stopping."""

    def __init__(self, run: Run, record: Record, *, every: int, total: int, first_step: int) -> None:
        super().__init__(first_step)
        self.run, self.record, self.every, self.total = run, record, every, total
        self.stopped = False
        self._saved_at, self._since = first_step, time.time()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Within it SIGINT and SIGTERM save and stop after the step under way; a second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {kind: signal.signal(kind, self._stop) for kind in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def _stop(self, number: int, frame: object) -> None:
        self.stopped = True
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.default_int_handler)

    def after_step(self, logs: Mapping[str, float]) -> None:
        if self.stopped or self.step % self.every == 0 or self.step == self.total:
            self.save()
        if self.stopped:
            self.model.stop_training = True

    def save(self) -> None:
        """Writes progress.json, then the checkpoint; a run killed in between repeats the same steps."""
        if self._saved_at != self.step:
            now = time.time()
            self.record.seconds += now - self._since
            self._since, self.record.step = now, self.step
            self.record.save(self.run)
            write_whole(self.run.last, lambda beside: beside.write_bytes(content.state(self.model)))
            self._saved_at = self.step


class TensorBoard(StepCallback):
    """Writes losses, rates, validation, panels, histograms, the graph and the hyper-parameters to one folder."""

    def __init__(
        self, run: Run, record: Record, validate: Validate, *, hparams: Mapping[str, object], clock: WaitClock | None,
        every: int, histograms: bool, profile: bool, panels: int, first_step: int,
    ) -> None:  # fmt: skip
        super().__init__(first_step)
        self.run, self.record, self.validate, self.hparams = run, record, validate, hparams
        self.clock, self.every, self.histograms, self.profile = clock, every, histograms, profile
        self.panel_pairs = validate.pairs[:panels]
        self._first, self._started, self._busy, self._waited, self._counted = first_step, 0.0, 0.0, 0.0, 0

        self.writer = tf.summary.create_file_writer(str(run.logs))

    def on_train_begin(self, logs=None) -> None:
        from tensorboard.plugins.hparams import api as hp

        with self.writer.as_default(step=self.step):
            hp.hparams(dict(self.hparams))
            if self.step == 0:
                self._write_graph()

    def _write_graph(self) -> None:
        tf.summary.trace_on(graph=True)
        twin = self.validate.twin
        shape = [1, *(side or 16 for side in twin.input_shape[1:])]
        tf.function(lambda lr: twin(lr, training=False))(tf.zeros(shape))
        tf.summary.trace_export("generator")

    def on_train_batch_begin(self, batch, logs=None) -> None:
        if self.profile and batch == _PROFILED[0]:
            tf.profiler.experimental.start(str(self.run.logs))
        self._started = time.perf_counter()

    def after_step(self, logs: Mapping[str, float]) -> None:
        self._busy += time.perf_counter() - self._started
        self._counted += 1
        if self.profile and self.step - self._first == _PROFILED[1]:
            tf.profiler.experimental.stop()
        validated = self.step % self.validate.every == 0
        if self.step % self.every and not validated:
            return
        try:
            with self.writer.as_default(step=self.step):
                for name, value in logs.items():
                    tf.summary.scalar(f"train/{name}", float(value))
                self._write_speed()
                if validated:
                    self._write_validation()
        except tf.errors.OpError as error:
            raise InputError(f"{self.run.logs}: can't be written ({error.message}); free some space.") from error
        self.model.reset_metrics()

    def _write_speed(self) -> None:
        tf.summary.scalar("learning_rate", float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))
        tf.summary.scalar("speed/steps_per_second", self._counted / max(self._busy, 1e-9))
        if self.clock is not None:
            waited = self.clock.seconds - self._waited
            tf.summary.scalar("speed/data_wait_share", min(waited / max(self._busy, 1e-9), 1.0))
            self._waited += waited
        self._busy, self._counted = 0.0, 0

    def _write_validation(self) -> None:
        tf.summary.scalar("validation/psnr", self.record.psnr)
        tf.summary.scalar("validation/ssim", self.record.ssim)
        for pair in self.panel_pairs:
            strip = panel(pair, self.validate.predict(pair.lr), self.validate.scale)
            tf.summary.image(f"LR - bicubic - SR - HR/{pair.name}", strip[None])
        if self.histograms:
            for variable in self.model.trainable_variables:
                tf.summary.histogram(f"weights/{variable.path}", variable)
        self.writer.flush()

    def close(self) -> None:
        """Ends what `fit` left open when it was broken off."""
        if self.profile and _PROFILED[0] < self.step - self._first < _PROFILED[1]:
            tf.profiler.experimental.stop()
        self.writer.close()

    def on_train_end(self, logs=None) -> None:
        with self.writer.as_default(step=self.step):
            tf.summary.scalar("final/psnr", self.record.best_psnr)
            tf.summary.scalar("final/ssim", self.record.best_ssim)


def panel(pair: Pair, sr: np.ndarray, scale: int, *, side: int = 160) -> np.ndarray:
    """Puts the middle of LR (pixels repeated), bicubic, SR and HR side by side: uint8 `[side, 4*side + 12, 3]`."""
    side = min(side, *pair.hr.shape[:2]) // scale * scale
    top, left = ((n - side) // 2 // scale * scale for n in pair.hr.shape[:2])
    bicubic = predictor.interpolation("bicubic", scale)(pair.lr)
    repeated = cv2.resize(pair.lr, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    strips = [repeated.reshape(pair.hr.shape), image.to_uint8(bicubic), image.to_uint8(sr), pair.hr]
    gap = np.full((side, 4, 3), 255, np.uint8)
    parts = [image.with_channels(s[top : top + side, left : left + side], 3) for s in strips]
    return np.concatenate([parts[0], gap, parts[1], gap, parts[2], gap, parts[3]], axis=1)


class ProgressBar(StepCallback):
    """Shows steps, loss, validation PSNR, speed and time left; a line per epoch where there is no terminal."""

    def __init__(self, record: Record, console: Console, *, steps: int, epoch: int, first_step: int) -> None:
        super().__init__(first_step)
        self.record, self.console, self.steps, self.epoch = record, console, steps, epoch
        self._start = (time.perf_counter(), first_step)
        text = "[progress.description]{task.description}"
        columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal)

    def on_train_begin(self, logs=None) -> None:
        self.bar.start()
        self.task = self.bar.add_task("", total=self.steps, completed=self.step)

    def after_step(self, logs: Mapping[str, float]) -> None:
        if self.step % 10 == 0 or self.step == self.steps:
            self.bar.update(self.task, completed=self.step, description=self._line(logs))
        if self.step % self.epoch == 0 and not self.console.is_terminal:
            self.console.print(f"step {self.step}/{self.steps}  {self._line(logs)}{self._left()}", highlight=False)

    def _line(self, logs: Mapping[str, float]) -> str:
        since, first = self._start
        speed = (self.step - first) / max(time.perf_counter() - since, 1e-9)
        psnr = f"psnr {self.record.psnr:.2f}" if self.record.psnr == self.record.psnr else "psnr -"
        best = f" (best {self.record.best_psnr:.2f})" if np.isfinite(self.record.best_psnr) else ""
        return f"loss {float(logs.get('loss', float('nan'))):.5f}  {psnr}{best}  {speed:.1f} steps/s"

    def _left(self) -> str:
        since, first = self._start
        seconds = (time.perf_counter() - since) / (self.step - first) * (self.steps - self.step)
        return f"  {seconds / 60:.1f} minutes left"

    def close(self) -> None:
        """Gives the terminal back."""
        self.bar.stop()


class Watch(NamedTuple):
    """The callbacks of a training, in the order in which they act after a step."""

    validate: Validate
    checkpoint: Checkpoint
    board: TensorBoard
    bar: ProgressBar

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Surrounds `fit`: signals save and stop, and whatever happens, files and the terminal are left in order."""
        try:
            with self.checkpoint.on_signals():
                yield
        finally:
            self.board.close()
            self.bar.close()
