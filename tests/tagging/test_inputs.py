"""What a tagger reads beside the words: feature columns, pretrained vectors."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool import api
from seqtool.errors import DataError, SettingsError
from seqtool.nn.embeddings import uniform_embedding
from seqtool.tagging.prediction import TaggerModel
from seqtool.text.columns import TaggedSentence
from seqtool.training.job import TrainedRun
from tests.tagging.tiny_tagger import (
    tokens_of,
    train_tiny,
)

# --- feature columns ---


# The tag is to be read from the second column alone.
COLUMNS = [[("x", "up", "B-A"), ("x", "down", "O")], [("x", "down", "O"), ("x", "up", "B-A")]] * 3


def test_extra_columns_are_used_and_stored(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, COLUMNS, data={"feature_columns": [2]}, training={"epochs": 30})
    assert run.result.metrics["f1"] == 1.0
    loaded = api.load(tmp_path / "run", device="cpu")
    assert loaded.description.data.feature_columns == [2]
    assert loaded.vocabularies.features[0].symbols == ("<unk>", "down", "up")
    found = loaded.predict([TaggedSentence(("x", "x", "x"), None, (("up", "down", "up"),))])
    assert found[0].tags == ["B-A", "O", "B-A"]
    with pytest.raises(DataError, match="0 feature columns, but the model reads 1"):
        loaded.tag([["x"]])


def test_without_their_column_the_same_sentences_cannot_be_learned(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, COLUMNS, training={"epochs": 30})
    assert run.result.metrics["f1"] < 1.0


# --- pretrained vectors ---


VECTORS = "".join(
    f"{word} {' '.join(str(value + i) for i in range(8))}\n"
    for value, word in enumerate(["ada", "in", "zzz"])
)


def trained_on_vectors(folder: Path, name: str = "v.txt", **vocabulary: Any) -> TrainedRun[TaggerModel]:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(gzip.compress(VECTORS.encode()) if name.endswith(".gz") else VECTORS.encode())
    return train_tiny(folder, vocabulary={"pretrained": str(path), **vocabulary})


def word_vector(run: TrainedRun[TaggerModel], word: str) -> torch.Tensor:
    words = run.model.network.forms.words
    assert words is not None
    return words.weight.detach()[run.model.vocabularies.words.id(word)]


@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz"])
def test_frozen_vectors_are_those_of_the_file_up_to_one_scale(tmp_path: Path, name: str) -> None:
    run = trained_on_vectors(tmp_path, name, freeze_pretrained=True)
    first = word_vector(run, "ada") / torch.arange(8.0)
    assert first[1:].std() < 1e-6
    second = word_vector(run, "in") / torch.arange(1.0, 9.0)
    torch.testing.assert_close(second, first[1].expand(8))
    assert "zzz" not in run.model.vocabularies.words  # the vocabulary is that of the training part


def test_vectors_that_are_not_frozen_are_trained(tmp_path: Path) -> None:
    run = trained_on_vectors(tmp_path)
    ratio = word_vector(run, "in") / torch.arange(1.0, 9.0)
    assert ratio.std() > 1e-4


def test_words_without_a_vector_start_as_they_would_have(tmp_path: Path) -> None:
    frozen = trained_on_vectors(tmp_path, freeze_pretrained=True)
    torch.manual_seed(1)
    words = uniform_embedding(len(frozen.model.vocabularies.words), 8)
    index = frozen.model.vocabularies.words.id("turing")
    assert torch.equal(word_vector(frozen, "turing"), words.weight.detach()[index])


def test_vectors_of_another_width_are_an_error_that_says_what_to_set(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("ada 1 2 3\nin 4 5 6\n")
    with pytest.raises(SettingsError, match=r"word_embedding = 8, .* width 3; set model\.word_embedding=3"):
        train_tiny(tmp_path, vocabulary={"pretrained": str(path)})


def test_a_model_does_not_need_its_vectors_any_more(tmp_path: Path) -> None:
    run = trained_on_vectors(tmp_path)
    (tmp_path / "v.txt").unlink()
    assert api.load(tmp_path / "run", device="cpu").tag(tokens_of()) == run.model.tag(tokens_of())
