"""Groups from a live stream: what has arrived is passed on at once, in order, with little read ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from seqtool.text.streaming import groups, ready_groups

PATIENCE = 10.0  # seconds until a test that hangs fails instead
A_MOMENT = 0.02  # seconds; a thread that is not blocked continues within this time


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
        assert more.wait(PATIENCE)
        yield 2

    found = ready_groups(source(), size=lambda item: 1, budget=7)
    assert next(found) == [1]
    more.set()
    assert list(found) == [[2]]


def test_all_that_came_during_the_work_is_one_group():
    more, all_asked = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        yield 0
        assert more.wait(PATIENCE)
        yield from range(1, 6)
        all_asked.set()

    found = ready_groups(source(), size=lambda item: 1, budget=100)
    assert next(found) == [0]
    more.set()  # while the caller works on the first
    assert all_asked.wait(PATIENCE)
    assert next(found) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("trouble", [False, True])
def test_a_caller_that_waits_is_woken_by_the_end(trouble: bool):
    taken, end, found = threading.Event(), threading.Event(), []

    def source() -> Iterator[int]:
        yield 0
        assert end.wait(PATIENCE)
        if trouble:
            raise TroubleError

    def collect() -> None:
        try:
            for group in ready_groups(source(), size=lambda item: 1, budget=7):
                found.append(group)
                taken.set()
        except TroubleError:
            found.append("trouble")

    caller = threading.Thread(target=collect, daemon=True)
    caller.start()
    assert taken.wait(PATIENCE)
    time.sleep(A_MOMENT)  # now it waits for a second item
    end.set()
    caller.join(PATIENCE)
    assert not caller.is_alive()
    assert found == [[0], "trouble"][: 1 + trouble]


@pytest.mark.parametrize("gather", [groups, ready_groups])
def test_a_group_ends_with_the_item_that_fills_it(gather):
    sizes = [3, 4, 9, 1, 1, 30, 2, 7, 7]
    found = list(gather(iter(sizes), size=lambda size: size, budget=8))
    assert [size for group in found for size in group] == sizes
    assert all(sum(group[:-1]) < 8 for group in found)


def test_groups_read_no_further_than_they_are_wide():
    taken = []

    def source() -> Iterator[int]:
        for item in range(7):
            taken.append(item)
            yield item

    found = groups(source(), size=lambda item: 2, budget=5)
    assert next(found) == [0, 1, 2]
    assert taken == [0, 1, 2]
    assert list(found) == [[3, 4, 5], [6]]


def test_the_reader_stays_ahead_by_a_budget_and_no_more():
    taken = []

    def source() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    found = ready_groups(source(), size=lambda item: 10, budget=40)
    first = next(found)
    limit = len(first) + 4 + 1  # handed out; waiting; held by the reader
    until = time.monotonic() + PATIENCE
    while len(taken) < limit and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(A_MOMENT)
    assert len(taken) == limit
    assert first + [item for group in found for item in group] == list(range(1000))
