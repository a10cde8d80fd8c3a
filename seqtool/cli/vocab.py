"""`seqtool vocab`: symbols and their ids: build, encode, decode, show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtool.cli import console, options, tables
from seqtool.errors import UsageError

if TYPE_CHECKING:
    from seqtool.text.codec import Built
    from seqtool.text.inventory import NamedVocabulary

app = typer.Typer(
    help="Vocabularies: build them, look at them, turn text into ids and back.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
InputArgument = Annotated[str, typer.Argument(metavar="[INPUT|-]", help="A file; - is standard input.")]
VocabularyOption = Annotated[
    Path, typer.Option("--vocabulary", "-v", metavar="FILE", help="A file that `vocab build` made.")
]


@app.command()
def build(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Files, also .gz; - is standard input.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    kind: Annotated[
        Literal["word", "character", "sentencepiece"], typer.Option(help="What text is split into.")
    ],
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Symbols at most; sentencepiece: exactly (8000, or what the text gives)."),
    ] = None,
    min_count: Annotated[
        int | None, typer.Option(min=1, help="Rarer symbols are unknown; not for sentencepiece.")
    ] = None,
    model_type: Annotated[
        Literal["unigram", "bpe"] | None, typer.Option(help="Of sentencepiece; else unigram.")
    ] = None,
    byte_fallback: Annotated[
        bool, typer.Option("--byte-fallback", help="sentencepiece: spell unknown characters in bytes.")
    ] = False,
    lowercase: Annotated[
        bool, typer.Option("--lowercase", help="Fold upper case; sentencepiece: also variants of NFKC.")
    ] = False,
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbols", metavar="SYMBOL", help="A reserved symbol, as <2de>; may be repeated."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
) -> None:
    """Make a vocabulary from text."""
    from seqtool.text import codec, lines
    from seqtool.text import output as output_files

    if kind == "sentencepiece":
        _refuse(kind, "--min-count", min_count)
    else:
        _refuse(kind, "--model-type", model_type)
        _refuse(kind, "--byte-fallback", byte_fallback or None)
    output_files.require_free(output, overwrite)
    text = chain.from_iterable(map(lines.lines_of, texts))
    reserved = tuple(symbols or ())
    with output_files.open_durably(output) as file:
        if kind == "sentencepiece":
            built = codec.build_sentencepiece(
                text,
                size=size,
                model_type=model_type or "unigram",
                byte_fallback=byte_fallback,
                lowercase=lowercase,
                reserved=reserved,
            )
        else:
            built = codec.build_symbols(
                text, kind, size=size or 0, min_count=min_count or 1, lowercase=lowercase, reserved=reserved
            )
        file.write(built.codec.to_bytes())
    console.say(_built_line(built))
    console.write_result(f"{output}\n")


@app.command()
def encode(vocabulary: VocabularyOption, source: InputArgument = "-") -> None:
    """Lines of text to lines of ids."""
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
    """Lines of ids to lines of text."""
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
            metavar="[NAME|FILE|MODEL]",
            help="Bundled inventory, file or model; else all that is bundled.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="How many symbols to show of each.")] = 20,
    json_output: options.JsonOption = False,
) -> None:
    """Symbols, sizes and digests."""
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
    """A symbol that can be told from its neighbours: spaces and the like in quotes."""
    return symbol if symbol.isprintable() and " " not in symbol and symbol else repr(symbol)


def _built_line(built: Built) -> str:
    line = f"{built.lines:,} lines, {len(built.codec.symbols):,} symbols"
    if built.codec.kind == "sentencepiece":
        return line
    share = 100 * (1 - built.unknown / built.symbols)
    return f"{line}, {share:.2f} % of the text is known to them"


def _refuse(kind: str, option: str, value: object) -> None:
    if value is not None:
        raise UsageError(f"{option} means nothing for --kind {kind}; leave it out")


def _lines(source: str) -> Iterator[str]:
    from seqtool.text.lines import lines_of

    return lines_of(source)


def _answer(line: str) -> None:
    """One line of output, at once: the input may be a pipe that says no more for a while."""
    console.write_result(line + "\n")
    console.output().flush()
