"""The one place that opens a MODEL: run folder, .keras, SavedModel, .tflite, .onnx, or an interpolation by name."""

import importlib
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sr_keras import component, image, layers, models, resize
from sr_keras.component import did_you_mean
from sr_keras.errors import InputError
from sr_keras.run import Run

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Predictor:
    """Enlarges a picture by `scale`.

    `network` maps float32 `[B, H, W, channels]` in [0, 1] to `[B, scale*H, scale*W, channels]`; `size` is the only
    LR (height, width) it takes, None where it takes any. One that `interpolates` takes pixels of any type and any
    number of channels.
    """

    network: Callable[[np.ndarray], np.ndarray]
    scale: int
    channels: int
    name: str
    size: tuple[int, int] | None = None
    interpolates: bool = False

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        """Maps `[H, W, 1 or 3]` (uint8, uint16 or float in [0, 1]) to float32 `[scale*H, scale*W, same]` in [0, 1].

        A network on luminance gets Y, and chroma is enlarged bicubically. An RGB network gets a grey picture three
        times, and its mean is taken. Raises `InputError` for a picture that a fixed-size network can't take.
        """
        if self.size is not None and tuple(lr.shape[:2]) != self.size:
            raise InputError(
                f"{self.name}: takes only pictures of {self.size[0]}x{self.size[1]} (height x width), got "
                f"{lr.shape[0]}x{lr.shape[1]}; take a file that was exported without a size."
            )
        if self.interpolates:
            return np.clip(image.to_float(self.network(lr[None])[0]), 0.0, 1.0)
        x = image.to_float(lr)
        if x.shape[2] == 3 and self.channels == 1:
            return np.clip(self._luma(x), 0.0, 1.0)
        y = self._run(image.with_channels(x, self.channels))
        if x.shape[2] == 1:
            y = y.mean(axis=2, keepdims=True)
        return np.clip(y, 0.0, 1.0)

    def _run(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.network(x[None])[0], np.float32)

    def _luma(self, rgb: np.ndarray) -> np.ndarray:
        ycbcr = image.rgb_to_ycbcr(rgb)
        chroma = resize.imresize(ycbcr[..., 1:], self.scale).astype(np.float32)
        return image.ycbcr_to_rgb(np.concatenate([self._run(ycbcr[..., :1]), chroma], axis=2))


def interpolation(method: str, scale: int) -> Predictor:
    """Makes a baseline that enlarges as MATLAB's imresize does; uint8 pixels are rounded between its passes."""

    def enlarge(batch: np.ndarray) -> np.ndarray:
        pictures = batch if batch.dtype == np.uint8 else image.to_float(batch)
        return np.stack([resize.imresize(picture, scale, method=method) for picture in pictures])

    return Predictor(enlarge, scale, 3, method, interpolates=True)


def of_keras(model: "keras.Model", name: str) -> Predictor:
    """Wraps a Keras model, in float32 whatever its policy; the scale is measured on a small picture."""
    import tensorflow as tf

    from sr_keras.float32 import float32_twin

    shapes = [getattr(model, f"{side}_shape", None) for side in ("input", "output")]
    if any(not isinstance(shape, tuple) or len(shape) != 4 or shape[3] is None for shape in shapes):
        raise InputError(f"{name}: is no super-resolution network; that maps [B, H, W, C] to [B, s*H, s*W, C].")
    twin = float32_twin(model)
    _, height, width, channels = twin.input_shape
    signature = [tf.TensorSpec((None, height, width, channels), tf.float32)]
    run = tf.function(lambda lr: twin(lr, training=False), input_signature=signature)
    size = (height, width) if height and width else None
    return _measured(lambda batch: run(tf.constant(batch)).numpy(), channels, name, size)


def _measured(network: Callable, channels: int, name: str, size: tuple[int, int] | None) -> Predictor:
    height, width = size or (16, 16)
    out = network(np.full((1, height, width, channels), 0.5, np.float32)).shape
    scale = out[1] // height
    if (out[1], out[2], out[3]) != (height * scale, width * scale, channels) or scale < 1:
        raise InputError(
            f"{name}: maps {height}x{width}x{channels} to {out[1]}x{out[2]}x{out[3]}; a super-resolution network "
            "keeps its channels and multiplies both sides by one whole number."
        )
    return Predictor(network, scale, channels, name, size)


def open_model(name: str | Path, scale: int | None = None) -> Predictor:
    """Opens a MODEL. `scale` is needed for an interpolation and checked against any other model.

    Raises `InputError` for what is no model, and for a scale that is not the model's.
    """
    if str(name) in resize.KERNELS:
        if scale is None:
            raise InputError(f"{name}: an interpolation needs --scale, such as --scale 2.")
        return interpolation(str(name), scale)
    predictor = _opened(Path(name))
    if scale is not None and scale != predictor.scale:
        raise InputError(f"{name}: enlarges {predictor.scale} times, not {scale}; drop --scale or take another model.")
    return predictor


def _opened(path: Path) -> Predictor:
    if is_network(path):
        return of_keras(open_network(path), str(path))
    load = _loader(path)
    try:
        artifact = load(path)
    except ValueError as error:
        raise InputError(str(error)) from error
    return _measured(artifact.run, artifact.channels, str(path), artifact.size)


def _loader(path: Path) -> Callable:
    if path.is_file() and path.suffix == ".tflite":
        from sr_keras.exporters import tflite as exporter
    elif path.is_file() and path.suffix == ".onnx":
        from sr_keras.exporters import onnx as exporter
    elif (path / "saved_model.pb").is_file():
        from sr_keras.exporters import saved_model as exporter
    elif (path / "manifest.json").is_file():
        files = ", ".join(a["file"] for a in json.loads((path / "manifest.json").read_text())["artifacts"])
        raise InputError(f"{path}: holds exported models; take one of them: {files}.")
    elif path.exists():
        raise InputError(f"{path}: is no model; give a run folder, .keras, .tflite, .onnx or a SavedModel folder.")
    else:
        near = did_you_mean(str(path), sorted(resize.KERNELS))
        raise InputError(f"{path}: there is no such model{near if 'mean' in near else ' file, folder or name'}.")
    return exporter.load


def is_network(path: Path) -> bool:
    """Says whether `path` looks like what `open_network` takes: a run folder or a .keras file."""
    return (path / "config.yaml").is_file() or path.suffix == ".keras"


def open_network(path: Path) -> "keras.Model":
    """Loads the Keras network of a run folder or a .keras file, without its training state.

    The module that a run's config names, and our own layers, are imported first, so that their layers are known.
    Raises `InputError` for what is none.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such run folder or .keras file.")
    if not is_network(path):
        raise InputError(f"{path}: a Keras network is needed here, a run folder or a .keras file.")
    if path.suffix == ".keras" and path.is_file():
        return _loaded(path)
    run = Run(path)
    if not run.generator.is_file():
        raise InputError(f"{path}: the run has no generator.keras yet; let it train for an epoch first.")
    component.resolve(models, run.load_config().model.name, "build")
    return _loaded(run.generator)


def _loaded(path: Path) -> "keras.Model":
    import keras

    for name in component.names(layers):
        importlib.import_module(f"{layers.__name__}.{name}")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: is not a .keras file; give one that Keras 3 saved.")
    try:
        network = keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: is not a .keras model that can be loaded ({reason}).") from error
    if not isinstance(network, keras.Model):
        raise InputError(f"{path}: holds a {type(network).__name__}, not a Keras model.")
    return network
