"""`seqtool data`: check, convert and split files; what to annotate next, and what is annotated wrongly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seqtool.cli import annotation, console, options, streams, tables
from seqtool.cli.help import DATA, OUTPUT, CommandGroup
from seqtool.cli.reports import pairs
from seqtool.errors import UsageError, counted
from seqtool.text.tag_rules import Scheme, SchemeChoice

if TYPE_CHECKING:
    from seqtool.text.annotation import Columns
    from seqtool.text.conversion import Target
    from seqtool.text.corpus_check import CorpusReport, FileReport

app = CommandGroup(
    """Check, convert and split annotated files and sentence pairs; find what to annotate next.

    Examples:
      seqtool data check train.conll dev.conll
      seqtool data convert train.conll train.jsonl --scheme-to iobes
    """
)
TokenOption = Annotated[
    int | None,
    typer.Option(
        "--token-column",
        metavar="N",
        help="Column of the tokens: 1 = the first, -1 = the last.",
        rich_help_panel=DATA,
    ),
]
TagOption = Annotated[
    int | None,
    typer.Option(
        "--tag-column",
        metavar="N",
        help="Column of the tags: 1 = the first, -1 = the last, 0 = none.",
        rich_help_panel=DATA,
    ),
]
FeatureOption = Annotated[
    list[int] | None,
    typer.Option(
        "--feature-columns", metavar="N", help="Column of a feature. Repeatable.", rich_help_panel=DATA
    ),
]
RepairOption = Annotated[
    bool,
    typer.Option(
        "--repair", help="Repair any number of tags that are invalid in the scheme.", rich_help_panel=DATA
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse every invalid tag; by default a few are accepted with a warning.",
        rich_help_panel=DATA,
    ),
]
NamesOption = Annotated[
    str | None,
    typer.Option(
        "--tag-names",
        metavar="NAMES",
        help="Names of tags that JSON gives as numbers from 0, as in O,B-PER,I-PER.",
        rich_help_panel=DATA,
    ),
]
MisalignedOption = Annotated[
    Literal["error", "align", "drop"],
    typer.Option(
        help="Spans of characters that cut a token: refuse them (error), widen them to whole tokens (align), "
        "or leave them out (drop).",
        rich_help_panel=DATA,
    ),
]
Share = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Share of the sentences (0 to 1) in this part; 0 = no such part.",
        rich_help_panel=DATA,
    ),
]

FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE",
        help="Annotated files; the first (training) is what the others are compared with. With "
        "--task translate: SRC TGT, or one file of pairs, for each part.",
    ),
]
TaskOption = Annotated[
    Literal["ner", "pos", "translate"] | None,
    typer.Option(
        "--task",
        help="ner: the tags mark entities; pos: they do not; translate: the files are sentence pairs. "
        "Default: annotated files, whose tags show what they are.",
        rich_help_panel=DATA,
    ),
]
SplitTaskOption = Annotated[
    Literal["ner", "pos", "translate"] | None,
    typer.Option(
        "--task",
        help="translate: the files are sentence pairs. Default: found from the files.",
        rich_help_panel=DATA,
    ),
]
SchemeOption = Annotated[SchemeChoice, typer.Option(help="Tag scheme of the files.", rich_help_panel=DATA)]
FormatOption = Annotated[
    Literal["conll", "jsonl", "doccano", "label-studio", "brat", "inline"] | None,
    typer.Option(
        "--to",
        help="Output format; brat writes a pair of files, NAME.ann and NAME.txt. Default: by the ending of "
        "OUTPUT (.jsonl, .json: label-studio, .ann, .inline), otherwise conll.",
        rich_help_panel=OUTPUT,
    ),
]
TargetSchemeOption = Annotated[
    Scheme | None,
    typer.Option("--scheme-to", help="Tag scheme of OUTPUT. Default: that of INPUT.", rich_help_panel=OUTPUT),
]
SourceSchemeOption = Annotated[
    SchemeChoice,
    typer.Option(
        "--from-scheme",
        "--scheme",
        help="Tag scheme of INPUT; must be given if INPUT is a pipe.",
        rich_help_panel=DATA,
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.", rich_help_panel=OUTPUT)
]
KeepOrderOption = Annotated[
    bool,
    typer.Option(
        "--keep-order",
        help="Take dev and test from the end of the file instead of at random.",
        rich_help_panel=DATA,
    ),
]

TAGS_SHOWN = 60
# Output formats by the ending of the output's name.
TARGETS: dict[str, Target] = {
    ".jsonl": "jsonl",
    ".json": "label-studio",
    ".ann": "brat",
    ".inline": "inline",
}


@app.command()
def check(
    files: FilesArgument,
    task: TaskOption = None,
    token_column: TokenOption = None,
    tag_column: TagOption = None,
    feature_columns: FeatureOption = None,
    scheme: SchemeOption = "auto",
    repair: RepairOption = False,
    strict: StrictOption = False,
    tag_names: NamesOption = None,
    misaligned: MisalignedOption = "align",
    pair_columns: options.PairColumnsOption = None,
    languages: options.LanguagesOption = None,
    json_output: options.JsonOption = False,
) -> None:
    """Report what files contain, and what is wrong with them.

    Examples:
      seqtool data check train.conll dev.conll test.conll
      seqtool data check train.en train.de --task translate
    """
    of_taggers = {
        "--token-column": token_column,
        "--tag-column": tag_column,
        "--feature-columns": feature_columns or None,
        "--scheme": None if scheme == "auto" else scheme,
        "--repair": repair or None,
        "--strict": strict or None,
        "--tag-names": tag_names,
        "--misaligned": None if misaligned == "align" else misaligned,
    }
    if task is None and _have_features(files):
        console.say("read as pairs with features, as with --task translate")
        task = "translate"
    if task == "translate":
        options.refuse(of_taggers, "with --task translate")
        pairs.check(files, pair_columns, languages, as_json=json_output)
        return
    options.refuse({"--columns": pair_columns, "--languages": languages}, "without --task translate")
    from seqtool.text.corpus_check import check_corpus

    _refuse_both(repair, strict)
    columns = _columns(token_column, tag_column, feature_columns, tag_names, misaligned)
    if task == "pos":
        of_entities = {name: of_taggers[name] for name in ("--scheme", "--repair", "--strict")}
        options.refuse(of_entities, "with --task pos, whose tags have no scheme")
    spans = None if task is None else task == "ner"
    report = check_corpus(files, columns, spans=spans, scheme=scheme, repair=repair, strict=strict)
    for warning in _warnings(report):
        console.warn(warning)
    if json_output:
        console.write_result(json.dumps(report.as_dict(), ensure_ascii=False, allow_nan=False) + "\n")
        return
    for file in report.files:
        console.print_table(tables.facts_table(file.path, _rows(file, report)))


def _have_features(files: Sequence[Path]) -> bool:
    """Whether each file is one of pairs with features, as in `Hahn TAB Hahnes TAB N;GEN;SG`."""
    from seqtool.text.pair_files import columns_of

    return all(columns_of(file) is not None for file in files)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="File to read; - is standard input.")],
    target: Annotated[str, typer.Argument(metavar="OUTPUT", help="File to write; - is standard output.")],
    to: FormatOption = None,
    scheme_to: TargetSchemeOption = None,
    from_scheme: SourceSchemeOption = "auto",
    repair: RepairOption = False,
    strict: StrictOption = False,
    tag_names: NamesOption = None,
    misaligned: MisalignedOption = "align",
    token_column: TokenOption = None,
    tag_column: TagOption = None,
    feature_columns: FeatureOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Convert a file to another format or tag scheme.

    Examples:
      seqtool data convert train.conll train.jsonl
      seqtool data convert old.conll new.conll --scheme-to iobes --repair
    """
    from seqtool.text.conversion import Conversion

    _refuse_both(repair, strict)
    form: Target = to or TARGETS.get(Path(target).suffix, "conll")
    conversion = Conversion(
        source,
        _columns(token_column, tag_column, feature_columns, tag_names, misaligned),
        form,
        scheme_to=scheme_to,
        from_scheme=from_scheme,
        repair=repair,
        strict=strict,
    )
    written = streams.OutputOptions(None if target == "-" else Path(target), overwrite)
    (written.check_pair if form == "brat" else written.check)()
    with written.opened_pair() as put:
        for text, beside in conversion.pairs():
            put(text, beside)
    for warning in conversion.warnings:
        console.warn(warning)
    repaired = f", {counted(conversion.repaired, 'tag')} repaired" if conversion.repaired else ""
    console.say(f"{counted(conversion.sentences, 'sentence')}{repaired}")


