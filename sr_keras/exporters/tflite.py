"""TFLite (LiteRT): the file for phones and small boards, in float32 or with smaller numbers."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf

from sr_keras import image, quantize
from sr_keras.errors import InputError
from sr_keras.exporters._artifact import (
    Artifact,
    artifact,
    opening,
    size_name,
    tensor_spec,
    whole,
    write_saved_model,
)
from sr_keras.exporters._tflite_metadata import About, with_metadata
from sr_keras.float32 import float32_twin
from sr_keras.layers.transposed import shuffled_by_transposed

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

Precision = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
Shuffle = Literal["depth_to_space", "transposed"]


def save(
    model: keras.Model,
    folder: Path,
    *,
    size: tuple[int, int] | None = None,
    precision: Precision = "float32",
    shuffle: Shuffle = "depth_to_space",
    calibration: Sequence[np.ndarray] | None = None,
    about: About | None = None,
) -> Path:
    """Writes `folder/model_<precision>[_transposed][_HxW].tflite` and returns its path; for one picture at a time.

    The signature `serving_default` maps `lr` `[1, H, W, C]` to `sr` `[1, sH, sW, C]`, float32 in [0, 1].
    `float16` and `dynamic` (int8) store smaller weights. `int8` computes in whole numbers alone: uint8 in,
    0..255, and uint8 out, by the scale in the file: exactly 1/255 for a fake-quantised network, which brings its
    ranges with it. `int16x8` has activations of 16 bits, float32 at both ends and around depth_to_space, which TFLite
    has in 8 bits only. H and W are free unless `size` gives them in LR pixels; phones want them given.

    Args:
        shuffle: what enlarges; `transposed` is a fixed transposed convolution, for delegates without depth_to_space.
        calibration: for `int8` and `int16x8`, LR pictures float32 `[H, W, C]` in [0, 1] to measure ranges on.
        about: what the file says of itself, in TFLite's metadata.

    Raises:
        InputError: an unknown precision, `int8` of a float network or `int16x8` without such calibration pictures, or
            another precision of a fake-quantised network.
        RuntimeError: the converter made a file that would compute nonsense.

    See https://ai.google.dev/edge/litert/models/post_training_quantization.
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, got {precision}.")
    if shuffle not in get_args(Shuffle):
        raise InputError(f"shuffle must be one of {', '.join(get_args(Shuffle))}, got {shuffle}.")
    ranged = quantize.is_fake_quantised(model)
    if ranged and precision != "int8":
        raise InputError(f"A fake-quantised network becomes int8, not {precision}; take the fake quantisation off it.")
    pictures = []
    if precision == "int16x8" or (precision == "int8" and not ranged):
        pictures = _calibration(calibration or (), model, size, precision)
    if shuffle == "transposed":
        model = shuffled_by_transposed(model)
    with tempfile.TemporaryDirectory() as scratch:
        _write_saved_model(model, Path(scratch), size)
        content = _converted(scratch, precision, pictures)
    _refuse_nonsense(content, precision)
    if about is not None:
        content = with_metadata(content, about, precision)
    transposed = "_transposed" if shuffle == "transposed" else ""
    place = f"_{size_name(size)}" if size else ""
    path = Path(folder) / f"model_{precision}{transposed}{place}.tflite"
    with whole(path) as draft:
        draft.write_bytes(content)
    return path


