"""`seqtool tag`: text in, tags out, as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, NamedTuple

import typer

from seqtool.cli import console, options, streams
from seqtool.cli.options import find_model
from seqtool.errors import DataError, UsageError

if TYPE_CHECKING:
    from seqtool.tagging.prediction import Prediction, TaggerModel
    from seqtool.text.columns import TaggedSentence

CHARACTERS = 16  # of text that weigh as much as one token when memory is counted: odd input has huge tokens


class Item(NamedTuple):
    """A sentence with the text it was cut from, if it came as text."""

    sentence: TaggedSentence
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] = ()


def tag(
    source: Annotated[
        str, typer.Argument(metavar="[INPUT]", help="File (also .gz); - is standard input.")
    ] = "-",
    model: options.ModelOption = None,
    input_format: Annotated[
        Literal["text", "conll", "jsonl"], typer.Option(help="text = one sentence a line, tokenised here.")
    ] = "text",
    output_format: Annotated[
        Literal["conll", "jsonl", "inline"], typer.Option("--format", help="Of the output.")
    ] = "conll",
    confidence: Annotated[bool, typer.Option("--confidence", help="Add exact probabilities.")] = False,
    min_confidence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Take back entities less probable than this.")
    ] = 0.0,
    kbest: Annotated[
        int, typer.Option(min=0, help="The N best taggings of each sentence, the printed one first.")
    ] = 0,
    batch_tokens: options.BatchTokensOption = 4096,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = 0,
) -> None:
    """Tag text: one sentence in, one sentence out, in order."""
    if kbest and output_format == "inline":
        raise UsageError("--kbest has no inline form; use --format conll or jsonl")
    if confidence and output_format == "inline":
        raise UsageError("--confidence has no inline form; use --format conll or jsonl")
    where = find_model(model, ("ner", "pos"))
    from seqtool import api
    from seqtool.devices import configure
    from seqtool.tagging.documents import Reading
    from seqtool.text.lines import open_input

    configure(threads)
    tagger = api.load_tagger(where, device=device, precision=precision)
    if min_confidence and tagger.scheme is None:
        raise UsageError(f"--min-confidence is about spans, and {where} tags single tokens; use --confidence")
    if tagger.vocabularies.features and input_format == "text":
        raise UsageError(
            f"the model reads {len(tagger.vocabularies.features)} extra columns, which plain text lacks; "
            "use --input-format conll"
        )
    write = _writer(output_format, tagger, confidence, kbest)
    reading = Reading()
    started, sentences, tokens = time.monotonic(), 0, 0
    stream = open_input(source)
    # What may pause is left open: closing it would wait for the thread that reads.
    with stream if streams.is_regular_file(stream) else nullcontext():
        items = _items(stream, source, input_format, tagger)
        for group in streams.groups_of(items, stream, size=_size, budget=batch_tokens):
            predictions = tagger.predict(
                [item.sentence for item in group],
                confidence=confidence,
                min_confidence=min_confidence,
                kbest=kbest,
                batch_tokens=batch_tokens,
                reading=reading,
            )
            console.write_result("".join(map(write, group, predictions)))
            console.output().flush()
            sentences += len(group)
            tokens += sum(len(item.sentence.tokens) for item in group)
    seconds = max(time.monotonic() - started, 1e-9)
    console.say(
        f"{sentences:,} sentence{'s' * (sentences != 1)}, {tokens:,} tokens, {seconds:.1f} s, "
        f"{tokens / seconds:,.0f} tokens/s"
    )


def _size(item: Item) -> int:
    tokens = item.sentence.tokens
    return max(len(tokens) + 1, sum(map(len, tokens)) // CHARACTERS)


def _items(stream: BinaryIO, source: str, input_format: str, tagger: TaggerModel) -> Iterator[Item]:
    """Sentences as they come; one that would take unbounded memory is refused."""
    from seqtool.text.columns import SENTENCE_LIMIT

    name = "standard input" if source == "-" else source
    if input_format == "text":
        items = _text_items(stream, name)
    else:
        items = _annotated_items(stream, name, input_format, tagger)
    for item in items:
        if len(item.sentence.tokens) > SENTENCE_LIMIT:
            raise DataError(
                f"{name}:{item.sentence.line}: a sentence of {len(item.sentence.tokens)} tokens, "
                f"expected at most {SENTENCE_LIMIT}; put one sentence on a line"
            )
        yield item


def _text_items(stream: BinaryIO, name: str) -> Iterator[Item]:
    from seqtool.text.columns import TaggedSentence
    from seqtool.text.lines import read_lines
    from seqtool.text.tokenizer import tokenize

    opens = False
    for number, line in enumerate(read_lines(stream, name), 1):
        found = tokenize(line)
        sentence = TaggedSentence(tuple(token.text for token in found), None, (), name, number, opens)
        opens = not found  # a blank line ends a document
        yield Item(sentence, line, tuple((token.start, token.end) for token in found))


def _annotated_items(stream: BinaryIO, name: str, input_format: str, tagger: TaggerModel) -> Iterator[Item]:
    """Sentences of columns or JSON lines; their own tags, if any, are not looked at."""
    from seqtool.text.columns import ColumnFormat, NoSentencesError, detect_stream, read_stream

    columns = tagger.description.data
    sentences: Iterator[TaggedSentence] = iter(())
    if input_format == "jsonl":
        sentences = read_stream(stream, name, ColumnFormat("jsonl"))
    else:
        features = tuple(columns.feature_columns)
        with suppress(NoSentencesError):  # nothing in, nothing out
            _, sentences = detect_stream(stream, name, token=columns.token_column, tag=0, features=features)
    yield from map(Item, sentences)


def _writer(
    output_format: str, tagger: TaggerModel, confidence: bool, kbest: int
) -> Callable[[Item, Prediction], str]:
    if output_format == "inline":
        from seqtool.text.columns import format_inline

        return lambda item, prediction: format_inline(item.sentence.tokens, prediction.tags, tagger.scheme)
    if output_format == "jsonl":
        return lambda item, prediction: _json_line(item, prediction, tagger.scheme is not None, confidence)
    return lambda item, prediction: _column_lines(item, prediction, confidence, kbest)


def _column_lines(item: Item, prediction: Prediction, confidence: bool, kbest: int) -> str:
    """Token, tag, then confidence and the k likeliest taggings as further columns; a blank line after.

    A short sentence may have fewer than k taggings: `_` fills the columns that are left.
    """
    from seqtool.text.columns import format_conll

    sentence = item.sentence
    columns: list[list[str]] = []
    if confidence:
        columns.append([f"{value:.4f}" for value in prediction.token_confidence or ()])
    if kbest:
        found = [tags for tags, _ in prediction.alternatives or ()]
        columns += found + [["_"] * len(sentence.tokens)] * (kbest - len(found))
    try:
        return format_conll(sentence.tokens, prediction.tags, *columns)
    except DataError as error:
        raise DataError(f"{sentence.source}:{sentence.line}: {error}") from error


def _json_line(item: Item, prediction: Prediction, spans: bool, confidence: bool) -> str:
    value: dict[str, object] = {} if item.text is None else {"text": item.text}
    value |= {"tokens": list(item.sentence.tokens), "tags": prediction.tags}
    if spans:
        value["entities"] = [_entity(item, prediction, number) for number in range(len(prediction.spans))]
    if confidence:
        value["confidence"] = [round(x, 6) for x in prediction.token_confidence or ()]
    if prediction.alternatives is not None:
        value["alternatives"] = [
            {"tags": tags, "probability": round(weight, 6)} for tags, weight in prediction.alternatives
        ]
    return json.dumps(value, ensure_ascii=False) + "\n"


def _entity(item: Item, prediction: Prediction, number: int) -> dict[str, object]:
    """A span; for plain text with the exact characters that it covers."""
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
