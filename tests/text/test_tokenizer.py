"""The plain-text tokenizer: exact offsets on any text, and each rule by example."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seqtool.text.tokenizer import tokenize

# Fragments that meet in odd places make better cases than random characters alone.
_VISIBLE = (
    """don't U.S. J. http://a.b/c @x #y 1,2 . 👩🏽\u200d🚀 🇫🇷 日本 e\u0301 שלום می\u200cخواهم - ' :-)"""
)
FRAGMENTS = st.sampled_from([*_VISIBLE.split(" "), *"\u200b\u200f \t\x1c\u00a0\u2028\x00"])
TEXTS = st.one_of(st.text(), st.lists(FRAGMENTS | st.characters()).map("".join))


@given(TEXTS)
@example("\x1c\x1d\x1e\x1f\x85\u2029\u3000")
def test_tokens_and_gaps_give_back_the_text(text: str):
    end = 0
    for token in tokenize(text):
        assert token.text == text[token.start : token.end] != ""
        assert not any(character.isspace() for character in token.text)
        skipped = text[end : token.start]
        assert all(c.isspace() or unicodedata.category(c) == "Cf" for c in skipped)
        assert token.start >= end
        end = token.end
    assert all(c.isspace() or unicodedata.category(c) == "Cf" for c in text[end:])


def words(text: str) -> list[str]:
    return [token.text for token in tokenize(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("They don't, can't, won’t.", "They do n't , ca n't , wo n’t ."),
        (
            "I'm, we'll, it's, they've, he'd've, cannot",
            "I 'm , we 'll , it 's , they 've , he 'd 've , can not",
        ),
        ("DON'T Ada's O'Brien's mother-in-law's", "DO N'T Ada 's O'Brien 's mother-in-law 's"),
        ("dogs' 'quoted' rock'n'roll l'homme", "dogs ' ' quoted ' rock'n'roll l'homme"),
        ("Ada 's friends do n't", "Ada 's friends do n't"),
        ("in the U.S., U.S.A. at 5 p.m., e.g. here.", "in the U.S. , U.S.A. at 5 p.m. , e.g. here ."),
        ("Mr. Smith vs. Acme Inc. etc.", "Mr. Smith vs. Acme Inc. etc."),
        ("J. R. Tolkien took plan B.", "J. R. Tolkien took plan B ."),
        ("end.Start he.", "end . Start he ."),
        ("1,234.5 12:30 1/2 3-5 20th $5.00 50% x² 3.14.", "1,234.5 12:30 1/2 3-5 20th $ 5.00 50 % x² 3.14 ."),
        ("state-of-the-art AT&T snake_case C#", "state-of-the-art AT&T snake_case C #"),
        ("(see https://a.b/c_(d)?x=1#y).", "( see https://a.b/c_(d)?x=1#y ) ."),
        ("WWW.x.org/, example.com/path.", "WWW.x.org/ , example.com/path ."),
        ("ada.l+x@mail.co.uk!", "ada.l+x@mail.co.uk !"),
        ("@user_1: #tag # @ #5 a@b", "@user_1 : #tag # @ #5 a @ b"),
        ('wait... what?! -- "no" – [x]', 'wait ... what ?! -- " no " – [ x ]'),
        ("ha :-) :( ;D <3 (a) b)", "ha :-) :( ;D <3 ( a ) b )"),
    ],
)
def test_english_text_is_cut_as_documented(text: str, expected: str):
    assert words(text) == expected.split(" ") if expected else words(text) == []


@pytest.mark.parametrize(
    "emoji",
    [
        "👩🏽\u200d🚀",
        "👨\u200d👩\u200d👧\u200d👦",
        "❤\ufe0f",
        "👍🏿",
        "🇫🇷",
        "1\ufe0f\u20e3",
        "🏴\U000e0067\U000e0062\U000e007f",
        "☺",
    ],
)
def test_emoji_sequences_stay_whole(emoji: str):
    assert words(f"a {emoji}{emoji}b {emoji}!") == ["a", emoji, emoji, "b", emoji, "!"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("שלום עולם!", ["שלום", "עולם", "!"]),
        ("\u200fمرحبا، بك\u200f", ["مرحبا", "،", "بك"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("हिन्दी में।", ["हिन्दी", "में", "।"]),
        ("日本語 한국어 テスト", ["日", "本", "語", "한국어", "テ", "ス", "ト"]),
        ("cafe\u0301 naïve Straße", ["cafe\u0301", "naïve", "Straße"]),
        ("zero\u200bwidth co\u00adop", ["zero", "width", "co\u00adop"]),
        ("a\u00a0b\u2028c", ["a", "b", "c"]),
    ],
)
def test_scripts_of_the_world(text: str, expected: list[str]):
    assert words(text) == expected


@pytest.mark.parametrize("part", ["-+", "-.", "www.", "(", "x@", "1.", "a's", "a."])
def test_long_lines_without_spaces_are_cut_to_the_last_character(part: str):
    tokens = tokenize(part * 10_000)
    assert "".join(token.text for token in tokens) == part * 10_000
