"""Linear-chain conditional random field: partition, marginals, Viterbi, k-best, exact confidence.

Notation of this file: `scores` are emission scores, nats, [B, T, K]; `transitions[i, j]` is the score of
moving from tag i (row) to tag j (column), and -inf forbids it; masks are True at real tokens and
right-padded. Sums over paths are computed in `nn.forward_backward`.

Reference: Lafferty, McCallum and Pereira 2001, "Conditional random fields".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seqtool.nn.forward_backward import Chain, forward_backward


class LinearChainCRF(nn.Module):
    """The learned chain of a CRF, and the transitions that its tag scheme forbids.

    A forbidden transition has probability 0 both in training and in decoding.

    Args:
        allowed: Whether tag i (row) may be followed by tag j (column), [K, K], bool.
        allowed_start: Whether a sentence may begin with the tag, [K], bool.
        allowed_end: Whether a sentence may end with the tag, [K], bool.
        learned: False fixes all scores of the chain at 0, so that only the constraints remain: a softmax
            tagger with constrained decoding.
    """

    allowed: Tensor
    allowed_start: Tensor
    allowed_end: Tensor

    def __init__(
        self, allowed: Tensor, allowed_start: Tensor, allowed_end: Tensor, *, learned: bool = True
    ) -> None:
        super().__init__()
        tags = len(allowed)
        self.transitions = nn.Parameter(torch.zeros(tags, tags), requires_grad=learned)
        self.start = nn.Parameter(torch.zeros(tags), requires_grad=learned)
        self.end = nn.Parameter(torch.zeros(tags), requires_grad=learned)
        self.register_buffer("allowed", allowed.clone())
        self.register_buffer("allowed_start", allowed_start.clone())
        self.register_buffer("allowed_end", allowed_end.clone())
        if learned:
            nn.init.uniform_(self.transitions, -0.1, 0.1)

    def chain(self) -> Chain:
        """The scores of the chain, with -inf where the tag scheme forbids."""
        minus_infinity = float("-inf")
        return Chain(
            self.transitions.masked_fill(~self.allowed, minus_infinity),
            self.start.masked_fill(~self.allowed_start, minus_infinity),
            self.end.masked_fill(~self.allowed_end, minus_infinity),
        )


def log_partition(scores: Tensor, chain: Chain, mask: Tensor) -> Tensor:
    """Log of the summed weight of every tag path (Lafferty et al. 2001, eq. 2), by the forward algorithm.

    It can be differentiated once, by a backward pass of its own: the gradient is the marginals, and those of
    all edges come from one matrix product, so that no tensor of size [B, T, K, K] is made.

    Args:
        scores: Emission scores, nats, [B, T, K]; -inf forbids a tag at a token.
        chain: Transition, start and end scores.
        mask: True at real tokens, right-padded, at least one per sentence, [B, T].

    Returns:
        Log-partition of each sentence, nats, [B], float64; -inf where no path is possible.

    Raises:
        ValueError: shapes disagree, or a row of the mask is empty or not right-padded.
    """
    check_chain_input(scores, chain, mask)
    result: Tensor = _LogPartition.apply(scores, *chain, mask, None)  # type: ignore[no-untyped-call]
    return result


def path_score(scores: Tensor, chain: Chain, tags: Tensor, mask: Tensor) -> Tensor:
    """Score of one tag path per sentence.

    Args:
        scores: Emission scores, nats, [B, T, K].
        chain: Transition, start and end scores.
        tags: Tag ids, [B, T]; arbitrary at padding.
        mask: True at real tokens, right-padded, [B, T].

    Returns:
        The unnormalised score of the path, nats, [B], float64.
    """
    _check_tags(tags, mask)
    count = scores.shape[2]
    tags = tags.masked_fill(~mask, 0)
    # [B, T, K] to the score of the path's tags [B, T], summed to [B]
    emission = scores.gather(2, tags[:, :, None])[:, :, 0].masked_fill(~mask, 0.0).sum(1, dtype=torch.float64)
    moves = (
        tags[:, :-1] * count + tags[:, 1:]
    ).flatten()  # places in the flattened transitions, [B x (T - 1)]
    # The backward pass of an embedding look-up is far cheaper than that of advanced indexing.
    steps = nn.functional.embedding(moves, chain.transitions.view(-1, 1)).view(len(tags), -1)  # [B, T - 1]
    steps = steps.masked_fill(~mask[:, 1:], 0.0).sum(1, dtype=torch.float64)  # [B]
    last = tags.gather(1, mask.sum(1, keepdim=True) - 1)[:, 0]  # [B]
    return emission + steps + chain.start.double()[tags[:, 0]] + chain.end.double()[last]


def negative_log_likelihood(scores: Tensor, chain: Chain, tags: Tensor, mask: Tensor) -> Tensor:
    """-log p(tags | scores) of each sentence, nats, [B], float64 (arguments as in `path_score`)."""
    check_chain_input(scores, chain, mask)
    _check_tags(tags, mask)
    result: Tensor = _LogPartition.apply(scores, *chain, mask, tags)  # type: ignore[no-untyped-call]
    return result


def partial_negative_log_likelihood(scores: Tensor, chain: Chain, possible: Tensor, mask: Tensor) -> Tensor:
    """-log of the summed probability of the paths that a partial annotation leaves possible, nats, [B].

    Args:
        scores: Emission scores, nats, [B, T, K].
        chain: Transition, start and end scores.
        possible: Whether the annotation leaves tag k possible at a token, [B, T, K], bool.
        mask: True at real tokens, right-padded, [B, T].

    Reference: Tsuboi et al. 2008, "Training conditional random fields using incomplete annotations", eq. 5.
    """
    if possible.shape != scores.shape:
        raise ValueError(f"scores are {tuple(scores.shape)}, but possible tags are {tuple(possible.shape)}")
    constrained = scores.masked_fill(~possible & mask[:, :, None], float("-inf"))
    return log_partition(scores, chain, mask) - log_partition(constrained, chain, mask)


def weighted_negative_log_likelihood(
    scores: Tensor, chain: Chain, tags: Tensor, mask: Tensor, class_weights: Tensor
) -> Tensor:
    """Negative log-likelihood in which each token is weighted by the weight of its gold tag, nats, [B].

    The chain rule p(y) = prod_t p(y_t | y_<t) is exact for a CRF, with
    log p(y_t | y_{t-1}) = score(t) + log beta_t(y_t) - log beta_{t-1}(y_{t-1});
    the logarithm of each factor is weighted. With all weights 1 it is the unweighted loss.

    Args:
        scores: Emission scores, nats, [B, T, K].
        chain: Transition, start and end scores.
        tags: Tag ids, [B, T].
        mask: True at real tokens, right-padded, [B, T].
        class_weights: Weight of each tag, non-negative, [K].
    """
    check_chain_input(scores, chain, mask)
    _check_tags(tags, mask)
    if class_weights.shape != scores.shape[2:]:
        raise ValueError(
            f"scores have {scores.shape[2]} tags, class weights are {tuple(class_weights.shape)}"
        )
    scores = scores.double().masked_fill(~mask[:, :, None], 0.0)
    tags = tags.masked_fill(~mask, 0)
    weights = class_weights.double()[tags] * mask  # [B, T]
    suffix = _log_suffix(scores, chain, mask)  # log beta, [B, T, K]
    # log beta and emission scores of the gold tags, [B, T]
    beta = suffix.gather(2, tags[:, :, None])[:, :, 0]
    emission = scores.gather(2, tags[:, :, None])[:, :, 0]
    moves = chain.transitions.double()[tags[:, :-1], tags[:, 1:]]  # [B, T - 1]
    start = chain.start.double()
    log_z = torch.logsumexp(start + scores[:, 0] + suffix[:, 0], 1)  # [B]
    # weighted log p(y_1), [B], and log p(y_t | y_{t-1}) for t > 1, [B, T - 1]
    first = weights[:, 0] * (start[tags[:, 0]] + emission[:, 0] + beta[:, 0] - log_z)
    rest = (moves + emission[:, 1:] + beta[:, 1:] - beta[:, :-1]).masked_fill(~mask[:, 1:], 0.0)
    return -(first + (weights[:, 1:] * rest).sum(1))


def uniform_cross_entropy(scores: Tensor, chain: Chain, mask: Tensor) -> Tensor:
    """Mean of -log p(y | scores) over all paths y that the chain allows, summed over sentences, nats.

    This is the term that label smoothing adds when the classes are whole paths (Szegedy et al. 2016, section
    7). A path's score is linear in emissions and transitions, so its mean is their product with the expected
    counts under the uniform distribution over paths, which are the marginals of a chain whose scores are 0.

    Args:
        scores: Emission scores, nats, [B, T, K].
        chain: Transition, start and end scores; -inf forbids.
        mask: True at real tokens, right-padded, [B, T].

    Returns:
        Sum over sentences, scalar, float64.
    """
    even = Chain(*(torch.zeros_like(part).masked_fill_(part == -torch.inf, -torch.inf) for part in chain))
    counts = forward_backward(torch.zeros_like(scores, dtype=torch.float64), even, mask)
    unary = counts.unary()  # [B, T, K]
    rows = torch.arange(len(scores), device=scores.device)
    moves = counts.edges(torch.ones_like(unary[:, 0, 0])) * _finite(chain.transitions)  # [K, K]
    emitted = (unary * scores.double()).masked_fill(~mask[:, :, None], 0.0)  # [B, T, K]
    ends = unary[:, 0] @ _finite(chain.start) + unary[rows, counts.ends] @ _finite(chain.end)  # [B]
    return (log_partition(scores, chain, mask) - ends).sum() - emitted.sum() - moves.sum()


def _finite(scores: Tensor) -> Tensor:
    """The scores with 0 in place of -inf: a forbidden move has an expected count of 0."""
    return scores.double().masked_fill(scores == -torch.inf, 0.0)


class Marginals(NamedTuple):
    """Exact posterior of the chain given the scores of each sentence, float64."""

    log_partition: Tensor  # nats, [B]
    unary: Tensor  # p(y_t = k), [B, T, K], 0 at padding
    suffix: Tensor  # log of the summed weight of everything after token t given y_t = k, nats, [B, T, K]


@torch.no_grad()
def marginals(scores: Tensor, chain: Chain, mask: Tensor) -> Marginals:
    """Unary marginals, and the suffix weights that `segment_probability` makes transition probabilities of.

    Arguments and errors are those of `log_partition`; everything returned is float64.
    """
    check_chain_input(scores, chain, mask)
    scores = scores.double()
    result = forward_backward(scores, chain, mask)
    return Marginals(result.log_partition, result.unary(), _log_suffix(scores, chain, mask))


@torch.no_grad()
def segment_probability(
    scores: Tensor,
    chain: Chain,
    mask: Tensor,
    posterior: Marginals,
    tags: Tensor,
    segments: Tensor,
    stop: Tensor,
) -> Tensor:
    """Exact posterior probability that segments have the tags of a path and end where they end.

    The posterior is a Markov chain with
    p(y_t = j | y_{t-1} = i) = exp(transition_ij + score_tj + suffix_tj - suffix_{t-1,i}),
    so the probability of a segment is a unary marginal times such factors. It equals the constrained
    partition divided by the unconstrained one (Culotta and McCallum 2004).

    Args:
        scores: Emission scores, nats, [B, T, K].
        chain: Transition, start and end scores.
        mask: True at real tokens, right-padded, [B, T].
        posterior: The `marginals` of these scores.
        tags: Tag ids of the path, [B, T].
        segments: Sentence, first token and token after the last of each of M segments, [M, 3].
        stop: Whether tag j (column) right after a segment whose last tag is i (row) ends it, [K, K].

    Returns:
        Probabilities, [M], float64.
    """
    scores, transitions = scores.double(), chain.transitions.double()
    sentence, first, after = segments.unbind(1)  # [M] each
    # Suffix weights and emission scores of the path's tags, [B, T].
    pick = tags[:, :, None]
    suffix = posterior.suffix.gather(2, pick)[:, :, 0]
    emission = scores.gather(2, pick)[:, :, 0]
    moves = torch.zeros_like(suffix)  # log p(y_t | y_{t-1}) along the path, [B, T]
    moves[:, 1:] = transitions[tags[:, :-1], tags[:, 1:]] + emission[:, 1:] + suffix[:, 1:] - suffix[:, :-1]
    along = moves.masked_fill(~mask, 0.0).cumsum(1)
    inside = along[sentence, after - 1] - along[sentence, first]  # log p of the moves of each segment, [M]
    begin = posterior.unary[sentence, first, tags[sentence, first]]  # [M]
    # Log probability that the token after the segment has one of the tags that end it, [M, K] to [M]; it is
    # 0 where the sentence ends with the segment.
    has_next = after < mask.sum(1)[sentence]
    following = after.clamp(max=scores.shape[1] - 1)
    last = tags[sentence, after - 1]
    leave = transitions[last] + scores[sentence, following] + posterior.suffix[sentence, following]
    leave = leave.masked_fill(~stop[last], float("-inf")).logsumexp(1) - suffix[sentence, after - 1]
    return (begin * (inside + leave.masked_fill(~has_next, 0.0)).exp()).clamp(max=1.0)


def viterbi(scores: Tensor, chain: Chain, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The best tag path of each sentence (Viterbi 1967); ties go to the lower tag id at each backward step.

    The forward pass keeps values only; the backward pass finds each predecessor as
    argmax_i value[t-1, i] + transition[i, y_t], among K candidates instead of K x K.

    Args:
        scores: Emission scores, nats, [B, T, K].
        chain: Transition, start and end scores.
        mask: True at real tokens, right-padded, [B, T].

    Returns:
        Tag ids [B, T], 0 at padding; the score of each path, nats, [B].
    """
    check_chain_input(scores, chain, mask)
    # In the forward pass sentences are the last dimension, so that a maximum over tags is vectorised.
    emission = scores.permute(1, 2, 0).contiguous()  # [T, K, B]
    moves = chain.transitions[:, :, None]  # [K from, K to, 1]
    values = [chain.start[:, None] + emission[0]]  # [K, B] each
    for step in emission[1:]:
        # [K from, K to, B] to [K to, B]
        values.append((values[-1][:, None, :] + moves).amax(0) + step)
    reached = torch.stack(values).transpose(1, 2).contiguous()  # [T, B, K]
    incoming = chain.transitions.t().contiguous()  # [K to, K from]
    ends = mask.sum(1) - 1
    best, tag = (reached[ends, torch.arange(len(ends), device=ends.device)] + chain.end).max(1)  # [B] each
    path = [tag]
    for t in range(len(reached) - 1, 0, -1):
        previous = (reached[t - 1] + incoming[tag]).argmax(1)  # [B, K from] to [B]
        tag = torch.where(t <= ends, previous, tag)  # behind its end a sentence keeps its last tag
        path.append(tag)
    return torch.stack(path[::-1], 1).masked_fill(~mask, 0), best


