"""The wheel's list of packages is written by hand, so it is compared with the folders."""

import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent


def test_the_wheel_carries_every_package_and_both_data_folders():
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {p.parent.relative_to(CHECKOUT).as_posix() for p in (CHECKOUT / "sr_keras").rglob("__init__.py")}
    expected = {folder.replace("/", ".") for folder in folders} | {"sr_keras.configs", "sr_keras.recipes"}
    assert set(settings["packages"]) == expected
    for folder in settings["package-dir"].values():
        assert list((CHECKOUT / folder).glob("*.yaml"))
