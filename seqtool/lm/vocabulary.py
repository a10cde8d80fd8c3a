"""Running text to symbols and back, line ends included.

Ids 0 to 3 are padding, unknown, start and line end. Characters and bytes cover the whole text, line
ends included. Words and SentencePiece encode single lines, so the symbol of the line end is put between
lines. With words, a run of spaces counts as one space.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqtool.errors import DataError, ModelError
from seqtool.lm.settings import VocabularySettings
from seqtool.text.codec import Codec, SymbolCodec, build_sentencepiece, build_symbols, codec_of
from seqtool.text.pieces import CONTROLS, ByteCodec, byte_of
from seqtool.text.subwords import SentencePieceCodec
from seqtool.text.vocabulary import PADDING as TEXT_PADDING
from seqtool.text.vocabulary import UNKNOWN as TEXT_UNKNOWN
from seqtool.text.vocabulary import Vocabulary

PADDING, UNKNOWN, START, LINE_END = 0, 1, 2, 3
FILE = "symbols.vocabulary"  # name of the file in a model folder
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
LONGEST_PIECE = 4096  # longest piece of a line, in characters, that SentencePiece is trained on

Ids = NDArray[np.int32]

_WORD = re.compile(r"[^ \t\n]+")


class Symbols:
    """The symbols of a language model.

    Args:
        codec: Codec of single lines, whose symbols 2 and 3 are start and line end.

    Raises:
        ModelError: the codec's symbols 2 and 3 are others.
    """

    def __init__(self, codec: Codec) -> None:
        if tuple(codec.symbols[2:4]) != CONTROLS:
            raise ModelError(
                f"a vocabulary whose symbols 2 and 3 are {' '.join(codec.symbols[2:4])}, expected "
                f"{' '.join(CONTROLS)}"
            )
        self.codec = codec
        self.by_lines = codec.kind in ("word", "sentencepiece")
        self._spelled = [_spelled(codec, number) for number in range(len(codec.symbols))]
        self._table = _code_points(codec) if codec.kind == "character" else None
        found = {symbol: number for number, symbol in enumerate(codec.symbols)}
        self._first_byte = found.get(BYTES[0]) if codec.kind == "character" else None

    @classmethod
    def build(cls, texts: Iterable[str], settings: VocabularySettings) -> Symbols:
        """Build the symbols from the training part.

        Raises:
            UsageError: the text does not allow the vocabulary size.
            DataError: there is no text.
        """
        return cls(_build(texts, settings))

    def __len__(self) -> int:
        return len(self.codec.symbols)

    @property
    def unit(self) -> Literal["character", "token"]:
        """The unit that a loss over these symbols counts."""
        return "character" if self.codec.kind == "character" else "token"

    @property
    def impossible(self) -> list[int]:
        """Symbols that occur in no text."""
        return [PADDING, START] if self.by_lines else [PADDING, START, LINE_END]

    @property
    def byte_lengths(self) -> NDArray[np.int64]:
        """Number of bytes that each symbol adds to a text, [V]."""
        return np.array([len(spelled) for spelled in self._spelled])

    def encode(self, text: str) -> Ids:
        """The symbols of a text, [n]; what has no symbol becomes `UNKNOWN`."""
        if self.codec.kind == "byte":
            return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + len(ByteCodec.symbols) - 256
        if self._table is not None:
            return self._characters(text, self._table)
        ids: list[int] = []
        first, *rest = text.split("\n")
        ids += self.codec.encode(first)
        for line in rest:
            ids.append(LINE_END)
            ids += self.codec.encode(line)
        return np.array(ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of symbols; bytes that are not UTF-8 become U+FFFD."""
        decoder = self.decoder()
        return "".join(decoder.push(number) for number in ids) + decoder.finish()

    def decoder(self, *, at_line_start: bool = True) -> TextDecoder:
        """A decoder for symbols that arrive one by one."""
        return TextDecoder(self._spelled, self.by_lines, at_line_start)

    def without_symbol(self, text: str) -> str | None:
        """The first character or word of a text without a symbol; None if there is none."""
        if UNKNOWN not in self.encode(text):
            return None
        parts = _WORD.findall(text) if self.codec.kind == "word" else text
        return next((part for part in dict.fromkeys(parts) if UNKNOWN in self.encode(part)), text)

    def show(self, number: int) -> str:
        """A symbol as text, for display and JSON; its name if it stands for no text."""
        return self._spelled[number].decode("utf-8", errors="replace") or self.codec.symbols[number]

    def to_files(self) -> dict[str, bytes]:
        """The vocabulary file of a model folder, by file name."""
        return {FILE: self.codec.to_bytes()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], where: str) -> Symbols:
        """Symbols from the files of a model folder; the inverse of `to_files`.

        Raises:
            ModelError: the file is missing or damaged.
        """
        if FILE not in files:
            raise ModelError(f"{where}: damaged: {FILE} is missing")
        return cls(codec_of(files[FILE], f"{where}: {FILE}"))

    def _characters(self, text: str, table: Ids) -> Ids:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        ids = table[np.minimum(points, len(table) - 1)]
        if self._first_byte is None or not (ids == UNKNOWN).any():
            return ids
        parts = []
        for run in np.split(np.arange(len(ids)), np.flatnonzero(np.diff(ids == UNKNOWN)) + 1):
            if ids[run[0]] != UNKNOWN:
                parts.append(ids[run])
                continue
            raw = np.frombuffer(text[run[0] : run[-1] + 1].encode(), np.uint8)
            parts.append(raw.astype(np.int32) + self._first_byte)
        return np.concatenate(parts)


