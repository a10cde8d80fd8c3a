"""`seqtool embed`: vectors of words and lines by models of every kind, in a stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqtool import api
from seqtool.cli.embed import HEADER
from seqtool.lm.reading import SentenceReader
from seqtool.tasks import EMBEDDINGS, TASKS
from seqtool.text.columns import TaggedSentence
from tests.cli.conftest import Tiny
from tests.cli.running import Inside, refused
from tests.lm import tiny as tiny_lm

TEXT = b"Ada lives in Paris.\n\nHopper saw Ada\n"


@pytest.fixture
def language_model(tmp_path: Path) -> Path:
    tiny_lm.untrained().save(tmp_path / "lm", card="")
    return tmp_path / "lm"


def values(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_words_of_a_tagger_get_the_states_of_its_encoder(inside: Inside, tiny: Tiny) -> None:
    found = values(inside("embed", "-m", tiny.run, "--of", "word", stdin=TEXT).out)
    tokens = ["Ada", "lives", "in", "Paris", "."]
    assert [(each["line"], each["word"], each["text"]) for each in found[:5]] == [
        (1, number, token) for number, token in enumerate(tokens, 1)
    ]
    assert [each["line"] for each in found[5:]] == [3, 3, 3]
    tagger = api.load_tagger(tiny.run)
    (batch,) = tagger.state_batches([TaggedSentence(tuple(tokens))])
    expected = batch.states[0].float()
    got = torch.tensor([each["vector"] for each in found[:5]])
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_every_line_gets_a_vector_even_a_blank_one(inside: Inside, tiny: Tiny) -> None:
    lines = values(inside("embed", "-m", tiny.run, stdin=TEXT).out)
    words = values(inside("embed", "-m", tiny.run, "--of", "word", stdin=TEXT).out)
    assert [each["line"] for each in lines] == [1, 2, 3] and set(lines[1]["vector"]) == {0.0}
    mean = np.mean([each["vector"] for each in words if each["line"] == 3], axis=0)
    assert lines[2]["vector"] == pytest.approx(mean, abs=1e-4)


def test_a_language_model_gives_its_state_after_the_line(inside: Inside, language_model: Path) -> None:
    text = b"the cat sat\nthe dog\n"
    lines = values(inside("embed", "-m", language_model, stdin=text).out)
    words = values(inside("embed", "-m", language_model, "--of", "word", stdin=text).out)
    assert lines[0]["vector"] == words[2]["vector"] and lines[1]["vector"] == words[4]["vector"]
    reader = SentenceReader.of(api.load_language_model(language_model))
    expected = reader.vectors([["the", "cat", "sat"]])[0].float().tolist()
    assert [each["vector"] for each in words[:3]] == [pytest.approx(row, abs=1e-5) for row in expected]


@pytest.mark.parametrize("unit", ["line", "word"])
def test_all_formats_hold_the_same_vectors(inside: Inside, tiny: Tiny, tmp_path: Path, unit: str) -> None:
    words = ("embed", "-m", tiny.run, "--of", unit)
    expected = [each["vector"] for each in values(inside(*words, stdin=TEXT).out)]
    rows = inside(*words, "--format", "tsv", stdin=TEXT).out.decode().splitlines()
    skipped = 2 if unit == "line" else 3
    assert [list(map(float, row.split("\t")[skipped:])) for row in rows] == expected
    outcome = inside(*words, "-o", "v.npy", stdin=TEXT)
    assert outcome.code == 0 and f"{len(expected)} vectors" in outcome.err
    array = np.load(tmp_path / "v.npy")
    assert array.dtype == np.float32 and array.shape == np.shape(expected)
    np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-6)
    assert (tmp_path / "v.npy").stat().st_size == HEADER + array.nbytes


def test_an_empty_input_gives_an_empty_array(inside: Inside, tiny: Tiny, tmp_path: Path) -> None:
    assert inside("embed", "-m", tiny.run, "-o", "v.npy", stdin=b"").code == 0
    assert np.load(tmp_path / "v.npy").shape[0] == 0


def test_vectors_do_not_depend_on_the_lines_around(inside: Inside, tiny: Tiny) -> None:
    many = TEXT * 40
    together = values(inside("embed", "-m", tiny.run, "--precision", "fp32", stdin=many).out)
    alone = values(inside("embed", "-m", tiny.run, "--precision", "fp32", stdin=TEXT).out)
    for number, each in enumerate(together):
        assert each["vector"] == pytest.approx(alone[number % 3]["vector"], abs=1e-5)


def test_an_array_is_no_text(inside: Inside, tiny: Tiny) -> None:
    refused(inside("embed", "-m", tiny.run, "--format", "npy", stdin=TEXT), 2, "embed", "give -o FILE.npy")


def test_every_task_can_be_embedded() -> None:
    assert EMBEDDINGS.keys() == TASKS.keys()


def test_a_backward_model_neither_writes_nor_scores_lines(inside: Inside, tmp_path: Path) -> None:
    tiny_lm.untrained(data={"direction": "backward"}).save(tmp_path / "back", card="")
    refused(
        inside("lm", "sample", "-m", "back"), 2, "lm sample", "reads text from its end", "cannot write text"
    )
    refused(inside("lm", "score", "-m", "back", stdin=TEXT), 2, "lm score", "reads text from its end")
    assert inside("embed", "-m", "back", stdin=b"the cat\n").code == 0
