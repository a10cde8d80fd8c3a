"""Which device and which arithmetic a run uses, and why."""

from __future__ import annotations

import ctypes
import os
import re

import torch

from seqtool.errors import SettingsError, UsageError
from seqtool.nn.quantized import sums_are_exact

# Options of glibc's mallopt (malloc.h) with what they are set to, bytes. Blocks that are mapped by
# themselves cost page faults: 16 MB is large enough to leave the speed as it is.
MALLOC_OPTIONS = {-3: 16 * 2**20, -1: 128 * 2**20}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD

ROWS_FOR_TILES = 16

PRECISION_NAMES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int8: "int8",
}


def resolve_device(name: str) -> torch.device:
    """The device that `--device` means; never silently another one.

    Args:
        name: auto (a GPU if there is one, else the CPU), cpu, cuda, cuda:N or mps. Under
            torchrun, auto and cuda mean the GPU of the process's local rank.

    Raises:
        UsageError: not one of these, or a device that this machine does not have.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
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
    """The number type of the forward pass: float32 (no autocast), bfloat16 or float16.

    Args:
        name: auto (bfloat16 where the hardware multiplies it, else float32), fp32, bf16 or fp16.
        device: Where the model runs.

    Raises:
        SettingsError: not one of these, or one that the device cannot do.
    """
    if name == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if name == "int8":
        raise SettingsError(
            "precision int8 is for translators at work (`translate`, `evaluate`) and for `lm sample`"
        )
    if name not in kinds:
        raise SettingsError(f"precision {name}: expected auto, fp32, bf16 or fp16")
    if name == "fp16" and device.type != "cuda":
        raise SettingsError(f"precision fp16 needs a CUDA device (this is {device}); use auto, bf16 or fp32")
    if name == "bf16" and device.type == "cuda" and not _has_bfloat16(device):
        raise SettingsError(f"precision bf16: {torch.cuda.get_device_name(device)} cannot; use fp16 or fp32")
    return kinds[name]


def configure(threads: int = 0, deterministic: bool = False) -> None:
    """Set torch and the allocator up for the whole process.

    Args:
        threads: CPU threads of one operation; 0 = torch's own choice.
        deterministic: Only operations that give the same bits each time; slower on a GPU, an
            error where there is no such operation. The CPU is deterministic anyway for a fixed
            number of threads.

    Raises:
        UsageError: a negative number of threads.
    """
    if threads < 0:
        raise UsageError(f"--threads {threads}: expected 0 (automatic) or more")
    _keep_memory_flat()
    if threads:
        torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use
        torch.backends.cudnn.benchmark = False
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call takes seconds
        torch.use_deterministic_algorithms(deterministic)


def prepare_for_rows(rows: int) -> None:
    """Choose oneDNN's kernels for products of this many rows; only before the process's first product.

    Its kernels for AMX tiles bring the weights into their order at every call. For one row of 8-bit
    integers that takes five times as long as the product by vector instructions, for 16 as long
    (2,048 x 1,024, Sapphire Rapids), so few rows go without tiles. What the user has set stays.
    """
    tiles = torch.cpu.get_capabilities().get("amx_int8", False)
    if rows < ROWS_FOR_TILES and tiles and "DNNL_MAX_CPU_ISA" not in os.environ:  # its older name
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")  # the last one without tiles


def _keep_memory_flat() -> None:
    """Fix the thresholds of glibc's allocator, which otherwise move with use; elsewhere do nothing.

    Batches of ever changing shape make blocks of ever changing size, and with moving thresholds
    the heap fills with holes: a tagger on a long stream grew by 40 MB every 100,000 sentences. Blocks
    that go back to the system with every step cost page faults with the next: a translator trains
    10 to 17 % faster with those kept.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, size in MALLOC_OPTIONS.items():
        mallopt(option, size)


def explain_devices() -> dict[str, str]:
    """What this machine offers and what `auto` picks, for people: topic to one sentence."""
    device = resolve_device("auto")
    precision = "bf16" if resolve_precision("auto", device) == torch.bfloat16 else "fp32"
    bfloat16 = "multiplies bfloat16" if _has_bfloat16(device) else "does not multiply bfloat16"
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
    """Whether 8-bit products are exact and much the fastest there: a CPU that has instructions for them."""
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
