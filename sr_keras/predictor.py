"""The one place that opens a MODEL: shipped weights, run folder, .keras, an exported file, or an interpolation."""

import contextlib
import importlib
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sr_keras import component, image, layers, models, resize, state_dict, tiling, zoo
from sr_keras.component import did_you_mean
from sr_keras.errors import InputError
from sr_keras.rows import Rows
from sr_keras.run import Run
from sr_keras.tiling import WHOLE_PICTURE, Plan, Reach

if TYPE_CHECKING:
    import keras

    from sr_keras.exporters._artifact import Artifact


@dataclass(frozen=True)
class Predictor:
    """Enlarges pictures by `scale`.

    `network` maps float32 `[B, H, W, channels]` in [0, 1] to `[B, scale*H, scale*W, channels]`; `network_uint8`, where
    there is one, maps uint8 to uint8. `reach` says how a picture may be cut into windows for it, `runtime` what it runs
    on, `bytes_per_pixel` what it needs for each LR pixel, and `global_layers` which layers look at the whole picture.
    One that `interpolates` takes pixels of any type and any number of channels.
    """

    network: Callable[[np.ndarray], np.ndarray]
    scale: int
    channels: int
    name: str
    reach: Reach = WHOLE_PICTURE
    interpolates: bool = False
    network_uint8: Callable[[np.ndarray], np.ndarray] | None = None
    runtime: str = "NumPy"
    bytes_per_pixel: int | None = None
    global_layers: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """The only LR (height, width) it takes, None where it takes any."""
        return self.reach.size

    def __call__(self, lr: np.ndarray) -> np.ndarray:
        """Maps `[H, W, 1 or 3]` (uint8, uint16 or float in [0, 1]) to float32 `[scale*H, scale*W, same]` in [0, 1].

        The whole picture goes through the network at once, or in tiles of the only size that it takes.
        """
        if self.size in (None, tuple(lr.shape[:2])):
            return self.enlarge(lr[None])[0]
        return tiling.enlarged(
            Rows.of(lr), self.enlarge, scale=self.scale, reach=self.reach, plan=Plan(self.size), dtype=np.float32
        ).whole()

    def enlarge(self, batch: np.ndarray) -> np.ndarray:
        """Maps `[B, H, W, 1 or 3]` (uint8, uint16 or float in [0, 1]) to float32 `[B, scale*H, scale*W, same]`.

        A network on luminance gets Y, and chroma is enlarged bicubically. An RGB network gets a grey picture three
        times, and its mean is taken. The result is clipped to [0, 1].
        """
        if self.interpolates:
            return np.clip(image.to_float(self.network(batch)), 0.0, 1.0)
        x = image.to_float(batch)
        if x.shape[3] == 3 and self.channels == 1:
            return np.clip(self._luma(x), 0.0, 1.0)
        y = self._run(image.with_channels(x, self.channels))
        if x.shape[3] == 1 and self.channels == 3:
            y = y.mean(axis=3, keepdims=True)
        return np.clip(y, 0.0, 1.0, out=y if y.flags.writeable else None)

    def enlarge_uint8(self, batch: np.ndarray) -> np.ndarray:
        """Does the same for pictures that the network takes as they are, from uint8 to uint8."""
        if batch.dtype == np.uint8 and batch.shape[3] == self.channels and self.network_uint8 is not None:
            return self.network_uint8(batch)
        return image.from_float(self.enlarge(batch), np.uint8)

    def _run(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.network(x), np.float32)

    def _luma(self, rgb: np.ndarray) -> np.ndarray:
        ycbcr = image.rgb_to_ycbcr(rgb)
        luma = self._run(ycbcr[..., :1])
        height, width = luma.shape[1:3]
        chroma = np.stack([resize.resized(picture, height, width) for picture in ycbcr[..., 1:]])
        return image.ycbcr_to_rgb(np.concatenate([luma, chroma], axis=3))


def interpolation(method: str, scale: int) -> Predictor:
    """Makes a baseline that enlarges as MATLAB's imresize does; uint8 pixels are rounded between its passes."""

    def enlarge(batch: np.ndarray) -> np.ndarray:
        pictures = batch if batch.dtype == np.uint8 else image.to_float(batch)
        return np.stack([resize.imresize(picture, scale, method=method) for picture in pictures])

    return Predictor(enlarge, scale, 3, method, interpolates=True)


def of_keras(model: "keras.Model", name: str) -> Predictor:
    """Wraps a Keras model, in float32 whatever its policy; the scale is measured on a small picture."""
    from sr_keras.float32 import float32_twin

    return of_network(float32_twin(model), name, "TensorFlow float32")


