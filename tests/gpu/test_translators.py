"""Translators on a CUDA device compared with the CPU.

These tests have never run, because no machine of the project had a CUDA device. They say what should
hold there; if one fails on its first run, either the test or the code may be wrong. With the CPU in the
device's place all pass except those of fp16, which a CPU refuses, and int8, which it accepts.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool import api
from seqtool.errors import InterruptedRunError, SettingsError
from seqtool.text.parallel import SentencePair
from seqtool.training.job import TrainedRun
from seqtool.translation.ensemble import TranslatorEnsemble
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from tests.listeners import Listener, StopAt
from tests.translation.tiny_pairs import (
    COPYING,
    LEARN,
    TEXTS,
    outputs,
    pairs_of,
    random_sources,
    sources_of,
    targets_of,
    train_tiny,
)
from tests.translation.tiny_translator import batch_for, gradients, tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none here"),
]

DEVICE = "cuda"
# Every decoder, each with copying; coverage where the decoder can have it.
KINDS: list[dict[str, Any]] = [
    {"decoder": "input_feeding", "cell": "gru", "copy": True, "coverage": True},
    {"decoder": "conditional", "cell": "lstm", "copy": True, "coverage": True, "encoder_layers": 2},
    {"decoder": "bahdanau", "cell": "gru", "copy": True, "coverage": True, "readout": "maxout"},
    {"decoder": "parallel", "cell": "lstm", "copy": True, "heads": 2},
]
SEARCHES = {
    "greedy": SearchOptions(beam=1),
    "beam": SearchOptions(beam=5),
    "blocking": SearchOptions(beam=3, no_repeat_ngram=2, min_length=1),
    "samples": SearchOptions(sample=True, nbest=2, seed=3),
}

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["decoder"])


def train_there(
    folder: Path, listener: Listener | None = None, **sections: Any
) -> TrainedRun[TranslatorModel]:
    """A tiny run on the CUDA device; its vocabularies lack the names, so these have to be copied."""
    options: dict[str, Any] = {"overrides": [f"device={DEVICE}"], "reporter": listener}
    options |= sections.pop("options", {})
    return train_tiny(folder, TEXTS, options, vocabulary=COPYING, **sections)


def load_there(run: TrainedRun[TranslatorModel], precision: str = "fp32") -> TranslatorModel:
    return TranslatorModel.load(run.path, device=DEVICE, precision=precision)


# --- the network ---


@each_kind
@pytest.mark.parametrize(
    ("number_type", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 2e-2)],  # cuDNN multiplies float32 as TF32: three digits
    ids=["float64", "float32"],
)
def test_loss_and_gradients_equal_those_of_the_cpu(
    kind: dict[str, Any], number_type: torch.dtype, tolerance: float
) -> None:
    results = []
    for device in (torch.device("cpu"), torch.device(DEVICE)):
        network = tiny(**kind).to(number_type).to(device).train()  # dropout is 0
        weight = 0.5 if network.settings.coverage else 0.0
        loss = network.loss(batch_for(network).to(device), smoothing=0.1, coverage_loss=weight)
        found = {"loss": loss.total, **gradients(network, loss.total)}
        results.append({name: value.detach().cpu() for name, value in found.items()})
    here, there = results
    assert all(torch.count_nonzero(here[name]) for name in ("gate.weight", "bias"))
    for name, value in here.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(there[name] / scale, value / scale, rtol=0, atol=tolerance, msg=name)


# --- translating ---


@each_kind
def test_a_model_made_on_the_cpu_translates_the_same_there(tmp_path: Path, kind: dict[str, Any]) -> None:
    run = train_tiny(tmp_path, model=kind, vocabulary=COPYING, training=LEARN)
    there = load_there(run)
    assert there.translate(sources_of()) == targets_of()
    for name, options in SEARCHES.items():
        expected = run.model.search(pairs_of(), options)
        found = there.search(pairs_of(), options)
        assert outputs(found) == outputs(expected), name
        for one, other in zip(found, expected, strict=True):
            scores = [each.hypothesis.score for each in other]
            assert [each.hypothesis.score for each in one] == pytest.approx(scores, abs=1e-2)


@each_kind
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_outputs_do_not_depend_on_the_batch_there(
    tmp_path: Path, kind: dict[str, Any], precision: str
) -> None:
    """Uses memorised sentences, because the device may sum a row in another order beside other rows."""
    model = load_there(train_there(tmp_path, model=kind, training=LEARN), precision)
    pairs = [SentencePair(source, line=number) for number, source in enumerate(sources_of() * 3, 1)]
    order = random.Random(1).sample(range(len(pairs)), len(pairs))
    for name, options in SEARCHES.items():
        if options.draws and precision == "bf16":
            continue  # samples depend on the last bits of a sum
        expected = outputs(model.search(pairs, options, batch_tokens=1))
        assert len({row[0][0] for row in expected}) >= len(TEXTS), name
        for budget in (60, 4096):
            found = outputs(model.search([pairs[i] for i in order], options, batch_tokens=budget))
            assert found == [expected[i] for i in order], (name, budget)


def test_an_ensemble_of_one_model_twice_is_that_model_there(tmp_path: Path) -> None:
    model = load_there(train_there(tmp_path, model=KINDS[0], training=LEARN))
    pairs = [*pairs_of(), *random_sources(5)]
    twice = TranslatorEnsemble([model, model]).search(pairs, SearchOptions(beam=3))
    assert [found[0].text for found in twice if found] == [
        found[0].text for found in model.search(pairs, SearchOptions(beam=3)) if found
    ]


def test_int8_is_refused_there(tmp_path: Path) -> None:
    run = train_tiny(tmp_path)
    with pytest.raises(SettingsError, match="precision int8 is for the CPU"):
        load_there(run, "int8")


# --- training ---


@each_kind
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_learns_in_every_precision(tmp_path: Path, kind: dict[str, Any], precision: str) -> None:
    listener = Listener()
    run = train_there(tmp_path, listener, model=kind, training={**LEARN, "precision": precision})
    assert listener.losses[-1] < 0.3 * listener.losses[0]
    assert run.result.metrics["exact_match"] > 0.7
    here = TranslatorModel.load(run.path, device="cpu", precision="fp32")
    assert here.translate(sources_of()) == run.model.translate(sources_of())


def test_scheduled_sampling_and_rewards_are_trained_there(tmp_path: Path) -> None:
    listener = Listener()
    forcing = {**LEARN, "teacher_forcing": {"ratio": 0.7}}
    base = train_there(tmp_path / "base", listener, model=KINDS[0], training=forcing)
    assert listener.losses[-1] < 0.5 * listener.losses[0]
    tuning = {"objective": "mrt", "samples": 4, "epochs": 2, "learning_rate": 1e-4}
    tuned = train_there(tmp_path / "tuned", model=KINDS[0], training=tuning, options={"initial": base.path})
    assert tuned.result.metrics["bleu"] >= base.result.metrics["bleu"] - 5.0


def test_a_student_learns_from_its_teacher_there(tmp_path: Path) -> None:
    teacher = train_there(tmp_path / "teacher", model=KINDS[0], training=LEARN)
    training = {**LEARN, "teachers": [str(teacher.path)], "distillation": "both"}
    student = train_there(tmp_path / "student", model=KINDS[0], training=training)
    assert student.model.vocabularies.to_files() == teacher.model.vocabularies.to_files()
    assert student.result.metrics["bleu"] >= teacher.result.metrics["bleu"] - 5.0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_run_that_was_stopped_goes_on_there(tmp_path: Path, precision: str) -> None:
    sections = {"model": {**KINDS[0], "dropout": 0.3}, "training": {"precision": precision}}
    whole = Listener()
    train_there(tmp_path / "whole", whole, **sections)
    stopped = StopAt(5)
    with pytest.raises(InterruptedRunError):
        train_there(tmp_path / "stopped", stopped, **sections)
    rest = Listener()
    train_there(tmp_path / "stopped", rest, options={"resume": True}, **sections)
    # Not bit for bit: on the device the order of some sums varies.
    assert [*stopped.losses, *rest.losses] == pytest.approx(whole.losses, rel=0.05, abs=0.02)


def test_a_run_of_the_device_goes_on_without_it(tmp_path: Path) -> None:
    run = train_there(tmp_path, model=KINDS[0], training=LEARN)
    assert (
        api.load_translator(run.path, device="cpu", precision="fp32").translate(sources_of()) == targets_of()
    )
