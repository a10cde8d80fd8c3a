"""Text in windows for truncated back-propagation through time.

A *group* is a number of rows side by side; its windows follow one another, and the state goes from
each to the next. Of a stream there is one group: the text in equal pieces, one below the other. Of
documents there is a group for every few of nearly equal length, and most have a single window.

With accumulation or several processes, that many groups go on parallel_groups: the loop takes one window of
each for an update, so a group always meets the process that has its state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqtool.errors import DataError
from seqtool.lm.settings import LanguageModelTraining
from seqtool.lm.vocabulary import PADDING, START, Ids
from seqtool.text.batching import LazyBatches, training_batches

LEAST_COMPETENCE = 0.1  # share of the documents that a curriculum begins with
HALVED = 0.05  # share of the windows that jitter halves (Merity et al. 2018, section 4.1)


class Window(NamedTuple):
    """Some steps of some rows."""

    inputs: Tensor  # [B, T]
    targets: Tensor  # [B, T]; PADDING where there is none
    fresh: bool  # whether the state starts anew
    group: int  # which of the groups parallel_groups it belongs to


class _Cut(NamedTuple):
    """A window that is not made yet."""

    rows: tuple[Ids, ...]  # each: the symbol before, then the row's own
    start: int
    stop: int
    group: int


class TrainingWindows:
    """The windows of an epoch, a pure function of its number.

    Args:
        documents: Ids of each; one alone is a stream.
        is_stream: Whether the state goes on from one epoch's row to its end, with no document between.
        settings: Of the training.
        seed: Of order, offsets and lengths.
        parallel_groups: Groups that go on side by side.
        device: Where the windows go.

    Raises:
        DataError: too little text for one row.
    """

    def __init__(
        self,
        documents: Sequence[Ids],
        *,
        is_stream: bool,
        settings: LanguageModelTraining,
        seed: int,
        parallel_groups: int,
        device: torch.device,
    ) -> None:
        self._documents, self._is_stream = [ids for ids in documents if len(ids)], is_stream
        self._settings = settings
        self._seed, self._parallel_groups, self._device = seed, parallel_groups, device
        self._total = sum(map(len, documents))
        if self._total < 2 * parallel_groups:
            raise DataError(f"{self._total} symbols of training text; expected more")
        self._order = _by_difficulty(self._documents, settings.curriculum)

    def __call__(self, epoch: int) -> LazyBatches[Window]:
        """The windows of epoch `epoch`, from 0."""
        random = np.random.default_rng((self._seed, epoch))
        if self._is_stream:
            groups = self._stream(random)
            ends = self._ends(len(groups[0][0]) - 1, random)
            cuts = [
                _Cut(group, start, stop, number)
                for start, stop in zip([0, *ends], ends, strict=False)
                for number, group in enumerate(groups)
            ]
        else:
            cuts = self._interleaved(self._groups(epoch, random), random)
        sizes = [len(cut.rows) * (cut.stop - cut.start) for cut in cuts]
        return LazyBatches(sizes, lambda number: _window(cuts[number], self._device))

    def _stream(self, random: np.random.Generator) -> list[tuple[Ids, ...]]:
        """The text from some place on, round to that place again, in equal rows."""
        (ids,) = self._documents
        rows = max(self._settings.batch_tokens // self._settings.window, 1) * self._parallel_groups
        rows = max(min(rows, len(ids) // self._settings.window), self._parallel_groups)
        rows -= rows % self._parallel_groups
        width = len(ids) // rows
        begin = int(random.integers(len(ids)))
        turned = np.concatenate([[ids[begin - 1] if begin else START], ids[begin:], ids[:begin]])
        pieces = [turned[row * width : (row + 1) * width + 1].astype(np.int32) for row in range(rows)]
        each = rows // self._parallel_groups
        return [tuple(pieces[first : first + each]) for first in range(0, rows, each)]

    def _ends(self, width: int, random: np.random.Generator) -> list[int]:
        """Where the windows of a row end."""
        window, jitter = self._settings.window, self._settings.window_jitter
        if not jitter:
            return [*range(window, width, window), width]
        ends: list[int] = []
        while not ends or ends[-1] < width:
            mean = window / 2 if random.random() < HALVED else window
            length = max(round(random.normal(mean, jitter * window)), min(5, window))
            ends.append(min((ends[-1] if ends else 0) + length, width))
        return ends

    def _groups(self, epoch: int, random: np.random.Generator) -> list[tuple[Ids, ...]]:
        """Documents of nearly equal length together, the longest first."""
        chosen = self._allowed(epoch, random)
        lengths = [len(self._documents[i]) for i in chosen]
        window = self._settings.window
        parts = training_batches(
            [min(length, window) for length in lengths],
            ties=lengths,
            budget=self._settings.batch_tokens,
            seed=self._seed,
            epoch=epoch,
        )
        groups = []
        for part in parts:
            ids = sorted((self._documents[chosen[i]] for i in part), key=len, reverse=True)
            groups.append(tuple(np.concatenate([[START], each]).astype(np.int32) for each in ids))
        return groups

    def _allowed(self, epoch: int, random: np.random.Generator) -> list[int]:
        """The documents of an epoch: as many symbols as all have, of those that are easy enough."""
        settings = self._settings
        if settings.curriculum == "none":
            return list(range(len(self._documents)))
        share = epoch / max(settings.epochs * settings.curriculum_share, 1.0)
        least = LEAST_COMPETENCE**2
        competence = min(math.sqrt(least + share * (1.0 - least)), 1.0)
        easy = self._order[: max(round(competence * len(self._order)), 1)]
        chosen: list[int] = []
        symbols = 0
        while symbols < self._total:
            for number in random.permutation(easy).tolist():
                chosen.append(number)
                symbols += len(self._documents[number])
                if symbols >= self._total:
                    break
        return chosen

    def _interleaved(self, groups: Sequence[tuple[Ids, ...]], random: np.random.Generator) -> list[_Cut]:
        """Windows of groups in turn; a group that ends before its neighbours goes on empty."""
        window, cuts = self._settings.window, []
        nothing: tuple[Ids, ...] = (np.array([START, PADDING], np.int32),)
        groups = list(groups)
        order = np.arange(0, len(groups), self._parallel_groups)
        if (
            self._parallel_groups > 1
        ):  # neighbours with as many windows; the order of the batches stays random
            groups += [nothing] * (-len(groups) % self._parallel_groups)
            groups.sort(key=lambda group: (len(group[0]) - 2) // window)
            random.shuffle(order)
        for first in order.tolist():
            side_by_side = groups[first : first + self._parallel_groups]
            steps = max(len(group[0]) - 1 for group in side_by_side)
            for start in range(0, steps, window):
                for number, group in enumerate(side_by_side):
                    left = tuple(row for row in group if len(row) - 1 > start)
                    longest = max((len(row) - 1 for row in left), default=0)
                    if left:
                        cuts.append(_Cut(left, start, min(start + window, longest), number))
                    else:
                        cuts.append(_Cut(nothing, 0, 1, number))
        return cuts


def _window(cut: _Cut, device: torch.device) -> Window:
    rows, start, stop, group = cut
    inputs = np.full((len(rows), stop - start), PADDING, np.int64)
    targets = inputs.copy()
    for place, row in enumerate(rows):
        steps = min(stop, len(row) - 1) - start
        inputs[place, :steps] = row[start : start + steps]
        targets[place, :steps] = row[start + 1 : start + 1 + steps]
    return Window(
        torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device), start == 0, group
    )


def _by_difficulty(documents: Sequence[Ids], curriculum: str) -> list[int]:
    """The documents, easiest first: short ones, or those with little surprise in all.

    Reference: Platanios et al. 2019, section 3.1 (sentence length, sentence rarity).
    """
    if curriculum == "none":
        return []
    if curriculum == "length":
        difficulty = [float(len(ids)) for ids in documents]
    else:
        counts = np.bincount(np.concatenate(documents))
        surprise = -np.log(np.maximum(counts, 1) / counts.sum())
        difficulty = [float(surprise[ids].sum()) for ids in documents]
    return sorted(range(len(documents)), key=lambda i: (difficulty[i], i))
