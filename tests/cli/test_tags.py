"""One translator of several corpora: what its run says of them, and how a line names its tag."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqtool.settings import read_toml
from tests.cli.running import Inside, refused

GERMAN = "gehen\tging\tV;PST\nHaus\tHauses\tN;GEN\nBuch\tBuches\tN;GEN\nsehen\tsah\tV;PST\n" * 3
SPANISH = "hablar\thablo\tV;PRS\ncomer\tcomo\tV;PRS\n" * 3
CORPORA = 'data.corpora=[{ train = "spanish.tsv", weight = 2.0, tag = "es" }]'
QUICK = ("--epochs", 1, "--set", "model.hidden=8", "--set", "model.embedding=8", "--threads", 1)
TRAIN = (
    "train", "translate", "--train-file", "german.tsv", "--dev-file", "german.tsv",
    "--set", "data.tag=de", "--set", CORPORA, "-o", "run", *QUICK,
)  # fmt: skip


@pytest.fixture
def both(inside: Inside, tmp_path: Path) -> Inside:
    """A model of two languages in the folder `run`."""
    (tmp_path / "german.tsv").write_text(GERMAN)
    (tmp_path / "spanish.tsv").write_text(SPANISH)
    outcome = inside(*TRAIN)
    assert outcome.code == 0, outcome.err
    assert "german.tsv: 12 of 18 pairs, weight 1, 50.0% of an epoch, tag de\n" in outcome.err
    assert "spanish.tsv: 6 of 18 pairs, weight 2, 50.0% of an epoch, tag es\n" in outcome.err
    assert "next: seqtool translate -m run --tag de < sentences.txt" in outcome.err
    return inside


def test_recipe_card_and_dry_run_name_the_corpora(both: Inside, tmp_path: Path) -> None:
    recipe = read_toml(tmp_path / "run" / "recipe.toml")["data"]
    corpus = {"train": str(tmp_path / "spanish.tsv"), "weight": 2.0, "tag": "es"}
    assert recipe["corpora"] == [corpus] and recipe["tag"] == "de"
    line = "spanish.tsv: 6 of 18 pairs, weight 2, 50.0% of an epoch, tag es"
    assert line in (tmp_path / "run" / "model" / "README.md").read_text()
    again = both("train", "translate", "run/recipe.toml", "--dry-run")
    assert again.code == 0 and line in again.err
    assert b'tag = "es"' in again.out


def test_an_option_and_a_feature_name_the_tag_alike(both: Inside, tmp_path: Path) -> None:
    by_option = both("translate", "-m", "run", "--tag", "es", stdin=b"hablar\tV;PRS\n\n")
    by_feature = both("translate", "-m", "run", stdin=b"hablar\tes;V;PRS\n\n")
    (tmp_path / "in.jsonl").write_text('{"source": "hablar", "features": ["V", "PRS"]}\n{"source": ""}\n')
    by_key = both("translate", "-m", "run", "--tag", "es", "in.jsonl")
    assert by_option.code == by_feature.code == by_key.code == 0
    assert by_option.out == by_feature.out == by_key.out
    assert "does not have" not in by_option.err and "without features" not in by_option.err
    assert "1 line without features" in both("translate", "-m", "run", "--tag", "es", stdin=b"comer\n").err
    shown = both("inspect", "attention", "-m", "run", "--given", stdin=b"hablar\thablo\tes;V;PRS\n")
    assert shown.code == 0


def test_tags_that_are_missing_or_unknown_are_refused(both: Inside, tmp_path: Path) -> None:
    remedy = "write it as the first feature (SOURCE TAB FEATURES), or name it with --tag"
    missing = both("translate", "-m", "run", stdin=b"gehen\tV;PST\n")
    refused(missing, 3, "translate", "standard input:1: no tag, and this model needs one (de, es)", remedy)
    unknown = both("translate", "-m", "run", "--tag", "ed", stdin=b"gehen\tV;PST\n")
    refused(unknown, 2, "translate", "--tag ed: this model has the tags de, es")
    other = both("translate", "-m", "run", "--tag", "de", stdin=b"gehen\tes;V;PST\n")
    refused(other, 3, "translate", "its features begin with the tag 'es', and the tag 'de' is to be put")
    refused(both("evaluate", "german.tsv", "-m", "run"), 3, "evaluate", "german.tsv:1: no tag", "--tag")
    assert both("evaluate", "german.tsv", "-m", "run", "--tag", "de").code == 0
    (tmp_path / "found").write_text("ging\n" * 12)
    scored = ("evaluate", "german.tsv", "--predictions", "found", "--columns", "source,target,features")
    refused(both(*scored, "--tag", "de"), 2, "evaluate", "--tag needs a model")
