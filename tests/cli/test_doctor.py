"""`seqtool doctor` from outside."""

from __future__ import annotations

import json
import platform

import pytest
import torch

import seqtool as package
from seqtool import diagnosis
from seqtool.models.folder import save_model_folder
from tests.cli.program import inside, seqtool


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(diagnosis, "MEASURING_SECONDS", 0.001)


def sections(folder, **variables) -> dict[str, dict[str, str]]:
    done = inside("doctor", "--json", folder=folder, **variables)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_doctor_ends_with_what_auto_will_use_and_why(tmp_path):
    done = inside("doctor", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    last = done.out.splitlines()[-1]
    assert last.startswith(f"auto uses {device}") and "because" in last
    assert last.endswith(f"threads: {torch.get_num_threads()}")
    for word in ("sentencepiece", "GFLOP/s", "GB free", "$SEQTOOL_DATA", "DejaVu"):
        assert word in done.out


def test_doctor_names_the_versions_that_are_running(tmp_path):
    versions = sections(tmp_path)["versions"]
    assert versions["seqtool"] == package.__version__
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == torch.__version__


def test_doctor_names_every_dependency_and_those_that_are_missing(monkeypatch):
    required = [
        "torch>=2",
        "tomli-w>=1.0",
        "no-such-package>=1; python_version > '3'",
        "pytest; extra == 'dev'",
    ]
    monkeypatch.setattr(diagnosis.importlib.metadata, "requires", lambda _: required)
    versions = diagnosis.versions()
    assert versions["no-such-package"] == "missing: pip install no-such-package"
    assert versions["tomli-w"][0].isdigit() and "pytest" not in versions


def test_doctor_judges_the_folders_of_the_environment(tmp_path):
    save_model_folder(tmp_path / "model", task="ner", config={}, tensors={}, texts={}, card="")
    (tmp_path / "data" / "one").mkdir(parents=True)
    files = sections(tmp_path, SEQTOOL_DATA="data", SEQTOOL_MODEL="model")["files"]
    assert (files["$SEQTOOL_DATA"], files["$SEQTOOL_MODEL"]) == ("data, 1 folders", "model, a model in model")
    assert files["working folder"].startswith(f"{tmp_path}, ") and files["working folder"].endswith(
        "writable"
    )
    files = sections(tmp_path, SEQTOOL_DATA="none", SEQTOOL_MODEL="data")["files"]
    assert files["$SEQTOOL_DATA"] == "none, not usable: no such folder"
    assert files["$SEQTOOL_MODEL"].startswith("data, not usable: data: neither a model folder")
    files = sections(tmp_path)["files"]
    assert files["$SEQTOOL_DATA"].startswith("not set: ") and files["$SEQTOOL_MODEL"].startswith("not set: ")


def test_doctor_sees_a_picture_cache_that_cannot_be_written(tmp_path):
    done = seqtool("doctor", "--json", folder=tmp_path, MPLCONFIGDIR="/proc/none")
    assert (done.code, done.err) == (0, "")
    assert "temporary: set MPLCONFIGDIR" in json.loads(done.out)["pictures"]["cache"]


def test_a_rate_counts_multiplications_and_additions_a_second(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(diagnosis.time, "perf_counter", lambda: float(next(clock)))
    # The clock is read before each product: it starts at 0 and says 3 after two products.
    rate = diagnosis.matrix_rate(torch.device("cpu"), torch.float32, seconds=2.5)
    assert rate == pytest.approx(2 * 2 * diagnosis.CPU_WIDTH**3 / 3 / 1e9)


def test_a_number_type_that_the_device_lacks_is_reported(monkeypatch):
    def refuse(device, kind):
        if kind == torch.bfloat16:
            raise RuntimeError("not implemented")
        return 1.0

    monkeypatch.setattr(diagnosis, "matrix_rate", refuse)
    rates = diagnosis.matrix_rates()
    assert sorted(rates.values()) == ["1 GFLOP/s", "not supported: not implemented"]
