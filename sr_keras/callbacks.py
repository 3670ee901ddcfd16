"""Everything periodic in a training: the guard, validation, checkpoints, the progress bar. Counted in global steps.

`fit` runs once, as one long epoch, so that a run can resume at any step; what users call an epoch is
`steps_per_epoch` of these steps. TensorBoard has a file of its own, board.py.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sr_keras import metrics, predictor, scoring
from sr_keras.data import Pair
from sr_keras.files import write_json, write_whole
from sr_keras.run import Run
from sr_keras.state import State

Warn = Callable[[str], None]

VISIBLE_DRIFT = 2.3  # of metrics.colour_drift


@dataclass
class Record:
    """What a run knows beside its tensors; kept in checkpoints/progress.json.

    `measures` are what the last validation found beside PSNR and SSIM, `rollbacks` counts the returns to a checkpoint
    after a loss that was not finite.
    """

    step: int = 0
    best_psnr: float = float("-inf")
    best_ssim: float = float("nan")
    best_step: int = 0
    psnr: float = float("nan")
    ssim: float = float("nan")
    seconds: float = 0.0
    rollbacks: int = 0
    measures: dict[str, float] = field(default_factory=dict)

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

    def close(self) -> None:
        """Ends what `fit` left open when it was broken off."""


class NotFiniteError(ArithmeticError):
    """A loss or a weight became infinite or not a number by `step`."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__(f"{what} not finite at step {step}")


class Guard(StepCallback):
    """Raises `NotFiniteError` before a loss that is not finite is logged, or validated and saved what it made.

    `every` are the intervals at which that is done. The logs hold means, so that no step in between is missed.
    """

    def __init__(self, *, every: Sequence[int], first_step: int) -> None:
        super().__init__(first_step)
        self.every = every

    def after_step(self, logs: Mapping[str, float]) -> None:
        due = any(self.step % interval == 0 for interval in self.every)
        if due and not math.isfinite(float(logs.get("loss", 0.0))):
            raise NotFiniteError("the loss is", self.step)


class Validate(StepCallback):
    """Every `every` steps: the averaged weights go into the float32 twin, it is scored, and saved if it is to be kept.

    Kept is the best by PSNR, or with `keep_last` the last one: what an adversarial game learns costs PSNR. `measures`
    are figures beside PSNR and SSIM, by name.
    """

    def __init__(
        self, twin: keras.Model, state: State, pairs: Sequence[Pair], run: Run, record: Record, warn: Warn, *,
        scale: int, every: int, first_step: int, measures: Mapping[str, scoring.Measure], keep_last: bool,
    ) -> None:  # fmt: skip
        super().__init__(first_step)
        self.twin, self.state, self.pairs, self.run, self.record = twin, state, pairs, run, record
        self.scale, self.every, self.measures, self.keep_last, self.warn = scale, every, measures, keep_last, warn
        self.predict = predictor.of_keras(twin, "generator")

    def after_step(self, logs: Mapping[str, float]) -> None:
        if self.step % self.every == 0:
            self.validate()

    def validate(self) -> None:
        """Scores the averaged weights now; writes generator.keras if they are to be kept."""
        averages = self.state.averaged_weights()
        if not all(np.isfinite(average).all() for average in averages):
            raise NotFiniteError("the averaged weights are", self.step)
        self.twin.set_weights(averages)
        before, record = self.record.measures, self.record
        protocol = metrics.PROTOCOLS["y"]
        found = list(
            scoring.scores(self.predict, self.pairs, scale=self.scale, protocol=protocol, measures=self.measures)
        )
        record.psnr, record.ssim = (scoring.mean(getattr(score, name) for score in found) for name in ("psnr", "ssim"))
        record.measures = {name: scoring.mean(score.measures[name] for score in found) for name in self.measures}
        drift = record.measures.get("colour_drift", 0.0)
        if drift > VISIBLE_DRIFT >= before.get("colour_drift", 0.0):
            self.warn(
                f"step {self.step}: colours drift by {drift:.1f} in CIE Lab from LR's; {VISIBLE_DRIFT} is visible"
            )
        if self.keep_last or record.psnr > record.best_psnr or not self.run.generator.is_file():
            write_model(self.run.generator, self.twin)
            record.best_psnr, record.best_ssim, record.best_step = record.psnr, record.ssim, self.step


