"""Reading sentences with a trained language model: the vector of each token, for the models of other wings.

The state of a language model after the last character of a word depends on the word and on all that stands
before it; that of a model that reads from the end, on the word and all that stands after it. Side by side
they describe the word in its context (contextual string embeddings; Akbik et al. 2018, section 2.2). A
sentence is read as one line, with single spaces between its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from seqtool.errors import ModelError, SettingsError
from seqtool.lm.data import normalised
from seqtool.lm.loaded import LoadedLanguageModel
from seqtool.lm.model import LanguageNetwork
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.settings import DataSettings, ModelSettings
from seqtool.lm.vocabulary import FILE, PADDING, START, Ids, Symbols
from seqtool.models.tensors import weights_digest
from seqtool.settings import Settings, validate
from seqtool.text.batching import prediction_batches

CHUNK = 1024  # symbols of a sentence that are read at a time, which bounds memory for sentences of any length
BUDGET = 32_768  # symbols of all sentences that are read at a time


class ReaderDescription(Settings):
    """A language model that is part of another model, as in the configuration of the latter."""

    model: ModelSettings
    direction: Literal["forward", "backward"]
    normalization: Literal["none", "NFC", "NFKC"]
    lowercase: bool


class _Places(NamedTuple):
    """The symbols of a sentence, and after how many of them the vector of each token is read."""

    ids: Ids  # [n]
    ends: np.ndarray  # in [0, n], [T]


class SentenceReader(nn.Module):
    """A frozen language model that reads tokenised sentences.

    Args:
        network: The network of the language model.
        symbols: Its symbols.
        description: How it reads text.
    """

    def __init__(self, network: LanguageNetwork, symbols: Symbols, description: ReaderDescription) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.symbols = symbols
        self.description = description
        self._data = DataSettings(
            normalization=description.normalization,
            lowercase=description.lowercase,
            direction=description.direction,
        )

    @classmethod
    def of(cls, model: LoadedLanguageModel) -> Self:
        """The reader of a trained language model."""
        data = model.description.data
        found = ReaderDescription(
            model=model.description.model,
            direction=data.direction,
            normalization=data.normalization,
            lowercase=data.lowercase,
        )
        return cls(model.network, model.symbols, found)

    @property
    def outputs(self) -> int:
        """Length H of the vector of a token."""
        return self.description.model.hidden

    @property
    def digest(self) -> str:
        """SHA-256 of the weights, hexadecimal."""
        return weights_digest(self.network)

    def train(self, mode: bool = True) -> Self:
        """A reader is always in evaluation mode, whatever contains it."""
        return super().train(False)

    @torch.inference_mode()
    def vectors(self, sentences: Sequence[Sequence[str]]) -> list[Tensor]:
        """The vectors of the tokens of each sentence, [T, H] each, on the device of the network.

        They depend on nothing but the sentence, apart from the rounding of sums in batches of other sizes.

        Args:
            sentences: Tokens of each sentence, at least one.
        """
        places = [self._places(tokens) for tokens in sentences]
        lengths = [len(place.ids) + 1 for place in places]
        like = self.network.embedding.weight
        found = [like.new_zeros(len(tokens), self.outputs) for tokens in sentences]
        capped = [min(length, CHUNK) for length in lengths]
        for part in prediction_batches(capped, budget=BUDGET):
            rows = sorted(part, key=lambda i: -lengths[i])
            for first, states in self._states([places[i].ids for i in rows]):
                for row, values in zip(rows, states, strict=False):
                    ends = places[row].ends
                    here = (ends >= first) & (ends < first + values.shape[0])
                    if here.any():
                        found[row][torch.from_numpy(here)] = values[torch.from_numpy(ends[here] - first)].to(
                            like
                        )
        return found

    def _states(self, rows: Sequence[Ids]) -> Iterator[tuple[int, Tensor]]:
        """States of the top layer, [rows that are so long, steps, H], and the number of the first step.

        Args:
            rows: Symbols of sentences, the longest first; the start symbol is put before each.
        """
        network, device = self.network, self.network.embedding.weight.device
        lengths = [len(row) + 1 for row in rows]
        states = network.initial(len(rows))
        for first in range(0, lengths[0], CHUNK):
            left = sum(length > first for length in lengths)
            width = min(CHUNK, lengths[0] - first)
            inputs = np.full((left, width), PADDING, np.int64)
            for number, row in enumerate(rows[:left]):
                piece = row[max(first - 1, 0) : first - 1 + width]
                skipped = 0 if first else 1
                inputs[number, skipped : skipped + len(piece)] = piece
            if not first:
                inputs[:, 0] = START
            states = [tuple(part[:left] for part in layer) for layer in states]
            outputs, states = network(torch.from_numpy(inputs).to(device), states)
            yield first, outputs.states

    def _places(self, tokens: Sequence[str]) -> _Places:
        """The symbols of a sentence, and where its tokens end in the direction of reading."""
        turned = self._data.direction == "backward"
        # Words and subwords never reach over a space, so the symbols of a sentence are those of its tokens.
        space = "" if self.symbols.by_lines else " "
        pieces = [
            self.symbols.encode((space if number else "") + normalised(token, self._data))
            for number, token in enumerate(reversed(tokens) if turned else tokens)
        ]
        ends = np.cumsum([len(piece) for piece in pieces])
        return _Places(np.concatenate(pieces), ends[::-1].copy() if turned else ends)


def load_reader(path: Path, device: torch.device) -> SentenceReader:
    """The reader of a trained language model.

    Args:
        path: Its model folder or run folder.
        device: Device that it shall run on.

    Raises:
        UsageError: there is no such folder.
        ModelError: the model is damaged, or no language model.
    """
    return SentenceReader.of(LanguageModel.load(path, device=str(device))).to(device)


def reader_files(readers: Iterable[SentenceReader]) -> dict[str, bytes]:
    """The vocabulary files of readers in the folder of the model that they are part of, by file name."""
    return {
        _file(number): raw
        for number, reader in enumerate(readers, 1)
        for raw in reader.symbols.to_files().values()
    }


def built_readers(
    descriptions: Sequence[Mapping[str, Any]], files: Mapping[str, bytes], where: str
) -> list[SentenceReader]:
    """Readers with the vocabularies of a model folder, whose weights are still to be restored.

    Args:
        descriptions: What the folder says about each: a `ReaderDescription` as JSON values.
        files: Its vocabulary files.
        where: The folder, for messages.

    Raises:
        ModelError: a description or a vocabulary is missing or damaged.
    """
    found = []
    for number, values in enumerate(descriptions, 1):
        try:
            description = validate(ReaderDescription, dict(values), "config.json")
        except SettingsError as error:
            raise ModelError(f"{where}: damaged or foreign: {error}") from error
        raw = {FILE: files[_file(number)]} if _file(number) in files else {}
        symbols = Symbols.from_files(raw, f"{where}: {_file(number)}")
        network = LanguageNetwork(len(symbols), description.model, symbols.impossible)
        found.append(SentenceReader(network, symbols, description))
    return found


def _file(number: int) -> str:
    return f"reader-{number}.vocabulary"
