"""`seqtool tag`: tags text as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import typer

from seqtool.cli import console, options, streams
from seqtool.cli.help import DATA, DECODING, OUTPUT
from seqtool.cli.option_groups import with_options
from seqtool.cli.options import FloatHardwareOptions, find_taggers
from seqtool.cli.reports.tagged_sentences import FORMAT_HELP, Output, OutputFormat
from seqtool.cli.streams import OutputOptions
from seqtool.errors import DataError, UsageError, counted

if TYPE_CHECKING:
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.text.tagging_input import TaggingInput

CHARACTERS = 16  # that count as one token when memory is estimated, since odd input can have huge tokens

ROWS = 2  # consecutive lines of text that look like columns, from which a warning says so

InputFormat = Literal["text", "tokens", "conll", "jsonl"]


@dataclass(frozen=True)
class TaggingOptions:
    """What is written about each sentence, and in which format."""

    output_format: Annotated[
        OutputFormat, typer.Option("--format", help=FORMAT_HELP, rich_help_panel=OUTPUT)
    ] = "conll"
    confidence: Annotated[
        bool,
        typer.Option(
            "--confidence", help="Add the probability of each tag or entity.", rich_help_panel=OUTPUT
        ),
    ] = False
    min_confidence: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Drop entities whose probability is below this.",
            rich_help_panel=DECODING,
        ),
    ] = 0.0
    kbest: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Add the N most probable taggings of each sentence, best first; 0 = none.",
            rich_help_panel=DECODING,
        ),
    ] = 0


@with_options
def tag(
    sources: streams.InputsArgument = None,
    model: options.TaggersOption = None,
    input_format: Annotated[
        InputFormat | None,
        typer.Option(
            help="Input format. text: one sentence per line, split into tokens by seqtool; tokens: one "
            "sentence per line, with spaces between its tokens; conll: columns; jsonl: one JSON object per "
            "line. Default: by the file's ending (.conll, .conllu, .jsonl), otherwise text.",
            rich_help_panel=DATA,
        ),
    ] = None,
    *,
    tagging: TaggingOptions,
    output: OutputOptions,
    batch_tokens: options.BatchTokensOption = 4096,
    hardware: FloatHardwareOptions,
) -> None:
    """Tag text: one sentence in, one sentence out, in order.

    Examples:
      echo 'Mr Brovell works for Tranex in Lake Othwick.' | seqtool tag
      seqtool tag text.txt -m runs/ner/ner-tiny --format jsonl --confidence
    """
    form = tagging.output_format
    if tagging.kbest and form not in ("conll", "jsonl"):
        raise UsageError(
            f"--kbest cannot be written with --format {form}; use --format conll or --format jsonl"
        )
    where = find_taggers(model)
    files = streams.inputs_of(sources)
    (output.check_pair if form == "brat" else output.check)()
    from seqtool import api
    from seqtool.devices import configure
    from seqtool.tagging.documents import DocumentContext
    from seqtool.text.tagging_input import format_of

    configure(hardware.threads)
    tagger = api.load_tagger(where, device=hardware.device, precision=hardware.precision)
    _require_fit(tagger, where[0], tagging, [input_format or format_of(name) for name in files])
    written = Output(form, tagger, confidence=tagging.confidence, kbest=tagging.kbest)
    context = DocumentContext()
    started, sentences, tokens = time.monotonic(), 0, 0
    read = partial(sentences_read, chosen=input_format, tagger=tagger)
    with output.opened_pair() as put:
        for group in streams.groups_from(files, read, size=sentence_size, budget=batch_tokens):
            predictions = tagger.predict(
                [item.sentence for item in group],
                confidence=tagging.confidence,
                min_confidence=tagging.min_confidence,
                kbest=tagging.kbest,
                batch_tokens=batch_tokens,
                context=context,
            )
            texts, beside = zip(*map(written.add, group, predictions), strict=True)
            put("".join(texts), "".join(beside))
            sentences += len(group)
            tokens += sum(len(item.sentence.tokens) for item in group)
        put(written.end(), "")
    seconds = max(time.monotonic() - started, 1e-9)
    console.say(
        f"{counted(sentences, 'sentence')}, {counted(tokens, 'token')}, {seconds:.1f} s, "
        f"{tokens / seconds:,.0f} tokens/s"
    )


def _require_fit(tagger: TaggerModel, where: Path, tagging: TaggingOptions, formats: Sequence[str]) -> None:
    """Check that the model can do what the options ask for, with inputs of these formats.

    Raises:
        UsageError: it cannot; the message names the options that it can.
    """
    if tagging.min_confidence and tagger.scheme is None:
        raise UsageError(f"--min-confidence drops entities, and {where} tags single tokens; use --confidence")
    unfit = next((name for name in formats if name != "conll"), None)
    if tagger.vocabularies.features and unfit is not None:
        kind = "a JSON object" if unfit == "jsonl" else "plain text"
        raise UsageError(
            f"{where} reads {len(tagger.vocabularies.features)} feature columns, which {kind} does not have; "
            "use --input-format conll"
        )


def sentence_size(item: TaggingInput) -> int:
    """Size of a sentence in a batch, in tokens."""
    tokens = item.sentence.tokens
    return max(len(tokens) + 1, sum(map(len, tokens)) // CHARACTERS)


def sentences_read(
    stream: BinaryIO, name: str, *, chosen: InputFormat | None, tagger: TaggerModel
) -> Iterator[TaggingInput]:
    """Sentences as they come, in the chosen format or that of the name; one that is too long is refused."""
    from seqtool.text import tagging_input
    from seqtool.text.columns import SENTENCE_LIMIT

    columns = tagger.description.data
    input_format = chosen or tagging_input.format_of(name)
    if input_format == "text":
        items = _warning_of_columns(tagging_input.read_text(stream, name), name)
    elif input_format == "tokens":
        items = tagging_input.read_tokens(stream, name)
    elif input_format == "jsonl":
        items = tagging_input.read_objects(stream, name)
    else:
        features = tuple(columns.feature_columns)
        items = tagging_input.read_columns(stream, name, token=columns.token_column, features=features)
    for item in items:
        if len(item.sentence.tokens) > SENTENCE_LIMIT:
            raise DataError(
                f"{name}:{item.sentence.line}: a sentence of {len(item.sentence.tokens)} tokens, "
                f"expected at most {SENTENCE_LIMIT}; put each sentence on a line of its own"
            )
        yield item


def _warning_of_columns(items: Iterator[TaggingInput], name: str) -> Iterator[TaggingInput]:
    """The same sentences of plain text; a warning where consecutive lines look like columns."""
    from seqtool.text.tagging_input import looks_like_columns

    rows = 0
    for item in items:
        rows = rows + 1 if looks_like_columns(item.text or "") else 0
        yield item
        if rows == ROWS:
            console.warn(
                f"{name}: read as plain text, one sentence per line, but it looks like columns with one "
                "token per line; if so, use --input-format conll"
            )
            break
    yield from items
