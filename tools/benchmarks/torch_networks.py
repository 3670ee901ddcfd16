"""sr_keras.models.anchor and .edsr in PyTorch, and the weights of a Keras anchor for the one of them."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from . import SCALE

if TYPE_CHECKING:  # this file also runs where there is no Keras
    import keras


def build(model: str, *, filters: int, blocks: int) -> Any:
    """Builds `anchor` or `edsr`: `[B, 3, H, W]` in [0, 1] to `[B, 3, 2*H, 2*W]`."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn  # pyright: ignore[reportMissingImports]

    def conv(inputs: int, outputs: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    class Anchor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [3, *[filters] * (blocks + 1)]
            inner = [part for a, b in itertools.pairwise(widths) for part in (conv(a, b), nn.ReLU(inplace=True))]
            self.body = nn.Sequential(*inner, conv(filters, 3 * SCALE**2))
            self.shuffle = nn.PixelShuffle(SCALE)

        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            return self.shuffle(self.body(lr) + lr.repeat_interleave(SCALE**2, dim=1)).clamp(0.0, 1.0)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(conv(filters, filters), nn.ReLU(inplace=True), conv(filters, filters))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.body(x)

    class Edsr(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = torch.tensor([0.4488, 0.4371, 0.4040]).reshape(1, 3, 1, 1)
            self.head = conv(3, filters)
            self.body = nn.Sequential(*[Residual() for _ in range(blocks)], conv(filters, filters))
            self.tail = nn.Sequential(conv(filters, filters * SCALE**2), nn.PixelShuffle(SCALE), conv(filters, 3))

        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            x = self.head(lr - self.mean)
            return self.tail(x + self.body(x)) + self.mean

    return {"anchor": Anchor, "edsr": Edsr}[model]()


def anchor_weights(network: "keras.Model") -> dict[str, np.ndarray]:
    """Returns the weights of a Keras anchor as the state of the anchor above: kernels HWIO become OIHW.

    Raises `InputError` for another network, or an anchor with a tail.
    """
    from sr_keras.errors import InputError

    weights = [layer.get_weights() for layer in network.layers if layer.weights]
    widths = [3, *[weights[0][0].shape[-1]] * (len(weights) - 1), 3 * SCALE**2]
    expected = [[(3, 3, a, b), (b,)] for a, b in itertools.pairwise(widths)]
    if network.name != "anchor" or [[part.shape for part in layer] for layer in weights] != expected:
        raise InputError(
            f"PyTorch's network here is an anchor x{SCALE} without a tail, the model is '{network.name}' of other "
            "layers; take such a model, or leave torch and torch-bfloat16 out of --runtimes."
        )
    order = pixel_order(3, SCALE)
    weights[-1] = [part[..., order] for part in weights[-1]]
    state = {}
    for k, (kernel, bias) in enumerate(weights):  # between two convolutions stands a ReLU
        state |= {f"body.{2 * k}.weight": kernel.transpose(3, 2, 0, 1), f"body.{2 * k}.bias": bias}
    return {name: np.ascontiguousarray(part) for name, part in state.items()}


def pixel_order(channels: int, scale: int) -> np.ndarray:
    """Says which channel of Keras' `depth_to_space` each channel of PyTorch's PixelShuffle is.

    Keras has the colour innermost, `(dy * scale + dx) * channels + colour`, PyTorch outermost,
    `(colour * scale + dy) * scale + dx`.
    """
    return np.arange(scale**2 * channels).reshape(scale**2, channels).T.ravel()
