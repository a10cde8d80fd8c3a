"""Raw text in `seqtool train`: the whole way from it to a tagger and to a translator."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Tiny, TinyTranslator, tiny_settings, translator_words
from tests.cli.running import Inside, refused
from tests.translation.tiny_pairs import TEXTS

RAW = "Ada lives in Paris .\nHopper met Ada in New York .\nNobody knows .\n" * 30
QUICK = (*tiny_settings(), "--epochs", 1, "--text-minutes", 0.2)


def test_raw_text_becomes_language_models_and_a_teacher(inside: Inside, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text(RAW)
    words = ("train", "ner", "--train", tiny.train, "--dev", tiny.dev, "--text", "raw", "-o", "run")
    outcome = inside(*words, *QUICK)
    assert outcome.code == 0, outcome.err
    for said in (
        "first 4 language models in at most 0.2 minutes, then 1 teacher, then the tagger",
        "a language model of characters that reads forward",
        "a language model of words that reads backward",
        "round 1 of self-training",
        "as tagged by the tagger of round 1",
    ):
        assert said in outcome.err, said
    tagged = inside("tag", "-m", "run", "--confidence", stdin=b"Ada lives in Paris .\n")
    assert tagged.code == 0 and tagged.out.count(b"\n") == 6
    shown = json.loads(inside("model", "info", "run", "--json").out)
    assert "readers" in json.dumps(shown)
    (tmp_path / "run" / "language-models").rename(tmp_path / "elsewhere")
    assert inside("tag", "-m", "run", "--confidence", stdin=b"Ada lives in Paris .\n").out == tagged.out
    (tmp_path / "elsewhere").rename(tmp_path / "run" / "language-models")
    nothing = inside("train", "ner", "--resume", "-o", "run")
    assert nothing.code == 0 and "already finished" in nothing.err


def test_text_that_is_missing_or_empty_is_refused_before_anything_is_written(
    inside: Inside, tiny: Tiny, tmp_path: Path
) -> None:
    words = ("train", "ner", "--train", tiny.train, "--dev", tiny.dev, *QUICK, "-o", "run")
    refused(inside(*words, "--text", "absent.txt"), 2, "train ner", "absent.txt: no such file")
    (tmp_path / "empty").mkdir()
    refused(inside(*words, "--text", "empty"), 2, "train ner", "empty: this folder contains no files")
    (tmp_path / "blank.txt").write_text(" \n\n")
    refused(inside(*words, "--text", "blank.txt"), 3, "train ner", "blank.txt: contains no text")
    without = ("train", "ner", "--train", tiny.train, "--dev", tiny.dev, *tiny_settings(), "-o", "run")
    refused(inside(*without, "--text-minutes", 3), 2, "train ner", "text_minutes = 3.0 has no effect without")
    refused(inside(*without, "--teacher", "absent"), 2, "train ner", "absent: no such file")


def test_a_dry_run_counts_the_whole_way(inside: Inside, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(RAW)
    words = ("train", "ner", "--train", tiny.train, "--dev", tiny.dev, "--text", "a.txt", *QUICK)
    outcome = inside(*words, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "5 other models on the text first" in outcome.err
    assert not (tmp_path / "runs").exists()


def test_a_teacher_without_raw_text_speaks_about_the_training_part(inside: Inside, tiny: Tiny) -> None:
    words = ("train", "ner", "--train", tiny.train, "--dev", tiny.dev, *tiny_settings(), "--epochs", 1)
    outcome = inside(*words, "--teacher", tiny.run, "-o", "student")
    assert outcome.code == 0 and "of the training part as tagged by" in outcome.err


def test_a_translator_learns_from_text_before_its_pairs(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    (tmp_path / "mono").mkdir()
    (tmp_path / "mono" / "a.txt").write_text("".join(f"{source}\n\n" for source, _ in TEXTS))
    words = ("train", "translate", "--train", pairs.source, pairs.target, *translator_words(), "--epochs", 1)
    text = ("--source-text", "mono", "--target-text", pairs.target, "--text-minutes", 0.1)
    outcome = inside(*words, *text, "-o", "made")
    assert outcome.code == 0 and outcome.out == b"made\n", outcome.err
    assert (
        "first the encoder and the decoder on raw text, in at most 0.1 minutes, then the translator"
        in outcome.err
    )
    assert "source text: 19 lines, " in outcome.err and "target text: 19 lines, " in outcome.err
    assert inside("translate", "-m", "made", stdin=b"Ada met Babbage .\n").code == 0
    nothing = inside("train", "translate", "--resume", "-o", "made")
    assert (
        nothing.code == 0 and "already finished" in nothing.err and "pretraining: done before" in nothing.err
    )
    recipe = (tmp_path / "made" / "recipe.toml").read_text()
    message = (
        "made: this run learns from raw text first, and none is named here; name no data at all to go on"
    )
    refused(inside(*words, "--resume", "-o", "made"), 2, "train translate", message)
    assert (tmp_path / "made" / "recipe.toml").read_text() == recipe


def test_text_of_a_translator_is_refused_before_anything_is_written(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    words = ("train", "translate", "--train", pairs.source, pairs.target, *translator_words(), "-o", "new")
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "long.txt").write_text("yes " * 200 + "\n")
    for option in ("--source-text", "--target-text"):
        refused(inside(*words, option, "absent.txt"), 2, "train translate", "absent.txt: no such file")
        for how in ((), ("--dry-run",)):
            refused(
                inside(*words, option, "blank.txt", *how), 3, "train translate", "blank.txt: contains no text"
            )
    base = ("--init-from", pairs.run, "--target-text", "long.txt")
    refused(inside(*words[:-2], "-o", "newer", *base), 2, "train translate", "are for a new translator")
    refused(inside(*words, "--text-minutes", 3), 2, "train translate", "text_minutes = 3.0 has no effect")
    assert not any((tmp_path / name / "model").exists() for name in ("new", "newer"))
