"""Conversions and splits that lose nothing."""

from __future__ import annotations

from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqtool.errors import DataError
from seqtool.text.annotation import Columns, TagReading, has_span_tags
from seqtool.text.columns import ColumnFormat, TaggedSentence, format_conll
from seqtool.text.conversion import Conversion
from seqtool.text.splitting import choose
from seqtool.text.tag_scheme import SCHEMES, Span, from_spans

LAYOUT = ColumnFormat("conll", "tab", 2, 1, 2)
on_files = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def span_lists(draw: st.DrawFn) -> tuple[int, list[Span]]:
    """A sentence length and spans inside it that do not overlap."""
    edges = draw(st.lists(st.integers(0, 8), min_size=2, max_size=6, unique=True).map(sorted))
    chosen = [Span(a, b, draw(st.sampled_from("XY"))) for a, b in pairwise(edges)]
    return max(edges[-1], 1), [span for span in chosen if draw(st.booleans())]


def converted(source: Path, target: Path, **options) -> str:
    text = "".join(Conversion(str(source), Columns(), **options).texts())
    target.write_text(text)
    return text


@given(
    sentences=st.lists(span_lists(), min_size=1, max_size=3),
    through=st.sampled_from([scheme for scheme in SCHEMES if scheme != "io"]),
)
@on_files
def test_any_scheme_and_layout_and_back_is_the_same_file(tmp_path, sentences, through):
    text = "".join(
        format_conll([f"w{n}" for n in range(length)], from_spans(spans, length, "iob2"))
        for length, spans in sentences
    )
    (tmp_path / "a.conll").write_text(text)
    converted(tmp_path / "a.conll", tmp_path / "b.jsonl", to="jsonl", from_scheme="iob2", scheme_to=through)
    again = converted(
        tmp_path / "b.jsonl", tmp_path / "c.conll", to="conll", from_scheme=through, scheme_to="iob2"
    )
    assert again == text


def test_a_partial_annotation_stays_one(tmp_path):
    (tmp_path / "a.conll").write_text("x\tB-X\ny\t?\n\nz\tB-X|B-Y\n\n")
    text = converted(tmp_path / "a.conll", tmp_path / "b", to="conll", scheme_to="iobes")
    assert text == "x\tB-X|S-X\ny\t?\n\nz\tS-X|S-Y\n\n"


def test_a_partial_annotation_cannot_be_repaired():
    sentence = TaggedSentence(("a", "b"), ("I-X", "?"), source="f", line=3)
    wanted = "f:3: invalid iob2 sequence, which cannot be repaired because .* is only partially annotated: "
    with pytest.raises(DataError, match=wanted):
        TagReading("iob2", repair=True)(sentence, LAYOUT)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["B-X", "O"], True),
        (["O", "BX", "O"], True),  # an error among the spans
        (["DET", "NOUN", "O"], False),
        (["?", "NOUN"], False),
        ([], False),
    ],
)
def test_most_tags_decide_whether_there_are_spans(tags, expected):
    assert has_span_tags([tags]) is expected


@given(
    count=st.integers(0, 60),
    dev=st.floats(0, 0.5),
    test=st.floats(0, 0.49),
    seed=st.integers(),
    order=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_a_split_is_a_partition_with_no_empty_part_that_was_asked_for(count, dev, test, seed, order):
    parts = choose(count, {"dev": dev, "test": test}, seed=seed, keep_order=order)
    assert set(parts) == {"train", *(["dev"] if dev else []), *(["test"] if test else [])}
    numbers = list(chain.from_iterable(parts.values()))
    assert len(set(numbers)) == len(numbers) and set(numbers) <= set(range(count))
    assert all(part == sorted(part) for part in parts.values())
    if parts["train"]:
        assert set(numbers) == set(range(count))
        for name, share in (("dev", dev), ("test", test)):
            assert abs(len(parts.get(name, ())) - count * share) <= 1
    if order:
        assert numbers == list(range(len(numbers)))


def test_where_documents_begin_is_written(tmp_path: Path) -> None:
    text = "-DOCSTART-\n\na\tB-X\nb\tI-X\n\nc\tO\n\n-DOCSTART-\n\nd\tB-X\n\n"
    (tmp_path / "a.conll").write_text(text)
    assert converted(tmp_path / "a.conll", tmp_path / "b.conll", to="conll") == text
    (tmp_path / "c.conllu").write_text("# newdoc id = 1\n1\ta\t_\tX" + "\t_" * 6 + "\n\n")
    assert converted(tmp_path / "c.conllu", tmp_path / "d.conll", to="conll") == "-DOCSTART-\n\na\tX\n\n"
