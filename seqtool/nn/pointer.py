"""Copying from the source: attention as a distribution over symbols.

A source position stands for a symbol of the *extended* vocabulary: the target vocabulary, followed by those
symbols of this source that the vocabulary lacks. The ids of the latter are valid for their own sentence
only. Positions that cannot be copied (padding, the end) have the id `NOT_COPYABLE`.

Shapes: B sentences, K hypotheses per sentence, T target steps, S source positions.

Reference: See et al. 2017, section 2.2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NOT_COPYABLE = -1


def log_copy_of(weights: Tensor, symbols: Tensor, targets: Tensor) -> Tensor:
    """Log probability that copying produces each target.

    It sums the attention on all positions that have the symbol. The attention on positions that cannot be
    copied is distributed over those that can, in proportion to their own.

    Args:
        weights: Attention, [B, T, S]; each row sums to 1.
        symbols: Extended id of each source position, or `NOT_COPYABLE`, [B, S].
        targets: Extended ids, [B, T].

    Returns:
        Log probabilities, nats, [B, T]; -inf where no position has the symbol. Their gradient is finite
        everywhere.
    """
    copyable = (symbols != NOT_COPYABLE)[:, None]  # [B, 1, S]
    hits = (symbols[:, None] == targets[:, :, None]) & copyable  # [B, T, S]
    mass = (_renormalised(weights, copyable.to(weights.dtype)) * hits).sum(2)  # [B, T]
    possible = hits.any(2)  # [B, T]
    # The weight of a position with the symbol may underflow to 0: the smallest normal number replaces it.
    safe = torch.where(possible, mass.clamp(min=torch.finfo(mass.dtype).tiny), 1.0)
    return torch.where(possible, safe.log(), -torch.inf)


def _renormalised(weights: Tensor, copyable: Tensor) -> Tensor:
    """Attention renormalised over the positions that can be copied.

    Where these have no attention at all in floating point, they get equal shares.

    Args:
        weights: Attention, [B, K, S].
        copyable: 1 at positions that can be copied, else 0, [B, 1, S].

    Returns:
        Shares of the positions, [B, K, S]; 0 at positions that cannot be copied.
    """
    kept = weights * copyable
    total = kept.sum(2, keepdim=True)  # [B, K, 1]
    nothing = total < torch.finfo(total.dtype).tiny
    even = copyable / copyable.sum(2, keepdim=True).clamp(min=1.0)
    return torch.where(nothing, even, kept / total.masked_fill(nothing, 1.0))


class CopySlots(NamedTuple):
    """How the attention on source positions maps to the extended vocabulary; computed once per source."""

    places: Tensor  # id that each slot stands for, [B, S]; slots with one id hold the same mass
    collects: Tensor  # 1 where position s (row) counts for slot j (column), else 0, [B, S, S]
    copyable: Tensor  # 1 at positions that can be copied, else 0, [B, 1, S]


def copy_slots(symbols: Tensor) -> CopySlots:
    """Slots for sources with the extended ids `symbols`, [B, S].

    Slot j is for the symbol at position j, so a repeated symbol has several slots, each with the symbol's
    whole mass: scattering all of them to one place has the effect of scattering one.
    """
    copyable = symbols != NOT_COPYABLE  # [B, S]
    # A position that cannot be copied duplicates the slot of the first one that can.
    first = copyable.to(torch.uint8).argmax(1, keepdim=True)  # [B, 1]
    places = torch.where(copyable, symbols, symbols.gather(1, first)).clamp(min=0)
    collects = (symbols[:, :, None] == places[:, None]) & copyable[:, :, None]  # [B, S, S]
    return CopySlots(places, collects.float(), copyable[:, None].float())


def merge_copies(scores: Tensor, weights: Tensor, slots: CopySlots, log_leave: Tensor) -> Tensor:
    """Add the copied mass to scores of the extended vocabulary; in place if no gradient is needed.

    Args:
        scores: Log probabilities up to an additive constant per row, nats, [B, K, size].
        weights: Attention, [B, K, S].
        slots: Slots of these sentences.
        log_leave: Score of a copied mass of 1: the log probability of copying plus the same additive
            constant, nats, [B, K].

    Returns:
        log (p_written + p_copied) up to the same additive constant, nats, [B, K, size].
    """
    shares = _renormalised(weights, slots.copyable.to(weights.dtype))  # [B, K, S]
    with torch.autocast(weights.device.type, enabled=False):
        masses = torch.bmm(shares, slots.collects.to(weights.dtype))  # of the slots, [B, K, S]
    tiny = torch.finfo(masses.dtype).tiny  # at a mass of 0 the logarithm has no finite derivative
    logs = torch.where(masses > 0, masses.clamp(min=tiny).log(), -torch.inf)
    log_masses = logs + log_leave[..., None]  # [B, K, S]
    places = slots.places[:, None].expand(-1, weights.shape[1], -1)  # [B, K, S]
    merged = torch.logaddexp(scores.gather(2, places), log_masses)  # [B, K, S]
    if not scores.requires_grad:
        return scores.scatter_(2, places, merged)
    # Slots with one id write the same value to one place, so only the first of them gets its gradient.
    again = (slots.places[:, :, None] == slots.places[:, None]).tril(-1).any(2)  # [B, S]
    return scores.scatter(2, places, torch.where(again[:, None], merged.detach(), merged))
