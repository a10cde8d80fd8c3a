from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import BaseModel, Field, model_validator

from seqtool.errors import SettingsError, UsageError
from seqtool.settings import Settings, apply_overrides, read_toml, validate
from seqtool.tasks import TASKS


class Inner(Settings):
    """A table in a table."""

    width: int = Field(3, ge=1)
    kind: Literal["plain", "fancy"] = "plain"


class Model(Settings):
    """A table."""

    hidden: int = 1
    rate: float = Field(0.5, gt=0, lt=1)
    inner: Inner = Inner()
    maybe: Inner | None = None
    weights: dict[str, float] = {}

    @model_validator(mode="after")
    def _fits(self) -> Model:
        if self.hidden > 100:
            raise ValueError("hidden is more than a hundred")
        return self


class Recipe(Settings):
    """The whole state."""

    name: str
    model: Model = Model()
    seed: int = 1

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if self.seed == 13:
            raise ValueError("seed = 13 brings bad luck to name")
        return self


def problems(tables: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        validate(Recipe, tables, "recipe.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- validation ---


def test_what_is_left_out_has_its_default() -> None:
    settings = validate(Recipe, {"name": "x", "model": {"hidden": 2}}, "recipe.toml")
    assert settings == Recipe(name="x", model=Model(hidden=2))
    assert (settings.model.rate, settings.seed) == (0.5, 1)


def test_every_problem_is_reported_at_once() -> None:
    message = problems(
        {
            "nmae": "x",
            "seed": "1",
            "model": {"hiden": 3, "rate": 1.0, "inner": {"width": 0, "kind": "fncy", "wdth": 1}},
        }
    )
    assert message.startswith("recipe.toml: ")
    for part in (
        "name: missing",
        "nmae: unknown key; did you mean 'name'?",
        "seed: expected a whole number (given '1')",
        "model.hiden: unknown key; did you mean 'model.hidden'?",
        "model.rate: expected less than 1 (given 1.0)",
        "model.inner.width: expected at least 1 (given 0)",
        "model.inner.kind: expected 'plain' or 'fancy' (given 'fncy'); did you mean 'fancy'?",
        "model.inner.wdth: unknown key; did you mean 'model.inner.width'?",
    ):
        assert part in message
    assert message.count(";") == 7 + 4  # between the eight problems, and before each hint


class Choices(Settings):
    """Settings with several kinds of value."""

    files: str | Annotated[list[str], Field(min_length=2)] | None = None
    bias: float | dict[str, float] | Literal["auto"] = "auto"
    table: Model | None = None
    counts: dict[int, str] = {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bias": "x"}, "bias: expected a number or a table or 'auto' (given 'x')"),
        ({"bias": {"PER": "x"}}, "bias.PER: expected a number (given 'x')"),
        ({"files": 3}, "files: expected text or a list (given 3)"),
        ({"files": ["a"]}, "files: expected at least 2 values (given ['a'])"),
        ({"files": ["a", 3]}, "files.1: expected text (given 3)"),
        ({"table": 3}, "table: expected a table (given 3)"),
        ({"table": {"hidden": "x"}}, "table.hidden: expected a whole number (given 'x')"),
        (
            {"table": {"inner": {"width": 1, "knid": "a"}}},
            "table.inner.knid: unknown key; did you mean 'table.inner.kind'?",
        ),
    ],
    ids=str,
)
def test_a_value_of_none_of_several_kinds_is_one_problem(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        validate(Choices, values, "r")
    assert str(caught.value) == f"r: {message}"


def leaves(kind: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every setting of a class, and of those in it."""
    for name, field in kind.model_fields.items():
        inner = [each for each in (field.annotation, *get_args(field.annotation)) if isinstance(each, type)]
        tables = [each for each in inner if issubclass(each, BaseModel)]
        yield (*above, field.alias or name)
        for table in tables:
            yield from leaves(table, (*above, field.alias or name))


WRONG = ["x y", "", -1, 0, 1.5, 1e9, float("nan"), True, None, [], [1], ["x"], {}, {"x": "y"}]
PROGRAMMERS = re.compile(r"Input|should|valid |[Pp]arse|instance|validation|required|\[str|integer|string")


@pytest.mark.parametrize("task", TASKS)
def test_no_message_is_written_for_programmers(task: str) -> None:
    kind = TASKS[task]().settings
    seen = []
    for path in leaves(kind):
        for value in WRONG:
            tables = value
            for name in reversed(path):
                tables = {name: tables}
            try:
                validate(kind, tables, "r")
            except SettingsError as error:
                seen.append(str(error))
    assert len(seen) > 500
    assert [line for line in seen if PROGRAMMERS.search(line)] == []


def test_an_unknown_key_far_from_all_others_has_no_hint() -> None:
    assert problems({"name": "x", "zzz": 1}) == "recipe.toml: zzz: unknown key"


@pytest.mark.parametrize(
    ("task", "key", "meant"),
    [
        ("lm", "model.weight_decay", "'training.weight_decay'"),
        ("ner", "training.dropout", "'model.dropout'"),
        ("lm", "dropout", "'model.dropout'"),
        ("lm", "zonout", "'model.zoneout'"),
        ("lm", "model.zonout", "'model.zoneout'"),
        ("translate", "model.layers", "'model.encoder_layers' or 'model.decoder_layers'"),
        ("lm", "model.average", "'training.average'"),
        ("lm", "model.window", "'training.window' or 'adaptation.window'"),
    ],
)
def test_hints_reach_into_other_tables(task: str, key: str, meant: str) -> None:
    tables = apply_overrides({"task": task, "name": "x"}, [f"{key}=1"])
    with pytest.raises(SettingsError) as caught:
        validate(TASKS[task]().settings, tables, "recipe.toml")
    assert f"{key}: unknown key; did you mean {meant}?" in str(caught.value)


def test_hints_reach_into_optional_tables() -> None:
    assert "model.maybe.widht: unknown key; did you mean 'model.maybe.width'?" in problems(
        {"name": "x", "model": {"maybe": {"widht": 1}}}
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden", 3.0),
        ("hidden", True),
        ("hidden", "3"),
        ("rate", "0.1"),
        ("rate", float("nan")),
        ("weights", []),
    ],
)
def test_values_are_not_coerced(key: str, value: Any) -> None:
    assert f"model.{key}: " in problems({"name": "x", "model": {key: value}})


def test_a_whole_number_is_a_number() -> None:
    tables = {"name": "x", "model": {"weights": {"a": 2}}}
    assert validate(Recipe, tables, "x").model.weights == {"a": 2.0}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"name": "x", "seed": 13}, "recipe.toml: seed = 13 brings bad luck to name"),
        ({"name": "x", "model": {"hidden": 101}}, "recipe.toml: model: hidden is more than a hundred"),
    ],
)
def test_settings_that_do_not_fit_together_are_named_without_the_whole_table(
    tables: dict[str, Any], message: str
) -> None:
    assert problems(tables) == message


def test_settings_are_frozen() -> None:
    settings = validate(Recipe, {"name": "x"}, "x")
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "seed", 2)  # noqa: B010 - mypy would refuse the plain form


# --- overrides ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e-3", 1e-3),
        ("true", True),
        ("gru", "gru"),
        ('"gru"', "gru"),
        ("[2, 3]", [2, 3]),
        ("{ratio = 1.0}", {"ratio": 1.0}),
        ("", ""),
        ("a=b", "a=b"),
        ("no", "no"),
        (" 5 ", 5),
        ("../x y.txt", "../x y.txt"),
        ("1\nname = 'lost'", "1\nname = 'lost'"),
        ("1\n[data]\ntrain = 'lost'", "1\n[data]\ntrain = 'lost'"),
        ("[1,\n2]", [1, 2]),
    ],
)
def test_a_value_is_toml_or_else_text(text: str, value: Any) -> None:
    result = apply_overrides({}, [f"model.x={text}"])
    assert result == {"model": {"x": value}}
    assert type(result["model"]["x"]) is type(value)


def test_the_last_of_two_overrides_counts() -> None:
    assert apply_overrides({"a": 0}, ["a=1", "b.c=2", "a=3"]) == {"a": 3, "b": {"c": 2}}


def test_overrides_leave_what_they_were_given() -> None:
    tables = {"model": {"inner": {"width": 1}}}
    apply_overrides(tables, ["model.inner.width=2", "model.hidden=3"])
    assert tables == {"model": {"inner": {"width": 1}}}


def test_every_bad_override_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        apply_overrides({"seed": 1}, ["hidden", "=3", "seed.x=1", "name=ok"])
    message = str(caught.value)
    assert "--set hidden: expected KEY=VALUE" in message
    assert "--set =3: expected KEY=VALUE" in message
    assert "--set seed.x: seed is a value, not a table" in message
    assert "name" not in message


BEYOND = "a whole number beyond 64 bits"
DEEP = "tables or lists nested more than 50 levels deep"
UNUSABLE = [
    ("[" * 2000, DEEP),
    ("{a=" * 1000, DEEP),
    ("[" * 60 + "]" * 60, DEEP),
    ("9" * 5000, BEYOND),
    ("0x" + "f" * 50_000, BEYOND),
    (str(2**63), BEYOND),
    ("[1, -9223372036854775809]", BEYOND),
    (r'"a\u0000b"', "expected text without a NUL character"),
    (r'["x", "a\u0000\nb"]', "expected text without a NUL character"),
    (r'{"a\u0000b" = 1.0}', "expected text without a NUL character"),
]


@pytest.mark.parametrize(("value", "reason"), UNUSABLE)
def test_a_value_that_no_setting_can_have_is_refused_in_one_line(
    tmp_path: Path, value: str, reason: str
) -> None:
    """The same for `--set` and in a file."""
    file = tmp_path / "recipe.toml"
    file.write_text(f"[model]\nweights = {value}\n", encoding="utf-8")
    readings: list[Callable[[], Any]] = [
        lambda: apply_overrides({}, ["name=x", f"model.weights={value}"]),
        lambda: {"name": "x", **read_toml(file)},
    ]
    for read in readings:
        with pytest.raises(SettingsError) as caught:
            validate(Recipe, read(), "recipe.toml", ["model.weights"])
        message = str(caught.value)
        assert reason in message
        assert message.isprintable()
        assert len(message) < 400


def test_a_number_of_64_bits_is_a_number() -> None:
    assert apply_overrides({}, [f"seed={2**63 - 1}"]) == {"seed": 2**63 - 1}
    assert validate(Choices, {"counts": {}, "files": "a" * 500}, "x").files == "a" * 500


@pytest.mark.parametrize(
    ("assignment", "shown"),
    [
        ("a\nb", r"--set a\nb: expected KEY=VALUE"),
        ("seed.a\n\u2028b=1", r"--set seed.a\n\u2028b: seed is a value"),
        ("x" * 5000, "expected KEY=VALUE"),
        ("a" + ".a" * 5000 + "=1", DEEP),
    ],
)
def test_what_is_wrong_with_an_odd_key_is_one_short_line(assignment: str, shown: str) -> None:
    with pytest.raises(SettingsError) as caught:
        apply_overrides({"seed": 1}, [assignment])
    assert shown in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_an_unknown_key_with_a_line_break_is_one_line() -> None:
    assert problems({"name": "x", "model": {"a\nb": 1}}) == r"recipe.toml: model.a\nb: unknown key"


# --- bounds ---


def stored_tables() -> list[type[BaseModel]]:
    """The settings that a model's config.json has, and that are read from it."""
    return [
        getattr(importlib.import_module(f"seqtool.{wing}.settings"), f"{name}Settings")
        for wing, names in {
            "tagging": ("Model", "Vocabulary", "Data"),
            "translation": ("Model", "Vocabulary", "Data", "Decoding"),
            "lm": ("Model", "Vocabulary", "Data", "Adaptation"),
        }.items()
        for name in names
    ]


def unbounded(schema: Any, key: str = "") -> list[str]:
    """Keys of the numbers without a largest value, and of lists of numbers without a greatest length."""
    if isinstance(schema, list):
        return [found for each in schema for found in unbounded(each, key)]
    if not isinstance(schema, dict):
        return []
    found = []
    if schema.get("type") in ("integer", "number"):
        found += [] if schema.keys() & {"maximum", "exclusiveMaximum"} else [key]
        found += [] if schema.keys() & {"minimum", "exclusiveMinimum"} else [key]
    if schema.get("type") == "array" and schema.get("items", {}).get("type") in ("integer", "number"):
        found += [] if "maxItems" in schema else [key]
    return found + [name for below, each in schema.items() for name in unbounded(each, f"{key}.{below}")]


@pytest.mark.parametrize("kind", stored_tables(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_number_of_a_foreign_config_is_bounded(kind: type[BaseModel]) -> None:
    assert unbounded(kind.model_json_schema()) == []
    assert unbounded({"a": {"type": "integer", "minimum": 0}}) == [".a"]


# --- files ---


def test_toml_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "ü"\n[model]\nhidden = 1\n', encoding="utf-8")
    assert read_toml(path) == {"name": "ü", "model": {"hidden": 1}}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"a = 1\na = 2\n", "line 2"),
        (b"a = \n", "line 1"),
        (b"a = no\n", "line 1"),
        (b"\xff", "utf-8"),
    ],
)
def test_a_file_that_is_not_toml_is_an_error_with_its_place(tmp_path: Path, raw: bytes, reason: str) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(raw)
    with pytest.raises(SettingsError, match=rf"r\.toml: .*{reason}"):
        read_toml(path)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such recipe file"):
        read_toml(tmp_path / "r.toml")
    with pytest.raises(UsageError, match="no such recipe file"):
        read_toml(tmp_path)
