"""Turning word forms into numbers (word, shape, characters, lexical features), once per distinct form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy

import numpy
import torch

from seqtool.errors import DataError
from seqtool.nn.forms import Forms
from seqtool.nn.lexical import LexicalFeatures
from seqtool.text.lexical import SLOTS, SLOTS_AROUND, Lexicon, LexiconLookup
from seqtool.text.shapes import LONGEST, clipped, shape
from seqtool.text.vocabulary import Vocabulary

_DIGIT = re.compile(r"\d")
_CHARACTERS = 3  # column of a form table that the ids of characters begin at


def normalise(form: str, *, lowercase: bool, zero_digits: bool) -> str:
    """The vocabulary word under which a form is looked up.

    Args:
        form: A token as it is spelled.
        lowercase: Whether to lower-case it.
        zero_digits: Whether to replace every digit by 0.

    >>> normalise("Room101", lowercase=True, zero_digits=True)
    'room000'
    """
    if zero_digits and not form.isalpha():  # most words have no digit, which this finds out much faster
        form = _DIGIT.sub("0", form)
    return form.lower() if lowercase else form


class FormTable:
    """A table of the forms seen so far, one row each, which grows as new forms are looked up.

    Args:
        words: Word vocabulary.
        characters: Character vocabulary; id 0 is padding.
        shapes: Shape vocabulary.
        lexicon: Vocabularies of lexical features; None = there are none.
        lowercase: Whether the word vocabulary is lower-cased.
        zero_digits: Whether digits are replaced by 0 in the word vocabulary.
    """

    def __init__(
        self,
        words: Vocabulary,
        characters: Vocabulary,
        shapes: Vocabulary,
        lexicon: Lexicon | None = None,
        *,
        lowercase: bool,
        zero_digits: bool,
    ) -> None:
        self._vocabularies = words, characters, shapes
        self._lexical = None if lexicon is None else LexiconLookup(lexicon)
        self._lowercase, self._zero_digits = lowercase, zero_digits
        self.clear()

    def copy(self) -> FormTable:
        """An independent copy of the table."""
        result = copy(self)
        result._index, result._table = dict(self._index), self._table.copy()
        result._features = self._features.copy()
        return result

    def __len__(self) -> int:
        return len(self._index)

    def clear(self) -> None:
        """Forget all forms."""
        self._index: dict[str, int] = {}
        # Columns: word id, shape id, number of characters, character ids.
        self._table = numpy.zeros((1024, _CHARACTERS + LONGEST), dtype=numpy.int32)
        # Ids of lexical features for the own tag, then for the tags around.
        slots = 0 if self._lexical is None else SLOTS + SLOTS_AROUND
        self._features = numpy.zeros((1024, slots), dtype=numpy.int32)

    def indices(self, tokens: Sequence[str]) -> numpy.ndarray:
        """Row of each token in the table, [T]; new forms are added.

        Raises:
            DataError: a token is empty.
        """
        index = self._index
        try:
            return numpy.fromiter(map(index.__getitem__, tokens), numpy.int32, len(tokens))
        except KeyError:
            for token in tokens:
                if token not in index:
                    self._add(token)
        return numpy.fromiter(map(index.__getitem__, tokens), numpy.int32, len(tokens))

    def rows(self, numbers: numpy.ndarray) -> Forms:
        """The forms in the given rows of the table, as tensors."""
        table = torch.from_numpy(self._table[numbers].astype(numpy.int64))
        end = _CHARACTERS + int(table[:, 2].max())
        features = torch.from_numpy(self._features[numbers].astype(numpy.int64))
        lexical = LexicalFeatures(features[:, :SLOTS], features[:, SLOTS:])
        return Forms(table[:, 0], table[:, 1], table[:, _CHARACTERS:end], table[:, 2], lexical)

    def _add(self, form: str) -> None:
        if not form:
            raise DataError("an empty token; each needs at least one character")
        words, characters, shapes = self._vocabularies
        row = len(self._index)
        if row == len(self._table):
            self._table, self._features = _doubled(self._table), _doubled(self._features)
        ids = characters.ids(clipped(form))
        word = normalise(form, lowercase=self._lowercase, zero_digits=self._zero_digits)
        # One list for the whole row: each assignment of a part would cost as much as all of it.
        values = [words.id(word), shapes.id(shape(form)), len(ids), *ids]
        self._table[row, : len(values)] = values
        self._table[row, len(values) :] = 0
        if self._lexical is not None:
            own, around = self._lexical(form)
            own += [0] * (SLOTS - len(own))
            own += around
            own += [0] * (SLOTS + SLOTS_AROUND - len(own))
            self._features[row] = own
        self._index[form] = row


def _doubled(table: numpy.ndarray) -> numpy.ndarray:
    """The table with room for twice as many rows."""
    return numpy.concatenate([table, numpy.zeros_like(table)])


def count_forms(sentences: Iterable[Sequence[str]]) -> dict[str, int]:
    """How often each form occurs in the sentences."""
    counts: dict[str, int] = {}
    for tokens in sentences:
        for token in tokens:
            counts[token] = counts.get(token, 0) + 1
    return counts
