"""Models and unfinished runs of seqtool 0.1.0 load, give the same outputs, and resume."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from seqtool import api
from seqtool.errors import InterruptedRunError
from seqtool.training.progress import SilentReporter, StepReport
from tests.cli.program import inside

GOLDEN = Path(__file__).parent
PLACE = "@GOLDEN@"
WINGS = ("ner", "pos", "translate", "lm")
REDRAWN = {"by_length"}  # its ranges now depend on the data
EXACT = ("--device", "cpu", "--precision", "fp32", "--threads", "1")


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy of the golden files with their real path filled in."""
    place = tmp_path / "golden"
    shutil.copytree(GOLDEN, place, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for path in [*place.glob("*/*/recipe.toml"), *place.glob("*/*/manifest.json")]:
        path.write_text(path.read_text(encoding="utf-8").replace(PLACE, str(place)), encoding="utf-8")
    for path in place.glob("*/unfinished/state/*.json"):
        entry = json.loads(path.read_text(encoding="utf-8").replace(PLACE, str(place)))
        canonical = json.dumps(entry["values"], sort_keys=True, allow_nan=False)
        entry["values_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
        path.write_text(json.dumps(entry), encoding="utf-8")
    return place


def machine() -> str:
    """What the last bits of a run depend on: the processor's instructions and the version of torch."""
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text().splitlines() if processor.is_file() else []
    kind = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    return hashlib.sha256("\n".join([*kind, torch.__version__]).encode()).hexdigest()


def weights(run: Path) -> dict[str, bytes]:
    with safe_open(run / "model" / "model.safetensors", framework="numpy") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


def near(found: Any, stored: Any) -> bool:
    """Whether two values are equal, numbers to within 1e-5."""
    if isinstance(stored, dict):
        kept = stored.keys() - REDRAWN
        return kept <= found.keys() and all(near(found[key], stored[key]) for key in kept)
    if isinstance(stored, list):
        return len(found) == len(stored) and all(map(near, found, stored))
    if isinstance(stored, float):
        return math.isclose(found, stored, rel_tol=1e-5, abs_tol=1e-5)
    return bool(found == stored)


def cells(text: str) -> list[list[float | str]]:
    """The cells of a TSV file, those with a decimal point as numbers."""
    return [[_number(cell) for cell in line.split("\t")] for line in text.splitlines()]


def _number(cell: str) -> float | str:
    try:
        return float(cell) if "." in cell else cell
    except ValueError:
        return cell


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("wing", WINGS)
def test_models_load_to_the_byte(golden, wing):
    model = api.load(golden / wing / "finished", device="cpu", precision="fp32")
    held = {name: tensor.numpy().tobytes() for name, tensor in model.network.state_dict().items()}
    assert weights(golden / wing / "finished").items() <= held.items()


@pytest.mark.parametrize(
    ("stored", "command", "read"),
    [
        *(
            (
                f"{wing}-{name}.jsonl",
                ["tag", "outputs/sentences.txt", "-m", f"{wing}/finished", *options],
                objects,
            )
            for wing, name, options in (
                ("ner", "confidence", ["--format", "jsonl", "--confidence"]),
                ("pos", "confidence", ["--format", "jsonl", "--confidence"]),
                ("pos", "kbest", ["--format", "jsonl", "--kbest", "3"]),
            )
        ),
        (
            "translate-nbest.tsv",
            ["translate", "outputs/sources.txt", "-m", "translate/finished", "--beam", "4", "--nbest", "3"],
            cells,
        ),
        (
            "translate-greedy.tsv",
            ["translate", "outputs/sources.txt", "-m", "translate/finished", "--beam", "1", "--scores"],
            cells,
        ),
        ("lm-score.txt", ["lm", "score", "outputs/lines.txt", "-m", "lm/finished", "--per-token"], objects),
        (
            "lm-sample.txt",
            [
                "lm",
                "sample",
                "-m",
                "lm/finished",
                "--prompt",
                "The ",
                "--temperature",
                "0.8",
                "--seed",
                "5",
                "--length",
                "60",
            ],
            str,
        ),
        ("ner-evaluate.json", ["evaluate", "data/dev.conll", "-m", "ner/finished"], objects),
        (
            "translate-evaluate.json",
            ["evaluate", "data/dev.en", "data/dev.out", "-m", "translate/finished"],
            objects,
        ),
        ("lm-evaluate.json", ["evaluate", "data/dev.txt", "-m", "lm/finished"], objects),
    ],
)
def test_models_give_what_they_gave(golden, stored, command, read):
    options = ("--json", "--bootstrap", "0") if command[0] == "evaluate" else ()
    found = inside(*command, *options, *EXACT, folder=golden)
    assert found.code == 0, found.err
    assert near(read(found.out), read((golden / "outputs" / stored).read_text(encoding="utf-8")))


class Interrupting(SilentReporter):
    """Interrupts a run after an update, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        self._after = after

    def step(self, report: StepReport) -> None:
        if report.step == self._after:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("wing", WINGS)
def test_unfinished_runs_resume_bit_for_bit(golden, wing):
    """The run ends with the same weights whether it is interrupted once more or not."""
    left_alone, twice = golden / wing / "unfinished", golden / wing / "twice"
    shutil.copytree(left_alone, twice)
    api.train(left_alone / "recipe.toml", output=left_alone, resume=True)
    with pytest.raises(InterruptedRunError):
        api.train(twice / "recipe.toml", output=twice, resume=True, reporter=Interrupting(19))
    api.train(twice / "recipe.toml", output=twice, resume=True)
    assert weights(left_alone) == weights(twice)
    first, second = (
        objects((golden / wing / kind / "metrics.jsonl").read_text()) for kind in ("finished", "unfinished")
    )
    losses = [[event["loss"] for event in run if event["event"] == "train"] for run in (first, second)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert len(losses[0]) > 7
    if machine() == (GOLDEN / "machine.txt").read_text().strip():
        assert weights(left_alone) == weights(golden / wing / "finished")
