"""TOML and `--set` to typed settings: strict, every problem reported at once, with the nearest valid name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from seqtool.errors import SettingsError, UsageError, closest, did_you_mean, nearest
from seqtool.files import storage_errors

SettingsType = TypeVar("SettingsType", bound="Settings")
SET = "--set "  # heads what is wrong with a key that it gave
DEEPEST = 50  # tables and lists inside each other; no setting needs more than four
LARGEST = 2**63  # integers of TOML have 64 bits
TOO_DEEP = f"more than {DEEPEST} tables or lists inside each other"
# What every real model stays under. A model may be foreign, so each number that its config has is bounded.
MOST_UNITS = 100_000  # of a width
MOST_LAYERS = 1_000
MOST_HYPOTHESES = 1_000  # of a beam; more take gigabytes for one sentence
MOST_COUNT = 1_000_000_000  # of lines, symbols, steps
MOST_FACTOR = 1_000_000.0  # of what multiplies or is added
MOST_VALUES = 100  # of a list
SHOWN = 200  # characters of a key or value that a message repeats


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
        return _parsed(raw.decode("utf-8"))
    except ValueError as error:
        raise SettingsError(_one_line(f"{path}: {error}")) from error


def apply_overrides(tables: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """`tables` with each `KEY=VALUE` put in; KEY is dotted, VALUE is TOML or, failing that, a string.

    Raises:
        SettingsError: no `=`, a key that goes through a value or has too many parts, or a value that
            TOML cannot hold; the message lists all such.

    >>> apply_overrides({"model": {"hidden": 1}}, ["model.hidden=512", "model.cell=gru"])
    {'model': {'hidden': 512, 'cell': 'gru'}}
    """
    result, problems = _copy(tables), []
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        key = key.strip()
        if not separator or not key:
            problems.append(
                f"--set {_shortened(assignment)}: expected KEY=VALUE, as in --set model.hidden=256"
            )
            continue
        try:
            _assign(result, key, _toml_value(text.strip()))
        except ValueError as error:
            problems.append(f"--set {_shortened(key)}: {error}")
    if problems:
        raise SettingsError(_one_line("; ".join(problems)))
    return result


def validate(
    kind: type[SettingsType], tables: Mapping[str, Any], where: str, typed: Sequence[str] = ()
) -> SettingsType:
    """An instance of `kind`.

    Args:
        kind: Of the settings.
        tables: Their values.
        where: A file, or `settings`: heads the message.
        typed: Dotted keys that `--set` gave, which head the message of what is wrong with them.

    Raises:
        SettingsError: one line that lists every problem with its dotted key.
    """
    texts = list(_unusable(tables))
    if not texts:
        try:
            return kind.model_validate(dict(tables))
        except ValidationError as error:
            texts = _describe(kind, error.errors())
    headings = [_heading(text, where, typed) for text in texts]
    before = [SET, *headings]  # a file is named once for problems that follow each other
    message = "; ".join(
        text if heading == last != SET else f"{heading}{text}"
        for last, heading, text in zip(before, headings, texts, strict=False)
    )
    raise SettingsError(_one_line(message))


def _unusable(tables: Mapping[str, Any]) -> Iterator[str]:
    """A text for each value that no setting can have: what no path may hold, what no tensor can count."""
    for key, value in _leaves(tables):
        if isinstance(value, str) and "\0" in value:
            yield f"{key}: expected text without a NUL character (given {_given(value)})"
        elif isinstance(value, int) and not -LARGEST <= value < LARGEST:
            yield f"{key}: a whole number beyond 64 bits"


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values in tables and lists with their dotted keys; the keys count as text."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from ((key or "settings", name),)
            yield from _leaves(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _leaves(below, key)
    else:
        yield key, value


def _heading(text: str, where: str, typed: Sequence[str]) -> str:
    """Who is to blame for a problem: what was typed, or the file, or both."""
    if text.partition(": ")[0] in typed:
        return SET
    words = set(re.findall(r"\w+", text))
    named = [key for key in dict.fromkeys(typed) if key.rpartition(".")[2] in words]
    return f"{where} with --set {', '.join(named)}: " if named else f"{where}: "


def default_values(kind: type[BaseModel]) -> dict[str, Any]:
    """By dotted key, what `model_dump(mode="json", by_alias=True)` has for each setting that was left out.

    Those of a table that has to be given, or need not be there, are what they are where it is there.
    """
    values = dotted(kind.model_construct().model_dump(mode="json", by_alias=True))
    for name, field in kind.model_fields.items():
        table, key = _model_of(field), field.alias or name
        if table is not None and (field.is_required() or values.get(key, key) is None):
            values |= {f"{key}.{below}": value for below, value in default_values(table).items()}
    return values


def dotted(table: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a table and of those in it by their dotted keys; an empty table is a value.

    >>> dotted({"a": 1, "b": {"c": 2, "d": {}}})
    {'a': 1, 'b.c': 2, 'b.d': {}}
    """
    result: dict[str, Any] = {}
    for key, value in table.items():
        below = dotted(value) if isinstance(value, Mapping) else {}
        result |= {f"{key}.{name}": each for name, each in below.items()} or {key: value}
    return result


