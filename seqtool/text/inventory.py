"""Finding vocabularies by name or path: bundled lists, files of `vocab build`, files of model folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from seqtool.bundled import vocab_path, vocabulary_names
from seqtool.errors import ModelError, UsageError, nearest
from seqtool.files import digest
from seqtool.text.codec import read_codec
from seqtool.text.lines import lines_of
from seqtool.text.vocabulary import Vocabulary


class NamedVocabulary(NamedTuple):
    """A vocabulary with its name."""

    name: str
    kind: str  # word, character, byte, sentencepiece, list (bundled), model (of a model folder)
    symbols: tuple[str, ...]
    digest: str  # SHA-256 of the file

    def as_dict(self, top: int) -> dict[str, Any]:
        """The vocabulary as JSON values, with only its first `top` symbols."""
        return {
            "name": self.name,
            "kind": self.kind,
            "size": len(self.symbols),
            "sha256": self.digest,
            "symbols": list(self.symbols[:top]),
        }


def bundled_vocabularies() -> list[NamedVocabulary]:
    """All bundled vocabularies, sorted by name.

    Raises:
        UsageError, StorageError: the installation is damaged.
    """
    return [_bundled(name) for name in vocabulary_names()]


def read_vocabulary(name: str) -> NamedVocabulary:
    """A bundled vocabulary, or that in a file.

    Args:
        name: Name of a bundled vocabulary (`tags/upos.txt`, `tags/upos` or `upos`), or path of a file.

    Raises:
        UsageError: neither of the two exists.
        ModelError: the file is not a vocabulary.
        StorageError: the file cannot be read.
    """
    path = Path(name)
    if path.is_file():
        return _file(path)
    short = {alias: full for full in vocabulary_names() for alias in _aliases(full)}
    if name not in short:
        raise UsageError(
            f"{name}: no bundled vocabulary, file or model of that name{nearest(name, short)}; "
            "`seqtool vocab show` lists what is bundled"
        )
    return _bundled(short[name])


def _aliases(full: str) -> tuple[str, ...]:
    path = Path(full)
    return full, path.with_suffix("").as_posix(), path.stem


def _bundled(name: str) -> NamedVocabulary:
    path = vocab_path(name)
    if path.suffix != ".txt":
        return _file(path)._replace(name=name)
    return NamedVocabulary(name, "list", tuple(lines_of(path)), digest(path))


def _file(path: Path) -> NamedVocabulary:
    try:
        codec = read_codec(path)
        return NamedVocabulary(str(path), codec.kind, codec.symbols, digest(path))
    except ModelError:
        # A vocabulary file inside a model folder has no line of settings, only symbols.
        with path.open("rb") as file:
            if file.read(1) != b'"':
                raise
    text = "\n".join(lines_of(path))
    return NamedVocabulary(str(path), "model", Vocabulary.from_text(text, str(path)).symbols, digest(path))
