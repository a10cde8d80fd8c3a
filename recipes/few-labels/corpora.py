"""The annotated files of the curves, below $SEQTOOL_DATA, and parts of them."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from seqtool.text.annotation import Columns
from seqtool.text.columns import TaggedSentence, format_jsonl, read_sentences


class Corpus(NamedTuple):
    """An annotated corpus."""

    task: str
    metric: str
    train: str
    dev: str
    test: str


CORPORA = {
    "ncbi": Corpus("ner", "f1", "ncbi_disease/train.tsv", "ncbi_disease/devel.tsv", "ncbi_disease/test.tsv"),
    "ewt": Corpus(
        "pos",
        "accuracy",
        "ud_english_ewt/en_ewt-ud-train.conllu",
        "ud_english_ewt/en_ewt-ud-dev.conllu",
        "ud_english_ewt/en_ewt-ud-test.conllu",
    ),
    "wnut17": Corpus(
        "ner", "f1", "wnut17/wnut17train.conll", "wnut17/emerging.dev.conll", "wnut17/emerging.test.annotated"
    ),
}


def path_of(name: str) -> Path:
    """A file below $SEQTOOL_DATA."""
    return Path(os.environ["SEQTOOL_DATA"]) / name


def sentences_of(path: Path) -> list[TaggedSentence]:
    """The annotated sentences of a file."""
    return list(read_sentences(path, Columns().detect(path)))


def split_at(corpus: Corpus, size: str, folder: Path) -> tuple[Path, Path | None]:
    """Write the first sentences of the training part, and the tokens of all others.

    Args:
        corpus: The corpus.
        size: Number of sentences, or `all`.
        folder: Where the two files are written.

    Returns:
        The annotated file, and the file of raw text; None if nothing is left for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sentences = sentences_of(path_of(corpus.train))
    count = len(sentences) if size == "all" else int(size)
    labels, rest = folder / f"labels-{size}.jsonl", folder / f"rest-{size}.jsonl"
    labels.write_text("".join(format_jsonl(each.tokens, each.tags) for each in sentences[:count]))
    if count >= len(sentences):
        return labels, None
    raw = ({"tokens": list(each.tokens)} for each in islice(sentences, count, None))
    rest.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in raw))
    return labels, rest
