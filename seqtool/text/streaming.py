"""Grouping the items of a live stream without waiting for items that have not arrived yet."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
READER = "input reader"  # name of the thread that reads ahead


def groups(items: Iterable[Item], *, size: Callable[[Item], int], budget: int) -> Iterator[list[Item]]:
    """Consecutive items in groups of about `budget`, for a source that is always ready (a file).

    An error of the source is raised after all items that were read before it have been yielded.

    Args:
        items: The source.
        size: Size of an item, in the unit of `budget`.
        budget: Total size at which a group is complete.
    """
    group: list[Item] = []
    total = 0
    failure: Exception | None = None
    source = iter(items)
    while True:
        try:
            item = next(source)
        except StopIteration:
            break
        except Exception as error:
            failure = error
            break
        group.append(item)
        total += size(item)
        if total >= budget:
            yield group
            group, total = [], 0
    if group:
        yield group
    if failure is not None:
        raise failure


def ready_groups(items: Iterable[Item], *, size: Callable[[Item], int], budget: int) -> Iterator[list[Item]]:
    """Consecutive items in groups of all that have arrived, for a source that may pause (a pipe).

    A thread reads ahead, by up to `budget`, while the caller works on a group. An error of the source is
    raised after all items that were read before it have been yielded.

    Args:
        items: The source.
        size: Size of an item, in the unit of `budget`.
        budget: Total size of a group at most, exceeded by less than one item.
    """
    waiting = _Readahead(size, budget)

    def read() -> None:
        try:
            for item in items:
                waiting.put(item)
            waiting.end(None)
        except BaseException as error:
            waiting.end(error)

    threading.Thread(target=read, daemon=True, name=READER).start()
    while group := waiting.take():
        yield group


class _Readahead(Generic[Item]):
    """A queue of bounded size between the thread that reads and the thread that works."""

    def __init__(self, size: Callable[[Item], int], budget: int) -> None:
        self._size, self._budget = size, budget
        self._items: deque[Item] = deque()
        self._total = 0  # total size of the items
        self._ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Add an item, waiting until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: self._total < self._budget)
            self._items.append(item)
            self._total += self._size(item)
            self._changed.notify_all()

    def end(self, error: BaseException | None) -> None:
        """Note that no more items will come, because of `error` or because the source has ended."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> list[Item]:
        """All items that have arrived, waiting for at least one; at the end, an empty list or the error."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended)
            if not self._items and self._error is not None:
                raise self._error
            group = list(self._items)
            self._items.clear()
            self._total = 0
            self._changed.notify_all()
            return group
