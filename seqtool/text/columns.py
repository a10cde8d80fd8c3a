"""CoNLL columns, CoNLL-U and JSONL to sentences with tags."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """Tokens of one sentence with what stands beside them in the file.

    `tags` is None for text without annotation. A tag may be partial: `?` (anything) or
    alternatives joined by `|` (`B-PER|B-ORG`). `features` has one tuple a declared extra
    column, each as long as `tokens`. `line` is the line of the first token, 1-based.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    features: tuple[tuple[str, ...], ...] = ()
    source: str = ""
    line: int = 0
