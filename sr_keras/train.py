"""`python -m sr_keras.train`: from pictures to a trained network in a run folder."""

import argparse
import contextlib
import io
import json
import math
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sr_keras import cli
from sr_keras.errors import InputError
from sr_keras.files import write_json, write_whole
from sr_keras.run import Run

if TYPE_CHECKING:  # every heavy import is inside a function, so that --help answers at once
    import keras
    import numpy as np
    import tensorflow as tf
    from rich.console import Console

    from sr_keras.callbacks import NotFiniteError, Record, Validate, Watch
    from sr_keras.config import Config
    from sr_keras.content import Term
    from sr_keras.data import Degrade, Pair, Patches, Pictures, WaitClock
    from sr_keras.state import State

# A run may go on with other values of these; any other change makes it another run.
_MAY_CHANGE = {
    "train.epochs", "train.log_every", "train.checkpoint_every", "train.weight_histograms", "train.profile",
    "data.root", "data.cache",
}  # fmt: skip
_MOST_ROLLBACKS = 2


def train(
    config: "Config", run: Run, *, strategy: "tf.distribute.Strategy | None" = None, console: "Console | None" = None
) -> "keras.Model":
    """Trains, or goes on with, the network of `config` in the folder `run`; returns the kept averaged float32 weights.

    `strategy` defaults to all visible GPUs. Raises `InputError` for data, options or a run folder that do not fit.
    """
    import keras
    from rich.console import Console

    from sr_keras import _players as players
    from sr_keras import _start, callbacks, data, devices, zoo
    from sr_keras import config as config_file

    console = console or Console(quiet=True)
    # bfloat16 rounds convolutions by as much as int8 does: what is trained would not be what is shipped.
    here = "float32" if config.quantization and config.precision == "auto" else devices.precision(config.precision)
    config = _resolved(config, run, here)
    start = config.start_from
    if start and not run.last.is_file() and not (zoo.find(start) or Path(start).exists()):
        raise InputError(f"start_from {start}: there is no such run or name; train it first, or set start_from=null.")
    steps = config.train.epochs * config.train.steps_per_epoch
    keras.utils.set_random_seed(config.seed)

    degrade = players.degradation(config)
    patches = data.Patches(
        _sources(config, "train", console), config.scale, config.data.patch, config.seed, config.data.augment,
        config.data.shuffle_channels,
    )  # fmt: skip
    _report_left_out(patches, console)
    validation = list(data.pairs(_sources(config, "valid", console), degrade, scale=config.scale, seed=config.seed))

    strategy = strategy or devices.strategy()
    channels = 1 if config.data.channels == "y" else patches.channels
    twin = players.network(config, channels, "float32")
    with strategy.scope():
        terms = players.terms(config, config.precision)
        play = players.supervised if config.adversarial is None else players.game
        model, state = play(config, players.network(config, channels, config.precision), terms)
        record = _resumed(run, state, console)
        if record is None:
            record = callbacks.Record()
            lines = _start.begin(state.generator.network, config, patches, degrade)
            for line, complete in lines:
                console.print(line) if complete else _warn(console, line)
    _check_fits(config, patches, twin, terms, validation, strategy.num_replicas_in_sync)

    write_whole(run.config, lambda beside: beside.write_text(config_file.dump(config), encoding="utf-8"))
    measures = players.measures(players.terms(config, "float32")) if config.adversarial else {}
    start = None if run.last.is_file() else state.packed(0)
    while (first := state.step) < steps:
        clock = data.WaitClock() if strategy.num_replicas_in_sync == 1 else None
        validate = callbacks.Validate(
            twin, state, validation, run, record, lambda line: _warn(console, line), scale=config.scale,
            every=config.train.steps_per_epoch, first_step=first, measures=measures,
            keep_last=config.adversarial is not None,
        )  # fmt: skip
        samples = _samples(_batches(config, patches, degrade, first, None)) if first == 0 else None
        watch = _watch(config, run, state, record, validate, samples, clock, console, first=first, steps=steps)
        console.print(f"{steps - first} steps to {run.folder}; Ctrl-C saves and stops", highlight=False, soft_wrap=True)
        try:
            with watch.running():
                model.fit(
                    _batches(config, patches, degrade, first, clock), steps_per_epoch=steps - first, epochs=1,
                    shuffle=False, verbose=0, callbacks=list(watch.callbacks),
                )  # fmt: skip
        except callbacks.NotFiniteError as error:
            _roll_back(run, state, record, start, error, console)
        if watch.checkpoint.stopped:
            raise Stopped(run, state.step)
    _write_results(run, config, record, validation, state.step, twin)
    return _finished(run, twin)


