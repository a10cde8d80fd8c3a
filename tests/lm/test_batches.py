"""Windows of an epoch: each symbol is a target once, and the state always continues its own text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.errors import DataError
from seqtool.lm.batches import HALVED, LEAST_COMPETENCE, TrainingWindows, Window
from seqtool.lm.settings import LanguageModelTraining
from seqtool.lm.vocabulary import PADDING, START, Ids
from seqtool.settings import validate

CPU = torch.device("cpu")
Row = list[int]


def windows_of(
    documents: Sequence[Ids],
    *,
    is_stream: bool = False,
    seed: int = 1,
    parallel_groups: int = 1,
    **training: Any,
) -> TrainingWindows:
    given = {"window": 8, "batch_tokens": 32, **training}
    return TrainingWindows(
        documents,
        is_stream=is_stream,
        settings=validate(LanguageModelTraining, given, "training"),
        seed=seed,
        parallel_groups=parallel_groups,
        device=CPU,
    )


def stream_of(length: int) -> Ids:
    """A text of distinct symbols, so that each is recognised by its id."""
    return np.arange(length, dtype=np.int32) + 4


def documents_of(lengths: Sequence[int]) -> list[Ids]:
    ends = np.cumsum(lengths)
    return [stream_of(end)[end - length :] for length, end in zip(lengths, ends, strict=True)]


def plain(windows: Sequence[Window]) -> list[Any]:
    return [(w.inputs.tolist(), w.targets.tolist(), w.fresh, w.group) for w in windows]


def rows_of(windows: Sequence[Window], *, before: bool = False) -> list[Row]:
    """The rows as a recurrent network reads them; their continuity is checked on the way.

    Args:
        windows: The windows of an epoch.
        before: Also return the first input of each row.
    """
    finished: list[Row] = []
    present: dict[int, list[Row]] = {}
    for window in windows:
        assert window.inputs.shape == window.targets.shape
        if window.fresh:
            finished += present.get(window.group, [])
            present[window.group] = [[int(row[0])] for row in window.inputs]
        rows = present[window.group]
        assert len(window.targets) <= len(rows)
        for row, inputs, targets in zip(rows, window.inputs.tolist(), window.targets.tolist(), strict=False):
            steps = len(targets) - targets.count(PADDING)
            assert targets[:steps] == [symbol for symbol in targets if symbol != PADDING]  # right-padded
            assert set(inputs[steps:]) <= ({PADDING} if steps else {START})  # an empty row reads START
            row += targets[:steps]
            assert row[-steps - 1 : -1] == inputs[:steps]  # shifted by one, from where the row had ended
    for rows in present.values():
        finished += rows
    return [row if before else row[1:] for row in finished]


# --- a stream ---


@settings(max_examples=150, deadline=None)
@given(
    length=st.integers(2, 700),
    window=st.integers(1, 40),
    rows=st.integers(1, 9),
    parallel_groups=st.integers(1, 3),
    jitter=st.sampled_from([0.0, 0.3]),
)
def test_every_symbol_of_a_stream_is_a_target_once_but_for_what_does_not_fill_the_rows(
    length: int, window: int, rows: int, parallel_groups: int, jitter: float
) -> None:
    """Of n symbols in R rows, n mod R are left out: the last ones before the start of the epoch."""
    length = max(length, 2 * parallel_groups)
    sizes: dict[str, Any] = {"window": window, "batch_tokens": rows * window, "window_jitter": jitter}
    make = windows_of([stream_of(length)], is_stream=True, parallel_groups=parallel_groups, **sizes)
    for epoch in (0, 1):
        found = rows_of(make(epoch), before=True)
        assert len(found) % parallel_groups == 0
        assert len(found) <= max(rows * parallel_groups, parallel_groups)
        read = [symbol for row in found for symbol in row[1:]]
        assert len({len(row) for row in found}) == 1
        assert len(read) == len(set(read)) == length - length % len(found)
        # A row begins where the one above it ends; the text wraps around from its end to its beginning.
        start = read[0] - 4
        assert read == [(start + i) % length + 4 for i in range(len(read))]
        first = found[0][0]
        assert first == (START if start == 0 else start + 3)
        assert [row[0] for row in found[1:]] == [row[-1] for row in found[:-1]]


def test_a_stream_begins_anew_with_the_epoch_only_and_epochs_differ() -> None:
    make = windows_of([stream_of(1000)], is_stream=True)
    for epoch in range(3):
        assert [window.fresh for window in make(epoch)] == [True] + [False] * (len(make(epoch)) - 1)
    starts = {rows_of(make(epoch))[0][0] for epoch in range(20)}
    assert len(starts) > 15


def test_windows_are_as_long_as_the_settings_say_and_the_last_is_what_is_left() -> None:
    make = windows_of([stream_of(1003)], is_stream=True, window=16, batch_tokens=67)
    shapes = [tuple(window.inputs.shape) for window in make(0)]
    assert shapes == [(4, 16)] * 15 + [(4, 1003 // 4 - 15 * 16)]


def test_a_short_text_has_fewer_rows_rather_than_short_windows() -> None:
    (window, *rest) = windows_of([stream_of(50)], is_stream=True, window=20, batch_tokens=200)(0)
    assert window.inputs.shape == (2, 20)
    assert [each.inputs.shape for each in rest] == [(2, 5)]


def test_lengths_jitter_about_the_window_and_one_in_twenty_is_halved() -> None:
    make = windows_of(
        [stream_of(1_000_000)], is_stream=True, window=100, batch_tokens=100, window_jitter=0.05
    )
    lengths = np.array([window.inputs.shape[1] for window in list(make(0))[:-1]])
    assert lengths.sum() > 900_000
    halved = lengths < 75
    assert halved.mean() == pytest.approx(HALVED, abs=0.01)
    assert lengths[~halved].mean() == pytest.approx(100, abs=0.5)
    assert lengths[~halved].std() == pytest.approx(5, abs=0.4)
    assert lengths[halved].mean() == pytest.approx(50, abs=2)
    wild = windows_of([stream_of(50_000)], is_stream=True, window=10, batch_tokens=10, window_jitter=0.9)
    assert min(window.inputs.shape[1] for window in list(wild(0))[:-1]) == 5
    assert plain(make(0)[:9]) != plain(make(1)[:9])


@pytest.mark.parametrize("parallel_groups", [2, 3])
@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_parallel_groups_are_the_rows_of_one_larger_batch(parallel_groups: int, jitter: float) -> None:
    """Accumulation and several processes then compute what one process computes."""
    text = [stream_of(977)]
    together = windows_of(text, is_stream=True, batch_tokens=32 * parallel_groups, window_jitter=jitter)(1)
    apart = windows_of(
        text, is_stream=True, batch_tokens=32, parallel_groups=parallel_groups, window_jitter=jitter
    )(1)
    assert len(apart) == parallel_groups * len(together)
    for number, window in enumerate(together):
        parts = apart[number * parallel_groups : (number + 1) * parallel_groups]
        assert [part.group for part in parts] == list(range(parallel_groups))
        assert {part.fresh for part in parts} == {window.fresh}
        assert torch.equal(torch.cat([part.inputs for part in parts]), window.inputs)
        assert torch.equal(torch.cat([part.targets for part in parts]), window.targets)


# --- documents ---


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=30),
    window=st.integers(1, 25),
    rows=st.integers(1, 5),
    parallel_groups=st.integers(1, 4),
)
def test_every_document_is_read_whole_and_once(
    lengths: list[int], window: int, rows: int, parallel_groups: int
) -> None:
    lengths.append(2 * parallel_groups)
    documents = documents_of(lengths)
    make = windows_of(documents, window=window, batch_tokens=rows * window, parallel_groups=parallel_groups)
    for epoch in (0, 1):
        found = make(epoch)
        read = rows_of(found, before=True)
        assert {row[0] for row in read} == {START}
        expected = sorted(document.tolist() for document in documents if len(document))
        assert sorted(row[1:] for row in read if len(row) > 1) == expected
        assert [each.group for each in found] == [k % parallel_groups for k in range(len(found))]
        assert len(found) % parallel_groups == 0


def test_a_long_document_goes_on_through_windows_beside_shorter_ones() -> None:
    documents = documents_of([20, 17, 8])
    (group,) = {window.group for window in windows_of(documents, batch_tokens=100)(0)}
    windows = windows_of(documents, batch_tokens=100)(0)
    assert group == 0
    assert [tuple(window.inputs.shape) for window in windows] == [(3, 8), (2, 8), (2, 4)]
    assert [window.fresh for window in windows] == [True, False, False]
    assert windows[2].targets.tolist() == [documents[0][16:].tolist(), [int(documents[1][16]), 0, 0, 0]]


def test_batches_of_documents_keep_to_their_budget_and_hold_nearly_equal_lengths() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 200).tolist()
    windows = windows_of(documents_of(lengths), window=30, batch_tokens=90)(0)
    assert all(window.inputs.numel() <= 90 for window in windows)
    padding = sum(int((window.targets == PADDING).sum()) for window in windows)
    assert padding < 0.1 * sum(lengths)


def test_a_group_that_ends_before_its_neighbours_goes_on_empty() -> None:
    """With two parallel_groups: three groups of documents, one of them of three windows."""
    documents = documents_of([20, 4, 4])
    windows = windows_of(documents, batch_tokens=8, window=8, parallel_groups=2)(0)
    empty = [window for window in windows if not int((window.targets != PADDING).sum())]
    assert empty
    for window in empty:
        assert window.inputs.tolist() == [[START]]
        assert window.targets.tolist() == [[PADDING]]
        assert window.fresh
    assert sum(int((window.targets != PADDING).sum()) for window in windows) == 28
    for first in range(0, len(windows), 2):  # no update is ever empty
        assert sum(int((window.targets != PADDING).sum()) for window in windows[first : first + 2])


def test_parallel_groups_have_nearly_as_many_windows_and_come_in_any_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 200).tolist()
    make = windows_of(documents_of(lengths), window=10, batch_tokens=20, parallel_groups=2)
    windows = make(0)
    empty = sum(window.targets.tolist() == [[PADDING]] for window in windows)
    assert empty < 0.03 * len(windows)
    pairs = [windows[number : number + 2] for number in range(0, len(windows), 2)]
    firsts = [number for number, (one, other) in enumerate(pairs) if one.fresh and other.fresh]
    counts = np.diff([*firsts, len(pairs)]).tolist()  # windows of each pair of groups
    assert max(counts) == 10
    assert counts not in (sorted(counts), sorted(counts, reverse=True))


# --- an epoch is a function of its number ---


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("parallel_groups", [1, 2])
def test_windows_are_a_pure_function_of_the_epoch_and_the_seed(is_stream: bool, parallel_groups: int) -> None:
    documents = [stream_of(500)] if is_stream else documents_of([9, 3, 30, 7, 7, 1, 25, 12] * 3)
    options: dict[str, Any] = {"is_stream": is_stream, "parallel_groups": parallel_groups}
    if is_stream:
        options["window_jitter"] = 0.2
    else:
        options["curriculum"] = "length"
    first, second = windows_of(documents, **options), windows_of(documents, **options)
    expected = [plain(first(epoch)) for epoch in range(3)]
    for epoch in (2, 0, 1, 2):
        assert plain(second(epoch)) == expected[epoch]
    assert expected[0] != expected[1] != expected[2]
    assert plain(windows_of(documents, **{**options, "seed": 2})(0)) != expected[0]


def test_windows_can_be_taken_as_a_slice_and_from_the_end() -> None:
    windows = windows_of([stream_of(300)], is_stream=True)(0)
    everything = plain(list(windows))
    assert plain(windows[2:5]) == everything[2:5]
    assert plain([windows[-1]]) == everything[-1:]
    assert windows[0].inputs.dtype == torch.int64
    with pytest.raises(IndexError):
        windows[len(windows)]


@pytest.mark.parametrize("documents", [[stream_of(1)], [stream_of(0)], []], ids=["one", "none", "nothing"])
def test_too_little_text_is_a_data_error(documents: list[Ids]) -> None:
    for is_stream in (True, False):
        with pytest.raises(DataError, match=r"\d symbols of training text; expected at least"):
            windows_of(documents, is_stream=is_stream)
    with pytest.raises(DataError, match="3 symbols"):
        windows_of([stream_of(3)], is_stream=True, parallel_groups=2)


# --- curriculum ---


def lengths_read(windows: Sequence[Window]) -> list[int]:
    return sorted(len(row) for row in rows_of(windows))


def test_a_curriculum_begins_with_short_documents_and_ends_with_all() -> None:
    lengths = list(range(1, 101))
    training: dict[str, Any] = {"curriculum": "length", "epochs": 20, "curriculum_share": 0.5}
    make = windows_of(documents_of(lengths), window=100, batch_tokens=1000, **training)
    longest = []
    for epoch in range(20):
        found = lengths_read(make(epoch))
        # Platanios et al. 2019, equation 8: c(t) = sqrt(t (1 - c0^2) / T + c0^2), here with T = 10 epochs.
        share = epoch / 10
        expected = min(1.0, math.sqrt(share * (1 - LEAST_COMPETENCE**2) + LEAST_COMPETENCE**2))
        longest.append(found[-1])
        assert found[-1] == max(round(100 * expected), 1)
        assert sum(found) >= sum(lengths)  # as many symbols as without the curriculum, or one document more
        assert sum(found) < sum(lengths) + 100
    assert longest[0] == 10
    assert longest == sorted(longest)
    assert lengths_read(make(10)) == lengths_read(make(19)) == lengths


def test_every_easy_document_is_read_before_one_is_read_again() -> None:
    lengths = list(range(1, 101))
    make = windows_of(documents_of(lengths), window=100, batch_tokens=1000, curriculum="length", epochs=20)
    counts = np.bincount(lengths_read(make(0)))[1:]
    assert len(counts) == 10
    assert counts.max() - counts.min() <= 1


def test_a_curriculum_by_rarity_begins_with_the_documents_of_least_surprise() -> None:
    frequent, rare = np.full(6, 4, np.int32), np.array([7, 8, 9], np.int32)
    documents = [rare, *[frequent] * 18, np.array([5, 6], np.int32)]
    counts = np.bincount(np.concatenate(documents))
    surprise = [float(-np.log(counts[ids] / counts.sum()).sum()) for ids in documents]
    assert surprise[1] < surprise[-1] < surprise[0]
    make = windows_of(documents, curriculum="rarity", epochs=10)
    for epoch in range(3):
        assert {tuple(row) for row in rows_of(make(epoch))} == {tuple(frequent.tolist())}
    assert {tuple(row) for row in rows_of(make(9))} == {tuple(each.tolist()) for each in documents}
    by_length = windows_of(documents, curriculum="length", epochs=10)
    assert {tuple(row) for row in rows_of(by_length(0))} == {(5, 6), (7, 8, 9)}


def test_documents_without_a_symbol_do_not_stop_a_curriculum() -> None:
    documents = [np.zeros(0, np.int32)] * 20 + documents_of([3, 4])
    assert len(rows_of(windows_of(documents, curriculum="length")(0))) >= 2
