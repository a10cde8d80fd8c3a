"""Devices and number types: which ones a command uses, and why."""

from __future__ import annotations

import ctypes
import os
import re

import torch

from seqtool.errors import SettingsError, UsageError
from seqtool.nn.quantized import sums_are_exact

# Options of glibc's mallopt (malloc.h) and their values in bytes. Every block above M_MMAP_THRESHOLD is
# mapped separately, which costs page faults; with 16 MB these are too few to be noticeable.
MALLOC_OPTIONS = {-3: 16 * 2**20, -1: 128 * 2**20}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD

ROWS_FOR_TILES = 16

PRECISION_NAMES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int8: "int8",
}


def resolve_device(name: str) -> torch.device:
    """The device that a value of `--device` stands for; never a different one in its place.

    Args:
        name: auto (a GPU if there is one, otherwise the CPU), cpu, cuda, cuda:N or mps. Under torchrun,
            auto and cuda stand for the GPU with the number of the process's local rank.

    Returns:
        The device.

    Raises:
        UsageError: the name is none of these, or this machine has no such device.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", name):
        raise UsageError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())))
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices"
            f"{_why_no_cuda()}; use --device cpu or auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: no Apple GPU here; use --device cpu or auto")
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The number type of the forward pass.

    Args:
        name: auto (bfloat16 if the hardware supports it, otherwise float32), fp32, bf16 or fp16.
        device: Device that the model runs on.

    Returns:
        float32 (no autocast), bfloat16 or float16.

    Raises:
        SettingsError: the name is none of these, or the device does not support it.
    """
    if name == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name == "int8":
        raise SettingsError(
            "precision int8: only for translating (seqtool translate, evaluate) and for seqtool lm sample; "
            "use --precision auto"
        )
    if name not in kinds:
        raise SettingsError(f"precision {name}: expected auto, fp32, bf16 or fp16")
    if name == "fp16" and device.type != "cuda":
        raise SettingsError(f"precision fp16 needs a CUDA device (this is {device}); use auto, bf16 or fp32")
    if name == "bf16" and device.type == "cuda" and not _has_bfloat16(device):
        name = torch.cuda.get_device_name(device)
        raise SettingsError(f"precision bf16: not supported by {name}; use fp16 or fp32")
    return kinds[name]


def configure(threads: int = 0, deterministic: bool = False) -> None:
    """Configure torch and the memory allocator for the whole process.

    Args:
        threads: CPU threads per operation, >= 0; 0 = torch's default.
        deterministic: Use deterministic algorithms only: slower on a GPU, and an error where an operation
            has none. On the CPU results are deterministic anyway for a fixed number of threads.

    Raises:
        UsageError: a negative number of threads.
    """
    if threads < 0:
        raise UsageError(f"--threads {threads}: expected 0 (automatic) or more")
    _keep_memory_flat()
    if threads:
        torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when first used
        torch.backends.cudnn.benchmark = False
    if deterministic != torch.are_deterministic_algorithms_enabled():  # setting it takes seconds
        torch.use_deterministic_algorithms(deterministic)


def prepare_for_rows(rows: int) -> None:
    """Let oneDNN choose its kernels for few rows; has an effect only before the first matrix product.

    oneDNN's kernels for AMX tiles reorder the weights at each call. For one row of 8-bit integers this
    makes them five times as slow as vector instructions, and with 16 rows they are equally fast (2,048 x
    1,024 weights, Sapphire Rapids). Environment variables that the user has set are not changed.

    Args:
        rows: Rows of the matrices that are multiplied with the weights, at least 1.
    """
    tiles = torch.cpu.get_capabilities().get("amx_int8", False)
    if rows < ROWS_FOR_TILES and tiles and "DNNL_MAX_CPU_ISA" not in os.environ:  # the variable's old name
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")  # the newest one without AMX tiles


def _keep_memory_flat() -> None:
    """Fix the thresholds of glibc's allocator, which adapts them otherwise; no effect with another libc.

    Batches of changing shapes allocate blocks of changing sizes, and adaptive thresholds then fragment the
    heap: a tagger on a long stream grew by 40 MB per 100,000 sentences. Memory that is returned to the
    system after each step costs page faults in the next one: a translator trains 10 to 17 % faster if it
    is kept.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, size in MALLOC_OPTIONS.items():
        mallopt(option, size)


def explain_devices() -> dict[str, str]:
    """The devices of this machine, and what `auto` selects, in words by topic."""
    device = resolve_device("auto")
    precision = "bf16" if resolve_precision("auto", device) == torch.bfloat16 else "fp32"
    bfloat16 = "supports bfloat16" if _has_bfloat16(device) else "does not support bfloat16 in hardware"
    result = {
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}",
        "cuda": "none" + _why_no_cuda(),
        "mps": "available" if torch.backends.mps.is_available() else "none",
        "device auto": str(device),
        "precision auto": f"{precision}, because {device} {bfloat16}",
    }
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        result["cuda"] = ", ".join(f"cuda:{index} {name}" for index, name in enumerate(names))
    return result


def multiplies_int8(device: torch.device) -> bool:
    """Whether 8-bit products are exact and by far the fastest on a device: on CPUs with such instructions."""
    capabilities = torch.cpu.get_capabilities()
    able = any(capabilities.get(name, False) for name in ("avx512_vnni", "amx_int8"))
    return device.type == "cpu" and able and sums_are_exact()


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "amx_tile"))
    return False


def _why_no_cuda() -> str:
    if torch.cuda.is_available():
        return ""
    if torch.version.cuda is None and torch.version.hip is None:
        return " (torch is installed without CUDA)"
    return " (no GPU or driver was found)"
