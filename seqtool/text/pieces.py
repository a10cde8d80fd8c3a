"""What a line is split into, and the simplest splitting of all: into the bytes of its UTF-8."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from seqtool.text.vocabulary import PADDING, UNKNOWN

START = "<s>"
END = "</s>"
CONTROLS = (START, END)  # where a vocabulary has them: never read from text, never written as text
FORMAT = 1  # of the files of vocabularies


class Piece(NamedTuple):
    """A symbol in its place in a line."""

    id: int
    symbol: str  # of the vocabulary; for an unknown one the text that was looked up
    surface: str  # what it covers in the line, as spelled there; empty for all but the first of a character


class ByteCodec:
    """Bytes as symbols: nothing is unknown, and id 4 + b is byte b.

    >>> ByteCodec().encode("aé"), ByteCodec().decode([101, 199, 173])
    ([101, 199, 173], 'aé')
    """

    kind: str = "byte"
    unknown: int = 1
    symbols: tuple[str, ...] = (PADDING, UNKNOWN, *CONTROLS, *(f"<0x{byte:02X}>" for byte in range(256)))

    # The text of each id: an unknown symbol never comes from text, but a model may give one.
    _spelled = (b"", UNKNOWN.encode(), b"", b"", *(bytes([byte]) for byte in range(256)))
    _first = 4

    def encode(self, line: str) -> list[int]:
        """The ids of a line."""
        return [byte + self._first for byte in line.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids; padding, start and end are left out, what is not UTF-8 becomes U+FFFD."""
        return b"".join([self._spelled[number] for number in ids]).decode("utf-8", errors="replace")

    def pieces(self, line: str) -> list[Piece]:
        """The bytes of a line; a character stands at its first byte."""
        result = []
        for character in line:
            surfaces = [character, "", "", ""]
            for byte, surface in zip(character.encode(), surfaces, strict=False):
                number = byte + self._first
                result.append(Piece(number, self.symbols[number], surface))
        return result

    def to_bytes(self) -> bytes:
        """A line that says that these are bytes: all else is fixed."""
        return (json.dumps({"kind": self.kind, "format": FORMAT}) + "\n").encode()


def surfaces_at_first_byte(surfaces: list[str], spelled: Sequence[int | None]) -> None:
    """Move what each character covers from the last of the bytes that spell it to the first, in place.

    Args:
        surfaces: What each piece covers.
        spelled: The byte (0 to 255) that a piece stands for, None for other pieces.
    """
    position = 0
    while position < len(spelled):
        lead = spelled[position]
        length = 1 if lead is None else _utf8_length(lead)
        if length > 1:
            covered = surfaces[position : position + length]
            surfaces[position : position + length] = ["".join(covered), *[""] * (len(covered) - 1)]
        position += length


def _utf8_length(lead: int) -> int:
    """Bytes of the character that begins with this one (RFC 3629, section 3)."""
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
