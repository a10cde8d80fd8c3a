"""Speed of every cell compared with `nn.LSTM` of the same size: a training step, and decoding steps.

"training" is forward and backward over B x T, as a multiple of the time of `nn.LSTM`, whose fused kernel
runs all steps at once. "decoding" is one step at a time without gradients, with the inputs projected
beforehand, as a multiple of the time of seqtool's own `lstm`. "by work" divides that ratio by the ratio of
the multiply-adds that remain in a step. The time of a step of `nn.LSTM`, with its input projection, is
printed as well. The cells take turns, so compare ratios, not milliseconds.

    python tests/benchmarks/bench_cells.py [--device cuda] [--threads N] [--hidden N] [--rows N]
        [--steps N] [CELL ...]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import torch
from machine import describe, timed
from torch import Tensor, nn

from seqtool.devices import configure
from seqtool.nn.cells import CELLS, Cell
from seqtool.nn.cells.running import run_cell

DECODED = 20  # decoding steps per turn


def training_of(cell: Cell, inputs: Tensor) -> Callable[[], None]:
    """A job that runs a cell forward and backward."""

    def run() -> None:
        cell.zero_grad()
        outputs, _ = run_cell(cell, inputs)
        if outputs.requires_grad:
            outputs.backward(torch.ones_like(outputs))

    return run


def stock_training(hidden: int, inputs: Tensor) -> Callable[[], None]:
    """The same job for `nn.LSTM`."""
    kernel = nn.LSTM(hidden, hidden, batch_first=True, device=inputs.device)

    def run() -> None:
        kernel.zero_grad()
        outputs, _ = kernel(inputs)
        outputs.backward(torch.ones_like(outputs))

    return run


def decoding_of(cell: Cell, inputs: Tensor) -> Callable[[], None]:
    """A job that decodes `DECODED` steps, whose inputs are projected beforehand."""

    @torch.inference_mode()
    def run() -> None:
        step, state = cell.stepper(), cell.initial(len(inputs), inputs)
        for _ in range(DECODED):
            state = step(projected, state)

    with torch.no_grad():
        projected = cell.project(inputs[:, 0])
    return run


def stock_decoding(hidden: int, inputs: Tensor) -> Callable[[], None]:
    """The same job for `nn.LSTM`, which projects its input in each step."""
    kernel = nn.LSTM(hidden, hidden, batch_first=True, device=inputs.device).eval()
    first = inputs[:, :1].contiguous()

    @torch.inference_mode()
    def run() -> None:
        state = None
        for _ in range(DECODED):
            _, state = kernel(first, state)

    return run


def work_of(cell: Cell) -> int:
    """Multiply-adds per step and row: the size of all weight matrices that a step multiplies by."""
    sizes: list[int] = []

    def counting(weight: Tensor) -> Callable[[Tensor], Tensor]:
        sizes.append(weight.numel())
        return lambda values: values

    cell.stepper(counting)
    return sum(sizes)


def finished(job: Callable[[], None]) -> Callable[[], None]:
    """The same job, which returns only when the GPU has finished."""

    def run() -> None:
        job()
        torch.cuda.synchronize()

    return run if torch.cuda.is_available() else job


def main() -> None:
    """Measure all cells and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", metavar="CELL", help="cells to measure (default: all)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    configure(arguments.threads)
    print(describe())
    torch.manual_seed(1)
    hidden, names, device = arguments.hidden, arguments.cells or list(CELLS), arguments.device
    cells = {name: CELLS[name](hidden, hidden).to(device) for name in dict.fromkeys(["lstm", *names])}
    inputs = torch.randn(arguments.rows, arguments.steps, hidden, device=device)
    given = inputs.clone().requires_grad_()  # like the output of a layer below
    jobs = {"nn.LSTM": stock_training(hidden, given)}
    jobs |= {name: training_of(cell, given) for name, cell in cells.items()}
    training = timed({name: finished(job) for name, job in jobs.items()}, arguments.repeats, warmup=1)
    jobs = {"nn.LSTM": stock_decoding(hidden, inputs)}
    jobs |= {name: decoding_of(cell.eval(), inputs) for name, cell in cells.items()}
    decoding = timed({name: finished(job) for name, job in jobs.items()}, arguments.repeats)
    stock, baseline, work = training["nn.LSTM"], decoding["lstm"], work_of(cells["lstm"])
    print(f"\n{device}, H {hidden}, B {arguments.rows}, T {arguments.steps}")
    print(f"training: nn.LSTM takes {stock * 1e3:.0f} ms")
    beside = decoding["nn.LSTM"] / DECODED * 1e6
    print(f"decoding: a step of lstm takes {baseline / DECODED * 1e6:.0f} us, of nn.LSTM {beside:.0f} us\n")
    print(f"{'cell':20} {'training':>9} {'decoding':>9} {'by work':>9} {'parameters':>11}")
    for name, cell in cells.items():
        step = decoding[name] / baseline
        own = work_of(cell)
        by_work = f"{step * work / own:9.2f}" if own else f"{'-':>9}"
        count = type(cell).parameter_count(hidden, hidden)
        print(f"{name:20} {training[name] / stock:9.2f} {step:9.2f} {by_work} {count:11,}")


if __name__ == "__main__":
    main()
