"""SavedModel: the folder that TensorFlow Serving runs, with a float32 and a uint8 signature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sr_keras.errors import InputError
from sr_keras.exporters._artifact import Artifact, artifact, opening, size_name, tensor_spec, whole, write_saved_model
from sr_keras.float32 import float32_twin


def save(model: keras.Model, folder: Path, *, size: tuple[int, int] | None = None) -> Path:
    """Writes `folder/saved_model[_HxW]`, replacing an existing one, and returns its path.

    Both signatures map `lr` `[B, H, W, C]` to `sr` `[B, sH, sW, C]`: `serving_default` float32 in [0, 1],
    `serving_uint8` uint8 in 0..255. B is free; H and W too, unless `size` gives them in LR pixels.

    See https://keras.io/api/models/model_saving_apis/export/.
    """
    network = float32_twin(model)

    def upscale(lr: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sr": network(lr, training=False)}

    def upscale_uint8(lr: tf.Tensor) -> dict[str, tf.Tensor]:
        sr = network(tf.cast(lr, tf.float32) / 255.0, training=False)
        return {"sr": tf.cast(tf.clip_by_value(tf.floor(sr * 255.0 + 0.5), 0.0, 255.0), tf.uint8)}

    path = Path(folder) / ("saved_model" if size is None else f"saved_model_{size_name(size)}")
    endpoints = {
        "serving_default": (upscale, tensor_spec(network, batch=None, size=size)),
        "serving_uint8": (upscale_uint8, tensor_spec(network, batch=None, size=size, dtype="uint8")),
    }
    with whole(path) as draft:
        write_saved_model(network, draft, endpoints)
    return path


def load(path: Path) -> Artifact:
    """Opens a SavedModel folder and calls its signature `serving_default`, as TensorFlow Serving does.

    Raises:
        InputError: there is nothing at `path`, it is no SavedModel, or not one picture in, one picture out.

    See https://www.tensorflow.org/guide/saved_model.
    """
    path = Path(path)
    with opening(path, "SavedModel folder", OSError, ValueError, tf.errors.OpError):
        root = tf.saved_model.load(str(path))
    signature = root.signatures.get("serving_default")
    if signature is None or len(signature.structured_input_signature[1]) != 1 or len(signature.structured_outputs) != 1:
        raise InputError(
            f"{path} needs a signature serving_default of one input and one output; export the network again."
        )
    ((name, spec),) = signature.structured_input_signature[1].items()
    (output,) = signature.structured_outputs

    def run(lr: np.ndarray) -> np.ndarray:
        return root.signatures["serving_default"](**{name: tf.constant(lr)})[output].numpy()

    graph = signature.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    opened = artifact(
        run,
        path=path,
        shape=spec.shape.as_list(),
        dtype=spec.dtype.name,
        operators=(node.op for node in nodes),
    )
    if "serving_uint8" not in root.signatures:
        return opened
    return replace(opened, run_uint8=lambda lr: root.signatures["serving_uint8"](lr=tf.constant(lr))["sr"].numpy())
