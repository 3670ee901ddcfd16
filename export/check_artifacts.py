"""Replays the golden pictures of an export folder on every artifact: `python check_artifacts.py DIR`.

Run it where the artifacts will run. It needs numpy, Pillow and the runtimes of the files that are there:
ai-edge-litert, onnxruntime, openvino, or tensorflow for a SavedModel; and nothing of sr_keras. A file whose runtime is
missing is named and not counted as checked.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Run = Callable[[np.ndarray], np.ndarray]  # float32 [1, H, W, C] in [0, 1] to float32


def tflite(path: Path) -> Run:
    """Opens a .tflite file with LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def run(lr: np.ndarray) -> np.ndarray:
        if tuple(source["shape"]) != lr.shape:
            interpreter.resize_tensor_input(source["index"], lr.shape, strict=True)
            interpreter.allocate_tensors()
        fed = lr if source["dtype"] == np.float32 else np.rint(lr * 255.0).astype(source["dtype"])
        interpreter.set_tensor(source["index"], fed)
        interpreter.invoke()
        sr = interpreter.get_tensor(target["index"]).astype(np.float32)
        scale, zero_point = target["quantization"]
        return (sr - zero_point) * scale if scale else sr

    return run


def onnx(path: Path) -> Run:
    """Opens an .onnx file with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda lr: np.asarray(session.run(None, {"lr": lr})[0])


def openvino(path: Path) -> Run:
    """Opens an .xml and its .bin with OpenVINO."""
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda lr: model({"lr": lr})[model.output(0)]


def saved_model(path: Path) -> Run:
    """Opens a SavedModel with TensorFlow."""
    import tensorflow as tf

    module = tf.saved_model.load(str(path))  # kept by the closure: its variables go with it
    return lambda lr: module.signatures["serving_default"](lr=tf.constant(lr))["sr"].numpy()


OPENERS = {"tflite": tflite, "onnx": onnx, "openvino": openvino, "saved_model": saved_model}


def replayed(folder: Path, artifact: dict) -> tuple[str, str]:
    """Returns `ok`, `FAILED` or `skipped` for one artifact of the manifest, and why."""
    names = [artifact["file"], *artifact["files"], artifact["golden"]["lr"], artifact["golden"]["sr"]]
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        return "FAILED", f"{missing[0]} is missing"
    if any(not (folder / name).resolve().is_relative_to(folder.resolve()) for name in names):
        return "FAILED", "the manifest names a file outside the folder"
    path, golden = folder / artifact["file"], artifact["golden"]
    if digest(folder, artifact["files"]) != artifact["sha256"]:
        return "FAILED", "it is not what was exported (sha256)"
    lr, wanted = (_pixels(folder / golden[key]) for key in ("lr", "sr"))
    try:
        run = OPENERS[artifact["kind"].split()[0]](path)
    except ImportError as error:
        return "skipped", f"needs {error.name}"
    sr = run(lr[None].astype(np.float32) / 255.0)[0]
    got = np.floor(np.clip(sr, 0.0, 1.0) * 255.0 + 0.5).astype(np.int32)
    if got.shape != wanted.shape:
        return "FAILED", f"gives {list(got.shape)}, not {list(wanted.shape)}"
    levels = np.abs(got - wanted)
    share = float(np.mean(levels <= golden["levels"]))
    found = f"{share:.2%} within {golden['levels']} levels, {levels.max()} at most"
    return ("ok" if share >= golden["share"] else "FAILED"), found


def digest(folder: Path, names: list[str]) -> str:
    """Returns the sha256 of a file, or of the names and contents of several files or of a folder's, in order."""
    first = folder / names[0]
    base = first if first.is_dir() else folder
    files = sorted(p for p in first.rglob("*") if p.is_file()) if first.is_dir() else [folder / name for name in names]
    found = hashlib.sha256()
    for file in files:
        if first.is_dir() or len(files) > 1:
            found.update(file.relative_to(base).as_posix().encode())
        found.update(file.read_bytes())
    return found.hexdigest()


def _pixels(path: Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path)).astype(np.int32)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def main() -> int:
    """Checks a folder and prints a line for each artifact; returns 0 if at least one ran and none failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="written by python -m sr_keras.export")
    folder = parser.parse_args().folder
    try:
        artifacts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["artifacts"]
        verdicts = []
        for artifact in artifacts:
            try:
                verdict, why = replayed(folder, artifact)
            except Exception as error:  # of a runtime, a decoder, the manifest: the others are checked all the same
                verdict, why = "FAILED", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            verdicts.append(verdict)
            print(f"{verdict:8} {artifact['file']:32} {why}")
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {folder}: is no export folder ({error}); give the one with manifest.json.", file=sys.stderr)
        return 2
    print(f"{verdicts.count('ok')} ok, {verdicts.count('FAILED')} failed, {verdicts.count('skipped')} skipped")
    return 0 if "ok" in verdicts and "FAILED" not in verdicts else 1


if __name__ == "__main__":
    sys.exit(main())
