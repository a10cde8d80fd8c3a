"""Options of `seqtool translate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from seqtool.cli.help import DATA, DECODING, MODEL, OUTPUT
from seqtool.cli.rescoring import LM_HELP, WEIGHT_HELP

ModelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Run folder or its model/ folder; several -m make an ensemble. Default: $SEQTOOL_MODEL, else "
        "the newest finished run.",
        rich_help_panel=MODEL,
    ),
]

TagOption = Annotated[
    str | None,
    typer.Option(
        "--tag",
        metavar="NAME",
        help="Tag of all lines, for a model of several languages or tasks (data.tag, data.corpora). Default: "
        "the first feature of each line.",
        rich_help_panel=DATA,
    ),
]


@dataclass(frozen=True)
class SearchGroup:
    """Options of the search; None = as the model's recipe says under [decoding]."""

    beam: Annotated[
        int | None,
        typer.Option("--beam", min=1, help="Beam size; 1 = greedy search.", rich_help_panel=DECODING),
    ] = None
    beam_penalty: Annotated[
        Literal["wu", "average", "none"] | None,
        typer.Option(
            help="Divide scores by the length penalty of Wu et al. (wu), by the length (average), or not "
            "at all (none).",
            rich_help_panel=DECODING,
        ),
    ] = None
    length_penalty: Annotated[
        float | None,
        typer.Option(
            "--length-penalty", min=0.0, help="Exponent of the length penalty.", rich_help_panel=DECODING
        ),
    ] = None
    coverage_penalty: Annotated[
        float | None,
        typer.Option(
            "--coverage-penalty",
            min=0.0,
            help="Weight of the coverage penalty, for source words left untranslated (Wu et al. 2016).",
            rich_help_panel=DECODING,
        ),
    ] = None
    no_repeat_ngram: Annotated[
        int | None,
        typer.Option(
            "--no-repeat-ngram",
            metavar="N",
            min=0,
            help="Never repeat an n-gram of N words; 0 = off.",
            rich_help_panel=DECODING,
        ),
    ] = None
    diverse: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Diverse beam search with N groups.", rich_help_panel=DECODING),
    ] = None


@dataclass(frozen=True)
class RescoringGroup:
    """A language model that reorders the outputs of a search."""

    lm: Annotated[
        Path | None, typer.Option("--lm", metavar="MODEL", help=LM_HELP, rich_help_panel=DECODING)
    ] = None
    lm_weight: Annotated[
        str | None,
        typer.Option("--lm-weight", metavar="auto|X", help=WEIGHT_HELP, rich_help_panel=DECODING),
    ] = None


@dataclass(frozen=True)
class LengthGroup:
    """Bounds on the length of an output, for searching and sampling."""

    min_length: Annotated[
        int | None,
        typer.Option(min=0, help="Minimum length of an output, in symbols.", rich_help_panel=DECODING),
    ] = None
    max_length: Annotated[
        int,
        typer.Option(
            min=0,
            help="Maximum length of an output, in symbols; 0 = as in the training data for a source of "
            "that length.",
            rich_help_panel=DECODING,
        ),
    ] = 0


@dataclass(frozen=True)
class DrawingGroup:
    """Options of sampling, in place of searching."""

    sample: Annotated[
        bool,
        typer.Option(
            "--sample",
            help="Sample instead of searching; --nbest N samples N times.",
            rich_help_panel=DECODING,
        ),
    ] = False
    mbr: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Sample N translations and take the one most similar to the others (minimum Bayes risk).",
            rich_help_panel=DECODING,
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option(min=0.0, help="Sampling temperature; 0 = greedy. Default: 1.", rich_help_panel=DECODING),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            metavar="K",
            min=0,
            help="Sample from the K most probable symbols; 0 = all.",
            rich_help_panel=DECODING,
        ),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p",
            metavar="P",
            help="Sample from the smallest set of symbols with total probability P.",
            rich_help_panel=DECODING,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Random seed of the sampling.", rich_help_panel=DECODING),
    ] = None


@dataclass(frozen=True)
class FormGroup:
    """What is written for each line, and in which format."""

    form: Annotated[
        Literal["text", "jsonl"],
        typer.Option(
            "--format",
            help="Output format. text: lines; jsonl: objects with source, text, score, n-best list, and "
            "the other keys of the input.",
            rich_help_panel=OUTPUT,
        ),
    ] = "text"
    nbest: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Write N lines for each line, blank ones too: index, rank, score (as of --scores), "
            "text. Alignments and pictures are those of the first. With --sample they are "
            "independent draws, and the same text may come more than once.",
            rich_help_panel=OUTPUT,
        ),
    ] = 1
    scores: Annotated[
        bool,
        typer.Option(
            "--scores",
            help="Write a score and a tab before each line: log probability in nats, divided by the "
            "length penalty, less the coverage penalty; with --sample the plain log probability; with --lm "
            "that of the translator plus the weight times that of the language model.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    alignments: Annotated[
        bool,
        typer.Option(
            "--alignments",
            help="Write a tab and the alignment after each line: source-target pairs of numbers of words, or "
            "of characters where these are the symbols.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    attention: Annotated[
        Path | None,
        typer.Option(
            "--attention",
            metavar="DIR",
            help="Draw the attention of each line into this folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = None


@dataclass(frozen=True)
class BesideGroup:
    """Files whose line n belongs to line n of the input."""

    force_prefix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Begin output n with line n of this file, whatever --max-length.",
            rich_help_panel=DECODING,
        ),
    ] = None
    constraints: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Make output n contain the phrases of line n of this file, separated by tabs.",
            rich_help_panel=DECODING,
        ),
    ] = None
    force_target: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Score the outputs in this file instead of translating: log probability in nats "
            "(without length penalty), tab, line. Each output is segmented as the vocabulary "
            "segments it; the search may have found a segmentation with a higher --scores.",
            rich_help_panel=DECODING,
        ),
    ] = None
