"""Output of `seqtool tag`: columns, JSON, text with inline marks, or the formats of annotation tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from seqtool.errors import DataError, UsageError
from seqtool.text.columns import format_conll
from seqtool.text.inline import format_inline
from seqtool.text.tagging_input import is_word
from seqtool.text.tool_formats import OWN_KEYS, TOOLS, ToolWriter, marked_text

if TYPE_CHECKING:
    from seqtool.tagging.decoding import Prediction
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.text.tagging_input import TaggingInput

FORM, UNIVERSAL_TAG, LANGUAGE_TAG, MISCELLANEOUS = 2, 4, 5, 10  # columns of CoNLL-U

Writer = Callable[["TaggingInput", "Prediction"], str]
OutputFormat = Literal["conll", "jsonl", "doccano", "label-studio", "brat", "inline"]
FORMAT_HELP = (
    "Output format. conll keeps comments and all columns of CoNLL-U; jsonl keeps the other keys of JSON "
    "objects; doccano, label-studio and brat (a pair of files, -o NAME.ann) are for these annotation tools; "
    "inline marks entities in the text."
)


class Output:
    """Formats tagged sentences, one after the other.

    Args:
        form: Output format.
        tagger: Model that makes the predictions.
        confidence: Whether to write probabilities.
        kbest: Number of alternative taggings to write.

    Raises:
        UsageError: the format marks spans, and the model has none.
    """

    def __init__(self, form: OutputFormat, tagger: TaggerModel, *, confidence: bool, kbest: int = 0) -> None:
        self._tool: ToolWriter | None = None
        if form in TOOLS:
            if tagger.scheme is None:
                raise UsageError(
                    f"--format {form} marks entities, and the model tags single tokens; use --format conll"
                )
            self._tool = ToolWriter(form, tagger.description.name)
        else:
            self._write = writer(form, tagger, confidence=confidence, kbest=kbest)

    def add(
        self, item: TaggingInput, prediction: Prediction, facts: Mapping[str, Any] | None = None
    ) -> tuple[str, str]:
        """One more sentence.

        Args:
            item: The sentence.
            prediction: Its tags.
            facts: Further facts about it, for the tools that keep them.

        Returns:
            What to append to the output, and to the file of the text beside it (brat).
        """
        if self._tool is None:
            return self._write(item, prediction), ""
        kept = {key: each for key, each in (item.keys or {}).items() if key not in OWN_KEYS}
        marked = marked_text(
            item.sentence.tokens,
            prediction.spans,
            text=item.text,
            offsets=item.offsets,
            confidence=prediction.span_confidence,
            facts={**kept, **(facts or {})},
        )
        return self._tool.add(marked)

    def end(self) -> str:
        """What to append to the output after the last sentence."""
        return "" if self._tool is None else self._tool.end()


def writer(form: str, tagger: TaggerModel, *, confidence: bool, kbest: int) -> Writer:
    """A function that formats a tagged sentence.

    Args:
        form: Output format: conll, jsonl or inline.
        tagger: Model that made the predictions.
        confidence: Whether to write probabilities.
        kbest: Number of alternative taggings to write.
    """
    has_spans = tagger.scheme is not None
    if form == "inline":

        def inline(item: TaggingInput, prediction: Prediction) -> str:
            found = prediction.span_confidence if has_spans else prediction.token_confidence
            try:
                return format_inline(item.sentence.tokens, prediction.tags, tagger.scheme, found)
            except DataError as error:
                raise DataError(f"{item.sentence.source}:{item.sentence.line}: {error}") from error

        return inline
    if form == "jsonl":
        return lambda item, prediction: json_line(item, prediction, has_spans, confidence)
    column = None if has_spans else _tag_column(tagger)
    return lambda item, prediction: column_lines(item, prediction, confidence, kbest, column)


def _tag_column(tagger: TaggerModel) -> int:
    """The column of CoNLL-U for tags of single tokens: XPOS if the tagger learned from it, otherwise UPOS.

    Other columns of the training files mean nothing in CoNLL-U, and their numbers would overwrite words.
    """
    data = tagger.description.data
    of_language = data.tag_column == LANGUAGE_TAG and data.token_column in (None, FORM)
    return LANGUAGE_TAG if of_language else UNIVERSAL_TAG


def column_lines(
    item: TaggingInput, prediction: Prediction, confidence: bool, kbest: int, tag_column: int | None
) -> str:
    """A sentence as columns: token, tag, confidence, k best taggings; comments before, a blank line after.

    A sentence of CoNLL-U keeps its columns. If a short sentence has fewer than k taggings, `_` fills the
    remaining columns.
    """
    sentence = item.sentence
    columns: list[tuple[str, list[str]]] = []
    if confidence:
        columns.append(("confidence", [f"{value:.4f}" for value in prediction.token_confidence or ()]))
    if kbest:
        found = [tags for tags, _ in prediction.alternatives or ()]
        found += [["_"] * len(sentence.tokens)] * (kbest - len(found))
        columns += [(f"best{rank}", tags) for rank, tags in enumerate(found, 1)]
    comments = "".join(f"{line}\n" for line in item.comments)
    if item.rows:
        return comments + _universal_lines(item, prediction.tags, columns, tag_column)
    try:
        return comments + format_conll(sentence.tokens, prediction.tags, *(cells for _, cells in columns))
    except DataError as error:
        raise DataError(f"{sentence.source}:{sentence.line}: {error}") from error


def _universal_lines(
    item: TaggingInput, tags: list[str], columns: list[tuple[str, list[str]]], tag_column: int | None
) -> str:
    """A sentence of CoNLL-U with the tags in their column, or (None) added to MISC as `ner=TAG`."""
    word = 0
    lines = []
    for row in item.rows:
        cells = row.split("\t")
        if is_word(row):
            facts = [f"{name}={values[word]}" for name, values in columns]
            if tag_column is None:
                facts.insert(0, f"ner={tags[word]}")
            else:
                cells[tag_column - 1] = tags[word]
            known = [] if cells[MISCELLANEOUS - 1] == "_" else [cells[MISCELLANEOUS - 1]]
            cells[MISCELLANEOUS - 1] = "|".join([*known, *facts]) or "_"
            word += 1
        lines.append("\t".join(cells))
    return "".join(f"{line}\n" for line in [*lines, ""])


def json_line(item: TaggingInput, prediction: Prediction, spans: bool, confidence: bool) -> str:
    """A sentence as a JSON object: the keys of the input, then tokens, tags, entities and confidences."""
    value: dict[str, object] = {} if item.text is None else {"text": item.text}
    value = dict(item.keys) if item.keys is not None else value
    if item.comments:
        value["comments"] = list(item.comments)
    if item.rows:
        value["ids"] = item.ids
    value |= {"tokens": list(item.sentence.tokens), "tags": prediction.tags}
    if spans:
        value["entities"] = [_entity(item, prediction, number) for number in range(len(prediction.spans))]
    if confidence:
        value["confidence"] = [round(x, 6) for x in prediction.token_confidence or ()]
    if prediction.alternatives is not None:
        value["alternatives"] = [
            {"tags": tags, "probability": round(weight, 6)} for tags, weight in prediction.alternatives
        ]
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _entity(item: TaggingInput, prediction: Prediction, number: int) -> dict[str, object]:
    """An entity; if the text is known, with the characters that it covers."""
    span = prediction.spans[number]
    entity: dict[str, object] = {"type": span.type, "first_token": span.start, "after_token": span.end}
    if item.text is None:
        entity["text"] = " ".join(item.sentence.tokens[span.start : span.end])
    else:
        start, end = item.offsets[span.start][0], item.offsets[span.end - 1][1]
        entity |= {"start": start, "end": end, "text": item.text[start:end]}
    if prediction.span_confidence is not None:
        entity["confidence"] = round(prediction.span_confidence[number], 6)
    return entity
