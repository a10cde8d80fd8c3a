"""What a translator is given that training did not have: lines without features, or with unknown symbols."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from seqtool.errors import counted
from seqtool.text.parallel import FEATURES, SentencePair
from seqtool.translation.corpora import Tags
from seqtool.translation.vocabulary import Vocabularies

SHOWN = 5  # features or characters that are listed


class Unseen:
    """Counts sources without features, and those with features or characters that training did not have.

    Args:
        vocabularies: Vocabularies of the translator.
        columns: Columns of its training file.
        tags: Tags of the translator.
    """

    def __init__(self, vocabularies: Vocabularies, columns: Sequence[str], tags: Tags) -> None:
        self._vocabularies, self._tags = vocabularies, tags
        self._expected = [name for name in columns if name in ("source", FEATURES)]
        self._all = self._bare = 0
        self._features: dict[str, int] = {}
        self._characters: dict[str, int] = {}
        self._lines = {FEATURES: 0, "characters": 0}

    def add(self, pairs: Iterable[SentencePair]) -> None:
        """Look at some sources."""
        for pair in pairs:
            if not pair.source.strip():
                continue
            self._all += 1
            self._bare += FEATURES in self._expected and not self._tags.without(pair).features
            for found, kind, seen in (
                (self._vocabularies.unknown_features(pair), FEATURES, self._features),
                (self._vocabularies.unknown_characters(pair.source), "characters", self._characters),
            ):
                self._lines[kind] += bool(found)
                for each in found:
                    seen[each] = seen.get(each, 0) + 1

    def remarks(self) -> Iterator[str]:
        """One line for each thing that occurred."""
        columns = " TAB ".join(name.upper() for name in self._expected)
        if self._bare:
            yield f"{counted(self._bare, 'line')} without features; this model reads {columns}"
        for kind, seen in ((FEATURES, self._features), ("characters", self._characters)):
            if seen:
                often = sorted(seen, key=lambda each: -seen[each])
                listed = " ".join(often[:SHOWN]) + (" ..." if len(often) > SHOWN else "")
                lines = counted(self._lines[kind], "line")
                most = kind == FEATURES and 2 * self._lines[kind] > self._all
                hint = f"; is the order of the columns right ({columns})?" if most else ""
                yield f"{lines} with {kind} that the training part does not have: {listed}{hint}"


def unseen(
    vocabularies: Vocabularies, columns: Sequence[str], pairs: Iterable[SentencePair], tags: Tags
) -> list[str]:
    """The remarks of `Unseen` about some pairs."""
    found = Unseen(vocabularies, columns, tags)
    found.add(pairs)
    return list(found.remarks())
