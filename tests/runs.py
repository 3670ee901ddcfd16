"""What the tests of training share: runs in a process that is killed, runs on two devices, and their checkpoints."""

import signal
import subprocess
import sys
import time

import numpy as np

from sr_keras.run import Run


def arrays(run):
    """The whole state of a run's last checkpoint."""
    with np.load(run.last) as packed:
        return [packed[name] for name in packed.files]


def same(left, right):
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def command(folder, *overrides):
    return [sys.executable, "-m", "sr_keras.train", *overrides, "--run", str(folder)]


def killed_after_a_checkpoint(folder, *overrides):
    """Starts a run in a process of its own and kills it once there is a checkpoint."""
    process = subprocess.Popen(command(folder, *overrides), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = Run(folder)
    while not run.last.is_file():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not run.results.is_file()
    return run


def difference_on_two_devices(folder, *overrides):
    """The largest difference of the states after a run on one logical device and on two, the global batch alike."""
    script = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from sr_keras import config, train
from sr_keras.run import Run
from pathlib import Path
settings = config.load("quickstart", {list(overrides)!r})
two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert two.num_replicas_in_sync == 2
train.train(settings, Run(Path("two")), strategy=two)
train.train(settings, Run(Path("one")))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    pairs = zip(arrays(Run(folder / "one")), arrays(Run(folder / "two")), strict=True)
    return max(float(np.abs(a.astype("float64") - b).max()) for a, b in pairs)
