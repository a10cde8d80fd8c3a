"""Options of `seqtool lm sample` and `seqtool lm score`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seqtool.cli import options
from seqtool.cli.help import DATA, DECODING, HARDWARE, MODEL, OUTPUT
from seqtool.errors import UsageError


@dataclass(frozen=True)
class TextOptions:
    """Prompt, length and number of the texts."""

    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", metavar="TEXT", help="Text to continue; it is printed as well.", rich_help_panel=DATA
        ),
    ] = None
    prompt_file: Annotated[
        str | None,
        typer.Option(
            "--prompt-file",
            metavar="FILE",
            help="Read the prompt from this file (also .gz), without its last line break; - is standard "
            "input.",
            rich_help_panel=DATA,
        ),
    ] = None
    length: Annotated[
        int,
        typer.Option(
            "--length",
            metavar="N",
            min=1,
            help="Maximum length of a text, in symbols of the model's vocabulary.",
            rich_help_panel=OUTPUT,
        ),
    ] = 500
    count: Annotated[
        int,
        typer.Option(
            "-n",
            "--count",
            metavar="N",
            min=1,
            help="Number of texts, separated by empty lines unless each text is one line.",
            rich_help_panel=OUTPUT,
        ),
    ] = 1
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            metavar="TEXT",
            help="End a text after this string. Repeatable. Default: the end of a line or paragraph, for "
            "models of those.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    beam: Annotated[
        int | None,
        typer.Option(
            "--beam",
            metavar="K",
            min=1,
            help="Search for a probable text with a beam of K instead of sampling; no seed is used.",
            rich_help_panel=DECODING,
        ),
    ] = None

    def check(self) -> None:
        """Refuse options that contradict each other or have no effect.

        Raises:
            UsageError: there are such options; the message says which to leave out.
        """
        if self.prompt is not None and self.prompt_file is not None:
            raise UsageError("--prompt and --prompt-file both give the prompt; leave one of them out")
        if "" in (self.stop or ()):
            raise UsageError(
                "--stop '': expected a text to stop after; leave it out to write --length symbols"
            )

    def read_prompt(self) -> str:
        """The text of `--prompt` or `--prompt-file`; empty if neither is given."""
        if self.prompt_file is None:
            return self.prompt or ""
        from seqtool.text.lines import lines_of

        return "\n".join(lines_of(self.prompt_file))

    @property
    def prompt_name(self) -> str:
        """Name of the prompt in messages."""
        return "--prompt" if self.prompt_file is None else f"--prompt-file {self.prompt_file}"


@dataclass(frozen=True)
class DrawingOptions:
    """How symbols are sampled."""

    temperature: Annotated[
        float,
        typer.Option(min=0.0, help="Sampling temperature; 0 = greedy.", rich_help_panel=DECODING),
    ] = 1.0
    top_k: Annotated[
        int,
        typer.Option(
            "--top-k",
            metavar="K",
            min=0,
            help="Sample from the K most probable symbols; 0 = all.",
            rich_help_panel=DECODING,
        ),
    ] = 0
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p",
            metavar="P",
            help="Sample from the smallest set of symbols with total probability P.",
            rich_help_panel=DECODING,
        ),
    ] = 1.0
    min_p: Annotated[
        float,
        typer.Option(
            "--min-p",
            metavar="P",
            help="Sample from the symbols at least P times as probable as the most probable one.",
            rich_help_panel=DECODING,
        ),
    ] = 0.0
    typical: Annotated[
        float,
        typer.Option(
            metavar="P",
            help="Locally typical sampling with total probability P (Meister et al. 2023).",
            rich_help_panel=DECODING,
        ),
    ] = 1.0
    repetition_penalty: Annotated[
        float,
        typer.Option(
            min=1.0,
            help="Multiply the log probabilities of symbols that were written before by this; 1 = off.",
            rich_help_panel=DECODING,
        ),
    ] = 1.0
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            help="Random seed; the same seed writes the same text. Default: from the clock.",
            rich_help_panel=DECODING,
        ),
    ] = None

    def with_seed(self, seed: int) -> Any:
        """The options of the sampler, with a seed."""
        from seqtool.decoding.sampling import SamplingOptions

        return SamplingOptions(
            self.temperature, self.top_k, self.top_p, min_p=self.min_p, typical=self.typical, seed=seed
        )


@dataclass(frozen=True)
class StateOptions:
    """Files of states, from which a text can be continued."""

    save_state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save the state at the end of the text, to continue it later.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    load_state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Continue from a saved state (with the same --seed, as if it had not stopped); a prompt "
            "is read after it.",
            rich_help_panel=DATA,
        ),
    ] = None


@dataclass(frozen=True)
class SampleHardware:
    """Device and arithmetic of sampling."""

    device: options.DeviceOption = "auto"
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="PRECISION",
            help="Arithmetic: auto, fp32, bf16 or int8. auto picks int8 for larger LSTMs if the CPU supports "
            "it. A seed repeats a text only with the same precision.",
            rich_help_panel=HARDWARE,
        ),
    ] = "auto"
    threads: options.ThreadsOption = 0


@dataclass(frozen=True)
class ScoreOptions:
    """How lines are scored, and what is written about them."""

    per_token: Annotated[
        bool,
        typer.Option(
            "--per-token", help="Add the log probability of every symbol (jsonl).", rich_help_panel=OUTPUT
        ),
    ] = False
    per_word: Annotated[
        bool,
        typer.Option(
            "--per-word",
            help="Add the bits of every word, the space before it included (jsonl).",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    protocol: Annotated[
        Literal["streaming", "cold"],
        typer.Option(
            help="Read each line in the context of those before it (streaming), or on its own (cold).",
            rich_help_panel=MODEL,
        ),
    ] = "streaming"
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt",
            help="Adapt the model to the text while reading it: dynamic evaluation (Krause et al. 2018).",
            rich_help_panel=MODEL,
        ),
    ] = False
    top: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Print only the N lines with the most bits per character, worst first.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    form: Annotated[
        Literal["auto", "jsonl", "tsv", "colour"],
        typer.Option(
            "--format",
            help="Output format; auto = coloured text on a terminal, otherwise JSON lines.",
            rich_help_panel=OUTPUT,
        ),
    ] = "auto"

    def details(self) -> list[str]:
        """What is written about the parts of a line: per_token, per_word, both or nothing."""
        return [name for name in ("per_token", "per_word") if getattr(self, name)]
