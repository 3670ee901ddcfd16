"""Writes configs/schema.json, by which an editor completes and checks the keys of a config."""

import json
from pathlib import Path

from sr_keras.config import Config

SCHEMA = Path(__file__).parent.parent / "configs" / "schema.json"


def schema() -> str:
    """Returns the JSON schema of `Config`, with the short forms (`model: edsr`) that the loader takes."""
    return json.dumps(_with_short_forms(Config.model_json_schema()), indent=1) + "\n"


def _with_short_forms(whole: dict) -> dict:
    """A name alone stands for a component or a section with a `name`, a path for a source, one item for a list."""
    for name in ("Component", "Loss", "Source", "Optimizer", "Schedule"):
        whole["$defs"][name] = {"anyOf": [{"type": "string"}, whole["$defs"][name]]}
    lists = (whole["properties"]["losses"], *(whole["$defs"]["Data"]["properties"][k] for k in ("train", "valid")))
    for field in lists:
        array = {key: field.pop(key) for key in ("type", "items", "minItems") if key in field}
        field["anyOf"] = [array, array["items"]]
    return whole


def main() -> None:
    """Writes the file."""
    SCHEMA.write_text(schema(), encoding="utf-8")
    print(SCHEMA)


if __name__ == "__main__":
    main()
