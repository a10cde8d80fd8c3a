"""`seqtool inspect attention`: where a translator looks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtool.cli import console, options
from seqtool.cli.options import find_model
from seqtool.cli.reports.attention import draw
from seqtool.errors import DataError, ModelError
from seqtool.files import storage_errors

if TYPE_CHECKING:
    from seqtool.text.parallel import SentencePair
    from seqtool.translation.prediction import TranslatorModel
    from seqtool.translation.scoring import ScoredPair

PIPE_WIDTH = 100  # columns, where there is no terminal to ask


def attention(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="Sentences, one per line; a file (also .gz) or - for stdin."),
    ] = "-",
    model: options.ModelOption = None,
    given: Annotated[
        bool,
        typer.Option(
            "--given",
            help="Each line is SOURCE TAB TARGET (with features: the columns of the training file); "
            "show that target instead of searching.",
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for one picture per line, 1.png, 2.png, ...")
    ] = None,
    picture: Annotated[
        Literal["png", "svg"] | None,
        typer.Option("--picture", help="File format of the pictures of -o. Default: png."),
    ] = None,
    batch_tokens: options.BatchTokensOption = 4096,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = 0,
) -> None:
    """Show which source symbols a translator attends to for each output symbol; darker is more.

    With copying, p(gen) is the probability that a symbol was generated rather than copied. The last line
    is the attention that each source symbol received in total. Of edits the table shows where each symbol
    was written.

    Examples:
      echo 'call Anna at nine' | seqtool inspect attention
      seqtool inspect attention sentences.txt -o pictures --picture svg
    """
    if output is None:
        options.refuse({"--picture": picture}, "without -o DIR")
    where = find_model(model, ("translate",))
    from seqtool.devices import configure
    from seqtool.text.lines import lines_of
    from seqtool.translation.unseen import Unseen

    configure(threads)
    translator = _loaded(where, device, precision)
    if output is not None:
        with storage_errors(output):
            output.mkdir(parents=True, exist_ok=True)
    name = "standard input" if source == "-" else source
    unseen = Unseen(translator.vocabularies, translator.description.data.columns, translator.tags)
    for number, line in enumerate(lines_of(source), 1):
        if not line.strip():
            continue
        pair = _given(translator, line, number, name) if given else translator.parse(line, number, name)
        if not pair.source.strip():
            continue
        unseen.add([pair])
        scored = _scored(translator, pair, batch_tokens, given=given)
        _show(scored)
        if output is not None:
            draw(scored, pair.source, output / f"{number}.{picture or 'png'}")
    for remark in unseen.remarks():
        console.warn(remark)
    if output is not None:
        console.say(f"pictures in {output}")


def _loaded(where: Path, device: str, precision: str) -> TranslatorModel:
    """The translator in a folder, which has attention to show."""
    from seqtool import api

    if (task := api.task_of(where)) != "translate":
        raise ModelError(
            f"{where}: a model for {task!r}, and only one for 'translate' has attention; see inside it with: "
            f"seqtool inspect states -m {where}, or seqtool inspect gates -m {where}"
        )
    translator = api.load_translator(where, device=device, precision=precision)
    translator.require_attention("to draw")
    return translator


def _scored(translator: TranslatorModel, pair: SentencePair, batch_tokens: int, *, given: bool) -> ScoredPair:
    """The pair with its target, or with the best output in its place."""
    if given:
        (scored,) = translator.read([pair], batch_tokens=batch_tokens)
    else:
        ((best, *_),) = translator.search([pair], batch_tokens=batch_tokens)
        (scored,) = translator.read([pair], [best.hypothesis.tokens], batch_tokens=batch_tokens)
    return scored


def _given(translator: TranslatorModel, line: str, number: int, name: str) -> SentencePair:
    """Parse a line of `--given`: source and target, with features in the columns of the training file."""
    from seqtool.text.parallel import FEATURES, SIDES, parse_columns

    data = translator.description.data
    columns: tuple[str, ...] = SIDES
    if FEATURES in translator.columns:
        columns = tuple(dict.fromkeys(column for column in translator.columns if column != "-"))
    if "\t" not in line:
        listed = " TAB ".join(name.upper() for name in columns)
        raise DataError(f"{name}:{number}: no tab; with --given each line is {listed}")
    return translator.tagged(parse_columns(line, columns, data.feature_separator, name, number))


def _show(scored: ScoredPair) -> None:
    """Print the attention as shades of characters."""
    from seqtool.inspection.heatmap import attention_lines

    terminal = console.output().isatty()
    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns if terminal else PIPE_WIDTH
    lines = attention_lines(
        scored.source_symbols,
        scored.target_symbols,
        scored.attention,
        p_gen=scored.writing,
        coverage=scored.coverage,
        width=max(width, 40),
    )
    console.write_result("".join(f"{line}\n" for line in lines) + "\n")
