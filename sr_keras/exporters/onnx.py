"""ONNX: the file for ONNX Runtime, DirectML, browsers and most other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from sr_keras.errors import InputError
from sr_keras.exporters._artifact import Artifact, artifact, opening, size_name, tensor_spec, whole
from sr_keras.float32 import float32_twin

if TYPE_CHECKING:
    import onnx


def save(model: keras.Model, folder: Path, *, size: tuple[int, int] | None = None, opset: int = 17) -> Path:
    """Writes `folder/model[_HxW].onnx` and returns its path.

    It maps `lr` float32 `[N, H, W, C]` in [0, 1] to `sr` `[N, H_out, W_out, C]`. N is free; H and W too,
    unless `size` gives them in LR pixels. `opset` is the version of the operators; tf2onnx 1.17 knows 18 too.

    Raises:
        InputError: the network has an operator that ONNX lacks, such as a grouped convolution.

    See https://github.com/onnx/tensorflow-onnx.
    """
    import onnx
    import tf2onnx

    network = float32_twin(model)
    spec = tensor_spec(network, batch=None, size=size)
    function = tf.function(lambda lr: {"sr": network(lr, training=False)}, input_signature=[spec])
    proto, _ = tf2onnx.convert.from_function(function, input_signature=[spec], opset=opset)
    _name_axes(proto.graph.input[0], ("N", "H", "W"))
    _name_axes(proto.graph.output[0], ("N", "H_out", "W_out"))
    try:
        onnx.checker.check_model(proto, full_check=True)  # tf2onnx only logs what it could not convert
    except onnx.checker.ValidationError as error:
        raise InputError(
            f"ONNX must have every operator of the network, but says: {str(error).splitlines()[0]}; replace that layer."
        ) from error
    path = Path(folder) / ("model.onnx" if size is None else f"model_{size_name(size)}.onnx")
    with whole(path) as draft:
        onnx.save(proto, draft)
    return path


def load(path: Path) -> Artifact:
    """Opens an ONNX file with ONNX Runtime on the CPU.

    Raises:
        InputError: there is nothing at `path`, it is no ONNX file, or does not take pictures `[N, H, W, C]`.

    See https://onnxruntime.ai/docs/api/python/api_summary.html.
    """
    import onnx
    import onnxruntime

    path = Path(path)
    with opening(path, "ONNX file", DecodeError, OSError, onnx.checker.ValidationError):
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with opening(path, "ONNX file", RuntimeError, ValueError, onnxruntime.capi.onnxruntime_pybind11_state.Fail):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    source, target = session.get_inputs()[0], session.get_outputs()[0]

    def run(lr: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([target.name], {source.name: lr})[0])

    return artifact(
        run,
        path=path,
        shape=[n if isinstance(n, int) else None for n in source.shape],
        dtype="float32" if source.type == "tensor(float)" else str(source.type),
        operators=(node.op_type for node in proto.graph.node),
    )


def _name_axes(value: onnx.ValueInfoProto, names: tuple[str, str, str]) -> None:
    for axis, name in zip(value.type.tensor_type.shape.dim[:3], names, strict=True):
        if not axis.dim_value:
            axis.dim_param = name
