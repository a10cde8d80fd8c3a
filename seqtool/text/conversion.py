"""Converting annotated sentences from one layout and tag scheme to another, one sentence at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from seqtool.errors import DataError, UsageError, counted
from seqtool.text import tag_scheme
from seqtool.text.annotation import (
    AUTO,
    Columns,
    TagReading,
    has_span_tags,
    open_annotated,
    scheme_named,
    scheme_of,
)
from seqtool.text.columns import (
    DOCUMENT_START,
    ColumnFormat,
    TaggedSentence,
    format_conll,
    format_jsonl,
    read_sentences,
)
from seqtool.text.inline import format_inline
from seqtool.text.json_lines import Remarks
from seqtool.text.tag_scheme import Scheme
from seqtool.text.tool_formats import TOOLS, ToolWriter, marked_text

Target = Literal["conll", "jsonl", "doccano", "label-studio", "brat", "inline"]


@dataclass
class Conversion:
    """The conversion of a file, and what it counts on the way.

    Args:
        source: The input file; `-` is standard input.
        columns: Columns of tokens and tags in the input.
        to: Layout of the output.
        scheme_to: Tag scheme of the output; None leaves the tags as they are.
        from_scheme: Tag scheme of the input; `auto` finds it, which takes two passes and so refuses a pipe.
        repair: Whether to repair (and count) any number of tags that are invalid in the input's scheme.
        strict: Whether to refuse every invalid tag; otherwise a handful is accepted and reported.
    """

    source: str
    columns: Columns
    to: Target
    scheme_to: Scheme | None = None
    from_scheme: str = AUTO
    repair: bool = False
    strict: bool = False
    sentences: int = 0
    joined: int = 0  # spans merged with a neighbour of the same type, which `io` cannot write apart
    warnings: list[str] = field(default_factory=list)  # complete once all texts have been yielded
    _reading: TagReading | None = None
    _tool: ToolWriter | None = None

    def __post_init__(self) -> None:
        if self.to in TOOLS:
            self._tool = ToolWriter(self.to)

    def texts(self) -> Iterator[str]:
        """The output, one sentence at a time; see `pairs`."""
        return (text for text, _ in self.pairs())

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The output, one sentence at a time: what to append to it, and to the text beside it (brat).

        Raises:
            UsageError: a file or column is missing, the scheme must be named, or an option has no effect.
            DataError: the input is invalid, or cannot be written in that layout (with file and line).
        """
        remarks = Remarks()
        if Path(self.source).is_file():
            layout = self.columns.detect(self.source)
            scheme = self._scheme(layout)
            sentences = read_sentences(self.source, layout, remarks)
        else:
            self._require_named_scheme()
            layout, sentences = open_annotated(self.source, self.columns, remarks)
            scheme = None if self.from_scheme == AUTO else scheme_named(self.from_scheme)
        self._refuse_unread(layout)
        self._reading = None if scheme is None else TagReading(scheme, self.repair, self.strict)
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
        yield "" if self._tool is None else self._tool.end(), ""
        self._conclude(remarks, layout)

    def _conclude(self, remarks: Remarks, layout: ColumnFormat) -> None:
        """Gather the warnings; raise an error if too many tags are invalid."""
        self.warnings += remarks.lines(self.source, layout.reading.misaligned)
        said = None if self._reading is None else self._reading.finish()
        self.warnings += [] if said is None or self.repair else [said]
        if self.joined:
            self.warnings.append(
                f"{counted(self.joined, 'span')} merged in io with a span of the same type that it touches"
            )

    @property
    def repaired(self) -> int:
        """Number of tags that were repaired on request."""
        return self._reading.invalid if self._reading is not None and self.repair else 0

    @property
    def _needs_scheme(self) -> bool:
        return self.scheme_to is not None or self.repair or self.to == "inline" or self.to in TOOLS

    def _refuse_unread(self, layout: ColumnFormat) -> None:
        """Refuse options for JSON where the input has columns."""
        reading = self.columns.reading
        if layout.kind in ("conll", "conllu") and (reading.tag_names or reading.misaligned != "align"):
            option = "--tag-names" if reading.tag_names else f"--misaligned {reading.misaligned}"
            raise UsageError(f"{option} is for JSON, and {self.source} has columns; leave it out")

    def _require_named_scheme(self) -> None:
        if self._needs_scheme and self.from_scheme == AUTO:
            raise UsageError(
                f"{self.source}: the tag scheme of a pipe cannot be detected; name it with --from-scheme"
            )

    def _scheme(self, layout: ColumnFormat) -> Scheme | None:
        """The scheme of the file; if it is not named, the file is read once to find it."""
        if self.from_scheme != AUTO:
            return scheme_named(self.from_scheme)
        if not self._needs_scheme:
            return None
        if not has_span_tags(s.tags or () for s in read_sentences(self.source, layout)):
            if self.scheme_to is not None or self.repair:
                raise DataError(f"{self.source}: its tags mark no spans; leave out --scheme-to and --repair")
            return None

        tagged = [(sentence, layout) for sentence in read_sentences(self.source, layout) if sentence.tags]
        return scheme_of(tagged, repair=self.repair, strict=self.strict)

    def _converted(
        self, sentence: TaggedSentence, layout: ColumnFormat, scheme: Scheme | None
    ) -> TaggedSentence:
        if scheme is None or sentence.tags is None:
            return sentence
        assert self._reading is not None
        sentence = self._reading(sentence, layout)
        if self.scheme_to is None:
            return sentence
        convert = tag_scheme.convert
        if any(map(tag_scheme.is_partial, sentence.tags or ())):
            convert = tag_scheme.convert_partial
        tags = tuple(convert(sentence.tags or (), scheme, self.scheme_to))
        if self.scheme_to == "io" and convert is tag_scheme.convert:
            before = tag_scheme.spans(sentence.tags or (), scheme)
            self.joined += len(before) - len(tag_scheme.spans(tags, "io"))
        return replace(sentence, tags=tags)

    def _format(self, sentence: TaggedSentence, scheme: Scheme | None) -> tuple[str, str]:
        if self._tool is None:
            return self._formatted(sentence, scheme), ""
        scheme = self.scheme_to or scheme
        if scheme is None or sentence.tags is None:
            raise DataError(f"its tags mark no spans, which {self.to} shows; write conll or jsonl")
        spans = tag_scheme.spans(sentence.tags, scheme)
        return self._tool.add(marked_text(sentence.tokens, spans))

    def _formatted(self, sentence: TaggedSentence, scheme: Scheme | None) -> str:
        if self.to == "jsonl":
            features = {"features": list(map(list, sentence.features))}
            return format_jsonl(sentence.tokens, sentence.tags, features if sentence.features else None)
        if self.to == "inline":
            if sentence.tags is None:
                raise DataError("no tags; the inline layout shows tags")
            return format_inline(sentence.tokens, sentence.tags, self.scheme_to or scheme)
        # Readers take the last column for the tags, so the features come before it.
        tags = () if sentence.tags is None else (sentence.tags,)
        mark = f"{DOCUMENT_START}\n\n" if sentence.opens else ""
        return mark + format_conll(sentence.tokens, None, *sentence.features, *tags)
