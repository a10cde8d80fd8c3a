"""`seqtool translate`: lines in, lines out, as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, NamedTuple

import typer

from seqtool.cli import console, options, streams
from seqtool.cli.options import find_model
from seqtool.errors import DataError, UsageError

if TYPE_CHECKING:
    from seqtool.text.parallel import SentencePair
    from seqtool.translation.prediction import Translation, TranslatorModel
    from seqtool.translation.search import SearchOptions

CHARACTERS = 4  # of text that weigh as much as one symbol when memory is counted
LONG = 5_000  # characters of a line that is said to take long: models of sentences do badly on it, too
LINE = str.maketrans({"\n": " "})
FIELD = str.maketrans({"\n": " ", "\t": " "})


ModelsOption = Annotated[
    list[Path] | None,
    typer.Option("--model", "-m", help="Run folder or its model/ folder; several are an ensemble."),
]
NbestOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="So many lines each, of blank ones too: index, rank, score (as of --scores), text; "
        "alignments and pictures are those of the first. With --sample they are independent draws, and "
        "the same text may come more than once.",
    ),
]
SampleOption = Annotated[
    bool, typer.Option("--sample", help="Draw instead of searching; --nbest N draws N times.")
]
ScoresOption = Annotated[
    bool,
    typer.Option(
        "--scores",
        help="Before each line its score and a tab: log probability (nats) by the length penalty, "
        "less coverage penalties; with --sample the plain log probability.",
    ),
]
PicturesOption = Annotated[
    Path | None, typer.Option("--attention", metavar="DIR", help="A picture of each line's attention.")
]
PrefixOption = Annotated[
    Path | None,
    typer.Option(metavar="F", help="What line n of the output begins with, whatever --max-length."),
]
PhrasesOption = Annotated[
    Path | None, typer.Option(metavar="F", help="Phrases, between tabs, that line n contains.")
]
TargetOption = Annotated[
    Path | None,
    typer.Option(
        metavar="F",
        help="Score these outputs: log probability (nats, not divided), tab, line. Each is "
        "segmented as the vocabulary segments it; --scores gives the log probability of the segmentation "
        "that the search found, which may be higher.",
    ),
]


class Item(NamedTuple):
    """A line to be translated, with what stands beside it in other files."""

    number: int  # from 1
    pair: SentencePair
    prefix: str = ""
    phrases: tuple[str, ...] = ()


class Form(NamedTuple):
    """What is written of each line."""

    nbest: int
    scores: bool
    alignments: bool


def translate(
    source: Annotated[
        str, typer.Argument(metavar="[INPUT]", help="File (also .gz); - is standard input.")
    ] = "-",
    model: ModelsOption = None,
    beam: Annotated[int | None, typer.Option("--beam", min=1, help="Hypotheses; 1 = greedy.")] = None,
    nbest: NbestOption = 1,
    beam_penalty: Annotated[
        Literal["wu", "average", "none"] | None, typer.Option(help="What scores are divided by.")
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
    diverse: Annotated[int | None, typer.Option(min=1, help="Groups of diverse beam search.")] = None,
    min_length: Annotated[int | None, typer.Option(min=0, help="Symbols of an output at least.")] = None,
    max_length: Annotated[
        int, typer.Option(min=0, help="At most; 0 = as the training data had for such a source.")
    ] = 0,
    sample: SampleOption = False,
    mbr: Annotated[
        int | None, typer.Option(min=0, help="Draw N and take the one most like the others.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Of drawing: 1, or 0 = the likeliest.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=0, help="Draw from K symbols; 0 = all.")] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="Draw from the fewest with this mass.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of drawing.")] = None,
    scores: ScoresOption = False,
    alignments: Annotated[
        bool, typer.Option("--alignments", help="A tab and source-target pairs of words after each line.")
    ] = False,
    attention: PicturesOption = None,
    force_prefix: PrefixOption = None,
    constraints: PhrasesOption = None,
    force_target: TargetOption = None,
    batch_tokens: options.BatchTokensOption = 8192,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = 0,
) -> None:
    """Translate lines: one line in, one line out, in order.

    How to search is what the model's recipe says under [decoding], unless an option here says otherwise.
    """
    typed = dict(locals())
    where = model or [find_model(None, ("translate",))]
    from seqtool import api
    from seqtool.devices import configure

    configure(threads)
    first, *others = [api.load_translator(path, device=device, precision=precision) for path in where]
    if force_target is not None:
        _refuse_with_targets(typed, models=len(where))
        _score_given(first, source, force_target, batch_tokens)
        return
    chosen = _options(first, typed)
    work = _Work(first, others, chosen, Form(nbest, scores, alignments), attention, batch_tokens)
    work.run(source, {"prefix": force_prefix, "phrases": constraints})


class _Work:
    """Groups of lines through the model, and what is written of them."""

    def __init__(
        self,
        model: TranslatorModel,
        others: list[TranslatorModel],
        chosen: SearchOptions,
        form: Form,
        pictures: Path | None,
        batch_tokens: int,
    ) -> None:
        self.model, self.others, self.options = model, others, chosen
        self.form, self.pictures, self.batch_tokens = form, pictures, batch_tokens
        if form.alignments:
            model.require_attention("to align words by")
        if pictures is not None:
            model.require_attention("to draw")
            streams.make_folder(pictures)

    def run(self, source: str, beside: dict[str, Path | None]) -> None:
        """All lines of a stream."""
        started, lines, symbols = time.monotonic(), 0, 0
        with _opened(source) as stream:
            items = _items(stream, source, self.model, beside)
            for group in streams.groups_of(items, stream, size=_size, budget=self.batch_tokens):
                found = self._search(group)
                console.write_result("".join(self._written(group, found)))
                console.output().flush()
                lines += len(group)
                symbols += sum(len(best[0].hypothesis.tokens) for best in found if best)
        seconds = max(time.monotonic() - started, 1e-9)
        count = f"{lines:,} line{'s' * (lines != 1)}"
        rate = f"{count}, {symbols:,} symbols, {seconds:.1f} s, {lines / seconds:,.1f} lines/s"
        console.say(f"{rate} ({self.model.describe_search(self.options)})")

    def _search(self, group: list[Item]) -> list[list[Translation]]:
        found = self.model.search(
            [item.pair for item in group],
            self.options,
            prefixes=[item.prefix for item in group],
            phrases=[item.phrases for item in group],
            together=self.others,
            batch_tokens=self.batch_tokens,
        )
        for item, translations in zip(group, found, strict=True):
            if translations and translations[0].hypothesis.exhausted:
                console.warn(f"line {item.number}: the constraints leave no translation; the line is empty")
            elif translations and translations[0].hypothesis.unmet:
                console.warn(f"line {item.number}: no translation with all phrases was found")
        return found

    def _written(self, group: list[Item], found: list[list[Translation]]) -> Iterator[str]:
        readings = self._read(group, found) if self.form.alignments or self.pictures else {}
        for position, (item, translations) in enumerate(zip(group, found, strict=True)):
            reading = readings.get(position)
            tail = ""
            if self.form.alignments:
                tail = "\t" + ("" if reading is None else self.model.alignment(item.pair, reading))
            if self.pictures is not None and reading is not None:
                from seqtool.cli.reports.attention import draw

                draw(reading, item.pair.source, self.pictures / f"{item.number}.png")
            yield _lines(item.number, translations, self.form, tail)

    def _read(self, group: list[Item], found: list[list[Translation]]) -> dict[int, Any]:
        """Readings of the best translations, by place in the group."""
        places = [i for i, translations in enumerate(found) if translations]
        readings = self.model.read(
            [group[i].pair for i in places],
            [found[i][0].hypothesis.tokens for i in places],
            batch_tokens=self.batch_tokens,
        )
        return dict(zip(places, readings, strict=True))


# What only a search reads, what only drawing reads, and what scoring given outputs does not.
SEARCHING = ("beam", "beam_penalty", "length_penalty", "coverage_penalty", "no_repeat_ngram", "diverse")
DRAWING = ("temperature", "top_k", "top_p", "seed")
FINDING = (*SEARCHING, *DRAWING, "min_length", "max_length", "mbr", "force_prefix", "constraints")


def _options(translator: TranslatorModel, typed: dict[str, Any]) -> SearchOptions:
    """The model's own settings, and what was typed in their place."""
    from seqtool.translation.search import SearchOptions

    base = SearchOptions.of(translator.description.decoding)
    draws = typed["sample"] or typed["mbr"]
    unread = (*SEARCHING, "force_prefix", "constraints") if draws else DRAWING
    _refuse(typed, unread, "with --sample or --mbr" if draws else "without --sample")
    if typed["mbr"] and typed["nbest"] > 1:
        raise UsageError("--mbr gives one translation of each line; leave out --nbest")
    if draws:
        base = replace(base, beam=1, no_repeat_ngram=0, coverage_penalty=0.0)
    elif typed["beam"] is None and typed["nbest"] > base.beam:
        raise UsageError(f"--nbest {typed['nbest']} with a beam of {base.beam}; raise --beam")
    names = {field.name for field in fields(SearchOptions)}
    chosen = {name: value for name, value in typed.items() if name in names and value is not None}
    return replace(base, **chosen)


