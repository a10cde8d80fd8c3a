"""Items from a live stream in groups: nothing waits for what has not come yet."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
WAITING = 4096  # items read ahead at most: bounds memory however long the stream is


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def groups(items: Iterable[Item], *, size: Callable[[Item], int], budget: int) -> Iterator[list[Item]]:
    """Consecutive items in groups of about `budget`, for a source that is always ready (a file)."""
    group: list[Item] = []
    total = 0
    for item in items:
        group.append(item)
        total += size(item)
        if total >= budget:
            yield group
            group, total = [], 0
    if group:
        yield group


def ready_groups(items: Iterable[Item], *, size: Callable[[Item], int], budget: int) -> Iterator[list[Item]]:
    """Consecutive items in groups of all that is there, `budget` at most, for a source that may pause.

    A thread reads ahead while the caller works on a group. An error of the source is raised
    after everything that was read before it.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(WAITING)

    def read() -> None:
        try:
            for item in items:
                waiting.put(item)
            waiting.put(_End(None))
        except BaseException as error:
            waiting.put(_End(error))

    threading.Thread(target=read, daemon=True, name="reader").start()
    while True:
        group: list[Item] = []
        total = 0
        item = waiting.get()
        while not isinstance(item, _End):
            group.append(item)
            total += size(item)
            if total >= budget:
                break
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                break
        if group:
            yield group
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
