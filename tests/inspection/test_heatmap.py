from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtool.inspection.heatmap import END_ISOLATE, ISOLATE, SHADES, attention_lines, display_width

STRANGE = ["人名", "مرحبا", "שלום", "🎉", "é", "नाम", "\x1b[31m", "a\nb", "a\u202eb", "x" * 200, " ", ""]
SYMBOLS = st.lists(st.one_of(st.sampled_from(STRANGE), st.text(max_size=6)), max_size=30)


def uniform(target, source):
    return np.full((len(target), len(source)), 1 / max(1, len(source)))


def cells(line):
    """The part of a line between the borders."""
    return line.split("│")[1]


def test_shades_stand_in_the_column_of_the_source_symbol_and_the_line_of_the_output():
    lines = attention_lines(["rot", "Ball"], ["red", "ball"], [[0.75, 0.25], [0.1, 0.9]])
    assert lines == [
        "    │rot Ball│",
        "red │███ ▒▒▒▒│",
        "ball│░░░ ████│",
        "",
        "attention: ░ 0.05+ ▒ 0.2+ ▓ 0.4+ █ 0.7+",
    ]


def test_generation_stands_at_the_right_and_coverage_below():
    lines = attention_lines(["a", "b"], ["c"], [[1, 0]], p_gen=[0.125], coverage=[1.04, 12.6])
    assert lines[:3] == ["        │a   b  │p(gen)", "c       │███    │  0.12", "coverage│1.0 13 │"]


@pytest.mark.parametrize(
    ("weight", "shade"),
    [(0.0, " "), (0.049, " "), (0.05, "░"), (0.2, "▒"), (0.4, "▓"), (0.7, "█"), (1.0, "█")],
)
def test_each_shade_begins_where_the_last_line_says(weight, shade):
    lines = attention_lines(["a"], ["b"], [[weight]])
    assert cells(lines[1]) == shade * 3
    assert shade == " " or f"{shade} " in lines[-1]


@given(SYMBOLS, SYMBOLS, st.integers(40, 120), st.booleans(), st.booleans())
def test_every_line_fits_and_all_lines_of_a_panel_are_as_wide_as_its_heading(s, t, width, gate, covered):
    extras = {"p_gen": [0.5] * len(t) if gate else None, "coverage": [1.0] * len(s) if covered else None}
    lines = attention_lines(s, t, uniform(t, s), width=width, **extras)
    assert all(display_width(line) <= width for line in lines)
    assert all(c.isprintable() or c in f"{ISOLATE}{END_ISOLATE}\u200c\u200d" for line in lines for c in line)
    sizes: set[int] = set()
    for line in lines[:-1]:
        if line:
            sizes.add(display_width(line.rpartition("│")[0]))
        else:
            assert len(sizes) == 1
            sizes = set()


def test_what_does_not_fit_stands_below_with_the_outputs_repeated():
    source = [f"word{i}" for i in range(20)]
    lines = attention_lines(source, ["x", "y"], np.eye(20)[[0, 19]], width=60)
    headings = [cells(line).split() for line in lines if "word" in line]
    assert len(headings) > 1
    assert [name for heading in headings for name in heading] == source
    outputs = [line for line in lines if line.startswith(("x│", "y│"))]
    assert len(outputs) == 2 * len(headings)
    assert "█" in outputs[0]
    assert "█" in outputs[-1]
    assert not any("█" in line for line in outputs[1:-1])


def test_a_mark_without_its_letter_stands_on_a_circle():
    heading = attention_lines(["\u0301", "🏻"], ["a"], [[1, 0]])[0]
    assert heading == " │◌\u0301   ◌🏻│"


def test_right_to_left_symbols_are_isolated_and_others_are_not():
    heading = attention_lines(["שלום", "ok", "مرحبا"], ["a"], [[1, 0, 0]])[0]
    assert heading == f" │{ISOLATE}שלום{END_ISOLATE} ok  {ISOLATE}مرحبا{END_ISOLATE}│"


def test_colour_changes_nothing_but_colour():
    arguments = (["rot", "人"], ["red"], [[0.75, 0.25]])
    plain, coloured = attention_lines(*arguments), attention_lines(*arguments, colour=True)
    assert plain != coloured
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == plain
    assert not any("\x1b" in line for line in plain)


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("abc", 3),
        ("人名", 4),
        ("ﾊﾟ", 2),  # half-width forms
        ("e\u0301", 1),
        ("नाम", 3),
        ("각", 2),
        ("\u1100\u1161", 2),  # a Korean syllable in two letters
        ("👨‍👩‍👧", 2),
        ("❤\ufe0f", 2),
        ("🇩🇪🇫🇷", 4),
        ("\u200d", 0),
    ],
)
def test_width_in_a_terminal(text, width):
    assert display_width(text) == width


def test_long_symbols_are_cut_between_characters():
    heading = attention_lines(["人" * 8, "e\u0301" * 12], ["a"], [[1, 0]])[0]
    assert cells(heading).split() == ["人人人人…", "e\u0301" * 9 + "…"]


def test_nothing_to_show_is_no_error():
    assert attention_lines([], [], np.zeros((0, 0))) == attention_lines(["a"], ["b"], [[1]])[-1:]
    assert SHADES[-1] in attention_lines(["a"], [], np.zeros((0, 1)))[-1]
