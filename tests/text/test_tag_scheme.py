"""Tag schemes, tested against seqeval, by round trips and by enumerating short sequences."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import seqeval.scheme
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from seqtool.errors import DataError
from seqtool.text.tag_scheme import (
    SCHEMES,
    Scheme,
    Span,
    allowed_transitions,
    closest_scheme,
    conlleval_spans,
    convert,
    convert_partial,
    detect_scheme,
    first_problem,
    from_spans,
    has_bare_types,
    inventory,
    is_partial,
    looks_like_spans,
    repair,
    spans,
)

SEQEVAL = {
    "iob1": seqeval.scheme.IOB1,
    "iob2": seqeval.scheme.IOB2,
    "iobes": seqeval.scheme.IOBES,
    "bilou": seqeval.scheme.BILOU,
    "bmes": seqeval.scheme.IOBES,  # another letter for I, no other rule
}
TYPES = ["PER", "LOC", "GPE-x"]
PREFIXED = tuple(
    scheme for scheme in SCHEMES if scheme != "io"
)  # io cannot tell neighbours of one type apart
EVERY_SCHEME = pytest.mark.parametrize("scheme", PREFIXED)
PAIRS = st.tuples(st.sampled_from(PREFIXED), st.sampled_from(PREFIXED))


def for_seqeval(tags: Sequence[str]) -> list[str]:
    """BMES as seqeval knows it."""
    return [f"I{tag[1:]}" if tag[0] == "M" else tag for tag in tags]


def tags_of(scheme: Scheme) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(inventory(TYPES, scheme)), max_size=10)


@st.composite
def any_tags(draw: st.DrawFn) -> tuple[Scheme, list[str]]:
    """A scheme and its tags in any order, mostly invalid."""
    scheme = draw(st.sampled_from(PREFIXED))
    return scheme, draw(tags_of(scheme))


@st.composite
def sentences(draw: st.DrawFn) -> tuple[int, list[Span]]:
    """A length and non-overlapping spans."""
    found = []
    position = 0
    for _ in range(draw(st.integers(0, 4))):
        start = position + draw(st.integers(0, 2))
        position = start + draw(st.integers(1, 4))
        found.append(Span(start, position, draw(st.sampled_from(TYPES))))
    return position + draw(st.integers(0, 2)), found


@given(any_tags())
def test_spans_equal_seqeval_strict_on_any_sequence(case: tuple[Scheme, list[str]]):
    scheme, tags = case
    expected = [
        Span(e.start, e.end, e.tag)
        for e in seqeval.scheme.Tokens(for_seqeval(tags), SEQEVAL[scheme]).entities
    ]
    assert spans(tags, scheme) == expected


@EVERY_SCHEME
def test_spans_equal_seqeval_strict_on_every_short_sequence(scheme: Scheme):
    for tags in itertools.product(inventory(["A", "B"], scheme), repeat=3):
        entities = seqeval.scheme.Tokens(for_seqeval(tags), SEQEVAL[scheme]).entities
        assert spans(tags, scheme) == [Span(e.start, e.end, e.tag) for e in entities], tags


@given(st.lists(st.sampled_from(inventory(TYPES, "iobes")), max_size=10))
def test_conlleval_spans_equal_seqeval_default_on_any_sequence(tags: list[str]):
    assert conlleval_spans(tags) == [Span(start, end + 1, kind) for kind, start, end in get_entities(tags)]


@EVERY_SCHEME
def test_bare_prefixes_have_the_empty_type_where_seqeval_says_underscore(scheme: Scheme):
    for tags in itertools.product(inventory([""], scheme), repeat=4):
        entities = seqeval.scheme.Tokens(for_seqeval(tags), SEQEVAL[scheme]).entities
        assert [(s.start, s.end, s.type or "_") for s in spans(tags, scheme)] == [
            (e.start, e.end, e.tag) for e in entities
        ]


@given(sentences(), st.sampled_from(PREFIXED))
def test_spans_survive_being_written_and_read(sentence: tuple[int, list[Span]], scheme: Scheme):
    length, expected = sentence
    tags = from_spans(reversed(expected), length, scheme)
    assert len(tags) == length
    assert first_problem(tags, scheme) is None
    assert spans(tags, scheme) == expected
    assert conlleval_spans(tags) == expected


@given(sentences(), PAIRS)
def test_conversion_is_exact_and_reversible(sentence: tuple[int, list[Span]], pair: tuple[Scheme, Scheme]):
    source, target = pair
    tags = from_spans(sentence[1], sentence[0], source)
    converted = convert(tags, source, target)
    assert spans(converted, target) == sentence[1]
    assert convert(converted, target, source) == tags


def valid_sequences(scheme: Scheme, length: int, types: list[str]) -> set[tuple[str, ...]]:
    """By enumeration: what `from_spans` can write is valid, nothing else is."""
    result = set()
    for owners in itertools.product([None, *types], repeat=length):
        for cuts in itertools.product([False, True], repeat=length):
            found: list[Span] = []
            for position, kind in enumerate(owners):
                if kind is None:
                    continue
                goes_on = (
                    found and found[-1].end == position and found[-1].type == kind and not cuts[position]
                )
                if goes_on:
                    found[-1] = found[-1]._replace(end=position + 1)
                else:
                    found.append(Span(position, position + 1, kind))
            result.add(tuple(from_spans(found, length, scheme)))
    return result


@EVERY_SCHEME
def test_valid_is_exactly_what_some_spans_are_written_as(scheme: Scheme):
    tags = inventory(["A", "B"], scheme)
    for length in range(4):
        valid = valid_sequences(scheme, length, ["A", "B"])
        for sequence in itertools.product(tags, repeat=length):
            assert (first_problem(sequence, scheme) is None) == (sequence in valid), sequence


@EVERY_SCHEME
def test_allowed_transitions_admit_exactly_the_valid_sequences(scheme: Scheme):
    tags = inventory(["A", "B"], scheme)
    pairs, first, last = allowed_transitions(tags, scheme)
    for sequence in itertools.product(range(len(tags)), repeat=3):
        admitted = (
            first[sequence[0]]
            and all(pairs[before][after] for before, after in itertools.pairwise(sequence))
            and last[sequence[-1]]
        )
        assert admitted == (first_problem([tags[index] for index in sequence], scheme) is None)


@given(any_tags())
def test_repair_gives_a_valid_sequence_with_the_lenient_spans(case: tuple[Scheme, list[str]]):
    scheme, tags = case
    repaired, changed = repair(tags, scheme)
    assert first_problem(repaired, scheme) is None
    assert conlleval_spans(repaired) == conlleval_spans(tags)
    assert changed == sum(old != new for old, new in zip(tags, repaired, strict=True))
    assert (changed == 0) == (first_problem(tags, scheme) is None)


def test_repair_leaves_partial_annotation_alone():
    assert repair(["?", "I-PER", "O|I-LOC"], "iob2") == (["?", "I-PER", "O|I-LOC"], 0)


@given(st.lists(sentences(), min_size=1, max_size=4), st.sampled_from(PREFIXED))
def test_detection_finds_the_scheme_that_wrote_the_data(corpus: list[tuple[int, list[Span]]], scheme: Scheme):
    sequences = [from_spans(found, length, scheme) for length, found in corpus]
    expected = scheme if any(found for _, found in corpus) else "iob2"
    if scheme == "bmes" and not any(tag.startswith("M") for tags in sequences for tag in tags):
        expected = "iobes" if expected == "bmes" else expected  # nothing tells them apart
    assert detect_scheme(sequences) == expected


@pytest.mark.parametrize(
    ("sequences", "scheme"),
    [
        ([["O", "O"]], "iob2"),
        ([], "iob2"),
        ([["B-PER", "I-PER"]], "iob2"),
        ([["I-PER", "I-PER", "O"]], "iob1"),
        ([["I-PER", "B-PER", "O"]], "iob1"),
        ([["O"], ["S-PER"]], "iobes"),
        ([["U-PER", "O"]], "bilou"),
        ([["?", "I-PER", "?"]], "iob2"),  # the unknown token may be a B
        ([["O", "B-PER|S-PER"]], "iobes"),
        ([["B-PER", "M-PER", "E-PER", "O"]], "bmes"),
        ([["PER", "PER", "O", "LOC", "O", "O"]], "io"),
    ],
)
def test_detection_by_what_the_data_shows(sequences: list[list[str]], scheme: Scheme):
    assert detect_scheme(sequences) == scheme


@pytest.mark.parametrize(
    ("sequences", "place"),
    [
        ([["O", "B-PER"], ["O", "I-PER"]], "sentence 2, token 2"),  # IOB2, then IOB1
        ([["B-PER", "I-PER"], ["S-PER"], ["B-PER", "O"]], "sentence 2, token 1"),
        ([["S-PER"], ["O", "O", "U-PER"]], "sentence 2, token 3"),
        ([["O", "NOUN"]], "sentence 1, token 2"),
    ],
)
def test_mixed_or_impossible_schemes_are_refused_with_the_place(sequences: list[list[str]], place: str):
    with pytest.raises(DataError) as caught:
        detect_scheme(sequences)
    assert str(caught.value).startswith(place + ": ")


def test_detection_names_the_place_as_the_caller_wants():
    with pytest.raises(DataError, match=r"^train.conll:11: I-PER after O is not valid in iob2; "):
        detect_scheme(
            [["B-PER"], ["O", "I-PER"]], lambda sentence, token: f"train.conll:{10 * sentence + token}"
        )


@pytest.mark.parametrize(
    ("tags", "scheme", "expected"),
    [
        (["O", "I-PER"], "iob2", (1, "I-PER after O is not valid in iob2")),
        (["B-PER"], "iob1", (0, "B-PER at the start is not valid in iob1")),
        (["O", "B-PER"], "iobes", (1, "B-PER at the end is not valid in iobes")),
        (["E-PER"], "iob2", (0, "'E-PER' is not a tag of iob2; expected O or one of the prefixes BI")),
        (["B-"], "iob2", (0, "'B-' is not a tag of a span; expected O, or a prefix and a type as in B-PER")),
    ],
)
def test_first_problem_says_where_and_why(tags: list[str], scheme: Scheme, expected: Any):
    assert first_problem(tags, scheme) == expected


PARTIAL = st.lists(
    st.one_of(
        st.just("?"),
        st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=2, unique=True).map(
            "|".join
        ),
    ),
    min_size=1,
    max_size=4,
)


def readings(tags: list[str], scheme: Scheme) -> list[tuple[str, ...]]:
    everything = inventory(["A", "B", "new"], scheme)
    choices = [everything if tag == "?" else tag.split("|") for tag in tags]
    return [reading for reading in itertools.product(*choices) if first_problem(reading, scheme) is None]


@given(PARTIAL)
def test_partial_sequence_is_valid_if_some_reading_is(tags: list[str]):
    assert (first_problem(tags, "iob2") is None) == bool(readings(tags, "iob2"))


@given(PARTIAL, st.sampled_from(["iob1", "iob2"]), st.sampled_from(PREFIXED))
def test_partial_conversion_holds_exactly_the_tags_of_all_readings(
    tags: list[str], source: Scheme, target: Scheme
):
    expected = [convert(reading, source, target) for reading in readings(tags, source)]
    if not expected:
        with pytest.raises(DataError, match=r"is not valid in"):
            convert_partial(tags, source, target)
        return
    converted = convert_partial(tags, source, target)
    for old, new, column in zip(tags, converted, zip(*expected, strict=True), strict=True):
        assert new == "?" if old == "?" else set(new.split("|")) == set(column)


def test_what_a_partial_tag_can_become():
    assert convert_partial(["B-PER", "?"], "iob2", "iobes") == ["B-PER|S-PER", "?"]
    assert convert_partial(["?", "I-PER", "?"], "iob2", "iobes") == ["?", "I-PER|E-PER", "?"]
    assert convert_partial(["B-PER|B-ORG", "O"], "iob2", "bilou") == ["U-PER|U-ORG", "O"]
    assert convert_partial(["I-PER", "I-PER", "?"], "iob1", "iob2") == ["B-PER", "I-PER", "?"]


@given(sentences(), PAIRS)
def test_partial_conversion_of_complete_tags_is_conversion(
    sentence: tuple[int, list[Span]], pair: tuple[Scheme, Scheme]
):
    tags = from_spans(sentence[1], sentence[0], pair[0])
    assert convert_partial(tags, *pair) == convert(tags, *pair)


def test_partial_tags_are_told_from_complete_ones():
    assert [is_partial(tag) for tag in ["?", "B-PER|O", "O", "B-PER"]] == [True, True, False, False]


@pytest.mark.parametrize(
    "wrong", [[Span(0, 2, "A"), Span(1, 3, "A")], [Span(2, 2, "A")], [Span(3, 5, "A")], [Span(-1, 1, "A")]]
)
def test_spans_that_cannot_be_written_are_refused(wrong: list[Span]):
    with pytest.raises(DataError, match=r"expected spans that lie inside it and do not overlap$"):
        from_spans(wrong, 4, "iob2")


@pytest.mark.parametrize("function", [spans, convert_partial])
def test_tags_of_another_scheme_are_refused(function: Any):
    arguments = ["iob2"] if function is spans else ["iob2", "iobes"]
    with pytest.raises(DataError, match=r"'L-PER' is not a tag of iob2"):
        function(["B-PER", "L-PER"], *arguments)


def test_invalid_sequence_is_not_converted():
    with pytest.raises(DataError, match=r"^token 2: I-PER after O is not valid in iob2$"):
        convert(["O", "I-PER"], "iob2", "iobes")


def test_first_span_touches_nothing_even_without_a_type():
    assert from_spans([Span(0, 1, ""), Span(1, 2, "")], 2, "iob1") == ["I", "B"]


def test_type_starts_after_the_first_hyphen():
    assert spans(["B-GPE-x", "I-GPE-x"], "iob2") == [Span(0, 2, "GPE-x")]


def test_inventory_is_outside_then_sorted_types():
    assert inventory(["PER", "LOC", "PER"], "bilou") == [
        "O", "B-LOC", "I-LOC", "L-LOC", "U-LOC", "B-PER", "I-PER", "L-PER", "U-PER",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["O", "B-PER"], True),
        (["O"], True),
        (["?", "B-PER|U-LOC"], True),
        (["B", "I", "O"], True),
        (["NOUN", "O"], False),
        (["NN", "-LRB-"], False),
        (["X-PER"], False),
        ([], False),
    ],
)
def test_spans_are_told_from_parts_of_speech(tags: list[str], expected: bool):
    assert looks_like_spans(tags) is expected


def test_the_closest_scheme_has_fewest_invalid_sequences():
    valid = [["B-X", "I-X", "O"], ["O", "B-Y"], ["B-X", "B-X"]]
    assert closest_scheme([*valid, ["O", "I-X"]]) == "iob2"
    assert closest_scheme([["S-X"], ["B-X", "E-X"], ["I-X"]]) == "iobes"
    assert closest_scheme([["I-X", "I-X"], ["O", "I-X"], ["B-X"]]) == "iob1"


def test_bare_types_are_spans_of_neighbours_of_one_type():
    tags = ["PER", "PER", "LOC", "O", "work-of-art"]
    expected = [Span(0, 2, "PER"), Span(2, 3, "LOC"), Span(4, 5, "work-of-art")]
    assert spans(tags, "io") == conlleval_spans(tags, "io") == expected
    assert from_spans(expected, 5, "io") == tags
    assert first_problem(tags, "io") is None
    assert convert(tags, "io", "iobes") == ["B-PER", "E-PER", "S-LOC", "O", "S-work-of-art"]
    assert convert(["U-PER", "O"], "bilou", "io") == ["PER", "O"]
    assert convert(["B", "I", "O"], "iob2", "io") == ["I", "I", "O"]


def test_a_prefix_is_no_bare_type():
    with pytest.raises(DataError, match=r"'B-PER' is not a tag of io; expected O or a type as in PER"):
        spans(["PER", "B-PER"], "io")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["O", "O", "PER"], True),
        (["O", "O", "PER|LOC", "?", "?", "?"], True),
        (["DET", "NOUN", "O"], False),  # O is a part of speech in some tag sets
        (["O", "O", "PER", "B-LOC"], False),
        (["O", "O"], False),
    ],
)
def test_bare_types_are_told_from_parts_of_speech_by_how_frequent_o_is(tags: list[str], expected: bool):
    assert has_bare_types(Counter(tags)) is expected


def test_partial_tags_cannot_be_written_where_spans_of_one_type_touch():
    with pytest.raises(DataError, match="spans of one type touch, which io cannot write"):
        convert_partial(["B-A", "B-A"], "iob2", "io")


def test_parts_of_speech_are_no_scheme_and_the_remedy_is_named():
    with pytest.raises(DataError, match="--scheme io reads bare types, and `train pos` one tag per token"):
        detect_scheme([["DET", "NOUN"]])
    with pytest.raises(DataError, match="--scheme iob2 --repair reads all of them as conlleval does"):
        detect_scheme([["B-X", "B-X"], ["O", "I-X"]])
