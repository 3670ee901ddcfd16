"""The bfloat16 twin of a float32 network: twice as fast where the processor multiplies bfloat16 natively."""

from __future__ import annotations

import keras

_MULTIPLIES = (
    keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D,
    keras.layers.Dense,
)  # fmt: skip


def bfloat16_twin(model: keras.Model) -> keras.Model:
    """Rebuilds a functional float32 network with convolutions in mixed_bfloat16 and copies of its weights.

    Takes and returns a network `[B, H, W, C]` -> `[B, sH, sW, C]` in [0, 1]. What comes after the last convolution
    stays in float32, and that convolution too where nothing is added to its result: bfloat16 has 8 bits, fewer than
    a picture needs. Weights stay in float32.

    Raises:
        ValueError: a network that is not functional.

    See https://keras.io/api/mixed_precision/policy/.
    """
    kept = _kept_in_float32(model)

    def rebuilt(part: keras.Operation) -> keras.Operation:
        config = part.get_config()
        convertible = isinstance(part, keras.layers.Layer) and not isinstance(part, keras.layers.InputLayer)
        if convertible and part.name not in kept:
            config["dtype"] = "mixed_bfloat16"
        return type(part).from_config(config)

    twin = keras.models.clone_model(model, clone_function=rebuilt)
    twin.set_weights(model.get_weights())
    return twin


def _kept_in_float32(model: keras.Model) -> set[str]:
    parts = model.operations
    last = max((k for k, part in enumerate(parts) if isinstance(part, _MULTIPLIES)), default=len(parts) - 1)
    tail = {part.name for part in parts[last + 1 :]}
    added = any(type(part).__name__ == "Add" for part in parts[last + 1 :])
    return tail if added else tail | {parts[last].name}
