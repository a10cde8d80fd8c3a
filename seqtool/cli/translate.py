"""`seqtool translate`: lines in, lines out, as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, NamedTuple

import typer

from seqtool.cli import console, options, streams
from seqtool.cli.models import find_model

if TYPE_CHECKING:
    from seqtool.text.parallel import SentencePair
    from seqtool.translation.prediction import SearchOptions, Translation, TranslatorModel

CHARACTERS = 4  # of text that weigh as much as one symbol when memory is counted


class Item(NamedTuple):
    """A line to be translated."""

    number: int  # from 1
    pair: SentencePair


def translate(
    source: Annotated[
        str, typer.Argument(metavar="[INPUT]", help="File (also .gz); - is standard input.")
    ] = "-",
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", "-m", help="Run folder or its model/ folder; several are an ensemble."),
    ] = None,
    beam: Annotated[int | None, typer.Option("--beam", min=1, help="Hypotheses; 1 = greedy.")] = None,
    nbest: Annotated[int, typer.Option(min=1, help="So many lines each: index, rank, score, text.")] = 1,
    beam_penalty: Annotated[
        Literal["wu", "average", "none"] | None, typer.Option(help="How scores are made fair to length.")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option("--length-penalty", min=0.0, help="Its exponent.")
    ] = None,
    coverage_penalty: Annotated[
        float | None, typer.Option("--coverage-penalty", min=0.0, help="Weight of what is left out.")
    ] = None,
    no_repeat_ngram: Annotated[
        int | None, typer.Option("--no-repeat-ngram", min=0, help="No n-gram of words twice.")
    ] = None,
    min_length: Annotated[int, typer.Option(min=0, help="Symbols of an output at least.")] = 0,
    max_length: Annotated[int, typer.Option(min=0, help="At most; 0 = twice the source's and ten.")] = 0,
    scores: Annotated[bool, typer.Option("--scores", help="The score before each line.")] = False,
    batch_tokens: options.BatchTokensOption = 4096,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = 0,
) -> None:
    """Translate lines: one line in, one line out, in order."""
    where = model or [find_model(None, ("translate",))]
    from seqtool import api
    from seqtool.text.lines import open_input
    from seqtool.training.devices import configure, keep_memory_flat

    configure(threads)
    keep_memory_flat()
    translator = api.load_translator(where[0], device=device, precision=precision)
    chosen = _options(translator, locals())
    write = _writer(nbest, scores)
    started, lines, symbols = time.monotonic(), 0, 0
    stream = open_input(source)
    # What may pause is left open: closing it would wait for the thread that reads.
    with stream if streams.is_regular_file(stream) else nullcontext():
        items = _items(stream, source, translator)
        for group in streams.groups_of(items, stream, size=_size, budget=batch_tokens):
            found = translator.search([item.pair for item in group], chosen, batch_tokens=batch_tokens)
            console.write_result("".join(map(write, group, found)))
            console.output().flush()
            lines += len(group)
            symbols += sum(len(best[0].hypothesis.tokens) for best in found if best)
    seconds = max(time.monotonic() - started, 1e-9)
    rate = f"{lines:,} lines, {symbols:,} symbols, {seconds:.1f} s, {lines / seconds:,.1f} lines/s"
    console.say(f"{rate} ({chosen.describe()})")


def _options(translator: TranslatorModel, typed: dict[str, Any]) -> SearchOptions:
    """The model's own settings, and what was typed in their place."""
    from dataclasses import fields, replace

    from seqtool.translation.prediction import SearchOptions

    base = SearchOptions.of(translator.description.decoding)
    names = {field.name for field in fields(SearchOptions)}
    return replace(
        base, **{name: value for name, value in typed.items() if name in names and value is not None}
    )


def _items(stream: BinaryIO, source: str, translator: TranslatorModel) -> Iterator[Item]:
    from seqtool.text.lines import read_lines

    name = "standard input" if source == "-" else source
    for number, line in enumerate(read_lines(stream, name), 1):
        yield Item(number, translator.parse(line, number, name))


def _size(item: Item) -> int:
    return len(item.pair.source) // CHARACTERS + 1


def _writer(nbest: int, scores: bool) -> Callable[[Item, list[Translation]], str]:
    if nbest > 1:
        return lambda item, found: "".join(
            f"{item.number}\t{rank}\t{score}\t{text}\n"
            for rank, (score, text) in enumerate(_rows(found, nbest), 1)
        )
    if scores:
        return lambda item, found: "\t".join(_rows(found, 1)[0]) + "\n"
    return lambda item, found: _rows(found, 1)[0][1] + "\n"


def _rows(found: list[Translation], count: int) -> list[tuple[str, str]]:
    """Score and text of as many as were asked for; an empty line has empty translations of score 0."""
    rows = [(f"{each.hypothesis.score:.4f}", _one_line(each.text)) for each in found]
    return rows + [("0.0000", "")] * (count - len(rows))


def _one_line(text: str) -> str:
    """An output is one line, whatever bytes or characters a model gives."""
    return " ".join(text.split("\n")) if "\n" in text else text
