"""A group of options is declared once and typed like any other option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from seqtool.cli.option_groups import flag, given, with_options


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option("--width", "-w", min=1, help="Across.")] = 3
    top_height: Annotated[int | None, typer.Option(help="Up.")] = None


@dataclass(frozen=True)
class Colour:
    red: Annotated[bool, typer.Option("--red")] = False
    tints: Annotated[list[str] | None, typer.Option("--tint")] = None


@dataclass(frozen=True)
class Other:
    width: int = 1


def program(seen: list[Any]) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @with_options
    def draw(name: str, size: Size, *, colour: Colour, quick: bool = False) -> None:
        seen.append((name, size, colour, quick))

    return app


def test_every_field_of_every_group_is_an_option_of_the_command() -> None:
    seen: list[Any] = []
    typed = ["box", "-w", "5", "--top-height", "2", "--red", "--tint", "a", "--tint", "b", "--quick"]
    result = CliRunner().invoke(program(seen), typed)
    assert result.exit_code == 0, result.output
    assert seen == [("box", Size(5, 2), Colour(True, ["a", "b"]), True)]


def test_options_that_are_not_typed_are_as_their_group_says() -> None:
    seen: list[Any] = []
    assert CliRunner().invoke(program(seen), ["box"]).exit_code == 0
    assert seen == [("box", Size(), Colour(), False)]
    assert given(seen[0][1]) == {}


def test_options_stand_in_the_help_where_their_group_stands() -> None:
    text = CliRunner().invoke(program([]), ["--help"]).output
    places = [text.index(word) for word in ("--width", "--top-height", "--red", "--tint", "--quick")]
    assert places == sorted(places)


def test_the_limits_of_an_option_hold() -> None:
    assert CliRunner().invoke(program([]), ["box", "--width", "0"]).exit_code == 2


def test_given_names_what_differs_from_the_defaults() -> None:
    assert given(Size(3, 7)) == {"top_height": 7}
    assert given(Size(4)) == {"width": 4}


def test_flag_is_the_option_as_typed() -> None:
    assert [flag(Size, "width"), flag(Size(), "top_height"), flag(Colour, "tints")] == [
        "--width",
        "--top-height",
        "--tint",
    ]


def test_a_name_cannot_be_in_two_groups() -> None:
    def draw(size: Size, other: Other) -> None:
        del size, other

    with pytest.raises(ValueError, match="width"):
        with_options(draw)
