"""The PyTorch half of the training benchmark; needs PyTorch and NumPy alone."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import SCALE, torch_networks
from .workers import Answer, Work


def prepare(spec: Mapping[str, Any]) -> tuple[Answer, Work]:
    """Makes the worker that trains with PyTorch, the steps of one turn for each order.

    Eager, channels_last, the fused Adam. Its input is as cheap as it gets: crops and flips of pictures in memory whose
    LR was made before, uint8 until they are a tensor.
    """
    import torch  # pyright: ignore[reportMissingImports]
    from torch.nn import functional  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    network = torch_networks.build(spec["model"], filters=spec["filters"], blocks=spec["blocks"])
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), spec["learning_rate"], fused=True)
    mixed = spec["precision"] == "bfloat16"
    arrays = np.load(spec["pairs"])
    pairs = [(arrays[f"hr_{k}"], arrays[f"lr_{k}"]) for k in range(len(arrays) // 2)]
    random = np.random.default_rng(0)

    def to_tensor(pixels: np.ndarray) -> Any:
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255.0)  # channels_last as it lies

    def step() -> float:
        start = time.perf_counter()
        hr, lr = map(to_tensor, _crops(pairs, random, spec["batch"], spec["patch"]))
        ready = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = functional.l1_loss(network(lr), hr)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return ready - start

    def turn() -> Answer:
        for _ in range(spec["warm_up"]):
            step()
        start = time.perf_counter()
        waited = sum(step() for _ in range(spec["steps"]))
        return {"seconds": time.perf_counter() - start, "input_seconds": waited}

    return {"parameters": sum(p.numel() for p in network.parameters())}, turn


def _crops(pairs: Sequence, random: np.random.Generator, batch: int, patch: int) -> tuple[np.ndarray, np.ndarray]:
    high = np.empty((batch, SCALE * patch, SCALE * patch, 3), np.uint8)
    low = np.empty((batch, patch, patch, 3), np.uint8)
    for k in range(batch):
        hr, lr = pairs[int(random.integers(len(pairs)))]
        top, left = (int(random.integers(side - patch + 1)) for side in lr.shape[:2])
        turn = int(random.integers(8))
        for out, picture, factor in ((high[k], hr, SCALE), (low[k], lr, 1)):
            rows, columns = [slice(factor * at, factor * (at + patch)) for at in (top, left)]
            turned = np.rot90(picture[rows, columns], turn % 4)
            out[:] = turned[:, ::-1] if turn & 4 else turned
    return high, low
