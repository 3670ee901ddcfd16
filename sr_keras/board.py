"""TensorBoard: losses, rates, validation, panels, histograms, graphs, a sheet of samples, hyper-parameters."""

import time
from collections.abc import Mapping

import cv2
import keras
import numpy as np
import tensorflow as tf

from sr_keras import image, predictor
from sr_keras.callbacks import Record, StepCallback, Validate
from sr_keras.data import Pair, WaitClock
from sr_keras.errors import InputError
from sr_keras.run import Run
from sr_keras.state import State

_PROFILED = (10, 20)  # steps of this process


class TensorBoard(StepCallback):
    """Writes what the logs hold every `every` steps, and what a validation found.

    `samples` is a sheet of LR pictures, uint8 `[H, W, 3]`, shown at the start.
    """

    def __init__(
        self, run: Run, state: State, record: Record, validate: Validate, *, hparams: Mapping[str, object],
        samples: np.ndarray | None, clock: WaitClock | None, every: int, histograms: bool, profile: bool, panels: int,
        first_step: int,
    ) -> None:  # fmt: skip
        super().__init__(first_step)
        self.run, self.state, self.record, self.validate, self.hparams = run, state, record, validate, hparams
        self.samples = samples
        self.clock, self.every, self.histograms, self.profile = clock, every, histograms, profile
        self.panel_pairs = validate.pairs[:panels]
        self._first, self._started, self._busy, self._waited, self._counted = first_step, 0.0, 0.0, 0.0, 0

        self.writer = tf.summary.create_file_writer(str(run.logs))

    def on_train_begin(self, logs=None) -> None:
        from tensorboard.plugins.hparams import api as hp

        with self.writer.as_default(step=self.step):
            hp.hparams(dict(self.hparams))
            if self.step == 0 and not self.record.rollbacks:
                _write_graph("generator", self.validate.twin)
                if self.state.discriminator:
                    _write_graph("discriminator", self.state.discriminator.network)
                if self.samples is not None:
                    tf.summary.image("LR samples", self.samples[None])

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
        tf.summary.scalar("learning_rate", self.state.generator.learning_rate)
        if self.state.discriminator:
            tf.summary.scalar("discriminator_learning_rate", self.state.discriminator.learning_rate)
        tf.summary.scalar("speed/steps_per_second", self._counted / max(self._busy, 1e-9))
        if self.clock is not None:
            waited = self.clock.seconds - self._waited
            tf.summary.scalar("speed/data_wait_share", min(waited / max(self._busy, 1e-9), 1.0))
            self._waited += waited
        self._busy, self._counted = 0.0, 0

    def _write_validation(self) -> None:
        tf.summary.scalar("validation/psnr", self.record.psnr)
        tf.summary.scalar("validation/ssim", self.record.ssim)
        for name, value in self.record.measures.items():
            tf.summary.scalar(f"validation/{name}", value)
        for pair in self.panel_pairs:
            strip = panel(pair, self.validate.predict(pair.lr), self.validate.scale)
            tf.summary.image(f"LR - bicubic - SR - HR/{pair.name}", strip[None])
        if self.histograms:
            for variable in self.model.trainable_variables:
                tf.summary.histogram(f"weights/{variable.path}", variable)
        self.writer.flush()

    def close(self) -> None:
        if self.profile and _PROFILED[0] < self.step - self._first < _PROFILED[1]:
            tf.profiler.experimental.stop()
        self.writer.close()

    def on_train_end(self, logs=None) -> None:
        with self.writer.as_default(step=self.step):
            tf.summary.scalar("final/psnr", self.record.best_psnr)
            tf.summary.scalar("final/ssim", self.record.best_ssim)


def _write_graph(name: str, network: keras.Model) -> None:
    shape = [1, *(side or 16 for side in network.input_shape[1:])]
    tf.summary.trace_on(graph=True)
    tf.function(lambda pictures: network(pictures, training=False))(tf.zeros(shape))
    tf.summary.trace_export(name)


def panel(pair: Pair, sr: np.ndarray, scale: int, *, side: int = 160) -> np.ndarray:
    """Puts the middle of LR (pixels repeated), bicubic, SR and HR side by side: uint8 `[side, 4*side + 12, 3]`."""
    side = min(side, *pair.hr.shape[:2]) // scale * scale
    top, left = ((n - side) // 2 // scale * scale for n in pair.hr.shape[:2])
    bicubic = predictor.interpolation("bicubic", scale)(pair.lr)
    repeated = cv2.resize(pair.lr, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    strips = [repeated.reshape(pair.hr.shape), image.to_uint8(bicubic), image.to_uint8(sr), pair.hr]
    parts = [image.with_channels(s[top : top + side, left : left + side], 3) for s in strips]
    return image.contact_sheet(parts, columns=len(parts))