def _converted(folder: str, precision: Precision, pictures: list[dict[str, np.ndarray]]) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if pictures:
        converter.representative_dataset = lambda: iter(pictures)
    if precision == "int8" and pictures:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if precision == "int8":
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    if precision == "int16x8":
        sets = tf.lite.OpsSet
        converter.target_spec.supported_ops = [
            sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8, sets.TFLITE_BUILTINS,
        ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")  # its own use of it
        return converter.convert()


def load(path: Path) -> Artifact:
    """Opens a TFLite file; quantised pictures go in and come out as float32, by the scales in the file.

    Raises:
        InputError: there is nothing at `path`, it is no TFLite file, or does not take one picture at a time.

    See https://ai.google.dev/edge/api/tflite/python/tf/lite/Interpreter.
    """
    path = Path(path)
    with opening(path, "TFLite file", ValueError, RuntimeError, OSError):
        interpreter = _interpreter(path.read_bytes())
        interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    batch, *shape = (None if n < 0 else int(n) for n in source["shape_signature"])
    if batch not in (None, 1):
        raise InputError(f"{path} must take one picture at a time, but takes {batch}; export it with a batch of 1.")

    def run(lr: np.ndarray) -> np.ndarray:
        return np.concatenate([_run_one(interpreter, picture[None]) for picture in lr])

    opened = artifact(
        run,
        path=path,
        shape=(batch, *shape),
        dtype=np.dtype(source["dtype"]).name,
        operators=_operators(interpreter),
    )
    return replace(
        opened,
        input_type=_type(source),
        output_type=_type(interpreter.get_output_details()[0]),
        local=not _is_dynamic(interpreter),
    )


def _is_dynamic(interpreter: Interpreter) -> bool:
    """Says whether int8 weights meet float pictures: LiteRT then quantises activations by each picture's range."""
    whole = any(tensor["dtype"] == np.int8 for tensor in interpreter.get_tensor_details())
    return (
        whole
        and not {"QUANTIZE", "DEQUANTIZE"} & set(_operators(interpreter))
        and (interpreter.get_input_details()[0]["dtype"] == np.float32)
    )


def _type(tensor: dict[str, Any]) -> dict[str, Any]:
    scale, zero_point = tensor["quantization"]
    whole = {"scale": float(scale), "zero_point": int(zero_point)} if scale else {}
    return {"dtype": np.dtype(tensor["dtype"]).name, **whole}


def _calibration(
    pictures: Sequence[np.ndarray], model: keras.Model, size: tuple[int, int] | None, precision: str
) -> list[dict[str, np.ndarray]]:
    if not pictures:
        raise InputError(
            f"{precision} needs calibration, got no pictures; give some, float32 [H, W, C] in [0, 1], of LR size."
        )
    _, height, width, channels = model.input_shape
    for picture in pictures:
        if picture.dtype != np.float32 or picture.ndim != 3 or picture.shape[2] != channels:
            raise InputError(
                f"A calibration picture is float32 [H, W, {channels}] in [0, 1], got {picture.dtype} "
                f"{list(picture.shape)}; convert it first."
            )
        if picture.min() < 0.0 or picture.max() > 1.0:
            raise InputError(
                f"A calibration picture is in [0, 1], got {picture.min()} to {picture.max()}; divide by 255."
            )
    # The calibrator allocates for the first picture's size only.
    smallest = np.min([picture.shape[:2] for picture in pictures], axis=0)
    height, width = size or (height or smallest[0], width or smallest[1])
    same = [image.fitted(picture, height, width) for picture in pictures]
    # Black and white pin the input to 0..1, hence to scale 1/255 and zero point 0.
    ends = [np.full_like(same[0], end) for end in (0.0, 1.0)]
    return [{"lr": picture[None]} for picture in same + ends]


def _write_saved_model(model: keras.Model, folder: Path, size: tuple[int, int] | None) -> None:
    network = float32_twin(model)

    def upscale(lr: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sr": network(lr, training=False)}

    spec = tensor_spec(network, batch=1, size=size)
    write_saved_model(network, folder, {"serving_default": (upscale, spec)})


def _refuse_nonsense(content: bytes, precision: str) -> None:
    interpreter = _interpreter(content)
    if "VAR_HANDLE" in _operators(interpreter):
        raise RuntimeError(
            "A TFLite file must hold its weights, but this has VAR_HANDLE and gives NaN; report it as a bug."
        )
    scale, zero_point = interpreter.get_input_details()[0]["quantization"]
    if precision == "int8" and (abs(scale * 255 - 1) > 1e-4 or zero_point != 0):
        raise RuntimeError(
            f"The int8 input must have scale 1/255 and zero point 0, got {scale} and {zero_point}; report it as a bug."
        )


def _interpreter(content: bytes) -> Interpreter:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_content=content, num_threads=os.cpu_count())


def _operators(interpreter: Interpreter) -> Iterator[str]:
    names = (operator["op_name"] for operator in interpreter._get_ops_details())
    return (name for name in names if name != "DELEGATE")  # XNNPACK's own, not in the file


def _run_one(interpreter: Interpreter, lr: np.ndarray) -> np.ndarray:
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if tuple(source["shape"]) != lr.shape:
        interpreter.resize_tensor_input(source["index"], lr.shape, strict=True)
        interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], _quantise(lr, source))
    interpreter.invoke()
    return _dequantise(interpreter.get_tensor(target["index"]), target)


def _quantise(x: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    if tensor["dtype"] == np.float32:
        return x
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    return np.clip(np.floor(x / scale + (zero_point + 0.5)), limits.min, limits.max).astype(tensor["dtype"])


def _dequantise(x: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    if tensor["dtype"] == np.float32:
        return x
    scale, zero_point = tensor["quantization"]
    return (x.astype(np.float32) - zero_point) * np.float32(scale)
