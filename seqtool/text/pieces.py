"""The pieces into which a line is split, and the simplest way to split it: into its UTF-8 bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from seqtool.text.vocabulary import PADDING, UNKNOWN

START = "<s>"
END = "</s>"
CONTROLS = (START, END)  # if a vocabulary has them: never encoded from text, never decoded to text
FORMAT = 1  # version of the vocabulary files

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def byte_of(symbol: str) -> bytes | None:
    """The byte that a symbol such as `<0x0A>` stands for; None if it stands for something else."""
    found = _BYTE.fullmatch(symbol)
    return None if found is None else bytes([int(found[1], 16)])


class Piece(NamedTuple):
    """A symbol at its position in a line."""

    id: int
    symbol: str  # the vocabulary's symbol; for the unknown symbol, the text that was looked up
    surface: str  # the text it covers; of several pieces that share a character, the first covers it


class ByteCodec:
    """Bytes as symbols: nothing is unknown, and byte b has the id 4 + b.

    >>> ByteCodec().encode("aé"), ByteCodec().decode([101, 199, 173])
    ([101, 199, 173], 'aé')
    """

    kind: str = "byte"
    unknown: int = 1
    symbols: tuple[str, ...] = (PADDING, UNKNOWN, *CONTROLS, *(f"<0x{byte:02X}>" for byte in range(256)))

    # The bytes of each id. Text is never encoded to the unknown symbol, but a model may output it.
    _spelled = (b"", UNKNOWN.encode(), b"", b"", *(bytes([byte]) for byte in range(256)))
    _first = 4

    def encode(self, line: str) -> list[int]:
        """The ids of a line."""
        return [byte + self._first for byte in line.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a sequence of ids without padding, start and end; invalid UTF-8 becomes U+FFFD."""
        return b"".join([self._spelled[number] for number in ids]).decode("utf-8", errors="replace")

    def pieces(self, line: str) -> list[Piece]:
        """The bytes of a line; each character is covered by its first byte."""
        result = []
        for character in line:
            surfaces = [character, "", "", ""]
            for byte, surface in zip(character.encode(), surfaces, strict=False):
                number = byte + self._first
                result.append(Piece(number, self.symbols[number], surface))
        return result

    def to_bytes(self) -> bytes:
        """The content of the vocabulary file: a single line of settings, since the symbols are fixed."""
        return (json.dumps({"kind": self.kind, "format": FORMAT}) + "\n").encode()


def surfaces_at_first_byte(surfaces: list[str], spelled: Sequence[int | None]) -> None:
    """Move each character's surface, in place, from the last of the byte pieces that spell it to the first.

    Args:
        surfaces: Text that each piece covers, [N].
        spelled: The byte (0 to 255) that each piece stands for, None for other pieces, [N].
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
    """Number of bytes of the character that begins with the byte `lead` (RFC 3629, section 3)."""
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
