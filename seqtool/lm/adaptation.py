"""Readers that learn from the text they read: dynamic evaluation, and a cache of past states.

Both predict each symbol from those before it only, so what they say are probabilities like any
others; but figures with and without them are of different protocols.
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
TINY = 1e-30  # in the place of a mean of 0


class AdaptingReader(Reader):
    """Dynamic evaluation: after each window of symbols the network takes one step to predict it better.

    A window is scored before its step, with

        theta <- theta - rate * gradient + decay * (theta_0 - theta),

    where the gradient is that of the window's loss, summed over its symbols and divided by the length of
    a full window. It goes no further back than the window: the state before it is given (so a learned
    start is not adapted). Windows are counted from a document's first symbol, whatever the pieces in
    which it is read; a document's last one may be shorter, and its step is made when the next document
    begins.

    With the rule "rms" each weight's gradient is divided by its root mean square and its way back
    multiplied by it (relative to the mean over all weights). Krause et al. take the mean over the training
    data. A model does not keep that, so the mean here is over the windows read so far, this one included:
    a stand-in, whose first steps are all of about the size of `rate`. A tenth of the mean over all weights
    is added to each root mean square (a fixed number in the paper), so rare symbols take no leaps.

    Args:
        network: In evaluation mode; it is copied, not changed.
        device: Where it is.
        settings: Strength of the adaptation.

    Reference: Krause, Kahembwe, Murray and Renals 2018, "Dynamic evaluation of neural sequence models"
    (SGD with decay towards the trained weights; RMS with decay scaled by the same statistics).
    """

    # Gradients are needed whatever mode the caller is in, and of no tensor that was made for inference only.
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
        """A new document begins: the state is fresh, the weights stay adapted.

        What was learned (topic, spelling, layout) mostly holds for the next document of a collection too;
        where it should not, `forget`.
        """
        if len(self._window):
            self._learn()
        super().reset()
        self._begin_window()

    @torch.inference_mode(False)
    def forget(self) -> None:
        """Go back to the trained weights and begin a new document."""
        self._window = self._window[:0]
        with torch.no_grad():
            for weight, trained in zip(self._weights, self._trained, strict=True):
                weight.copy_(trained)
        by_rms = self._settings.rule == "rms"
        self._squares = [torch.zeros_like(trained) for trained in self._trained if by_rms]
        self.steps = 0
        self.reset()

    def pieces(self, ids: Ids) -> Iterator[ScoredPiece]:
        """As `Reader.pieces`; a piece ends where a window does."""
        start = 0
        while start < len(ids):
            stop = min(start + self.chunk - len(self._window), len(ids))
            yield self._scored(ids[start:stop])
            start = stop

    @torch.inference_mode(False)
    def _scored(self, ids: Ids) -> ScoredPiece:
        """Some symbols of the current window; the last of them closes it.

        The step is made on the window read as a whole, so that the weights are the same to the last bit
        however its symbols came.
        """
        self._window = np.concatenate([self._window, ids])
        if len(self._window) < self.chunk:
            return self._read(ids)
        piece = self._learn()
        own = slice(len(piece.states) - len(ids), None)
        return ScoredPiece(piece.log_probabilities[own], piece.states[own])

    def _begin_window(self) -> None:
        self._window = self._window[:0]
        self._before, self._last_before = detached(self.states), self.last

    def _learn(self) -> ScoredPiece:
        """Score the current window, make its step, begin the next."""
        inputs = np.concatenate([[self._last_before], self._window[:-1]]).astype(np.int64)
        with torch.enable_grad():
            symbols = torch.from_numpy(inputs).to(self.device)
            targets = torch.from_numpy(self._window.astype(np.int64)).to(self.device)
            outputs, after = self.network(symbols[None], self._before)
            values = self.network.log_probabilities_of(outputs.features[0], targets)
            loss = -values.sum() / self.chunk
            gradients = torch.autograd.grad(loss, self._weights, allow_unused=True)
        self._step(gradients)
        self.states, self.last = detached(after), int(self._window[-1])
        self._begin_window()
        return ScoredPiece(values.detach().double().cpu().numpy(), outputs.states[0].detach())

    @torch.no_grad()
    def _step(self, found: Sequence[Tensor | None]) -> None:
        gradients = [
            torch.zeros_like(weight) if gradient is None else gradient
            for weight, gradient in zip(self._weights, found, strict=True)
        ]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not np.isfinite(norm):
            raise DivergedError(
                f"the adapted network's gradient is {norm} after {self.steps} steps; "
                f"lower adaptation.rate (now {self._settings.rate:g})"
            )
        shrink = min(1.0, CLIP_NORM / norm) if norm else 1.0
        self.steps += 1
        move = self._move_by_rms if self._settings.rule == "rms" else self._move
        move([gradient * shrink for gradient in gradients])

    def _move(self, gradients: Sequence[Tensor]) -> None:
        """The rule "sgd"."""
        for weight, gradient, trained in zip(self._weights, gradients, self._trained, strict=True):
            back = self._settings.decay * (trained - weight)
            weight.sub_(gradient, alpha=self._settings.rate).add_(back)

    def _move_by_rms(self, gradients: Sequence[Tensor]) -> None:
        """The rule "rms"; no weight goes back further than to where it was."""
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
    """The neural cache: what followed the states most like the present one is likely to follow again.

        p(w) = (1 - weight) p_net(w) + weight p_cache(w)
        p_cache(w) ~ sum over past positions i of [x_{i+1} = w] exp(flatness h_t . h_i)

    The sum is over the last `cache_size` positions of the document, h is the uppermost state. While
    there is none, at a document's first symbol, the network stands alone.

    Args:
        reader: Gives states and the network's probabilities; an adapting one will do.
        settings: Size, flatness and weight of the cache.

    Reference: Grave, Joulin and Usunier 2017, "Improving neural language models with a continuous cache",
    equations 1 to 4.
    """

    def __init__(self, reader: Reader, settings: AdaptationSettings) -> None:
        self._reader, self._settings = reader, settings
        super().__init__(reader.network, reader.device, reader.chunk)

    def reset(self) -> None:
        """A new document begins, with an empty cache: it is part of the state."""
        self._reader.reset()
        self.states, self.last = self._reader.states, self._reader.last
        self._keys: Tensor | None = None  # [C, H], states
        self._values = np.zeros(0, np.int32)  # [C], the symbol that followed each

    def pieces(self, ids: Ids) -> Iterator[ScoredPiece]:
        """As `Reader.pieces`, of the reader inside."""
        start = 0
        for piece in self._reader.pieces(ids):
            stop = start + len(piece.states)
            yield ScoredPiece(self._mixed(piece, ids[start:stop]), piece.states)
            self.states, self.last = self._reader.states, self._reader.last
            start = stop

    @torch.inference_mode()
    def _mixed(self, piece: ScoredPiece, ids: Ids) -> LogProbabilities:
        """Log probabilities of a piece's symbols, which join the cache."""
        new = at_least_float32(piece.states)
        keys = new if self._keys is None else torch.cat([self._keys, new])
        values = np.concatenate([self._values, ids])
        size = self._settings.cache_size
        followers = torch.from_numpy(values).to(new.device)
        found = cache_log_probabilities(new, keys, followers, size, self._settings.cache_flatness)
        self._keys, self._values = keys[-size:].clone(), values[-size:]
        alone = piece.log_probabilities
        cached = found.double().cpu().numpy()
        cached = np.where(np.isnan(cached), alone, cached)  # an empty cache leaves it to the network
        return interpolate(cached, alone, self._settings.cache_weight)


