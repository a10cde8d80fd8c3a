"""From text to ids and back on both sides; copied symbols are spelled as in the source, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqtool.errors import ModelError, SettingsError, UsageError
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.codec import build_sentencepiece, build_symbols
from seqtool.text.parallel import SentencePair
from seqtool.text.pieces import ByteCodec, Piece
from seqtool.translation.vocabulary import (
    CONTROLS,
    END,
    PADDING,
    SHARED,
    SOURCE,
    START,
    TARGET,
    UNKNOWN,
    Vocabularies,
    feature_symbol,
    pieces_of,
)
from seqtool.translation.vocabulary_settings import VocabularySettings

TEXTS = [
    ("the cat sat on the mat", "die Katze saß auf der Matte"),
    ("Ada met a cat", "Ada traf eine Katze"),
    ("one mat, two mats", "eine Matte, zwei Matten"),
]
CORPUS = [SentencePair(source, target) for source, target in TEXTS]
KINDS: dict[str, dict[str, Any]] = {
    "word": {"kind": "word"},
    "character": {"kind": "character"},
    "byte": {"kind": "byte"},
    "unigram": {"kind": "sentencepiece"},
    "bpe": {"kind": "sentencepiece", "model_type": "bpe"},
    "byte fallback": {"kind": "sentencepiece", "byte_fallback": True},
}
patient = settings(deadline=None, max_examples=20)

# What is hard to spell: emoji of several characters, right to left, marks, other spaces, known letters.
PARTS = [
    "👩‍👩‍👧",
    "🇩🇪",
    "👍🏽",
    "שלום",
    "مرحبا",
    "e\u0301",
    "\u0301",
    "ẞ",
    "日本",
    "\u00a0",
    "\u200f",
    "<unk>",
    "</s>",
    "the",
    "cat",
    "ß",
    "x",
]
WILD = st.text(st.characters(exclude_characters="\n\r\0\t\u2581", exclude_categories=["Cs"]), max_size=6)
pieces_of_text = st.lists(st.sampled_from([*PARTS, " "]) | WILD, max_size=8)
lines = pieces_of_text.map("".join)
# In an output, words are separated by single spaces.
sentences = lines.map(lambda line: " ".join(word for word in line.split(" ") if word))


def built(shared: bool, **options: Any) -> Vocabularies:
    return Vocabularies.build(CORPUS, VocabularySettings.model_validate({"shared": shared, **options}))


BOTH = {
    (kind, shared): built(shared, **options) for kind, options in KINDS.items() for shared in (True, False)
}
WORDS = BOTH["word", True]
NAMED = {f"{kind}, {'shared' if shared else 'separate'}": both for (kind, shared), both in BOTH.items()}
SEPARATE_PIECES = [f"{kind}, separate" for kind in ("unigram", "bpe", "byte fallback")]
EXACT = {name: both for name, both in NAMED.items() if name not in SEPARATE_PIECES}
every = pytest.mark.parametrize("both", NAMED.values(), ids=NAMED)


def copy_of(both: Vocabularies, line: str) -> str:
    """The output if every symbol of a source is copied."""
    source = both.encode_source(SentencePair(line))
    return both.text([*source.symbols[:-1], END], source.extra)


# Copies


@pytest.mark.parametrize("both", EXACT.values(), ids=EXACT)
@patient
@given(line=sentences)
@example(line="")
@example(line="the cat sat on the mat")
@example(line="Ada met 👩‍👩‍👧 and 日本")
@example(line="日本 the 日本 cat 日本x")
@example(line="e\u0301 e\u0301\u0301 \u0301")
def test_a_copied_source_comes_out_as_it_was_spelled(both: Vocabularies, line: str) -> None:
    assert copy_of(both, line) == line


@pytest.mark.parametrize("name", SEPARATE_PIECES)
def test_a_piece_that_begins_a_word_is_copied_with_the_space_before_it(name: str) -> None:
    """At the start of a line there must be no space before a copied word, in the middle there must be one."""
    both = NAMED[name]
    assert copy_of(both, "the cat sat on the mat") == "the cat sat on the mat"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "word"])
@patient
@given(line=lines)
@example(line=" two  spaces ")
@example(line="\u00a0 日本")
def test_spaces_are_copied_too_where_they_are_symbols(kind: str, line: str) -> None:
    assert copy_of(BOTH[kind, True], line) == line


@every
@patient
@given(line=sentences)
def test_every_symbol_is_known_or_extends_the_target_vocabulary_once(both: Vocabularies, line: str) -> None:
    source = both.encode_source(SentencePair(line))
    size = len(both.target.symbols)
    pieces = both.source.pieces(line)
    assert source.ids == [*(piece.id for piece in pieces), END]
    *symbols, end = source.symbols
    assert end == NOT_COPYABLE
    new = list(dict.fromkeys(symbol for symbol in symbols if symbol >= size))
    assert new == list(range(size, size + len(source.extra)))  # in the order of their first occurrence
    for piece, symbol in zip(pieces, symbols, strict=True):
        known = [number for number, each in enumerate(both.target.symbols) if each == piece.symbol]
        if symbol < size:
            assert known == [symbol] and symbol > END
        else:
            assert source.extra[symbol - size].symbol == piece.symbol
            assert not known or known[0] <= END


@pytest.mark.parametrize("kind", KINDS)
@patient
@given(line=sentences)
def test_a_target_like_its_source_has_the_ids_of_a_copy(kind: str, line: str) -> None:
    both = BOTH[kind, True]
    source = both.encode_source(SentencePair(line))
    assert both.encode_target(line, source.extra) == [*source.symbols[:-1], END]


def test_a_word_that_repeats_has_one_extended_id() -> None:
    size = len(WORDS.target.symbols)
    source = WORDS.encode_source(SentencePair("Zoë met Max and Zoë"))
    assert source.ids == [UNKNOWN, WORDS.source.encode("met")[0], UNKNOWN, UNKNOWN, UNKNOWN, END]
    assert source.symbols == [size, source.ids[1], size + 1, size + 2, size, NOT_COPYABLE]
    assert [piece.surface for piece in source.extra] == ["Zoë", "Max", "and"]
    assert WORDS.encode_target("Max sat Bob Zoë", source.extra) == [
        size + 1,
        WORDS.target.encode("sat")[0],
        UNKNOWN,
        size,
        END,
    ]
    assert WORDS.text([size, source.ids[1], size + 1, END], source.extra) == "Zoë met Max"


def test_a_word_that_only_the_source_knows_extends_the_target() -> None:
    both = BOTH["word", False]
    source = both.encode_source(SentencePair("the cat Katze"))
    size = len(both.target.symbols)
    assert source.ids[0] != UNKNOWN
    assert source.symbols[0] == size
    assert source.symbols[2] == both.target.symbols.index("Katze")  # which the source lacks
    assert source.ids[2] == UNKNOWN


def test_folding_of_case_keeps_the_spelling_of_what_is_new() -> None:
    both = built(True, kind="word", lowercase=True)
    assert (
        copy_of(both, "THE Zoë zoë") == "the Zoë Zoë"
    )  # known as the vocabulary has it, new as first spelled


def test_the_end_can_be_copied_only_if_asked_for() -> None:
    pair = SentencePair("the cat", features=("V",))
    assert WORDS.encode_source(pair).symbols[-1] == NOT_COPYABLE
    assert WORDS.encode_source(pair, copies="all").symbols[-1] == END
    assert WORDS.encode_source(pair, copies="all").symbols[0] == NOT_COPYABLE


def test_bytes_that_the_target_lacks_are_copied_as_the_source_spells_them() -> None:
    texts = [text for pair in TEXTS for text in pair]
    source = build_sentencepiece(texts, byte_fallback=True, exact=False).codec
    target = build_sentencepiece(texts, exact=False).codec
    assert copy_of(Vocabularies(source, target), "日本") == "日本"


def test_what_is_unknown_in_a_drawn_segmentation_can_be_copied() -> None:
    both = BOTH["unigram", True]
    source = both.encode_source(SentencePair("the 日本 cat"), sampling=0.5, seed=1)
    assert source.ids.count(UNKNOWN) == 1
    copied = source.symbols[source.ids.index(UNKNOWN)]
    assert copied == len(both.target.symbols)
    assert [piece.symbol for piece in source.extra] == ["日本"]
    assert copied in both.encode_target("日本", source.extra, sampling=0.5, seed=2)


# Ids to text


@every
@patient
@given(data=st.data())
def test_ids_of_the_vocabulary_are_decoded_by_it(both: Vocabularies, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(both.target.symbols) - 1), max_size=8))
    extra = (Piece(UNKNOWN, "q", "q"),)
    assert both.text(ids, extra) == both.text(ids, ()) == both.target.decode(ids)


@every
@patient
@given(data=st.data())
def test_a_copied_symbol_stands_after_what_the_vocabulary_says(
    both: Vocabularies, data: st.DataObject
) -> None:
    symbols = both.target.symbols
    possible = [number for number, symbol in enumerate(symbols) if symbol[:3] != "<0x" or symbol < "<0x80"]
    ids = data.draw(st.lists(st.sampled_from(possible), max_size=8))
    before = both.target.decode(ids)
    space = " " if both.target.kind == "word" and before else ""
    assert both.text([*ids, len(symbols), END], (Piece(UNKNOWN, "§", "§"),)) == f"{before}{space}§"


def test_bytes_and_copies_make_characters_together() -> None:
    both = BOTH["byte fallback", True]
    ids = [both.target.symbols.index(symbol) for symbol in ("<0xE6>", "<0x97>", "<0xA5>")]
    extra, size = (Piece(UNKNOWN, "é", "é"),), len(both.target.symbols)
    assert both.text([*ids, size], extra) == "日é"
    assert both.text([*ids[:2], size], extra) == "\ufffdé"
    assert both.text([both.target.symbols.index("<0x20>"), size], extra) == " é"


# How they are built


@every
def test_control_symbols_have_the_first_ids_and_no_text_has_them(both: Vocabularies) -> None:
    assert (PADDING, UNKNOWN, START, END) == (0, 1, 2, 3)
    for codec in (both.source, both.target):
        assert codec.symbols[:4] == ("<pad>", "<unk>", *CONTROLS)
    ids = both.encode_source(SentencePair("<s> <pad> </s> the")).ids
    assert not {PADDING, START, END} & set(ids[:-1]) and ids[-1] == END
    assert both.encode_target("</s> die", ())[-1] == END
    assert not {PADDING, START, END} & set(both.encode_target("</s> die", ())[:-1])


@pytest.mark.parametrize("kind", KINDS)
def test_one_vocabulary_is_shared_or_there_are_two(kind: str) -> None:
    assert BOTH[kind, True].is_shared and BOTH[kind, True].source is BOTH[kind, True].target
    assert not BOTH[kind, False].is_shared
    if kind != "byte":
        assert "Katze" not in "".join(BOTH[kind, False].source.symbols)
        assert "K" in "".join(BOTH[kind, True].source.symbols)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "byte"])
@pytest.mark.parametrize("shared", [True, False])
def test_features_are_symbols_before_the_source(kind: str, shared: bool) -> None:
    corpus = [
        SentencePair("cat", "cats", ("N", "PL")),
        SentencePair("sit", "sat", ("V", "PST")),
        SentencePair("N V", "V N"),
    ]
    both = Vocabularies.build(corpus, VocabularySettings.model_validate({"shared": shared, **KINDS[kind]}))
    plain = both.encode_source(SentencePair("cat"))
    source = both.encode_source(SentencePair("cat", features=("V", "PL", "ADJ")))
    ids = [both.source.symbols.index(feature_symbol(name)) for name in ("V", "PL")]
    assert source.ids == [*ids, UNKNOWN, *plain.ids]
    assert source.symbols == [NOT_COPYABLE] * 3 + plain.symbols
    assert both.source.symbols[4:8] == tuple(map(feature_symbol, ("N", "PL", "PST", "V")))
    assert (feature_symbol("PL") in both.target.symbols) == shared
    assert not set(ids) & set(both.encode_source(SentencePair("V PL")).ids)  # letters and words are not


def test_bytes_have_no_room_for_features() -> None:
    with pytest.raises(SettingsError, match=r"vocabulary\.kind = 'byte' has no symbols for features"):
        Vocabularies.build([SentencePair("a", "b", ("N",))], VocabularySettings(kind="byte"))


def test_vocabularies_are_read_from_the_files_that_settings_name(tmp_path: Path) -> None:
    both = BOTH["word", False]
    names = []
    for name, codec in (("s", both.source), ("t", both.target)):
        (tmp_path / name).write_bytes(codec.to_bytes())
        names.append(str(tmp_path / name))
    read = VocabularySettings(kind="word", shared=False, source_file=names[0], target_file=names[1])
    found = Vocabularies.build([], read)
    assert (found.source.symbols, found.target.symbols) == (both.source.symbols, both.target.symbols)
    one = Vocabularies.build([], VocabularySettings(kind="word", source_file=names[0]))
    assert one.is_shared and one.source.symbols == both.source.symbols
    with pytest.raises(UsageError, match="no such vocabulary file"):
        Vocabularies.build([], VocabularySettings(kind="word", source_file=str(tmp_path / "none")))


def test_a_vocabulary_without_start_and_end_is_refused() -> None:
    codec = build_symbols(["a b"], "word").codec
    with pytest.raises(ModelError, match=r"symbols 2 and 3 are a b, expected <s> </s>; build it with"):
        Vocabularies(ByteCodec(), codec)


# Files


@every
def test_vocabularies_come_back_from_their_files(both: Vocabularies) -> None:
    files = both.to_files()
    assert set(files) == ({SHARED} if both.is_shared else {SOURCE, TARGET})
    again = Vocabularies.from_files(files, "model")
    assert again.is_shared == both.is_shared
    for line in [text for pair in TEXTS for text in pair] + ["日本 Zoë"]:
        pair = SentencePair(line, line)
        source = both.encode_source(pair)
        assert again.encode_source(pair) == source
        assert again.encode_target(line, source.extra) == both.encode_target(line, source.extra)
        assert again.text(source.symbols[:-1], source.extra) == both.text(source.symbols[:-1], source.extra)
    assert again.to_files() == files


def test_a_missing_or_damaged_file_is_named() -> None:
    files = BOTH["word", False].to_files()
    with pytest.raises(ModelError, match=r"^model: damaged: 'target\.vocabulary' is missing$"):
        Vocabularies.from_files({SOURCE: files[SOURCE]}, "model")
    with pytest.raises(ModelError, match=r"model: target\.vocabulary"):
        Vocabularies.from_files({**files, TARGET: files[TARGET][: len(files[TARGET]) // 2]}, "model")


# Sampled segmentations


@pytest.mark.parametrize("kind", ["unigram", "bpe", "byte fallback"])
def test_drawn_segmentations_repeat_with_their_seed_and_spell_the_same(kind: str) -> None:
    both, line = BOTH[kind, True], "the cat sat on the mat"
    pair = SentencePair(line)
    drawn = [both.encode_source(pair, sampling=0.3, seed=seed) for seed in range(20)]
    assert drawn == [both.encode_source(pair, sampling=0.3, seed=seed) for seed in range(20)]
    assert len({tuple(source.ids) for source in drawn}) > 1
    assert {both.source.decode(source.ids) for source in drawn} == {line}
    targets = [both.encode_target(line, (), sampling=0.3, seed=seed) for seed in range(20)]
    assert targets == [source.ids for source in drawn]


@pytest.mark.parametrize("kind", ["word", "character", "byte"])
def test_words_characters_and_bytes_have_one_segmentation(kind: str) -> None:
    codec = BOTH[kind, True].source
    assert pieces_of(codec, "the 日 cat", 0.5, 1) == codec.pieces("the 日 cat")


@pytest.mark.parametrize("shared", [True, False])
def test_symbols_that_stand_in_the_text_come_back(shared: bool) -> None:
    texts = ["<s> old price </s> new price", "keep <unk> and <pad> here", "split \u2581 pack\u2581disk"]
    pairs = [SentencePair(text, text) for text in texts * 8]
    vocabularies = Vocabularies.build(pairs, VocabularySettings(kind="sentencepiece", shared=shared))
    for pair in pairs[:3]:
        source = vocabularies.encode_source(pair)
        target = vocabularies.encode_target(pair.source, source.extra)
        assert UNKNOWN not in target
        assert vocabularies.text(target[:-1], source.extra) == pair.source


def test_copied_symbols_that_stand_in_the_text_come_back() -> None:
    known = [SentencePair("split pack disk", "split pack disk")] * 8
    vocabularies = Vocabularies.build(known, VocabularySettings(kind="sentencepiece"))
    text = "split <s> \u2581 pack\u2581 <unk>"
    source = vocabularies.encode_source(SentencePair(text))
    assert source.extra
    target = vocabularies.encode_target(text, source.extra)
    assert UNKNOWN not in target
    assert vocabularies.text(target[:-1], source.extra) == text
