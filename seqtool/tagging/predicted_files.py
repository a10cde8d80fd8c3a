"""Reading files of predicted tags, in any format that `seqtool tag` writes, for their evaluation."""

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
from seqtool.text.inline import inline_words
from seqtool.text.lines import lines_of

_NUMBER = re.compile(r"[0-9]*\.[0-9]+")


class PredictedTags(NamedTuple):
    """The tags of a file of predictions.

    Args:
        tags: Tags of each sentence, in the scheme of the gold tags.
        warnings: Remarks on the file, one line each.
    """

    tags: list[list[str]]
    warnings: tuple[str, ...]


def read_predictions(path: Path, gold: Part, *, spans: bool) -> PredictedTags:
    """Read the predicted tags for the sentences of an annotated file.

    Args:
        path: File of predictions: columns, with the tag in the second or where the annotated file has it;
            JSON lines; or the inline format.
        gold: The annotated sentences.
        spans: Whether tags mark spans; if so, invalid tags are read as conlleval reads them and counted.

    Raises:
        UsageError: there is no such file.
        DataError: the file has no tags, or other tokens than the annotated file; with file and line.
    """
    layout = _layout(path, gold)
    found = _inline(path, gold, spans) if layout is None else read_sentences(path, layout)
    sentences = []
    for expected, predicted in zip_longest(gold.sentences, found):
        _require_same(path, expected, predicted)
        sentences.append(predicted)
    part = Part("predictions", tuple(sentences), str(path), "", "", layout or ColumnFormat("jsonl"))
    data = harmonise({"predictions": part}, DataSettings(repair=True), spans=spans)
    rows = [list(sentence.tags or ()) for sentence in data.parts["predictions"].sentences]
    return PredictedTags(rows, tuple(f"{path}: {warning}" for warning in data.warnings))


def _layout(path: Path, gold: Part) -> ColumnFormat | None:
    """Columns or JSON lines of the file; None = the inline format."""
    with closing(lines_of(path)) as lines:
        first = next((line for line in lines if line.strip()), "")
    for spans in (True, False):
        if [word for word, _ in inline_words(first, spans, ())] == list(gold.sentences[0].tokens):
            return None
    layout = detect_format(path)
    if layout.kind == "jsonl":
        return layout
    if layout.columns < 2:
        raise DataError(f"{path}: contains no tags; expected the output of `seqtool tag`")
    return replace(layout, token=_place(gold.columns.token, layout), tag=_tag_column(path, layout, gold))


def _place(token: int, layout: ColumnFormat) -> int:
    return layout.token if layout.kind == "conllu" or not 1 <= token <= layout.columns else 1


def _tag_column(path: Path, layout: ColumnFormat, gold: Part) -> int:
    """Column of the tag: that of the annotated file if both have the same columns, otherwise the second."""
    own = gold.columns
    if own.tag is None or own.columns != layout.columns or layout.columns == 2:
        return 4 if layout.kind == "conllu" else 2
    last = replace(layout, tag=layout.columns)
    column = next(read_sentences(path, last)).tags or ()
    return 2 if all(map(_NUMBER.fullmatch, column)) else own.tag


def _inline(path: Path, gold: Part, spans: bool) -> Iterator[TaggedSentence]:
    known = {tag for sentence in gold.sentences for tag in sentence.tags or ()}
    names = {tag.split("-", 1)[-1] for tag in known} if spans else known
    with closing(lines_of(path)) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                words = list(inline_words(line, spans, names))
                tokens, tags = (tuple(column) for column in zip(*words, strict=True))
                yield TaggedSentence(tokens, tags, source=str(path), line=number)


def _require_same(path: Path, gold: TaggedSentence | None, predicted: TaggedSentence | None) -> None:
    advice = "tag the same file that is scored, as in `seqtool tag GOLD --input-format conll`"
    if predicted is None:
        assert gold is not None
        raise DataError(f"{path}: ends before the sentence of {gold.source}:{gold.line}; {advice}")
    place = f"{predicted.source}:{predicted.line}"
    if gold is None:
        raise DataError(f"{place}: a sentence that the annotated file does not have; {advice}")
    if predicted.tags is None:
        raise DataError(f"{place}: no tags; expected the output of `seqtool tag`")
    if gold.tokens != predicted.tokens:
        number, own, other = _first_difference(predicted.tokens, gold.tokens)
        raise DataError(
            f"{place}: token {number} is {own!r}, but {other!r} in {gold.source}:{gold.line}; {advice}"
        )


def _first_difference(own: Sequence[str], gold: Sequence[str]) -> tuple[int, str, str]:
    pairs = enumerate(zip_longest(own, gold, fillvalue=""), 1)
    return next((number, a, b) for number, (a, b) in pairs if a != b)
