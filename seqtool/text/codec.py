"""Text to ids and back, by words, characters, bytes or SentencePiece, and the vocabulary files of each.

A vocabulary file of words or characters starts with a line of settings, such as
`{"kind": "word", "lowercase": false, "format": 1}`, followed by one symbol per line as a JSON string. For
bytes there is only the first line. A SentencePiece file is the library's own model file, which other
programs can read too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, get_args

from seqtool.errors import DataError, ModelError, UsageError
from seqtool.files import parse_json, storage_errors
from seqtool.text.pieces import CONTROLS, FORMAT, ByteCodec, Piece
from seqtool.text.subwords import SentencePieceCodec, train_sentencepiece
from seqtool.text.vocabulary import PADDING, UNKNOWN, Vocabulary

Kind = Literal["word", "character", "byte", "sentencepiece"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FILE_LIMIT = 256 * 1024 * 1024  # bytes; a larger file is no vocabulary

_SPACES = re.compile(r"[ \t]+")


class Codec(Protocol):
    """Turns lines of text into ids and back."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols in the order of their ids."""

    @property
    def unknown(self) -> int:
        """Id of the unknown symbol."""

    def encode(self, line: str) -> list[int]:
        """The ids of a line."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a sequence of ids, each in [0, number of symbols)."""

    def pieces(self, line: str) -> list[Piece]:
        """The symbols of `encode` with the text each covers; except for words, these join to the line."""

    def to_bytes(self) -> bytes:
        """The content of the vocabulary file."""


class SymbolCodec:
    """Words between spaces, or single characters.

    Args:
        vocabulary: The symbols, the first two being padding and unknown.
        kind: What a line is split into.
        lowercase: Whether the text is lower-cased first.
        reserved: Symbols of several characters that are never split, such as `<2de>`. If `<s>` and `</s>`
            are among them, text is never encoded to their ids, and these are decoded to nothing.

    >>> letters = SymbolCodec(Vocabulary([PADDING, UNKNOWN, "a", "b"]), "character")
    >>> letters.encode("abc"), letters.decode([2, 3, 1])
    ([2, 3, 1], 'ab<unk>')
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        kind: Literal["word", "character"],
        *,
        lowercase: bool = False,
        reserved: tuple[str, ...] = (),
    ) -> None:
        assert vocabulary.symbols[:2] == (PADDING, UNKNOWN)
        self.vocabulary, self.lowercase, self.reserved = vocabulary, lowercase, reserved
        self.kind: str = kind
        self.unknown = 1
        controls = {PADDING, *(symbol for symbol in CONTROLS if symbol in reserved)}
        self._ids = {symbol: i for i, symbol in enumerate(vocabulary.symbols) if symbol not in controls}
        self._silent = {vocabulary.id(symbol) for symbol in controls}
        longest_first = sorted(set(reserved) - controls, key=lambda symbol: (-len(symbol), symbol))
        self._characters = re.compile("|".join([*map(re.escape, longest_first), "."]), re.DOTALL)

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols in the order of their ids."""
        return self.vocabulary.symbols

    def split(self, line: str) -> list[str]:
        """The symbols into which a line is split, whether or not the vocabulary has them."""
        return [symbol for symbol, _ in self._spelled(line)]

    def encode(self, line: str) -> list[int]:
        """The ids of a line; text spelled like the padding, start or end symbol does not get its id."""
        return [self.id(symbol) for symbol, _ in self._spelled(line)]

    def id(self, symbol: str) -> int:
        """Id of a symbol that `split` returned."""
        return self._ids.get(symbol, self.unknown)

    def pieces(self, line: str) -> list[Piece]:
        """The symbols of a line; the spaces between words belong to no symbol."""
        return [Piece(self.id(symbol), symbol, surface) for symbol, surface in self._spelled(line)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a sequence of ids; padding, start and end are left out."""
        symbols = [self.vocabulary.symbol(number) for number in ids if number not in self._silent]
        return (" " if self.kind == "word" else "").join(symbols)

    def to_bytes(self) -> bytes:
        """The content of the vocabulary file: a line of settings, then the symbols."""
        header: dict[str, Any] = {"kind": self.kind, "lowercase": self.lowercase, "format": FORMAT}
        if self.reserved:
            header["reserved"] = list(self.reserved)
        return (json.dumps(header, ensure_ascii=False) + "\n" + self.vocabulary.to_text()).encode()

    def _folded(self, word: str) -> str:
        return word.lower() if self.lowercase and word not in self.reserved else word

    def _spelled(self, line: str) -> Iterator[tuple[str, str]]:
        """The symbols into which a line is split, each with the text it covers."""
        if self.kind == "word":
            yield from ((self._folded(word), word) for word in _SPACES.split(line) if word)
            return
        for piece in self._characters.findall(line):
            # Lower-casing may turn one character into two; a reserved symbol stays as it is.
            letters = [piece] if piece in self.reserved else self._folded(piece)
            for position, letter in enumerate(letters):
                yield letter, "" if position else piece


class Built(NamedTuple):
    """A new codec, and how well it covers the text that it was built from."""

    codec: Codec
    lines: int
    symbols: int  # number of symbols in the text
    unknown: int  # number of those without an id


def build_symbols(
    lines: Iterable[str],
    kind: Literal["word", "character"],
    *,
    size: int = 0,
    min_count: int = 1,
    lowercase: bool = False,
    reserved: tuple[str, ...] = (),
) -> Built:
    """Build a vocabulary of words or characters, most frequent first.

    Args:
        lines: The text, without line ends.
        kind: What a line is split into.
        size: Largest number of symbols, special ones included; 0 = no limit.
        min_count: Smallest count in the text; rarer symbols are unknown.
        lowercase: Whether the text is lower-cased.
        reserved: Symbols that get the ids from 2 on, whatever their counts.

    Raises:
        UsageError: a reserved symbol is invalid, or the size leaves no room for other symbols.
        DataError: the text is empty.
    """
    _check_reserved(reserved, kind)
    first = (PADDING, UNKNOWN, *reserved)
    if size and size <= len(first):
        raise UsageError(f"--size {size}: {len(first)} symbols are special; expected a larger size")
    splitter = SymbolCodec(Vocabulary(first), kind, lowercase=lowercase, reserved=reserved)
    counts: Counter[str] = Counter()
    counter = _Counter(lines)
    for line in counter:
        counts.update(splitter.split(line))
    if not counts:
        raise DataError("no text: every line is blank; expected at least one word")
    vocabulary = Vocabulary.build(counts, reserved=first, min_count=min_count, limit=size)
    codec = SymbolCodec(vocabulary, kind, lowercase=lowercase, reserved=reserved)
    unknown = sum(count for symbol, count in counts.items() if codec.id(symbol) == codec.unknown)
    return Built(codec, counter.lines, counts.total(), unknown)


def build_sentencepiece(
    lines: Iterable[str],
    *,
    size: int | None = None,
    exact: bool = True,
    model_type: Literal["unigram", "bpe"] = "unigram",
    byte_fallback: bool = False,
    split_digits: bool = False,
    lowercase: bool = False,
    reserved: tuple[str, ...] = (),
) -> Built:
    """Train a SentencePiece model; see `train_sentencepiece` for arguments and errors."""
    _check_reserved(reserved, "sentencepiece")
    counter = _Counter(lines)
    proto = train_sentencepiece(
        counter,
        size=size,
        exact=exact,
        model_type=model_type,
        byte_fallback=byte_fallback,
        split_digits=split_digits,
        lowercase=lowercase,
        reserved=reserved,
    )
    return Built(SentencePieceCodec(proto), counter.lines, counter.characters, 0)


def read_codec(path: Path) -> Codec:
    """Read a file that `vocab build` wrote, or a SentencePiece model.

    Raises:
        UsageError: the file does not exist.
        ModelError: it is neither a vocabulary nor a SentencePiece model.
        StorageError: it cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such vocabulary file; `seqtool vocab build` makes one")
    with storage_errors(path):
        if path.stat().st_size > FILE_LIMIT:
            raise ModelError(f"{path}: larger than {FILE_LIMIT} bytes; not a vocabulary")
        raw = path.read_bytes()
    return codec_of(raw, str(path))


def codec_of(raw: bytes, name: str) -> Codec:
    """The codec in the content of a vocabulary file.

    Args:
        raw: Content of the file.
        name: Name of the file for messages.

    Raises:
        ModelError: it is neither a vocabulary nor a SentencePiece model.
    """
    if raw.startswith(b"{"):
        return _from_bytes(raw, name)
    try:
        return SentencePieceCodec(raw)
    except ValueError:
        raise ModelError(f"{name}: neither a vocabulary of `vocab build` nor a SentencePiece model") from None


def parse_ids(line: str, codec: Codec, place: str) -> list[int]:
    """The ids on a line that `vocab encode` wrote.

    Args:
        line: Numbers separated by spaces.
        codec: The codec whose ids these are.
        place: `file:line` for messages.

    Raises:
        DataError: something is not a number, or is the id of no symbol.
    """
    ids = []
    for text in line.split():
        if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) >= len(codec.symbols):
            raise DataError(f"{place}: {text!r} is not an id; expected 0 to {len(codec.symbols) - 1}")
        ids.append(int(text))
    return ids