def k_best(scores: Tensor, chain: Chain, mask: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best tag paths of each sentence, best first (list Viterbi, Seshadri and Sundberg 1994).

    Args:
        scores: Emission scores, nats, [B, T, K].
        chain: Transition, start and end scores.
        mask: True at real tokens, right-padded, [B, T].
        k: Number of paths per sentence, at least 1.

    Returns:
        Tag ids [B, k, T], 0 at padding; path scores, nats, [B, k], -inf where a sentence has
        fewer than k possible paths.
    """
    check_chain_input(scores, chain, mask)
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    scores = scores.double()  # the scores of many paths are nearly equal
    batch, steps, tags = scores.shape
    # Scores of the k best paths to each tag, [B, K, k].
    value = scores.new_full((batch, tags, k), float("-inf"))
    value[:, :, 0] = chain.start + scores[:, 0]
    pointers = []
    values = [value]
    for t in range(1, steps):
        reach = value[:, :, :, None] + chain.transitions[:, None, :]  # [B, K from, k, K to]
        value, pointer = reach.flatten(1, 2).topk(k, dim=1)  # [B, K from x k, K to] to [B, k, K to] each
        value = value.transpose(1, 2) + scores[:, t, :, None]  # [B, K, k]
        pointers.append(pointer.transpose(1, 2).flatten(1))  # from (to, rank) to (from, rank), [B, K x k]
        values.append(value)
    ends = mask.sum(1) - 1
    # [B, K, k]
    last = torch.stack(values, 1)[torch.arange(batch, device=ends.device), ends] + chain.end[:, None]
    best, cell = last.flatten(1).topk(k, dim=1)  # [B, k] each; cell = tag * k + rank
    path = [cell // k]
    for t in range(steps - 1, 0, -1):
        cell = torch.where((t <= ends)[:, None], pointers[t - 1].gather(1, cell), cell)
        path.append(cell // k)
    return torch.stack(path[::-1], 2).masked_fill(~mask[:, None, :], 0), best


def check_chain_input(scores: Tensor, chain: Chain, mask: Tensor) -> None:
    """Raise `ValueError` with the actual shapes unless scores, chain and mask fit together."""
    shape = tuple(scores.shape)
    if scores.dim() != 3 or not scores.numel() or mask.shape != shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"expected scores [B, T, K], not empty, and a bool mask [B, T], got {shape}, "
            f"{tuple(mask.shape)} of {mask.dtype}"
        )
    for name, part, expected in zip(chain._fields, chain, (2 * shape[2:], shape[2:], shape[2:]), strict=True):
        if part.shape != expected:
            raise ValueError(f"scores have {shape[2]} tags, {name} is {tuple(part.shape)}")
    if not bool(mask[:, 0].all()) or bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError(f"the mask {shape[:2]} must be right-padded, with at least one token per row")


def _check_tags(tags: Tensor, mask: Tensor) -> None:
    if tags.shape != mask.shape:
        raise ValueError(f"expected tags [B, T] like the mask {tuple(mask.shape)}, got {tuple(tags.shape)}")


def _log_suffix(scores: Tensor, chain: Chain, mask: Tensor) -> Tensor:
    """Log beta_t(k): the summed weight of everything after token t given tag k there, nats, [B, T, K]."""
    end = chain.end.double().expand(scores.shape[0], -1)  # [B, K]
    transitions = chain.transitions.double()
    beta = end
    suffix = [beta]
    for t in range(scores.shape[1] - 2, -1, -1):
        moves = transitions + (scores[:, t + 1] + beta)[:, None, :]  # [B, K from, K to]
        # Where no move is possible, the gradient of logsumexp would be NaN.
        stuck = (moves == float("-inf")).all(2)  # [B, K]
        following = torch.logsumexp(moves.masked_fill(stuck[:, :, None], 0.0), 2)  # [B, K]
        beta = torch.where(mask[:, t + 1, None], following.masked_fill(stuck, float("-inf")), end)
        suffix.append(beta)
    return torch.stack(suffix[::-1], 1)


class _LogPartition(torch.autograd.Function):
    """The log-partition, minus the score of a path if one is given.

    The gradient is the expected counts (the marginals), minus the observed ones.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
        mask: Tensor,
        tags: Tensor | None,
    ) -> Tensor:
        chain = Chain(transitions, start, end)
        result = forward_backward(scores, chain, mask)
        ctx.result, ctx.mask, ctx.tags = result, mask, tags
        observed = 0.0 if tags is None else path_score(scores, chain, tags, mask)
        return result.log_partition - observed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        unary = ctx.result.unary()  # [B, T, K]
        grad = grad.to(unary.dtype)  # [B]
        unary = unary * grad[:, None, None]
        edges = ctx.result.edges(grad)  # [K, K]
        if ctx.tags is not None:
            tags = ctx.tags.masked_fill(~ctx.mask, 0)
            observed = grad[:, None] * ctx.mask  # [B, T]
            unary.scatter_add_(2, tags[:, :, None], -observed[:, :, None])
            moves = tags[:, :-1] * len(edges) + tags[:, 1:]  # places in the flattened edges, [B, T - 1]
            edges = edges.flatten().index_add(0, moves.flatten(), -observed[:, 1:].flatten()).view_as(edges)
        last = unary[torch.arange(len(unary), device=unary.device), ctx.result.ends]  # [B, K]
        # Autograd converts each gradient to the number type of its input.
        return unary, edges, unary[:, 0].sum(0), last.sum(0), None, None
