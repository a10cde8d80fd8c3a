from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from seqtool.text.streaming import groups, ready_groups


class TroubleError(Exception):
    pass


def failing(count: int) -> Iterator[int]:
    yield from range(count)
    raise TroubleError


@pytest.mark.parametrize("gather", [groups, ready_groups])
def test_every_item_comes_once_and_in_order(gather):
    found = list(gather(iter(range(100)), size=lambda item: 1, budget=7))
    assert [item for group in found for item in group] == list(range(100))
    assert all(len(group) <= 7 for group in found)
    assert list(gather(iter(()), size=lambda item: 1, budget=7)) == []


@pytest.mark.parametrize("gather", [groups, ready_groups])
@pytest.mark.parametrize("count", [0, 1, 7, 10])
def test_an_error_comes_after_all_that_was_read_before_it(gather, count):
    found: list[int] = []

    def collect() -> None:
        for group in gather(failing(count), size=lambda item: 1, budget=7):
            found.extend(group)

    with pytest.raises(TroubleError):
        collect()
    assert found == list(range(count))


def test_groups_are_full():
    found = list(groups(iter(range(10)), size=lambda item: item, budget=5))
    assert found == [[0, 1, 2, 3], [4, 5], [6], [7], [8], [9]]


def test_an_item_is_given_out_while_the_next_is_awaited():
    more = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        assert more.wait(10)
        yield 2

    found = ready_groups(source(), size=lambda item: 1, budget=7)
    assert next(found) == [1]
    more.set()
    assert list(found) == [[2]]


def test_the_reader_stays_ahead_by_a_budget_and_no_more():
    taken = []

    def source() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    found = ready_groups(source(), size=lambda item: 10, budget=40)
    first = next(found)
    limit = len(first) + 4 + 1  # given out; waiting; in the reader's hand
    until = time.monotonic() + 10
    while len(taken) < limit and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(taken) == limit
    assert first + [item for group in found for item in group] == list(range(1000))
