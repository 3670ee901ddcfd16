"""Imports go downwards only: read from the source, imports inside functions too, those for type checkers aside."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sr_keras"
FAMILIES = {"adversarial", "discriminators", "models", "losses", "degradations", "exporters"}
VERBS = {"train", "evaluate", "upscale", "export", "import_weights", "__main__"}
FLOORS = [
    {
        "component",
        "config",
        "run",
        "errors",
        "cli",
        "recipe",
        "embedded",
        "files",
        "image",
        "store",
        "rows",
        "picture",
        "_tiff",
        "jobs",
        "video",
        "report",
        "_metadata",
        "_video_reading",
        "_video_writing",
        "torch_file",
        "_unpickling",
        "_checkpoint",
        "_pickle_names",
        "safetensors_file",
        "ncnn_file",
        "_ncnn_weights",
        "state_dict",
        "delegates",
        "zoo",
    },  # no TensorFlow
    {"resize", "metrics", "layers", "features", "float32", "bfloat16", "quantize"},
    FAMILIES,
    {
        "data",
        "content",
        "state",
        "gan",
        "board",
        "callbacks",
        "optimization",
        "devices",
        "predictor",
        "scoring",
        "receptive_field",
        "multiply_adds",
        "calibration",
        "tiling",
        "recognition",
        "runtimes",
        "windows",
        "upscaler",
        "pipeline",
    },
    {"_players", "_samples", "_start", "_artifacts"},  # parts of the verbs train and export
    {"_export_report"},
    VERBS | {"__init__"},  # the package's own names are imported when they are asked for
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
SEE_CONFIG = VERBS | {"_players", "_start", "config", "recipe", "run", "zoo"}


def imported(source: str) -> set[str]:
    """Returns what `source` imports of sr_keras, dotted, without the package; relative names keep their dots."""
    tree = ast.parse(source)
    checks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test).endswith("TYPE_CHECKING")]
    for_types = {id(node) for check in checks for statement in check.body for node in ast.walk(statement)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names}
    return {name.removeprefix("sr_keras.") for name in found if name.startswith(("sr_keras.", "."))}


def faults(module: str, source: str) -> list[str]:
    """Lists the imports of `module` (such as `models.edsr`) that the rules forbid."""
    own, found = module.split(".")[0], []
    for name in sorted(imported(source)):
        other, _, inner = name.partition(".")
        if not other:
            found.append(f"{module} imports {name}, a relative name; write sr_keras and all")
        elif other not in FLOOR:
            continue  # an attribute of the package itself, such as __version__
        elif own == other and own in FAMILIES:
            if not inner.startswith("_"):
                found.append(f"{module} imports {name}, a component of its own family")
        elif FLOOR[other] > FLOOR[own]:
            found.append(f"{module} on floor {FLOOR[own]} imports {name} on floor {FLOOR[other]}")
        elif own in FAMILIES and other in FAMILIES:
            found.append(f"{module} imports {name}, another family")
        elif own in VERBS and other in VERBS:
            found.append(f"{module} imports {name}, another verb")
        elif other == "config" and own not in SEE_CONFIG:
            found.append(f"{module} imports {name}, which only verbs see")
    return found


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}


def test_every_module_has_a_floor():
    assert {module.split(".")[0] for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module):
    assert faults(module, MODULES[module]) == []


def test_imports_form_no_circle():
    needs = {module: imported(source) for module, source in MODULES.items()}
    needs = {m: {o for o in MODULES for name in names if f"{name}.".startswith(f"{o}.")} for m, names in needs.items()}
    left = set(needs)
    while free := {module for module in left if not (needs[module] - {module}) & left}:
        left -= free
    assert left == set()


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("resize", "from sr_keras.data import Patches", "resize on floor 1 imports data.Patches on floor 3"),
        ("resize", "import sr_keras.data", "resize on floor 1 imports data on floor 3"),
        ("resize", "def f():\n    from sr_keras import data", "resize on floor 1 imports data on floor 3"),
        ("losses.l1", "from sr_keras import models", "losses.l1 imports models, another family"),
        ("models.edsr", "from sr_keras.models import vdsr", "models.edsr imports models.vdsr, a component of its own"),
        ("models.edsr", "from . import vdsr", "models.edsr imports ..vdsr, a relative name"),
        ("train", "from sr_keras import evaluate", "train imports evaluate, another verb"),
        ("data", "from sr_keras.config import Config", "data imports config.Config, which only verbs see"),
    ],
)
def test_a_planted_violation_is_caught(module, source, fault):
    assert [line[: len(fault)] for line in faults(module, source)] == [fault]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("train", "from sr_keras import data"),
        ("models.edsr", "from sr_keras.models._blocks import conv"),
        ("models.edsr", "from sr_keras.layers.resize import Bicubic"),
        ("run", "if TYPE_CHECKING:\n    from sr_keras.data import Pair"),
    ],
)
def test_what_is_allowed_is_no_fault(module, source):
    assert faults(module, source) == []
