"""Copying from the source: attention as a distribution over symbols.

A source position stands for a symbol of the *extended* vocabulary: the target vocabulary, then
the symbols of this one source that the vocabulary lacks. Such ids mean something in their own
sentence only. Positions that cannot be copied (padding, the end) have `NOT_COPYABLE`.

Reference: See et al. 2017, section 2.2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NOT_COPYABLE = -1


def log_copy_of(weights: Tensor, symbols: Tensor, targets: Tensor) -> Tensor:
    """Log probability that copying gives each target.

    The attention on all positions with that symbol adds up; what rests on positions that
    cannot be copied is shared out among those that can.

    Args:
        weights: Attention [B, T, S], rows that sum to 1.
        symbols: Extended id of each source position [B, S], or `NOT_COPYABLE`.
        targets: Extended ids [B, T].

    Returns:
        [B, T]; -inf where no position has the symbol. Its gradient is finite everywhere.
    """
    copyable = symbols != NOT_COPYABLE
    hits = symbols[:, None] == targets[:, :, None]
    log_hits = _log_sum(weights, hits & copyable[:, None])
    log_all = _log_sum(weights, copyable[:, None])
    return torch.where(log_hits.isinf(), log_hits, log_hits - log_all)


def _log_sum(weights: Tensor, chosen: Tensor) -> Tensor:
    """Log of the summed weights of the chosen positions, [B, T]; -inf (gradient 0) for none."""
    found = chosen.expand_as(weights)
    total = (weights * found).sum(2)
    possible = found.any(2)
    # A weight can underflow to 0 on a position that is there: as small a number as can be divided by.
    smallest = torch.finfo(total.dtype).tiny
    safe = torch.where(possible, total.clamp(min=smallest), 1.0)
    return torch.where(possible, safe.log(), -torch.inf)


class CopySlots(NamedTuple):
    """Where the attention of a source goes among the symbols of the extended vocabulary; once a source."""

    places: Tensor  # [B, S] the id that each slot stands for; slots of the same id are alike
    collects: Tensor  # [B, S, S] position s counts for slot j, 0 or 1
    copyable: Tensor  # [B, S, 1] positions that can be copied, 0 or 1

    def kept(self, sentences: Tensor) -> CopySlots:
        """Of some of the sentences only."""
        return CopySlots(*(each[sentences] for each in self))


def copy_slots(symbols: Tensor) -> CopySlots:
    """Slots for sources with these extended ids [B, S].

    Slot j is for the symbol at position j, so a repeated symbol has several slots, all with the
    whole of its mass: writing them all to the same place is writing one of them.
    """
    copyable = symbols != NOT_COPYABLE
    first = copyable.to(torch.uint8).argmax(1, keepdim=True)
    places = torch.where(copyable, symbols, symbols.gather(1, first)).clamp(min=0)
    collects = (symbols[:, :, None] == places[:, None]) & copyable[:, :, None]
    return CopySlots(places, collects.float(), copyable[:, :, None].float())


def merge_copies(scores: Tensor, weights: Tensor, slots: CopySlots, log_leave: Tensor) -> Tensor:
    """Scores of the extended vocabulary with the copied mass added, in place.

    Args:
        scores: [B, K, size], log probabilities but for a summand a row.
        weights: Attention [B, K, S].
        slots: Of these sentences.
        log_leave: What a copied mass of 1 scores: the log probability of copying plus the same
            summand, [B, K].

    Returns:
        `scores`, now log (p_written + p_copied) but for that summand.
    """
    masses = torch.bmm(weights, slots.collects.to(weights.dtype))
    all_copied = torch.bmm(weights, slots.copyable.to(weights.dtype))  # [B, K, 1]
    tiny = torch.finfo(weights.dtype).tiny
    log_masses = (masses / all_copied.clamp(min=tiny)).log() + log_leave[..., None]
    places = slots.places[:, None].expand(-1, weights.shape[1], -1)
    return scores.scatter_(2, places, torch.logaddexp(scores.gather(2, places), log_masses))
