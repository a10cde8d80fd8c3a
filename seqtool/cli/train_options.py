"""Arguments and options of `seqtool train` that name its data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from seqtool.cli.help import DATA, TRAINING, Command
from seqtool.errors import UsageError

RecipeArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RECIPE", help="Name of a bundled recipe (`seqtool recipes list`), or a TOML file."
    ),
]
TrainFile = Annotated[
    Path | None,
    typer.Option(
        "--train", metavar="FILE", help="Training file, in place of the recipe's data.", rich_help_panel=DATA
    ),
]
DevFile = Annotated[
    Path | None,
    typer.Option(
        "--dev",
        metavar="FILE",
        help="Development file. Default: the last 10 % of --train are held out.",
        rich_help_panel=DATA,
    ),
]
TestFile = Annotated[
    Path | None,
    typer.Option(
        "--test", metavar="FILE", help="Test file, for a later `seqtool evaluate`.", rich_help_panel=DATA
    ),
]


RawText = Annotated[
    list[Path] | None,
    typer.Option(
        "--text",
        metavar="PATH",
        help="Raw text of the same kind (a file or a folder): the tagger learns from it as well, by "
        "language models that are trained first. Repeatable.",
        rich_help_panel=DATA,
    ),
]


def _text_minutes(default: int) -> Any:
    """The option for the time that raw text gets, with the default of its task."""
    return typer.Option(
        "--text-minutes",
        metavar="M",
        help=f"Minutes of training on the raw text, at most. Default: {default}.",
        rich_help_panel=TRAINING,
    )


TextMinutes = Annotated[float | None, _text_minutes(20)]
PairTextMinutes = Annotated[float | None, _text_minutes(10)]
SourceText = Annotated[
    list[Path] | None,
    typer.Option(
        "--source-text",
        metavar="PATH",
        help="Raw text in the source language (a file or a folder, a text on each line): the encoder learns "
        "from it first. Repeatable.",
        rich_help_panel=DATA,
    ),
]
TargetText = Annotated[
    list[Path] | None,
    typer.Option(
        "--target-text",
        metavar="PATH",
        help="Raw text in the target language: the decoder learns from it first. Repeatable.",
        rich_help_panel=DATA,
    ),
]


Teachers = Annotated[
    list[Path] | None,
    typer.Option(
        "--teacher",
        metavar="MODEL",
        help="Model whose probabilities are learned as well (distillation): a tagger's of --text, or else of "
        "--train, a translator's of --train. Several are averaged. Repeatable.",
        rich_help_panel=TRAINING,
    ),
]


def _two_files(context: typer.Context, parameter: typer.CallbackParam, files: Any) -> Any:
    """Refuse an option in the place of the second file; the parser itself takes any two words."""
    option = parameter.opts[0]
    if files is not None and str(files[1]).startswith("-"):
        raise UsageError(
            f"{option} {files[0]} {files[1]}: expected two files, SRC TGT; one file of pairs is "
            f"{option}-file {files[0]}, and a file whose name begins with - is ./{files[1]}"
        )
    return files


class PairCommand(Command):
    """A command with options that take two files each."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, naming the remedy where the last option has only one file."""
        option, file = args[-2:] if len(args) > 1 else ("", "")
        if option in ("--train", "--dev", "--test") and not file.startswith("-"):
            raise UsageError(
                f"{option} {file}: expected two files, SRC TGT; one file of pairs (.tsv, .csv, .jsonl, .tmx) "
                f"is {option}-file {file}"
            )
        return super().parse_args(ctx, args)


TrainPair = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--train",
        metavar="SRC TGT",
        help="Training files: source sentences and their translations, line by line.",
        callback=_two_files,
        rich_help_panel=DATA,
    ),
]
DevPair = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--dev",
        metavar="SRC TGT",
        help="Development files. Default: the last 10 % of the training data are held out.",
        callback=_two_files,
        rich_help_panel=DATA,
    ),
]
TestPair = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--test",
        metavar="SRC TGT",
        help="Test files, for a later `seqtool evaluate`.",
        callback=_two_files,
        rich_help_panel=DATA,
    ),
]
TrainPairFile = Annotated[
    Path | None,
    typer.Option(
        "--train-file",
        metavar="FILE",
        help="Training pairs in one file (.tsv, .csv, .jsonl or .tmx), instead of --train.",
        rich_help_panel=DATA,
    ),
]
DevPairFile = Annotated[
    Path | None,
    typer.Option(
        "--dev-file",
        metavar="FILE",
        help="Development pairs in one file, instead of --dev.",
        rich_help_panel=DATA,
    ),
]
TestPairFile = Annotated[
    Path | None,
    typer.Option(
        "--test-file", metavar="FILE", help="Test pairs in one file, instead of --test.", rich_help_panel=DATA
    ),
]
TrainText = Annotated[
    Path | None,
    typer.Option(
        "--train",
        metavar="PATH",
        help="Training text: a file (also .gz) or a folder of files.",
        rich_help_panel=DATA,
    ),
]
DevText = Annotated[
    Path | None,
    typer.Option(
        "--dev",
        metavar="PATH",
        help="Development text. Default: the last 10 % of --train are held out.",
        rich_help_panel=DATA,
    ),
]
TestText = Annotated[
    Path | None,
    typer.Option(
        "--test", metavar="PATH", help="Test text, for a later `seqtool evaluate`.", rich_help_panel=DATA
    ),
]
SchemeOption = Annotated[
    str | None,
    typer.Option(
        "--scheme",
        metavar="SCHEME",
        help="Tag scheme: auto, iob1, iob2, iobes, bilou, bmes, or io for bare types.",
        rich_help_panel=DATA,
    ),
]
RepairOption = Annotated[
    bool | None,
    typer.Option(
        "--repair",
        help="Repair any number of tags that are invalid in the scheme.",
        rich_help_panel=DATA,
    ),
]
StrictOption = Annotated[
    bool | None,
    typer.Option(
        "--strict",
        help="Refuse every invalid tag; by default a few are accepted with a warning.",
        rich_help_panel=DATA,
    ),
]
TokenColumn = Annotated[
    int | None,
    typer.Option(
        "--token-column",
        metavar="N",
        help="Column of the tokens: 1 = the first, -1 = the last.",
        rich_help_panel=DATA,
    ),
]
TagColumn = Annotated[
    int | None,
    typer.Option(
        "--tag-column",
        metavar="N",
        help="Column of the tags: 1 = the first, -1 = the last.",
        rich_help_panel=DATA,
    ),
]
