"""Splitting an annotated file into train, dev and test files.

Lines stay as they are, and a row that names the columns begins each part; the examples of a JSON array become
JSON lines.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqtool.errors import DataError, UsageError, counted
from seqtool.files import storage_errors
from seqtool.text.annotation import AnnotatedFile, Columns, read_annotated
from seqtool.text.columns import ARRAY_LIMIT
from seqtool.text.exports import items_of
from seqtool.text.json_lines import load
from seqtool.text.layout import DOCUMENT_LINE, is_header
from seqtool.text.lines import lines_of
from seqtool.text.output import open_durably

PARTS = ("train", "dev", "test")


@dataclass(frozen=True)
class Block:
    """What stays together: a sentence with its comments, or an example of a JSON file."""

    text: str  # as it is written
    sentences: tuple[tuple[str, ...], ...]  # tokens of each; a document has several, a rejected example none


@dataclass(frozen=True)
class SplitPart:
    """One of the files that were written."""

    path: Path
    sentences: int
    shared: int  # sentences that also occur in the training part, word for word


def split_file(
    path: Path,
    folder: Path,
    *,
    dev: float = 0.1,
    test: float = 0.1,
    seed: int = 1,
    keep_order: bool = False,
    overwrite: bool = False,
    columns: Columns | None = None,
) -> list[SplitPart]:
    """Split a file by sentences; each part keeps the lines and their order.

    Args:
        path: The file, not a pipe; the parts get the same suffix, without `.gz` (`.jsonl` for a JSON array).
        folder: Folder for train, dev and test; created if it does not exist.
        dev: Fraction of the sentences for the development part, in [0, 1); 0 = no such part.
        test: Fraction of the sentences for the test part, in [0, 1); 0 = no such part.
        seed: Random seed; the same seed always chooses the same sentences.
        keep_order: Whether dev and test are taken from the end and document markers are kept. A random
            choice separates the sentences of a document, so it drops the markers.
        overwrite: Whether to replace existing parts.
        columns: Columns of tokens and tags, used to check the file.

    Returns:
        The parts that were written, train first.

    Raises:
        UsageError: the fractions are invalid, the file does not exist or is a pipe, or parts exist already.
        DataError: the file is invalid, or has too few sentences.
        StorageError: the folder cannot be written.
    """
    require_shares(dev, test)
    _require_regular(path)
    columns = columns or Columns()
    suffix = ".jsonl" if path.is_file() and columns.detect(path).kind == "json" else suffix_of(path)
    targets = {part: folder / f"{part}{suffix}" for part in PARTS}
    require_free_parts(path, folder, targets.values(), overwrite)
    header, blocks = _blocks(read_annotated(path, columns), keep_documents=keep_order)
    numbers = choose(len(blocks), {"dev": dev, "test": test}, seed=seed, keep_order=keep_order)
    chosen = {part: [blocks[number] for number in numbers[part]] for part in numbers}
    if not all(chosen.values()):
        raise DataError(f"{path}: {counted(len(blocks), 'sentence')}, too few for {len(chosen)} parts")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_parts({targets[part]: [header, *(block.text for block in chosen[part])] for part in chosen})
    with storage_errors(folder):
        for part in PARTS:
            if part not in chosen:
                targets[part].unlink(missing_ok=True)  # left by an earlier split, which chose differently
    sentences = {part: [tokens for block in chosen[part] for tokens in block.sentences] for part in chosen}
    trained = set(sentences["train"])
    shared = {part: sum(map(trained.__contains__, sentences[part])) for part in chosen if part != "train"}
    return [SplitPart(targets[part], len(sentences[part]), shared.get(part, 0)) for part in chosen]


def require_shares(dev: float, test: float) -> None:
    """Check that two shares leave something to train on.

    Raises:
        UsageError: one is below 0, or they add up to 1 or more.
    """
    if not (dev >= 0 and test >= 0 and dev + test < 1):
        raise UsageError(
            f"--dev {dev:g} --test {test:g}: expected shares of 0 or more that add up to less than 1, as in "
            "--dev 0.1 --test 0.1"
        )


def in_random_order(numbers: list[int], seed: int) -> None:
    """Shuffle numbers in place, in a way that is the same in every version of Python."""
    # By a digest, since random generators differ between versions.
    numbers.sort(key=lambda number: hashlib.sha256(f"{seed} {number}".encode()).digest())


def choose(count: int, shares: dict[str, float], *, seed: int, keep_order: bool) -> dict[str, list[int]]:
    """Numbers of the sentences in each part, in ascending order: train, then the parts with a share above 0.

    Args:
        count: Number of sentences; they are numbered from 0.
        shares: Fraction of the sentences for each part except train; above 0, it means at least one sentence.
        seed: Random seed.
        keep_order: Whether to take the parts from the end instead, the last part last.
    """
    order = list(range(count))
    if not keep_order:
        in_random_order(order, seed)
    sizes = {part: max(1, round(count * share)) for part, share in shares.items() if share > 0}
    rest = max(0, count - sum(sizes.values()))
    parts = {"train": sorted(order[:rest])}
    for part, size in sizes.items():
        parts[part] = sorted(order[rest : rest + size])
        rest += size
    return parts


def _blocks(file: AnnotatedFile, *, keep_documents: bool) -> tuple[str, list[Block]]:
    """The row that names the columns (empty if there is none), and the blocks of a file in its order.

    Args:
        file: The file as it was read.
        keep_documents: Whether to keep the marker of a document before its first sentence.
    """
    if file.layout.kind in ("jsonl", "json"):
        return "", _json_blocks(file)
    lines = list(lines_of(file.path))
    header = ""
    if file.layout.header:
        place = next(place for place, line in enumerate(lines) if is_header(line, file.layout))
        header, lines[place] = f"{lines[place]}\n", ""
    blocks = []
    start = 0
    for sentence in file.sentences:
        end = sentence.line
        while end < len(lines) and lines[end].strip(" \t") and not DOCUMENT_LINE.match(lines[end]):
            end += 1
        block = [
            *_before(lines[start : sentence.line - 1], keep_documents),
            *lines[sentence.line - 1 : end],
            "",
        ]
        blocks.append(Block("".join(f"{line}\n" for line in block), (sentence.tokens,)))
        start = end
    return header, blocks


def _json_blocks(file: AnnotatedFile) -> list[Block]:
    """One block per example: a line of JSON lines, or an item of an array as a line."""
    sentences: dict[int, list[tuple[str, ...]]] = defaultdict(list)  # by the number of line or item
    for sentence in file.sentences:
        sentences[sentence.line].append(sentence.tokens)
    if file.layout.kind == "json":
        items = items_of(load("\n".join(lines_of(file.path, ARRAY_LIMIT)), file.path, array=True), file.path)
        lines = [json.dumps(item, ensure_ascii=False, allow_nan=False) for item in items]
    else:
        lines = list(lines_of(file.path))
    numbered = enumerate(lines, 1)
    return [Block(f"{line}\n", tuple(sentences[number])) for number, line in numbered if line.strip(" \t")]


def _before(before: Sequence[str], keep_documents: bool) -> list[str]:
    """The lines before a sentence that belong to it: comments, and document markers if they are kept."""
    kept: list[str] = []
    for line in before:
        if DOCUMENT_LINE.match(line):
            kept += [line, ""] if keep_documents else []
        elif line.strip(" \t"):
            kept.append(line)
    return kept


def write_parts(parts: dict[Path, list[str]]) -> None:
    """Write all files or, if the disk is full, none: they appear only once all are written."""
    with contextlib.ExitStack() as stack:
        for path, blocks in parts.items():
            file = stack.enter_context(open_durably(path))
            file.write("".join(blocks).encode())
            file.flush()


def suffix_of(path: Path) -> str:
    """The ending of a file's name, without `.gz`."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return suffixes[-1] if suffixes else ""


def _require_regular(path: Path) -> None:
    if str(path) == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
        name = "standard input" if str(path) == "-" else path
        raise UsageError(
            f"{name}: splitting reads FILE more than once, and a pipe can be read only once; save it as a "
            "file first, as in: cat > all.conll"
        )


def require_free_parts(path: Path, folder: Path, targets: Iterable[Path], overwrite: bool) -> None:
    """Check, before anything is written, that the parts of a file can be.

    Args:
        path: The file to split.
        folder: Folder for the parts.
        targets: Files that may be written.
        overwrite: Whether to replace existing parts.

    Raises:
        UsageError: the folder is a file, or a part is the file to split, or exists already.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file; expected a folder")
    for target in targets:
        if target.exists() and path.exists() and target.samefile(path):
            raise UsageError(f"{target}: is the file to split; give another folder")
        if target.exists() and not overwrite:
            raise UsageError(f"{target}: exists already; replace it with --overwrite, or give another folder")
