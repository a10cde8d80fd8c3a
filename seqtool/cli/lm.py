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
from seqtool.cli.option_groups import flag, given, with_options
from seqtool.cli.options import HardwareOptions, find_model
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


@dataclass(frozen=True)
class TextOptions:
    """What is written: after which prompt, how much, how often."""

    prompt: Annotated[str | None, typer.Option("--prompt", help="Text to go on from; it is written too.")] = (
        None
    )
    prompt_file: Annotated[
        str | None,
        typer.Option(
            "--prompt-file",
            metavar="FILE",
            help="The same from a file (also .gz), without its last line end; - is standard input.",
        ),
    ] = None
    length: Annotated[int, typer.Option("--length", min=1, help="Symbols of the model to write.")] = 500
    count: Annotated[
        int,
        typer.Option("-n", "--count", min=1, help="Texts, an empty line between unless a text is a line."),
    ] = 1
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", help="End a text with this; a model of lines or paragraphs ends with those."),
    ] = None
    beam: Annotated[
        int | None,
        typer.Option(
            "--beam", min=1, help="Search for a probable text; nothing is drawn then, so it takes no seed."
        ),
    ] = None

    def check(self) -> None:
        """Refuse what contradicts itself or means nothing.

        Raises:
            UsageError: saying what to do instead.
        """
        if self.prompt is not None and self.prompt_file is not None:
            raise UsageError("--prompt and --prompt-file both give the prompt: give one of them")
        if "" in (self.stop or ()):
            raise UsageError("--stop '': expected text to stop at; leave it out to write --length symbols")

    def read_prompt(self) -> str:
        """The prompt, from wherever it comes."""
        if self.prompt_file is None:
            return self.prompt or ""
        from seqtool.text.lines import lines_of

        return "\n".join(lines_of(self.prompt_file))

    @property
    def prompt_name(self) -> str:
        """What messages call the prompt."""
        return "--prompt" if self.prompt_file is None else f"--prompt-file {self.prompt_file}"


@dataclass(frozen=True)
class DrawingOptions:
    """How symbols are drawn."""

    temperature: Annotated[
        float, typer.Option(min=0.0, help="Sampling temperature; 0 = always the most probable symbol.")
    ] = 1.0
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Draw from K symbols; 0 = all.")] = 0
    top_p: Annotated[float, typer.Option("--top-p", help="Draw from the fewest with this mass.")] = 1.0
    min_p: Annotated[
        float, typer.Option("--min-p", help="Draw from those with this share of the most probable one's.")
    ] = 0.0
    typical: Annotated[
        float, typer.Option(help="Draw from the most typical ones with this mass (Meister 2023).")
    ] = 1.0
    repetition_penalty: Annotated[
        float, typer.Option(min=1.0, help="Log probabilities of symbols already written times this.")
    ] = 1.0
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="The same seed writes the same text; else the clock's."),
    ] = None

    def with_seed(self, seed: int) -> Any:
        """The same for the sampler."""
        from seqtool.decoding.sampling import SamplingOptions

        return SamplingOptions(
            self.temperature, self.top_k, self.top_p, min_p=self.min_p, typical=self.typical, seed=seed
        )


@dataclass(frozen=True)
class StateOptions:
    """Where a text is continued, and how it can be later."""

    save_state: Annotated[
        Path | None, typer.Option(metavar="F", help="Write where the text stands, to continue or to fork it.")
    ] = None
    load_state: Annotated[
        Path | None,
        typer.Option(
            metavar="F",
            help="Continue from there (with the same --seed as if it had not stopped); a prompt is read "
            "after it.",
        ),
    ] = None


@dataclass(frozen=True)
class SampleHardware:
    """Where and how symbols are computed."""

    device: options.DeviceOption = "auto"
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="auto, fp32, bf16 or int8; auto = int8 for LSTMs of some size where the processor has it. "
            "The same seed writes the same text with the same precision.",
        ),
    ] = "auto"
    threads: options.ThreadsOption = 0


