"""Distillation and self-training: what a teacher thinks is learned, in any batch, and resumed bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool import api
from seqtool.errors import SettingsError, UsageError
from seqtool.nn.forward_backward import Chain
from seqtool.tagging.data import load_training_data
from seqtool.tagging.lessons import Lessons
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.teaching import MOST_RAW, raw_sentences
from seqtool.tagging.train import prepare
from seqtool.text.columns import TaggedSentence
from tests.listeners import Listener
from tests.tagging.tiny_tagger import (
    SENTENCES,
    assert_equal_weights,
    random_sentences,
    tables,
    weights_of,
    write_columns,
)

RAW = [["Grace", "Hopper", "lives", "in", "Paris"], ["Ada", "met", "Hopper"], ["It", "rains"]]


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    found = tables(write_columns(tmp_path / "t.conll"))
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps({"tokens": each}) + "\n" for each in RAW))
    found["training"] |= {"max_steps": 6, "epochs": 50}
    return found


@pytest.fixture
def teacher(tmp_path: Path, recipe: dict[str, Any]) -> str:
    settings = {**recipe, "training": {**recipe["training"], "learning_rate": 0.01, "max_steps": 60}}
    api.train(settings, output=tmp_path / "teacher")
    return str(tmp_path / "teacher")


def lessons(raw: int, annotated: int) -> Lessons:
    return Lessons([torch.zeros(3, 2)] * raw, Chain(*(torch.zeros(2),) * 3), annotated)


@pytest.mark.parametrize(("raw", "annotated", "ratio"), [(7, 3, 2.0), (2, 5, 2.0), (10, 4, 0.5)])
def test_every_epoch_has_all_annotated_sentences_and_the_others_in_turn(
    raw: int, annotated: int, ratio: float
) -> None:
    found = lessons(raw, annotated)
    seen: list[int] = []
    for epoch in range(8):
        chosen = found.of_epoch(epoch, ratio, seed=1)
        assert chosen[:annotated] == list(range(annotated))
        assert len(chosen) - annotated == round(ratio * annotated)
        assert chosen == found.of_epoch(epoch, ratio, seed=1)
        seen += chosen[annotated:]
    for start in range(0, len(seen) - raw + 1, raw):  # nothing is read again before all was read
        assert sorted(seen[start : start + raw]) == list(range(annotated, annotated + raw))


def test_raw_sentences_are_distinct_new_and_not_too_many() -> None:
    annotated = [TaggedSentence(tuple(row[0] for row in rows), ("O",) * len(rows)) for rows in SENTENCES]
    pool = [*annotated, *random_sentences(400), TaggedSentence(("long",) * 60)]
    found = raw_sentences(pool, annotated, limit=50, seed=1)
    tokens = [each.tokens for each in found]
    assert len(set(tokens)) == len(tokens) and all(each.tags is None for each in found)
    assert not {each.tokens for each in annotated} & set(tokens) and max(map(len, tokens)) <= 50
    assert sum(map(len, tokens)) <= MOST_RAW * sum(len(each.tokens) for each in annotated)
    assert found == raw_sentences(pool, annotated, limit=50, seed=1)
    assert found != raw_sentences(pool, annotated, limit=50, seed=2)


@pytest.mark.parametrize("output", ["crf", "softmax"])
@pytest.mark.parametrize("with_text", [True, False])
def test_the_loss_is_that_of_the_tags_and_of_the_teacher(
    tmp_path: Path, recipe: dict[str, Any], output: str, with_text: bool
) -> None:
    still = {"dropout": 0.0, "lexical_dropout": 0.0, "word_dropout": 0.0, "singleton_dropout": 0.0}
    recipe["model"] = {**recipe.get("model", {}), "output": output, **still}
    api.train({**recipe, "seed": 4}, output=tmp_path / "teacher")
    if with_text:
        recipe["data"]["text"] = [str(tmp_path / "raw.jsonl")]
    recipe["training"]["teachers"] = [str(tmp_path / "teacher")]
    settings = api.resolve_settings("ner", recipe)
    data = load_training_data(settings)
    job = prepare(settings, data)
    expert = TaggerModel.load(tmp_path / "teacher", precision="fp32")
    job.model.network.load_state_dict(expert.network.state_dict())
    job.model.network.train()
    taught = 0
    for batch in job.batches(0):
        assert batch.annotated is not None and batch.taught is not None
        taught += int((~batch.annotated).sum())
        only = batch._replace(annotated=torch.zeros_like(batch.annotated))
        before = job.loss(batch)
        assert before.count == int(batch.mask.sum()) and bool(torch.isfinite(before.total))
        if output == "crf" and not batch.annotated.any():
            # The student is the teacher, so there is nothing to learn from it.
            job.loss(only).total.backward()
            gradient = job.model.network.output.weight.grad
            assert gradient is not None and gradient.abs().max() < 1e-3
    assert taught == round(2.0 * len(data.train))


@pytest.mark.parametrize("with_text", [True, False])
def test_a_run_with_a_teacher_resumes_bit_for_bit(
    tmp_path: Path, recipe: dict[str, Any], teacher: str, with_text: bool
) -> None:
    if with_text:
        recipe["data"]["text"] = [str(tmp_path / "raw.jsonl")]
        recipe["training"]["text_minutes"] = 0.05
    recipe["training"] |= {"teachers": [teacher], "checkpoint_every": 2, "mention_replacement": 0.3}
    recipe["training"] |= {"schedule": "constant", "warmup_steps": 0}
    heard = Listener()
    whole = api.train(recipe, output=tmp_path / "whole", reporter=heard)
    assert any("as tagged by" in line for line in heard.messages)
    if with_text:  # with the same language models, as their training has a time limit
        made = tmp_path / "whole" / "language-models"
        recipe["model"]["language_models"] = [str(made / name) for name in ("forward", "backward")]
        del recipe["training"]["text_minutes"]
        whole = api.train(recipe, output=tmp_path / "again")
    api.train(recipe, output=tmp_path / "parts", overrides=["training.max_steps=2"])
    parts = api.train(recipe, output=tmp_path / "parts", resume=True)
    assert_equal_weights(weights_of(whole), weights_of(parts))


def test_a_run_is_not_resumed_with_another_teacher(
    tmp_path: Path, recipe: dict[str, Any], teacher: str
) -> None:
    alone = api.train(recipe, output=tmp_path / "alone")
    recipe["training"]["teachers"] = [teacher]
    taught = api.train(recipe, output=tmp_path / "taught")
    one, other = (weights_of(run)["output.weight"] for run in (alone, taught))
    assert not torch.equal(one, other)
    api.train(
        {**recipe, "training": {**recipe["training"], "teachers": []}, "seed": 9},
        output=teacher,
        overwrite=True,
    )
    with pytest.raises(UsageError, match="teacher 1"):
        api.train(recipe, output=tmp_path / "taught", overrides=["training.max_steps=9"], resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw_ratio": 3.0}, r"raw_ratio = 3.0 has no effect without teachers"),
        ({"self_training": 1}, r"self_training = 1 has no effect without data.text"),
        ({"self_training": 1, "teachers": ["x"]}, "makes its own teachers"),
    ],
)
def test_settings_without_effect_are_refused(
    tmp_path: Path, recipe: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    recipe["training"] |= changes
    with pytest.raises(SettingsError, match=message):
        api.train(recipe, output=tmp_path / "run")
