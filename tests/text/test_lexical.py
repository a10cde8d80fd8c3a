"""Lexical features: their names, how many, and their ids in a table of forms."""

from __future__ import annotations

import pytest

from seqtool.text.forms import FormTable
from seqtool.text.lexical import (
    SLOTS,
    SLOTS_AROUND,
    Lexicon,
    LexiconLookup,
    features_around,
    own_features,
)
from seqtool.text.vocabulary import PADDING, UNKNOWN, Vocabulary

FORMS = ["a", "Ab", "McDonald's", "x" * 1000, "é", "İstanbul", "ß", "東京タワー", "\u0301"]
OTHERS = Vocabulary([UNKNOWN]), Vocabulary([PADDING, UNKNOWN]), Vocabulary([UNKNOWN])


@pytest.mark.parametrize("form", FORMS)
def test_features_fit_their_slots_and_are_distinct(form: str) -> None:
    for features, least, most in ((own_features, 4, SLOTS), (features_around, 2, SLOTS_AROUND)):
        found = features(form)
        assert least <= len(found) <= most
        assert len(set(found)) == len(found)


def test_affixes_are_shorter_than_the_word_and_in_lower_case() -> None:
    found = own_features("Running")
    assert {"prefix=r", "prefix=runni", "suffix=g", "suffix=nning", "word=Running"} <= set(found)
    assert not any(name in found for name in ("prefix=runnin", "suffix=Running", "prefix=R"))
    assert not any("fix=" in name for name in own_features("I"))


def test_a_table_holds_the_known_features_of_each_form() -> None:
    lexicon = Lexicon.build({"walking": 2, "talks": 1})
    table = FormTable(*OTHERS, lexicon, lowercase=True, zero_digits=True)
    lexical = table.rows(table.indices(["walking", "Balking"])).lexical
    first, second = ([lexicon.own.symbol(number) for number in row if number] for row in lexical.own.tolist())
    assert first == own_features("walking")
    assert second == ["suffix=g", "suffix=ng", "suffix=ing", "suffix=king", "suffix=lking"]
    around = [[lexicon.around.symbol(number) for number in row if number] for row in lexical.around.tolist()]
    assert around == [features_around("walking"), ["suffix=ing"]]


def test_a_table_without_lexical_features_has_no_room_for_them() -> None:
    table = FormTable(*OTHERS, lowercase=True, zero_digits=True)
    lexical = table.rows(table.indices(["a"])).lexical
    assert (lexical.own.shape, lexical.around.shape) == ((1, 0), (1, 0))


@pytest.mark.parametrize("form", [*FORMS, "Running", "runs", "UNKNOWN-word", "x1", "12,000"])
def test_a_lookup_finds_the_features_that_the_names_say(form: str) -> None:
    lexicon = Lexicon.build({"Running": 3, "runs": 2, "12,000": 2, "McDonald's": 2, "東京タワー": 2, "é": 1})
    own, around = LexiconLookup(lexicon)(form)
    assert [lexicon.own.symbol(number) for number in own] == [
        name for name in own_features(form) if name in lexicon.own
    ]
    assert [lexicon.around.symbol(number) for number in around] == [
        name for name in features_around(form) if name in lexicon.around
    ]