def of_network(network: "keras.Model", name: str, runtime: str) -> Predictor:
    """Wraps a Keras model as it is, in the precision of its policy. Raises `InputError` if it is none that enlarges."""
    import tensorflow as tf

    from sr_keras import receptive_field
    from sr_keras.layers.transposed import without_transposed

    shapes = [getattr(network, f"{side}_shape", None) for side in ("input", "output")]
    if any(not isinstance(shape, tuple) or len(shape) != 4 or shape[3] is None for shape in shapes):
        raise InputError(f"{name}: is no super-resolution network; that maps [B, H, W, C] to [B, s*H, s*W, C].")
    _, height, width, channels = network.input_shape
    graph = without_transposed(network)

    @tf.function(input_signature=[tf.TensorSpec((None, height, width, channels), tf.float32)])
    def run(lr):
        return graph(lr, training=False)

    @tf.function(input_signature=[tf.TensorSpec((None, height, width, channels), tf.uint8)])
    def run_uint8(lr):
        sr = graph(tf.cast(lr, tf.float32) / 255.0, training=False)
        return tf.cast(tf.floor(tf.clip_by_value(sr, 0.0, 1.0) * 255.0 + 0.5), tf.uint8)

    predictor = _measured(
        Predictor(
            lambda batch: np.asarray(run(tf.constant(batch))), 1, channels, name,
            Reach(None, size=(height, width) if height and width else None),
            network_uint8=lambda batch: np.asarray(run_uint8(tf.constant(batch))), runtime=runtime,
            bytes_per_pixel=bytes_per_pixel(network),
        )
    )  # fmt: skip
    try:
        field = receptive_field.field(network)
    except ValueError:  # a layer of the user's own that does not say how far it looks
        return replace(predictor, reach=probed_reach(predictor))
    reach = replace(predictor.reach, halo=field.halo, alignment=field.alignment)
    return replace(predictor, reach=reach, global_layers=tuple(field.whole_picture))


def bytes_per_pixel(network: "keras.Model", side: int = 16) -> int | None:
    """Guesses the memory that an LR pixel takes: the three largest tensors of the graph are there at once."""
    import tensorflow as tf

    if network.input_shape[1] is not None:
        return None  # its windows are given
    function = tf.function(lambda lr: network(lr, training=False))
    graph = function.get_concrete_function(tf.TensorSpec((1, side, side, network.input_shape[3]))).graph
    tensors = [tensor for operation in graph.get_operations() for tensor in operation.outputs]
    known = [tensor for tensor in tensors if tensor.shape.rank == 4 and tensor.shape.is_fully_defined()]
    maps = [tensor for tensor in known if tensor.shape[0] == 1 < tensor.shape[1]]  # the others are kernels
    sizes = sorted(tensor.shape.num_elements() * tensor.dtype.size for tensor in maps)
    return sum(sizes[-3:]) // side**2


def _measured(predictor: Predictor) -> Predictor:
    """Runs a small picture to find the scale."""
    height, width = predictor.size or (16, 16)
    channels = predictor.channels
    out = predictor.network(np.full((1, height, width, channels), 0.5, np.float32)).shape
    scale = out[1] // height
    if (out[1], out[2], out[3]) != (height * scale, width * scale, channels) or scale < 1:
        raise InputError(
            f"{predictor.name}: maps {height}x{width}x{channels} to {out[1]}x{out[2]}x{out[3]}; a super-resolution "
            "network keeps its channels and multiplies both sides by one whole number."
        )
    return replace(predictor, scale=scale)


