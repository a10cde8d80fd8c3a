"""From TOML and `--set` to typed settings; all problems are reported at once, with the nearest names."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from seqtool.errors import SettingsError, UsageError, closest, did_you_mean, nearest
from seqtool.files import storage_errors
from seqtool.settings_keys import table_of

SettingsType = TypeVar("SettingsType", bound="Settings")
SET = "--set "  # begins the message about a key that was given with --set
UNNAMED = "custom"  # name of a run whose recipe has none
DEEPEST = 50  # levels of nested tables and lists, at most; no setting needs more than four
LARGEST = 2**63  # TOML integers have 64 bits
TOO_DEEP = f"tables or lists nested more than {DEEPEST} levels deep"
# Limits that no real model reaches. A model may be foreign, so every number in its config has a limit.
MOST_UNITS = 100_000  # width of a layer or an embedding
MOST_LAYERS = 1_000
MOST_HYPOTHESES = 1_000  # beam size; larger ones need gigabytes for one sentence
MOST_COUNT = 1_000_000_000  # lines, symbols, steps
MOST_FACTOR = 1_000_000.0  # factors, and terms that are added
MOST_VALUES = 100  # values in a list
SHOWN = 200  # characters of a key or value that are repeated in a message


class Settings(BaseModel):
    """Base of all settings classes: unknown keys are errors, no value is converted, instances are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    # By dotted key, what runs and models did before a setting existed, where that is not its default.
    FORMER: ClassVar[Mapping[str, Any]] = {}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.

    Returns:
        Its tables.

    Raises:
        UsageError: there is no such file.
        SettingsError: it is not valid TOML; the message names line and column.
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
    """Apply the assignments of `--set` to tables.

    Args:
        tables: Tables of settings, which are not changed.
        assignments: `KEY=VALUE` each, with a dotted key, and a value that is TOML or else taken as text.

    Returns:
        The tables with all assignments applied.

    Raises:
        SettingsError: an assignment without `=`, a key that leads through a value or has too many parts,
            or a value that TOML cannot hold; the message lists all of them.

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
    kind: type[SettingsType],
    tables: Mapping[str, Any],
    where: str,
    typed: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
) -> SettingsType:
    """Turn tables into typed settings.

    Args:
        kind: Settings class.
        tables: Values of the settings, nested by table.
        where: The file that they come from, or `settings`; begins the message.
        typed: Dotted keys that were given with `--set`, which the message then names.
        options: Command-line options that were given, by the dotted key of their setting; likewise.

    Returns:
        An instance of `kind`.

    Raises:
        SettingsError: one line that lists every problem with its dotted key.
    """
    texts = list(_unusable(tables))
    if not texts:
        try:
            return kind.model_validate(dict(tables))
        except ValidationError as error:
            texts = _describe(kind, error.errors())
    texts = [_with_option(text, options or {}) for text in texts]
    headings = [_heading(text, where, typed) for text in texts]
    before = [SET, *headings]  # a file is named only once for consecutive problems
    message = "; ".join(
        text if heading == last != SET else f"{heading}{text}"
        for last, heading, text in zip(before, headings, texts, strict=False)
    )
    raise SettingsError(_one_line(message))


def _unusable(tables: Mapping[str, Any]) -> Iterator[str]:
    """A message for each value that no setting can have: text with NUL, integers of more than 64 bits."""
    for key, value in _leaves(tables):
        if isinstance(value, str) and "\0" in value:
            yield f"{key}: expected text without a NUL character (given {_given(value)})"
        elif isinstance(value, int) and not -LARGEST <= value < LARGEST:
            yield f"{key}: a whole number beyond 64 bits"


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """All values in nested tables and lists, with their dotted keys; keys are yielded as text, too."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from ((key or "settings", name),)
            yield from _leaves(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _leaves(below, key)
    else:
        yield key, value


def _with_option(text: str, options: Mapping[str, str]) -> str:
    """A message about a setting, which begins with its key; with the option in its place if one was given."""
    key, colon, rest = text.partition(": ")
    return f"{options[key]}{colon}{rest}" if key in options else text


def _heading(text: str, where: str, typed: Sequence[str]) -> str:
    """The beginning of a message: where the problem comes from, `--set` or the file or both, or an option."""
    if text.startswith("--"):
        return ""
    if text.partition(": ")[0] in typed:
        return SET
    words = set(re.findall(r"\w+", text))
    named = [key for key in dict.fromkeys(typed) if key.rpartition(".")[2] in words]
    return f"{where} with --set {', '.join(named)}: " if named else f"{where}: "


def plain_message(error: ValidationError) -> str:
    """What is wrong with a single value, such as that of a command-line option, in plain words.

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


# What was expected, by pydantic's type of error; pydantic's own messages are written for programmers.
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
    """A value that is not valid."""

    key: str  # dotted key of the value
    setting: str  # dotted key of the setting that the value is, or is part of
    error: Mapping[str, Any]  # as pydantic describes it


def _describe(kind: type[BaseModel], errors: Iterable[Any]) -> list[str]:
    """A message for each problem. If a setting accepts several types, their errors are one problem."""
    settings: dict[str, list[_Problem]] = {}
    for error in errors:
        problem = _Problem(*_keys(kind, [str(part) for part in error["loc"]]), error)
        settings.setdefault(problem.setting, []).append(problem)
    texts = []
    for setting, problems in settings.items():
        foreign = [each for each in problems if each.key == setting and each.error["type"] in WRONG_KIND]
        if len(foreign) == len(problems):  # the value has none of the accepted types
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
        # Settings that contradict each other: the message names them, and the whole table would hide it.
        given = "" if isinstance(error["input"], dict) else f" (given {_given(error['input'])})"
        return f"{key}: {message}{given}" if key else message
    hint = ""
    if error["type"] == "literal_error" and isinstance(error["input"], str):
        hint = nearest(error["input"], re.findall(r"'([^']*)'", expected))
    if error["type"] == "list_type" and isinstance(error["input"], str):
        expected += f", as in --set '{key}={_list_of(error['input'])}'"
    return f"{key}: expected {expected} (given {_given(error['input'])}){hint}"


def _list_of(text: str) -> str:
    """Values with commas between them as a TOML list.

    >>> _list_of("en, fr"), _list_of("2,3")
    ('["en","fr"]', '[2,3]')
    """
    values = [each for each in (part.strip().strip("[]\"'") for part in text.split(",")) if each]
    return "[" + ",".join(each if each.isdecimal() else f'"{each}"' for each in values) + "]"


def _nearest_key(kind: type[BaseModel], parents: list[str], name: str) -> str:
    """The setting that was probably meant: a similar name in this table, else one in another table."""
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
        table, key = table_of(field), f"{prefix}{field.alias or name}"
        found += [key] if table is None else _keys_below(table, f"{key}.")
    return found


def _expected(error: Mapping[str, Any]) -> str:
    known = EXPECTED.get(error["type"])
    limits = {name: f"{x:g}" if isinstance(x, float) else x for name, x in error.get("ctx", {}).items()}
    return str(error["msg"]) if known is None else known.format(**limits)


def _keys(kind: type[BaseModel], location: list[str]) -> tuple[str, str]:
    """The dotted keys of a value and of its setting, without pydantic's names of alternative types."""
    current: type[BaseModel] | None = kind
    for place, part in enumerate(location, 1):
        if part.isdecimal():  # the number of a table in a list
            continue
        field = None if current is None else _field(current, part)
        if field is None:
            break
        current = table_of(field)
        if current is None:
            rest = location[place:][_is_choice(field.annotation) :]
            return ".".join([*location[:place], *rest]), ".".join(location[:place])
    return ".".join(location), ".".join(location)


def _field(kind: type[BaseModel], key: str) -> FieldInfo | None:
    return next((field for name, field in kind.model_fields.items() if key in (name, field.alias)), None)


def _is_choice(annotation: Any) -> bool:
    """Whether a setting accepts values of several types, not counting None."""
    kinds = [each for each in get_args(annotation) if each is not type(None)]
    return get_origin(annotation) in (Union, UnionType) and len(kinds) > 1


def _fields_at(kind: type[BaseModel], location: list[str]) -> list[str]:
    """Keys of the table at `location` in a settings class; empty if there is no such table."""
    current: type[BaseModel] | None = kind
    for part in location:
        if part.isdecimal():
            continue
        field = None if current is None else _field(current, part)
        current = None if field is None else table_of(field)
    return [] if current is None else [field.alias or name for name, field in current.model_fields.items()]


def _toml_value(text: str) -> Any:
    """A value as TOML, or the text itself if it is not TOML; ValueError as for `_parsed`."""
    try:
        tables = _parsed(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # After a line break the text may go on with other keys and tables; then it is no value.
    return tables["value"] if tables.keys() == {"value"} else text


def _parsed(text: str) -> dict[str, Any]:
    """Parse TOML; `TOMLDecodeError` if it is not TOML, another ValueError if no settings can be like that."""
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python refuses to parse integers of more than 4,300 digits
        raise ValueError("a whole number beyond 64 bits") from None
    layer: list[Any] = [tables]
    for _ in range(DEEPEST):
        layer = [below for each in layer for below in _below(each)]
    if layer:
        raise ValueError(TOO_DEEP)
    return tables


def _below(value: Any) -> list[Any]:
    """The values of a table or a list; none of any other value."""
    return [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []


def _assign(tables: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted key, in place; ValueError if the key leads through a value or is too deep."""
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
    """A value for a message, shortened if it is long."""
    return _shortened(repr(value))


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _one_line(text: str) -> str:
    """A message with line breaks and control characters escaped, which keys may contain."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _copy(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tables.items()}
