"""`seqtool evaluate` with sentence pairs as people have them: empty lines, several references."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.conftest import TinyTranslator, translator_words
from tests.cli.running import Inside


def figures(inside: Inside, *words: object) -> tuple[dict[str, Any], str]:
    """What is printed as JSON, and standard error."""
    done = inside("evaluate", *words, "--bootstrap", 0, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out), done.err


def test_an_empty_source_counts_as_an_empty_output(pairs: TinyTranslator, inside: Inside) -> None:
    sources, targets = pairs.source.read_text().splitlines(), pairs.target.read_text().splitlines()
    Path("s").write_text("".join(f"{line}\n" for line in ["", *sources, " "]))
    Path("t").write_text("".join(f"{line}\n" for line in ["", *targets, "not empty"]))
    plain, _ = figures(inside, pairs.source, pairs.target, "-m", pairs.run)
    found, err = figures(inside, "s", "t", "-m", pairs.run)
    right = plain["metrics"]["exact_match"] * len(sources)
    assert found["metrics"]["exact_match"] == (right + 1) / (len(sources) + 2)
    assert "left out" not in err


def test_a_run_that_drops_empty_lines_leaves_them_out_of_its_scores(
    pairs: TinyTranslator, inside: Inside
) -> None:
    Path("s").write_text("\n" + pairs.source.read_text())
    Path("t").write_text("  \n" + pairs.target.read_text())
    settings = (*translator_words("data.empty=drop"), "--epochs", 1, "-o", "run")
    assert inside("train", "translate", "--train", "s", "t", *settings).code == 0
    found, err = figures(inside, "s", "t", "-m", "run")
    assert found["metrics"] == figures(inside, pairs.source, pairs.target, "-m", "run")[0]["metrics"]
    assert "data: 1 pair with an empty side left out" in err


def test_several_references_are_those_of_sacrebleu(pairs: TinyTranslator, inside: Inside) -> None:
    targets = pairs.target.read_text().splitlines()
    Path("wrong").write_text("".join("nothing like it\n" for _ in targets))
    one, _ = figures(inside, pairs.source, pairs.target, "-m", pairs.run)
    both, _ = figures(inside, pairs.source, "wrong", pairs.target, "-m", pairs.run)
    wrong, _ = figures(inside, pairs.source, "wrong", "-m", pairs.run)
    assert wrong["metrics"]["exact_match"] == 0
    assert both["metrics"]["exact_match"] == one["metrics"]["exact_match"] > 0
    assert "nrefs:2" in both["signatures"]["bleu"]
    Path("p.jsonl").write_text(
        "".join(
            json.dumps({"source": source, "target": ["nothing like it", target]}) + "\n"
            for source, target in zip(pairs.source.read_text().splitlines(), targets, strict=True)
        )
    )
    assert figures(inside, "p.jsonl", "-m", pairs.run)[0]["metrics"] == both["metrics"]