@app.command()
def split(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Annotated file; or SRC TGT, or one file of sentence pairs."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for the parts.", rich_help_panel=OUTPUT),
    ],
    dev: Share = 0.1,
    test: Share = 0.1,
    seed: Annotated[int, typer.Option(help="Random seed of the split.", rich_help_panel=DATA)] = 1,
    keep_order: KeepOrderOption = False,
    task: SplitTaskOption = None,
    token_column: TokenOption = None,
    tag_column: TagOption = None,
    pair_columns: options.PairColumnsOption = None,
    languages: options.LanguagesOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace parts that exist.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Split files into train, dev and test parts of whole sentences, or of whole sentence pairs.

    A random split breaks documents up, so document marks are dropped; --keep-order keeps them. Pairs with the
    same source or the same target go to the same part.

    Examples:
      seqtool data split all.conll -o parts
      seqtool data split pairs.csv -o parts --languages english,french
    """
    from seqtool.text.pair_splitting import look_like_pairs
    from seqtool.text.splitting import split_file

    how: dict[str, Any] = {
        "dev": dev,
        "test": test,
        "seed": seed,
        "keep_order": keep_order,
        "overwrite": overwrite,
    }
    of_pairs = {"--columns": pair_columns, "--languages": languages}
    if task == "translate" or (task is None and (any(of_pairs.values()) or look_like_pairs(files))):
        options.refuse({"--token-column": token_column, "--tag-column": tag_column}, "on sentence pairs")
        pairs.split(files, output, pair_columns, languages, how)
        return
    options.refuse(of_pairs, "without --task translate")
    if len(files) > 1:
        raise UsageError(f"{counted(len(files), 'file')}: expected one annotated file")
    columns = _columns(token_column, tag_column, None)
    parts = split_file(files[0], output, columns=columns, **how)
    total = counted(sum(part.sentences for part in parts), "sentence")
    console.say(f"{total}: {', '.join(f'{part.sentences:,} in {part.path.stem}' for part in parts)}")
    for part in parts:
        if part.shared:
            console.warn(f"{part.path}: {part.shared:,} of its sentences are also in {parts[0].path}")
    console.write_result("".join(f"{part.path}\n" for part in parts))


app.command()(annotation.suggest)
app.command()(annotation.suspects)


def _refuse_both(repair: bool, strict: bool) -> None:
    """Refuse `--repair` together with `--strict`."""
    if repair and strict:
        raise UsageError("--repair repairs invalid tags and --strict refuses them; leave one of them out")


def _columns(
    token: int | None,
    tag: int | None,
    features: list[int] | None,
    tag_names: str | None = None,
    misaligned: Literal["error", "align", "drop"] = "align",
) -> Columns:
    from seqtool.text.annotation import Columns
    from seqtool.text.json_lines import JsonReading

    if token == 0:
        raise UsageError("--token-column 0: expected 1 or more, or -1 for the last column")
    names = tuple(tag_names.split(",")) if tag_names else ()
    return Columns(token, tag, tuple(features or ()), JsonReading(misaligned, names, annotated=True))


def _warnings(report: CorpusReport) -> list[str]:
    """Problems to solve before training."""
    lines = [line for file in report.files for line in file.remarks]
    if report.invalid is not None:
        lines.append(report.invalid)
    for file in report.files:
        for other, count in file.shared.items():
            if count:
                lines.append(f"{file.path}: {count:,} of its sentences are also in {other}")
        if file.unseen_tags:
            listed = ", ".join(f"{tag} ({count})" for tag, count in file.unseen_tags.items())
            lines.append(f"{file.path}: tags that {report.files[0].path} does not have: {listed}")
    return lines


def _rows(file: FileReport, report: CorpusReport) -> list[tuple[str, str]]:
    without_scheme = "one per token, no spans" if file.tags else "none"
    first = report.files[0]
    role = "training; the others are compared with it" if file is first else f"compared with {first.path}"
    rows = [
        *([("taken for", role)] if len(report.files) > 1 else []),
        ("layout", file.layout),
        ("sentences", f"{file.sentences:,}"),
        ("tokens", f"{file.tokens:,}"),
        ("longest sentence", f"{counted(file.longest, 'token')}, {file.longest_at}"),
        ("tags", report.scheme or without_scheme),
    ]
    if report.scheme is not None:
        rows.append(("entities", f"{sum(file.entities.values()):,}"))
        rows += [(f"  {kind or '(no type)'}", f"{count:,}") for kind, count in file.entities.items()]
    else:
        rows += [(f"  {tag}", f"{count:,}") for tag, count in list(file.tags.items())[:TAGS_SHOWN]]
        if len(file.tags) > TAGS_SHOWN:
            rows.append(("  ...", f"{len(file.tags) - TAGS_SHOWN:,} further tags"))
    if file.partial:
        rows.append(
            ("partially annotated", f"{counted(file.partial, 'sentence')}, whose entities are not counted")
        )
    if file.repaired:
        rows.append(("tags invalid in the scheme", f"{file.repaired:,}"))
    return [*rows, ("repeated sentences", f"{file.repeated:,}"), *_comparison(file), *_oddities(file)]


def _comparison(file: FileReport) -> list[tuple[str, str]]:
    rows = [(f"also in {other}", counted(count, "sentence")) for other, count in file.shared.items()]
    for name, share in (("unseen words", file.unseen_words), ("unseen entities", file.unseen_entities)):
        if share is not None:
            rows.append((name, f"{100 * share:.1f} %"))
    if file.unseen_tags:
        rows.append(("unseen tags", ", ".join(f"{tag} {count:,}" for tag, count in file.unseen_tags.items())))
    return rows


def _oddities(file: FileReport) -> list[tuple[str, str]]:
    rows = [
        (f"odd tokens: {kind}", f"{odd.count:,}, first at {', '.join(odd.places)}")
        for kind, odd in file.odd_tokens.items()
    ]
    return rows or [("odd tokens", "0")]
