"""A family is a folder, a component is a file in it: names are found by listing, options checked by signature."""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sr_keras.errors import InputError

Spec = str | Mapping[str, Any]


def names(family: ModuleType) -> list[str]:
    """Lists the components of a family: the modules in its folder that do not start with an underscore."""
    return sorted(m.name for m in pkgutil.iter_modules(family.__path__) if not m.name.startswith("_"))


def build(family: ModuleType, spec: Spec, **given: Any) -> Any:
    """Calls `build` of the component that `spec` names, with its options and with `given`.

    `spec` is a name, or a mapping with the key `name` and options. A name with dots is the user's own module.
    Of `given`, only what `build` takes is passed on. Raises `InputError` for an unknown name or option and for an
    option of the wrong type.
    """
    function, options = resolve(family, spec, "build")
    parameters = inspect.signature(function).parameters
    for key in given:
        if key in options:
            place = function.__module__.removeprefix("sr_keras.")
            raise InputError(f"{place}: '{key}' is not an option to set here; it follows from the rest of the config.")
    return function(**options, **{key: value for key, value in given.items() if key in parameters})


def resolve(family: ModuleType, spec: Spec, attribute: str) -> tuple[Callable, dict[str, Any]]:
    """Finds the function `attribute` of the component and its checked options; nothing is called."""
    name, options = (spec, {}) if isinstance(spec, str) else (spec.get("name"), dict(spec))
    options.pop("name", None)
    function = getattr(_module(family, name), attribute, None)
    where = str(name) if "." in str(name) else f"{family.__name__.rpartition('.')[2]}.{name}"
    if function is None:
        raise InputError(f"{where} has no function '{attribute}'; see ARCHITECTURE.md for its contract.")
    return function, _checked(where, function, options)


def _module(family: ModuleType, name: object) -> ModuleType:
    kind = family.__name__.rpartition(".")[2]
    if not isinstance(name, str):
        raise InputError(f"{kind}: a component needs a name, such as {{name: {names(family)[0]}}}; got {name!r}.")
    target = name if "." in name else f"{family.__name__}.{name}"
    if "." not in name and name not in names(family):
        raise InputError(f"{kind} has no '{name}'{did_you_mean(name, names(family))}.")
    missing = InputError(f"{kind}: there is no module '{name}'; is its folder on PYTHONPATH?")
    if target.startswith("."):
        raise missing
    try:
        return importlib.import_module(target)
    except ModuleNotFoundError as error:
        if error.name and f"{target}.".startswith(f"{error.name}."):
            raise missing from error
        raise


def _checked(where: str, function: Callable, options: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    known = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    hints = inspect.get_annotations(function, eval_str=True)
    for key, value in options.items():
        if key not in known:
            raise InputError(f"{where} has no option '{key}'{did_you_mean(key, known)}.")
        try:
            check = TypeAdapter(hints.get(key, Any), config=ConfigDict(arbitrary_types_allowed=True))
            options[key] = check.validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"{where}: option '{key}': {first['msg']}, got {value!r}.") from error
    return options


def did_you_mean(word: str, known: list[str]) -> str:
    """Returns ` (did you mean 'x'?)` where a known word is close, else the list of what there is."""
    near = difflib.get_close_matches(word, known, n=1) or difflib.get_close_matches(word.lower(), known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else f" (there is: {', '.join(known)})"
