"""The settings of a task as something to read: key, default, allowed values, meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from seqtool.settings import Settings

LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "pattern": "that matches {}",
}
NEEDED = "(needed)"
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true | false"}


class Described(NamedTuple):
    """One setting."""

    key: str  # dotted, as for `--set`
    default: str  # as TOML has it; empty = no value unless given one; NEEDED = its table has to have it
    values: str  # those allowed
    meaning: str

    def as_dict(self) -> dict[str, str]:
        """Plain JSON values."""
        return self._asdict()


def describe_settings(kind: type[Settings], word: str = "") -> list[Described]:
    """All settings below `kind` in the order of their tables; pydantic's JSON schema tells them.

    Args:
        kind: Of a table, or of a whole run.
        word: Only settings with it in their key or meaning, whatever its case.
    """
    schema = kind.model_json_schema()
    found = _settings(schema, schema.get("$defs", {}), "")
    return [each for each in found if word.lower() in f"{each.key} {each.meaning}".lower()]


def _settings(table: Mapping[str, Any], tables: Mapping[str, Any], prefix: str) -> Iterator[Described]:
    for name, field in table["properties"].items():
        key = f"{prefix}{name}"
        below = next((each["$ref"] for each in (field, *field.get("anyOf", ())) if "$ref" in each), None)
        if below is not None:
            yield from _settings(tables[below.rpartition("/")[2]], tables, f"{key}.")
        else:
            default = field.get("default")
            missing = NEEDED if name in table.get("required", ()) else ""
            shown = missing if default is None else json.dumps(default, ensure_ascii=False)
            yield Described(key, shown, _values(field), field["description"])


def _values(field: Mapping[str, Any]) -> str:
    """What may stand there, in words."""
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
    if "exclusiveMinimum" in field:  # both, where a wing's setting narrows a type that several use
        field = {name: value for name, value in field.items() if name != "minimum"}
    limits = [text.format(_whole(field[name])) for name, text in LIMITS.items() if name in field]
    return f"{KINDS[field['type']]} {' and '.join(limits)}".rstrip()


def _whole(limit: Any) -> Any:
    """1 for 1.0."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit
