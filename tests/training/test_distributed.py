from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqtool.models.tensors import read_tensors
from seqtool.training import distributed
from tests.training.tiny_run import CPU, TinyRun
from tests.training.two_processes import StreamRun, UnevenModel, last_state, settings_of, weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of two processes, of which the second one dies at the end, on purpose."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__).parent
    processes = [
        subprocess.Popen(
            [sys.executable, str(here / "two_processes.py"), str(folder)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(here.parents[1]), *sys.path]),
                "OMP_NUM_THREADS": "1",
                "WORLD_SIZE": "2",
                "RANK": str(number),
                "LOCAL_RANK": str(number),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    (folder / "codes").write_text(" ".join(str(process.returncode) for process in processes))
    (folder / "output").write_text("\n".join(outputs))
    return folder


def test_two_processes_equal_one_with_twice_the_accumulation(folder: Path, tmp_path: Path):
    torch.manual_seed(0)
    alone = TinyRun(tmp_path / "alone", settings_of(accumulation=4), model=UnevenModel(), select="-loss")
    assert alone.fit().steps == 6
    for number in range(2):
        together = read_tensors(folder / f"plain-{number}.safetensors")["weights"]
        torch.testing.assert_close(together, weights(alone), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["stream", "documents"])
def test_two_processes_on_a_text_equal_one_with_twice_the_accumulation(
    folder: Path, tmp_path: Path, kind: str
):
    """Weights, moment estimates of the optimizer, and the recurrent states of the rows."""
    is_stream = kind == "stream"
    alone = StreamRun(tmp_path / "alone", accumulation=2, is_stream=is_stream)
    assert alone.fit().steps > 5
    together = last_state(StreamRun(folder / kind / "plain", accumulation=1, is_stream=is_stream))
    expected = last_state(alone)
    assert {name for name in expected if name.startswith("carried/1.")}
    for name, tensor in expected.items():
        if name.startswith("random"):
            continue
        if name.startswith("carried/"):  # group 1 of one process is group 0 of the second of two
            group, part = name.removeprefix("carried/").removesuffix("/0").split(".", 1)
            name = f"carried/0.{part}/{group}"
        torch.testing.assert_close(together[name], tensor, rtol=0, atol=1e-12)


def test_a_loss_that_is_not_finite_on_one_process_stops_both(folder: Path):
    assert "the loss of a batch of another process" in (folder / "diverged-0").read_text()
    assert "step 1, epoch 1: the loss of batch 2 of the epoch is nan" in (folder / "diverged-1").read_text()


def test_when_one_process_dies_the_other_ends_with_a_reason(folder: Path):
    assert (folder / "codes").read_text() == "5 9"
    assert "process 0 of 2 lost contact with the others" in (folder / "output").read_text()
    # whatever failed before that point would have been printed as a traceback
    assert "Traceback" not in (folder / "output").read_text()


def test_alone_every_exchange_does_nothing():
    tensor = torch.ones(2)
    distributed.sum_in_place([tensor])
    distributed.broadcast_in_place([tensor])
    assert tensor.tolist() == [1.0, 1.0]
    assert distributed.numbers_of_first([1.5, 2.0], CPU) == [1.5, 2.0]
    assert distributed.largest(3, CPU) == 3
    assert distributed.text_of_first("run", CPU) == "run"
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    with distributed.process_group(CPU):
        assert not distributed.is_distributed()
