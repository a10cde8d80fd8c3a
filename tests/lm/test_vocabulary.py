"""From text to symbols and back: everything that can be lost is listed here, and nothing else is lost."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.errors import DataError, ModelError, UsageError
from seqtool.lm.settings import VocabularySettings
from seqtool.lm.vocabulary import BYTES, FILE, LINE_END, PADDING, START, UNKNOWN, Symbols, require_known
from seqtool.settings import validate
from seqtool.text.codec import build_symbols

LINES = [
    "the cat sat on the mat .",
    "  two spaces before, \ttabs, and two after  ",
    "",
    "das Mädchen aß — 日本語 😀",
    "numbers 1234 and the cat again <0x41>",
]
TEXT = "\n".join(LINES * 4) + "\n"
CONTROLS = "<s> </s> <unk> <pad>\n"  # as text, which may also occur in a training text

# Symbols that a text may spell, the library's space, and whatever might be taken for a line end.
SPELLED = "<s> </s> <unk> <pad> <0x41> <0xE2> the ."
SIGNS = "\r \r\n \u2028 \x85 \u0301 \ufeff \ufffd \u00a0 \u2581 e\u0301 😀"
ODD = st.sampled_from([*SPELLED.split(" "), *SIGNS.split(" "), "the cat", " ", "  ", "\t", "\n", "\n\n"])
TEXTS = st.lists(st.one_of(ODD, st.text(max_size=4)), max_size=12).map("".join)

KINDS: dict[str, dict[str, Any]] = {
    "character": {"kind": "character"},
    "characters and bytes": {"kind": "character", "byte_fallback": True, "min_count": 5},
    "byte": {"kind": "byte"},
    "unigram": {"kind": "sentencepiece", "size": 400, "byte_fallback": True},
    "bpe": {"kind": "sentencepiece", "size": 400, "byte_fallback": True, "model_type": "bpe"},
    "pieces without bytes": {"kind": "sentencepiece", "size": 100},
    "word": {"kind": "word", "size": 0},
    "some words": {"kind": "word", "size": 12},
}
LOSSLESS = ("characters and bytes", "byte", "unigram", "bpe")
SPACE = (
    "\u2581"  # stands for the space inside SentencePiece, and comes back as one (seqtool/text/subwords.py)
)


def built(name: str) -> Symbols:
    texts = [TEXT] if name == "pieces without bytes" else [TEXT, CONTROLS]
    return Symbols.build(texts, validate(VocabularySettings, KINDS[name], "vocabulary"))


SYMBOLS = {name: built(name) for name in KINDS}


def comes_back(name: str, text: str) -> str:
    """A text after encoding and decoding, by the rules in the docstrings."""
    if SYMBOLS[name].codec.kind == "word":
        lines = (re.split("[ \t]+", line) for line in text.split("\n"))
        return "\n".join(" ".join(filter(None, words)) for words in lines)
    return text


# --- there and back ---


@settings(max_examples=100, deadline=None)
@given(text=st.one_of(TEXTS, st.text()))
@pytest.mark.parametrize("name", LOSSLESS)
def test_any_text_comes_back_as_it_was(name: str, text: str) -> None:
    ids = SYMBOLS[name].encode(text)
    assert ids.dtype == np.int32
    assert not {PADDING, UNKNOWN, START} & set(ids.tolist())
    assert SYMBOLS[name].decode(ids) == comes_back(name, text)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ["character", "pieces without bytes", "word"])
def test_known_text_comes_back_and_of_words_only_runs_of_spaces_are_lost(
    name: str, data: st.DataObject
) -> None:
    symbols = SYMBOLS[name]
    words = [*TEXT.split(), " ", "  ", "\t", "\n", "\n\n"]
    text = " ".join(data.draw(st.lists(st.sampled_from(words if name == "word" else sorted(TEXT)))))
    assert symbols.without_symbol(text) is None
    assert symbols.decode(symbols.encode(text)) == comes_back(name, text)


@pytest.mark.parametrize("name", KINDS)
def test_the_training_text_is_known_but_for_what_the_settings_leave_out(name: str) -> None:
    symbols = SYMBOLS[name]
    if name == "some words":
        assert len(symbols) == 12
        assert symbols.without_symbol(TEXT) == "sat"
    else:
        assert symbols.without_symbol(TEXT) is None
        assert symbols.decode(symbols.encode(TEXT)) == comes_back(name, TEXT)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_is_nothing(name: str) -> None:
    ids = SYMBOLS[name].encode("")
    assert ids.tolist() == []
    assert ids.dtype == np.int32
    assert SYMBOLS[name].decode([]) == ""
    assert SYMBOLS[name].without_symbol("") is None


@settings(max_examples=100, deadline=None)
@given(first=TEXTS, second=TEXTS)
@pytest.mark.parametrize("name", KINDS)
def test_text_can_be_cut_after_a_line_end(name: str, first: str, second: str) -> None:
    """Documents that end in a line end can therefore be encoded separately."""
    symbols, first = SYMBOLS[name], first + "\n"
    apart = np.concatenate([symbols.encode(first), symbols.encode(second)])
    assert symbols.encode(first + second).tolist() == apart.tolist()


@pytest.mark.parametrize("name", KINDS)
def test_every_line_end_is_one_symbol_and_always_the_same(name: str) -> None:
    symbols = SYMBOLS[name]
    (number,) = symbols.encode("\n").tolist()
    assert symbols.encode("the\n\ncat\n").tolist().count(number) == 3
    assert (number == LINE_END) == symbols.by_lines
    assert (LINE_END in symbols.impossible) == (not symbols.by_lines)
    assert {PADDING, START} <= set(symbols.impossible)


# --- symbol by symbol ---


@settings(max_examples=100, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", KINDS)
def test_pieces_of_a_decoder_join_to_the_whole_and_never_cut_a_character(
    name: str, data: st.DataObject
) -> None:
    """Also for symbols in an order that no text has; a real text needs no replacement characters."""
    symbols = SYMBOLS[name]
    any_ids = st.lists(st.integers(0, len(symbols) - 1), max_size=20)
    ids = data.draw(st.one_of(any_ids, TEXTS.map(lambda text: symbols.encode(text).tolist())))
    decoder = symbols.decoder()
    pieces = [decoder.push(number) for number in ids]
    end = decoder.finish()
    assert "".join(pieces) + end == symbols.decode(ids)
    assert all(piece == piece.encode("utf-8", errors="strict").decode() for piece in pieces)


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_character_is_given_out_with_its_last_byte(name: str) -> None:
    symbols = SYMBOLS[name]
    ids = symbols.encode("𝄞").tolist()  # of four bytes, and in no training text
    ids = ids[-4:]
    decoder = symbols.decoder(at_line_start=False)
    assert [decoder.push(number) for number in ids] == ["", "", "", "𝄞"]
    assert decoder.finish() == ""
    assert symbols.decode(ids[:2]) == "\ufffd"


@pytest.mark.parametrize("name", ["unigram", "word"])
def test_a_space_belongs_to_a_word_but_for_the_first_of_a_line(name: str) -> None:
    symbols = SYMBOLS[name]
    ids = symbols.encode("the cat\nsat").tolist()
    assert symbols.decode(ids) == "the cat\nsat"
    decoder = symbols.decoder(at_line_start=False)
    assert "".join(map(decoder.push, ids)) == " the cat\nsat"


def test_padding_and_start_are_no_text() -> None:
    for symbols in SYMBOLS.values():
        ids = symbols.encode("the cat").tolist()
        assert symbols.decode([START, PADDING, *ids, PADDING]) == "the cat"


@pytest.mark.parametrize("name", KINDS)
def test_every_symbol_can_be_shown(name: str) -> None:
    symbols = SYMBOLS[name]
    shown = [symbols.show(number) for number in range(len(symbols))]
    assert all(shown)
    assert shown[START] == "<s>"
    assert shown[int(symbols.encode("\n")[0])] == "\n"


# --- the beginning of a vocabulary, and what is not in it ---


@pytest.mark.parametrize("name", KINDS)
def test_padding_unknown_start_and_line_end_come_first(name: str) -> None:
    assert SYMBOLS[name].codec.symbols[:4] == ("<pad>", "<unk>", "<s>", "</s>")


def test_a_vocabulary_without_start_and_line_end_is_refused() -> None:
    codec = build_symbols(["a b"], "character").codec
    with pytest.raises(ModelError, match=r"symbols 2 and 3 are   a, expected <s> </s>"):
        Symbols(codec)


def test_symbols_come_by_frequency_and_rare_ones_are_left_out() -> None:
    def characters(**more: Any) -> tuple[str, ...]:
        settings = validate(VocabularySettings, {"kind": "character", **more}, "vocabulary")
        return Symbols.build(["aabbbc\n", "bd\n\n"], settings).codec.symbols[4:]

    assert characters() == ("b", "\n", "a", "c", "d")
    assert characters(min_count=2) == ("b", "\n", "a")
    assert characters(byte_fallback=True, min_count=3) == (*BYTES, "b", "\n")


def test_only_the_text_that_is_given_makes_the_vocabulary() -> None:
    assert "z" not in Symbols.build(["abc\n"], VocabularySettings()).codec.symbols
    assert Symbols.build(["z\n"], VocabularySettings()).codec.symbols[4:] == ("\n", "z")


@pytest.mark.parametrize(
    ("name", "text", "missing"),
    [
        ("character", "the cat ß Ω and Ж\n", "Ω"),
        ("pieces without bytes", "the cat Ω\nЖ", "Ω"),
        ("word", "the\tcat  Kyoto\nNara", "Kyoto"),
        ("word", "the\u00a0cat", "the\u00a0cat"),
        ("word", "the <s>", "<s>"),
    ],
)
def test_what_has_no_symbol_is_named(name: str, text: str, missing: str) -> None:
    symbols = SYMBOLS[name]
    assert UNKNOWN in symbols.encode(text)
    assert symbols.without_symbol(text) == missing
    kind = "word" if name == "word" else "character"
    advice = (
        "use words of its training text, or train a model that reads any text: --set vocabulary.kind=byte"
        if name == "word"
        else "train a model that reads any text: --set vocabulary.byte_fallback=true, or --set "
        "vocabulary.kind=byte"
    )
    with pytest.raises(DataError) as caught:
        require_known(symbols, text, "the prompt")
    assert str(caught.value) == (f"the prompt: the model has no symbol for the {kind} {missing!r}; {advice}")
    require_known(symbols, "the cat", "the prompt")


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_missing_is_in_the_text_and_unknown_by_itself(name: str, text: str) -> None:
    symbols = SYMBOLS[name]
    missing = symbols.without_symbol(text)
    assert (missing is not None) == (UNKNOWN in symbols.encode(text))
    if missing is not None:
        assert missing in text
        assert UNKNOWN in symbols.encode(missing)


def test_the_first_unknown_character_of_a_long_text_is_found_at_once() -> None:
    text = "the cat " * 100_000 + "Ω"
    assert SYMBOLS["character"].without_symbol(text) == "Ω"


def test_characters_without_a_symbol_are_spelled_in_bytes() -> None:
    symbols = SYMBOLS["characters and bytes"]
    names = [symbols.codec.symbols[number] for number in symbols.encode("tΩt€é")]
    assert names == ["t", "<0xCE>", "<0xA9>", "t", "<0xE2>", "<0x82>", "<0xAC>", "<0xC3>", "<0xA9>"]


def test_bytes_are_numbered_as_their_codec_numbers_them() -> None:
    symbols = SYMBOLS["byte"]
    text = "aé\n😀"
    assert symbols.encode(text).tolist() == symbols.codec.encode(text)


@pytest.mark.parametrize(("name", "unit"), [("character", "character"), ("byte", "token"), ("word", "token")])
def test_a_symbol_is_counted_in_its_unit(name: str, unit: str) -> None:
    assert SYMBOLS[name].unit == unit


def test_text_without_anything_makes_no_vocabulary() -> None:
    for kind in ("word", "sentencepiece"):
        with pytest.raises((DataError, UsageError)):
            Symbols.build(["\n \n"], validate(VocabularySettings, {"kind": kind}, "vocabulary"))


# --- files ---


@pytest.mark.parametrize("name", KINDS)
def test_a_vocabulary_survives_its_file(name: str) -> None:
    symbols = SYMBOLS[name]
    again = Symbols.from_files(symbols.to_files(), "model")
    assert again.codec.symbols == symbols.codec.symbols
    text = TEXT + "unseen Ω €\n"
    assert again.encode(text).tolist() == symbols.encode(text).tolist()
    assert again.decode(again.encode(text)) == symbols.decode(symbols.encode(text))
    assert again.to_files() == symbols.to_files()
    assert (again.unit, again.impossible) == (symbols.unit, symbols.impossible)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "model: damaged: symbols.vocabulary is missing"),
        ({FILE: b"nonsense"}, "model: symbols.vocabulary: neither a vocabulary"),
        ({FILE: b'{"kind": "word", "lowercase": false, "format": 1}\n"<pad>"\n"<unk>"\n'}, "symbols 2 and 3"),
    ],
)
def test_damaged_files_are_model_errors(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        Symbols.from_files(files, "model")
    assert message in str(caught.value)


def test_a_corpus_of_one_long_line_teaches_pieces() -> None:
    """The library skips lines of more than a million bytes; text8 is one line of a hundred million."""
    text = "the cat sat on the mat and the dog sat by it " * 30_000
    symbols = Symbols.build([text], VocabularySettings(kind="sentencepiece", size=40))
    start = text[:90]
    assert symbols.decode(symbols.encode(start)) == start
    assert len(symbols.encode(start)) < len(start)