def probed_reach(predictor: Predictor, most: int = 64) -> Reach:
    """Measures how far the output of a network of unknown graph looks, by changing one LR pixel.

    What moves furthest away in a few random pictures is the halo; the whole picture, if that is more than `most` pixels
    or leaves no pixel of a fixed size. The alignment is the shift, up to 8, under which the result only shifts.
    """
    height, width = predictor.size or (2 * most + 9, 2 * most + 9)
    middle, scale, random = (height // 2, width // 2), predictor.scale, np.random.default_rng(0)
    furthest = 0
    for _ in range(4):
        first = random.random((1, height, width, predictor.channels), np.float32)
        second = first.copy()
        second[0, middle[0], middle[1]] = np.round(1.0 - second[0, middle[0], middle[1]])
        moved = np.any(predictor.network(first) != predictor.network(second), axis=(0, 3))
        for axis in (0, 1):
            places = np.flatnonzero(moved.any(axis=1 - axis)) // scale
            if len(places):
                furthest = max(furthest, middle[axis] - int(places.min()), int(places.max()) - middle[axis])
    if furthest >= min(most, min(height, width) // 2 - 1):
        return replace(predictor.reach, halo=None)
    alignment = 1 if predictor.size is not None else _probed_alignment(predictor, furthest)
    return replace(predictor.reach, halo=furthest + alignment - 1, alignment=alignment)


def _probed_alignment(predictor: Predictor, halo: int) -> int:
    scale, side = predictor.scale, 2 * halo + 32
    picture = np.random.default_rng(1).random((1, side + 8, side + 8, predictor.channels), np.float32)
    whole = predictor.network(picture[:, :side, :side])
    inner = slice((halo + 8) * scale, (side - halo) * scale)
    for shift in (1, 2, 4, 8):
        moved = predictor.network(picture[:, shift : shift + side, shift : shift + side])
        back = slice(inner.start - shift * scale, inner.stop - shift * scale)
        if np.abs(moved[:, back, back] - whole[:, inner, inner]).max() < 1e-5:
            return shift
    return 16


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
        return of_keras(open_collapsed(path), str(path))
    load, runtime = _loader(path)
    try:
        artifact = load(path)
    except ValueError as error:
        raise InputError(str(error)) from error
    return of_artifact(artifact, str(path), runtime, _manifest(path))


def of_artifact(artifact: "Artifact", name: str, runtime: str, manifest: dict[str, Any] | None = None) -> Predictor:
    """Wraps an exported file; `manifest` is the export's own, which says how far the network looks."""
    predictor = _measured(
        Predictor(
            artifact.run, 1, artifact.channels, name, Reach(None, size=artifact.size),
            network_uint8=artifact.run_uint8, runtime=runtime,
        )
    )  # fmt: skip
    if not artifact.local:
        return replace(predictor, global_layers=("activations quantised by the picture's range",))
    if manifest is None or "alignment" not in manifest:
        return replace(predictor, reach=probed_reach(predictor))
    reach = replace(predictor.reach, halo=manifest["halo"], alignment=manifest["alignment"])
    return replace(predictor, reach=reach, global_layers=tuple(manifest.get("whole_picture", ())))


def _manifest(path: Path) -> dict[str, Any] | None:
    """Reads the manifest that lies beside an artifact, if it names the file; else what a .tflite says of itself."""
    place = path.parent / "manifest.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(place.read_text(encoding="utf-8"))
        if any(a["file"] == path.name for a in content["artifacts"]):
            return content
    if path.suffix != ".tflite":
        return None
    from sr_keras.exporters._tflite_metadata import read_metadata

    return read_metadata(path.read_bytes())


def _loader(path: Path) -> tuple[Callable, str]:
    if path.is_file() and path.suffix == ".tflite":
        from sr_keras.exporters import tflite as exporter
    elif path.is_file() and path.suffix == ".onnx":
        from sr_keras.exporters import onnx as exporter
    elif path.is_file() and path.suffix == ".xml":
        from sr_keras.exporters import openvino as exporter
    elif (path / "saved_model.pb").is_file():
        from sr_keras.exporters import saved_model as exporter
    elif (path / "manifest.json").is_file():
        files = ", ".join(a["file"] for a in json.loads((path / "manifest.json").read_text())["artifacts"])
        raise InputError(f"{path}: holds exported models; take one of them: {files}.")
    elif path.exists():
        raise InputError(
            f"{path}: is no model; give shipped weights, a run folder, .keras, .tflite, .onnx, .xml or SavedModel"
            f"{_foreign(path)}."
        )
    else:
        raise InputError(_unknown(path, [*resize.KERNELS, *zoo.names()]))
    return exporter.load, _RUNTIMES[exporter.__name__.rpartition(".")[2]]


_RUNTIMES = {"tflite": "LiteRT", "onnx": "ONNX Runtime", "openvino": "OpenVINO float32", "saved_model": "SavedModel"}


def _foreign(path: Path) -> str:
    made = "; python -m sr_keras.import_weights makes one of PyTorch's and ncnn's files"
    return made if path.suffix.lower() in state_dict.ENDINGS else ""


def _unknown(path: Path, names: list[str]) -> str:
    near = did_you_mean(str(path), sorted(names))
    shipped = f" file, folder or name; these weights ship: {', '.join(zoo.names())}"
    return f"{path}: there is no such model{near if 'mean' in near else shipped}."


def is_network(path: Path) -> bool:
    """Says whether `path` looks like what `open_network` takes: shipped weights, a run folder or a .keras file."""
    return zoo.find(path) is not None or (path / "config.yaml").is_file() or path.suffix == ".keras"


def open_network(path: Path) -> "keras.Model":
    """Loads the Keras network of shipped weights (`s-x2`), a run folder or a .keras file, without its training state.

    The module that a run's config names, and our own layers, are imported first, so that their layers are known.
    Raises `InputError` for what is none.
    """
    if (card := zoo.find(path)) is not None:
        return _loaded(zoo.checked(card.network))
    if not path.exists():
        raise InputError(_unknown(path, zoo.names()))
    if not is_network(path):
        raise InputError(
            f"{path}: a Keras network is needed here: shipped weights, a run folder or a .keras file{_foreign(path)}."
        )
    if path.suffix == ".keras" and path.is_file():
        return _loaded(path)
    run = Run(path)
    if not run.generator.is_file():
        raise InputError(f"{path}: the run has no generator.keras yet; let it train for an epoch first.")
    component.resolve(models, run.load_config().model.name, "build")
    return _loaded(run.generator)


def open_collapsed(path: Path) -> "keras.Model":
    """Loads a network as `open_network` does, to be run or shipped: in float32, with plain convolutions."""
    from sr_keras.float32 import float32_twin
    from sr_keras.layers.collapsible_conv import collapse

    return collapse(float32_twin(open_network(path)))


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