class TextDecoder:
    """Decodes symbols one by one; a character is returned with its last byte.

    Args:
        spelled: The bytes of each symbol.
        by_lines: Whether to remove the space that a symbol at the beginning of a line starts with.
        at_line_start: Whether the first symbol is at the beginning of a line.
    """

    def __init__(self, spelled: Sequence[bytes], by_lines: bool, at_line_start: bool) -> None:
        self._spelled, self._by_lines, self._at_line_start = spelled, by_lines, at_line_start
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, number: int) -> str:
        """The text that one more symbol completes, which may be empty."""
        raw = self._spelled[number]
        if self._by_lines and raw:
            if self._at_line_start:
                raw = raw.removeprefix(b" ")
            self._at_line_start = number == LINE_END
        return self._decoder.decode(raw)

    def finish(self) -> str:
        """U+FFFD if the last character is incomplete, else nothing."""
        return self._decoder.decode(b"", final=True)


def _spelled(codec: Codec, number: int) -> bytes:
    """The bytes that a symbol adds to a text."""
    if number in (PADDING, START):
        return b""
    if number == LINE_END:
        return b"\n" if codec.kind in ("word", "sentencepiece") else b""
    if isinstance(codec, SentencePieceCodec):
        spelled = codec.spelled(number)
        return spelled if isinstance(spelled, bytes) else spelled.encode()
    symbol = codec.symbols[number]
    byte = byte_of(symbol)
    if byte is not None and codec.kind != "word":
        return byte
    return (b" " if codec.kind == "word" else b"") + symbol.encode()


def _code_points(codec: Codec) -> Ids:
    """Symbol of each code point, up to the last that has one, followed by `UNKNOWN`."""
    single = {ord(symbol): number for number, symbol in enumerate(codec.symbols) if len(symbol) == 1}
    table = np.full(max(single, default=0) + 2, UNKNOWN, np.int32)
    for point, number in single.items():
        table[point] = number
    return table


def _build(texts: Iterable[str], settings: VocabularySettings) -> Codec:
    if settings.kind == "byte":
        return ByteCodec()
    if settings.kind == "sentencepiece":
        return build_sentencepiece(
            (piece for line in _lines(texts) for piece in _in_pieces(line)),
            size=settings.size or None,
            exact=False,
            model_type=settings.model_type,
            byte_fallback=settings.byte_fallback,
        ).codec
    reserved = (*CONTROLS, *(BYTES if settings.byte_fallback else ()))
    if settings.kind == "character":
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        first = (TEXT_PADDING, TEXT_UNKNOWN, *reserved)
        vocabulary = Vocabulary.build(counts, reserved=first, min_count=settings.min_count)
        return SymbolCodec(vocabulary, "character", reserved=reserved)
    return build_symbols(
        _lines(texts), "word", size=settings.size, min_count=settings.min_count, reserved=reserved
    ).codec


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from text.split("\n")


def _in_pieces(line: str) -> Iterator[str]:
    """A line split at spaces, since SentencePiece skips very long lines in training."""
    start = 0
    while len(line) - start > LONGEST_PIECE:
        space = line.rfind(" ", start + 1, start + LONGEST_PIECE)
        stop = start + LONGEST_PIECE if space < 0 else space
        yield line[start:stop]
        start = stop
    yield line[start:]


def require_known(symbols: Symbols, text: str, what: str) -> None:
    """Refuse a text with a character or word that has no symbol.

    Args:
        symbols: The symbols of the model.
        text: Text that the model shall read.
        what: What the text is, at the head of the message.

    Raises:
        DataError: a character or word has no symbol; the message names the first.
    """
    missing = symbols.without_symbol(text)
    if missing is None:
        return
    if symbols.codec.kind == "word":
        raise DataError(
            f"{what}: the model has no symbol for the word {missing!r}; use words of its training text, or "
            "train a model that reads any text: --set vocabulary.kind=byte"
        )
    raise DataError(
        f"{what}: the model has no symbol for the character {missing!r}; train a model that reads any text: "
        "--set vocabulary.byte_fallback=true, or --set vocabulary.kind=byte"
    )
