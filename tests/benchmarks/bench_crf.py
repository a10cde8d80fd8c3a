"""Speed of the CRF compared with pytorch-crf and with the textbook algorithm in plain PyTorch.

Measures the loss with its gradient, and decoding, on batches of the size of CoNLL-2003: up to 40 tokens,
17 tags. The implementations take turns; the table shows median times, and the others' as multiples of
seqtool's. The script fails if the implementations disagree, never because one is slow.

    python tests/benchmarks/bench_crf.py [--threads N ...] [--repeats N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from machine import describe, timed
from torch import Tensor

from seqtool.nn.crf import LinearChainCRF, negative_log_likelihood, viterbi

try:
    from torchcrf import CRF as TorchCRF  # noqa: N811
except ImportError:
    TorchCRF = None

STEPS, TAGS = 40, 17  # longest sentence, number of tags: CoNLL-2003 in IOBES
BATCHES = (32, 64, 128)
Work = Callable[[], object]


class Problem(NamedTuple):
    """A batch and a CRF, the same for all implementations."""

    scores: Tensor  # nats, [B, T, K]
    tags: Tensor  # [B, T]
    mask: Tensor  # [B, T]
    crf: LinearChainCRF

    @classmethod
    def random(cls, batch: int, deviation: float) -> Problem:
        """Sentences of half to full length; `deviation` is the standard deviation of the scores."""
        torch.manual_seed(0)
        lengths = torch.randint(STEPS // 2, STEPS + 1, (batch,))
        lengths[0] = STEPS
        free = torch.ones(TAGS).bool()
        return cls(
            (torch.randn(batch, STEPS, TAGS) * deviation).requires_grad_(),
            torch.randint(0, TAGS, (batch, STEPS)),
            torch.arange(STEPS) < lengths[:, None],
            LinearChainCRF(free.expand(TAGS, -1), free, free),
        )


def plain_loss(problem: Problem) -> Tensor:
    """The textbook algorithm in log space with PyTorch's own gradient: what one would write first."""
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
    total: Tensor = (torch.logsumexp(alpha + crf.end, 1) - gold - crf.end[last]).sum()
    return total


def plain_decode(problem: Problem) -> Tensor:
    """Viterbi with back-pointers; the best tags, [B, T]."""
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
    """The summed loss of the batch by each implementation."""
    scores, tags, mask, crf = problem
    result: dict[str, Callable[[], Tensor]] = {
        "seqtool": lambda: negative_log_likelihood(scores, crf.chain(), tags, mask).sum(),
        "plain": lambda: plain_loss(problem),
    }
    if TorchCRF is not None:
        other = torch_crf(crf)
        result["pytorch-crf"] = lambda: -other(scores, tags, mask, reduction="sum")
    return result


def decoders(problem: Problem) -> dict[str, Callable[[], object]]:
    """The best tags of each sentence by each implementation, as lists, which is what a caller needs."""
    scores, _, mask, crf = problem
    lengths = mask.sum(1).tolist()

    def lists(tags: Tensor) -> list[list[int]]:
        return [row[:length] for row, length in zip(tags.tolist(), lengths, strict=True)]

    result: dict[str, Callable[[], object]] = {
        "seqtool": lambda: lists(viterbi(scores, crf.chain(), mask)[0]),
        "plain": lambda: lists(plain_decode(problem)),
    }
    if TorchCRF is not None:
        other = torch_crf(crf)
        result["pytorch-crf"] = lambda: other.decode(scores, mask)
    return result


def torch_crf(crf: LinearChainCRF) -> Any:
    """pytorch-crf with the same parameters."""
    other = TorchCRF(TAGS, batch_first=True)
    with torch.no_grad():
        other.transitions.copy_(crf.transitions)
        other.start_transitions.copy_(crf.start)
        other.end_transitions.copy_(crf.end)
    return other


def with_gradient(loss: Callable[[], Tensor], scores: Tensor) -> Work:
    """A job that computes loss and gradient; the previous gradient is dropped, as an optimizer does."""

    def work() -> None:
        scores.grad = None
        torch.autograd.backward(loss())

    return work


def agree(problem: Problem) -> None:
    """Stop unless all implementations compute the same: a fast wrong answer is not worth timing."""
    values = {name: float(loss().detach()) for name, loss in losses(problem).items()}
    if any(abs(value - values["seqtool"]) > 1e-4 * abs(value) for value in values.values()):
        raise SystemExit(f"the losses differ: {values}")
    with torch.no_grad():
        paths = [decode() for decode in decoders(problem).values()]
    if any(path != paths[0] for path in paths):
        raise SystemExit("the best paths differ")


def row(label: str, seconds: dict[str, float]) -> str:
    """Milliseconds of all implementations, and the others as multiples of seqtool."""
    cells = [f"{label:<26}"]
    for name, value in seconds.items():
        ratio = "" if name == "seqtool" else f"{value / seconds['seqtool']:6.1f}x"
        cells.append(f"{value * 1e3:9.2f} ms{ratio:7}")
    return " ".join(cells).rstrip()


def table(repeats: int) -> None:
    """Print all measurements with the current number of threads."""
    names = losses(Problem.random(1, 1.0))
    print(f"{'':26} " + " ".join(f"{name:>12}{'':7}" for name in names))
    for deviation, what in ((1.0, "new"), (4.0, "trained")):
        for batch in BATCHES:
            problem = Problem.random(batch, deviation)
            agree(problem)
            work = {name: with_gradient(loss, problem.scores) for name, loss in losses(problem).items()}
            print(row(f"loss, {what} model, B {batch}", timed(work, repeats)), flush=True)
    for batch in BATCHES:
        with torch.no_grad():
            work = decoders(Problem.random(batch, 1.0))
            print(row(f"decode, B {batch}", timed(work, repeats)), flush=True)


def main() -> None:
    """Print a table for each number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeats", type=int, default=60, help="repetitions of each measurement (default: 60)"
    )
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default: 1 2)"
    )
    options = parser.parse_args()
    if TorchCRF is None:
        print("pytorch-crf is not installed, so it is left out; to install it: pip install -e '.[benchmark]'")
    for threads in options.threads:
        torch.set_num_threads(threads)
        print(f"\n{describe()}")
        table(options.repeats)


if __name__ == "__main__":
    main()
