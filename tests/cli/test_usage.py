"""Mistyped commands and options: the message names what to type instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Inside, refused


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("samle", "no such command: samle; did you mean `seqtool lm sample`? See `seqtool -h`"),
        ("evaluat", "no such command: evaluat; did you mean `seqtool evaluate`? See `seqtool -h`"),
        ("frobnicate", "no such command: frobnicate; see `seqtool -h`"),
        ("train nre", "no such command: nre; did you mean `seqtool train ner`? See `seqtool train -h`"),
        ("train --train book.txt", "the task is missing, as in: seqtool train lm --train book.txt; see"),
        ("train --train a.conll.gz --dev b", "seqtool train ner --train a.conll.gz --dev b; see"),
        ("train --train a b", "seqtool train translate --train a b; see"),
        ("train --train-file p.tsv", "seqtool train translate --train-file p.tsv; see"),
        ("train lm --cell gru", "no such option: --cell; did you mean --set model.cell=gru? See"),
        ("train ner --hidden=5", "no such option: --hidden; did you mean --set model.hidden=5? See"),
        ("train ner --hidden", "did you mean --set model.hidden=VALUE? See"),
        ("train ner --epoch 3", "no such option: --epoch; did you mean --epochs? See"),
        ("evaluate x --error f", "no such option: --error; did you mean --errors? See `seqtool evaluate -h`"),
        ("evaluate x -m a -m b", "-m: expected one model, found 2; to score several as one, write their"),
        ("embed x -m a --model b", "-m: expected one model, found 2"),
        ("tag --xyzzy", "no such option: --xyzzy; see `seqtool tag -h`"),
    ],
)
def test_what_was_mistyped_is_named_with_what_to_type(inside: Inside, typed: str, message: str):
    words = typed.split()
    command = " ".join(words[: 2 if words[:2] in (["train", "lm"], ["train", "ner"]) else 1])
    known = command if words[0] in ("train", "evaluate", "embed", "tag") else ""
    refused(inside(*words), 2, known, message)


def test_a_data_file_in_the_place_of_the_recipe_is_told_from_a_mistyped_name(inside: Inside, tmp_path: Path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/train.conll").write_text("Ada\tO\n")
    data = "parts/train.conll is a data file, not a recipe: seqtool train"
    refused(
        inside("train", "ner", "parts/train.conll"), 2, "train ner", f"{data} ner --train parts/train.conll"
    )
    refused(inside("train", "lm", "parts/train.conll"), 2, "train lm", f"{data} lm --train parts/train.conll")
    refused(inside("train", "lm", "parts"), 2, "train lm", "parts is a data file", "train lm --train parts")
    pairs = inside("train", "translate", "parts/train.conll")
    refused(pairs, 2, "train translate", f"{data} translate --train-file parts/train.conll")
    several = inside("train", "lm", "--train", "parts/train.conll", "parts/train.conll")
    refused(
        several, 2, "train lm", "is a data file, not a recipe; --train, --dev and --test take one file each"
    )
    name = (
        "ner-tin: no bundled recipe of that name, and not a .toml file; did you mean 'ner-tiny'? See `seqtool"
    )
    refused(inside("train", "ner", "ner-tin"), 2, "train ner", name)
