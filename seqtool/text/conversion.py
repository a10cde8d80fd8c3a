"""Annotated sentences from one layout and tag scheme to another, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from seqtool.errors import DataError, UsageError
from seqtool.text import tag_scheme
from seqtool.text.annotation import (
    AUTO,
    Columns,
    checked_tags,
    has_span_tags,
    open_annotated,
    place,
    scheme_named,
)
from seqtool.text.columns import (
    DOCUMENT_START,
    ColumnFormat,
    TaggedSentence,
    format_conll,
    format_inline,
    format_jsonl,
    read_sentences,
)
from seqtool.text.tag_scheme import Scheme

Target = Literal["conll", "jsonl", "inline"]


@dataclass
class Conversion:
    """Sentences being converted, and what was counted on the way.

    Args:
        source: A file; `-` is standard input.
        columns: Where tokens and tags stand in it.
        to: Layout of the output.
        scheme_to: Scheme of the output's tags; None leaves them as they are.
        from_scheme: Scheme of the input's tags; `auto` reads a file twice, and cannot read a pipe.
        repair: Whether to repair (and count) tags that are invalid in the scheme of the input.
    """

    source: str
    columns: Columns
    to: Target
    scheme_to: Scheme | None = None
    from_scheme: str = AUTO
    repair: bool = False
    sentences: int = 0
    repaired: int = 0

    def texts(self) -> Iterator[str]:
        """The output, a sentence at a time.

        Raises:
            UsageError: a missing file or column, or a scheme that must be named.
            DataError: with file and line: the input is not what it should be, or cannot be written so.
        """
        if Path(self.source).is_file():
            layout = self.columns.detect(self.source)
            scheme = self._scheme(layout)
            sentences = read_sentences(self.source, layout)
        else:
            self._require_named_scheme()
            layout, sentences = open_annotated(self.source, self.columns)
            scheme = None if self.from_scheme == AUTO else scheme_named(self.from_scheme)
        for sentence in sentences:
            self.sentences += 1
            try:
                yield self._format(self._converted(sentence, layout, scheme), scheme)
            except DataError as error:
                if str(error).startswith(f"{sentence.source}:"):
                    raise
                raise DataError(f"{sentence.source}:{sentence.line}: {error}") from error
        if not self.sentences:
            raise DataError(f"{self.source}: no sentences; expected at least one")

    @property
    def _needs_scheme(self) -> bool:
        return self.scheme_to is not None or self.repair or self.to == "inline"

    def _require_named_scheme(self) -> None:
        if self._needs_scheme and self.from_scheme == AUTO:
            raise UsageError(
                f"{self.source}: the tag scheme of a pipe cannot be detected; name it with --from-scheme"
            )

    def _scheme(self, layout: ColumnFormat) -> Scheme | None:
        """The scheme of a file, read once for it where it is not named."""
        if self.from_scheme != AUTO:
            return scheme_named(self.from_scheme)
        if not self._needs_scheme:
            return None
        if not has_span_tags(s.tags or () for s in read_sentences(self.source, layout)):
            if self.scheme_to is not None or self.repair:
                raise DataError(f"{self.source}: its tags mark no spans; leave out --scheme-to and --repair")
            return None

        def where(number: int, position: int) -> str:
            sentence = next(islice(read_sentences(self.source, layout), number, None))
            return place(sentence, layout, position)

        sequences = (s.tags or () for s in read_sentences(self.source, layout))
        if self.repair:
            return tag_scheme.closest_scheme(sequences)
        return tag_scheme.detect_scheme(sequences, where)

    def _converted(
        self, sentence: TaggedSentence, layout: ColumnFormat, scheme: Scheme | None
    ) -> TaggedSentence:
        if scheme is None or sentence.tags is None:
            return sentence
        sentence, changed = checked_tags(sentence, layout, scheme, self.repair)
        self.repaired += changed
        if self.scheme_to is None:
            return sentence
        convert = tag_scheme.convert
        if any(map(tag_scheme.is_partial, sentence.tags or ())):
            convert = tag_scheme.convert_partial
        return replace(sentence, tags=tuple(convert(sentence.tags or (), scheme, self.scheme_to)))

    def _format(self, sentence: TaggedSentence, scheme: Scheme | None) -> str:
        if self.to == "jsonl":
            features = {"features": list(map(list, sentence.features))}
            return format_jsonl(sentence.tokens, sentence.tags, features if sentence.features else None)
        if self.to == "inline":
            if sentence.tags is None:
                raise DataError("no tags; the inline layout shows tags")
            return format_inline(sentence.tokens, sentence.tags, self.scheme_to or scheme)
        # Readers take the last column for the tags, so features stand between.
        tags = () if sentence.tags is None else (sentence.tags,)
        mark = f"{DOCUMENT_START}\n\n" if sentence.opens else ""
        return mark + format_conll(sentence.tokens, None, *sentence.features, *tags)