def plain_message(error: ValidationError) -> str:
    """What is wrong with a single value, such as that of an option of the command line, in our words.

    >>> from pydantic import TypeAdapter
    >>> try:
    ...     TypeAdapter(int).validate_python("many")
    ... except ValidationError as error:
    ...     plain_message(error)
    "expected a whole number (given 'many')"
    """
    return "; ".join(
        f"expected {_expected(each)} (given {each['input']!r})"
        if each["type"] in EXPECTED
        else each["msg"].removeprefix("Value error, ")
        for each in error.errors()
    )


# What pydantic misses, in our words; its own are for programmers.
EXPECTED: dict[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_short": "at least {min_length} characters",
    "too_short": "at least {min_length} values",
    "too_long": "at most {max_length} values",
}
WRONG_KIND = {name for name in EXPECTED if name.endswith("_type")} | {"literal_error"}


class _Problem(NamedTuple):
    """What is wrong with a value."""

    key: str  # dotted
    setting: str  # the key of the setting that the value is, or is a part of
    error: Mapping[str, Any]  # pydantic's


def _describe(kind: type[BaseModel], errors: Iterable[Any]) -> list[str]:
    """A text for each problem; what all the kinds of value that a setting may have say is one problem."""
    settings: dict[str, list[_Problem]] = {}
    for error in errors:
        problem = _Problem(*_keys(kind, [str(part) for part in error["loc"]]), error)
        settings.setdefault(problem.setting, []).append(problem)
    texts = []
    for setting, problems in settings.items():
        foreign = [each for each in problems if each.key == setting and each.error["type"] in WRONG_KIND]
        if len(foreign) == len(problems):  # of no kind that would do
            expected = " or ".join(_expected(each.error) for each in foreign)
            texts.append(_text(kind, foreign[0], expected))
        else:
            texts += [_text(kind, each, _expected(each.error)) for each in problems if each not in foreign]
    return texts


def _text(kind: type[BaseModel], problem: _Problem, expected: str) -> str:
    key, error = problem.key, problem.error
    *parents, name = key.split(".")
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key{_nearest_key(kind, parents, name)}"
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "value_error":
        message = error["msg"].removeprefix("Value error, ")
        # Settings that do not fit together: the message names them, the whole table would bury it.
        given = "" if isinstance(error["input"], dict) else f" (given {_given(error['input'])})"
        return f"{key}: {message}{given}" if key else message
    hint = ""
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        hint = nearest(error["input"], re.findall(r"'([^']*)'", expected))
    return f"{key}: expected {expected} (given {_given(error['input'])}){hint}"


