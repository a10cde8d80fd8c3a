"""How fast the CRF is, beside pytorch-crf and beside plain PyTorch: `python tests/benchmarks/bench_crf.py`.

All contenders take turns in one run, so that whatever else the machine does hits them alike;
they are compared by medians, and by minima where it does a lot. Nothing here fails for being
slow, only for disagreeing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from seqtool.nn.crf import LinearChainCRF, negative_log_likelihood, viterbi

try:
    from torchcrf import CRF as TorchCRF  # noqa: N811
except ImportError:
    TorchCRF = None

STEPS, TAGS = 40, 17  # longest sentence and tags: CoNLL-2003 in IOBES
BATCHES = (32, 64, 128)
THREADS = (1, 2)
Work = Callable[[], object]


class Problem(NamedTuple):
    """One batch and a CRF, the same for all contenders."""

    scores: Tensor  # nats, [B, T, K]
    tags: Tensor  # [B, T]
    mask: Tensor  # [B, T]
    crf: LinearChainCRF

    @classmethod
    def random(cls, batch: int, spread: float) -> Problem:
        """Sentences between half and all of the longest length; `spread` is the deviation of the scores."""
        torch.manual_seed(0)
        lengths = torch.randint(STEPS // 2, STEPS + 1, (batch,))
        lengths[0] = STEPS
        free = torch.ones(TAGS).bool()
        return cls(
            (torch.randn(batch, STEPS, TAGS) * spread).requires_grad_(),
            torch.randint(0, TAGS, (batch, STEPS)),
            torch.arange(STEPS) < lengths[:, None],
            LinearChainCRF(free.expand(TAGS, -1), free, free),
        )


def plain_loss(problem: Problem) -> Tensor:
    """The textbook in log space, with PyTorch's own gradient: what one would write first."""
    scores, tags, mask, crf = problem
    rows = torch.arange(len(tags))
    alpha = crf.start + scores[:, 0]
    gold = crf.start[tags[:, 0]] + scores[rows, 0, tags[:, 0]]
    for t in range(1, STEPS):
        reached = torch.logsumexp(alpha[:, :, None] + crf.transitions, 1) + scores[:, t]
        alpha = torch.where(mask[:, t, None], reached, alpha)
        move = crf.transitions[tags[:, t - 1], tags[:, t]] + scores[rows, t, tags[:, t]]
        gold = gold + move * mask[:, t]
    last = tags[rows, mask.sum(1) - 1]
    return (torch.logsumexp(alpha + crf.end, 1) - gold - crf.end[last]).sum()


def plain_decode(problem: Problem) -> Tensor:
    """Viterbi with back-pointers, best tags [B, T]."""
    scores, _, mask, crf = problem
    value, pointers = crf.start + scores[:, 0], []
    for t in range(1, STEPS):
        best, pointer = (value[:, :, None] + crf.transitions).max(1)
        value = torch.where(mask[:, t, None], best + scores[:, t], value)
        pointers.append(pointer)
    path = [(value + crf.end).argmax(1)]
    for t in range(STEPS - 1, 0, -1):
        previous = pointers[t - 1].gather(1, path[-1][:, None])[:, 0]
        path.append(torch.where(mask[:, t], previous, path[-1]))
    return torch.stack(path[::-1], 1) * mask


def losses(problem: Problem) -> dict[str, Callable[[], Tensor]]:
    """The summed loss of the batch by each contender."""
    scores, tags, mask, crf = problem
    result: dict[str, Callable[[], Tensor]] = {
        "seqtool": lambda: negative_log_likelihood(scores, crf.chain(), tags, mask).sum(),
        "plain": lambda: plain_loss(problem),
    }
    if TorchCRF is not None:
        other = torch_crf(crf)
        result["pytorch-crf"] = lambda: -other(scores, tags, mask, reduction="sum")
    return result


