"""What every test shares: the data root, a cache of its own, and a quiet TensorFlow."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the first import of TensorFlow

CHECKOUT = Path(__file__).parent.parent
_DATA = Path(os.environ.get("SR_KERAS_DATA") or CHECKOUT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with eval/Set5 and eval/Set14; what needs it is skipped where there is none."""
    if not (_DATA / "eval" / "Set5" / "HR").is_dir():
        pytest.skip(f"no eval/Set5/HR below {_DATA}; set SR_KERAS_DATA to the data root")
    return _DATA


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path_factory):
    """Nothing is read from or left in the user's cache and data root."""
    monkeypatch.setenv("SR_KERAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("SR_KERAS_DATA", raising=False)


@pytest.fixture
def photographs(tmp_path_factory):
    """A folder of two small photographs, quicker to validate on than the embedded ones."""
    import skimage.data

    from sr_keras import image

    folder = tmp_path_factory.mktemp("photographs")
    image.write(folder / "cat.png", skimage.data.chelsea()[100:164, 100:180])
    image.write(folder / "cup.png", skimage.data.coffee()[100:180, 200:264])
    return [f"data.train={folder}", f"data.valid={folder}"]


@pytest.fixture
def mixed_bfloat16():
    """Layers that are built meanwhile compute in bfloat16."""
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium."""
    from browser import BINARY, Browser

    if BINARY is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser
