"""Files of predicted tags beside the annotated file that they are for, in any layout that `tag` writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from seqtool.errors import DataError
from seqtool.tagging.data import Part, harmonise
from seqtool.tagging.settings import DataSettings
from seqtool.text.columns import ColumnFormat, TaggedSentence, detect_format, read_sentences
from seqtool.text.lines import lines_of

_NUMBER = re.compile(r"[0-9]*\.[0-9]+")
_ESCAPED = re.compile(r"\\(.)")
_SLASH = re.compile(r"(?<!\\)(?:\\\\)*/")  # one that is not escaped


class PredictedTags(NamedTuple):
    """The tags of a file of predictions, one row per sentence, in the scheme that gold tags have."""

    tags: list[list[str]]
    warnings: tuple[str, ...]


def read_predictions(path: Path, gold: Part, *, spans: bool) -> PredictedTags:
    """Predicted tags for the sentences of an annotated file.

    Args:
        path: Columns with the tag in the second (or where the annotated file has it), JSON lines, or the
            inline form.
        gold: The annotated sentences.
        spans: Whether tags mark spans; invalid ones are then read as conlleval reads them, and counted.

    Raises:
        UsageError: there is no such file.
        DataError: with file and line: it has no tags, or its tokens are not those of the annotated file.
    """
    layout = _layout(path, gold)
    found = _inline(path, spans) if layout is None else read_sentences(path, layout)
    sentences = []
    for expected, predicted in zip_longest(gold.sentences, found):
        _require_same(path, expected, predicted)
        sentences.append(predicted)
    part = Part("predictions", tuple(sentences), str(path), "", "", layout or ColumnFormat("jsonl"))
    data = harmonise({"predictions": part}, DataSettings(repair=True), spans=spans)
    rows = [list(sentence.tags or ()) for sentence in data.parts["predictions"].sentences]
    return PredictedTags(rows, tuple(f"{path}: {warning}" for warning in data.warnings))


def _layout(path: Path, gold: Part) -> ColumnFormat | None:
    """How the file is laid out; None = the inline form."""
    with closing(lines_of(path)) as lines:
        first = next((line for line in lines if line.strip()), "")
    for spans in (True, False):
        if [word for word, _ in _inline_words(first, spans)] == list(gold.sentences[0].tokens):
            return None
    layout = detect_format(path)
    if layout.kind == "jsonl":
        return layout
    if layout.columns < 2:
        raise DataError(f"{path}: no tags in it; expected what `seqtool tag` writes")
    return replace(layout, token=_place(gold.columns.token, layout), tag=_tag_column(path, layout, gold))


def _place(token: int, layout: ColumnFormat) -> int:
    return layout.token if layout.kind == "conllu" or not 1 <= token <= layout.columns else 1


def _tag_column(path: Path, layout: ColumnFormat, gold: Part) -> int:
    """The second, where `tag` writes it; in a file laid out as the annotated one, the same as there."""
    own = gold.columns
    if own.tag is None or own.columns != layout.columns or layout.columns == 2:
        return 4 if layout.kind == "conllu" else 2
    last = replace(layout, tag=layout.columns)
    column = next(read_sentences(path, last)).tags or ()
    return 2 if all(map(_NUMBER.fullmatch, column)) else own.tag


def _inline(path: Path, spans: bool) -> Iterator[TaggedSentence]:
    with closing(lines_of(path)) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                words = list(_inline_words(line, spans))
                tokens, tags = (tuple(column) for column in zip(*words, strict=True))
                yield TaggedSentence(tokens, tags, source=str(path), line=number)


def _inline_words(line: str, spans: bool) -> Iterator[tuple[str, str]]:
    """Tokens and tags of a line as `format_inline` writes it; entities in IOB2."""
    if not spans:
        for word in line.split(" "):
            slash = _SLASH.search(word)
            end = len(word) if slash is None else slash.end() - 1
            yield _ESCAPED.sub(r"\1", word[:end]), word[end + 1 :]
        return
    kind, begins = None, False
    for word in line.split(" "):
        if kind is None and word.startswith("["):
            kind, begins = word[1:], True
            continue
        closes = kind is not None and bool(re.search(r"(?<!\\)(?:\\\\)*\]$", word))
        tag = "O" if kind is None else f"{'B' if begins else 'I'}-{kind}".removesuffix("-")
        yield _ESCAPED.sub(r"\1", word[:-1] if closes else word), tag
        kind, begins = (None if closes else kind), False


def _require_same(path: Path, gold: TaggedSentence | None, predicted: TaggedSentence | None) -> None:
    advice = "predict the very file that is scored, as in `seqtool tag GOLD --input-format conll`"
    if predicted is None:
        assert gold is not None
        raise DataError(f"{path}: ends before the sentence of {gold.source}:{gold.line}; {advice}")
    place = f"{predicted.source}:{predicted.line}"
    if gold is None:
        raise DataError(f"{place}: a sentence more than the annotated file has; {advice}")
    if predicted.tags is None:
        raise DataError(f"{place}: no tags; expected what `seqtool tag` writes")
    if gold.tokens != predicted.tokens:
        number, own, other = _first_difference(predicted.tokens, gold.tokens)
        raise DataError(
            f"{place}: token {number} is {own!r}, and {other!r} in {gold.source}:{gold.line}; {advice}"
        )


def _first_difference(own: Sequence[str], gold: Sequence[str]) -> tuple[int, str, str]:
    pairs = enumerate(zip_longest(own, gold, fillvalue=""), 1)
    return next((number, a, b) for number, (a, b) in pairs if a != b)
