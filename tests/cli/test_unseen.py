"""`seqtool translate` says what a model was never shown, once, and translates all lines nevertheless."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Inside, refused

FORMS = "gehen\tging\tV;PST\nHaus\tHauses\tN;GEN;SG\nBuch\tBuches\tN;GEN;SG\nsehen\tsah\tV;PST\n" * 3
QUICK = ("--epochs", 1, "--set", "model.hidden=8", "--set", "model.embedding=8", "--threads", 1)


@pytest.fixture
def forms(inside: Inside, tmp_path: Path) -> Inside:
    """A model of inflected forms in the folder `run`."""
    (tmp_path / "forms").write_text(FORMS)
    outcome = inside(
        "train", "translate", "--train-file", "forms", "--dev-file", "forms", "-o", "run", *QUICK
    )
    assert outcome.code == 0, outcome.err
    assert "next: seqtool translate -m run < sentences.txt  # each line: SOURCE TAB FEATURES\n" in outcome.err
    return inside


def test_what_the_model_was_never_shown_is_counted(forms: Inside) -> None:
    lines = "gehen\tV;PST\nBuch\nBüche\tN;PL;SG\nGen\tN;PL\n\nHand\tN;SG\n"
    outcome = forms("translate", "-m", "run", stdin=lines.encode())
    assert outcome.code == 0 and outcome.out.count(b"\n") == 6
    assert "1 line without features; this model reads SOURCE TAB FEATURES\n" in outcome.err
    assert "2 lines with features that the training part does not have: PL\n" in outcome.err
    assert "3 lines with characters that the training part does not have: ü G d\n" in outcome.err


def test_columns_in_the_wrong_order_show(forms: Inside) -> None:
    outcome = forms("translate", "-m", "run", stdin=b"V;PST\tgehen\nN;GEN;SG\tHaus\n")
    assert "2 lines with features that the training part does not have: gehen Haus" in outcome.err
    assert "; is the order of the columns right (SOURCE TAB FEATURES)?\n" in outcome.err


def test_dev_and_test_in_another_order_show_as_well(forms: Inside, tmp_path: Path) -> None:
    (tmp_path / "swapped").write_text("gehen\tV;PST\tging\nHaus\tN;GEN;SG\tHauses\n")
    outcome = forms("evaluate", "swapped", "-m", "run")
    assert "2 lines with features that the training part does not have: ging Hauses; is the" in outcome.err
    words = ("train", "translate", "--train-file", "forms", "--dev-file", "swapped", "-o", "again", *QUICK)
    assert "dev: 2 lines with features that the training part does not have: ging Hauses" in forms(*words).err
    assert forms("data", "check", "forms", "--task", "translate").code == 0


def test_nothing_is_said_of_what_is_known(forms: Inside) -> None:
    assert "does not have" not in forms("translate", "-m", "run", stdin=b"gehen\tV;PST\n").err


def test_a_given_target_stands_where_the_training_file_has_it(forms: Inside) -> None:
    outcome = forms("inspect", "attention", "-m", "run", "--given", stdin=b"gehen\tgegangen\tV;PST\n")
    assert outcome.code == 0 and outcome.out.count(b"\n") > 3
    refused(
        forms("inspect", "attention", "-m", "run", "--given", stdin=b"gehen\n"),
        3,
        "inspect attention",
        "standard input:1: no tab; with --given each line is SOURCE TAB TARGET TAB FEATURES",
    )
