"""Text in windows for truncated backpropagation through time.

A *group* is a number of rows that are read in parallel; its windows follow one another, and the state
is carried from each to the next. A stream is one group: the text in pieces of equal length, one per
row. Documents are grouped by length, and most groups have a single window.

With gradient accumulation or several processes, as many groups are read in parallel: an update takes
one window of each, in turn, so that a group always meets the process that has its state.
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
HALVED = 0.05  # share of windows with half the mean length, if lengths vary (Merity et al. 2018, section 4.1)


class Window(NamedTuple):
    """T steps of B rows."""

    inputs: Tensor  # symbols that are read, [B, T]
    targets: Tensor  # symbols to be predicted, [B, T]; PADDING after the end of a row
    fresh: bool  # whether the rows begin here, with a fresh state
    group: int  # which of the parallel groups it belongs to


class _Cut(NamedTuple):
    """Where a window lies in the rows of its group, from step `start` to before step `stop`."""

    rows: tuple[Ids, ...]  # each row: the symbol before it, then its own symbols
    start: int
    stop: int
    group: int


class TrainingWindows:
    """Makes the windows of an epoch, as a pure function of its number.

    Args:
        documents: Symbols of each document; a stream is a single one.
        is_stream: Whether the text is one stream, rather than documents that each begin with a fresh state.
        settings: The training settings.
        seed: Random seed of order, offsets and window lengths.
        parallel_groups: Number of groups that are read in parallel, at least 1.
        device: Device that the windows are moved to.

    Raises:
        DataError: the text is too short for the parallel groups.
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
            raise DataError(
                f"{self._total} symbols of training text; expected at least {2 * parallel_groups}, two for "
                "each batch of an update (training.accumulation x processes)"
            )
        self._order = _by_difficulty(self._documents, settings.curriculum)

    def __call__(self, epoch: int) -> LazyBatches[Window]:
        """The windows of one epoch, in the order of training.

        Args:
            epoch: Number of the epoch, from 0.
        """
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
        """The groups of a stream: its text, rotated by a random offset, in rows of equal length."""
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
        """The steps at which the windows of a row of `width` symbols end."""
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
        """The groups of an epoch: documents of similar length, the longest of each group first."""
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
        """Indices of the documents of an epoch.

        With a curriculum only the easiest documents are used, a share that grows with the epoch
        (Platanios et al. 2019); they repeat until they have as many symbols as all documents together.
        """
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
        """One window of each parallel group in turn; empty ones after the end of a shorter group."""
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
    """The tensors of a window."""
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
    """Indices of the documents, easiest first: by length, or by negative log unigram probability.

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
