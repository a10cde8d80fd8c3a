"""A simple tokenizer for plain text with exact offsets; it changes no character.

Text is split at whitespace, and each piece is then split from left to right by the first rule that matches:

1. a whole piece that is an emoticon (`:-)`, `<3`), or a single capital with a full stop that is not
   the last piece (`J. Smith`), is one token
2. URLs, mail addresses, domain names with a common ending (`example.com`), `@mentions`,
   `#hashtags`; punctuation at the end of a URL is not part of it
3. emoji: with skin tone, joined by zero-width joiners, flags and keycaps are one token each
4. Chinese characters and Japanese kana: one token per character
5. abbreviations of single letters (`U.S.`, `p.m.`), and a short list of others (`Mr.`, `Inc.`)
6. numbers with inner punctuation (`1,234.5`, `12:30`, `1/2`)
7. words: letters, digits, marks and `_`, with inner hyphens, apostrophes and `&` (`state-of-the-art`,
   `O'Brien`, `AT&T`); English contractions are split off as in Penn Treebank and UD: `do n't`,
   `Ada 's`, `we 'll`, `can not`
8. runs of full stops, hyphens, or exclamation and question marks (`...`, `--`, `?!`)
9. any other character by itself, with its combining marks

Invisible format characters (zero-width space, direction marks) outside words and emoji are treated as space
between tokens.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import regex  # type: ignore[import-untyped]  # Unicode properties; the standard library has none

# Whitespace as in str.isspace, which `re` shares; that of the regex module is narrower.
_PIECE = re.compile(r"\S+")

_EMOTICON = regex.compile(r"[:;=][-'^o]?[()\[\]{}DPpOo|/\\*]|[()][-']?[:;=]|</?3+|[xX]D+|\^_*\^")
_INITIAL = regex.compile(r"\p{Lu}\.")

_ABBREVIATIONS = (
    "Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|Mt|Gen|Col|Lt|Capt|Sgt|Rep|Sen|Gov|Rev|Hon|Inc|Ltd|Co|Corp|Bros|vs|etc|cf|al"
    "|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec"
)
_CLITICS = r"n['’]t|['’](?:s|m|d|re|ve|ll)"

# Characters of words: neither Han nor kana, each of which is a token by itself, nor the marks of emoji.
# Format characters (soft hyphen, joiners) may occur inside a word.
_LETTER = r"[[\p{L}\p{N}\p{M}_]--[\p{Han}\p{Hiragana}\p{Katakana}\uFE0E\uFE0F\u20E3]]"
_RUN = rf"{_LETTER}+(?:[\u00AD\u200C\u200D\u2060]+{_LETTER}+)*"
_PICTURE = r"\p{Extended_Pictographic}[\uFE0E\uFE0F]?\p{Emoji_Modifier}?[\U000E0020-\U000E007F]*"
_ADDRESS = r"[^\s<>\"]*[^\s<>\".,;:!?'’”»()\[\]{}…]"  # the last character is no closing punctuation

# The first rule that matches wins. Repetitions that may fail late are bounded, so that a long line of odd
# characters takes linear time.
_RULES = {
    "url": rf"(?i:https?://|ftp://|www\.){_ADDRESS}",
    "mail": r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}\p{L}{2,63}",
    "domain": rf"(?i:(?:[a-z0-9-]{{1,63}}\.){{1,8}}(?:com|org|net|edu|gov|info))(?!\w)(?:/{_ADDRESS})?",
    "keycap": r"[0-9#*]\uFE0F?\u20E3",
    "mention": r"(?<!\w)[@#][\w\p{M}]+",
    "flag": r"\p{Regional_Indicator}{2}",
    "emoji": rf"{_PICTURE}(?:\u200D{_PICTURE})*",
    "ideograph": r"[\p{Han}\p{Hiragana}\p{Katakana}]\p{M}*",
    "initials": r"\p{L}(?:\.\p{L})+(?:\.|(?![\w.]))",
    "abbreviation": rf"(?:{_ABBREVIATIONS})\.(?!\.)",
    "number": r"\p{Nd}+(?:[.,:/]\p{Nd}+)+(?!\w)",
    "word": rf"{_RUN}(?:(?:[-‐‑'’&]|(?<=\p{{Nd}})[.,:](?=\p{{Nd}})){_RUN})*",
    "clitic": rf"(?<!\S)(?i:{_CLITICS})(?!\w)",  # text that is tokenized already
    "punctuation": r"\.{2,}|-{2,}|[!?]{2,}",
    "format": r"\p{Cf}+",
    "other": r"\S[\p{M}\uFE0E\uFE0F]*",
}
_TOKEN = regex.compile("|".join(f"(?P<{name}>{rule})" for name, rule in _RULES.items()), regex.V1)

_CONTRACTION = regex.compile(rf"(?i)(?P<head>.+?)(?P<tail>{_CLITICS})+|(?P<head>can)(?P<tail>not)")
_CONTRACTION_LIMIT = 60  # characters; longer words are not searched for contractions


class Token(NamedTuple):
    """A token and its place in the text: `text[start:end]`, in characters."""

    text: str
    start: int
    end: int


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, in order; between them there are only spaces and invisible characters.

    >>> [token.text for token in tokenize("They don't live in the U.S., @ada!")]
    ['They', 'do', "n't", 'live', 'in', 'the', 'U.S.', ',', '@ada', '!']
    """
    tokens: list[Token] = []
    pieces = list(_PIECE.finditer(text))
    for piece in pieces:
        whole = piece.group()
        if _EMOTICON.fullmatch(whole) or (_INITIAL.fullmatch(whole) and piece is not pieces[-1]):
            tokens.append(Token(whole, piece.start(), piece.end()))
        else:
            tokens += _cut(text, piece.start(), piece.end())
    return tokens


def _cut(text: str, start: int, end: int) -> list[Token]:
    """Tokens of `text[start:end]`, which contains no whitespace."""
    tokens = []
    for match in _TOKEN.finditer(text, start, end):
        if match.lastgroup == "format":
            continue
        edges = [match.start(), match.end()]
        if match.lastgroup == "word" and len(match.group()) <= _CONTRACTION_LIMIT:
            edges[1:1] = _contraction_edges(match.group(), match.start())
        tokens += [Token(text[left:right], left, right) for left, right in pairwise(edges)]
    return tokens


def _contraction_edges(word: str, start: int) -> list[int]:
    """Where to split an English contraction that begins at `start`; empty for other words."""
    parts = _CONTRACTION.fullmatch(word)
    return [start + begin for begin in parts.starts("tail")] if parts else []