@app.command()
@with_options
def sample(
    model: options.ModelOption = None,
    *,
    text: TextOptions,
    drawing: DrawingOptions,
    state: StateOptions,
    hardware: SampleHardware,
) -> None:
    """Write text, symbol by symbol, as it comes."""
    text.check()
    if state.save_state is not None and text.count > 1:
        raise UsageError("--save-state keeps one text; leave out -n")
    if state.save_state is not None:
        options.require_folder(state.save_state)
    _refuse_beside_beam(text, drawing, state, hardware)
    where = find_model(model, TASKS)
    from seqtool import api
    from seqtool.devices import PRECISION_NAMES, configure, prepare_for_rows
    from seqtool.lm.sampling import Sampler, beginning, load_continuation, save_continuation, writes_in_int8
    from seqtool.models.folder import weights_digest

    configure(hardware.threads)
    prepare_for_rows(text.count)
    # int8 is a matter of the products of a step.
    states = "auto" if hardware.precision == "int8" else hardware.precision
    writer = api.load_language_model(where, device=hardware.device, precision=states)
    int8 = writes_in_int8(writer, hardware.precision)
    saved = state.load_state
    after = None if saved is None else load_continuation(saved, writer, weights_digest(where))
    prompt = text.read_prompt()
    start = beginning(writer, prompt, after, what=text.prompt_name)
    if text.beam is not None:
        _write_likeliest(writer, start, prompt, text.length, text.beam)
        return
    seed = time.time_ns() % 2**31 if drawing.seed is None else drawing.seed
    penalty, rows = drawing.repetition_penalty, start.repeated(text.count)
    sampler = Sampler(writer, drawing.with_seed(seed), rows, repetition_penalty=penalty, int8=int8)
    started = time.monotonic()
    work = _Work.of(writer, sampler, start, prompt, text, unfinished=state.save_state is not None)
    written = (_write_one if text.count == 1 else _write_all)(work)
    seconds = time.monotonic() - started
    if state.save_state is not None:
        save_continuation(state.save_state, sampler.continuation(), weights_digest(where))
    arithmetic = "int8" if int8 else PRECISION_NAMES[writer.precision]
    console.say(f"seed {seed}, {arithmetic}; {_pace(written, seconds)}")


def _pace(written: int, seconds: float) -> str:
    return f"{written:,} symbols, {seconds:.1f} s, {written / max(seconds, 1e-9):,.0f} symbols/s"


def _refuse_beside_beam(
    text: TextOptions, drawing: DrawingOptions, state: StateOptions, hardware: SampleHardware
) -> None:
    """An option that is not read is not accepted."""
    if text.beam is None:
        return
    if hardware.precision == "int8":
        raise UsageError("--precision int8: not with --beam; use fp32 or bf16")
    unread = [flag(drawing, name) for name in given(drawing)]
    unread += [flag(text, name) for name in given(text) if name in ("count", "stop")]
    unread += [flag(state, name) for name in given(state) if name == "save_state"]
    if unread:
        raise UsageError(f"{', '.join(unread)}: not with --beam, which draws nothing; leave it out")


def _write_likeliest(model: LanguageModel, start: Continuation, prompt: str, length: int, beam: int) -> None:
    from seqtool.lm.data import first_document
    from seqtool.lm.search import likeliest

    text = model.symbols.decode(likeliest(model, start, length=length, beam=beam))
    console.write_result(prompt + first_document(text, model.description.data.documents) + "\n")


@dataclass(frozen=True)
class _Work:
    """What is to be written.

    Args:
        sampler: Draws the symbols of all texts.
        decoders: One for each text, at where it begins.
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

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        sampler: Sampler,
        start: Continuation,
        prompt: str,
        text: TextOptions,
        *,
        unfinished: bool,
    ) -> _Work:
        """What the options ask for."""
        from seqtool.lm.data import DOCUMENT_ENDS

        documents = model.description.data.documents
        decoders = [start.decoder(model) for _ in range(text.count)]
        ends = text.stop or DOCUMENT_ENDS.get(documents, [])
        return cls(sampler, decoders, prompt, text.length, ends, documents == "line", unfinished)


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
@with_options
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
    *,
    hardware: HardwareOptions,
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

    configure(hardware.threads)
    judge = api.load_language_model(where, device=hardware.device, precision=hardware.precision)
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
