"""The score of a text depends on the text alone, not on the pieces it is read in or on its neighbours."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.lm.model import LanguageNetwork
from seqtool.lm.scoring import CHUNK, Reader, cold_rows, score_rows, warmed_rows
from seqtool.lm.vocabulary import START, Ids
from tests.lm.tiny_text import CPU, network_of, random_ids

VARIANTS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "learned start": {"learned_start": True},
    "adaptive": {"adaptive": True},
}
every = pytest.mark.parametrize("name", VARIANTS)


def log_probabilities(network: LanguageNetwork, row: Ids) -> np.ndarray:
    """Scores of a row's own symbols, read in one piece."""
    symbols = torch.from_numpy(row.astype(np.int64))
    with torch.no_grad():
        outputs, _ = network(symbols[None, :-1], network.initial(1))
        whole = network.log_probabilities(outputs.features[0])
    return whole.gather(1, symbols[1:, None])[:, 0].double().numpy()


def row_of(length: int, seed: int, first: int = START) -> Ids:
    return np.concatenate([[first], random_ids(length, seed=seed)]).astype(np.int32)


# --- one text in pieces ---


@every
def test_the_loss_of_a_text_is_the_same_in_pieces_of_any_size(name: str) -> None:
    network, ids = network_of(**VARIANTS[name]), random_ids(1000)
    expected = log_probabilities(network, np.concatenate([[START], ids]).astype(np.int32))
    single = network_of(**VARIANTS[name]).float()
    for chunk in (1, 7, 64, 1000, CHUNK):
        found = Reader(network, CPU, chunk).read(ids)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
        assert found.sum() == pytest.approx(expected.sum(), rel=1e-12)
        rounded = Reader(single, CPU, chunk).read(ids)
        assert rounded.sum() == pytest.approx(expected.sum(), rel=1e-6)
        assert rounded.dtype == np.float64


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), max_size=8), chunk=st.integers(1, 30))
def test_a_reader_goes_on_where_it_stopped(sizes: list[int], chunk: int) -> None:
    network, ids = network_of(), random_ids(sum(sizes))
    expected = Reader(network, CPU).read(ids)
    reader = Reader(network, CPU, chunk)
    parts = [reader.read(part) for part in np.split(ids, np.cumsum(sizes)[:-1])] if sizes else []
    assert [len(part) for part in parts] == sizes
    np.testing.assert_allclose(np.concatenate([np.zeros(0), *parts]), expected, rtol=1e-12)


@every
def test_a_reader_that_is_reset_begins_a_new_document(name: str) -> None:
    reader, first, second = Reader(network_of(**VARIANTS[name]), CPU), random_ids(20), random_ids(30, seed=8)
    fresh = reader.read(second)
    assert not np.array_equal(reader.read(second), fresh)
    reader.reset()
    reader.read(first)
    reader.reset()
    assert np.array_equal(reader.read(second), fresh)


def test_each_symbol_is_scored_given_all_before_it_and_nothing_after() -> None:
    network, ids = network_of(), random_ids(30)
    changed = ids.copy()
    changed[10] = 4 if ids[10] != 4 else 5
    before, after = Reader(network, CPU).read(ids), Reader(network, CPU).read(changed)
    np.testing.assert_array_equal(before[:10], after[:10])
    assert (before[10:13] != after[10:13]).all()


