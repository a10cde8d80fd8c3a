"""`seqtool lm`: text from a language model, and how probable a text is to it."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seqtool.cli import console, options, scored_lines
from seqtool.cli.options import find_model
from seqtool.errors import UsageError

if TYPE_CHECKING:
    from seqtool.lm.lines import ScoredLine
    from seqtool.lm.prediction import LanguageModel
    from seqtool.lm.sampling import Continuation, Sampler
    from seqtool.lm.scoring import Reader
    from seqtool.lm.vocabulary import TextDecoder

app = typer.Typer(
    help="Language models: write text, score text.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

TASKS = ("lm",)


CountOption = Annotated[
    int,
    typer.Option("-n", "--count", min=1, help="Texts, an empty line between unless a text is a line."),
]
StopOption = Annotated[
    list[str] | None,
    typer.Option("--stop", help="End a text with this; a model of lines or paragraphs ends with those."),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="The same seed writes the same; else the clock's."),
]
BeamOption = Annotated[
    int | None,
    typer.Option(
        "--beam", min=1, help="Search for a probable text; nothing is drawn then, so it takes no seed."
    ),
]
SaveOption = Annotated[
    Path | None, typer.Option(metavar="F", help="Write where the text stands, to go on or to fork.")
]
LoadOption = Annotated[
    Path | None,
    typer.Option(
        metavar="F",
        help="Go on from there (with the same --seed as if it had not stopped); a prompt is read after it.",
    ),
]
SamplePrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        help="auto, fp32, bf16 or int8; auto = int8 for LSTMs of some size where the processor has it. The "
        "same seed writes the same text with the same precision.",
    ),
]


@app.command()
def sample(
    model: options.ModelOption = None,
    prompt: Annotated[str, typer.Option("--prompt", help="Text to go on from; it is written too.")] = "",
    length: Annotated[int, typer.Option("--length", min=1, help="Symbols of the model to write.")] = 500,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Scores are divided by it; 0 = always the likeliest symbol.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Draw from K symbols; 0 = all.")] = 0,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw from the fewest with this mass.")] = 1.0,
    min_p: Annotated[
        float, typer.Option("--min-p", help="Draw from those with this share of the likeliest one's.")
    ] = 0.0,
    typical: Annotated[
        float, typer.Option(help="Draw from the most typical ones with this mass (Meister 2023).")
    ] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option(min=1.0, help="Log probabilities of symbols already written times this.")
    ] = 1.0,
    count: CountOption = 1,
    stop: StopOption = None,
    seed: SeedOption = None,
    beam: BeamOption = None,
    save_state: SaveOption = None,
    load_state: LoadOption = None,
    device: options.DeviceOption = "auto",
    precision: SamplePrecisionOption = "auto",
    threads: options.ThreadsOption = 0,
) -> None:
    """Write text, symbol by symbol, as it comes."""
    typed = dict(locals())
    if save_state is not None and count > 1:
        raise UsageError("--save-state keeps one text; leave out -n")
    if save_state is not None:
        options.require_folder(save_state)
    _refuse_beside_beam(typed)
    where = find_model(model, TASKS)
    from seqtool import api
    from seqtool.devices import PRECISION_NAMES, configure, prepare_for_rows
    from seqtool.lm.data import DOCUMENT_ENDS
    from seqtool.lm.sampling import Sampler, beginning, load_continuation, save_continuation, writes_in_int8
    from seqtool.models.folder import weights_digest

    configure(threads)
    prepare_for_rows(count)
    states = "auto" if precision == "int8" else precision  # int8 is a matter of the products of a step
    writer = api.load_language_model(where, device=device, precision=states)
    int8 = writes_in_int8(writer, precision)
    after = None if load_state is None else load_continuation(load_state, writer, weights_digest(where))
    start = beginning(writer, prompt, after)
    if beam is not None:
        _write_likeliest(writer, start, prompt, length, beam)
        return
    seed = _seed(seed)
    drawing, streams = _drawing(typed, seed), start.repeated(count)
    sampler = Sampler(writer, drawing, streams, repetition_penalty=repetition_penalty, int8=int8)
    ends = stop or DOCUMENT_ENDS.get(writer.description.data.documents, [])
    started = time.monotonic()
    decoders = [start.decoder(writer) for _ in range(count)]
    one_line = writer.description.data.documents == "line"
    work = _Work(sampler, decoders, prompt, length, ends, one_line, unfinished=save_state is not None)
    written = (_write_one if count == 1 else _write_all)(work)
    seconds = time.monotonic() - started
    if save_state is not None:
        save_continuation(save_state, sampler.continuation(), weights_digest(where))
    arithmetic = "int8" if int8 else PRECISION_NAMES[writer.precision]
    console.say(f"seed {seed}, {arithmetic}; {_pace(written, seconds)}")


def _pace(written: int, seconds: float) -> str:
    return f"{written:,} symbols, {seconds:.1f} s, {written / max(seconds, 1e-9):,.0f} symbols/s"


def _seed(given: int | None) -> int:
    return time.time_ns() % 2**31 if given is None else given


def _drawing(typed: dict[str, Any], seed: int) -> Any:
    from seqtool.decoding.sampling import SamplingOptions

    names = ("temperature", "top_k", "top_p", "min_p", "typical")
    return SamplingOptions(**{name: typed[name] for name in names}, seed=seed)


DRAWING = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical": 1.0,
    "repetition_penalty": 1.0,
    "count": 1,
    "stop": None,
    "seed": None,
    "save_state": None,
}


def _refuse_beside_beam(typed: dict[str, Any]) -> None:
    """An option that is not read is not accepted."""
    if typed["beam"] is None:
        return
    if typed["precision"] == "int8":
        raise UsageError("--precision int8: not with --beam; use fp32 or bf16")
    given = [name for name, default in DRAWING.items() if typed[name] != default]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{names}: not with --beam, which draws nothing; leave it out")


def _write_likeliest(model: LanguageModel, start: Continuation, prompt: str, length: int, beam: int) -> None:
    from seqtool.lm.data import first_document
    from seqtool.lm.search import likeliest

    text = model.symbols.decode(likeliest(model, start, length=length, beam=beam))
    console.write_result(prompt + first_document(text, model.description.data.documents) + "\n")


@dataclass(frozen=True)
class _Work:
    """What is to be written.

    Args:
        sampler: Of all streams.
        decoders: Of each stream, at where it begins.
        prompt: What stands before each text.
        length: Symbols of a text at most.
        ends: Each ends a text.
        one_line: A text is a line, and ends it.
        unfinished: Half a character at the end is left to whoever goes on.
    """

    sampler: Sampler
    decoders: Sequence[TextDecoder]
    prompt: str
    length: int
    ends: Sequence[str]
    one_line: bool
    unfinished: bool = False


def _write_one(work: _Work) -> int:
    """One text, each character as soon as it is there; how many symbols were written."""
    out, decoder = console.output(), work.decoders[0]
    console.write_result(work.prompt)
    out.flush()
    tail, longest, written, piece = "", max(map(len, work.ends), default=0), 0, ""
    while written < work.length:
        piece = decoder.push(work.sampler.step()[0])
        written += 1
        if piece:
            console.write_result(piece)
            out.flush()
        tail = (tail + piece)[-longest - len(piece) :] if longest else ""
        if any(end in tail for end in work.ends):
            break
    rest = "" if work.unfinished else decoder.finish()
    console.write_result(rest if work.one_line and piece.endswith("\n") else f"{rest}\n")
    out.flush()
    return written


def _write_all(work: _Work) -> int:
    """Several texts, one after the other when all are there; how many symbols were drawn."""
    from seqtool.lm.sampling import texts_of

    texts, written = texts_of(work.sampler, work.decoders, length=work.length, ends=work.ends)
    for number, text in enumerate(texts):
        text = work.prompt + text
        between = "" if work.one_line or not number else "\n"
        console.write_result(between + text.removesuffix("\n") + "\n")
    console.output().flush()
    return written


@app.command()
def score(
    source: Annotated[
        str, typer.Argument(metavar="[INPUT]", help="File (also .gz); - is standard input.")
    ] = "-",
    model: options.ModelOption = None,
    per_token: Annotated[
        bool, typer.Option("--per-token", help="Every symbol with its log probability, too (jsonl).")
    ] = False,
    protocol: Annotated[
        Literal["streaming", "cold"],
        typer.Option(help="Each line goes on from the one before (streaming), or stands alone (cold)."),
    ] = "streaming",
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Learn from the text while reading it (Krause 2018).")
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Only the N lines with the most bits a character, worst first, at the end."),
    ] = None,
    form: Annotated[
        Literal["auto", "jsonl", "tsv", "colour"],
        typer.Option("--format", help="auto: coloured text in a terminal, else JSON lines."),
    ] = "auto",
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = 0,
) -> None:
    """How probable each line of a text is.

    Its end is counted with it; totals go to standard error.
    """
    if per_token and form in ("colour", "tsv"):
        raise UsageError(
            "--per-token is for jsonl: --format colour shows every symbol as it is, tsv has lines"
        )
    if adapt and protocol == "cold":
        raise UsageError("--adapt remembers what it has read, and --protocol cold forgets it: choose one")
    where = find_model(model, TASKS)
    from seqtool import api
    from seqtool.devices import configure

    configure(threads)
    judge = api.load_language_model(where, device=device, precision=precision)
    write = scored_lines.writer(form, per_token=per_token)
    totals = scored_lines.Totals()
    reader = judge.reader(adapt=adapt)
    rows = scored_lines.counted(_scored(judge, reader, source, protocol == "cold"), totals)
    if top is not None:
        rows = iter(heapq.nlargest(top, rows, key=lambda row: (row.bits_per_character, -row.line)))
    for row in rows:
        write(row)
        console.output().flush()
    console.say(totals.describe())
    if adapt and not reader.steps:
        window = judge.description.adaptation.window
        console.warn(
            f"--adapt learns after every {window} symbols; here were {totals.symbols}, so nothing was learned"
        )


def _scored(judge: LanguageModel, reader: Reader, source: str, cold: bool) -> Iterator[ScoredLine]:
    from seqtool.lm.lines import score_lines
    from seqtool.text.lines import lines_of

    return score_lines(judge, lines_of(source), reader, cold=cold)