def _nearest_key(kind: type[BaseModel], parents: list[str], name: str) -> str:
    """The setting that was meant: of this table by its name, of another by the same name or a like one."""
    elsewhere: dict[str, list[str]] = {}
    for key in _keys_below(kind):
        elsewhere.setdefault(key.rpartition(".")[2], []).append(key)
    if name not in elsewhere:
        here = [".".join([*parents, each]) for each in closest(name, _fields_at(kind, parents))]
        if here:
            return did_you_mean(here)
    return did_you_mean(key for each in closest(name, list(elsewhere)) for key in elsewhere[each])


def _keys_below(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted keys of all settings below `kind`."""
    found = []
    for name, field in kind.model_fields.items():
        table, key = _model_of(field), f"{prefix}{field.alias or name}"
        found += [key] if table is None else _keys_below(table, f"{key}.")
    return found


def _expected(error: Mapping[str, Any]) -> str:
    known = EXPECTED.get(error["type"])
    limits = {name: f"{x:g}" if isinstance(x, float) else x for name, x in error.get("ctx", {}).items()}
    return str(error["msg"]) if known is None else known.format(**limits)


def _keys(kind: type[BaseModel], location: list[str]) -> tuple[str, str]:
    """The key of a value and that of its setting, without pydantic's names of the kinds that there are."""
    current: type[BaseModel] | None = kind
    for place, part in enumerate(location, 1):
        field = None if current is None else _field(current, part)
        if field is None:
            break
        current = _model_of(field)
        if current is None:
            rest = location[place:][_is_choice(field.annotation) :]
            return ".".join([*location[:place], *rest]), ".".join(location[:place])
    return ".".join(location), ".".join(location)


def _field(kind: type[BaseModel], key: str) -> FieldInfo | None:
    return next((field for name, field in kind.model_fields.items() if key in (name, field.alias)), None)


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """The settings class of a field that is a table."""
    candidates = [field.annotation, *get_args(field.annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _is_choice(annotation: Any) -> bool:
    """Whether a value may be of several kinds, nothing aside."""
    kinds = [each for each in get_args(annotation) if each is not type(None)]
    return get_origin(annotation) in (Union, UnionType) and len(kinds) > 1


def _fields_at(kind: type[BaseModel], location: list[str]) -> list[str]:
    """Names of the fields of the settings class that stands at `location` below `kind`."""
    current: type[BaseModel] | None = kind
    for part in location:
        field = None if current is None else _field(current, part)
        current = None if field is None else _model_of(field)
    return [] if current is None else [field.alias or name for name, field in current.model_fields.items()]


def _toml_value(text: str) -> Any:
    """A value as TOML has it, or the text itself; ValueError as `_parsed`, for what would be TOML."""
    try:
        return _parsed(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _parsed(text: str) -> dict[str, Any]:
    """TOML, or a ValueError that says what is wrong (a `TOMLDecodeError` where it is not TOML)."""
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python refuses to read so many digits
        raise ValueError("a whole number beyond 64 bits") from None
    layer: list[Any] = [tables]
    for _ in range(DEEPEST):
        layer = [below for each in layer for below in _below(each)]
    if layer:
        raise ValueError(TOO_DEEP)
    return tables


def _below(value: Any) -> list[Any]:
    """What stands directly in a table or a list."""
    return [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []


def _assign(tables: dict[str, Any], key: str, value: Any) -> None:
    """Put a value in; ValueError where a part of the key is a value already, or it has too many parts."""
    *parents, last = key.split(".")
    if len(parents) >= DEEPEST:
        raise ValueError(TOO_DEEP)
    for parent in parents:
        below = tables.setdefault(parent, {})
        if not isinstance(below, dict):
            raise ValueError(f"{parent} is a value, not a table")
        tables = below
    tables[last] = value


def _given(value: Any) -> str:
    """A value as a message repeats it."""
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _one_line(text: str) -> str:
    """A message without line breaks and control characters, which keys may have."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _copy(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tables.items()}
