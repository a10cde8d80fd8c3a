from __future__ import annotations

import os

import pytest
import torch

from seqtool import devices
from seqtool.devices import configure, explain_devices, resolve_device, resolve_precision
from seqtool.errors import SettingsError, UsageError

CPU = torch.device("cpu")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "", "cuda:0 ", "cuda:" + "9" * 20])
def test_unknown_devices_are_refused(name: str):
    with pytest.raises(UsageError, match=r"expected auto, cpu, cuda, cuda:N or mps"):
        resolve_device(name)


@no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_an_absent_gpu_is_an_error_and_never_silently_the_cpu(name: str):
    with pytest.raises(UsageError, match=rf"--device {name}: this machine has 0 CUDA devices .*--device cpu"):
        resolve_device(name)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="says what happens without an Apple GPU")
def test_an_absent_apple_gpu_is_an_error():
    with pytest.raises(UsageError, match="no Apple GPU here"):
        resolve_device("mps")


@no_gpu
def test_auto_without_a_gpu_is_the_cpu():
    assert resolve_device("cpu") == CPU
    if not torch.backends.mps.is_available():
        assert resolve_device("auto") == CPU


def test_under_torchrun_cuda_is_the_gpu_of_the_local_rank(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert resolve_device("cuda") == resolve_device("auto") == torch.device("cuda", 3)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="this machine has 4 CUDA devices"):
        resolve_device("cuda:4")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_auto_precision_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: torch.dtype
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto", CPU) == expected
    assert resolve_precision("fp32", CPU) == torch.float32
    assert resolve_precision("bf16", CPU) == torch.bfloat16


def test_impossible_precisions_are_refused():
    with pytest.raises(SettingsError, match=r"fp16 needs a CUDA device \(this is cpu\)"):
        resolve_precision("fp16", CPU)
    with pytest.raises(SettingsError, match="precision int4: expected auto, fp32, bf16 or fp16"):
        resolve_precision("int4", CPU)
    assert resolve_precision("fp16", torch.device("cuda")) == torch.float16


def test_configure_sets_threads_and_determinism():
    before = torch.get_num_threads()
    try:
        configure(threads=2, deterministic=True)
        assert torch.get_num_threads() == 2
        assert torch.are_deterministic_algorithms_enabled()
        configure()
        assert torch.get_num_threads() == 2
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.set_num_threads(before)
    with pytest.raises(UsageError, match=r"--threads -1"):
        configure(threads=-1)


def test_explanations_cover_what_is_chosen_and_why():
    explained = explain_devices()
    assert set(explained) == {"cpu", "cuda", "mps", "device auto", "precision auto"}
    assert explained["device auto"] == str(resolve_device("auto"))
    chosen = devices.resolve_precision("auto", resolve_device("auto"))
    assert explained["precision auto"].startswith("bf16" if chosen == torch.bfloat16 else "fp32")


@pytest.mark.parametrize(
    ("rows", "capabilities", "expected"),
    [
        (1, {"amx_int8": True}, "AVX512_CORE_FP16"),
        (devices.ROWS_FOR_TILES, {"amx_int8": True}, None),
        (1, {"avx512_vnni": True}, None),
    ],
)
def test_few_rows_go_without_tiles(
    rows: int, capabilities: dict[str, bool], expected: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "to be taken away again")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    devices.prepare_for_rows(rows)
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == expected


def test_kernels_that_the_user_has_chosen_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_int8": True})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    devices.prepare_for_rows(1)
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"


@pytest.mark.parametrize("exact", [True, False])
def test_auto_takes_8_bit_products_only_where_their_sums_are_exact(
    exact: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    monkeypatch.setattr(devices, "sums_are_exact", lambda: exact)
    assert devices.multiplies_int8(CPU) is exact


def test_the_older_name_for_the_kernels_counts_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_int8": True})
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "to be taken away again")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    devices.prepare_for_rows(1)
    assert "ONEDNN_MAX_CPU_ISA" not in os.environ
