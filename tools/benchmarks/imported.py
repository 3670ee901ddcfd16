"""What enlarging a picture takes with imported weights, against ncnn itself and against spandrel in PyTorch."""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import mosaic
from .report import Report, Speeds, Table, megabytes, memory_of, need_proc, say
from .workers import Answer, Work, bind, in_turns, started, torch_version

Spec = Mapping[str, Any]  # of a worker: run folder, ncnn file, PyTorch's tensors, LR picture, threads
_NEAR = 35.0  # dB PSNR from ncnn's picture: in bfloat16 some 45 to 55


@dataclass(frozen=True)
class ImportedRow:
    """One program: its seconds, those beside ncnn's, its memory in bytes, PSNR in dB to ncnn's picture."""

    program: str
    seconds: float
    times: Speeds
    peak_memory: int
    psnr: float | None


def imported(*, param: Path, size: tuple[int, int], torch_python: str, threads: int, rounds: int) -> Report:
    """Times one picture with an ncnn file: Upscaler, as it chooses its runtime, ncnn, and spandrel in PyTorch.

    Raises `InputError` for a file that can't be imported, and where `torch_python` has no PyTorch.
    """
    need_proc("imported")
    from sr_keras import image, metrics, recognition
    from sr_keras.import_weights import import_weights
    from sr_keras.run import Run

    versions = {"PyTorch": torch_version(torch_python)}
    with tempfile.TemporaryDirectory(prefix="sr_keras_benchmark_") as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        import_weights(param, Run(folder / "run"))
        lr = mosaic.mosaic(mosaic.cells(None), *size, seed=0)
        _, found = recognition.recognise(recognition.read(param)[0], param)
        np.savez(folder / "torch.npz", **found.tensors)
        np.save(folder / "lr.npy", lr)
        spec = {"folder": temporary, "param": str(param), "threads": threads}
        workers, pictures = {}, {}
        for name, label in PROGRAMS.items():
            say(f"starting {label}")
            python = torch_python if name.startswith("torch") else sys.executable
            workers[name] = stack.enter_context(started(python, "imported", spec | {"program": name}))
            workers[name].ask(target=str(folder / f"{name}.npy"))
            pictures[name] = image.to_uint8(np.clip(np.load(folder / f"{name}.npy"), 0.0, 1.0))
        psnr = {
            name: metrics.psnr(*(p.astype(np.float32) for p in (pictures["ncnn"], pictures[name]))) for name in workers
        }
        far = [PROGRAMS[name] for name in workers if psnr[name] < _NEAR]
        if far:
            raise RuntimeError(f"{far[0]} makes another picture than ncnn: not the same network.")
        answers: dict[str, Answer] = {}

        def turn(name: str) -> float:
            answers[name] = workers[name].ask()
            return answers[name]["seconds"]

        seconds = in_turns({name: lambda name=name: turn(name) for name in workers}, rounds)
        chosen = workers["ours"].ready["chosen"]
    rows = [
        ImportedRow(
            f"{PROGRAMS[name]} ({chosen})" if name == "ours" else PROGRAMS[name], statistics.median(times),
            Speeds.of(times, seconds["ncnn"]), answers[name]["peak"], psnr[name] if np.isfinite(psnr[name]) else None,
        )
        for name, times in seconds.items()
    ]  # fmt: skip
    header = ["program", "seconds", "time, ncnn's is 1", "lowest - highest", "peak memory", "PSNR to ncnn's"]
    return Report([Table(header, [_cells(row) for row in rows], rows)], versions)


def _cells(row: ImportedRow) -> list[str]:
    times = [f"{row.seconds:.2f}", f"{row.times.ratio:.2f}", row.times.range]
    return [row.program, *times, megabytes(row.peak_memory), "equal" if row.psnr is None else f"{row.psnr:.1f}"]


def prepare(spec: Spec) -> tuple[Answer, Work]:
    """Makes the worker that enlarges the picture; the first time, it writes what it made."""
    bind(spec["threads"])
    enlarge, ready = {"ours": _ours, "ncnn": _ncnn, "torch": _torch}[spec["program"].partition("-")[0]](spec)
    lr = np.load(Path(spec["folder"]) / "lr.npy")

    def work(target: str | None = None) -> Answer:
        start = time.perf_counter()
        sr = enlarge(lr)
        seconds = time.perf_counter() - start
        if target is not None:
            np.save(target, sr if sr.dtype != np.uint8 else sr.astype(np.float32) / 255.0)
        return {"seconds": seconds, "peak": memory_of()["VmHWM"]}

    return ready, work


Enlarge = Callable[[np.ndarray], np.ndarray]  # uint8 [H, W, 3] to the enlarged picture


def _ours(spec: Spec) -> tuple[Enlarge, Answer]:
    import sr_keras

    runtime = "openvino-bfloat16" if spec["program"].endswith("bfloat16") else "auto"
    upscaler = sr_keras.Upscaler(str(Path(spec["folder"]) / "run"), runtime=runtime)
    return upscaler, {"chosen": upscaler.predictor.runtime}


def _ncnn(spec: Spec) -> tuple[Enlarge, Answer]:
    """As realesrgan-ncnn runs it, without Vulkan; whole, its default options."""
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = spec["threads"]
    net.load_param(spec["param"])
    net.load_model(str(Path(spec["param"]).with_suffix(".bin")))

    def enlarge(lr: np.ndarray) -> np.ndarray:
        planes = np.ascontiguousarray(lr.transpose(2, 0, 1), np.float32) / np.float32(255.0)
        run = net.create_extractor()
        run.input("data", ncnn.Mat(planes))
        return np.array(run.extract("output")[1]).transpose(1, 2, 0)

    return enlarge, {}


def _torch(spec: Spec) -> tuple[Enlarge, Answer]:
    """spandrel's network, eager, channels_last."""
    import spandrel  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(spec["threads"])
    kind = torch.bfloat16 if spec["program"].endswith("bfloat16") else torch.float32
    tensors = np.load(Path(spec["folder"]) / "torch.npz")
    state = {name: torch.from_numpy(tensors[name].astype(np.float32)) for name in tensors.files}
    network = (
        spandrel.ModelLoader().load_from_state_dict(state).model.eval().to(kind, memory_format=torch.channels_last)
    )

    def enlarge(lr: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(lr[None].astype(np.float32) / np.float32(255.0)).permute(0, 3, 1, 2)
            return network(x.to(kind))[0].permute(1, 2, 0).float().numpy()

    return enlarge, {}


PROGRAMS = {
    "ncnn": "ncnn", "torch": "PyTorch float32, spandrel", "torch-bfloat16": "PyTorch bfloat16, spandrel",
    "ours": "sr_keras", "ours-bfloat16": "sr_keras, --runtime openvino-bfloat16",
}  # fmt: skip