MEMORY = """
import resource, numpy as np, torch
from seqtool.lm.scoring import Reader
from tests.lm.tiny_text import CPU, network_of, random_ids
torch.set_num_threads(1)
ids = np.tile(random_ids(1000), {thousands})
reader = Reader(network_of(hidden=64).float(), CPU)
reader.read(ids[:5000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader.read(ids)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_the_memory_of_a_reader_does_not_grow_with_the_text() -> None:
    """100,000 states of 64 units in float32 would be 26 MB, and the gates four times as much."""
    script = MEMORY.format(thousands=100)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 15_000  # kilobytes; the answers themselves take 1,600


# --- rows side by side ---


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 90), max_size=12), chunk=st.sampled_from([1, 7, 64, CHUNK]))
@pytest.mark.parametrize("name", ["lstm", "learned start"])
def test_rows_side_by_side_score_as_each_does_alone(name: str, lengths: list[int], chunk: int) -> None:
    network = network_of(**VARIANTS[name])
    rows = [row_of(length, seed) for seed, length in enumerate(lengths)]
    found = score_rows(network, rows, CPU, chunk=chunk)
    assert [len(each) for each in found] == lengths
    for row, each in zip(rows, found, strict=True):
        np.testing.assert_allclose(each, Reader(network, CPU).read(row[1:]), rtol=1e-12)


@every
def test_a_neighbour_changes_nothing(name: str) -> None:
    network = network_of(**VARIANTS[name])
    rows = [row_of(50, 1), row_of(50, 2), row_of(3, 3)]
    (expected, *_), (alone,) = score_rows(network, rows, CPU, chunk=8), score_rows(network, rows[:1], CPU)
    others = [rows[0], row_of(50, 8), row_of(44, 9)]
    (found, *_) = score_rows(network, others, CPU, chunk=8)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(found, alone, rtol=1e-12)


def test_the_symbol_before_a_row_is_read_and_not_scored() -> None:
    network, ids = network_of(), random_ids(20)
    row = np.concatenate([[7], ids]).astype(np.int32)
    (found,) = score_rows(network, [row], CPU)
    np.testing.assert_allclose(found, log_probabilities(network, row), rtol=1e-12)
    assert found[0] != score_rows(network, [row_of(20, 3)], CPU)[0][0]


# --- how a text is cut into rows ---


@settings(max_examples=200, deadline=None)
@given(length=st.integers(1, 300), window=st.integers(1, 64))
def test_cold_windows_cover_each_symbol_once_and_know_the_one_before(length: int, window: int) -> None:
    ids = np.arange(4, 4 + length, dtype=np.int32)
    rows = cold_rows(ids, window)
    assert np.concatenate([row[1:] for row in rows]).tolist() == ids.tolist()
    assert [int(row[0]) for row in rows] == [START, *(int(row[-1]) for row in rows[:-1])]
    assert {len(row) - 1 for row in rows[:-1]} <= {window}
    assert 1 <= len(rows[-1]) - 1 <= window


@settings(max_examples=200, deadline=None)
@given(length=st.integers(1, 300), count=st.integers(1, 40), warmup=st.integers(0, 60))
def test_warmed_pieces_cover_each_symbol_once_after_so_many_that_only_move_the_state(
    length: int, count: int, warmup: int
) -> None:
    ids = np.arange(4, 4 + length, dtype=np.int32)
    pieces = warmed_rows(ids, rows=count, warmup=warmup)
    assert len(pieces) <= count
    whole = [START, *ids.tolist()]
    start = 0
    for row, skipped in pieces:
        assert skipped == min(start, warmup)
        assert row.tolist() == whole[start - skipped : start - skipped + len(row)]
        start += len(row) - 1 - skipped
    assert start == length


def test_a_piece_warmed_by_all_before_it_scores_as_the_stream_does() -> None:
    network, ids = network_of(), random_ids(300)
    expected = Reader(network, CPU).read(ids)
    pieces = warmed_rows(ids, rows=4, warmup=300)
    found = score_rows(network, [row for row, _ in pieces], CPU)
    kept = [each[skipped:] for each, (_, skipped) in zip(found, pieces, strict=True)]
    np.testing.assert_allclose(np.concatenate(kept), expected, rtol=1e-12)
    cold = np.concatenate(score_rows(network, cold_rows(ids, 300), CPU))
    np.testing.assert_allclose(cold, expected, rtol=1e-12)
    assert not np.allclose(np.concatenate(score_rows(network, cold_rows(ids, 10), CPU)), expected)
