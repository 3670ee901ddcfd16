"""sr_keras: image super-resolution in TensorFlow/Keras, from pictures to a phone.

`Upscaler` enlarges NumPy arrays; it is imported when it is asked for, so that `import sr_keras` loads no TensorFlow.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sr_keras.upscaler import Upscaler

__version__ = "0.1.0"
__all__ = ["Upscaler"]


def __getattr__(name: str) -> Any:
    if name == "Upscaler":
        from sr_keras.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module 'sr_keras' has no attribute '{name}'")
