"""Taggers and the CRF on a CUDA device compared with the CPU.

These tests have never run, because no machine of the project had a CUDA device. They say what should
hold there; if one fails on its first run, either the test or the code may be wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool import api
from seqtool.errors import InterruptedRunError
from seqtool.nn.crf import (
    k_best,
    marginals,
    negative_log_likelihood,
    partial_negative_log_likelihood,
    viterbi,
    weighted_negative_log_likelihood,
)
from seqtool.nn.forward_backward import Chain
from seqtool.tagging.batches import encode
from seqtool.tagging.documents import passage_rows
from seqtool.tagging.prediction import TaggerModel
from seqtool.training.job import TrainedRun
from tests.listeners import Listener, StopAt
from tests.tagging.tiny_tagger import (
    LEARN,
    tags_of,
    tiny_data,
    tokens_of,
    train_tiny,
    untrained,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none here"),
]

CUDA = torch.device("cuda")
KINDS: list[dict[str, Any]] = [
    {"cell": "lstm", "characters": "rnn"},
    {"cell": "gru", "characters": "cnn", "layers": 2, "residual": True},
    {"cell": "lstm", "characters": "none", "output": "softmax"},
    {"cell": "lstm", "characters": "rnn", "document_hidden": 6},
]


def train_there(folder: Path, listener: Listener | None = None, **sections: Any) -> TrainedRun[TaggerModel]:
    """A tiny run on the CUDA device."""
    options: dict[str, Any] = {"overrides": ["device=cuda"], "reporter": listener}
    return train_tiny(folder, options={**options, **sections.pop("options", {})}, **sections)


# --- the network ---


def test_language_models_and_a_teacher_work_there(tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("Ada lives in Paris .\nHopper met Ada in London .\n" * 20)
    options = {"overrides": ["device=cuda", "training.text_minutes=0.2", "training.self_training=1"]}
    run = train_tiny(tmp_path, data={"text": [str(tmp_path / "raw.txt")]}, options=options)
    assert len(run.model.readers) == 4 and run.model.device.type == "cuda"
    sentences = tiny_data().train
    there = run.model.predict(sentences, confidence=True)
    here = TaggerModel.load(run.path, device="cpu", precision="fp32").predict(sentences, confidence=True)
    for one, other in zip(there, here, strict=True):
        assert one.token_confidence == pytest.approx(other.token_confidence, abs=2e-2)


def test_words_around_are_learned_there(tmp_path: Path) -> None:
    training = {"crop": 0.5, "word_prediction": 0.1}
    run = train_tiny(tmp_path, training=training, options={"overrides": ["device=cuda"]})
    assert run.model.network.word_prediction is None and run.model.device.type == "cuda"


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    ("number_type", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 2e-2)],  # cuDNN multiplies float32 as TF32: three digits
    ids=["float64", "float32"],
)
def test_scores_and_gradients_equal_those_of_the_cpu(
    kind: dict[str, Any], number_type: torch.dtype, tolerance: float
) -> None:
    results = []
    for device in (torch.device("cpu"), CUDA):
        model = untrained(model=kind)
        network = model.network.to(number_type).to(device).train()  # dropout is 0
        table = model.vocabularies.form_table(model.description.vocabulary)
        corpus = encode(tiny_data().train, model.vocabularies, table, with_tags=True)
        batch = corpus.batch(range(10), passage_rows([4, 6])).to(device)
        loss = network.loss(batch)
        loss.total.backward()  # type: ignore[no-untyped-call]
        gradients = {name: p.grad.cpu() for name, p in network.named_parameters() if p.grad is not None}
        scores = network.scores(batch).detach()[batch.mask].cpu()
        results.append({"scores": scores, "loss": loss.total.detach().cpu(), **gradients})
    there, here = results[1], results[0]
    assert there.keys() == here.keys()
    for name, value in here.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(there[name] / scale, value / scale, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_model_made_on_the_cpu_tags_the_same_there(tmp_path: Path, kind: dict[str, Any]) -> None:
    run = train_tiny(tmp_path, model=kind, training=LEARN)
    there = TaggerModel.load(run.path, device="cuda", precision="fp32")
    assert there.tag(tokens_of()) == run.model.tag(tokens_of()) == tags_of()
    sentences = tiny_data().train
    pairs = zip(
        there.predict(sentences, confidence=True, kbest=2),
        run.model.predict(sentences, confidence=True, kbest=2),
        strict=True,
    )
    for one, other in pairs:
        assert one.span_confidence == pytest.approx(other.span_confidence, abs=1e-2)
        assert one.token_confidence == pytest.approx(other.token_confidence, abs=1e-2)
        assert one.alternatives is not None and other.alternatives is not None
        assert one.alternatives[0][0] == other.alternatives[0][0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tags_do_not_depend_on_the_batch_there(tmp_path: Path, precision: str) -> None:
    run = train_there(tmp_path, training=LEARN)
    model = TaggerModel.load(run.path, device="cuda", precision=precision)
    sentences = list(tiny_data().train)
    expected = [p.tags for p in model.predict(sentences, batch_tokens=1)]
    for budget in (7, 64, 4096):
        assert [p.tags for p in model.predict(sentences[::-1], batch_tokens=budget)] == expected[::-1]


# --- the CRF ---


def chain_case(device: torch.device) -> tuple[torch.Tensor, Chain, torch.Tensor, torch.Tensor]:
    """Scores, chain (with one forbidden transition), mask and tags, the same on every device."""
    source = torch.Generator().manual_seed(2)
    scores = torch.randn(6, 9, 5, generator=source, dtype=torch.float64)
    transitions = torch.randn(5, 5, generator=source, dtype=torch.float64)
    transitions[1, 2] = float("-inf")
    ends = torch.randn(2, 5, generator=source, dtype=torch.float64)
    mask = torch.arange(9) < torch.tensor([9, 1, 4, 7, 2, 9])[:, None]
    tags = torch.randint(3, 5, (6, 9), generator=source)  # never the forbidden transition
    chain = Chain(transitions.to(device), ends[0].to(device), ends[1].to(device))
    return scores.to(device).requires_grad_(), chain, mask.to(device), tags.to(device)


def crf_results(device: torch.device) -> dict[str, torch.Tensor]:
    scores, chain, mask, tags = chain_case(device)
    possible = torch.ones(6, 9, 5, dtype=torch.bool, device=device)
    possible[:, 0, :3] = False
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0, 0.0], device=device)
    losses = {
        "loss": negative_log_likelihood(scores, chain, tags, mask),
        "partial": partial_negative_log_likelihood(scores, chain, possible, mask),
        "weighted": weighted_negative_log_likelihood(scores, chain, tags, mask, weights),
    }
    (gradient,) = torch.autograd.grad(torch.stack([loss.sum() for loss in losses.values()]).sum(), scores)
    plain = scores.detach()
    posterior = marginals(plain, chain, mask)
    paths, best = viterbi(plain, chain, mask)
    ranked, ranks = k_best(plain, chain, mask, 4)
    found = {"paths": paths, "best": best, "ranked": ranked, "ranks": ranks, "unary": posterior.unary}
    found |= {"gradient": gradient, "partition": posterior.log_partition, **losses}
    return {name: value.detach().cpu() for name, value in found.items()}


def test_every_result_of_the_crf_equals_that_of_the_cpu() -> None:
    here, there = crf_results(torch.device("cpu")), crf_results(CUDA)
    for name, value in here.items():
        torch.testing.assert_close(there[name], value, rtol=0, atol=1e-10, msg=name)


# --- training ---


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_training_learns_in_every_precision(tmp_path: Path, kind: dict[str, Any], precision: str) -> None:
    listener = Listener()
    run = train_there(tmp_path, listener, model=kind, training={**LEARN, "precision": precision})
    assert listener.losses[-1] < 0.3 * listener.losses[0]
    assert run.result.metrics["accuracy"] > 0.9
    assert api.load(run.path, device="cpu", precision="fp32").tag(tokens_of()) == run.model.tag(tokens_of())


def test_class_weights_and_partial_tags_are_trained_there(tmp_path: Path) -> None:
    listener = Listener()
    train_there(tmp_path / "weights", listener, training={"class_weights": {"PER": 2.0}})
    assert listener.losses[-1] < listener.losses[0]
    sentences = [[("Ada", "B-PER|B-ORG"), ("met", "?"), ("Paris", "B-LOC")]] * 4
    partial = Listener()
    train_there(tmp_path / "partial", partial, sentences=sentences)
    assert partial.losses[-1] < partial.losses[0]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_run_that_was_stopped_goes_on_there(tmp_path: Path, precision: str) -> None:
    sections = {"model": {"dropout": 0.3, "word_dropout": 0.2}, "training": {"precision": precision}}
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
    run = train_there(tmp_path, training=LEARN)
    assert api.load(run.path, device="cpu", precision="fp32").tag(tokens_of()) == tags_of()
