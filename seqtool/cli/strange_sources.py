"""What a translator was never shown in the lines of `seqtool translate`: counted, said once at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from seqtool.errors import counted
from seqtool.text.parallel import FEATURES

if TYPE_CHECKING:
    from seqtool.text.parallel import SentencePair
    from seqtool.translation.prediction import TranslatorModel

SHOWN = 5  # features or characters that are listed


class StrangeSources:
    """Counts lines without features, and those with features or characters that training did not have.

    Args:
        model: The translator.
    """

    def __init__(self, model: TranslatorModel) -> None:
        self._vocabularies = model.vocabularies
        columns = model.description.data.columns
        self._expected = [name for name in columns if name in ("source", FEATURES)]
        self._bare = 0
        self._features: dict[str, int] = {}
        self._characters: dict[str, int] = {}
        self._lines = {FEATURES: 0, "characters": 0}

    def add(self, pairs: Iterable[SentencePair]) -> None:
        """Look at some sources."""
        for pair in pairs:
            if not pair.source.strip():
                continue
            self._bare += FEATURES in self._expected and not pair.features
            for found, kind, seen in (
                (self._vocabularies.unknown_features(pair), FEATURES, self._features),
                (self._vocabularies.unknown_characters(pair.source), "characters", self._characters),
            ):
                self._lines[kind] += bool(found)
                for each in found:
                    seen[each] = seen.get(each, 0) + 1

    def remarks(self) -> Iterator[str]:
        """One line for each thing that occurred."""
        if self._bare:
            columns = " TAB ".join(name.upper() for name in self._expected)
            yield f"{counted(self._bare, 'line')} without features; this model reads {columns}"
        for kind, seen in ((FEATURES, self._features), ("characters", self._characters)):
            if seen:
                often = sorted(seen, key=lambda each: -seen[each])
                listed = " ".join(often[:SHOWN]) + (" ..." if len(often) > SHOWN else "")
                lines = counted(self._lines[kind], "line")
                yield f"{lines} with {kind} that the training part does not have: {listed}"
