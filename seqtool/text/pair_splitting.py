"""Splitting sentence pairs into train, dev and test files, so that no part knows a sentence of another.

Lines stay as they are; a row of headings begins each part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from seqtool.errors import DataError, UsageError, counted
from seqtool.files import storage_errors
from seqtool.text.headings import PREVIEW, are_headings
from seqtool.text.lines import lines_of
from seqtool.text.pair_files import columns_of, kind_of, read_pairs, require_files
from seqtool.text.parallel import SIDES, SentencePair
from seqtool.text.splitting import (
    PARTS,
    SplitPart,
    in_random_order,
    require_free_parts,
    require_shares,
    suffix_of,
    write_parts,
)

Texts = tuple[str, str]  # source and target


def split_pairs(
    paths: Sequence[Path],
    folder: Path,
    *,
    dev: float = 0.1,
    test: float = 0.1,
    seed: int = 1,
    keep_order: bool = False,
    overwrite: bool = False,
    columns: Sequence[str] = SIDES,
    languages: tuple[str, str] | None = None,
) -> list[SplitPart]:
    """Split pairs by whole pairs; those that share a source or a target stay together.

    Args:
        paths: One file of pairs (TSV, CSV or JSON lines), or a source and a target file; each part has as
            many files, with the same endings, without `.gz`.
        folder: Folder for the parts; created if it does not exist.
        dev: Fraction of the pairs for the development part, in [0, 1); 0 = no such part.
        test: Fraction of the pairs for the test part, in [0, 1); 0 = no such part.
        seed: Random seed; the same seed always chooses the same pairs.
        keep_order: Whether dev and test are taken from the end instead of at random.
        overwrite: Whether to replace existing parts.
        columns: What each column is, as in `pair_files.read_pairs`.
        languages: Names of source and target, as in `pair_files.read_pairs`.

    Returns:
        The files that were written, train first; of two files of a part, both.

    Raises:
        UsageError: the fractions are invalid, a file does not exist, or parts exist already.
        DataError: a file is invalid, or has too few pairs.
        StorageError: the folder cannot be written.
    """
    require_shares(dev, test)
    _require_lines(paths)
    targets = {part: _names(part, paths, folder) for part in PARTS}
    for place, path in enumerate(paths):
        require_free_parts(path, folder, [targets[part][place] for part in PARTS], overwrite)
    pairs = list(read_pairs(paths, columns, languages))
    if not pairs:
        raise DataError(f"{' and '.join(map(str, paths))}: no sentence pairs; expected at least one")
    groups = grouped([(pair.source.strip(), (pair.target or "").strip()) for pair in pairs])
    chosen = choose_groups(groups, {"dev": dev, "test": test}, seed=seed, keep_order=keep_order)
    if empty := [part for part, numbers in chosen.items() if not numbers]:
        raise DataError(
            f"{' and '.join(map(str, paths))}: {counted(len(pairs), 'pair')} in "
            f"{counted(len(groups), 'group')} with a sentence in common, too few for {' and '.join(empty)}"
        )
    texts = [list(lines_of(path)) for path in paths]
    before = [_headings(lines, pairs[0]) if len(paths) == 1 else [] for lines in texts]
    files = {
        targets[part][place]: [
            f"{line}\n" for line in (*before[place], *(lines[pairs[n].line - 1] for n in numbers))
        ]
        for part, numbers in chosen.items()
        for place, lines in enumerate(texts)
    }
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_parts(files)
    with storage_errors(folder):
        for part in set(PARTS) - set(chosen):
            for path in targets[part]:
                path.unlink(missing_ok=True)  # left by an earlier split, which chose differently
    return [SplitPart(path, len(numbers), 0) for part, numbers in chosen.items() for path in targets[part]]


def grouped(pairs: Sequence[Texts]) -> list[list[int]]:
    """Numbers of the pairs in groups, in order of their first pairs; groups share no source and no target.

    >>> grouped([("yes", "oui"), ("no", "non"), ("yes", "si"), ("if", "si")])
    [[0, 2, 3], [1]]
    """
    leader = list(range(len(pairs)))  # of each pair, an earlier one of its group; a forest of disjoint sets

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    first: dict[tuple[int, str], int] = {}  # of each side and text, the first pair that has it
    for number, pair in enumerate(pairs):
        for side_and_text in enumerate(pair):
            if not side_and_text[1]:
                continue
            one, other = find(first.setdefault(side_and_text, number)), find(number)
            leader[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for number in range(len(pairs)):
        groups.setdefault(find(number), []).append(number)
    return list(groups.values())


def choose_groups(
    groups: Sequence[Sequence[int]], shares: dict[str, float], *, seed: int, keep_order: bool
) -> dict[str, list[int]]:
    """Numbers of the pairs in each part, in ascending order: train, then the parts with a share above 0.

    Args:
        groups: Numbers of the pairs that stay together.
        shares: Fraction of the pairs for each part except train; above 0, it means at least one pair. A
            group that is larger than the rest of a share goes to another part.
        seed: Random seed.
        keep_order: Whether to take the parts from the end instead, the last part last.
    """
    order = list(range(len(groups)))
    if not keep_order:
        in_random_order(order, seed)
    count = sum(map(len, groups))
    room = {part: max(1, round(count * share)) for part, share in shares.items() if share > 0}
    chosen: dict[str, list[int]] = {"train": [], **{part: [] for part in room}}
    for number in reversed(order):
        group = groups[number]
        fitting = (part for part in reversed(list(room)) if len(group) <= room[part])
        part = next(fitting, "train")
        chosen[part] += group
        if part != "train":
            room[part] -= len(group)
    return {part: sorted(numbers) for part, numbers in chosen.items()}


def look_like_pairs(paths: Sequence[Path]) -> bool:
    """Whether files are pairs rather than annotated: two files, or one of sentences or with features.

    Args:
        paths: The files that were given.
    """
    if len(paths) > 1:
        return True
    kind = kind_of(paths[0])
    if columns_of(paths[0]) is not None:
        return True
    if kind is None or not paths[0].is_file():
        return kind == "tmx"
    lines = [line for line in islice(lines_of(paths[0]), PREVIEW) if line.strip()]
    if kind == "jsonl":
        return bool(lines) and _is_pair_object(lines[0])
    separator = "\t" if kind == "tsv" else next((mark for mark in ",;\t" if mark in "".join(lines[:1])), ",")
    rows = [line.split(separator) for line in lines if separator in line]
    sentences = sum(any(" " in cell.strip() for cell in row) for row in rows)
    return kind == "tmx" or (2 * sentences > len(lines)) or bool(rows and _names_pairs(rows))


def _names_pairs(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has the headings source and target."""
    return are_headings(rows) and {"source", "target"} <= {cell.strip(' "').lower() for cell in rows[0]}


def _is_pair_object(line: str) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and (("source" in value and "target" in value) or "translation" in value)


def _require_lines(paths: Sequence[Path]) -> None:
    """Refuse what cannot be split by lines."""
    if len(paths) > 2:
        raise UsageError(f"{counted(len(paths), 'file')}: expected one file of pairs, or SRC TGT")
    require_files(paths)
    if kind_of(paths[0]) == "tmx":
        raise UsageError(
            f"{paths[0]}: TMX cannot be split; expected .tsv, .csv or .jsonl, or two files, SRC TGT"
        )


def _names(part: str, paths: Sequence[Path], folder: Path) -> list[Path]:
    """The files of a part: the endings of the given files, or source and target where those are equal."""
    endings = list(map(suffix_of, paths))
    if len(set(endings)) < len(endings):
        endings = [f".{side}{ending}" for side, ending in zip(SIDES, endings, strict=True)]
    return [folder / f"{part}{ending}" for ending in endings]


def _headings(lines: Iterable[str], first: SentencePair) -> list[str]:
    """The lines before the first pair that are not blank."""
    return [line for line in islice(lines, first.line - 1) if line.strip()]
