"""Distillation: what a student learns from other translators, symbol by symbol and by their translations."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.errors import InterruptedRunError, ModelError, SettingsError, UsageError
from seqtool.settings import validate
from seqtool.translation.batches import Batch
from seqtool.translation.defaults import choose
from seqtool.translation.ensemble import TranslatorEnsemble
from seqtool.translation.model import Translator
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.teaching import Teacher
from tests.listeners import Listener, StopAt
from tests.translation.tiny_pairs import (
    COPYING,
    TEXTS,
    assert_equal_weights,
    pairs_of,
    tables,
    tiny_data,
    tiny_settings,
    train_tiny,
    untrained,
    weights_of,
)
from tests.translation.tiny_translator import batch_for, gradients, tiny


class Known(Teacher):
    """A teacher of networks alone."""

    def __init__(self, *networks: Translator) -> None:
        members = [SimpleNamespace(network=network) for network in networks]
        self.model = SimpleNamespace(members=members)  # type: ignore[assignment]


def distribution(network: Translator, batch: Batch, row: int, step: int, extra: int) -> Tensor:
    """Probabilities of all symbols at one step, from a pass over that sentence's prefix alone."""
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
    alone = {name: each[row : row + 1] for name, each in tensors.items() if isinstance(each, Tensor)}
    source = network.encode(replace(batch, **alone))
    readout = network.read(source, batch.inputs[row : row + 1, : step + 1])
    return network.log_probabilities(readout, source, extra)[0, -1].exp()


@pytest.mark.parametrize(
    "model", [{}, {"copy": True}, {"decoder": "parallel"}], ids=["plain", "copy", "parallel"]
)
def test_the_loss_is_the_sum_over_steps_and_symbols(model: dict[str, Any]) -> None:
    student, teachers = tiny(3, **model).eval(), [tiny(seed, **model).eval() for seed in (1, 2)]
    batch = batch_for(student)
    extra = max(int(batch.symbols.max()) + 1 - student.symbols, 0)
    expected = torch.zeros((), dtype=torch.float64)
    for row, step in batch.target_mask.nonzero().tolist():
        taught = sum(distribution(each, batch, row, step, extra) for each in teachers) / 2
        learned = distribution(student, batch, row, step, extra)
        for p, q in zip(taught.tolist(), learned.tolist(), strict=True):
            expected = expected - (p * math.log(q) if p else 0.0)
    found = Known(*teachers).cross_entropy(student, student.forward_pass(batch), batch)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_a_student_that_agrees_with_its_teacher_has_nothing_to_learn() -> None:
    student = tiny(1, copy=True).eval()
    batch = batch_for(student)
    total = Known(tiny(1, copy=True).eval()).cross_entropy(student, student.forward_pass(batch), batch)
    assert all(each.abs().max() < 1e-12 for each in gradients(student, total).values())
    other = Known(tiny(2, copy=True).eval()).cross_entropy(student, student.forward_pass(batch), batch)
    assert other > total
    assert any(each.abs().max() > 1e-3 for each in gradients(student, other).values())


def test_translations_of_a_teacher_are_those_of_its_search() -> None:
    models = [untrained(seed=seed) for seed in (1, 2)]
    pairs = pairs_of(TEXTS)
    found = TranslatorEnsemble(models).search(pairs)
    made = Teacher(models).translated(pairs)
    expected = [(pair.source, best[0].text) for pair, best in zip(pairs, found, strict=True) if best[0].text]
    assert [(pair.source, pair.target) for pair in made] == expected and expected
    # Pairs that are there already are not added again.
    assert Teacher(models).translated(made) == []


