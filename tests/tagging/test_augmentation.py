from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.tagging.augmentation import Augmentation
from seqtool.text import tag_scheme
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme

SCHEMES: tuple[Scheme, ...] = ("iob1", "iob2", "iobes", "bilou")


def augmentation(
    sentences: Sequence[TaggedSentence],
    scheme: Scheme | None = "iobes",
    *,
    mention: float = 0.0,
    lowercase: float = 0.0,
    crop: float = 0.0,
    seed: int = 1,
) -> Augmentation:
    return Augmentation(
        sentences, scheme, mention_replacement=mention, lowercase=lowercase, crop=crop, seed=seed
    )


def sentence(tokens: str, tags: str, **rest: tuple[tuple[str, ...], ...]) -> TaggedSentence:
    return TaggedSentence(tuple(tokens.split()), tuple(tags.split()), source="t", line=7, **rest)


def surfaces(sentences: Sequence[TaggedSentence], scheme: Scheme) -> set[tuple[str, tuple[str, ...]]]:
    return {
        (span.type, s.tokens[span.start : span.end])
        for s in sentences
        for span in tag_scheme.spans(list(s.tags or ()), scheme)
    }


TRAIN = [
    sentence("Ada met Grace Brewster Hopper", "S-PER O B-PER I-PER E-PER"),
    sentence("in New York and Rome", "O B-LOC E-LOC O S-LOC"),
    sentence("nobody is here", "O O O"),
]


@st.composite
def corpora(draw: st.DrawFn) -> tuple[Scheme, list[TaggedSentence]]:
    """Sentences with valid tags of two types, including adjacent entities; all tokens are different."""
    scheme = draw(st.sampled_from(SCHEMES))
    sentences = []
    for number in range(draw(st.integers(1, 5))):
        length = draw(st.integers(1, 8))
        any_tags = draw(
            st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=length, max_size=length)
        )
        tags = tag_scheme.from_spans(tag_scheme.spans(any_tags, "iob2"), length, scheme)
        sentences.append(TaggedSentence(tuple(f"W{number}.{i}" for i in range(length)), tuple(tags)))
    return scheme, sentences


@settings(max_examples=150, deadline=None)
@given(corpora(), st.integers(0, 50))
def test_replacement_keeps_tags_valid_and_everything_outside_entities(
    corpus: tuple[Scheme, list[TaggedSentence]], epoch: int
) -> None:
    scheme, sentences = corpus
    changed = augmentation(sentences, scheme, mention=0.99).epoch(epoch)
    assert len(changed) == len(sentences)
    for before, after in zip(sentences, changed, strict=True):
        assert before.tags is not None and after.tags is not None
        assert len(after.tokens) == len(after.tags)
        assert tag_scheme.first_problem(list(after.tags), scheme) is None
        old, new = tag_scheme.spans(before.tags, scheme), tag_scheme.spans(after.tags, scheme)
        assert [span.type for span in new] == [span.type for span in old]
        assert outside(before, scheme) == outside(after, scheme)
    assert surfaces(changed, scheme) <= surfaces(sentences, scheme)


def outside(sentence: TaggedSentence, scheme: Scheme) -> list[str]:
    tags = sentence.tags or ()
    return [token for token, tag in zip(sentence.tokens, tags, strict=True) if tag == "O"]


def test_an_epoch_is_a_function_of_seed_and_number_alone() -> None:
    first = augmentation(TRAIN, mention=0.5, lowercase=0.5)
    wanted = [first.epoch(number) for number in range(6)]
    again = augmentation(TRAIN, mention=0.5, lowercase=0.5)
    assert [again.epoch(number) for number in reversed(range(6))] == wanted[::-1]
    other = augmentation(TRAIN, mention=0.5, lowercase=0.5, seed=2)
    assert [other.epoch(number) for number in range(6)] != wanted
    assert len({tuple(epoch) for epoch in wanted}) > 1


def test_probability_zero_is_the_identity() -> None:
    identity = augmentation(TRAIN)
    assert all(identity.epoch(number) == TRAIN for number in range(20))