def _from_bytes(raw: bytes, name: str) -> Codec:
    head, _, body = raw.partition(b"\n")
    header = parse_json(head, name)
    if header.get("kind") == "byte":
        _check_format(header, name)
        if set(header) != {"kind", "format"} or body:
            raise ModelError(f"{name}: damaged: a vocabulary of bytes consists of one line")
        return ByteCodec()
    reserved = header.get("reserved", [])
    known = header.get("kind") in ("word", "character") and isinstance(header.get("lowercase"), bool)
    if not known or not isinstance(reserved, list) or not all(isinstance(item, str) for item in reserved):
        raise ModelError(f"{name}: not a vocabulary of `vocab build`")
    _check_format(header, name)
    try:
        vocabulary = Vocabulary.from_text(body.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise ModelError(f"{name}: damaged: {error}") from error
    first = (PADDING, UNKNOWN, *reserved)
    if vocabulary.symbols[: len(first)] != first:
        raise ModelError(f"{name}: damaged: expected the first symbols {' '.join(first)}")
    return SymbolCodec(vocabulary, header["kind"], lowercase=header["lowercase"], reserved=tuple(reserved))


def _check_format(header: dict[str, Any], name: str) -> None:
    if header.get("format") != FORMAT:
        raise ModelError(
            f"{name}: made by another seqtool (format {header.get('format')}, known here: {FORMAT})"
        )


def _check_reserved(reserved: tuple[str, ...], kind: Kind) -> None:
    taken = {PADDING, UNKNOWN, *(CONTROLS if kind == "sentencepiece" else ())}
    for symbol in reserved:
        if not symbol or _SPACES.search(symbol) or "\n" in symbol:
            raise UsageError(f"--symbols {symbol!r}: expected text without spaces")
        if symbol in taken:
            raise UsageError(f"--symbols {symbol}: the vocabulary has that symbol already")
        taken.add(symbol)


class _Counter:
    """Passes lines on and counts them."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.lines = self.characters = 0

    def __iter__(self) -> Any:
        for line in self._lines:
            self.lines += 1
            self.characters += len(line)
            yield line
