"""Writing sentences with entities for annotation tools; `seqtool.text.exports` reads what they export.

doccano        {"text": ..., "label": [[0, 3, "PER"]]}, one object per line
Label Studio   [{"data": {"text": ...}, "predictions": [{"result": [...]}]}, ...], one array
brat           a text, and its annotation in a file of its own (`seqtool.text.standoff`)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from seqtool.text.standoff import StandoffWriter
from seqtool.text.tag_scheme import Span

ToolFormat = Literal["doccano", "label-studio", "brat"]
TOOLS: tuple[ToolFormat, ...] = ("doccano", "label-studio", "brat")
OWN_KEYS = ("text", "tokens", "tags", "label", "labels", "spans", "entities")  # never copied from an input
# Names in the labelling configuration of Label Studio that its template for named entities uses.
_FROM, _TO = "label", "text"


class MarkedText(NamedTuple):
    """A text with its entities.

    Attributes:
        text: The text, one line.
        spans: The entities, in characters of the text.
        confidence: Probability of each, in [0, 1]; None = not known.
        facts: Further facts about the text, JSON values by name.
    """

    text: str
    spans: Sequence[Span]
    confidence: Sequence[float] | None = None
    facts: Mapping[str, Any] = {}


def marked_text(
    tokens: Sequence[str],
    spans: Sequence[Span],
    *,
    text: str | None = None,
    offsets: Sequence[tuple[int, int]] = (),
    confidence: Sequence[float] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> MarkedText:
    """A sentence of tokens as a text with entities.

    Args:
        tokens: The tokens.
        spans: The entities, in tokens.
        text: The text that the tokens stand in; None = they are joined by spaces.
        offsets: Start and end of each token in it.
        confidence: Probability of each entity; None = not known.
        facts: Further facts about the sentence.

    >>> marked_text(["Ada", "lives"], [Span(0, 1, "PER")]).spans
    [Span(start=0, end=3, type='PER')]
    """
    if text is None:
        text, place, offsets = " ".join(tokens), 0, []
        for token in tokens:
            offsets.append((place, place + len(token)))
            place += len(token) + 1
    marked = [Span(offsets[span.start][0], offsets[span.end - 1][1], span.type) for span in spans]
    return MarkedText(text, marked, confidence, facts or {})


class ToolWriter:
    """Writes texts for an annotation tool, one after the other.

    Args:
        form: The tool.
        model: Name of the model that made the annotation; empty = people did.
    """

    def __init__(self, form: ToolFormat, model: str = "") -> None:
        self._form, self._model = form, model
        self._standoff = StandoffWriter()
        self._written = 0

    def add(self, item: MarkedText) -> tuple[str, str]:
        """One more text.

        Returns:
            What to append to the output, and what to append to the file of the text beside it (brat).
        """
        self._written += 1
        if self._form == "brat":
            notes = None if item.confidence is None else [f"p = {value:.4f}" for value in item.confidence]
            text, annotation = self._standoff.add(item.text, item.spans, notes)
            return annotation, text
        if self._form == "doccano":
            labels = [[span.start, span.end, span.type] for span in item.spans]
            sure = {} if item.confidence is None else {"confidence": [round(p, 6) for p in item.confidence]}
            return _json({"text": item.text, "label": labels, **sure, **item.facts}) + "\n", ""
        return (",\n" if self._written > 1 else "[\n") + _json(self._task(item)), ""

    def end(self) -> str:
        """What to append to the output after the last text."""
        if self._form != "label-studio":
            return ""
        return "\n]\n" if self._written else "[]\n"

    def _task(self, item: MarkedText) -> dict[str, Any]:
        """A task of Label Studio, with the annotation as a prediction or as that of people."""
        result: dict[str, Any] = {"result": list(self._regions(item))}
        if not self._model:
            return {"data": {"text": item.text, **item.facts}, "annotations": [result]}
        result["model_version"] = self._model
        if item.confidence:
            result["score"] = round(min(item.confidence), 6)
        return {"data": {"text": item.text, **item.facts}, "predictions": [result]}

    def _regions(self, item: MarkedText) -> Iterator[dict[str, Any]]:
        for number, span in enumerate(item.spans):
            value = {
                "start": span.start,
                "end": span.end,
                "text": item.text[span.start : span.end],
                "labels": [span.type],
            }
            region: dict[str, Any] = {
                "id": f"{self._written}-{number + 1}",
                "from_name": _FROM,
                "to_name": _TO,
                "type": "labels",
                "value": value,
            }
            if item.confidence is not None:
                region["score"] = round(item.confidence[number], 6)
            yield region


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
