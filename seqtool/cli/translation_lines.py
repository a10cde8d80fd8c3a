"""Input and output of `seqtool translate`: lines, or JSON objects with any further keys."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from seqtool.cli import console, streams
from seqtool.errors import DataError, UsageError, counted

if TYPE_CHECKING:
    from seqtool.text.parallel import SentencePair
    from seqtool.translation.candidates import Translation
    from seqtool.translation.prediction import TranslatorModel

CHARACTERS = 4  # that count as one symbol when memory is estimated
LONG = 5_000  # characters of a line from which on a warning is printed
LINE = str.maketrans({"\n": " "})
FIELD = str.maketrans({"\n": " ", "\t": " "})
# Keys of an input object that the output replaces.
OF_TRANSLATORS = ("source", "text", "score", "lm_log_probability", "nbest", "alignment")


@dataclass(frozen=True, slots=True)
class Item:
    """A line to translate, with the line of the same number in other files.

    Attributes:
        number: Number of the line among all inputs, from 1.
        pair: Source sentence.
        prefix: Beginning of the output, or the whole output with `--force-target`.
        phrases: Phrases that the output must contain.
        keys: Other keys of the JSON object in which the line came; None for plain text.
    """

    number: int
    pair: SentencePair
    prefix: str = ""
    phrases: tuple[str, ...] = ()
    keys: Mapping[str, Any] | None = None


class Inputs:
    """All lines of the input files, in groups that are translated together.

    Args:
        files: Input files, as from `streams.inputs_of`.
        translator: Model whose settings say how a line is parsed.
        layout: Input format: text or jsonl; None = by the ending of each file's name.
        beside: Files with one line per input line, by field of `Item`; None = no such file.
        batch_tokens: Symbols per batch.
        tag: Tag of all lines; None = each has its own, if the model has tags.

    Raises:
        UsageError: a file is a table, and no format is named; or the model does not know the tag.
        DataError: during iteration: a file in `beside` has more or fewer lines than the input.
    """

    def __init__(
        self,
        files: Sequence[str],
        translator: TranslatorModel,
        layout: str | None,
        beside: Mapping[str, Path | None],
        batch_tokens: int,
        tag: str | None = None,
    ) -> None:
        from seqtool.text.lines import lines_of

        self._files, self._translator, self._layout = files, translator, layout
        if layout is None:
            _refuse_tables(files, translator)
        translator.tags.require_known(tag)
        self.batch_tokens, self._tag = batch_tokens, tag
        self._beside = {key: path for key, path in beside.items() if path is not None}
        self._others = {key: lines_of(path) for key, path in self._beside.items()}
        self._number = 0
        self._sources = 0

    def __iter__(self) -> Iterator[list[Item]]:
        return streams.groups_from(self._files, self._items, size=_size, budget=self.batch_tokens)

    def place_beside(self, kind: str, item: Item) -> str:
        """`file:line` of the prefix or phrase (the `kind`) of an item."""
        path = self._beside["prefix" if kind == "prefix" else "phrases"]
        return f"{'standard input' if str(path) == '-' else path}:{item.number}"

    def _items(self, stream: BinaryIO, name: str) -> Iterator[Item]:
        from seqtool.text.lines import read_lines
        from seqtool.text.pair_files import kind_of

        self._sources += 1
        layout = self._layout or ("jsonl" if kind_of(name) == "jsonl" else "text")
        for number, line in enumerate(read_lines(stream, name), 1):
            if layout == "jsonl" and not line.strip(" \t"):
                continue
            self._number += 1
            item = self._item(line, number, name, layout)
            if len(item.pair.source) > LONG:
                console.warn(
                    f"{name}:{number}: {counted(len(item.pair.source), 'character')} in one line; "
                    "translating it is slow and works badly; split it into sentences first"
                )
            for key, lines in self._others.items():
                other = next(lines, None)
                if other is None:
                    found = f"{self._beside[key]}: {counted(self._number - 1, 'line')}"
                    raise DataError(f"{found}, but {name} has more; expected the same number")
                value: Any = tuple(filter(None, other.split("\t"))) if key == "phrases" else other
                item = replace(item, **{key: value})
            yield item
        for key, lines in self._others.items() if self._sources == len(self._files) else ():
            if next(lines, None) is not None:
                raise DataError(
                    f"{self._beside[key]}: more than the {self._number} lines of {name}; expected the "
                    "same number"
                )

    def _item(self, line: str, number: int, name: str, layout: str) -> Item:
        if layout == "text":
            return Item(self._number, self._translator.parse(line, number, name, tag=self._tag))
        pair, keys = _of_object(line, self._translator.description.data.languages, name, number)
        return Item(self._number, self._translator.tagged(pair, self._tag), keys=keys)


def _refuse_tables(files: Sequence[str], translator: TranslatorModel) -> None:
    """Refuse tables, whose rows would be translated as if they were sentences."""
    from seqtool.text.pair_files import kind_of

    for file in files:
        kind = kind_of(file)
        if kind == "tsv" and "features" in translator.columns:
            continue  # source and features are columns
        if kind in ("csv", "tsv", "tmx"):
            scored = f"`seqtool evaluate {shlex.quote(file)} -m {translator.place}` scores pairs"
            raise UsageError(
                f"{file}: a .{kind} file is not read as sentences; save the sources as text, one per line "
                f"({scored}), or translate its lines as they are with --input-format text"
            )


def _of_object(
    line: str, languages: Sequence[str] | None, name: str, number: int
) -> tuple[SentencePair, Mapping[str, Any]]:
    """The source text of a JSON object (under the model's own key, `source` or `text`) and its other keys."""
    from seqtool.text.json_lines import load_object
    from seqtool.text.parallel import FEATURES, SentencePair, check_features, check_text

    place = f"{name}:{number}"
    value = load_object(line, place)
    texts = value.get("translation") if languages else None
    texts = texts if isinstance(texts, dict) else value
    known = (*(languages or ())[:1], "source", "text")
    key = next((key for key in known if key in texts), None)
    if key is None:
        raise DataError(f"{place}: no {' or '.join(map(repr, known))} among {', '.join(map(repr, texts))}")
    features = check_features(value.get(FEATURES, []), FEATURES, place)
    pair = SentencePair(check_text(texts[key], key, place), features=features, file=name, line=number)
    return pair, {key: each for key, each in value.items() if key not in OF_TRANSLATORS}


def text_lines(
    number: int, translations: list[Translation], alignment: str | None, nbest: int, *, scores: bool
) -> str:
    """The output for one line; an empty line has empty translations with score 0.

    Args:
        number: Number of the line, from 1.
        translations: Translations, best first; empty for an empty line.
        alignment: Word alignment of the best translation; None = not asked for.
        nbest: Number of lines to write; with more than one, each has number, rank and score.
        scores: Whether a single line has its score.
    """
    tail = "" if alignment is None else f"\t{alignment}"
    fields = nbest > 1 or scores or alignment is not None
    rows = [(f"{each.hypothesis.score:.4f}", _one_line(each.text, fields)) for each in translations]
    rows += [("0.0000", "")] * (nbest - len(rows))
    if nbest > 1:
        return "".join(
            f"{number}\t{rank}\t{score}\t{text}{tail if rank == 1 else tail and chr(9)}\n"
            for rank, (score, text) in enumerate(rows, 1)
        )
    score, text = rows[0]
    return f"{score}\t{text}{tail}\n" if scores else f"{text}{tail}\n"


def json_line(item: Item, translations: list[Translation], alignment: str | None, nbest: int) -> str:
    """The output for one line as a JSON object, with the other keys of the input object.

    Args:
        item: Input line.
        translations: Translations, best first; empty for an empty line.
        alignment: Word alignment of the best translation; None = not asked for.
        nbest: Number of translations to list.
    """
    rows: list[dict[str, object]] = [_figures(each) for each in translations]
    rows = rows or [{"text": "", "score": 0.0}]
    value: dict[str, object] = {**(item.keys or {}), "source": item.pair.source, **rows[0]}
    if alignment is not None:
        value["alignment"] = alignment
    if nbest > 1:
        value["nbest"] = rows
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _figures(translation: Translation) -> dict[str, object]:
    """The text of a translation with its figures; that of the language model only if there is one."""
    value: dict[str, object] = {"text": translation.text, "score": round(translation.score, 6)}
    if translation.lm_log_probability is not None:
        value["lm_log_probability"] = round(translation.lm_log_probability, 6)
    return value


def scored_json(item: Item, score: float) -> str:
    """A given output as a JSON object: source, text, and log probability in nats."""
    value = {**(item.keys or {}), "source": item.pair.source, "text": item.prefix, "score": round(score, 6)}
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _one_line(text: str, fields: bool) -> str:
    """Replace line breaks, and tabs if the line has fields, so that an output stays one field of one line."""
    return text.translate(FIELD if fields else LINE)


def _size(item: Item) -> int:
    return len(item.pair.source) // CHARACTERS + 1
