"""Daemon threads that send requests in parallel, while the calling thread processes their results."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Task = TypeVar("Task")
Result = TypeVar("Result")

_POLL_S = 0.1


class Workers(Generic[Task, Result]):
    """
    Threads that work on submitted tasks until the end of a `with` block, or until `stop` is set.

    `work` yields the results of a task, and must turn errors into results: a thread that dies never finishes its task.
    Daemon threads, so that one waiting for a slow response does not keep the program from exiting.
    """

    def __init__(self, count: int, work: Callable[[Task], Iterator[Result]], stop: threading.Event) -> None:
        self._work = work
        self._stop = stop
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._results: queue.Queue[Result] = queue.Queue(1)  # no more, or results pile up if the caller is slow
        self._threads = [
            threading.Thread(target=self._run, name=f"callframe-{number}", daemon=True) for number in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for _thread in self._threads:
            self._tasks.put(None)

    def submit(self, task: Task) -> None:
        """Add a task."""
        self._tasks.put(task)

    def next_result(self) -> Result | None:
        """Wait a moment for a result; the wait has a timeout because Windows cannot interrupt it."""
        with contextlib.suppress(queue.Empty):
            return self._results.get(timeout=_POLL_S)
        return None

    def arrived_results(self) -> Iterator[Result]:
        """Yield the results that have arrived, without waiting for requests under way."""
        while not self._results.empty():
            yield self._results.get()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None and not self._stop.is_set():
            for result in self._work(task):
                self._pass_on(result)
                del result  # or it would stay in memory during the next request

    def _pass_on(self, result: Result) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._results.put(result, timeout=_POLL_S)
                return
