"""The oracle of the CRF tests: enumeration of every tag path of tiny sentences, and such sentences."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from seqtool.nn.crf import LinearChainCRF
from seqtool.nn.forward_backward import Chain

# No deadline: the time of an example depends more on the load of the machine than on the code.
patient = settings(deadline=None, max_examples=50)
MINUS_INFINITY = float("-inf")
SEEDS = st.integers(0, 2**32 - 1)
MIXED = [3, 1, 4, 2]  # lengths of a batch in which every kind of end occurs


class Paths(NamedTuple):
    """All tag paths of one sentence, in lexicographic order, with their scores."""

    tags: Tensor  # [P, n]
    scores: Tensor  # nats, [P], float64

    @property
    def log_partition(self) -> Tensor:
        return torch.logsumexp(self.scores, 0)

    @property
    def probabilities(self) -> Tensor:
        return torch.softmax(self.scores, 0)

    def mass(self, chosen: Tensor) -> Tensor:
        """Summed probability of the paths for which `chosen`, bool, [P], is true."""
        return self.probabilities[chosen].sum()


class Case(NamedTuple):
    """A right-padded batch; values at padding are NaN and must have no effect."""

    scores: Tensor  # [B, T, K]
    chain: Chain
    mask: Tensor  # [B, T]

    @property
    def lengths(self) -> list[int]:
        return [int(length) for length in self.mask.sum(1)]

    def paths(self, sentence: int) -> Paths:
        length, tags = self.lengths[sentence], self.scores.shape[2]
        every = torch.tensor(list(itertools.product(range(tags), repeat=length)))
        scores, chain = (
            self.scores[sentence].detach().double(),
            [part.detach().double() for part in self.chain],
        )
        transitions, start, end = chain
        total = start[every[:, 0]] + end[every[:, -1]]
        total = total + scores[torch.arange(length), every].sum(1)
        return Paths(every, total + transitions[every[:, :-1], every[:, 1:]].sum(1))

    def all_paths(self) -> list[Paths]:
        return [self.paths(sentence) for sentence in range(len(self.scores))]

    def to(self, precision: torch.dtype) -> Case:
        return Case(self.scores.to(precision), self.chain.to(precision), self.mask)

    def requiring_gradients(self) -> Case:
        """The same values as leaves of the autograd graph."""
        chain = Chain(*(part.clone().requires_grad_() for part in self.chain))
        return Case(self.scores.clone().requires_grad_(), chain, self.mask)


def random_case(
    seed: int, lengths: list[int], tags: int, *, forbidden: float = 0.0, spread: float = 2.0
) -> Case:
    """A random case with a share of the chain forbidden, in which every sentence has a possible path."""
    source = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=source, dtype=torch.float64) * spread

    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    scores = normal(*mask.shape, tags).masked_fill(~mask[:, :, None], float("nan"))
    chain = Chain(normal(tags, tags), normal(tags), normal(tags))
    while True:
        some = Chain(*(_forbid(part, forbidden, source) for part in chain))
        case = Case(scores, some, mask)
        if all(paths.log_partition > MINUS_INFINITY for paths in case.all_paths()):
            return case


def random_tags(case: Case, seed: int) -> Tensor:
    """A possible path of each sentence, [B, T]; arbitrary at padding."""
    source = torch.Generator().manual_seed(seed)
    tags = torch.full(case.mask.shape, -100)
    for row, paths in enumerate(case.all_paths()):
        possible = paths.tags[paths.scores > MINUS_INFINITY]
        choice = int(torch.randint(len(possible), (), generator=source))
        tags[row, : case.lengths[row]] = possible[choice]
    return tags


def _forbid(values: Tensor, share: float, source: torch.Generator) -> Tensor:
    return values.masked_fill(torch.rand(values.shape, generator=source) < share, MINUS_INFINITY)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """One to three sentences of one to five tokens, one to four tags, up to a third forbidden."""
    return random_case(
        draw(st.integers(0, 2**32 - 1)),
        draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)),
        draw(st.integers(1, 4)),
        forbidden=draw(st.sampled_from([0.0, 0.15, 0.33])),
        spread=draw(st.sampled_from([0.3, 2.0, 5.0, 20.0])),
    )


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found.detach().to(expected.dtype), expected, rtol=tolerance, atol=tolerance)


def index_of(paths: Paths, tags: Tensor) -> int:
    return int((paths.tags == tags[: paths.tags.shape[1]]).all(1).nonzero())


def unary_of(paths: Paths, tags: int) -> Tensor:
    """p(y_t = k) by enumeration, [n, K]."""
    return torch.stack([torch.stack([paths.mass(c == k) for k in range(tags)]) for c in paths.tags.t()])


def edges_of(paths: Paths, tags: int) -> Tensor:
    """Expected number of moves from i to j by enumeration, [K, K]."""
    result = torch.zeros(tags, tags, dtype=torch.float64)
    for before, after in itertools.pairwise(paths.tags.t()):
        for i, j in itertools.product(range(tags), repeat=2):
            result[i, j] += paths.mass((before == i) & (after == j))
    return result


def forbidding_crf() -> LinearChainCRF:
    """Three tags: 2 may not begin, 0 may not end, 0 -> 1 and 1 -> 1 are forbidden, against the raw scores."""
    allowed = torch.tensor([[1, 0, 1], [1, 0, 1], [1, 1, 1]]).bool()
    crf = LinearChainCRF(allowed, torch.tensor([1, 1, 0]).bool(), torch.tensor([0, 1, 1]).bool()).double()
    with torch.no_grad():
        crf.transitions[0, 1] = crf.transitions[1, 1] = crf.start[2] = crf.end[0] = 50.0
    return crf


def is_allowed(crf: LinearChainCRF, path: tuple[int, ...]) -> bool:
    moves = all(bool(crf.allowed[i, j]) for i, j in itertools.pairwise(path))
    return moves and bool(crf.allowed_start[path[0]]) and bool(crf.allowed_end[path[-1]])
