"""The network of a language model: from symbols to the distribution of the next symbol.

Shapes: B rows, T steps, M predicted symbols, H width of a layer, D width of what the softmax reads (H, or
that of the embeddings if they are tied), V symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.lm.settings import ModelSettings
from seqtool.lm.vocabulary import LINE_END, PADDING, UNKNOWN
from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cells import State
from seqtool.nn.cells.cell import glorot
from seqtool.nn.deferred import at_least_float32
from seqtool.nn.embeddings import empty_embedding
from seqtool.nn.losses import projected_cross_entropy, projected_log_probabilities
from seqtool.nn.meta_device import only_shapes
from seqtool.nn.recurrence import Stack
from seqtool.nn.regularization import InputNoise, SequenceDropout, drop_types, drop_words

ADAPTIVE_SHARES = (15, 5)  # cutoffs of the adaptive softmax are V / 15 and V / 5 unless they are given
EMBEDDING_RANGE = 0.1  # embeddings are initialised uniformly between minus and plus this


class Outputs(NamedTuple):
    """The outputs of the layers at some steps."""

    features: Tensor  # inputs of the softmax layer, [B, T, D]
    states: Tensor  # states of the top layer before dropout, [B, T, H]
    dropped: Tensor  # states of the top layer after dropout, [B, T, H]


class LanguageNetwork(nn.Module):
    """Embeddings, recurrent layers, softmax (Mikolov et al. 2010; regularised as Merity et al. 2018).

    Args:
        symbols: V, number of symbols.
        settings: The network's settings.
        impossible: Symbols that occur in no text; their probability is 0.
    """

    impossible: Tensor

    def __init__(self, symbols: int, settings: ModelSettings, impossible: Iterable[int] = ()) -> None:
        super().__init__()
        self.settings, self.symbols = settings, symbols
        width = settings.embedding or symbols
        self.embedding = empty_embedding(symbols, width)
        if settings.embedding:
            nn.init.uniform_(self.embedding.weight, -EMBEDDING_RANGE, EMBEDDING_RANGE)
        else:
            one_hot = torch.empty(symbols, symbols) if only_shapes() else torch.eye(symbols)
            self.embedding.weight = nn.Parameter(one_hot, requires_grad=False)
        self.stack = Stack(
            settings.layer_options,
            inputs=width,
            hidden=settings.hidden,
            layers=settings.layers,
            dropout=settings.dropout,
        )
        self.embedding_dropout = SequenceDropout(settings.of_inputs, settings.locked)
        self.noise = InputNoise(settings.input_noise)
        self.dropout = SequenceDropout(settings.of_outputs, settings.locked)
        features = width if settings.tied else settings.hidden
        different = settings.tied and features != settings.hidden
        self.narrow = nn.Linear(settings.hidden, features, bias=False) if different else None
        never = list(impossible)
        self.adaptive = _adaptive(features, symbols, settings.cutoffs, never) if settings.adaptive else None
        self.weight = None if settings.tied or settings.adaptive else glorot(symbols, features)
        self.bias = None if settings.adaptive else nn.Parameter(torch.zeros(symbols))
        self.register_buffer("impossible", _mask(symbols, never), persistent=False)

    def initial(self, rows: int) -> list[State]:
        """The states of all layers before the first symbol of `rows` rows."""
        return self.stack.initial(rows, self.embedding.weight)

    def forward(self, inputs: Tensor, states: Sequence[State]) -> tuple[Outputs, list[State]]:
        """Outputs at all steps, and the states after the last.

        Args:
            inputs: Symbols, [B, T].
            states: States of all layers before the first step.
        """
        # [B, T, H]
        values, after = self.stack(self._embedded(inputs), states)
        dropped = self.dropout(values)
        # [B, T, D]
        features = dropped if self.narrow is None else self.narrow(dropped)
        return Outputs(features, values, dropped), after

    def cross_entropy(self, features: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Summed cross-entropy, nats.

        Args:
            features: Inputs of the softmax layer, [M, D].
            targets: Symbols to be predicted, [M].
            smoothing: Label smoothing over the symbols that a text can contain, in [0, 1); not with an
                adaptive softmax.
        """
        if self.adaptive is not None:
            with torch.autocast(features.device.type, enabled=False):
                found: Tensor = self.adaptive(at_least_float32(features), targets).output
            return -found.double().sum().to(found.dtype)
        weight, bias = self.projection
        if smoothing:
            # Without the impossible symbols, whose log probability of -inf would make the loss infinite:
            # which symbols are possible, and the place of each among those, [V].
            possible = self.impossible == 0.0
            places = possible.cumsum(0) - 1
            weight, bias, targets = weight[possible], bias[possible], places[targets]
        return projected_cross_entropy(features, weight, bias, targets, smoothing=smoothing)

    def log_probabilities_of(self, features: Tensor, targets: Tensor) -> Tensor:
        """Log probability of each target, nats, [M]; for `features` and `targets` as in `cross_entropy`."""
        if self.adaptive is not None:
            chosen: Tensor = self.adaptive(at_least_float32(features), targets).output
            return chosen
        weight, bias = self.projection
        return projected_log_probabilities(features, weight, bias, targets)

    def log_probabilities(self, features: Tensor) -> Tensor:
        """Log probabilities of all symbols, nats, [M, V], from features [M, D]."""
        if self.adaptive is not None:
            found: Tensor = self.adaptive.log_prob(at_least_float32(features))
            return found
        weight, bias = self.projection
        scores = at_least_float32(functional.linear(features, weight, bias))
        return scores.log_softmax(1)

    @property
    def projection(self) -> tuple[Tensor, Tensor]:
        """Weight [V, D] and bias [V] of the softmax layer, the bias of impossible symbols being -inf."""
        assert self.bias is not None
        weight = self.embedding.weight if self.weight is None else self.weight
        return weight, self.bias + self.impossible

    def _embedded(self, inputs: Tensor) -> Tensor:
        """Embeddings of symbols [B, T], with dropout and noise in training, [B, T, E]."""
        settings = self.settings
        seen = inputs
        if self.training and settings.word_dropout:
            # probability of dropping each symbol, 0 for padding, start and line end: [B, T]
            each = torch.full(inputs.shape, settings.word_dropout, device=inputs.device)
            seen = drop_words(inputs, each.masked_fill_(inputs <= LINE_END, 0.0), UNKNOWN)
        # [B, T, E]
        vectors: Tensor = self.embedding(seen)
        if self.training and settings.type_dropout:
            vectors = drop_types(vectors, seen, self.symbols, settings.type_dropout)
        vectors = self.noise(self.embedding_dropout(vectors))
        if settings.cell in BATCH_NORMALISED:  # these cells take a position of zeros for padding
            vectors = vectors.masked_fill((inputs == PADDING)[:, :, None], 0.0)
        return vectors


