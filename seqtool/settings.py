"""TOML and `--set` to typed settings: strict, every problem reported at once, with the nearest valid name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from seqtool.errors import SettingsError, UsageError, nearest
from seqtool.files import storage_errors

SettingsType = TypeVar("SettingsType", bound="Settings")


class Settings(BaseModel):
    """Base of every settings class: unknown keys are errors, values are not coerced, instances are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UsageError: there is no such file.
        SettingsError: it is not TOML (a duplicate key included), with line and column.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such recipe file")
    with storage_errors(path):
        raw = path.read_bytes()
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from error


def apply_overrides(tables: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """`tables` with each `KEY=VALUE` put in; KEY is dotted, VALUE is TOML or, failing that, a string.

    Raises:
        SettingsError: no `=`, or a key that goes through a value; the message lists all such.

    >>> apply_overrides({"model": {"hidden": 1}}, ["model.hidden=512", "model.cell=gru"])
    {'model': {'hidden': 512, 'cell': 'gru'}}
    """
    result, problems = _copy(tables), []
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator or not key.strip():
            problems.append(f"--set {assignment}: expected KEY=VALUE, as in --set model.hidden=256")
            continue
        through = _assign(result, key.strip(), _toml_value(text.strip()))
        if through:
            problems.append(f"--set {key.strip()}: {through} is a value, not a table")
    if problems:
        raise SettingsError("; ".join(problems))
    return result


def validate(kind: type[SettingsType], tables: Mapping[str, Any], where: str) -> SettingsType:
    """An instance of `kind`; `where` (a file, or `settings`) heads the message.

    Raises:
        SettingsError: one line that lists every problem with its dotted key.
    """
    try:
        return kind.model_validate(dict(tables))
    except ValidationError as error:
        problems = [_describe(kind, dict(problem)) for problem in error.errors()]
        raise SettingsError(f"{where}: " + "; ".join(problems)) from None


def _describe(kind: type[BaseModel], problem: dict[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location)
    if problem["type"] == "extra_forbidden":
        siblings = _fields_at(kind, location[:-1])
        return f"{key}: unknown key{nearest(location[-1], siblings)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        # Settings that do not fit together: the message names them, the whole table would bury it.
        return f"{key}: {message}" if key else message
    given = "" if problem["type"] == "missing" else f" (given {problem['input']!r})"
    hint = ""
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        hint = nearest(problem["input"], re.findall(r"'([^']*)'", problem["ctx"]["expected"]))
    return f"{key}: {message}{given}{hint}"


def _fields_at(kind: type[BaseModel], location: list[str]) -> list[str]:
    """Names of the fields of the settings class that stands at `location` below `kind`."""
    current: Any = kind
    for part in location:
        field = next((f for name, f in current.model_fields.items() if part in (name, f.alias)), None)
        candidates = [] if field is None else [field.annotation, *get_args(field.annotation)]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not models:
            return []
        current = models[0]
    return [field.alias or name for name, field in current.model_fields.items()]


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(tables: dict[str, Any], key: str, value: Any) -> str | None:
    """Put a value in; the part of the key that is a value already, if there is one."""
    *parents, last = key.split(".")
    for parent in parents:
        below = tables.setdefault(parent, {})
        if not isinstance(below, dict):
            return parent
        tables = below
    tables[last] = value
    return None


def _copy(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tables.items()}