def _batches(
    config: "Config", patches: "Patches", degrade: "Degrade", first: int, clock: "WaitClock | None"
) -> "tf.data.Dataset":
    from sr_keras import data

    each = config.adversarial.discriminator_steps if config.adversarial else 1
    luma = config.data.channels == "y"
    return data.train(patches, degrade, batch=each * config.train.batch, first_step=first, luma=luma, clock=clock)


def _samples(batches: "tf.data.Dataset", most: int = 16) -> "np.ndarray":
    """Makes a sheet of the first LR pictures that are learnt from."""
    from sr_keras import image

    lr = image.to_uint8(next(iter(batches))[0].numpy()[:most])
    return image.contact_sheet([image.with_channels(picture, 3) for picture in lr], columns=4)


def _roll_back(
    run: Run, state: "State", record: "Record", start: bytes | None, error: "NotFiniteError", console: "Console"
) -> None:
    """Returns to the last checkpoint (or to `start`) at half the learning rate, and saves that; gives up in the end."""
    from sr_keras.callbacks import save

    if record.rollbacks == _MOST_ROLLBACKS:
        raise InputError(
            f"{run.folder}: {error}, though the learning rate was halved {_MOST_ROLLBACKS} times; what was saved "
            "before stays. Set lower learning rates or a clip_norm, of train and of adversarial, in another --run."
        )
    state.restore(run.last if run.last.is_file() or start is None else io.BytesIO(start))
    state.rate.assign(state.rate / 2.0)
    record.rollbacks += 1
    save(run, state, record, state.step)
    _warn(console, f"{error}: back to step {state.step}, at half the learning rate")


def _check_fits(
    config: "Config", patches: "Patches", twin: "keras.Model", terms: "list[Term]", validation: "list[Pair]",
    replicas: int,
) -> None:  # fmt: skip
    """Finds before the first step what would break in it: sizes that the network or a loss can't take."""
    import tensorflow as tf

    if config.train.batch % replicas:
        raise InputError(f"train.batch must be a multiple of the {replicas} devices, got {config.train.batch}.")
    low, size = patches.patch // config.scale, tuple(twin.input_shape[1:3])
    if None not in size:
        wrong = [pair.name for pair in validation if pair.lr.shape[:2] != size]
        if size != (low, low) or wrong:
            raise InputError(
                f"model {twin.name} takes only LR pictures of {size[0]}x{size[1]}; data.patch gives {low}x{low}"
                + (f" and the validation picture {wrong[0]} another size" if wrong else "")
                + "; set data.patch and the model's height and width to fit the pictures."
            )
    blank = tf.zeros((1, patches.patch, patches.patch, twin.output_shape[3]))
    for term in terms:
        try:
            term.function(blank, blank)
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"loss {term.name}: can't take patches of {patches.patch} pixels ({reason}).") from error


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM: everything is saved."""

    def __init__(self, run: Run, step: int) -> None:
        super().__init__(f"saved {run.folder} at step {step}; the same command goes on from there")


def _resolved(config: "Config", run: Run, precision: str) -> "Config":
    """Settles the precision: the run's own where there is one, whose config is checked against this one."""
    from sr_keras import config as config_file

    if not (run.last.is_file() or run.generator.is_file()):  # nothing was learnt there yet
        return config.model_copy(update={"precision": precision if config.precision == "auto" else config.precision})
    there = run.load_config()
    if config.precision == "auto":
        config = config.model_copy(update={"precision": there.precision})
    changed = {k: v for k, v in config_file.differences(there, config).items() if k not in _MAY_CHANGE}
    if changed:
        listed = "; ".join(f"{key} is {old!r} there and {new!r} here" for key, (old, new) in changed.items())
        raise InputError(f"{run.folder}: holds a run of another config ({listed}); take another --run.")
    return config


