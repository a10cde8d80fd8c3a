"""Annotation beside its text, as brat keeps it: `NAME.txt`, and `NAME.ann` with the places of the entities.

    T1<tab>PER 0 12<tab>Ada Lovelace

Places are characters of the text. An entity of several pieces (`0 3;8 12`) is read from its first to its last
character; relations, events, attributes and notes are not read.

Reference: Stenetorp et al. 2012; the format is described at https://brat.nlplab.org/standoff.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from seqtool.errors import DataError
from seqtool.text.lines import text_of
from seqtool.text.tag_scheme import Span

ANNOTATION, TEXT = ".ann", ".txt"
_ENTITY = re.compile(r"T\d+\t(\S+) (\d+(?: \d+;\d+)* \d+)(?:\t|$)")


def text_beside(annotation: str) -> Path:
    """The file of the text that a file of annotation belongs to.

    Raises:
        DataError: there is none.
    """
    text = Path(annotation).with_suffix(TEXT)
    if not text.is_file():
        raise DataError(f"{annotation}: the text {text} is missing; brat keeps both side by side")
    return text


def standoff_examples(lines: Iterable[str], name: str) -> Iterator[dict[str, Any]]:
    """The lines of the text that an annotation belongs to, with their spans, as objects of our JSON lines.

    Args:
        lines: Lines of the file of annotation.
        name: Its path, which the text lies beside.

    Raises:
        DataError: there is no text beside it, or an entity is not written as brat does it.
    """
    spans = sorted(_entities(lines, name))
    place = 0
    for line in text_of(text_beside(name)).split("\n"):
        end = place + len(line)
        # An entity that goes on in the next line ends with its first one.
        here = [
            {"start": span.start - place, "end": min(span.end, end) - place, "label": span.type}
            for span in spans
            if place <= span.start < end
        ]
        if line.strip():
            yield {"text": line, "spans": here}
        place = end + 1


def _entities(lines: Iterable[str], name: str) -> Iterator[Span]:
    """The entities of lines of annotation, in characters of the whole text."""
    for number, line in enumerate(lines, 1):
        if not line.startswith("T"):
            continue
        found = _ENTITY.match(line)
        if found is None:
            expected = "T1<tab>TYPE START END<tab>text"
            raise DataError(f"{name}:{number}: not an entity of brat; expected {expected}")
        places = found[2].replace(";", " ").split()
        yield Span(int(places[0]), int(places[-1]), found[1])


class StandoffWriter:
    """Writes lines of a text, and the entities in them, one document after the other.

    >>> writer = StandoffWriter()
    >>> writer.add("Ada lives in London.", [Span(0, 3, "PER"), Span(13, 19, "LOC")])
    ('Ada lives in London.\\n', 'T1\\tPER 0 3\\tAda\\nT2\\tLOC 13 19\\tLondon\\n')
    >>> writer.add("Yes, Ada.", [Span(5, 8, "PER")])[1]
    'T3\\tPER 26 29\\tAda\\n'
    """

    def __init__(self) -> None:
        self._place = 0  # characters of the text so far
        self._entities = 0
        self._notes = 0

    def add(
        self, line: str, entities: Iterable[Span], notes: Iterable[str | None] | None = None
    ) -> tuple[str, str]:
        """One more line.

        Args:
            line: The line, without its end.
            entities: Its entities, in characters of the line.
            notes: A note about each entity, or None; None = there are none.

        Returns:
            What to append to the text, and to the annotation.
        """
        written = []
        remarks = iter(notes or ())
        for span in entities:
            self._entities += 1
            start, end = self._place + span.start, self._place + span.end
            written.append(f"T{self._entities}\t{span.type} {start} {end}\t{line[span.start : span.end]}\n")
            note = next(remarks, None)
            if note is not None:
                self._notes += 1
                written.append(f"#{self._notes}\tAnnotatorNotes T{self._entities}\t{note}\n")
        self._place += len(line) + 1
        return f"{line}\n", "".join(written)
