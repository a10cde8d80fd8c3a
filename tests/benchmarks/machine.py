"""Timing, and the speed of the machine itself, measured in the same run as what is compared with it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def matrix_product_rate(dtype: torch.dtype, size: int = 1536, repeats: int = 9) -> float:
    """Measured rate of a square matrix product, GFLOP/s (median)."""
    left = torch.randn(size, size).to(dtype)
    right = torch.randn(size, size).to(dtype)
    seconds = timed({"product": lambda: left @ right}, repeats)["product"]
    return 2 * size**3 / seconds / 1e9


def timed(jobs: dict[str, Callable[[], object]], repeats: int, warmup: int = 2) -> dict[str, float]:
    """Median seconds of each job; they take turns, so that the load of the machine affects all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(warmup + repeats):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def describe() -> str:
    """One line about the machine: threads, instruction set, measured product rates."""
    rates = {"fp32": torch.float32, "bf16": torch.bfloat16}
    measured = ", ".join(f"{name} {matrix_product_rate(kind):.0f} GFLOP/s" for name, kind in rates.items())
    capability = torch.backends.cpu.get_cpu_capability()
    if torch.cpu.get_capabilities().get("amx_tile", False):
        capability += " and AMX"
    return f"{torch.get_num_threads()} threads, {capability}, matrix product: {measured}"
