"""Taggers with every cell: training lowers the loss, and a saved model gives the same output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqtool.tagging.prediction import TaggerModel
from tests.nn.cells.making import TRAINED
from tests.tagging.tiny_tagger import tags_of, tokens_of, train_tiny

MOST = 0.8  # of the tokens; two in three are O


@pytest.mark.parametrize("cell", TRAINED)
def test_a_few_passes_teach_most_tags_and_what_is_saved_is_what_was_trained(
    cell: str, tmp_path: Path
) -> None:
    model = {"cell": cell, "characters": "rnn", "hidden": 12}
    run = train_tiny(tmp_path, model=model, training={"epochs": 15, "evaluate_every": 1000})
    assert run.result.metrics["accuracy"] > MOST
    loaded = TaggerModel.load(tmp_path / "run", device="cpu")
    for name, tensor in run.model.network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    assert loaded.tag(tokens_of()) == run.model.tag(tokens_of())
    assert len(tags_of()) == len(tokens_of())
