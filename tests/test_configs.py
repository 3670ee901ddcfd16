"""Every YAML file that ships: configs and recipes load, and what they name exists."""

import importlib.util
from pathlib import Path

import pytest

from sr_keras import (
    adversarial,
    component,
    config,
    degradations,
    discriminators,
    exporters,
    losses,
    models,
    recipe,
    zoo,
)

CHECKOUT = Path(__file__).parent.parent
CONFIGS = sorted((CHECKOUT / "configs").glob("*.yaml"))
RECIPES = sorted((CHECKOUT / "export" / "recipes").glob("*.yaml"))
HEAVY = {
    "edsr",
    "edsr_baseline",
    "esrgan_x4",
    "real_esrgan_x4",
    "real_esrnet_x4",
    "rrdbnet_x4",
    "srgan_x4",
    "srresnet",
    "vdsr",
}  # resolved, not built: seconds each


def ids(paths):
    return [path.stem for path in paths]


def make_schema():
    spec = importlib.util.spec_from_file_location("make_schema", CHECKOUT / "tools" / "make_schema.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_configs_and_recipes():
    assert "quickstart" in ids(CONFIGS)
    assert {"default", "mobile"} <= set(ids(RECIPES))


@pytest.mark.parametrize("path", CONFIGS, ids=ids(CONFIGS))
def test_a_config_loads_by_its_bare_name(path):
    assert config.load(path.stem) == config.load(path)


@pytest.mark.parametrize("path", CONFIGS, ids=ids(CONFIGS))
def test_a_config_names_its_schema(path):
    assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=schema.json\n")


@pytest.mark.parametrize("path", CONFIGS, ids=ids(CONFIGS))
def test_the_model_of_a_config_enlarges_by_its_scale(path):
    given = config.load(path)
    channels = 1 if given.data.channels == "y" or given.data.train[0].hr == "mnist" else 3
    if path.stem in HEAVY:
        component.resolve(models, given.model.model_dump(), "build")
        return
    network = component.build(models, given.model.model_dump(), scale=given.scale, channels=channels)
    assert network.compute_output_shape((1, 8, 6, channels)) == (1, 8 * given.scale, 6 * given.scale, channels)


@pytest.mark.parametrize("path", CONFIGS, ids=ids(CONFIGS))
def test_the_degradation_and_the_losses_of_a_config_build(path):
    given = config.load(path)
    built = [component.build(degradations, given.degradation.model_dump(), scale=given.scale)]
    for loss in given.losses:
        options = loss.model_dump(exclude={"weight"})
        downloads = {} if options.get("network") != "vgg19" else {"weights": "random"}
        built.append(component.build(losses, options | downloads))
    assert all(map(callable, built))


@pytest.mark.parametrize("path", [p for p in CONFIGS if config.load(p).start_from], ids=lambda path: path.stem)
def test_what_a_config_starts_from_is_shipped_or_the_run_of_another(path):
    start = config.load(path).start_from
    assert start in zoo.names() or Path(start).name in ids(CONFIGS)


@pytest.mark.parametrize("path", [p for p in CONFIGS if config.load(p).adversarial], ids=lambda path: path.stem)
def test_the_game_of_a_config_resolves_and_starts_from_a_config_that_ships(path):
    given = config.load(path)
    component.build(adversarial, given.adversarial.objective.model_dump())
    component.resolve(discriminators, given.adversarial.discriminator.model_dump(), "build")
    assert Path(given.start_from).name in ids(CONFIGS)
    assert config.load(Path(given.start_from).name).model == given.model


def test_the_schema_is_the_one_that_the_tool_makes():
    stored = (CHECKOUT / "configs" / "schema.json").read_text(encoding="utf-8")
    assert stored == make_schema().schema(), "run python tools/make_schema.py"


@pytest.mark.parametrize("path", RECIPES, ids=ids(RECIPES))
def test_a_recipe_loads_by_its_bare_name(path):
    assert recipe.load(path.stem) == recipe.load(path)


@pytest.mark.parametrize("path", RECIPES, ids=ids(RECIPES))
@pytest.mark.parametrize("function", ["save", "load"])
def test_the_exporters_of_a_recipe_resolve(path, function):
    for target in recipe.load(path).artifacts:
        component.resolve(exporters, target.options() if function == "save" else target.name, function)


@pytest.mark.parametrize("path", RECIPES, ids=ids(RECIPES))
def test_every_artifact_of_a_recipe_has_a_tolerance(path):
    assert all(target.tolerance or target.psnr or target.loss for target in recipe.load(path).artifacts)