@pytest.mark.parametrize("distillation", ["word", "sequence", "both"])
def test_a_run_with_teachers_resumes_to_the_bit(tmp_path: Path, distillation: str) -> None:
    for seed in (1, 2):
        train_tiny(tmp_path / f"t{seed}", training={"epochs": 12}, options={"overrides": [f"seed={seed}"]})
    teachers = [str(tmp_path / f"t{seed}" / "run") for seed in (1, 2)]
    training = {"teachers": teachers, "distillation": distillation, "checkpoint_every": 1}
    sections: dict[str, Any] = {"training": training, "model": {"dropout": 0.2}}
    heard = Listener()
    whole = train_tiny(tmp_path / "whole", **sections, options={"reporter": heard})
    (line,) = (line for line in heard.messages if line.startswith("also learned from "))
    assert ("the probabilities" in line) == (distillation != "sequence")
    assert (" translation" in line) == (distillation != "word")
    assert whole.model.description.vocabulary.kind == "word"
    with pytest.raises(InterruptedRunError):
        train_tiny(tmp_path / "parts", **sections, options={"reporter": StopAt(3)})
    parts = train_tiny(tmp_path / "parts", **sections, options={"resume": True})
    assert_equal_weights(weights_of(parts), weights_of(whole))


def test_the_weight_counts(tmp_path: Path) -> None:
    train_tiny(tmp_path / "t")
    found = []
    for weight in (1.0, 2.0):
        training = {"teachers": [str(tmp_path / "t" / "run")], "teacher_weight": weight}
        found.append(weights_of(train_tiny(tmp_path / str(weight), training=training)))
    assert any(not found[0][name].equal(found[1][name]) for name in found[0])


def test_another_teacher_cannot_take_over(tmp_path: Path) -> None:
    train_tiny(tmp_path / "t")
    training = {"teachers": [str(tmp_path / "t" / "run")], "checkpoint_every": 1}
    with pytest.raises(InterruptedRunError):
        train_tiny(tmp_path / "s", training=training, options={"reporter": StopAt(2)})
    train_tiny(tmp_path / "t", options={"overwrite": True, "overrides": ["seed=5"]})
    with pytest.raises(UsageError, match="teacher 1"):
        train_tiny(tmp_path / "s", training=training, options={"resume": True})


def test_teachers_that_do_not_suit_are_refused(tmp_path: Path) -> None:
    train_tiny(tmp_path / "t")
    train_tiny(tmp_path / "copies", model={"copy": True}, vocabulary=COPYING)
    one, other = (str(tmp_path / name / "run") for name in ("t", "copies"))
    with pytest.raises(SettingsError, match="both copy, or neither does"):
        train_tiny(tmp_path / "s", training={"teachers": [other]})
    with pytest.raises(SettingsError, match="kind = 'character': a student has its"):
        train_tiny(tmp_path / "s", training={"teachers": [one]}, vocabulary={"kind": "character"})
    train_tiny(tmp_path / "small", TEXTS[:5])
    names = [one, str(tmp_path / "small" / "run")]
    with pytest.raises(ModelError, match="different vocabularies"):
        train_tiny(tmp_path / "s", training={"teachers": names})


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"training": {"objective": "mrt"}}, "teachers need objective = 'mle'"),
        (
            {"training": {"teacher_forcing": {"ratio": 0.5}}},
            "teachers speak about the symbols",
        ),
        ({"training": {"distillation": "sequence", "teacher_weight": 2.0}}, "teacher_weight"),
        ({"model": {"output": "positions"}}, "training.teachers need model.output = 'vocabulary'"),
    ],
)
def test_settings_that_do_not_go_with_teachers_are_refused(sections: dict[str, Any], reason: str) -> None:
    found = tables(["s", "t"], **sections)
    found["training"] = {**sections.get("training", {}), "teachers": ["x"]}
    with pytest.raises(SettingsError, match=reason):
        validate(TranslatorSettings, found, "recipe.toml")


def test_settings_about_teachers_need_teachers() -> None:
    settings = tiny_settings(training={"distillation": "both", "teacher_weight": 2.0})
    found = settings.without_effect(new_model=True)
    assert ["distillation" in found[0], "teacher_weight" in found[1]] == [True, True]


def test_the_vocabulary_is_not_chosen_where_teachers_have_one() -> None:
    settings = validate(
        TranslatorSettings, {"data": {"train": ["s", "t"]}, "training": {"teachers": ["x"]}, "name": "n"}, "t"
    )
    assert not [key for key in choose(settings, tiny_data()).values if key.startswith("vocabulary.")]
