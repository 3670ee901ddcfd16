"""Pictures that come with other packages: scikit-image's photographs and MNIST through Keras."""

import os
from pathlib import Path
from typing import Literal

from sr_keras import image, store
from sr_keras.errors import InputError

NAMES = ("photographs", "mnist")
HELD_OUT = ("chelsea.png", "coffee.png")
LEARNT_FROM = (
    "astronaut.png", "rocket.jpg", "hubble_deep_field.jpg", "camera.png", "brick.png", "grass.png", "gravel.png",
    "coins.png", "ihc.png",
)  # fmt: skip

Split = Literal["train", "valid"]


def open_store(name: str, split: Split) -> store.Store:
    """Opens `photographs` or `mnist`; `valid` holds two photographs, or the first 1,000 test digits."""
    return photographs(split) if name == "photographs" else mnist(split)


def photographs(split: Split) -> store.Store:
    """Reads photographs from the wheel of scikit-image: RGB uint8, grey ones marked.

    Public domain, CC0 or "no known copyright restrictions", as the docstrings of `skimage.data` say of each.
    """
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    names = LEARNT_FROM if split == "train" else HELD_OUT
    return store.of_arrays((image.read(folder / name) for name in names), names)


def mnist(split: Split) -> store.Store:
    """Loads MNIST (LeCun et al., 1998) through keras.datasets: uint8 `[28, 28, 1]`, downloaded once.

    Raises `InputError` that says where to put the file if it can't be downloaded.
    """
    import keras

    try:
        train, test = keras.datasets.mnist.load_data()
    except Exception as error:  # urllib, ssl and keras raise many kinds, all of which mean: no file
        where = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "datasets" / "mnist.npz"
        raise InputError(f"MNIST can't be downloaded ({error}); put mnist.npz at {where} and start again.") from error
    digits = train[0] if split == "train" else test[0][:1000]
    return store.of_arrays(digits[..., None], (f"{split}-{k}" for k in range(len(digits))))
