"""Word forms to numbers: word id, shape id and characters, computed once for each distinct form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy

import numpy
import torch

from seqtool.errors import DataError
from seqtool.nn.forms import Forms
from seqtool.text.vocabulary import Vocabulary

LONGEST = 32  # characters of a form that the model reads; of a longer one both halves of the ends
_RUN = re.compile(r"(.)\1{2,}")
_SPECIAL = ((re.compile(r"https?://|www\."), "<url>"), (re.compile(r"@\w"), "<mention>"))


def normalise(form: str, *, lowercase: bool, zero_digits: bool) -> str:
    """The word whose embedding a form uses.

    >>> normalise("Room101", lowercase=True, zero_digits=True)
    'room000'
    """
    if zero_digits:
        form = re.sub(r"\d", "0", form)
    return form.lower() if lowercase else form


def shape(form: str) -> str:
    """Upper case X, lower case x, digits d, other letters c, the rest as it is; runs cut to two.

    >>> shape("McDonald's"), shape("2026-11-21"), shape("#NYC"), shape("@ada")
    ("XxXxx'x", 'dd-dd-dd', '#XX', '<mention>')
    """
    for pattern, name in _SPECIAL:
        if pattern.match(form):
            return name
    return _RUN.sub(r"\1\1", "".join(map(_character_class, form[:LONGEST])))


def _character_class(character: str) -> str:
    if character.isupper():
        return "X"
    if character.islower():
        return "x"
    if character.isdigit():
        return "d"
    return "c" if character.isalpha() else character


class FormTable:
    """Forms seen so far with their numbers; grows as new ones come.

    Args:
        words: Word vocabulary.
        characters: Character vocabulary; id 0 is padding.
        shapes: Shape vocabulary.
        lowercase: Whether the word vocabulary is lower-cased.
        zero_digits: Whether its digits are 0.
    """

    def __init__(
        self,
        words: Vocabulary,
        characters: Vocabulary,
        shapes: Vocabulary,
        *,
        lowercase: bool,
        zero_digits: bool,
    ) -> None:
        self._vocabularies = words, characters, shapes
        self._lowercase, self._zero_digits = lowercase, zero_digits
        self.clear()

    def copy(self) -> FormTable:
        """A table with the same forms, which grows by itself."""
        result = copy(self)
        result._index, result._table = dict(self._index), self._table.copy()
        return result

    def __len__(self) -> int:
        return len(self._index)

    def clear(self) -> None:
        """Forget all forms."""
        self._index: dict[str, int] = {}
        self._table = numpy.zeros((1024, LONGEST + 3), dtype=numpy.int32)  # word, shape, length, characters

    def indices(self, tokens: Sequence[str]) -> numpy.ndarray:
        """Row of each token in the table, [T]; new forms are added.

        Raises:
            DataError: a token without characters.
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
        """The forms of some rows, as tensors."""
        table = self._table[numbers]
        lengths = table[:, 2]
        columns = torch.from_numpy(table[:, : 3 + int(lengths.max())].astype(numpy.int64))
        return Forms(columns[:, 0], columns[:, 1], columns[:, 3:], columns[:, 2])

    def _add(self, form: str) -> None:
        if not form:
            raise DataError("an empty token; each needs at least one character")
        words, characters, shapes = self._vocabularies
        row = len(self._index)
        if row == len(self._table):
            self._table = numpy.concatenate([self._table, numpy.zeros_like(self._table)])
        ids = [characters.id(character) for character in clipped(form)]
        word = normalise(form, lowercase=self._lowercase, zero_digits=self._zero_digits)
        self._table[row] = 0
        self._table[row, :3] = words.id(word), shapes.id(shape(form)), len(ids)
        self._table[row, 3 : 3 + len(ids)] = ids
        self._index[form] = row


def clipped(form: str) -> str:
    """A form of at most `LONGEST` characters: of a longer one, the two ends."""
    half = LONGEST // 2
    return form if len(form) <= LONGEST else form[:half] + form[-half:]


def count_forms(sentences: Iterable[Sequence[str]]) -> dict[str, int]:
    """How often each form stands in the sentences."""
    counts: dict[str, int] = {}
    for tokens in sentences:
        for token in tokens:
            counts[token] = counts.get(token, 0) + 1
    return counts
