"""sr_keras: image super-resolution in TensorFlow/Keras, from pictures to a phone.

`Upscaler` enlarges NumPy arrays, `load` gives a Keras network. Both import what they need when they are asked for, so
that `import sr_keras` loads no TensorFlow.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

    from sr_keras.upscaler import Upscaler

__version__ = "0.1.0"
__all__ = ["Upscaler", "load"]


def load(model: str | Path) -> "keras.Model":
    """Returns the Keras network of shipped weights (`"s-x2"`), a run folder or a .keras file.

    It maps float32 `[B, H, W, C]` in [0, 1] to `[B, scale*H, scale*W, C]`, in float32, with plain convolutions. Raises
    `sr_keras.errors.InputError` for what is none.
    """
    from sr_keras import predictor

    return predictor.open_collapsed(Path(model))


def __getattr__(name: str) -> Any:
    if name == "Upscaler":
        from sr_keras.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module 'sr_keras' has no attribute '{name}'")
