"""Active learning in a simulation: annotate 100 random sentences, then 100 at a time that the model asks for.

Usage: python active.py FOLDER CORPUS STRATEGY SEED [SHARE]

The annotator is the training part itself, of which only the sentences asked for are read, until the given
share of its tokens is annotated (by default a half). After each round a tagger is trained with the built-in
settings on all that is annotated by then, and tested; random choice needs no model, so there it is every
fifth round. Appends lines to FOLDER/active.jsonl: sentences and tokens annotated so far, and the scores. A
run that was stopped goes on in the round where it was.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from corpora import CORPORA, path_of, sentences_of

import seqtool
from seqtool.text.columns import TaggedSentence, format_jsonl

STEP = 100  # sentences that are annotated at a time
RANDOM = "random"
ROUNDS = {RANDOM: 5}  # rounds between two taggers


def main(folder: Path, name: str, strategy: str, seed: int, most: float) -> None:
    """Annotate, train, test and choose, until so large a share of the tokens is annotated."""
    corpus, work = CORPORA[name], folder / f"active-{name}-{strategy}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    sentences = sentences_of(path_of(corpus.train))
    total = sum(len(sentence.tokens) for sentence in sentences)
    chosen, number = _begun(work, random.Random(seed).sample(range(len(sentences)), STEP))
    while (tokens := sum(len(sentences[i].tokens) for i in chosen)) <= most * total:
        labels = work / "labels.jsonl"
        labels.write_text("".join(annotated(sentences[i]) for i in chosen), encoding="utf-8")
        if number % ROUNDS.get(strategy, 1) == 0:
            run = seqtool.train(
                task=corpus.task,
                files={"train": labels, "dev": path_of(corpus.dev)},
                overrides=[f"seed={seed}"],
                output=work / "run",
                overwrite=True,
            )
            found = seqtool.evaluate(run.path, path_of(corpus.test), bootstrap=0)
            row = {"corpus": name, "strategy": strategy, "seed": seed, "round": number}
            row |= {"sentences": len(chosen), "tokens": tokens, "share": round(tokens / total, 4)}
            row |= {corpus.metric: round(100 * found.scores[corpus.metric].value, 3)}
            row |= {"dev": round(100 * run.result.metrics[run.result.selected_by], 3)}
            with (folder / "active.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)
        chosen += asked_for(work / "run", work, sentences, chosen, strategy, seed + number)
        number += 1
        (work / "chosen.json").write_text(json.dumps([chosen, number]))


def _begun(work: Path, first: list[int]) -> tuple[list[int], int]:
    """The sentences that are annotated and the number of the round, as an earlier start left them."""
    saved = work / "chosen.json"
    if not saved.exists():
        return first, 0
    chosen, number = json.loads(saved.read_text())
    return chosen, number


def annotated(sentence: TaggedSentence) -> str:
    """A sentence with its tags as a line of JSON."""
    return format_jsonl(sentence.tokens, sentence.tags)


def asked_for(
    run: Path, work: Path, sentences: list[TaggedSentence], chosen: list[int], strategy: str, seed: int
) -> list[int]:
    """The numbers of the sentences that the model asks for next."""
    done, pool = set(chosen), work / "pool.jsonl"
    rest = (i for i in range(len(sentences)) if i not in done)
    lines = (json.dumps({"id": i, "tokens": list(sentences[i].tokens)}) + "\n" for i in rest)
    pool.write_text("".join(lines), encoding="utf-8")
    command = ["seqtool", "data", "suggest", str(pool), "-m", str(run), "-n", str(STEP)]
    command += ["--strategy", strategy, "--format", "jsonl", "--quiet"]
    command += ["--seed", str(seed)] if strategy == RANDOM else []
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line)["id"] for line in out.splitlines()]


if __name__ == "__main__":
    share = float(sys.argv[5]) if len(sys.argv) > 5 else 0.5
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), share)
