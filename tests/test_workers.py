"""Threads that work on tasks while the calling thread takes their results."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING

from callframe.api.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator


def collect(workers: Workers[int, int], count: int) -> list[int]:
    results: list[int] = []
    deadline = time.monotonic() + 5
    while len(results) < count and time.monotonic() < deadline:
        if (result := workers.next_result()) is not None:
            results.append(result)
    return sorted(results)


def test_every_task_yields_all_its_results() -> None:
    def work(task: int) -> Iterator[int]:
        yield from (task, 10 * task)

    with Workers(3, work, threading.Event()) as workers:
        for task in range(1, 6):
            workers.submit(task)
        assert collect(workers, 10) == [1, 2, 3, 4, 5, 10, 20, 30, 40, 50]


def test_no_task_begins_after_stop() -> None:
    stop, begun = threading.Event(), list[int]()

    def work(task: int) -> Iterator[int]:
        begun.append(task)
        stop.set()
        yield task

    with Workers(1, work, stop) as workers:
        for task in range(5):
            workers.submit(task)
        stop.wait(5)
    assert begun == [0]


def test_worker_keeps_no_result_during_the_next_request() -> None:
    class Page: ...

    taken, collected = threading.Event(), list[bool]()

    def work(_: int) -> Iterator[Page]:
        page = Page()
        reference = weakref.ref(page)
        yield page
        del page
        taken.wait(5)
        gc.collect()
        collected.append(reference() is None)
        yield Page()

    with Workers(1, work, threading.Event()) as workers:
        workers.submit(1)
        while workers.next_result() is None:
            pass
        taken.set()
        while workers.next_result() is None:
            pass
    assert collected == [True]
