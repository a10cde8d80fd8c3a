"""The vectors of tokens equal stepping the language model by hand, however sentences are batched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.lm import reading
from seqtool.lm.data import read_files, reversed_lines
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.reading import SentenceReader, load_reader
from seqtool.lm.settings import DataSettings
from seqtool.lm.vocabulary import START
from tests.lm.tiny import TEXT, untrained

SENTENCES = [
    ["the", "cat", "sat", "on", "the", "mat"],
    ["a"],
    ["naïve", "café", "𝄞", "€", "?"],
    ["the", "Zebra", "and", "the", "dogs"],  # with characters and words that the model does not know
]
KINDS: list[dict[str, Any]] = [
    {},
    {"kind": "byte"},
    {"kind": "word"},
    {"kind": "sentencepiece", "size": 40},
    {"byte_fallback": True},
]


def state_after(model: LanguageModel, text: str) -> Tensor:
    """State of the top layer after the start symbol and each symbol of a text, one step at a time, [H]."""
    states = model.network.initial(1)
    for symbol in [START, *model.symbols.encode(text).tolist()]:
        with torch.no_grad():
            outputs, states = model.network(torch.tensor([[symbol]]), states)
    return outputs.states[0, 0]


def by_hand(model: LanguageModel, tokens: list[str]) -> Tensor:
    """For each token the state after all text up to its end in the direction of reading, [T, H]."""
    if model.description.data.direction == "forward":
        return torch.stack([state_after(model, " ".join(tokens[: n + 1])) for n in range(len(tokens))])
    return torch.stack([state_after(model, " ".join(tokens[n:])[::-1]) for n in range(len(tokens))])


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_vectors_are_the_states_of_the_model_stepped_by_hand(direction: str, kind: dict[str, Any]) -> None:
    text = reversed_lines(TEXT) if direction == "backward" else TEXT
    model = untrained(text, vocabulary=kind, data={"direction": direction})
    found = SentenceReader.of(model).vectors(SENTENCES)
    for tokens, vectors in zip(SENTENCES, found, strict=True):
        torch.testing.assert_close(vectors, by_hand(model, tokens), rtol=0, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize(("chunk", "budget"), [(1, 1), (3, 50), (7, 10_000)])
def test_neither_batches_nor_pieces_change_the_vectors(
    monkeypatch: pytest.MonkeyPatch, direction: str, chunk: int, budget: int
) -> None:
    reader = SentenceReader.of(untrained(data={"direction": direction}))
    alone = [reader.vectors([tokens])[0] for tokens in SENTENCES]
    monkeypatch.setattr(reading, "CHUNK", chunk)
    monkeypatch.setattr(reading, "BUDGET", budget)
    for expected, found in zip(alone, reader.vectors(SENTENCES), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_text_is_normalised_as_the_model_reads_it() -> None:
    model = untrained(data={"lowercase": True, "normalization": "NFC"})
    reader = SentenceReader.of(model)
    (plain,), (shouted,) = reader.vectors([["the", "café"]]), reader.vectors([["THE", "CAFE\u0301"]])
    assert torch.equal(plain, shouted)


def test_a_reader_is_frozen_and_never_in_training_mode() -> None:
    reader = SentenceReader.of(untrained())
    assert not any(parameter.requires_grad for parameter in reader.parameters())
    assert not torch.nn.Sequential(reader).train()[0].network.training


def test_the_digest_is_that_of_the_weights(tmp_path: Path) -> None:
    model = untrained()
    before = SentenceReader.of(model).digest
    model.save(tmp_path / "m", card="")
    assert load_reader(tmp_path / "m", torch.device("cpu")).double().digest == before
    with torch.no_grad():
        model.network.embedding.weight[5, 0] += 1e-9
    assert SentenceReader.of(model).digest != before


def test_a_text_is_turned_round_and_its_lines_keep_their_ends() -> None:
    assert reversed_lines("ab\ncd\n") == "dc\nba\n" and reversed_lines("ab\n\ncd") == "dc\n\nba"
    for text in (TEXT, "", "\n", "\n\n", "a", "ab\n\n"):
        assert reversed_lines(reversed_lines(text)) == text


@pytest.mark.parametrize("documents", ["stream", "file", "line", "paragraph"])
def test_a_backward_model_reads_all_files_from_the_end(tmp_path: Path, documents: str) -> None:
    (tmp_path / "1.txt").write_text("one two\nthree\n")
    (tmp_path / "2.txt").write_text("\nfour\n")
    data = DataSettings.model_validate({"documents": documents, "direction": "backward"})
    assert "".join(read_files([tmp_path], data).documents) == "ruof\n\n" + "eerht\nowt eno\n"
