"""The float32 twin of a mixed precision network: the converters know no bfloat16 convolution."""

from __future__ import annotations

from typing import Any

import keras

_HALF = {"mixed_bfloat16", "mixed_float16", "bfloat16", "float16"}


def float32_twin(model: keras.Model) -> keras.Model:
    """Rebuilds a functional network under float32, with copies of its weights.

    Takes and returns a network `[B, H, W, C]` -> `[B, sH, sW, C]` in [0, 1]; the very same object comes back
    if no layer of it computes in half precision. Layers registered with Keras and `keras.ops` nodes are kept.

    Raises:
        NotImplementedError: from Keras, for a half precision network that is subclassed and has no `get_config`.

    See https://keras.io/api/mixed_precision/policy/.
    """
    if not any(layer.compute_dtype in _HALF for layer in model._flatten_layers()):
        return model
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # for the parts that a layer's config does not name
    try:
        twin = type(model).from_config(_in_float32(model.get_config()))
    finally:
        keras.config.set_dtype_policy(policy)
    twin.set_weights([weight.astype("float32") for weight in model.get_weights()])
    return twin


def _in_float32(config: Any) -> Any:
    # A dtype is a string, a policy, a map of policies or a tensor's dtype there; all end in these strings.
    if isinstance(config, dict):
        return {key: _in_float32(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_in_float32(value) for value in config)
    return "float32" if isinstance(config, str) and config in _HALF else config
