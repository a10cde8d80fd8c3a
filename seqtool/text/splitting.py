"""One annotated file into train, dev and test: the same lines, each sentence in one of them."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqtool.errors import DataError, UsageError
from seqtool.files import storage_errors
from seqtool.text.annotation import AnnotatedFile, Columns, read_annotated
from seqtool.text.lines import lines_of
from seqtool.text.output import open_durably

PARTS = ("train", "dev", "test")
_DOCUMENT_START = re.compile(r"-DOCSTART-([ \t]|$)")


@dataclass(frozen=True)
class SplitPart:
    """One file that was written."""

    path: Path
    sentences: int
    shared: int  # sentences that also stand in train, word for word


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
    """Split a file by sentences; each part keeps the order of the file, and its lines as they are.

    Args:
        path: The file; the parts get its suffix, without `.gz`.
        folder: Where train, dev and test go; made if need be.
        dev: Share of the sentences, in [0, 1); 0 = no such part.
        test: Likewise.
        seed: Of the choice of sentences; the same seed always chooses the same ones.
        keep_order: Take dev and test from the end instead, with the marks of documents;
            a choice at random parts the sentences of documents, so the marks are dropped.
        overwrite: Replace parts that are there.
        columns: Where tokens and tags stand, by which the file is checked.

    Returns:
        What was written, train first.

    Raises:
        UsageError: shares that do not fit, a missing file, parts that are there already.
        DataError: the file is not what it should be, or has too few sentences.
        StorageError: the folder cannot be written.
    """
    if not (dev >= 0 and test >= 0 and dev + test < 1):
        raise UsageError(f"--dev {dev:g} --test {test:g}: expected shares from 0, together below 1")
    suffix = _suffix(path)
    targets = {part: folder / f"{part}{suffix}" for part in PARTS}
    _require_free(path, folder, targets.values(), overwrite)
    file = read_annotated(path, columns or Columns())
    blocks = sentence_blocks(file, keep_documents=keep_order)
    chosen = choose(len(blocks), {"dev": dev, "test": test}, seed=seed, keep_order=keep_order)
    if any(not chosen[part] for part in PARTS if part in chosen):
        raise DataError(f"{path}: {len(blocks)} sentences are too few for {len(chosen)} parts")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    _write({targets[part]: [blocks[number] for number in chosen[part]] for part in chosen})
    with storage_errors(folder):
        for part in PARTS:
            if part not in chosen:
                targets[part].unlink(missing_ok=True)  # of an earlier split: its sentences are elsewhere now
    trained = {file.sentences[number].tokens for number in chosen["train"]}
    shared = {part: [n for n in chosen[part] if file.sentences[n].tokens in trained] for part in chosen}
    return [
        SplitPart(targets[part], len(chosen[part]), 0 if part == "train" else len(shared[part]))
        for part in chosen
    ]


def choose(count: int, shares: dict[str, float], *, seed: int, keep_order: bool) -> dict[str, list[int]]:
    """Numbers of the sentences of each part, in order: train, then those with a share above 0.

    Args:
        count: Sentences, numbered from 0.
        shares: Of each part but train; at least one sentence each.
        seed: Of the choice.
        keep_order: Take the parts from the end, the last part last.
    """
    order = list(range(count))
    if not keep_order:
        # By digest: the same for every version of Python, which a random generator need not be.
        order.sort(key=lambda number: hashlib.sha256(f"{seed} {number}".encode()).digest())
    sizes = {part: max(1, round(count * share)) for part, share in shares.items() if share > 0}
    rest = max(0, count - sum(sizes.values()))
    parts = {"train": sorted(order[:rest])}
    for part, size in sizes.items():
        parts[part] = sorted(order[rest : rest + size])
        rest += size
    return parts


def sentence_blocks(file: AnnotatedFile, *, keep_documents: bool) -> list[str]:
    """The lines of each sentence as they stand in the file, with its comments and the blank line after it.

    Args:
        file: As it was read.
        keep_documents: Whether the mark of a document stays, before its first sentence.
    """
    if file.layout.kind == "jsonl":
        return [f"{line}\n" for line in lines_of(file.path) if line.strip(" \t")]
    lines = list(lines_of(file.path))
    blocks = []
    start = 0
    for sentence in file.sentences:
        end = sentence.line
        while end < len(lines) and lines[end].strip(" \t") and not _DOCUMENT_START.match(lines[end]):
            end += 1
        block = _block(lines[start : sentence.line - 1], keep_documents)
        blocks.append("".join(f"{line}\n" for line in [*block, *lines[sentence.line - 1 : end], ""]))
        start = end
    return blocks


def _block(before: Sequence[str], keep_documents: bool) -> list[str]:
    """What stands before a sentence and belongs to it: comments, and marks of documents if wanted."""
    kept: list[str] = []
    for line in before:
        if _DOCUMENT_START.match(line):
            kept += [line, ""] if keep_documents else []
        elif line.strip(" \t"):
            kept.append(line)
    return kept


def _write(parts: dict[Path, list[str]]) -> None:
    """All files or, if the disk is full, none: each takes its place when all are written."""
    with contextlib.ExitStack() as stack:
        for path, blocks in parts.items():
            file = stack.enter_context(open_durably(path))
            file.write("".join(blocks).encode())
            file.flush()


def _suffix(path: Path) -> str:
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return suffixes[-1] if suffixes else ""


def _require_free(path: Path, folder: Path, targets: Iterable[Path], overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file, expected a folder")
    for target in targets:
        if target.exists() and path.exists() and target.samefile(path):
            raise UsageError(f"{target}: is the file to split; give another folder")
        if target.exists() and not overwrite:
            raise UsageError(f"{target}: exists already; replace it with --overwrite, or give another folder")
