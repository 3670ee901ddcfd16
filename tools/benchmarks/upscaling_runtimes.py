"""The workers of `upscale`: each opens one runtime and enlarges with it; PyTorch's need PyTorch and NumPy alone."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import SCALE, torch_networks
from .report import memory_of
from .workers import Answer, Work, bind

Enlarge = Callable[[np.ndarray], np.ndarray]
Spec = Mapping[str, Any]  # of a worker: the paths of the network in all formats, the LR picture, the threads


@dataclass(frozen=True)
class Runtime:
    """One way to enlarge `[1, H, W, 3]`, float32 in [0, 1] or uint8; `export` names the file that it reads."""

    label: str
    open: Callable[[Spec], Enlarge]
    export: str | None = None
    takes: str = "float32"

    @property
    def is_torch(self) -> bool:
        return self.export == "torch"


def prepare(spec: Spec) -> tuple[Answer, Work]:
    """Makes the worker that enlarges the picture `spec["lr"]`, or another one from file to file."""
    bind(spec["threads"])
    runtime = RUNTIMES[spec["runtime"]]
    enlarge, ready = runtime.open(spec), {}
    if isinstance(enlarge, _Upscaler):
        ready["chosen"] = enlarge.chosen
    lr = _natural(np.load(spec["lr"]), runtime)

    def work(source: str | None = None, target: str | None = None) -> Answer:
        if source is not None and target is not None:
            pixels = _natural(np.load(source), runtime)
            enlarge(pixels)  # OpenVINO compiles once more, for its size, when a size comes again
            np.save(target, enlarge(pixels)[0])
            return {}
        start = time.perf_counter()
        sr = enlarge(lr)
        seconds = time.perf_counter() - start
        del sr
        return {"seconds": seconds, "peak": memory_of()["VmHWM"]}

    return ready, work


def _natural(pixels: np.ndarray, runtime: Runtime) -> np.ndarray:
    """Brings uint8 `[H, W, 3]` to what the runtime takes."""
    return pixels[None] if runtime.takes == "uint8" else pixels[None].astype(np.float32) / np.float32(255.0)


def _keras(spec: Spec) -> Enlarge:
    from sr_keras import runtimes

    return runtimes.open_model(spec["model"], runtime="tensorflow").network


def _keras_bfloat16(spec: Spec) -> Enlarge:
    from sr_keras import runtimes

    return runtimes.open_model(spec["model"], runtime="tensorflow-bfloat16").network


def _saved_model(spec: Spec) -> Enlarge:
    from sr_keras.exporters import saved_model

    return saved_model.load(Path(spec["saved_model"])).run


def _tflite(spec: Spec) -> Enlarge:
    from sr_keras.exporters import tflite

    return tflite.load(Path(spec["tflite"])).run


def _tflite_int8(spec: Spec) -> Enlarge:
    from sr_keras.exporters import tflite

    return tflite.load(Path(spec["tflite_int8"])).run


def _onnx(spec: Spec) -> Enlarge:
    from sr_keras.exporters import onnx

    return onnx.load(Path(spec["onnx"])).run


def _openvino(spec: Spec) -> Enlarge:
    from sr_keras.exporters import openvino

    return openvino.load(Path(spec["openvino"])).run


def _openvino_bfloat16(spec: Spec) -> Enlarge:
    from sr_keras.exporters import openvino

    return openvino.load(Path(spec["openvino"]), precision="bfloat16").run


def _opencv(spec: Spec) -> Enlarge:
    import cv2

    cv2.setNumThreads(spec["threads"])
    return lambda lr: cv2.resize(lr[0], None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)[None]


def _torch(spec: Spec, *, mixed: bool = False) -> Enlarge:
    """Eager, channels_last: `[1, H, W, 3]` lies as PyTorch wants it, so neither side of it is copied."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(spec["threads"])
    state = {name: torch.from_numpy(part) for name, part in np.load(spec["torch"]).items()}
    filters, blocks = len(state["body.0.bias"]), len(state) // 2 - 2
    network = torch_networks.build("anchor", filters=filters, blocks=blocks)
    network.load_state_dict(state)
    network = network.eval().to(memory_format=torch.channels_last)

    def enlarge(lr: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return network(torch.from_numpy(lr).permute(0, 3, 1, 2)).float().permute(0, 2, 3, 1).numpy()

    return enlarge


def _torch_bfloat16(spec: Spec) -> Enlarge:
    return _torch(spec, mixed=True)


class _Upscaler:
    """sr_keras.Upscaler as a user calls it, with the runtime that it chooses."""

    def __init__(self, spec: Spec) -> None:
        import sr_keras

        self._enlarge = sr_keras.Upscaler(spec["model"])
        self.chosen = self._enlarge.predictor.runtime

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        return self._enlarge(lr[0])[None]


def _upscaler_without_openvino(spec: Spec) -> Enlarge:
    hide_openvino()
    return _Upscaler(spec)


def hide_openvino() -> None:
    """Lets this process find no OpenVINO, as after the default install."""
    sys.modules["openvino"] = None  # pyright: ignore[reportArgumentType]


RUNTIMES = {
    "keras": Runtime("Keras float32", _keras),
    "keras-bfloat16": Runtime("Keras bfloat16", _keras_bfloat16),
    "saved-model": Runtime("SavedModel", _saved_model, "saved_model"),
    "tflite": Runtime("TFLite float32", _tflite, "tflite"),
    "tflite-int8": Runtime("TFLite int8", _tflite_int8, "tflite_int8"),
    "onnx": Runtime("ONNX Runtime", _onnx, "onnx"),
    "openvino": Runtime("OpenVINO float32", _openvino, "openvino"),
    "openvino-bfloat16": Runtime("OpenVINO bfloat16", _openvino_bfloat16, "openvino"),
    "opencv": Runtime("OpenCV bicubic", _opencv, takes="uint8"),
    "torch": Runtime("PyTorch float32", _torch, "torch"),
    "torch-bfloat16": Runtime("PyTorch bfloat16", _torch_bfloat16, "torch"),
    "upscaler-default": Runtime("Upscaler, default install", _upscaler_without_openvino, takes="uint8"),
    "upscaler": Runtime("Upscaler", _Upscaler, takes="uint8"),
}
