"""OpenVINO IR: the two files for Intel's runtime, the fastest of ours on x86 processors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf

from sr_keras.errors import InputError
from sr_keras.exporters._artifact import Artifact, artifact, opening, size_name, tensor_spec, whole
from sr_keras.float32 import float32_twin

if TYPE_CHECKING:
    import openvino

Precision = Literal["float32", "bfloat16"]


def save(model: keras.Model, folder: Path, *, size: tuple[int, int] | None = None, compress: bool = False) -> Path:
    """Writes `folder/model[_HxW].xml`, with its weights in a .bin beside, and returns the path of the .xml.

    It maps `lr` float32 `[N, H, W, C]` in [0, 1] to `sr` `[N, sH, sW, C]`. N is free; H and W too, unless `size` gives
    them in LR pixels. `compress` stores the weights in float16, half the bytes.

    Raises:
        InputError: the network has an operator that OpenVINO lacks.

    See https://docs.openvino.ai/2026/openvino-workflow/model-preparation/convert-model-tensorflow.html.
    """
    runtime = _runtime()
    network = float32_twin(model)
    spec = tensor_spec(network, batch=None, size=size)
    function = tf.function(lambda lr: {"sr": network(lr, training=False)}, input_signature=[spec])
    try:
        converted = runtime.convert_model(function)  # 3 % faster on the CPU than by way of ONNX
    except runtime.frontend.OpConversionFailure as error:
        lines = [line.strip("- ") for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "operations:" in line), lines[0])
        raise InputError(
            f"OpenVINO must have every operator of the network, but says: {reason}; replace that layer."
        ) from error
    path = Path(folder) / ("model.xml" if size is None else f"model_{size_name(size)}.xml")
    with whole(path) as draft:
        runtime.save_model(converted, draft, compress_to_fp16=compress)
        path.unlink(missing_ok=True)  # first out and last in: it never stands beside the weights of another network
        os.replace(draft.with_suffix(".bin"), path.with_suffix(".bin"))
    return path


def load(path: Path, *, precision: Precision = "float32") -> Artifact:
    """Opens the .xml of a network, with the .bin beside, on the CPU.

    `bfloat16` computes in bfloat16 where the processor has instructions for it, about twice as fast, and in float32
    elsewhere. Sums after the last convolution stay float32; if there are none, the pixels have 8 significant bits.

    Raises:
        InputError: there is nothing at `path`, it is no OpenVINO file, or does not take pictures `[N, H, W, C]`.

    See https://docs.openvino.ai/2026/openvino-workflow/running-inference.html.
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision}.")
    runtime, path = _runtime(), Path(path)
    with opening(path, "OpenVINO file", RuntimeError):
        network = runtime.Core().read_model(path, path.with_suffix(".bin"), {"ENABLE_MMAP": False})  # may be replaced
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise InputError(f"{path} must have one input and one output; export the network again.")
    opened = artifact(
        _run(network, precision),
        path=path,
        shape=[None if n.is_dynamic else n.get_length() for n in network.input().partial_shape],
        dtype=network.input().element_type.to_dtype().name,
        operators=(node.get_type_name() for node in network.get_ops() if node.get_type_name() not in _NO_OPERATORS),
    )
    return replace(opened, run_uint8=_run(_uint8_twin(network), precision))


_NO_OPERATORS = ("Parameter", "Constant", "Result")


def _runtime() -> ModuleType:
    """Imports OpenVINO, but not its telemetry, which sends an event to Google at each import, before any consent."""
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    try:
        import openvino
    except ImportError as error:
        raise InputError("OpenVINO is not installed; pip install 'sr_keras[openvino]'.") from error
    return openvino


def _run(network: openvino.Model, precision: Precision) -> Callable[[np.ndarray], np.ndarray]:
    """Compiles for any size, and for a size that comes twice in a row: 5 to 9 % faster, after 40 ms of compiling.

    Only what was used last holds buffers for its tensors.
    """
    runtime, last_shape, last = _runtime(), None, None
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": _cores()}
    settings["ENABLE_CPU_PINNING"] = False  # a pinned thread waits for what else runs on its core: 25 % slower
    if precision == "float32":  # without a hint, OpenVINO takes what is fastest on the processor
        settings["INFERENCE_PRECISION_HINT"] = "f32"

    @lru_cache(maxsize=4)  # of any size, and of the windows of pictures of three sizes
    def request(shape: tuple[int, ...] | None) -> openvino.InferRequest:
        own = network.clone()
        if shape is not None:
            own.reshape(shape)
        return runtime.Core().compile_model(own, "CPU", settings).create_infer_request()

    def run(lr: np.ndarray) -> np.ndarray:
        nonlocal last_shape, last
        wanted = request(lr.shape if lr.shape == last_shape else None)
        if last is not None and last is not wanted:
            last.get_compiled_model().release_memory()
        last_shape, last = lr.shape, wanted
        (place,) = wanted.model_outputs
        if place.partial_shape.is_dynamic:
            return wanted.infer([lr], share_inputs=True)[0]
        sr = np.empty(tuple(place.shape), place.element_type.to_dtype())  # written at once where it stays
        wanted.set_output_tensor(runtime.Tensor(sr, shared_memory=True))
        wanted.infer([lr], share_inputs=True, share_outputs=True)
        return sr

    return run


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _uint8_twin(network: openvino.Model) -> openvino.Model:
    """The network on uint8 in 0..255: divided by 255 before, and after that floor(255 * x + 0.5) and clipped.

    Pixels are rounded before they are put in their places, since uint8 is moved four times as fast.
    """
    from openvino import opset13 as ops

    twin = network.clone()
    source, end = twin.input().node, twin.output().node.input(0)
    lr = ops.parameter(source.get_output_partial_shape(0), np.uint8, name="lr")
    scaled = ops.divide(ops.convert(lr, "f32"), np.float32(255.0))
    for consumer in source.output(0).get_target_inputs():
        consumer.replace_source_output(scaled.output(0))
    while (node := end.get_source_output().get_node()).get_type_name() in ("Transpose", "DepthToSpace", "Clamp"):
        if node.get_type_name() == "Clamp":
            if (node.get_attributes()["min"], node.get_attributes()["max"]) != (0.0, 1.0):
                break
            end.replace_source_output(node.input_value(0))  # the clip below says the same
        else:
            end = node.input(0)
    levels = ops.add(ops.multiply(end.get_source_output(), np.float32(255.0)), np.float32(0.5))
    end.replace_source_output(ops.convert(ops.clamp(levels, 0.0, 255.0), "u8").output(0))
    return _runtime().Model(twin.get_results(), [lr], "uint8")
