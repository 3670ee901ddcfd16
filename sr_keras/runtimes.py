"""Chooses what a Keras network runs on: the fastest runtime whose output is within 60 dB of float32's."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sr_keras import devices, embedded, metrics, predictor, quantize, resize
from sr_keras.bfloat16 import bfloat16_twin
from sr_keras.component import did_you_mean
from sr_keras.errors import InputError
from sr_keras.layers.transposed import without_transposed
from sr_keras.predictor import Predictor

if TYPE_CHECKING:
    import keras

LEAST_PSNR = 60.0
_ROUNDS = 6
NAMES = ("tensorflow", "tensorflow-bfloat16", "onnx", "tflite", "openvino", "openvino-bfloat16")
_FLOAT32 = ("tensorflow", "onnx", "tflite", "openvino")


def open_model(model: str | Path, *, runtime: str = "auto", exact: bool = False) -> Predictor:
    """Opens a MODEL; a Keras network (run folder or .keras) is run by the wanted or the fastest runtime.

    An exported file is run by its own runtime, as it is. `exact` leaves `auto` the runtimes that compute in float32.
    Raises `InputError` for what is no model, an unknown runtime, or one that the model or this machine lacks.
    """
    if runtime != "auto" and runtime not in NAMES:
        raise InputError(f"there is no runtime '{runtime}'{did_you_mean(runtime, ['auto', *NAMES])}.")
    if str(model) in resize.KERNELS:
        if runtime != "auto":
            raise InputError(f"{model}: is an interpolation, computed by NumPy; drop --runtime.")
        return predictor.interpolation(str(model), 1)
    path = Path(model)
    if not predictor.is_network(path):
        if runtime != "auto":
            raise InputError(f"{path}: is an exported file and runs on its own runtime; drop --runtime.")
        return predictor.open_model(path)
    if exact and runtime.endswith("bfloat16"):
        raise InputError(f"--exact and --runtime {runtime} exclude each other; drop one.")
    network = predictor.open_collapsed(path)
    reference = predictor.of_keras(network, str(path))
    if quantize.is_fake_quantised(network):  # no other runtime computes as its int8 file will
        if runtime not in ("auto", "tensorflow"):
            raise InputError(
                f"{path}: was trained for int8 and runs on TensorFlow float32 only; drop --runtime, or give its "
                "exported .tflite file."
            )
        return reference
    if runtime != "auto":
        return _opened(network, reference, runtime)
    return fastest(network, reference, exact=exact)


def fastest(network: keras.Model, reference: Predictor, *, exact: bool = False) -> Predictor:
    """Measures the runtimes that can be the fastest here on a photograph, and returns the best that is near enough.

    Known, so not measured: ONNX Runtime and LiteRT are within some per cent of TensorFlow in float32, far from what
    bfloat16 gains, and take seconds to convert to (docs/benchmark.md).
    """
    names = candidates(exact)
    if len(names) == 1 or reference.size is not None:
        return reference
    picture = _probe(network, reference)
    expected = reference.network(picture)
    opened = {"tensorflow": reference}
    for name in names[1:]:
        with contextlib.suppress(InputError):  # a runtime that lacks an operator of the network
            opened[name] = _opened(network, reference, name)
    near = {
        name: each
        for name, each in opened.items()
        if name in _FLOAT32 or metrics.psnr(expected * 255.0, each.network(picture) * 255.0) >= LEAST_PSNR
    }
    seconds = dict.fromkeys(near, math.inf)
    for _ in range(_ROUNDS):  # in turns: what else the machine does then slows all of them
        for name, each in near.items():
            seconds[name] = min(seconds[name], _seconds(each.network, picture))
    best = min(near, key=lambda name: seconds[name])
    if not best.startswith("openvino"):
        return near[best]
    opened.clear()  # with the buffers for the probe, which would stay to the end
    near.clear()
    return _opened(network, reference, best)


def candidates(exact: bool) -> list[str]:
    """Lists the runtimes that can be the fastest on this machine."""
    names = ["tensorflow", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
    native = devices.precision("auto") == "mixed_bfloat16"
    return names + ([f"{name}-bfloat16" for name in names] if native and not exact else [])


def _opened(network: keras.Model, reference: Predictor, name: str) -> Predictor:
    kind, _, precision = name.partition("-")
    if kind == "tensorflow":
        return reference if not precision else _in_bfloat16(network, reference)
    exporter = importlib.import_module(f"sr_keras.exporters.{kind}")
    with tempfile.TemporaryDirectory(prefix="sr_keras_") as folder:
        path = exporter.save(without_transposed(network), Path(folder))
        artifact = exporter.load(path, precision=precision) if precision else exporter.load(path)
    needs = reference.bytes_per_pixel
    if precision == "bfloat16":
        needs = predictor.bytes_per_pixel(bfloat16_twin(network))
    labels = {"onnx": "ONNX Runtime", "tflite": "LiteRT", "openvino": "OpenVINO"}
    return replace(
        reference, network=artifact.run, network_uint8=artifact.run_uint8,
        runtime=f"{labels[kind]} {precision or 'float32'}", bytes_per_pixel=needs,
    )  # fmt: skip


def _in_bfloat16(network: keras.Model, reference: Predictor) -> Predictor:
    mixed = predictor.of_network(bfloat16_twin(network), reference.name, "TensorFlow bfloat16")
    return replace(mixed, reach=reference.reach, global_layers=reference.global_layers)


def _probe(network: keras.Model, reference: Predictor) -> np.ndarray:
    """Takes part of a photograph: as many pixels as cost some 4 billion multiplications, 256x256 at most."""
    side = int(np.clip((4e9 / max(network.count_params(), 1)) ** 0.5, 48, 256))
    photograph = embedded.photographs("valid").picture(0)
    part = photograph[:side, :side]
    picture = part.astype(np.float32)[None] / 255.0
    return picture if reference.channels == 3 else picture[..., :1]


def _seconds(network: Callable[[np.ndarray], np.ndarray], picture: np.ndarray) -> float:
    start = time.perf_counter()
    network(picture)
    return time.perf_counter() - start
