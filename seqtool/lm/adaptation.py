"""Readers that adapt to the text they read: dynamic evaluation, and the neural cache.

Both predict each symbol from the symbols before it only, so their probabilities are valid; but scores
with and without them belong to different protocols and are not comparable.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from seqtool.errors import DivergedError
from seqtool.lm.model import LanguageNetwork, detached
from seqtool.lm.ngram import interpolate
from seqtool.lm.scoring import LogProbabilities, Reader, ScoredPiece
from seqtool.lm.settings import AdaptationSettings
from seqtool.lm.vocabulary import Ids
from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cells import Cell
from seqtool.nn.deferred import at_least_float32

CLIP_NORM = 1.0  # largest norm of an adaptation gradient
# Added to each root mean square by the rule "rms", as a share of their mean: without it a weight that gets
# a gradient once in n windows (the embedding of a rare symbol) would move by rate * sqrt(n).
FLOOR = 0.1
TINY = 1e-30  # lower bound of the mean, against division by 0


class AdaptingReader(Reader):
    """Dynamic evaluation: after each window of symbols, one gradient step on that window.

    A window is scored before its step. The step is

        theta <- theta - rate * gradient + decay * (theta_0 - theta),

    where the gradient is that of the window's loss, summed over its symbols and divided by the length of
    a full window. Backpropagation stops at the beginning of the window, where the state is a constant (so
    a learned initial state is not adapted). Windows are counted from a document's first symbol, however
    the document is divided into pieces for reading; its last window may be shorter, and takes its step
    when the next document begins.

    With the rule "rms" the gradient of each weight is divided by its root mean square, and its decay is
    multiplied by it (relative to the mean over all weights). Krause et al. average over the training data,
    which a model does not keep, so here the average is over the windows read so far, the current one
    included. The first steps are therefore all about as large as `rate`. A tenth of the mean over all
    weights is added to each root mean square (the paper adds a constant), so that the weights of rare
    symbols do not change abruptly.

    Args:
        network: The network in evaluation mode; it is copied, not changed.
        device: Device of the network.
        settings: Rule, rate, decay and window of the adaptation.

    Reference: Krause, Kahembwe, Murray and Renals 2018, "Dynamic evaluation of neural sequence models"
    (SGD with decay towards the trained weights; RMS with decay scaled by the same statistics).
    """

    # Leave inference mode if the caller is in it: tensors made there can never have gradients.
    @torch.inference_mode(False)
    def __init__(self, network: LanguageNetwork, device: torch.device, settings: AdaptationSettings) -> None:
        adapted = adaptable(network)
        self._settings = settings
        self._weights = [weight for weight in adapted.parameters() if weight.requires_grad]
        self._trained = [weight.detach().clone() for weight in self._weights]
        self._window: Ids = np.zeros(0, np.int32)
        super().__init__(adapted, device, chunk=settings.window)
        self.forget()

    @torch.inference_mode(False)
    def reset(self) -> None:
        """Begin a new document with a fresh state and the adapted weights.

        What was learned (topic, spelling, layout) mostly holds for the next document of a collection too;
        call `forget` where it does not.
        """
        if len(self._window):
            self._learn()
        super().reset()
        self._begin_window()

    @torch.inference_mode(False)
    def forget(self) -> None:
        """Restore the trained weights and begin a new document."""
        self._window = self._window[:0]
        with torch.no_grad():
            for weight, trained in zip(self._weights, self._trained, strict=True):
                weight.copy_(trained)
        by_rms = self._settings.rule == "rms"
        self._squares = [torch.zeros_like(trained) for trained in self._trained if by_rms]
        self.steps = 0
        self.reset()

    def pieces(self, ids: Ids) -> Iterator[ScoredPiece]:
        """See `Reader.pieces`; a piece ends no later than the current window."""
        start = 0
        while start < len(ids):
            stop = min(start + self.chunk - len(self._window), len(ids))
            yield self._scored(ids[start:stop])
            start = stop

    @torch.inference_mode(False)
    def _scored(self, ids: Ids) -> ScoredPiece:
        """Score further symbols of the current window, and take its step if they complete it.

        The step reads the window as a whole, so that the weights are the same to the last bit however
        the window was divided into pieces.
        """
        self._window = np.concatenate([self._window, ids])
        if len(self._window) < self.chunk:
            return self._read(ids)
        piece = self._learn()
        own = slice(len(piece.states) - len(ids), None)
        return ScoredPiece(piece.log_probabilities[own], piece.states[own])

    def _begin_window(self) -> None:
        """Begin an empty window at the current state."""
        self._window = self._window[:0]
        self._before, self._last_before = detached(self.states), self.last

    def _learn(self) -> ScoredPiece:
        """Score the current window of T symbols, take its step, begin the next one."""
        # [T], each symbol's predecessor
        inputs = np.concatenate([[self._last_before], self._window[:-1]]).astype(np.int64)
        with torch.enable_grad():
            symbols = torch.from_numpy(inputs).to(self.device)
            targets = torch.from_numpy(self._window.astype(np.int64)).to(self.device)
            # features [1, T, D], states [1, T, H]
            outputs, after = self.network(symbols[None], self._before)
            # [T], nats
            values = self.network.log_probabilities_of(outputs.features[0], targets)
            loss = -values.sum() / self.chunk
            gradients = torch.autograd.grad(loss, self._weights, allow_unused=True)
        self._step(gradients)
        self.states, self.last = detached(after), int(self._window[-1])
        self._begin_window()
        return ScoredPiece(values.detach().double().cpu().numpy(), outputs.states[0].detach())

    @torch.no_grad()
    def _step(self, found: Sequence[Tensor | None]) -> None:
        """Update the weights with their gradients, clipped; None is a gradient of 0.

        Raises:
            DivergedError: the gradient is not finite.
        """
        gradients = [
            torch.zeros_like(weight) if gradient is None else gradient
            for weight, gradient in zip(self._weights, found, strict=True)
        ]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not np.isfinite(norm):
            raise DivergedError(
                f"the adapted network's gradient is {norm} after {self.steps} steps; "
                f"train with a lower adaptation.rate (now {self._settings.rate:g})"
            )
        shrink = min(1.0, CLIP_NORM / norm) if norm else 1.0
        self.steps += 1
        move = self._move_by_rms if self._settings.rule == "rms" else self._move
        move([gradient * shrink for gradient in gradients])

    def _move(self, gradients: Sequence[Tensor]) -> None:
        """Update by the rule "sgd"."""
        for weight, gradient, trained in zip(self._weights, gradients, self._trained, strict=True):
            back = self._settings.decay * (trained - weight)
            weight.sub_(gradient, alpha=self._settings.rate).add_(back)

    def _move_by_rms(self, gradients: Sequence[Tensor]) -> None:
        """Update by the rule "rms"; the decay takes no weight beyond its trained value."""
        for square, gradient in zip(self._squares, gradients, strict=True):
            square.lerp_(gradient.square(), 1.0 / self.steps)
        scales = [square.sqrt() for square in self._squares]
        mean = sum(float(scale.sum()) for scale in scales) / sum(scale.numel() for scale in scales)
        mean = max(mean, TINY)
        for weight, gradient, trained, scale in zip(
            self._weights, gradients, self._trained, scales, strict=True
        ):
            back = (self._settings.decay / mean * scale).clamp(max=1.0) * (trained - weight)
            weight.sub_(gradient / (scale + FLOOR * mean), alpha=self._settings.rate).add_(back)


class CachingReader(Reader):
    """The neural cache: symbols that followed similar states in the document become more probable.

        p(w) = (1 - weight) p_net(w) + weight p_cache(w)
        p_cache(w) ~ sum over past positions i of [x_{i+1} = w] exp(flatness h_t . h_i)

    The sum is over the last `cache_size` positions of the document, and h is the state of the top layer.
    At a document's first symbol the cache is empty and the network's probability is used alone.

    Args:
        reader: Reader that computes states and the network's probabilities; it may be an adapting one.
        settings: Size, flatness and weight of the cache.

    Reference: Grave, Joulin and Usunier 2017, "Improving neural language models with a continuous cache",
    equations 1 to 4.
    """

    def __init__(self, reader: Reader, settings: AdaptationSettings) -> None:
        self._reader, self._settings = reader, settings
        super().__init__(reader.network, reader.device, reader.chunk)

    def reset(self) -> None:
        """Begin a new document with a fresh state and an empty cache."""
        self._reader.reset()
        self.states, self.last = self._reader.states, self._reader.last
        self._keys: Tensor | None = None  # the last C states, [C, H]
        self._values = np.zeros(0, np.int32)  # the symbol that followed each, [C]

    def pieces(self, ids: Ids) -> Iterator[ScoredPiece]:
        """See `Reader.pieces`; the pieces are those of the inner reader."""
        start = 0
        for piece in self._reader.pieces(ids):
            stop = start + len(piece.states)
            yield ScoredPiece(self._mixed(piece, ids[start:stop]), piece.states)
            self.states, self.last = self._reader.states, self._reader.last
            start = stop

    @torch.inference_mode()
    def _mixed(self, piece: ScoredPiece, ids: Ids) -> LogProbabilities:
        """Log probabilities of the T symbols of a piece, nats, [T]; adds them to the cache."""
        # [T, H]
        new = at_least_float32(piece.states)
        # [C + T, H]
        keys = new if self._keys is None else torch.cat([self._keys, new])
        values = np.concatenate([self._values, ids])
        size = self._settings.cache_size
        followers = torch.from_numpy(values).to(new.device)
        # [T]
        found = cache_log_probabilities(new, keys, followers, size, self._settings.cache_flatness)
        self._keys, self._values = keys[-size:].clone(), values[-size:]
        alone = piece.log_probabilities
        cached = found.double().cpu().numpy()
        cached = np.where(np.isnan(cached), alone, cached)  # NaN where the cache was empty
        return interpolate(cached, alone, self._settings.cache_weight)


def cache_log_probabilities(
    queries: Tensor, keys: Tensor, values: Tensor, size: int, flatness: float
) -> Tensor:
    """Log probability of each of the last T symbols by the cache of the symbols before it.

    Args:
        queries: States from which the last T symbols were predicted, [T, H].
        keys: Those states, preceded by the C earlier ones that are still in the cache, [C + T, H].
        values: The symbol predicted from each of `keys`, [C + T].
        size: Number of positions that the cache holds, at least 1.
        flatness: Factor of the inner products of states, at least 0.

    Returns:
        log p_cache of each symbol, nats, [T]; -inf if it is not in the cache, NaN if the cache is empty.
    """
    steps, total = len(queries), len(keys)
    # positions of the queries, [T, 1], and of the keys, [C + T]
    now = torch.arange(total - steps, total, device=keys.device)[:, None]
    past = torch.arange(total, device=keys.device)
    # [T, C + T], True at the positions in the cache of each query
    inside = (past < now) & (past >= now - size)
    with torch.autocast(keys.device.type, enabled=False):  # half precision is too coarse for an exponent
        # [T, C + T]
        scores = flatness * (queries @ keys.T)
    scores = scores.masked_fill(~inside, -torch.inf)
    # [T, C + T], True where the symbol that followed then is the one to be predicted
    same = values[total - steps :, None] == values
    return scores.masked_fill(~same, -torch.inf).logsumexp(1) - scores.logsumexp(1)


def adaptable(network: LanguageNetwork) -> LanguageNetwork:
    """A copy of a network that computes the same as in evaluation mode and supports gradients.

    The recurrent kernels of cuDNN support gradients in training mode only. So the cells alone are put into
    training mode, with weight and recurrent dropout switched off. Cells that would use batch statistics or
    sample zoneout in that mode do not use these kernels, and stay in evaluation mode.
    """
    adapted = copy.deepcopy(network).eval()
    for module in adapted.modules():
        if isinstance(module, Cell):
            module.options = replace(module.options, weight_drop=0.0, recurrent_dropout=0.0)
            module.train(network.settings.cell not in BATCH_NORMALISED and not module.runs_step_by_step)
    return adapted