def test_every_entity_of_the_type_is_equally_likely() -> None:
    people = [sentence("Ada", "S-PER")] * 50 + [sentence("Bob", "S-PER"), sentence("Cyd", "S-PER")]
    always = augmentation(people, mention=0.999)
    counts = Counter(s.tokens for number in range(40) for s in always.epoch(number))
    total = sum(counts.values())
    assert counts.keys() == {("Ada",), ("Bob",), ("Cyd",)}
    assert all(abs(count / total - 1 / 3) < 0.05 for count in counts.values())


@pytest.mark.parametrize("options", [{"mention": 0.3}, {"lowercase": 0.3}], ids=str)
def test_the_probability_is_that_of_a_sentence(options: dict[str, Any]) -> None:
    sentences = [sentence(f"N{i} is N{i + 1000}", "S-PER O S-PER") for i in range(400)]
    changing = augmentation(sentences, **options)
    changed = sum(a != b for n in range(5) for a, b in zip(sentences, changing.epoch(n), strict=True))
    assert abs(changed / 2000 - 0.3) < 0.05


def test_lowercasing_changes_tokens_only() -> None:
    before = [sentence("ADA İstanbul Straße", "S-PER S-LOC O")]
    (after,) = augmentation(before, lowercase=0.999).epoch(1)
    assert after.tokens == ("ada", "İstanbul".lower(), "straße")
    assert (after.tags, after.source, after.line) == (before[0].tags, "t", 7)


def test_sentences_with_extra_columns_keep_their_entities() -> None:
    rich = sentence("Ada met Bob", "S-PER O S-PER", features=(("N", "V", "N"),))
    always = augmentation([*TRAIN, rich], mention=0.999)
    assert all(always.epoch(number)[-1] == rich for number in range(20))
    pool = {word for number in range(20) for s in always.epoch(number)[:-1] for word in s.tokens}
    assert "Bob" not in pool


def test_sentences_with_partial_tags_keep_their_entities() -> None:
    partial = sentence("Ada met Bob", "S-PER ? S-PER|S-LOC")
    always = augmentation([*TRAIN, partial], mention=0.999)
    assert all(always.epoch(number)[-1] == partial for number in range(20))


def test_without_spans_sentences_are_only_lowercased() -> None:
    words = [sentence("The Cat", "DET NOUN")]
    (after,) = augmentation(words, None, mention=0.999, lowercase=0.999).epoch(0)
    assert after.tokens == ("the", "cat")
    assert after.tags == ("DET", "NOUN")


@given(corpora(), st.integers(0, 5))
@settings(deadline=None)
def test_a_cropped_sentence_is_a_rest_that_begins_with_a_capital(
    corpus: tuple[Scheme, list[TaggedSentence]], epoch: int
) -> None:
    scheme, sentences = corpus
    small = [replace(each, tokens=tuple(map(str.lower, each.tokens))) for each in sentences]
    for before, after in zip(small, augmentation(small, scheme, crop=0.999).epoch(epoch), strict=True):
        start = len(before.tokens) - len(after.tokens)
        assert after.tags == before.tags[start:] and after.tokens[1:] == before.tokens[start + 1 :]
        assert after.tokens[0] == (before.tokens[start].capitalize() if start else before.tokens[0])
        # No entity is cut: those of the rest are those of the whole that begin in it.
        whole, rest = (tag_scheme.spans(list(each.tags or ()), scheme) for each in (before, after))
        kept = [span for span in whole if span.end > start]
        assert [(span.start + start, span.end + start, span.type) for span in rest] == kept


def test_cropping_reaches_every_place_where_a_sentence_can_begin() -> None:
    given_ = [sentence("nobody met ada king or Grace again", "O O B-PER E-PER O S-PER O")]
    made = augmentation(given_, crop=0.999)
    firsts = {made.epoch(number)[0].tokens[0] for number in range(60)}
    # Not inside the name, not at the word that has a capital letter anyway, and not at the last word.
    assert firsts == {"nobody", "Met", "Ada", "Or"}


def test_cropping_takes_the_feature_columns_along() -> None:
    row = sentence("one two three four", "A B C D", features=(("1", "2", "3", "4"),))
    for number in range(20):
        (found,) = augmentation([row], None, crop=0.999).epoch(number)
        assert len(found.features[0]) == len(found.tokens) == len(found.tags or ())
        assert found.features[0][-1] == "4"


def test_short_sentences_are_not_cropped() -> None:
    rows = [sentence("go away", "O O"), sentence("go", "O")]
    assert augmentation(rows, crop=0.999).epoch(3) == rows
