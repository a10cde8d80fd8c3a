from __future__ import annotations

import numpy
import pytest
import torch

from seqtool.errors import DataError
from seqtool.text.forms import FormTable, count_forms, normalise
from seqtool.text.shapes import LONGEST, clipped, shape
from seqtool.text.vocabulary import PADDING, UNKNOWN, Vocabulary

WORDS = Vocabulary([UNKNOWN, "paris", "room000"])
CHARACTERS = Vocabulary([PADDING, UNKNOWN, *"aiPprs"])
SHAPES = Vocabulary([UNKNOWN, "Xxx", "xx"])


def make_table(*, lowercase: bool = True, zero_digits: bool = True) -> FormTable:
    return FormTable(WORDS, CHARACTERS, SHAPES, lowercase=lowercase, zero_digits=zero_digits)


@pytest.mark.parametrize(
    ("lowercase", "zero_digits", "expected"),
    [
        (True, True, "room000"),
        (True, False, "room101"),
        (False, True, "Room000"),
        (False, False, "Room101"),
    ],
)
def test_case_and_digits_are_normalised_only_when_asked(
    lowercase: bool, zero_digits: bool, expected: str
) -> None:
    assert normalise("Room101", lowercase=lowercase, zero_digits=zero_digits) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("Paris", "Xxx"),
        ("IBM", "XX"),
        ("iPhone7", "xXxxd"),
        ("!!!!!", "!!"),
        ("https://a.b/C9", "<url>"),
        ("www.x.y", "<url>"),
        ("@ada", "<mention>"),
        ("@", "@"),
        ("東京タワー", "cc"),
        ("Ωmega", "Xxx"),
        ("٣٤", "dd"),
    ],
)
def test_shape_keeps_classes_and_cuts_runs_to_two(form: str, expected: str) -> None:
    assert shape(form) == expected


def test_shape_of_an_endless_token_is_bounded() -> None:
    assert len(shape("aB" * 1000)) <= LONGEST


def test_a_long_form_is_read_at_both_ends() -> None:
    form = "a" * 500_000 + "b" * 500_000
    assert clipped(form) == "a" * (LONGEST // 2) + "b" * (LONGEST // 2)
    assert clipped("x" * LONGEST) == "x" * LONGEST


def test_a_form_becomes_word_shape_and_characters() -> None:
    table = make_table()
    forms = table.rows(table.indices(["Paris", "Pa"]))
    assert forms.words.tolist() == [WORDS.id("paris"), 0]
    assert forms.shapes.tolist() == [SHAPES.id("Xxx"), 0]
    assert forms.lengths.tolist() == [5, 2]
    assert forms.characters.tolist() == [
        [CHARACTERS.id(c) for c in "Paris"],
        [*(CHARACTERS.id(c) for c in "Pa"), 0, 0, 0],
    ]


def test_forms_that_share_a_word_keep_their_own_characters() -> None:
    table = make_table()
    forms = table.rows(table.indices(["Room101", "room202"]))
    assert forms.words.tolist() == [2, 2]
    assert forms.characters[0].tolist() != forms.characters[1].tolist()


def test_an_unknown_character_is_not_padding() -> None:
    table = make_table()
    forms = table.rows(table.indices(["é"]))
    assert forms.characters.tolist() == [[CHARACTERS.id(UNKNOWN)]]
    assert forms.lengths.tolist() == [1]


def test_a_form_has_one_row_however_often_it_comes() -> None:
    table = make_table()
    first = table.indices(["a", "b", "a"])
    assert first.tolist() == [0, 1, 0]
    assert table.indices(["b", "c", "a"]).tolist() == [1, 2, 0]
    assert len(table) == 3


def test_the_table_grows_without_changing_rows() -> None:
    table = make_table()
    before = table.rows(table.indices(["Paris"]))
    many = [f"p{'a' * (number % 20)}{number}" for number in range(3000)]
    rows = table.indices(many)
    assert rows.tolist() == list(range(1, 3001))
    after = table.rows(table.indices(["Paris"]))
    *old_columns, old_lexical = before
    *new_columns, new_lexical = after
    for old, new in zip([*old_columns, *old_lexical], [*new_columns, *new_lexical], strict=True):
        assert torch.equal(old, new)
    assert table.rows(rows[-1:]).lengths.tolist() == [len(many[-1])]


def test_a_copy_grows_by_itself() -> None:
    table = make_table()
    table.indices(["a"])
    other = table.copy()
    assert other.indices(["p", "a"]).tolist() == [1, 0]
    assert len(table) == 1
    assert table.indices(["i"]).tolist() == [1]
    assert (
        other.rows(numpy.array([1])).characters.tolist() != table.rows(numpy.array([1])).characters.tolist()
    )


def test_clearing_forgets_everything() -> None:
    table = make_table()
    table.indices(["a", "b"])
    table.clear()
    assert len(table) == 0
    assert table.indices(["b"]).tolist() == [0]


def test_an_empty_token_is_refused() -> None:
    with pytest.raises(DataError, match="an empty token"):
        make_table().indices(["a", ""])


def test_forms_are_counted_over_sentences() -> None:
    assert count_forms([["a", "b"], ["a"], []]) == {"a": 2, "b": 1}