def detached(states: Sequence[State]) -> list[State]:
    """The same states, detached from the graph, so that no gradient flows back through them."""
    return [tuple(part.detach() for part in layer) for layer in states]


class _MaskedLinear(nn.Linear):
    """A linear layer, some of whose outputs are -inf; its parameters keep their names.

    Args:
        plain: The layer whose parameters it uses.
        mask: -inf at the outputs that shall be -inf, 0 at the others, [O].
    """

    mask: Tensor

    def __init__(self, plain: nn.Linear, mask: Tensor) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight, self.bias = plain.weight, plain.bias
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs [..., O] from inputs [..., I]."""
        return super().forward(inputs) + self.mask


def _adaptive(
    features: int, symbols: int, cutoffs: Sequence[int], impossible: Sequence[int]
) -> nn.AdaptiveLogSoftmaxWithLoss:
    """An adaptive softmax (Grave et al. 2017) over the symbols that a text can contain.

    Args:
        features: D, width of its input.
        symbols: V, number of symbols.
        cutoffs: First symbol of each cluster, ascending; empty = chosen by the number of symbols.
        impossible: Symbols whose probability shall be 0.
    """
    ends = [*cutoffs] or sorted({max(symbols // share, 1) for share in ADAPTIVE_SHARES})
    # Each cluster is narrower than the one before by this factor; the last is at least 1 wide.
    division = next(number for number in (4.0, 3.0, 2.0, 1.0) if number ** len(ends) <= features)
    softmax = nn.AdaptiveLogSoftmaxWithLoss(features, symbols, ends, div_value=division)
    never = [number for number in impossible if number < ends[0]]
    for cluster, (low, high) in enumerate(pairwise([*ends, symbols])):
        within = [number - low for number in impossible if low <= number < high]
        if len(within) == high - low:  # the whole cluster: a softmax over no symbol would be NaN
            never.append(ends[0] + cluster)
        elif within:
            tail = softmax.tail[cluster]
            assert isinstance(tail, nn.Sequential)
            narrow, wide = tail
            assert isinstance(wide, nn.Linear)
            softmax.tail[cluster] = nn.Sequential(narrow, _MaskedLinear(wide, _mask(high - low, within)))
    softmax.head = _MaskedLinear(softmax.head, _mask(ends[0] + len(ends), never))
    return softmax


def _mask(size: int, never: Sequence[int]) -> Tensor:
    """A mask of `size` zeros with -inf at the indices `never`, [size]."""
    mask = torch.zeros(size, device="cpu")  # made even on the meta device, as no model folder holds it
    mask[list(never)] = -torch.inf
    return mask
