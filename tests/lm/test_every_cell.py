"""Language models with every cell: steps equal whole sequences, training lowers the loss, saving is exact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqtool.lm.prediction import LanguageModel
from seqtool.lm.stepping import HoistedStepper
from seqtool.lm.vocabulary import PADDING
from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cell_options import WITHOUT
from seqtool.nn.cells import CELLS
from tests.lm.tiny_text import network_of, random_ids, train_tiny
from tests.nn.cells.making import TRAINED

every_cell = pytest.mark.parametrize("cell", CELLS)


@every_cell
@torch.no_grad()
def test_symbol_by_symbol_gives_what_all_at_once_gives(cell: str) -> None:
    network = network_of(cell=cell, layers=2, residual=True)
    symbols = torch.as_tensor(random_ids(12)).long().view(2, 6)
    outputs, states = network(symbols, network.initial(2))
    stepper = HoistedStepper(network, network.initial(2))
    for step in range(6):
        expected = network.log_probabilities(outputs.features[:, step])
        found = stepper.step(symbols[:, step]).log_softmax(1)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(stepper.states(), states, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell", TRAINED)
def test_a_few_passes_lower_the_loss_and_what_is_saved_is_what_was_trained(cell: str, tmp_path: Path) -> None:
    model = {"cell": cell, "layers": 2}
    run = train_tiny(tmp_path, model=model, training={"epochs": 6, "sample_length": 0})
    assert run.result.metrics["nats_per_character"] < 3.2  # 3.4 if all letters were equally frequent
    loaded = LanguageModel.load(tmp_path / "run", device="cpu")
    for name, tensor in run.model.network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("cell", [name for name in CELLS if name not in WITHOUT["learned_start"]])
def test_the_start_can_be_learned(cell: str) -> None:
    network = network_of(cell=cell, learned_start=True)
    symbols = torch.as_tensor(random_ids(12)).long().view(2, 6)
    outputs, _ = network(symbols, network.initial(2))
    outputs.features.sum().backward()
    starts = list(network.stack.starts.parameters())
    assert starts
    assert all(part.grad is not None and part.grad.any() for part in starts)


@pytest.mark.parametrize("cell", sorted(BATCH_NORMALISED))
def test_padding_of_documents_takes_no_part_in_statistics(cell: str) -> None:
    results = []
    for steps in (6, 9):
        network = network_of(cell=cell, layers=3).train()
        symbols = torch.full((3, steps), PADDING)
        symbols[:, :6] = torch.as_tensor(random_ids(18)).long().view(3, 6)
        symbols[1, 3:] = PADDING
        outputs, _ = network(symbols, network.initial(3))
        results.append([outputs.features[0, :6], outputs.features[1, :3]])
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)
