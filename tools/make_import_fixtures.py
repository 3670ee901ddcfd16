"""Makes tests/fixtures/imports: tiny networks of PyTorch with random weights, a picture, and what they make of it.

The networks are spandrel's where it has the architecture, else those in tools/import_fixtures, written from the papers
and the authors' names of modules; nothing of sr_keras takes part. It needs PyTorch, in an environment of its own:

    python3 -m venv /tmp/torch-env && /tmp/torch-env/bin/pip install torch torchvision spandrel
    /tmp/torch-env/bin/python tools/make_import_fixtures.py [NAME ...]
"""

import importlib
import pkgutil
import sys
from pathlib import Path

import import_fixtures
import numpy as np
import torch

FOLDER = Path(__file__).parent.parent / "tests" / "fixtures" / "imports"


def main() -> None:
    """Writes `<architecture>-<case>.pth` and `.npz` (NHWC: lr in 0..255, sr about 0..1), all or the named ones."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    modules = (module.name for module in pkgutil.iter_modules(import_fixtures.__path__))
    names = sorted(name for name in modules if not name.startswith("_"))
    for architecture in [name for name in names if not sys.argv[1:] or name in sys.argv[1:]]:
        for case in importlib.import_module(f"import_fixtures.{architecture}").cases():
            _write(f"{architecture}-{case.name}", case)


def _write(name: str, case: import_fixtures.Case) -> None:
    generator = torch.Generator().manual_seed(sum(name.encode()))
    network = case.network.eval()
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if tensor.is_floating_point() and key not in case.kept:
                drawn = case.drawn(key, _random(key, tensor, generator))
                tensor.copy_(drawn.half())  # halves, so that the file may hold them as such
        height, width = case.size
        pixels = torch.randint(256, (1, case.channels, height, width), generator=generator)
        lr = pixels / 255.0
        sr = network(lr * case.pixel_range) / case.pixel_range
    state = {key: t.half() if t.is_floating_point() else t for key, t in network.state_dict().items()}
    torch.save(case.wrapped(state), FOLDER / f"{name}.pth")
    lr_file, sr_file = (t.numpy().transpose(0, 2, 3, 1) for t in (pixels, sr))
    np.savez_compressed(FOLDER / f"{name}.npz", lr=lr_file.astype(np.uint8), sr=sr_file.astype(np.float32))
    sizes = [(FOLDER / f"{name}{ending}").stat().st_size for ending in (".pth", ".npz")]
    print(f"{name}: {sum(sizes) / 1000:.1f} kB, {tuple(sr.shape[2:])}, {float(sr.min()):.2f}..{float(sr.max()):.2f}")
    if weak := _weak(case, lr, sr):
        print(f"  of no weight to the picture: {', '.join(weak)}")


def _weak(case: import_fixtures.Case, lr: torch.Tensor, sr: torch.Tensor) -> list[str]:
    """Lists the tensors whose loss moves no pixel by twice what tests/test_recognition.py lets pass."""
    found = []
    for key, tensor in case.network.state_dict().items():
        if any(part in key for part in case.idle):
            continue
        before = tensor.clone()
        with torch.no_grad():
            tensor.zero_()
            without = case.network(lr * case.pixel_range) / case.pixel_range
            tensor.copy_(before)
        if before.any() and float((without - sr).abs().max()) < 4e-5:
            found.append(key)
    return found


def _random(key: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draws weights that keep a signal's size, and variances that are none of them negative."""
    values = torch.randn(tensor.shape, generator=generator)
    if "var" in key:
        return 0.5 + values.abs()
    if tensor.ndim < 2:
        return 0.1 * values + (tensor if tensor.ndim == 1 and bool((tensor == 1).all()) else 0)
    return values / max(tensor[0].numel(), 1) ** 0.5


if __name__ == "__main__":
    main()
