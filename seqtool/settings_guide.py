"""The settings of a task for `seqtool recipes settings TASK`: key, default, allowed values, description."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from seqtool.settings import MOST_COUNT, MOST_FACTOR, UNNAMED, Settings

LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "pattern": "that matches {}",
}
BOUNDLESS = (MOST_COUNT, MOST_FACTOR, -MOST_FACTOR)  # limits that no real value reaches are not shown
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true | false"}


class Described(NamedTuple):
    """One setting."""

    key: str  # dotted, as for `--set`
    default: str  # as in TOML; empty = not set by default; auto = from the data; `(required in TABLE)`
    values: str  # allowed values
    meaning: str  # description

    def as_dict(self) -> dict[str, str]:
        """Plain JSON values."""
        return self._asdict()


def describe_settings(
    kind: type[Settings], word: str = "", automatic: Collection[str] = ()
) -> list[Described]:
    """Describe all settings of a settings class, from pydantic's JSON schema.

    Args:
        kind: Settings class of a run or of one table.
        word: Only settings whose key or description contains this text, in upper or lower case.
        automatic: Dotted keys of the settings that are chosen from the data if they are not given.

    Returns:
        The settings in the order of their tables.
    """
    schema = kind.model_json_schema()
    described = _settings(schema, schema.get("$defs", {}), "")
    found = [
        each._replace(default="auto", values=f"{each.values} or auto") if each.key in automatic else each
        for each in described
    ]
    return [each for each in found if word.lower() in f"{each.key} {each.meaning}".lower()]


def _settings(table: Mapping[str, Any], tables: Mapping[str, Any], prefix: str) -> Iterator[Described]:
    for name, field in table["properties"].items():
        key = f"{prefix}{name}"
        below = next((each["$ref"] for each in (field, *field.get("anyOf", ())) if "$ref" in each), None)
        if below is not None:
            yield from _settings(tables[below.rpartition("/")[2]], tables, f"{key}.")
        else:
            default = field.get("default")
            required = name in table.get("required", ())
            if default is None and required and not prefix:
                default = UNNAMED  # the name of the run, which only a recipe would have to give
            missing = f"(required in {prefix.rstrip('.')})" if required else ""
            shown = missing if default is None else json.dumps(default, ensure_ascii=False)
            yield Described(key, shown, _values(field), field["description"])


def _values(field: Mapping[str, Any]) -> str:
    """The allowed values of a setting, in words."""
    if "$ref" in field:
        return "tables"
    if "anyOf" in field:
        return " or ".join(_values(each) for each in field["anyOf"] if each.get("type") != "null")
    if "const" in field or "enum" in field:
        return " | ".join(str(each) for each in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        least, most = field.get("minItems", 0), field.get("maxItems")
        count = f"{least} " if least == most else ""
        return f"list of {count}{_values(field['items'])}"
    if field["type"] == "object":
        return f"table (each value: {_values(field['additionalProperties'])})"
    if "exclusiveMinimum" in field:  # a field may narrow the limits of its type and then has both
        field = {name: value for name, value in field.items() if name != "minimum"}
    limits = [
        text.format(_whole(field[name]))
        for name, text in LIMITS.items()
        if name in field and field[name] not in BOUNDLESS
    ]
    return f"{KINDS[field['type']]} {' and '.join(limits)}".rstrip()


def _whole(limit: Any) -> Any:
    """A limit without its fraction if that is zero: 1 for 1.0."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit
