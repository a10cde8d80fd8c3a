"""Exports of annotation tools, turned into objects of our own JSON lines, one example at a time.

doccano        {"text": ..., "label": [[0, 3, "PER"]]}, also "labels"; or "entities" with start_offset
Prodigy        {"text": ..., "tokens": [{"text": ..., "start": 0, "end": 3}], "spans": [...], "answer": ...}
spaCy          {"text": ..., "entities": [[0, 3, "PER"]]}, [text, {"entities": [...]}], or "ents"
Label Studio   {"data": {"text": ...}, "annotations": [{"result": [{"value": {...}}]}]}, or JSON-MIN
Hugging Face   {"tokens": [...], "ner_tags": [0, 1]}, numbers whose names are given separately
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqtool.errors import DataError
from seqtool.text.tag_scheme import Span

TAG_KEYS = ("tags", "ner_tags", "labels", "label", "upos", "pos_tags")
SPAN_KEYS = ("spans", "entities", "label", "labels", "ents")
_STARTS, _ENDS, _LABELS = ("start", "start_offset"), ("end", "end_offset"), ("label", "labels", "type")
_ANSWERS = ("annotations", "completions", "predictions")
_REJECTED = ("reject", "ignore")  # answers of Prodigy


def is_pair(value: Any) -> bool:
    """True for an example of spaCy's old training data, `[text, {"entities": [...]}]`."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], dict)
    )


def items_of(value: Any, name: str) -> list[Any]:
    """The examples in a file that is a single JSON value.

    Args:
        value: The JSON value.
        name: Name of the file for messages.

    Raises:
        DataError: the value is neither an array, nor an object with an array of `annotations`.
    """
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and isinstance(value.get("annotations"), list):
        return [item for item in value["annotations"] if item is not None]
    keys = ", ".join(map(repr, value)) if isinstance(value, dict) else json.dumps(value)[:40]
    raise DataError(
        f"{name}: a JSON file with {keys}; expected an array of examples, or JSON lines: one object per line"
    )


def standard(value: Any, place: str) -> dict[str, Any] | None:
    """One example as an object with the key `text` or `tokens`; None if the annotator rejected it.

    Args:
        value: The example as its tool exports it.
        place: `file:line` for messages.

    Raises:
        DataError: the example is not an object, or its text cannot be found.
    """
    if is_pair(value):
        return {"text": value[0], **value[1]}
    if not isinstance(value, dict):
        raise DataError(f"{place}: not a JSON object; expected one object per line")
    if value.get("answer") in _REJECTED:
        return None
    if "text" in value or "tokens" in value:
        if "answer" in value and "text" in value and not any(key in value for key in SPAN_KEYS):
            return {**value, "spans": []}  # the annotator accepted a text without entities
        return value
    if isinstance(value.get("data"), str):
        return {**value, "text": value["data"]}
    if isinstance(value.get("data"), dict):
        return _label_studio(value, place)
    keys = ", ".join(f'"{key}"' for key in value)
    raise DataError(
        f'{place}: neither "tokens" nor "text"; expected one of them, and there is {keys or "nothing"}'
    )


def _label_studio(task: dict[str, Any], place: str) -> dict[str, Any] | None:
    data = task["data"]
    texts = [data["text"]] if "text" in data else [value for value in data.values() if isinstance(value, str)]
    if len(texts) != 1:
        keys = ", ".join(f'"{key}"' for key in data)
        raise DataError(f'{place}: a Label Studio task with {keys}; expected its text in "text"')
    # What a model predicted counts only in a file that people have not worked on yet.
    answers: Any = next((task[key] for key in _ANSWERS if key in task), [])
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        raise DataError(
            f'{place}: "annotations" is not a list of objects; expected an export of Label Studio'
        )
    if not answers:
        return {"text": texts[0]}
    kept = _finished(answers)
    if not kept:
        return None
    results = kept[0].get("result") or []
    values = [item.get("value") for item in results if isinstance(item, dict)]
    return {"text": texts[0], "spans": [v for v in values if isinstance(v, dict) and "start" in v]}


def _finished(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotations of a Label Studio task that were neither cancelled nor skipped."""
    return [answer for answer in answers if not (answer.get("was_cancelled") or answer.get("skipped"))]


def has_several_answers(value: Any) -> bool:
    """True for a Label Studio task with several annotations, of which `standard` reads the first."""
    if not isinstance(value, dict) or "data" not in value:
        return False
    answers = value.get("annotations", value.get("completions"))
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        return False
    return len(_finished(answers)) > 1


def span_of(item: Any) -> Span | None:
    """A span of characters in any of the forms above, not checked against its text; None if it is not one."""
    if isinstance(item, list) and len(item) == 3:
        start, end, label = item
    elif isinstance(item, dict):
        start, end, label = (_first(item, keys) for keys in (_STARTS, _ENDS, _LABELS))
    else:
        return None
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    if type(start) is not int or type(end) is not int or not isinstance(label, str) or not label.strip(" "):
        return None
    return Span(start, end, label)


def _first(item: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((item[key] for key in keys if key in item), None)


def class_names(path: Path) -> tuple[str, ...]:
    """Names of the tags of a Hugging Face data set, from the `dataset_info.json` beside one of its files.

    Args:
        path: File of the data set.

    Returns:
        The name of each tag number, from 0; empty if that file does not exist or does not name the tags.
    """
    try:
        info = json.loads((path.parent / "dataset_info.json").read_text(encoding="utf-8"))
        features = info["features"]
        names = next(features[key]["feature"]["names"] for key in TAG_KEYS if key in features)
    except (OSError, ValueError, LookupError, TypeError, StopIteration, RecursionError):
        return ()
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known else ()


def annotation_like(value: dict[str, Any], tokens: int | None) -> Iterator[str]:
    """Keys of any name whose values look like spans, or like one tag per token.

    Args:
        value: An example that has none of the known annotation keys.
        tokens: Its number of tokens; None if it is plain text.
    """
    for key, content in value.items():
        if key in ("text", "tokens", "meta") or not isinstance(content, list) or not content:
            continue
        tags = tokens == len(content) and all(type(item) in (str, int) for item in content)
        if tags or all(span_of(item) is not None for item in content):
            yield key
