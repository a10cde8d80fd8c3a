"""Turning word forms into numbers (word id, shape id, character ids), once for each distinct form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy

import numpy
import torch

from seqtool.errors import DataError
from seqtool.nn.forms import Forms
from seqtool.text.vocabulary import Vocabulary

LONGEST = 32  # characters of a form that the model reads: the first and the last 16 of a longer one
_RUN = re.compile(r"(.)\1{2,}")
_SPECIAL = ((re.compile(r"https?://|www\."), "<url>"), (re.compile(r"@\w"), "<mention>"))


def normalise(form: str, *, lowercase: bool, zero_digits: bool) -> str:
    """The vocabulary word under which a form is looked up.

    Args:
        form: A token as it is spelled.
        lowercase: Whether to lower-case it.
        zero_digits: Whether to replace every digit by 0.

    >>> normalise("Room101", lowercase=True, zero_digits=True)
    'room000'
    """
    if zero_digits:
        form = re.sub(r"\d", "0", form)
    return form.lower() if lowercase else form


def shape(form: str) -> str:
    """The shape of a word: X for upper case, x for lower case, d for digits, c for other letters.

    Other characters stay as they are, and runs of equal characters are shortened to two.

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
    """A table of the forms seen so far, one row each, which grows as new forms are looked up.

    Args:
        words: Word vocabulary.
        characters: Character vocabulary; id 0 is padding.
        shapes: Shape vocabulary.
        lowercase: Whether the word vocabulary is lower-cased.
        zero_digits: Whether digits are replaced by 0 in the word vocabulary.
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
        """An independent copy of the table."""
        result = copy(self)
        result._index, result._table = dict(self._index), self._table.copy()
        return result

    def __len__(self) -> int:
        return len(self._index)

    def clear(self) -> None:
        """Forget all forms."""
        self._index: dict[str, int] = {}
        # Columns: word id, shape id, number of characters, character ids.
        self._table = numpy.zeros((1024, LONGEST + 3), dtype=numpy.int32)

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
    """The form, or the two ends of one that is longer than `LONGEST` characters."""
    half = LONGEST // 2
    return form if len(form) <= LONGEST else form[:half] + form[-half:]


def count_forms(sentences: Iterable[Sequence[str]]) -> dict[str, int]:
    """How often each form occurs in the sentences."""
    counts: dict[str, int] = {}
    for tokens in sentences:
        for token in tokens:
            counts[token] = counts.get(token, 0) + 1
    return counts