def _sources(config: "Config", split: Literal["train", "valid"], console: "Console") -> "list[Pictures]":
    """Opens the picture sources of a split, with a progress bar while a store is built."""
    from rich.progress import Progress

    from sr_keras import config as config_file
    from sr_keras import data

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("decoding pictures", total=None, visible=False)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        sources = config_file.sources(config, split)
        opened = data.open_sources(sources, scale=config.scale, split=split, cache=config.data.cache, progress=progress)
    skipped = [reason for p in opened for store in (p.hr, p.lr) if store for reason in store.skipped]
    for reason in skipped[:5]:
        _warn(console, f"skipped {reason}")
    if len(skipped) > 5:
        _warn(console, f"skipped {len(skipped)} pictures in all")
    return opened


def _warn(console: "Console", message: str) -> None:
    console.print(f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _report_left_out(patches: "Patches", console: "Console") -> None:
    if patches.left_out:
        _warn(console, f"left out {patches.left_out} pictures smaller than data.patch={patches.patch}")


def _resumed(run: Run, state: "State", console: "Console") -> "Record | None":
    """Restores the last checkpoint and returns what the run knows so far; None if there is no checkpoint."""
    from sr_keras.callbacks import Record

    if run.last.is_file() and run.progress.is_file():
        try:
            state.restore(run.last)
            known = json.loads(run.progress.read_text(encoding="utf-8"))
            record = Record(**{key: value for key, value in known.items() if value is not None})
        except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{run.last}: can't be resumed from ({error}); remove the run folder.") from error
        console.print(f"going on from step {state.step}")
        return record
    return None


def _watch(
    config: "Config", run: Run, state: "State", record: "Record", validate: "Validate", samples: "np.ndarray | None",
    clock: "WaitClock | None", console: "Console", *, first: int, steps: int,
) -> "Watch":  # fmt: skip
    """Makes the callbacks in the order in which they act after a step: check, validate, save, log, tell, show."""
    from sr_keras import board, callbacks
    from sr_keras import config as config_file

    epoch, log = config.train.steps_per_epoch, config.train.log_every
    every = config.train.checkpoint_every or epoch
    checkpoint = callbacks.Checkpoint(run, state, record, every=every, total=steps, first_step=first)
    guard = callbacks.Guard(every=(epoch, log, every), first_step=first)
    page = board.TensorBoard(
        run, state, record, validate, hparams=config_file.scalars(config), samples=samples, clock=clock, every=log,
        histograms=config.train.weight_histograms, profile=config.train.profile, panels=4, first_step=first,
    )  # fmt: skip
    balance = callbacks.Balance(lambda line: _warn(console, line), every=log, first_step=first)
    bar = callbacks.ProgressBar(record, console, steps=steps, epoch=epoch, first_step=first)
    played = [balance] if config.adversarial else []
    return callbacks.Watch([guard, validate, checkpoint, page, *played, bar], checkpoint)


def _write_results(
    run: Run, config: "Config", record: "Record", validation: "list[Pair]", steps: int, twin: "keras.Model"
) -> None:
    """Writes results.json: the figures of what was kept, protocol y, beside bicubic's on the same pictures."""
    from sr_keras import __version__, metrics, predictor, quantize, scoring
    from sr_keras.layers.collapsible_conv import collapse

    bicubic = predictor.interpolation("bicubic", config.scale)
    found = scoring.scores(bicubic, validation, scale=config.scale, protocol=metrics.PROTOCOLS["y"])
    base = scoring.mean(score.psnr for score in found)
    shipped = quantize.without_fake_quantisation(collapse(twin))
    results = {
        "psnr": record.best_psnr, "ssim": record.best_ssim, "bicubic_psnr": base, "gain": record.best_psnr - base,
        "protocol": "y", "best_step": record.best_step, "steps": steps, "seconds": round(record.seconds, 1),
        "parameters": shipped.count_params(), "precision": config.precision, "sr_keras": __version__,
        "rollbacks": record.rollbacks, "measures": record.measures,
    }  # fmt: skip
    write_json(run.results, results)


def _finished(run: Run, twin: "keras.Model") -> "keras.Model":
    from sr_keras import predictor

    twin.set_weights(predictor.open_network(run.generator).get_weights())
    return twin


def is_finished(config: "Config", run: Run) -> bool:
    """Says whether the run folder holds the results of as many steps as `config` asks for."""
    if not run.results.is_file():
        return False
    done = json.loads(run.results.read_text(encoding="utf-8")).get("steps", 0)
    return done >= config.train.epochs * config.train.steps_per_epoch


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and trains; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sr_keras.train", description=__doc__)
    parser.add_argument(
        "arguments", nargs="*", metavar="CONFIG.yaml | key=value",
        help="a config file or the name of a shipped one (default: quickstart), then overrides such as train.batch=8",
    )  # fmt: skip
    parser.add_argument("--run", metavar="DIR", help="run folder (default: runs/<config name>); an old one goes on")
    options = parser.parse_intermixed_args(argv)
    overrides = [word for word in options.arguments if "=" in word]
    sources = [word for word in options.arguments if "=" not in word]
    if len(sources) > 1:
        parser.error(f"one config at a time, got {' and '.join(sources)}")
    source = sources[0] if sources else "quickstart"
    return cli.run(lambda: _main(source, overrides, options.run))


def _main(source: str, overrides: list[str], folder: str | None) -> int:
    from rich.console import Console

    from sr_keras import config as config_file
    from sr_keras import zoo

    console = Console(stderr=True)
    config = config_file.load(source, overrides)
    run = Run(Path(folder) if folder else Path("runs") / Path(source).stem)
    if run.folder.exists() and not run.folder.is_dir():
        raise InputError(f"{run.folder}: is a file; give --run a folder.")
    if zoo.find(run.folder):
        raise InputError(f"{run.folder}: is the name of weights that ship; take another --run.")
    if run.imported.is_file():
        raise InputError(f"{run.folder}: holds imported weights; take another --run, with start_from={run.folder}.")
    if is_finished(config, run):
        _resolved(config, run, config.precision)
        print(_summary(run))
        print("nothing was left to do; for more: a larger train.epochs; anew: another --run")
        return 0
    try:
        with _only_one(run):
            start = time.time()
            train(config, run, console=console)
            console.print(f"trained in {(time.time() - start) / 60:.1f} minutes")
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return 130
    print(_summary(run))
    return 0


@contextlib.contextmanager
def _only_one(run: Run) -> Iterator[None]:
    """Locks the run folder; one that holds nothing in the end is removed again."""
    from filelock import FileLock, Timeout

    lock = FileLock(run.folder / ".lock")
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{run.folder}: another process trains there; wait for it or take another --run.") from None
    except OSError as error:
        raise InputError(f"{run.folder}: can't be written ({error.strerror}); take another --run.") from error
    try:
        run.remove_partial()
        yield
    finally:
        if sorted(path.name for path in run.folder.iterdir()) == [".lock"]:
            shutil.rmtree(run.folder, ignore_errors=True)
        lock.release()


def _summary(run: Run) -> str:
    r = json.loads(run.results.read_text(encoding="utf-8"))
    r = {key: math.inf if value is None else value for key, value in r.items()}  # bicubic at scale 1 is the picture
    return (
        f"{run.folder}: finished, {r['steps']} steps; validation PSNR-Y {r['psnr']:.2f} dB, "
        f"{r['gain']:+.2f} dB over bicubic ({r['bicubic_psnr']:.2f}); SSIM {r['ssim']:.4f}\n"
        f"next: python -m sr_keras.export {run.folder}"
    )


if __name__ == "__main__":
    sys.exit(main())
