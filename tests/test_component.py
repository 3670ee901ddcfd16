"""A family is a folder: names, options checked by signature, errors that say what to write instead."""

import importlib

import pytest

from sr_keras import component
from sr_keras.errors import InputError

CIRCLE = """
def build(*, scale: int, radius: float = 1.0, name_of_it: str | None = None):
    return scale, radius, name_of_it
"""
OWN = "def build(*, size: int = 3):\n    return size\n"


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """A family of one component, and user modules beside it."""
    family = tmp_path / "sr_test_shapes"
    family.mkdir()
    for name, text in {"__init__": "", "circle": CIRCLE, "_ops": "", "empty": ""}.items():
        (family / f"{name}.py").write_text(text)
    (tmp_path / "sr_test_own").mkdir()
    (tmp_path / "sr_test_own" / "net.py").write_text(OWN)
    (tmp_path / "sr_test_own" / "broken.py").write_text("import sr_test_missing\n")
    (tmp_path / "sr_test_own" / "prefix.py").write_text("import sr_test\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return importlib.import_module("sr_test_shapes")


@pytest.fixture(autouse=True)
def forget():
    yield
    import sys

    for name in [name for name in sys.modules if name.startswith("sr_test_")]:
        del sys.modules[name]


def test_names_are_the_files_without_an_underscore(shapes):
    assert component.names(shapes) == ["circle", "empty"]


def test_a_name_alone_builds_with_the_defaults(shapes):
    assert component.build(shapes, "circle", scale=2) == (2, 1.0, None)


def test_options_of_the_spec_reach_build(shapes):
    assert component.build(shapes, {"name": "circle", "radius": 2.5}, scale=2) == (2, 2.5, None)


def test_given_values_that_build_does_not_take_are_left_out(shapes):
    assert component.build(shapes, "circle", scale=2, channels=3) == (2, 1.0, None)


def test_an_option_that_is_given_is_refused_in_the_spec(shapes):
    with pytest.raises(InputError, match=r"circle: 'scale' is not an option to set here"):
        component.build(shapes, {"name": "circle", "scale": 3}, scale=2)


def test_options_are_turned_into_the_type_that_build_names(shapes):
    radius = component.build(shapes, {"name": "circle", "radius": 2}, scale=2)[1]
    assert isinstance(radius, float)


def test_the_spec_is_not_changed(shapes):
    spec = {"name": "circle", "radius": 2}
    component.build(shapes, spec, scale=2)
    assert spec == {"name": "circle", "radius": 2}


def test_resolve_calls_nothing(shapes):
    function, options = component.resolve(shapes, {"name": "circle", "radius": 3.0}, "build")
    assert (function.__name__, options) == ("build", {"radius": 3.0})


def test_a_dotted_name_is_the_users_own_module(shapes):
    assert component.build(shapes, {"name": "sr_test_own.net", "size": 5}, scale=2) == 5


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("cirkle", "sr_test_shapes has no 'cirkle' (did you mean 'circle'?)."),
        ("zzz", "sr_test_shapes has no 'zzz' (there is: circle, empty)."),
        ("_ops", "sr_test_shapes has no '_ops' (there is: circle, empty)."),
        ({"name": "circle", "radios": 1}, "sr_test_shapes.circle has no option 'radios' (did you mean 'radius'?)."),
        ({"radius": 1}, "sr_test_shapes: a component needs a name, such as {name: circle}; got None."),
        ("empty", "sr_test_shapes.empty has no function 'build'; see ARCHITECTURE.md for its contract."),
        ("sr_test_nowhere.net", "there is no module 'sr_test_nowhere.net'; is its folder on PYTHONPATH?"),
        (".circle", "there is no module '.circle'"),
    ],
)
def test_a_wrong_spec_is_one_line(shapes, spec, line):
    with pytest.raises(InputError) as error:
        component.build(shapes, spec, scale=2)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_an_option_of_the_wrong_type_is_one_line_with_the_value(shapes):
    with pytest.raises(InputError, match=r"^sr_test_shapes\.circle: option 'radius': .*number.*, got 'wide'\.$"):
        component.build(shapes, {"name": "circle", "radius": "wide"}, scale=2)


@pytest.mark.parametrize("name", ["sr_test_own.broken", "sr_test_own.prefix"])
def test_a_missing_import_inside_the_users_module_is_not_blamed_on_its_name(shapes, name):
    with pytest.raises(ModuleNotFoundError, match="sr_test"):
        component.build(shapes, name)
