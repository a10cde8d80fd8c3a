from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.errors import ModelError
from seqtool.text.vocabulary import PADDING, UNKNOWN, Vocabulary

SYMBOLS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True)


def test_the_position_of_a_symbol_is_its_id():
    words = Vocabulary(["b", "a", "c"])
    assert [words.id(symbol) for symbol in "bac"] == [0, 1, 2]
    assert [words.symbol(number) for number in range(3)] == ["b", "a", "c"]
    assert len(words) == 3
    assert "a" in words and "d" not in words


def test_an_unseen_symbol_is_unknown_where_there_is_an_unknown_symbol():
    assert Vocabulary([PADDING, UNKNOWN, "a"]).id("never seen") == 1
    with pytest.raises(KeyError, match="never seen"):
        Vocabulary(["a"]).id("never seen")


def test_a_symbol_that_stands_twice_is_our_mistake():
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(["a", "b", "a"])


def test_the_most_frequent_symbols_come_first_and_ties_in_code_point_order():
    counts = {"z": 2, "b": 5, "a": 2, "Z": 2, "é": 2, "rare": 1}
    words = Vocabulary.build(counts, reserved=(PADDING, UNKNOWN), min_count=2)
    assert words.symbols == (PADDING, UNKNOWN, "b", "Z", "a", "z", "é")


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.integers(1, 4), max_size=8), st.randoms())
def test_a_vocabulary_does_not_depend_on_the_order_of_counting(counts: dict[str, int], chance):
    shuffled = list(counts.items())
    chance.shuffle(shuffled)
    reserved = (UNKNOWN,)
    first, second = (Vocabulary.build(c, reserved=reserved) for c in (counts, dict(shuffled)))
    assert first.symbols == second.symbols
    assert first.digest == second.digest


def test_a_reserved_symbol_keeps_its_place_however_often_it_was_counted():
    words = Vocabulary.build({UNKNOWN: 9, "a": 3, PADDING: 1}, reserved=(PADDING, UNKNOWN))
    assert words.symbols == (PADDING, UNKNOWN, "a")


def test_the_limit_counts_reserved_symbols():
    counts = {"a": 3, "b": 2, "c": 1}
    assert Vocabulary.build(counts, reserved=(UNKNOWN,), limit=3).symbols == (UNKNOWN, "a", "b")
    assert len(Vocabulary.build(counts, reserved=(UNKNOWN,), limit=0)) == 4
    assert Vocabulary.build(counts, reserved=(PADDING, UNKNOWN), limit=1).symbols == (PADDING, UNKNOWN)


@settings(deadline=None)
@given(SYMBOLS)
def test_a_stored_vocabulary_is_read_back_as_it_was(symbols: list[str]):
    words = Vocabulary(symbols)
    again = Vocabulary.from_text(words.to_text(), "words.txt")
    assert again.symbols == words.symbols
    assert again.digest == words.digest


def test_the_digest_changes_with_symbols_and_with_their_order():
    digests = {Vocabulary(symbols).digest for symbols in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], [])}
    assert len(digests) == 5


@pytest.mark.parametrize(
    "text", ['"a"\nb\n', '"a"\n1\n', '"a"\n["b"]\n', '"a"\n"b"\n"a"\n', '"a" "b"\n', '"half\n', "null\n"]
)
def test_a_damaged_vocabulary_is_refused_by_name(text: str):
    with pytest.raises(ModelError, match=r"words\.txt: not a vocabulary file"):
        Vocabulary.from_text(text, "words.txt")
