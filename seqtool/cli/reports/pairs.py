"""Reports of `seqtool data check` and `seqtool data split` on sentence pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtool.cli import console, tables
from seqtool.cli.options import pair_columns, pair_languages
from seqtool.errors import counted

if TYPE_CHECKING:
    from seqtool.text.pair_check import PairsReport, PartReport


def check(files: Sequence[Path], columns: str | None, languages: str | None, *, as_json: bool) -> None:
    """Check files of sentence pairs and print what they contain.

    Args:
        files: Source and target file, or one file of pairs, for each part.
        columns: Names of columns, separated by commas; None = source,target, or as the file shows.
        languages: Keys of source and target, separated by a comma; None = not given.
        as_json: Whether to print JSON instead of tables.
    """
    from seqtool.text.pair_check import check_pairs

    names = _names(files, columns)
    report = check_pairs(files, names, None if languages is None else pair_languages(languages))
    for warning in _warnings(report):
        console.warn(warning)
    if as_json:
        console.write_result(json.dumps(report.as_dict(), ensure_ascii=False, allow_nan=False) + "\n")
        return
    for part in report.files:
        console.print_table(tables.facts_table(part.path, _rows(part)))


def split(
    files: Sequence[Path], folder: Path, columns: str | None, languages: str | None, how: Mapping[str, Any]
) -> None:
    """Split files of sentence pairs, and print the paths of the parts.

    Args:
        files: Source and target file, or one file of pairs.
        folder: Folder for the parts.
        columns: Names of columns, separated by commas; None = source,target, or as the file shows.
        languages: Names of source and target, separated by a comma; None = not given.
        how: Further arguments of `pair_splitting.split_pairs`.
    """
    from seqtool.text.pair_files import headings_remark
    from seqtool.text.pair_splitting import split_pairs

    names = _names(files, columns)
    sides = None if languages is None else pair_languages(languages)
    parts = split_pairs(files, folder, columns=names, languages=sides, **how)
    if remark := headings_remark(files, names, sides):
        console.warn(remark)
    for part in parts:
        console.say(f"{part.path}: {counted(part.sentences, 'pair')}")
    console.write_result("".join(f"{part.path}\n" for part in parts))


def _names(files: Sequence[Path], columns: str | None) -> tuple[str, ...]:
    """Names of the columns: those that were typed, or those that the file shows."""
    from seqtool.text.pair_files import columns_of

    if columns is not None:
        return tuple(pair_columns(columns))
    return (columns_of(files[0]) if len(files) == 1 else None) or ("source", "target")


def _warnings(report: PairsReport) -> list[str]:
    """Problems to solve before training."""
    lines = []
    for part in report.files:
        if part.remark is not None:
            lines.append(part.remark)
        if part.empty:
            lines.append(
                f"{part.path}: {counted(part.empty, 'pair')} with an empty side, which training refuses; "
                "leave them out with --set data.empty=drop"
            )
        for other, count in part.shared.items():
            if count:
                lines.append(f"{part.path}: {count:,} of its pairs are also in {other}")
    return lines


def _rows(part: PartReport) -> list[tuple[str, str]]:
    rows = [("pairs", f"{part.pairs:,}"), ("pairs with an empty side", f"{part.empty:,}")]
    for name, side in (("source", part.source), ("target", part.target)):
        rows += [
            (f"{name} words", f"{side.words:,}"),
            (f"{name} characters", f"{side.characters:,}, {side.distinct_characters:,} distinct"),
            (f"longest {name}", f"{counted(side.longest, 'character')}, {side.longest_at}"),
            (f"empty {name}s", f"{side.empty:,}"),
        ]
    if part.ratio is not None:
        rows.append(("target characters per source character", f"{part.ratio:.2f} (median)"))
    first = f", first at {', '.join(part.uneven_at)}" if part.uneven else ""
    rows += [
        ("pairs above 3 times that ratio, or below a third", f"{part.uneven:,}{first}"),
        ("repeated pairs", f"{part.repeated:,}"),
        ("pairs with target equal to source", f"{part.identical:,}"),
    ]
    return rows + [(f"also in {other}", counted(count, "pair")) for other, count in part.shared.items()]
