"""The wheel's lists of packages and files are written by hand, so they are compared with the folders."""

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


def test_the_wheel_carries_the_weights_and_every_other_file_of_the_package():
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package, patterns = CHECKOUT / "sr_keras", settings["package-data"]["sr_keras"]
    carried = {path for pattern in patterns for path in package.glob(pattern)}
    found = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert any(path.suffix == ".keras" for path in carried)
    assert found == carried