def _refuse(typed: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    """An option that is not read is not accepted."""
    for name in names:
        if typed[name] is not None:
            raise UsageError(f"--{name.replace('_', '-')} means nothing {where}; leave it out")


def _refuse_with_targets(typed: dict[str, Any], models: int) -> None:
    """Targets that are given are only scored, in float32 or bf16, by one model."""
    _refuse({**typed, "max_length": typed["max_length"] or None}, FINDING, "with --force-target")
    extras = {
        "--sample": typed["sample"],
        "--nbest": typed["nbest"] > 1,
        "--alignments": typed["alignments"],
        "--attention": typed["attention"] is not None,
        "--precision int8": typed["precision"] == "int8",
        "a second model": models > 1,
    }
    if ignored := [name for name, given in extras.items() if given]:
        raise UsageError(f"{', '.join(ignored)}: not with --force-target; leave it out")


def _opened(source: str) -> Any:
    """A stream; what may pause is left open: closing it would wait for the thread that reads."""
    from seqtool.text.lines import open_input

    stream = open_input(source)
    return stream if streams.is_regular_file(stream) else nullcontext(stream)


def _items(
    stream: BinaryIO, source: str, translator: TranslatorModel, beside: dict[str, Path | None]
) -> Iterator[Item]:
    from seqtool.text.lines import lines_of, read_lines

    name = "standard input" if source == "-" else source
    others = {key: lines_of(path) for key, path in beside.items() if path is not None}
    number = 0
    for number, line in enumerate(read_lines(stream, name), 1):
        item = Item(number, translator.parse(line, number, name))
        if len(line) > LONG:
            console.warn(
                f"line {number}: {len(line):,} characters: this takes long, and a translator of sentences "
                "does badly on it; split it first"
            )
        for key, lines in others.items():
            other = next(lines, None)
            if other is None:
                raise DataError(f"{beside[key]}: {number - 1} lines, but {name} has more; expected as many")
            value: Any = tuple(filter(None, other.split("\t"))) if key == "phrases" else other
            item = item._replace(**{key: value})
        yield item
    for key, lines in others.items():
        if next(lines, None) is not None:
            raise DataError(f"{beside[key]}: more than the {number} lines of {name}; expected as many")


def _size(item: Item) -> int:
    return len(item.pair.source) // CHARACTERS + 1


def _score_given(translator: TranslatorModel, source: str, targets: Path, batch_tokens: int) -> None:
    """Log probabilities of outputs that are there already."""
    with _opened(source) as stream:
        items = _items(stream, source, translator, {"prefix": targets})
        for group in streams.groups_of(items, stream, size=_size, budget=batch_tokens):
            pairs = [replace(item.pair, target=item.prefix) for item in group]
            for item, reading in zip(group, translator.read(pairs, batch_tokens=batch_tokens), strict=True):
                score = reading.score if item.pair.source.strip() else 0.0
                console.write_result(f"{score:.4f}\t{item.prefix}\n")
            console.output().flush()


def _lines(number: int, translations: list[Translation], form: Form, tail: str) -> str:
    """What is written of a line; an empty line has empty translations of score 0."""
    fields = form.nbest > 1 or form.scores or bool(tail)
    rows = [(f"{each.hypothesis.score:.4f}", _one_line(each.text, fields)) for each in translations]
    rows += [("0.0000", "")] * (form.nbest - len(rows))
    if form.nbest > 1:
        return "".join(
            f"{number}\t{rank}\t{score}\t{text}{tail if rank == 1 else tail and chr(9)}\n"
            for rank, (score, text) in enumerate(rows, 1)
        )
    score, text = rows[0]
    return f"{score}\t{text}{tail}\n" if form.scores else f"{text}{tail}\n"


def _one_line(text: str, fields: bool) -> str:
    """An output is one line, whatever bytes or characters a model gives, and one of several fields."""
    return text.translate(FIELD if fields else LINE)
