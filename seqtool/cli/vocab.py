"""`seqtool vocab`: vocabularies, which map symbols to ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtool.cli import console, options, tables
from seqtool.cli.help import DATA, OUTPUT, CommandGroup
from seqtool.cli.option_groups import with_options
from seqtool.errors import UsageError, counted

if TYPE_CHECKING:
    from seqtool.text.codec import Built
    from seqtool.text.inventory import NamedVocabulary

app = CommandGroup(
    """Build vocabularies, look at them, and turn text into ids and back.

    Examples:
      seqtool vocab build text.txt --kind sentencepiece --size 8000 -o text.vocab
      seqtool vocab encode text.txt -v text.vocab
    """
)
InputArgument = Annotated[str, typer.Argument(metavar="INPUT", help="A file; - is standard input.")]
VocabularyOption = Annotated[
    Path,
    typer.Option("--vocabulary", "-v", metavar="FILE", help="File that `seqtool vocab build` wrote."),
]


@dataclass(frozen=True)
class SymbolOptions:
    """Which symbols a vocabulary has."""

    size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Maximum number of symbols; exact for sentencepiece, where the default is 8000 or as many "
            "as the text allows.",
            rich_help_panel=DATA,
        ),
    ] = None
    min_count: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Treat symbols that occur less often as unknown; not for sentencepiece.",
            rich_help_panel=DATA,
        ),
    ] = None
    model_type: Annotated[
        Literal["unigram", "bpe"] | None,
        typer.Option(help="Algorithm of sentencepiece. Default: unigram.", rich_help_panel=DATA),
    ] = None
    byte_fallback: Annotated[
        bool,
        typer.Option(
            "--byte-fallback",
            help="Spell unknown characters as bytes; only for sentencepiece.",
            rich_help_panel=DATA,
        ),
    ] = False
    lowercase: Annotated[
        bool,
        typer.Option(
            "--lowercase",
            help="Convert text to lower case; sentencepiece also applies NFKC.",
            rich_help_panel=DATA,
        ),
    ] = False
    symbols: Annotated[
        list[str] | None,
        typer.Option(
            "--symbols",
            metavar="SYMBOL",
            help="Reserve a symbol, such as <2de>. Repeatable.",
            rich_help_panel=DATA,
        ),
    ] = None


@app.command()
@with_options
def build(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT", help="Text files (also .gz); - is standard input.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="File to write.", rich_help_panel=OUTPUT),
    ],
    kind: Annotated[
        Literal["word", "character", "sentencepiece"],
        typer.Option(help="Unit of the symbols.", rich_help_panel=DATA),
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE if it exists.", rich_help_panel=OUTPUT)
    ] = False,
    *,
    chosen: SymbolOptions,
) -> None:
    """Build a vocabulary from text.

    Examples:
      seqtool vocab build text.txt --kind sentencepiece --size 8000 -o text.vocab
      seqtool vocab build train.txt.gz --kind word --min-count 2 -o words.vocab
    """
    from seqtool.text import codec, lines
    from seqtool.text import output as output_files

    if kind == "sentencepiece":
        _refuse(kind, "--min-count", chosen.min_count)
    else:
        _refuse(kind, "--model-type", chosen.model_type)
        _refuse(kind, "--byte-fallback", chosen.byte_fallback or None)
    if texts.count("-") > 1:
        raise UsageError("-: standard input can be read only once; name it once")
    output_files.require_free(output, overwrite)
    text = chain.from_iterable(map(lines.lines_of, texts))
    reserved = tuple(chosen.symbols or ())
    with output_files.open_durably(output) as file:
        if kind == "sentencepiece":
            built = codec.build_sentencepiece(
                text,
                size=chosen.size,
                model_type=chosen.model_type or "unigram",
                byte_fallback=chosen.byte_fallback,
                lowercase=chosen.lowercase,
                reserved=reserved,
            )
        else:
            built = codec.build_symbols(
                text,
                kind,
                size=chosen.size or 0,
                min_count=chosen.min_count or 1,
                lowercase=chosen.lowercase,
                reserved=reserved,
            )
        file.write(built.codec.to_bytes())
    console.say(_built_line(built))
    console.write_result(f"{output}\n")


@app.command()
def encode(vocabulary: VocabularyOption, source: InputArgument = "-") -> None:
    """Turn lines of text into lines of ids.

    Examples:
      seqtool vocab encode text.txt -v text.vocab
      echo 'a line of text' | seqtool vocab encode -v text.vocab
    """
    from seqtool.text.codec import read_codec

    codec = read_codec(vocabulary)
    total = unknown = 0
    for line in _lines(source):
        ids = codec.encode(line)
        total += len(ids)
        unknown += ids.count(codec.unknown)
        _answer(" ".join(map(str, ids)))
    if unknown:
        console.warn(f"{unknown:,} of {total:,} symbols are unknown and cannot be decoded")


@app.command()
def decode(vocabulary: VocabularyOption, source: InputArgument = "-") -> None:
    """Turn lines of ids back into lines of text.

    Examples:
      seqtool vocab decode ids.txt -v text.vocab
      echo '8 15 4' | seqtool vocab decode -v text.vocab
    """
    from seqtool.text.codec import parse_ids, read_codec

    codec = read_codec(vocabulary)
    name = "standard input" if source == "-" else source
    for number, line in enumerate(_lines(source), 1):
        _answer(codec.decode(parse_ids(line, codec, f"{name}:{number}")))


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Bundled vocabulary, file, or model folder. Default: all bundled vocabularies.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(metavar="N", min=0, help="Number of symbols to show of each.")] = 20,
    json_output: options.JsonOption = False,
) -> None:
    """Show the symbols, sizes and digests of vocabularies.

    Examples:
      seqtool vocab show
      seqtool vocab show runs/translate/translate-tiny --top 50
    """
    from seqtool.text import inventory

    if name is None:
        found = inventory.bundled_vocabularies()
    elif Path(name).is_dir():
        from seqtool.models.facts import read_model_vocabularies

        found = [
            inventory.NamedVocabulary(file, "model", vocabulary.symbols, vocabulary.digest)
            for file, vocabulary in read_model_vocabularies(Path(name)).items()
        ]
    else:
        found = [inventory.read_vocabulary(name)]
    if json_output:
        console.write_result(json.dumps([item.as_dict(top) for item in found], ensure_ascii=False) + "\n")
    else:
        _print(found, top)


def _print(found: list[NamedVocabulary], top: int) -> None:
    from rich.table import Table

    table = Table()
    for heading in ("vocabulary", "kind", "symbols", "SHA-256", f"first {top}"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "symbols" else "left")
    for item in found:
        digest = item.digest if len(found) == 1 else item.digest[:12]
        first = " ".join(map(_visible, item.symbols[:top]))
        table.add_row(*map(tables.cell, (item.name, item.kind, f"{len(item.symbols):,}", digest, first)))
    console.print_table(table)


def _visible(symbol: str) -> str:
    """A symbol as it is shown: in quotes if it has spaces or cannot be printed."""
    return symbol if symbol.isprintable() and " " not in symbol and symbol else repr(symbol)


def _built_line(built: Built) -> str:
    line = f"{counted(built.lines, 'line')}, {counted(len(built.codec.symbols), 'symbol')}"
    if built.codec.kind == "sentencepiece":
        return line
    share = 100 * (1 - built.unknown / built.symbols)
    return f"{line}, {share:.2f} % of the text covered"


def _refuse(kind: str, option: str, value: object) -> None:
    if value is not None:
        raise UsageError(f"{option} has no effect with --kind {kind}; leave it out")


def _lines(source: str) -> Iterator[str]:
    from seqtool.text.lines import lines_of

    return lines_of(source)


def _answer(line: str) -> None:
    """Write one line at once, since the next line of a pipe may take a while."""
    console.write_result(line + "\n")
    console.output().flush()
