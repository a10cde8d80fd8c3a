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
    copyable = (symbols != NOT_COPYABLE)[:, None]
    hits = (symbols[:, None] == targets[:, :, None]) & copyable
    mass = (_shared_out(weights, copyable.to(weights.dtype)) * hits).sum(2)
    possible = hits.any(2)
    # A weight may underflow to 0 at a position that is there: then as small a number as can be divided by.
    safe = torch.where(possible, mass.clamp(min=torch.finfo(mass.dtype).tiny), 1.0)
    return torch.where(possible, safe.log(), -torch.inf)


def _shared_out(weights: Tensor, copyable: Tensor) -> Tensor:
    """Attention [B, K, S] as shares of what can be copied (0 or 1, [B, 1, S]).

    Where all of it rests on what cannot be copied, down to the last digit, the shares are equal.
    """
    kept = weights * copyable
    total = kept.sum(2, keepdim=True)
    nothing = total < torch.finfo(total.dtype).tiny
    even = copyable / copyable.sum(2, keepdim=True).clamp(min=1.0)
    return torch.where(nothing, even, kept / total.masked_fill(nothing, 1.0))


class CopySlots(NamedTuple):
    """Where the attention of a source goes among the symbols of the extended vocabulary; once a source."""

    places: Tensor  # [B, S] the id that each slot stands for; slots of the same id are alike
    collects: Tensor  # [B, S, S] position s counts for slot j, 0 or 1
    copyable: Tensor  # [B, 1, S] positions that can be copied, 0 or 1

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
    return CopySlots(places, collects.float(), copyable[:, None].float())


def merge_copies(scores: Tensor, weights: Tensor, slots: CopySlots, log_leave: Tensor) -> Tensor:
    """Scores of the extended vocabulary with the copied mass added; in place unless gradients are wanted.

    Args:
        scores: [B, K, size], log probabilities but for a summand a row.
        weights: Attention [B, K, S].
        slots: Of these sentences.
        log_leave: What a copied mass of 1 scores: the log probability of copying plus the same
            summand, [B, K].

    Returns:
        log (p_written + p_copied) but for that summand, [B, K, size].
    """
    shares = _shared_out(weights, slots.copyable.to(weights.dtype))
    with torch.autocast(weights.device.type, enabled=False):
        masses = torch.bmm(shares, slots.collects.to(weights.dtype))
    tiny = torch.finfo(masses.dtype).tiny  # where nothing is copied the logarithm has no derivative
    logs = torch.where(masses > 0, masses.clamp(min=tiny).log(), -torch.inf)
    log_masses = logs + log_leave[..., None]
    places = slots.places[:, None].expand(-1, weights.shape[1], -1)
    merged = torch.logaddexp(scores.gather(2, places), log_masses)
    if not scores.requires_grad:
        return scores.scatter_(2, places, merged)
    # Slots of the same id write the same value to one place, so one of them alone gets the gradient of it.
    again = (slots.places[:, :, None] == slots.places[:, None]).tril(-1).any(2)
    return scores.scatter(2, places, torch.where(again[:, None], merged.detach(), merged))
