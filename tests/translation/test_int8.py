"""Searches with the decoder's products in 8-bit integers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqtool.errors import SettingsError
from seqtool.tagging.prediction import TaggerModel
from seqtool.translation import prediction
from seqtool.translation.ensemble import TranslatorEnsemble
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from tests.translation.test_prediction import MODELS
from tests.translation.tiny_pairs import CPU, outputs, pairs_of, random_sources, untrained


def int8_of(model: TranslatorModel) -> TranslatorModel:
    return TranslatorModel(
        model.network, model.vocabularies, model.description, device=CPU, precision=torch.int8
    )


@pytest.mark.parametrize("kind", MODELS)
def test_outputs_do_not_depend_on_the_batch(kind: str) -> None:
    small = int8_of(untrained(**MODELS[kind]))
    pairs = [*pairs_of(), *random_sources(12)]
    options = SearchOptions(beam=4, nbest=2, no_repeat_ngram=2)
    together = outputs(small.search(pairs, options))
    assert outputs(small.search(pairs, options, batch_tokens=1)) == together
    assert outputs(TranslatorEnsemble([small, small]).search(pairs, options, batch_tokens=9)) == together


@pytest.mark.parametrize("kind", MODELS)
def test_scores_are_nearly_those_of_float32_and_not_the_same(kind: str) -> None:
    model = untrained(**MODELS[kind])
    small = int8_of(model)
    found = [best.hypothesis for (best,) in small.search(pairs_of(), SearchOptions(beam=3))]
    exact = model.read(pairs_of(), [each.tokens for each in found])
    differences = []
    for hypothesis, scored in zip(found, exact, strict=True):
        per_symbol = torch.tensor(hypothesis.token_log_probabilities)
        differences += (
            (per_symbol - torch.as_tensor(scored.log_probabilities)[: len(per_symbol)]).abs().tolist()
        )
    # Nats, for weights much larger than after training: errors accumulate in the state.
    assert 0 < max(differences) < 0.25
    assert sum(differences) / len(differences) < 0.03


def test_int8_is_for_translators_on_a_cpu(tmp_path: Path) -> None:
    assert TranslatorModel.precision_for("int8", CPU) == torch.int8
    with pytest.raises(SettingsError, match="for the CPU"):
        TranslatorModel.precision_for("int8", torch.device("cuda"))
    with pytest.raises(SettingsError, match="only for translating"):
        TaggerModel.precision_for("int8", CPU)


@pytest.mark.parametrize(
    ("has_instructions", "weights", "output", "chosen"),
    [
        (True, 1, "vocabulary", torch.int8),
        (True, 10**9, "vocabulary", torch.float32),  # too small a projection to be worth it
        (False, 1, "vocabulary", torch.float32),
        (True, 1, "positions", torch.float32),
    ],
)
def test_auto_is_int8_where_that_is_faster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_instructions: bool,
    weights: int,
    output: str,
    chosen: torch.dtype,
) -> None:
    untrained(model={"output": output}).save(tmp_path / "m", card="")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": has_instructions})
    monkeypatch.setattr(prediction, "WORTH_INT8", weights)
    model = TranslatorModel.load(tmp_path / "m", device="cpu")
    assert model.precision == chosen
    name = {torch.int8: "int8", torch.float32: "fp32"}[chosen]
    assert model.describe_search(SearchOptions(beam=1)) == f"greedy search, {name}"
    assert len(model.translate(["Ada met Grace ."])) == 1
