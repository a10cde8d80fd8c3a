"""One training run on several processes, which torchrun starts and torch.distributed connects.

In a single process every function returns at once. Each process computes every `world_size()`-th
batch of an update's group, so that W processes with accumulation k compute the same update as one
process with accumulation W x k.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.distributed
from torch import Tensor, nn

from seqtool.errors import StorageError

TIME_LIMIT = 600.0  # seconds that a process waits for the others before it gives up


@contextlib.contextmanager
def process_group(device: torch.device, time_limit: float = TIME_LIMIT) -> Iterator[None]:
    """Connect the processes that torchrun started; does nothing in a single process.

    Args:
        device: Device of this process; CUDA devices communicate by nccl, all others by gloo.
        time_limit: Seconds that a process waits for the others before it gives up, > 0.

    Raises:
        StorageError: a process was lost.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or torch.distributed.is_initialized():
        yield
        return
    with lost_processes():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", timeout=datetime.timedelta(seconds=time_limit)
        )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    """Turn a failed communication with the other processes into a StorageError that names the remedy."""
    try:
        yield
    except RuntimeError as error:  # torch.distributed's own errors are RuntimeErrors too
        first_line = str(error).strip().split("\n")[0]
        raise StorageError(
            f"process {rank()} of {world_size()} lost contact with the others ({first_line}); "
            "see the error of the process that ended first, then continue with --resume"
        ) from error


def is_distributed() -> bool:
    """Whether several processes train together."""
    return world_size() > 1


def is_first() -> bool:
    """Whether this is process 0 of a run, or the only one; known before the processes are connected."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def rank() -> int:
    """Rank of this process, from 0; only process 0 writes files."""
    return torch.distributed.get_rank() if _initialized() else 0


def world_size() -> int:
    """Number of processes that train together."""
    return torch.distributed.get_world_size() if _initialized() else 1


def sum_in_place(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, with one all-reduce per number type and device."""
    if not is_distributed():
        return
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for group in groups.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in group])
        with lost_processes():
            torch.distributed.all_reduce(flat)
        for tensor, piece in zip(group, torch.split(flat, [t.numel() for t in group]), strict=True):
            tensor.copy_(piece.view_as(tensor))


def broadcast_in_place(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by that of process 0."""
    if is_distributed():
        with lost_processes():
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)


def share_statistics(model: nn.Module) -> None:
    """Replace running statistics, which each process computes from its own batches, by those of process 0."""
    buffers = model.named_buffers()
    broadcast_in_place(tensor for name, tensor in buffers if name.split(".")[-1].startswith("running_"))


def numbers_of_first(values: Sequence[float], device: torch.device) -> list[float]:
    """The numbers of process 0, so that all processes take the same decisions."""
    if not is_distributed():
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64, device=device)
    broadcast_in_place([numbers])
    return [float(number) for number in numbers]


def largest(value: int, device: torch.device) -> int:
    """The largest value over all processes."""
    if not is_distributed():
        return value
    numbers = torch.tensor([value], dtype=torch.int64, device=device)
    with lost_processes():
        torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
    return int(numbers)


def gather(tensor: Tensor, device: torch.device) -> list[Tensor]:
    """The tensors of all processes in the order of their ranks, on the CPU; their lengths may differ."""
    if not is_distributed():
        return [tensor]
    lengths = [int(each) for each in _gather(torch.tensor(len(tensor), device=device))]
    padding = tensor.new_zeros(max(lengths) - len(tensor), *tensor.shape[1:])
    pieces = _gather(torch.cat([tensor, padding]).to(device))
    return [piece[:length].cpu() for piece, length in zip(pieces, lengths, strict=True)]


def _gather(mine: Tensor) -> list[Tensor]:
    """All-gather of tensors of one shape."""
    pieces = [torch.empty_like(mine) for _ in range(world_size())]
    with lost_processes():
        torch.distributed.all_gather(pieces, mine)
    return pieces


def text_of_first(text: str, device: torch.device) -> str:
    """The text of process 0, such as a path."""
    if not is_distributed():
        return text
    raw = text.encode("utf-8")
    length = int(numbers_of_first([len(raw)], device)[0])
    content = torch.zeros(length, dtype=torch.uint8, device=device)
    if rank() == 0:
        content.copy_(torch.frombuffer(bytearray(raw), dtype=torch.uint8))
    broadcast_in_place([content])
    return bytes(content.tolist()).decode("utf-8")


def _initialized() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