def decoders(problem: Problem) -> dict[str, Callable[[], list[list[int]]]]:
    """The best tags of each sentence by each contender, as lists, which is what a caller needs."""
    scores, _, mask, crf = problem
    lengths = mask.sum(1).tolist()

    def lists(tags: Tensor) -> list[list[int]]:
        return [row[:length] for row, length in zip(tags.tolist(), lengths, strict=True)]

    result = {
        "seqtool": lambda: lists(viterbi(scores, crf.chain(), mask)[0]),
        "plain": lambda: lists(plain_decode(problem)),
    }
    if TorchCRF is not None:
        other = torch_crf(crf)
        result["pytorch-crf"] = lambda: other.decode(scores, mask)
    return result


def torch_crf(crf: LinearChainCRF) -> torch.nn.Module:
    """pytorch-crf with the same parameters."""
    other = TorchCRF(TAGS, batch_first=True)
    with torch.no_grad():
        other.transitions.copy_(crf.transitions)
        other.start_transitions.copy_(crf.start)
        other.end_transitions.copy_(crf.end)
    return other


def with_gradient(loss: Callable[[], Tensor], scores: Tensor) -> Work:
    """Loss and gradient; the gradients of the step before are dropped, as an optimiser does."""

    def work() -> None:
        scores.grad = None
        loss().backward()

    return work


def agree(problem: Problem) -> None:
    """Stop unless all contenders compute the same: a fast wrong answer is not worth timing."""
    values = {name: float(loss()) for name, loss in losses(problem).items()}
    if any(abs(value - values["seqtool"]) > 1e-4 * abs(value) for value in values.values()):
        raise SystemExit(f"the losses differ: {values}")
    with torch.no_grad():
        paths = [decode() for decode in decoders(problem).values()]
    if any(path != paths[0] for path in paths):
        raise SystemExit("the best paths differ")


def interleaved(contenders: dict[str, Work], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each repeat, the contenders in turns, after two rounds to warm up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 2):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            if turn >= 2:
                times[name].append((time.perf_counter() - start) * 1e3)
    return times


def row(label: str, times: dict[str, list[float]]) -> str:
    """Medians, and how many times the median and the minimum of seqtool the others take."""
    ours = times["seqtool"]
    cells = [f"{label:<28}{statistics.median(ours):9.2f} ms"]
    for name in list(times)[1:]:
        median = statistics.median(times[name])
        ratios = median / statistics.median(ours), min(times[name]) / min(ours)
        cells.append(f"{median:9.2f} ms {ratios[0]:5.1f}x {ratios[1]:5.1f}x")
    return "".join(cells)


def product_rate(size: int = 768, repeats: int = 10) -> float:
    """Thousand million multiplications and additions a second of a float32 matrix product, the median."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    seconds = statistics.median(interleaved({"product": lambda: torch.mm(left, right)}, repeats)["product"])
    return 2 * size**3 / seconds / 1e6


def main() -> None:
    """Print a table for each number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=40, help="turns of each measurement (default 40)")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS, help="default: 1 2")
    options = parser.parse_args()
    if TorchCRF is None:
        print("pytorch-crf is not installed and left out; to have it: pip install -e '.[benchmark]'\n")
    print(f"PyTorch {torch.__version__}, {os.cpu_count()} cores; T up to {STEPS}, K {TAGS}, float32")
    for threads in options.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread(s); matrix products run at {product_rate():.0f} GFLOP/s")
        others = [name for name in losses(Problem.random(1, 1.0)) if name != "seqtool"]
        heads = "".join(f"{name:>12} median  best" for name in others)
        print(f"{'':<28}{'seqtool':>12}{heads}")
        for spread, what in ((1.0, "untrained"), (5.0, "trained")):
            for batch in BATCHES:
                problem = Problem.random(batch, spread)
                agree(problem)
                work = {n: with_gradient(loss, problem.scores) for n, loss in losses(problem).items()}
                label = f"B {batch:>3}, scores as {what:<10}"
                print(row(f"loss    {label}"[:28], interleaved(work, options.repeats)), flush=True)
        for batch in BATCHES:
            problem = Problem.random(batch, 1.0)
            with torch.no_grad():
                times = interleaved(dict(decoders(problem)), options.repeats)
            print(row(f"decode  B {batch:>3}", times), flush=True)


if __name__ == "__main__":
    main()
