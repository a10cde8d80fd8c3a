"""The position of symbols in a line, for every kind of vocabulary."""

from __future__ import annotations

import io

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqtool.errors import ModelError
from seqtool.text.codec import Codec, build_sentencepiece, build_symbols, read_codec
from seqtool.text.pieces import CONTROLS, ByteCodec, Piece
from seqtool.text.subwords import SentencePieceCodec

LINES = ["the cat sat", "The  CAT", "<a> b<a>", "\tx", "größer ﬁ", "the </s> <s>"] * 3
RESERVED = (*CONTROLS, "<a>")
# A line of a file: no line end, no NUL, no half of a surrogate pair.
lines = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=("Cs",)), max_size=20)


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    pieces = {"reserved": ("<a>",), "byte_fallback": True}
    return {
        "word": build_symbols(LINES, "word", reserved=RESERVED).codec,
        "folded word": build_symbols(LINES, "word", reserved=RESERVED, lowercase=True).codec,
        "character": build_symbols(LINES, "character", reserved=RESERVED).codec,
        "folded character": build_symbols(LINES, "character", reserved=RESERVED, lowercase=True).codec,
        "byte": ByteCodec(),
        "unigram": build_sentencepiece(LINES).codec,
        "bpe": build_sentencepiece(LINES, model_type="bpe").codec,
        "unigram bytes": build_sentencepiece(LINES, **pieces).codec,
        "bpe bytes": build_sentencepiece(LINES, model_type="bpe", **pieces).codec,
        "folded unigram": build_sentencepiece(LINES, lowercase=True, reserved=("<a>",)).codec,
        "folded bytes": build_sentencepiece(LINES, lowercase=True, **pieces).codec,
    }


@given(line=lines)
@example(line="The ﬁne GRÖSSER cat😀x Ωa <a>")
@example(line="  two  \u200b\u2581 \u00adI\u0307 ")
@example(line="e\u0301é\u0301")
@settings(max_examples=150, deadline=None)
def test_surfaces_join_to_the_line_and_ids_are_those_of_encode(codecs, line):
    for name, codec in codecs.items():
        pieces = codec.pieces(line)
        assert [piece.id for piece in pieces] == codec.encode(line), name
        surfaces = [piece.surface for piece in pieces]
        if "word" in name:
            assert surfaces == [word for word in line.replace("\t", " ").split(" ") if word]
        elif pieces:
            assert "".join(surfaces) == line, name
        else:
            assert not line.strip() or "folded" in name  # what folding removes (a soft hyphen) has no piece


def test_spaces_that_a_foreign_model_leaves_out_belong_to_a_piece_too():
    # The library's defaults drop spaces at both ends and second ones between words.
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=written,
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=3,
    )
    codec = SentencePieceCodec(written.getvalue())
    pieces = codec.pieces("  the  cat  ")
    assert "".join(piece.surface for piece in pieces) == "  the  cat  "
    assert codec.decode([piece.id for piece in pieces]) == "the cat"


@given(line=lines)
@settings(max_examples=100, deadline=None)
def test_known_pieces_have_the_symbol_of_their_id_and_unknown_ones_their_text(codecs, line):
    for name, codec in codecs.items():
        for piece in codec.pieces(line):
            if piece.id != codec.unknown:
                assert piece.symbol == codec.symbols[piece.id]
            elif "folded" not in name:
                assert piece.symbol == piece.surface


@given(line=lines)
@example(line="</s> <s> <pad> <unk>")
@example(line="x</s><s><pad>")
@settings(max_examples=100, deadline=None)
def test_no_text_is_ever_padding_start_or_end(codecs, line):
    for name, codec in codecs.items():
        assert codec.symbols[:4] == ("<pad>", "<unk>", "<s>", "</s>"), name
        assert not {0, 2, 3} & set(codec.encode(line)), name


def test_words_that_look_like_start_and_end_are_unknown_and_characters_are_spelled(codecs):
    assert codecs["word"].encode("</s> <s> the") == [1, 1, codecs["word"].symbols.index("the")]
    assert [piece.surface for piece in codecs["character"].pieces("</s><a>")] == ["<", "/", "s", ">", "<a>"]


def test_padding_start_and_end_are_left_out_of_text(codecs):
    for name, codec in codecs.items():
        assert codec.decode([2, *codec.encode("the cat sat"), 3, 0, 0]) == "the cat sat", name


def test_start_and_end_are_plain_words_where_they_are_not_reserved():
    codec = build_symbols(["<s> x"], "word").codec
    assert codec.decode(codec.encode("<s> x")) == "<s> x"


def test_words_that_look_like_start_count_as_unknown_when_a_vocabulary_is_built():
    assert build_symbols(["<s> x"], "word", reserved=CONTROLS).unknown == 1


def test_a_piece_covers_the_space_before_it(codecs):
    pieces = codecs["bpe"].pieces("the cat")
    assert [(piece.symbol, piece.surface) for piece in pieces] == [("▁the", "the"), ("▁cat", " cat")]


def test_folded_pieces_keep_their_spelling(codecs):
    assert codecs["folded word"].pieces("THE Zoo") == [
        Piece(codecs["folded word"].symbols.index("the"), "the", "THE"),
        Piece(1, "zoo", "Zoo"),
    ]
    letters = codecs["folded character"].pieces("Hİ")
    assert [(piece.symbol, piece.surface) for piece in letters] == [("h", "H"), ("i", "İ"), ("\u0307", "")]
    assert "".join(piece.surface for piece in codecs["folded bytes"].pieces("THE ﬁ Cat")) == "THE ﬁ Cat"


@pytest.mark.parametrize("name", ["byte", "unigram bytes", "bpe bytes"])
def test_a_character_stands_at_the_first_byte_that_spells_it(codecs, name):
    surfaces = [piece.surface for piece in codecs[name].pieces("😀éЖ")]
    assert [surface for surface in surfaces[-8:] if surface] == ["😀", "é", "Ж"]
    assert surfaces[-8:] == ["😀", "", "", "", "é", "", "Ж", ""]


@given(line=lines)
@settings(max_examples=100, deadline=None)
def test_bytes_bring_any_line_back(line):
    codec = ByteCodec()
    assert codec.encode(line) == [4 + byte for byte in line.encode()]
    assert codec.decode(codec.encode(line)) == line


def test_bytes_that_are_no_text_are_replaced():
    codec = ByteCodec()
    assert len(codec.symbols) == 260
    assert codec.decode([4 + 0xC3, 4 + ord("a"), 1]) == "\ufffda<unk>"


def test_a_vocabulary_of_bytes_comes_back_from_its_file(tmp_path):
    (tmp_path / "v").write_bytes(ByteCodec().to_bytes())
    assert (tmp_path / "v").read_text() == '{"kind": "byte", "format": 1}\n'
    assert isinstance(read_codec(tmp_path / "v"), ByteCodec)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"kind": "byte", "format": 1}\n"a"\n', "damaged: a vocabulary of bytes consists of one line"),
        ('{"kind": "byte", "format": 1, "lowercase": true}\n', "damaged: a vocabulary of bytes"),
        ('{"kind": "byte", "format": 2}\n', r"made by another seqtool \(format 2, known here: 1\)"),
        ('{"kind": "bytes", "format": 1}\n', "not a vocabulary of `vocab build`"),
    ],
)
def test_a_damaged_file_of_bytes_is_a_model_error(tmp_path, content, message):
    (tmp_path / "v").write_text(content)
    with pytest.raises(ModelError, match=message):
        read_codec(tmp_path / "v")