def write_model(path: Path, model: keras.Model) -> None:
    """Saves a .keras file, whole or not at all."""
    write_whole(path, model.save)


class Checkpoint(StepCallback):
    """Saves the whole state every `every` steps, and on Ctrl-C or SIGTERM before stopping."""

    def __init__(self, run: Run, state: State, record: Record, *, every: int, total: int, first_step: int) -> None:
        super().__init__(first_step)
        self.run, self.state, self.record, self.every, self.total = run, state, record, every, total
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

    def due(self, step: int) -> bool:
        """Says whether the state is saved after this step."""
        return self.stopped or step % self.every == 0 or step == self.total

    def after_step(self, logs: Mapping[str, float]) -> None:
        if self.due(self.step):
            self.save()
        if self.stopped:
            self.model.stop_training = True

    def save(self) -> None:
        """Saves the state as it is; weights that are not finite raise `NotFiniteError` instead."""
        if self._saved_at != self.step:
            if not self.state.is_finite():
                raise NotFiniteError("the weights are", self.step)
            now = time.time()
            self.record.seconds += now - self._since
            self._since = now
            save(self.run, self.state, self.record, self.step)
            self._saved_at = self.step


def save(run: Run, state: State, record: Record, step: int) -> None:
    """Writes progress.json, then the checkpoint; a run killed in between repeats the same steps."""
    record.step = step
    record.save(run)
    packed = state.packed(step)
    write_whole(run.last, lambda beside: beside.write_bytes(packed))


class Balance(StepCallback):
    """Tells when the discriminator of a `Gan` wins and is paused, goes on, or is lost; looks every `every` steps.

    It is lost if, once the game runs, it does not tell real from fake better than a coin, give or take `margin`.
    """

    def __init__(self, warn: Warn, *, every: int, first_step: int, margin: float = 0.02) -> None:
        super().__init__(first_step)
        self.warn, self.every, self.margin = warn, every, margin
        self._was = ""

    def after_step(self, logs: Mapping[str, float]) -> None:
        if self.step % self.every:
            return
        accuracy = float(self.model.accuracy.numpy())
        now = self._found(accuracy)
        if now and now != self._was:
            self.warn(f"step {self.step}: accuracy {accuracy:.2f}, {now}")
        elif self._was and not now:
            self.warn(f"step {self.step}: accuracy {accuracy:.2f}, the discriminator plays on")
        self._was = now

    def _found(self, accuracy: float) -> str:
        rules = self.model.rules
        if float(self.model.gate.numpy()) == 0.0:
            return f"the discriminator wins: it is paused until below {rules.resume_below}"
        if self.step > rules.start + rules.ramp + 3 * rules.window and accuracy < 0.5 + self.margin:
            return "the discriminator is lost: raise adversarial.learning_rate, or lower adversarial.weight"
        return ""


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
            line = f"step {self.step}/{self.steps}  {self._line(logs)}{self._left()}"
            self.console.print(line, highlight=False, soft_wrap=True)

    def _line(self, logs: Mapping[str, float]) -> str:
        since, first = self._start
        speed = (self.step - first) / max(time.perf_counter() - since, 1e-9)
        psnr = f"psnr {self.record.psnr:.2f}" if self.record.psnr == self.record.psnr else "psnr -"
        best = f" (best {self.record.best_psnr:.2f})" if self.record.best_psnr > self.record.psnr else ""
        measures = "".join(f"  {name} {value:.3f}" for name, value in self.record.measures.items())
        accuracy = f"  D {float(logs['discriminator_accuracy']):.2f}" if "discriminator_accuracy" in logs else ""
        loss = float(logs.get("loss", math.nan))
        return f"loss {loss:.5f}{accuracy}  {psnr}{best}{measures}  {speed:.1f} steps/s"

    def _left(self) -> str:
        since, first = self._start
        seconds = (time.perf_counter() - since) / (self.step - first) * (self.steps - self.step)
        return f"  {seconds / 60:.1f} minutes left"

    def close(self) -> None:
        self.bar.stop()


class Watch(NamedTuple):
    """The callbacks of a training, in the order in which they act after a step."""

    callbacks: Sequence[StepCallback]
    checkpoint: Checkpoint

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Surrounds `fit`: signals save and stop, and whatever happens, files and the terminal are left in order."""
        try:
            with self.checkpoint.on_signals():
                yield
        finally:
            for callback in self.callbacks:
                callback.close()