def cache_log_probabilities(
    queries: Tensor, keys: Tensor, values: Tensor, size: int, flatness: float
) -> Tensor:
    """What the cache says of each of the last T symbols, from those before it.

    Args:
        queries: States from which the last T symbols were predicted, [T, H].
        keys: The same after all earlier ones that may still be in the cache, [C + T, H].
        values: The symbols predicted from them, [C + T].
        size: How many positions a cache holds.
        flatness: Factor of the products of states.

    Returns:
        Log p_cache of each symbol, nats, [T]; -inf where it is not in the cache; NaN where that is empty.
    """
    steps, total = len(queries), len(keys)
    now = torch.arange(total - steps, total, device=keys.device)[:, None]
    past = torch.arange(total, device=keys.device)
    inside = (past < now) & (past >= now - size)
    with torch.autocast(keys.device.type, enabled=False):  # products of half precision would be off by far
        scores = flatness * (queries @ keys.T)  # row: now, column: past
    scores = scores.masked_fill(~inside, -torch.inf)
    same = values[total - steps :, None] == values
    return scores.masked_fill(~same, -torch.inf).logsumexp(1) - scores.logsumexp(1)


def adaptable(network: LanguageNetwork) -> LanguageNetwork:
    """A copy that computes what the network does in evaluation, and of which gradients can be had.

    The recurrent kernels of cuDNN keep what their gradient needs in training mode only. So the cells, and
    they alone, are in that mode; what else it does to them, dropping weights, is switched off. Cells that
    would take statistics there of what is read, or draw which units stay, have no such kernels, and stay
    as they are.
    """
    adapted = copy.deepcopy(network).eval()
    for module in adapted.modules():
        if isinstance(module, Cell):
            module.options = replace(module.options, weight_drop=0.0, recurrent_dropout=0.0)
            module.train(network.settings.cell not in BATCH_NORMALISED and not module.runs_step_by_step)
    return adapted
