"""From text to ids and back, for any text."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqtool.errors import UsageError
from seqtool.text.codec import Codec, build_sentencepiece, build_symbols, read_codec

LINES = ["the cat sat", "The  CAT", "<a> b<a>", "\tx", "größer", "the"]
# A line of a file: no line end, no NUL, no half of a surrogate pair.
lines = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=("Cs",)), max_size=20)


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    return {
        "bytes": build_sentencepiece(LINES, byte_fallback=True, reserved=("<a>",)).codec,
        "pieces": build_sentencepiece(LINES, model_type="bpe").codec,
        "characters": build_symbols(LINES, "character", reserved=("<a>",)).codec,
        "words": build_symbols(LINES, "word").codec,
    }


@given(line=lines)
@example(line=" two  spaces ")
@example(line="<unk><pad></s>")
@example(line="a\u2581 \u2581\u2585\ufdd1")
@settings(max_examples=200, deadline=None)
def test_bytes_bring_any_line_back(codecs, line):
    codec = codecs["bytes"]
    assert codec.decode(codec.encode(line)) == line


@given(line=st.text(st.sampled_from(sorted({*"".join(LINES)} - {*"<>"})), max_size=20))
@settings(max_examples=100, deadline=None)
def test_what_is_spelled_with_known_characters_comes_back(codecs, line):
    for name in ("pieces", "characters"):
        codec = codecs[name]
        assert codec.unknown not in codec.encode(line)
        assert codec.decode(codec.encode(line)) == line


@pytest.mark.parametrize("name", ["bytes", "pieces", "characters", "words"])
def test_a_codec_comes_back_from_its_file(codecs, name, tmp_path):
    codec = codecs[name]
    (tmp_path / "v").write_bytes(codec.to_bytes())
    again = read_codec(tmp_path / "v")
    assert (again.kind, again.symbols, again.unknown) == (codec.kind, codec.symbols, codec.unknown)
    for line in LINES:
        assert again.encode(line) == codec.encode(line)


def test_folding_of_case_survives_the_file(tmp_path):
    codec = build_symbols(LINES, "word", lowercase=True, reserved=("BIG",)).codec
    (tmp_path / "v").write_bytes(codec.to_bytes())
    again = read_codec(tmp_path / "v")
    assert again.decode(again.encode("THE Cat BIG")) == "the cat BIG"


def test_words_that_look_like_padding_are_unknown():
    codec = build_symbols(LINES, "word").codec
    assert codec.encode("<pad> the") == [codec.unknown, codec.symbols.index("the")]


def test_coverage_counts_what_the_limit_leaves_out():
    built = build_symbols(["a a b", "c"], "word", size=3)
    assert (built.lines, built.symbols, built.unknown) == (2, 4, 2)


def test_ids_of_special_symbols_are_the_same_for_every_kind():
    pieces = build_sentencepiece(LINES, reserved=("<a>",)).codec
    assert pieces.symbols[:5] == ("<pad>", "<unk>", "<s>", "</s>", "<a>")
    assert build_symbols(LINES, "word").codec.symbols[:2] == pieces.symbols[:2]


@pytest.mark.parametrize("symbols", [("",), ("a b",), ("a\nb",), ("<unk>",), ("x", "x")])
def test_a_reserved_symbol_must_be_new_and_without_spaces(symbols):
    with pytest.raises(UsageError, match="--symbols"):
        build_symbols(LINES, "word", reserved=symbols)


def test_start_and_end_are_taken_only_in_sentencepiece():
    assert "<s>" in build_symbols(LINES, "word", reserved=("<s>",)).codec.symbols
    with pytest.raises(UsageError, match="the vocabulary has that symbol already"):
        build_sentencepiece(LINES, reserved=("<s>",))
