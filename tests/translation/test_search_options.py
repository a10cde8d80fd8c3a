from __future__ import annotations

import math
from typing import Any

import pytest

from seqtool.errors import UsageError
from seqtool.translation.search import SearchOptions
from seqtool.translation.settings import DecodingSettings


def test_the_defaults_are_those_of_a_recipe() -> None:
    assert SearchOptions.of(DecodingSettings()) == SearchOptions()


def test_every_setting_of_a_recipe_arrives() -> None:
    values: dict[str, Any] = {
        "beam": 3,
        "beam_penalty": "wu",
        "length_penalty": 0.5,
        "coverage_penalty": 0.25,
        "no_repeat_ngram": 2,
    }
    assert values.keys() == DecodingSettings.model_fields.keys()
    assert SearchOptions.of(DecodingSettings(**values)) == SearchOptions(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beam": 0}, "beam 0: must be 1 or more"),
        ({"nbest": 0}, "nbest 0: must be 1 or more"),
        ({"beam": 2, "nbest": 3}, "nbest 3: must be between 1 and the beam, 2"),
        ({"diverse": 0}, "0: must be a divisor of the beam, 5"),
        ({"beam": 5, "diverse": 2}, "2: must be a divisor of the beam, 5"),
        ({"length_penalty": -1.0}, "length penalty -1.0: must be 0 or more"),
        ({"length_penalty": math.nan}, "length penalty nan"),
        ({"coverage_penalty": -0.1}, "coverage penalty -0.1: must be 0 or more"),
        ({"mbr": 1}, r"mbr 1: must be 0 \(off\), or 2 or more"),
        ({"mbr": -2}, "mbr -2: "),
        ({"min_length": 5, "max_length": 4}, "max_length 4 is less than min_length 5"),
        ({"sample": True, "temperature": -0.5}, "temperature -0.5: "),
        ({"sample": True, "temperature": math.nan}, "temperature nan: "),
        ({"sample": True, "temperature": math.inf}, "temperature inf: "),
        ({"sample": True, "top_p": 0.0}, "0.0"),
        ({"sample": True, "top_p": 1.5}, "1.5"),
        ({"sample": True, "top_p": math.nan}, "nan"),
        ({"mbr": 4, "top_k": -1}, "-1"),
        ({"sample": True, "no_repeat_ngram": 2}, "no_repeat_ngram and min_length have no effect on sampling"),
        ({"mbr": 2, "min_length": 1}, "no_repeat_ngram and min_length have no effect on sampling"),
    ],
    ids=str,
)
def test_a_value_out_of_its_range_is_a_usage_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SearchOptions(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"sample": True, "nbest": 0},
        {"max_length": -1},
        {"min_length": -1},
        {"no_repeat_ngram": -1},
        {"temperature": math.nan},
        {"top_p": 2.0},
    ],
    ids=str,
)
def test_a_number_out_of_its_range_is_refused_whether_it_is_read_or_not(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SearchOptions(**values)


@pytest.mark.parametrize(
    ("options", "draws", "rows"),
    [
        (SearchOptions(), False, 5),
        (SearchOptions(beam=1), False, 1),
        (SearchOptions(beam=4, nbest=3, diverse=2), False, 4),
        (SearchOptions(sample=True), True, 1),
        (SearchOptions(sample=True, nbest=9), True, 9),  # more than the beam, which is not read
        (SearchOptions(mbr=7), True, 7),
        (SearchOptions(sample=True, mbr=7, nbest=2), True, 7),
    ],
    ids=str,
)
def test_rows_are_the_hypotheses_of_a_sentence_in_work(
    options: SearchOptions, draws: bool, rows: int
) -> None:
    assert (options.draws, options.rows) == (draws, rows)


def test_what_is_handed_on_is_what_was_asked_for() -> None:
    search = SearchOptions(
        beam=6, nbest=2, beam_penalty="wu", length_penalty=0.7, coverage_penalty=0.2, diverse=3
    ).beam_options()
    assert (search.beam, search.nbest, search.groups) == (6, 2, 3)
    assert (search.length_penalty, search.alpha, search.coverage_penalty) == ("wu", 0.7, 0.2)
    drawing = SearchOptions(sample=True, temperature=0.7, top_k=3, top_p=0.9, seed=8).sampling_options()
    assert (drawing.temperature, drawing.top_k, drawing.top_p, drawing.seed) == (0.7, 3, 0.9, 8)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (SearchOptions(), "beam 5, length penalty average 1"),
        (SearchOptions(beam=1), "greedy search"),
        (
            SearchOptions(beam=4, coverage_penalty=0.5, no_repeat_ngram=3, diverse=2),
            "beam 4, length penalty average 1, coverage penalty 0.5, no 3-gram twice, 2 groups",
        ),
        (SearchOptions(sample=True, temperature=0.5, seed=3), "samples, temperature 0.5, seed 3"),
        (SearchOptions(mbr=8), "the best of 8 samples by chrF, temperature 1, seed 1"),
    ],
    ids=str,
)
def test_a_search_is_described_in_a_few_words(options: SearchOptions, words: str) -> None:
    assert options.describe() == words
