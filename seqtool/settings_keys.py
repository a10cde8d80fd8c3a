"""Settings by their dotted keys: defaults, which were given, nested tables and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def default_values(kind: type[BaseModel]) -> dict[str, Any]:
    """The default of every setting, by dotted key, as `model_dump(mode="json", by_alias=True)` shows it.

    Settings of a required or optional table are included with the defaults that they have in such a table.

    Args:
        kind: Settings class.

    Returns:
        JSON values by dotted key.
    """
    values = dotted(kind.model_construct().model_dump(mode="json", by_alias=True))
    for name, field in kind.model_fields.items():
        table, key = table_of(field), field.alias or name
        if table is not None and (field.is_required() or values.get(key, key) is None):
            values |= {f"{key}.{below}": value for below, value in default_values(table).items()}
    return values


def given_keys(settings: BaseModel, prefix: str = "") -> set[str]:
    """Dotted keys of the settings that were given, as opposed to those that have their default."""
    found = set()
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        key = f"{prefix}{type(settings).model_fields[name].alias or name}"
        found |= given_keys(value, f"{key}.") if isinstance(value, BaseModel) else {key}
    return found


def put(tables: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of tables with the value of a dotted key; what stands in the place of a table is replaced."""
    first, _, rest = key.partition(".")
    below = tables.get(first)
    table = below if isinstance(below, Mapping) else {}
    return {**tables, first: put(table, rest, value) if rest else value}


def dotted(table: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested tables to dotted keys; an empty table counts as a value.

    >>> dotted({"a": 1, "b": {"c": 2, "d": {}}})
    {'a': 1, 'b.c': 2, 'b.d': {}}
    """
    result: dict[str, Any] = {}
    for key, value in table.items():
        below = dotted(value) if isinstance(value, Mapping) else {}
        result |= {f"{key}.{name}": each for name, each in below.items()} or {key: value}
    return result


def table_of(field: FieldInfo) -> type[BaseModel] | None:
    """The settings class of a field that is a table."""
    candidates = [field.annotation, *get_args(field.annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
