"""Vocabularies: symbols and their ids, built from the training part only and stored with the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from seqtool.errors import ModelError

PADDING = "<pad>"
UNKNOWN = "<unk>"


class Vocabulary:
    """An immutable list of symbols; the position of a symbol is its id.

    Args:
        symbols: Distinct symbols, in the order of their ids.

    >>> words = Vocabulary([UNKNOWN, "a", "b"])
    >>> words.id("b"), words.id("never seen"), words.symbol(1)
    (2, 0, 'a')
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = tuple(symbols)
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols)}
        if len(self._ids) != len(self.symbols):
            raise ValueError("a vocabulary contains a symbol twice")
        self.unknown = self._ids.get(UNKNOWN)

    @classmethod
    def build(
        cls, counts: Mapping[str, int], *, reserved: tuple[str, ...], min_count: int = 1, limit: int = 0
    ) -> Vocabulary:
        """Reserved symbols, then the counted ones, most frequent first (ties in code-point order).

        Args:
            counts: Frequency of each symbol in the training part.
            reserved: Symbols that come first, whatever their counts.
            min_count: Smallest frequency; rarer symbols are left out.
            limit: Largest number of symbols, including the reserved ones, which always stay; 0 = no limit.
        """
        kept = [symbol for symbol, count in counts.items() if count >= min_count and symbol not in reserved]
        kept.sort(key=lambda symbol: (-counts[symbol], symbol))
        if limit:
            kept = kept[: max(limit - len(reserved), 0)]
        return cls([*reserved, *kept])

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def id(self, symbol: str) -> int:
        """Id of a symbol, or that of the unknown symbol if the vocabulary does not contain it.

        Raises:
            KeyError: the vocabulary contains neither the symbol nor an unknown symbol.
        """
        number = self._ids.get(symbol, self.unknown)
        if number is None:
            raise KeyError(symbol)
        return number

    def ids(self, symbols: Iterable[str]) -> list[int]:
        """The id of each symbol, as `id` (with its errors)."""
        if self.unknown is None:
            return [self.id(symbol) for symbol in symbols]
        find, unknown = self._ids.get, self.unknown
        return [find(symbol, unknown) for symbol in symbols]

    def symbol(self, number: int) -> str:
        """The symbol with an id."""
        return self.symbols[number]

    @property
    def digest(self) -> str:
        """SHA-256 of the serialised vocabulary, hexadecimal."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    def to_text(self) -> str:
        """One JSON string per line, so that symbols with any characters survive."""
        return "".join(json.dumps(symbol, ensure_ascii=False) + "\n" for symbol in self.symbols)

    @classmethod
    def from_text(cls, text: str, name: str) -> Vocabulary:
        """The inverse of `to_text`.

        Args:
            text: The text.
            name: Name of its file for messages.

        Raises:
            ModelError: a line is not a JSON string, or a symbol occurs twice.
        """
        try:
            symbols: list[Any] = [json.loads(line) for line in text.split("\n") if line]
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{name}: not a vocabulary file: {error}") from error
        if not all(isinstance(symbol, str) for symbol in symbols) or len(set(symbols)) != len(symbols):
            raise ModelError(f"{name}: not a vocabulary file: expected distinct JSON strings, one per line")
        return cls(symbols)
