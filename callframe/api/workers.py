"""Daemon threads that send requests in parallel, while the calling thread processes their results."""

from __future__ import annotations

import contextlib
import math
import queue
import signal
import threading
import time
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

Task = TypeVar("Task")
Result = TypeVar("Result")

_POLL_S = 0.1
_IGNORE_S = 1.0
_DOUBLE_PRESS_S = 0.1


class Workers(Generic[Task, Result]):
    """
    Threads that work on submitted tasks until the end of a `with` block, or until `stop` is set.

    `work` yields the results of a task, and must turn errors into results: a thread that dies never finishes its task.
    Daemon threads, so that one waiting for a slow response does not keep the program from exiting.
    """

    def __init__(self, count: int, work: Callable[[Task], Iterator[Result]], stop: threading.Event) -> None:
        self._work = work
        self._stop = stop
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
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
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                task = self._tasks.get(timeout=_POLL_S)
                for result in self._work(task):
                    self._pass_on(result)
                    del result  # or it would stay in memory during the next request

    def _pass_on(self, result: Result) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._results.put(result, timeout=_POLL_S)
                return


@contextlib.contextmanager
def stop_on_interrupt(stop: threading.Event) -> Iterator[threading.Event]:
    """
    Let Ctrl-C set `stop`, instead of raising `KeyboardInterrupt` in the middle of anything; yields whether it came.

    Further ones are ignored for a second, while what was read is put together, and then raise; this ends no sooner
    than a double press. Does nothing in other threads, and where Ctrl-C is handled already.
    """
    interrupted = threading.Event()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupted
        return
    first_s = math.inf

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first_s
        first_s = min(first_s, time.monotonic())
        if time.monotonic() > first_s + _IGNORE_S:
            signal.default_int_handler(number, frame)
        interrupted.set()
        stop.set()

    try:
        signal.signal(signal.SIGINT, interrupt)
        yield interrupted
        if interrupted.is_set():
            time.sleep(max(0.0, first_s + _DOUBLE_PRESS_S - time.monotonic()))
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
