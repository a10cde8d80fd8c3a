"""`seqtool lm`: text from a language model, and the probability of a text."""

from __future__ import annotations

import heapq
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqtool.cli import console, options, scored_lines
from seqtool.cli.help import CommandGroup
from seqtool.cli.lm_options import DrawingOptions, SampleHardware, ScoreOptions, StateOptions, TextOptions
from seqtool.cli.option_groups import flag, given, with_options
from seqtool.cli.options import FloatHardwareOptions, find_model
from seqtool.errors import UsageError, counted

if TYPE_CHECKING:
    from seqtool.lm.lines import ScoredLine
    from seqtool.lm.prediction import LanguageModel
    from seqtool.lm.sampling import Continuation, Sampler
    from seqtool.lm.scoring import Reader
    from seqtool.lm.vocabulary import TextDecoder

app = CommandGroup(
    """Write text with a language model, or score the lines of a text.

    Examples:
      seqtool lm sample --prompt 'The statement' --temperature 0.7
      seqtool lm score text.txt --top 10
    """
)

TASKS = ("lm",)


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
    """Write text, symbol by symbol, as it is sampled.

    Examples:
      seqtool lm sample --prompt 'The statement' --temperature 0.7
      seqtool lm sample -m runs/lm/lm-tiny --length 200 -n 3 --seed 1
    """
    text.check()
    if state.save_state is not None and text.count > 1:
        raise UsageError("--save-state saves the state of one text; leave -n out")
    if state.save_state is not None:
        from seqtool.text.output import require_free

        require_free(state.save_state, overwrite=True)
    _refuse_beside_beam(text, drawing, state, hardware)
    where = find_model(model, TASKS)
    from seqtool import api
    from seqtool.devices import PRECISION_NAMES, configure, prepare_for_rows
    from seqtool.lm.sampling import Sampler, beginning, load_continuation, save_continuation, writes_in_int8
    from seqtool.models.folder import weights_digest

    configure(hardware.threads)
    prepare_for_rows(text.count)
    # int8 applies to the matrix products of a step, not to the stored states.
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
    return f"{counted(written, 'symbol')}, {seconds:.1f} s, {written / max(seconds, 1e-9):,.0f} symbols/s"


def _refuse_beside_beam(
    text: TextOptions, drawing: DrawingOptions, state: StateOptions, hardware: SampleHardware
) -> None:
    """Refuse options that would be ignored with `--beam`."""
    if text.beam is None:
        return
    if hardware.precision == "int8":
        raise UsageError(
            "--precision int8 cannot be combined with --beam; use --precision fp32 or --precision bf16"
        )
    unread = [flag(drawing, name) for name in given(drawing)]
    unread += [flag(text, name) for name in given(text) if name in ("count", "stop")]
    unread += [flag(state, name) for name in given(state) if name == "save_state"]
    if unread:
        raise UsageError(
            f"{', '.join(unread)} has no effect with --beam, which does not sample; leave it out"
        )


def _write_likeliest(model: LanguageModel, start: Continuation, prompt: str, length: int, beam: int) -> None:
    from seqtool.lm.data import first_document
    from seqtool.lm.search import likeliest

    text = model.symbols.decode(likeliest(model, start, length=length, beam=beam))
    console.write_result(prompt + first_document(text, model.description.data.documents) + "\n")


@dataclass(frozen=True)
class _Work:
    """The texts that are to be written.

    Args:
        sampler: Samples the symbols of all texts.
        decoders: One per text, in the state at its beginning.
        prompt: Text before each sampled text.
        length: Maximum length of a text, in symbols.
        ends: Strings after which a text ends.
        one_line: Whether each text is one line.
        unfinished: Whether an incomplete character at the end is kept in the saved state rather than printed.
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
        """The work that the options ask for."""
        from seqtool.lm.data import DOCUMENT_ENDS

        documents = model.description.data.documents
        decoders = [start.decoder(model) for _ in range(text.count)]
        ends = text.stop or DOCUMENT_ENDS.get(documents, [])
        return cls(sampler, decoders, prompt, text.length, ends, documents == "line", unfinished)


def _write_one(work: _Work) -> int:
    """Write one text, each character as soon as it is complete; returns the number of symbols."""
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
    """Write several texts when all are complete; returns the number of symbols that were sampled."""
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
        str, typer.Argument(metavar="INPUT", help="A file (also .gz); - is standard input.")
    ] = "-",
    model: options.ModelOption = None,
    *,
    scoring: ScoreOptions,
    hardware: FloatHardwareOptions,
) -> None:
    """Score each line of a text: how probable it is, its line end included.

    On a terminal, bits per character stand before each line, and its symbols are coloured by their bits:
    dim below 1, red from 5, bold red from 8. The fewer bits, the less surprising is the text. Totals go
    to standard error.

    Examples:
      seqtool lm score text.txt --top 10
      echo 'We are hungry' | seqtool lm score --per-word
    """
    details = scoring.details()
    if details and scoring.form in ("colour", "tsv"):
        option = f"--{details[0].replace('_', '-')}"
        raise UsageError(f"{option} has no effect with --format colour or --format tsv; use --format jsonl")
    if scoring.adapt and scoring.protocol == "cold":
        raise UsageError(
            "--adapt remembers earlier lines and --protocol cold forgets them; leave one of them out"
        )
    if " " in source and not Path(source).exists():
        raise UsageError(
            f"{source}: no such file; to score a text, write: echo {shlex.quote(source)} | seqtool lm score"
        )
    where = find_model(model, TASKS)
    from seqtool import api
    from seqtool.devices import configure

    configure(hardware.threads)
    judge = api.load_language_model(where, device=hardware.device, precision=hardware.precision)
    write = scored_lines.writer(scoring.form, details)
    totals = scored_lines.Totals()
    reader = judge.reader(adapt=scoring.adapt)
    rows = scored_lines.adding_up(_scored(judge, reader, source, scoring.protocol == "cold"), totals)
    if scoring.top is not None:
        rows = iter(heapq.nlargest(scoring.top, rows, key=lambda row: (row.bits_per_character, -row.line)))
    for row in rows:
        write(row)
        console.output().flush()
    console.say(totals.describe())
    if scoring.adapt and not reader.steps:
        window = judge.description.adaptation.window
        console.warn(
            f"--adapt updates the model after every {window} symbols; the text has "
            f"{counted(totals.symbols, 'symbol')}, so there was no update"
        )


def _scored(judge: LanguageModel, reader: Reader, source: str, cold: bool) -> Iterator[ScoredLine]:
    from seqtool.lm.lines import score_lines
    from seqtool.text.lines import lines_of

    return score_lines(judge, lines_of(source), reader, cold=cold)
