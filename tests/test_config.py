"""The config: what it takes, and the line that each mistake gets."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from sr_keras import config
from sr_keras.errors import InputError


@pytest.fixture
def load(tmp_path):
    """Loads a config from text."""

    def loaded(text: str | bytes, *overrides: str) -> config.Config:
        path = tmp_path / "given.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return config.load(path, overrides)

    return loaded


def complaint(load, text, *overrides):
    with pytest.raises(InputError) as error:
        load(text, *overrides)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("sclae: 2", "unknown key 'sclae' (did you mean 'scale'?)."),
        ("zzz: 2", "unknown key 'zzz' (there is: scale, seed,"),
        ("train: {bach: 2}", "unknown key 'train.bach' (did you mean 'batch'?)."),
        ("train: {schedule: {warmp: 2}}", "unknown key 'train.schedule.warmp' (did you mean 'warmup'?)."),
        ("data: {train: [{hr: a, weigth: 2}]}", "unknown key 'data.train.0.weigth' (did you mean 'weight'?)."),
        ("train: {batch: many}", "train.batch: Input should be a valid integer"),
        ("train: {batch: 0}", "train.batch: Input should be greater than 0, got 0."),
        ("train: {learning_rate: .nan}", "train.learning_rate: Input should be a finite number, got nan."),
        ("train:", "train: Input should be a valid dictionary or instance of Train, got None."),
        ("precision: fp8", "precision: Input should be 'auto', 'float32', "),
        ("train: {schedule: linear}", "train.schedule.name: Input should be 'constant', 'cosine' or 'multi_step'"),
        ("model: 3", "model: Input should be a valid dictionary or instance of Component, got 3."),
        ("model: {filters: 3}", "model.name: Field required"),
        ("losses: []", "losses: Tuple should have at least 1 item"),
        ("data: {train: []}", "data.train: Tuple should have at least 1 item"),
        ("data: {valid: []}", "data.valid: Tuple should have at least 1 item"),
        ("data: {patch: 97}", "data.patch must be a multiple of the scale 2, got 97; try 96."),
        ("{scale: 4, data: {patch: 2}}", "data.patch must be a multiple of the scale 4, got 2; try 4."),
        ("adversarial: {weigth: 1}", "unknown key 'adversarial.weigth' (did you mean 'weight'?)"),
        ("3: x", "3: Keys should be strings, got 3."),
        ("scale: [2", "is not YAML (while parsing a flow sequence"),
        ("scale: *x", "is not YAML (found undefined alias"),
        ("seed: 2020-13-01", "is not YAML (month must be in 1..12)."),
        ("- scale", "must hold keys and values, got list."),
        ("scale", "must hold keys and values, got str."),
        (b"\xff\xfe", "can't be read as text ("),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_its_place(load, tmp_path, text, part):
    line = complaint(load, text)
    assert line.startswith(f"{tmp_path / 'given.yaml'}: ")
    assert part in line


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("train.batch", "override 'train.batch': write key=value, such as train.batch=8."),
        ("=8", "override '=8': write key=value, such as train.batch=8."),
        ("train.batch=[", "override 'train.batch=[': the value is not YAML ("),
        ("seed=2020-13-01", "override 'seed=2020-13-01': the value is not YAML (month must be in 1..12)."),
        ("train.bach=8", "unknown key 'train.bach' (did you mean 'batch'?)."),
        ("data.train.hr=b", "override 'data.train.hr': train is a list; write its whole value, train=[...]."),
        ("train.batch=2=3", "train.batch: Input should be a valid integer"),
    ],
)
def test_a_mistake_in_an_override_is_one_line(load, tmp_path, override, part):
    line = complaint(load, "{scale: 2, data: {train: [a]}}", override)
    assert line.removeprefix("given.yaml with the command line: ").startswith(part)


def test_a_missing_file_gets_a_suggestion():
    with pytest.raises(InputError, match=r"anchr_x2: there is no such config .*\(did you mean 'anchor_x2'\?\)"):
        config.load("anchr_x2")


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", ".1e-2", "+1e-3", "0.001"])
def test_a_number_with_an_exponent_is_a_number(load, text):
    slope = load(f"model: {{name: anchor, slope: {text}}}").model.model_dump()["slope"]
    assert slope == 1e-3  # an option without a type, which pydantic leaves as YAML reads it


def test_an_exponent_in_an_override_is_a_number(load):
    assert load("model: anchor", "model.slope=1e-3").model.model_dump()["slope"] == 1e-3


def test_an_override_wins_over_the_file(load):
    assert load("{scale: 2, train: {batch: 4, epochs: 3}}", "train.batch=8").train.batch == 8


def test_an_override_leaves_its_neighbours(load):
    assert load("train: {batch: 4, epochs: 3}", "train.batch=8").train.epochs == 3


def test_an_override_inside_a_short_form_makes_it_long(load):
    assert load("model: edsr", "model.filters=32").model.model_dump() == {"name": "edsr", "filters": 32}


def test_short_forms_equal_the_long_ones(load):
    short = load("{model: edsr, losses: mse, data: {train: a}, train: {schedule: cosine}}")
    long = load(
        "{model: {name: edsr}, losses: [{name: mse, weight: 1}], data: {train: [{hr: a}]},"
        " train: {schedule: {name: cosine}}}"
    )
    assert short == long


def test_an_empty_file_is_the_defaults(load):
    assert load("") == config.Config()


def test_no_name_means_quickstart():
    assert config.load(None) == config.load("quickstart")


@pytest.mark.parametrize("place", [(), ("train",), ("train", "schedule"), ("model",)])
def test_the_config_is_frozen(place):
    section = config.Config()
    for key in place:
        section = getattr(section, key)
    name = next(iter(type(section).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(section, name, getattr(section, name))


def test_dump_and_load_give_the_same_config(load):
    text = """
    {scale: 3, start_from: runs/ä, model: {name: anchor, filters: 8, sizes: [1, 2]}, precision: float32,
     losses: [{name: l1}, {name: ssim, weight: 1e-2}], data: {train: [{hr: a, lr: b, weight: 2}], patch: 48},
     train: {learning_rate: 1e-7, ema: null, schedule: {name: multi_step, milestones: [3, 5]}}}
    """
    given = load(text)
    assert load(config.dump(given)) == given


def test_dump_names_every_default(load):
    assert config.dump(load("")).count("epochs: 10") == 1


def test_differences_name_the_keys_with_both_values(load):
    old, new = load("train: {batch: 4}"), load("{train: {batch: 8}, model: {name: anchor, filters: 8}}")
    assert config.differences(old, new) == {"train.batch": (4, 8), "model.filters": (None, 8)}


def test_equal_configs_have_no_differences(load):
    assert config.differences(load("scale: 3"), load("scale: 3")) == {}


def test_the_data_root_stands_before_relative_paths_only(load):
    given = load("data: {root: /data, train: [{hr: a, lr: b}, /c, photographs]}")
    assert [(s.hr, s.lr) for s in config.sources(given, "train")] == [
        ("/data/a", "/data/b"),
        ("/c", None),
        ("photographs", None),
    ]


def test_the_data_root_comes_from_the_environment(load, monkeypatch):
    monkeypatch.setenv("SR_KERAS_DATA", "/elsewhere")
    assert config.sources(load("data: {valid: v}"), "valid")[0].hr == "/elsewhere/v"


def test_the_data_root_of_the_config_wins_over_the_environment(load, monkeypatch):
    monkeypatch.setenv("SR_KERAS_DATA", "/elsewhere")
    assert config.sources(load("data: {root: /here, valid: v}"), "valid")[0].hr == "/here/v"


def test_loading_takes_no_tensorflow():
    code = (
        "import sys; from sr_keras import config; config.load(None); print({'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent)
    assert done.stdout == "set()\n"
