"""Raw text as sentences of tokens: plain text, or the tokens of annotated files, whose tags are not read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from seqtool.text.columns import TaggedSentence
from seqtool.text.data_files import files_below
from seqtool.text.lines import open_input
from seqtool.text.tagging_input import format_of, read_columns, read_objects, read_text


def sentences_of(paths: Iterable[Path]) -> Iterator[TaggedSentence]:
    """The sentences of files and folders, without empty ones.

    The ending of a name says what a file is: columns (.conll, .conllu), JSON lines (.jsonl), otherwise plain
    text with a sentence or a paragraph on each line, which is split into tokens as by `seqtool tag`.

    Args:
        paths: Files (also .gz), folders (all files below them), or `-` for standard input.

    Raises:
        UsageError, DataError, StorageError: a file is missing, or is not what its name says.
    """
    for path in (file for each in paths for file in files_below(each)):
        name, stream = str(path), open_input(path)
        with stream:
            kind = format_of(name)
            if kind == "conll":
                items = read_columns(stream, name, token=None, features=())
            else:
                items = (read_objects if kind == "jsonl" else read_text)(stream, name)
            yield from (item.sentence for item in items if item.sentence.tokens)
