"""Edits, hard attention, and what is learned from raw text, on a CUDA device compared with the CPU.

These tests have never run, because no machine of the project had a CUDA device. With the CPU in the device's
place all pass except that of fp16, which a CPU refuses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool import api
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from tests.listeners import Listener
from tests.translation.test_hard_attention import FORMS as HARD_FORMS
from tests.translation.test_hard_attention import tiny as hard_attention
from tests.translation.test_transducer import FORMS, PAIRS
from tests.translation.test_transducer import tiny as transducer
from tests.translation.tiny_pairs import LEARN, outputs, pairs_of, tables, write_pairs
from tests.translation.tiny_translator import batch_for, gradients

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none here"),
]

DEVICE = "cuda"
WORDS = [("gehen", "ging"), ("sehen", "sah"), ("Haus", "Hauses"), ("Buch", "Buches"), ("Hand", "Hände")]
EDITS: dict[str, Any] = {"decoder": "edit", "tied": "all"}
NETWORKS = [
    *((transducer, form) for form in FORMS.values()),
    *((hard_attention, form) for form in HARD_FORMS.values()),
]
MONOTONIC: dict[str, Any] = {"attention": "monotonic", "copy": True}


@pytest.mark.parametrize(("make", "form"), NETWORKS)
@pytest.mark.parametrize(
    ("number_type", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 2e-2)],  # cuDNN multiplies float32 as TF32: three digits
    ids=["float64", "float32"],
)
def test_loss_and_gradients_equal_those_of_the_cpu(
    make: Any, form: dict[str, Any], number_type: torch.dtype, tolerance: float
) -> None:
    results = []
    for device in (torch.device("cpu"), torch.device(DEVICE)):
        network: Any = make(**form).to(number_type).to(device).train()  # dropout is 0
        loss = network.loss(batch_for(network, PAIRS).to(device))
        found = {"loss": loss.total, **gradients(network, loss.total)}
        results.append({name: value.detach().cpu() for name, value in found.items()})
    here, there = results
    for name, value in here.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(there[name] / scale, value / scale, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("model", [EDITS, MONOTONIC], ids=["edits", "monotonic"])
def test_words_are_learned_in_every_precision_and_searched_alike(
    tmp_path: Path, model: dict[str, Any], precision: str
) -> None:
    recipe = tables(write_pairs(tmp_path, WORDS), vocabulary={"kind": "character"}, model=model)
    recipe["training"] |= {**LEARN, "precision": precision}
    listener = Listener()
    run = api.train(recipe, output=tmp_path / "run", overrides=[f"device={DEVICE}"], reporter=listener)
    assert listener.losses[-1] < 0.3 * listener.losses[0]
    here, there = (TranslatorModel.load(run.path, device=name, precision="fp32") for name in ("cpu", DEVICE))
    pairs = pairs_of(WORDS)
    for options in (SearchOptions(beam=1), SearchOptions(beam=5)):
        assert outputs(there.search(pairs, options)) == outputs(here.search(pairs, options))


@pytest.mark.parametrize("model", [{}, EDITS, MONOTONIC], ids=["usual", "edits", "monotonic"])
def test_raw_text_is_learned_from_there(tmp_path: Path, model: dict[str, Any]) -> None:
    texts = write_pairs(tmp_path, WORDS * 4, "text")
    recipe = tables(write_pairs(tmp_path, WORDS), vocabulary={"kind": "character"}, model=model)
    recipe["data"] |= {"source_text": [texts[0]], "target_text": [texts[1]]}
    listener = Listener()
    api.train(recipe, output=tmp_path / "run", overrides=[f"device={DEVICE}"], reporter=listener)
    first = api.load_translator(tmp_path / "run" / "pretraining", device="cpu", precision="fp32")
    assert all(torch.isfinite(weight).all() for weight in first.network.state_dict().values())
    assert min(listener.losses) < 0.7 * listener.losses[0]
