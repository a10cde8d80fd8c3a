"""One point of the learning curves: three systems on the first sentences of a corpus.

Usage: python curves.py FOLDER CORPUS SIZE SEED [SYSTEM ...]

Appends lines to FOLDER/results.jsonl, and skips what stands there. The language models of a corpus read
the same text whatever part of it is annotated: they are trained once (seed 1), for all sizes and seeds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from corpora import CORPORA, Corpus, path_of, sentences_of, split_at
from feature_crf import tags_of

import seqtool
from seqtool.stages import tagging as stages
from seqtool.tagging.scores import accuracy, span_scores


class Scores(NamedTuple):
    """What a system reaches."""

    test: float
    dev: float | None = None  # None if it reads no development part


def main(folder: Path, name: str, size: str, seed: int, wanted: list[str]) -> None:
    """Train and test the systems that have no result yet, all or those that are wanted."""
    results = folder / "results.jsonl"
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    corpus = CORPORA[name]
    labels, rest = split_at(corpus, size, folder / name)
    systems: dict[str, Callable[[], Scores]] = {
        "feature CRF": lambda: by_features(corpus, labels),
        "labels only": lambda: by_labels(corpus, labels, folder / name / f"labels-{size}-{seed}", seed),
    }
    if rest is not None:
        systems["with raw text"] = lambda: by_text(corpus, labels, rest, folder / name, size, seed)
    for system, measure in systems.items():
        key = {"corpus": name, "size": size, "seed": seed, "system": system}
        if (system == "feature CRF" and seed > 1) or (wanted and system not in wanted):
            continue
        if any(key.items() <= each.items() for each in done):
            continue
        started, before = time.time(), time.process_time()
        scores = measure()
        row = {**key, corpus.metric: round(100 * scores.test, 3)}
        if scores.dev is not None:
            row["dev"] = round(100 * scores.dev, 3)
        row |= {"minutes": round((time.time() - started) / 60, 2)}
        row |= {"cpu_minutes": round((time.process_time() - before) / 60, 2)}
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def by_features(corpus: Corpus, labels: Path) -> Scores:
    """The feature CRF, whose seed has no effect."""
    train, test = sentences_of(labels), sentences_of(path_of(corpus.test))
    found = tags_of(train, test)
    gold = [list(each.tags or ()) for each in test]
    if corpus.metric == "accuracy":
        return Scores(float(accuracy(gold, found).value))
    return Scores(float(span_scores(gold, found, "iob2")["f1"].value))


def by_labels(corpus: Corpus, labels: Path, output: Path, seed: int) -> Scores:
    """The built-in settings on the annotated sentences alone."""
    return _trained(corpus, labels, output, seed, {})


def by_text(corpus: Corpus, labels: Path, rest: Path, folder: Path, size: str, seed: int) -> Scores:
    """The built-in settings with the rest of the training part as raw text."""
    shared = folder / "language-models"
    changes: dict[str, Any] = {"data.text": [str(rest.absolute())]}
    if shared.exists():
        names = [str((shared / kind.name).absolute()) for kind in stages.KINDS]
        changes["model.language_models"] = names
    output = folder / f"text-{size}-{seed}"
    scores = _trained(corpus, labels, output, seed, changes)
    if not shared.exists():
        (output / stages.FOLDER).rename(shared)
    return scores


def _trained(corpus: Corpus, labels: Path, output: Path, seed: int, changes: dict[str, Any]) -> Scores:
    """Train a tagger and score it on the test part."""
    overrides = [f"{key}={json.dumps(value)}" for key, value in {"seed": seed, **changes}.items()]
    files = {"train": labels, "dev": path_of(corpus.dev)}
    run = seqtool.train(task=corpus.task, files=files, overrides=overrides, output=output, overwrite=True)
    found = seqtool.evaluate(run.path, path_of(corpus.test), bootstrap=0)
    return Scores(float(found.scores[corpus.metric].value), run.result.metrics[run.result.selected_by])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:])
