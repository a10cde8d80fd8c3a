"""`seqtool tag`: text in, tags out, as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import typer

from seqtool.cli import console, options, streams
from seqtool.cli.option_groups import with_options
from seqtool.cli.options import HardwareOptions, find_model
from seqtool.cli.streams import OutputOptions
from seqtool.errors import DataError, UsageError

if TYPE_CHECKING:
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.text.tagging_input import TaggingInput

CHARACTERS = 16  # of text that weigh as much as one token when memory is counted: odd input has huge tokens

InputFormat = Literal["text", "conll", "jsonl"]


@dataclass(frozen=True)
class TaggingOptions:
    """What is said of each sentence, and how it is written."""

    output_format: Annotated[
        Literal["conll", "jsonl", "inline"],
        typer.Option(
            "--format",
            help="Layout of the output. conll keeps comments, and all columns of CoNLL-U; jsonl keeps the "
            "other keys of JSON objects.",
        ),
    ] = "conll"
    confidence: Annotated[bool, typer.Option("--confidence", help="Add exact probabilities.")] = False
    min_confidence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Take back entities less probable than this.")
    ] = 0.0
    kbest: Annotated[
        int, typer.Option(min=0, help="The N best taggings of each sentence, the printed one first.")
    ] = 0


@with_options
def tag(
    sources: streams.InputsArgument = None,
    model: options.ModelOption = None,
    input_format: Annotated[
        InputFormat, typer.Option(help="text = one sentence a line, tokenised here.")
    ] = "text",
    *,
    tagging: TaggingOptions,
    output: OutputOptions,
    batch_tokens: options.BatchTokensOption = 4096,
    hardware: HardwareOptions,
) -> None:
    """Tag text: one sentence in, one sentence out, in order."""
    if tagging.kbest and tagging.output_format == "inline":
        raise UsageError("--kbest has no inline form; use --format conll or jsonl")
    where = find_model(model, ("ner", "pos"))
    files = streams.inputs_of(sources)
    output.check()
    from seqtool import api
    from seqtool.cli.reports.tagged_sentences import writer
    from seqtool.devices import configure
    from seqtool.tagging.documents import DocumentContext

    configure(hardware.threads)
    tagger = api.load_tagger(where, device=hardware.device, precision=hardware.precision)
    _require_fit(tagger, where, tagging, input_format)
    write = writer(tagging.output_format, tagger, confidence=tagging.confidence, kbest=tagging.kbest)
    context = DocumentContext()
    started, sentences, tokens = time.monotonic(), 0, 0
    read = partial(_items, input_format=input_format, tagger=tagger)
    with output.opened() as put:
        for group in streams.groups_from(files, read, size=_size, budget=batch_tokens):
            predictions = tagger.predict(
                [item.sentence for item in group],
                confidence=tagging.confidence,
                min_confidence=tagging.min_confidence,
                kbest=tagging.kbest,
                batch_tokens=batch_tokens,
                context=context,
            )
            put("".join(map(write, group, predictions)))
            sentences += len(group)
            tokens += sum(len(item.sentence.tokens) for item in group)
    seconds = max(time.monotonic() - started, 1e-9)
    console.say(
        f"{sentences:,} sentence{'s' * (sentences != 1)}, {tokens:,} tokens, {seconds:.1f} s, "
        f"{tokens / seconds:,.0f} tokens/s"
    )


def _require_fit(tagger: TaggerModel, where: Path, tagging: TaggingOptions, input_format: str) -> None:
    """Refuse what this model cannot do.

    Raises:
        UsageError: saying what to do instead.
    """
    if tagging.min_confidence and tagger.scheme is None:
        raise UsageError(f"--min-confidence is about spans, and {where} tags single tokens; use --confidence")
    if tagger.vocabularies.features and input_format != "conll":
        kind = "plain text" if input_format == "text" else "a JSON object"
        raise UsageError(
            f"the model reads {len(tagger.vocabularies.features)} extra columns, which {kind} lacks; "
            "use --input-format conll"
        )


def _size(item: TaggingInput) -> int:
    tokens = item.sentence.tokens
    return max(len(tokens) + 1, sum(map(len, tokens)) // CHARACTERS)


def _items(
    stream: BinaryIO, name: str, *, input_format: InputFormat, tagger: TaggerModel
) -> Iterator[TaggingInput]:
    """Sentences as they come; one that would take unbounded memory is refused."""
    from seqtool.text import tagging_input
    from seqtool.text.columns import SENTENCE_LIMIT

    columns = tagger.description.data
    if input_format == "text":
        items = tagging_input.read_text(stream, name)
    elif input_format == "jsonl":
        items = tagging_input.read_objects(stream, name)
    else:
        features = tuple(columns.feature_columns)
        items = tagging_input.read_columns(stream, name, token=columns.token_column, features=features)
    for item in items:
        if len(item.sentence.tokens) > SENTENCE_LIMIT:
            raise DataError(
                f"{name}:{item.sentence.line}: a sentence of {len(item.sentence.tokens)} tokens, "
                f"expected at most {SENTENCE_LIMIT}; put one sentence on a line"
            )
        yield item
