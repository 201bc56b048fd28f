"""Ctrl-C at every step of a fetch: what was read is kept, and nothing that is missing is called complete."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, cast

import pytest
from factories import DAY_MS, NOW_MS, call_records, make_call
from services import ServedProject, changing_project, serve, serve_project
from test_fetch import project_data

import callframe as cf
from callframe import frame
from callframe.api import fetch, listing, workers
from callframe.api.schemas import Call, Page
from callframe.completeness import is_complete
from callframe.errors import IncompleteWarning
from callframe.timespan import TimeRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    import pandas as pd

    from callframe.api.client import Client

CALLS = [make_call(id=number, start_time=NOW_MS - number * 1000) for number in range(1, 201)]
WINDOW = TimeRange(NOW_MS - DAY_MS, NOW_MS)


class MemoryClient:
    """Lists the calls without HTTP, ten a page, the newest first."""

    workers = 3
    waiting = ""

    def filter_calls(self, _: int, conditions: dict[str, Any], *, cursor: str | None, **__: object) -> Page[Call]:
        window, first = conditions["startTime"], int(cursor or 0)
        selected = [call for call in CALLS if window["min"] <= call.start_time <= window["max"]]
        return Page(selected[first : first + 10], str(first + 10) if len(selected) > first + 10 else None)


def run_queries(stop: threading.Event) -> dict[int, fetch.FunctionResult]:
    queries = listing.plan_queries([7], WINDOW, workers=2)
    return fetch.run_queries(cast("Client", MemoryClient()), queries, stop=stop)


def traced(on_line: Callable[[FrameType], None]) -> dict[int, fetch.FunctionResult] | None:
    """Run queries, and call a function before each line of the calling thread; None if interrupted itself."""
    files = {fetch.__file__, listing.__file__, workers.__file__}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            on_line(frame)
        return trace

    stop, previous = threading.Event(), sys.gettrace()
    sys.settrace(trace)
    try:
        return run_queries(stop)
    except KeyboardInterrupt:
        return None
    finally:
        sys.settrace(previous)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # where the interrupt came between two lines for it
        stop.set()


def lines_of_a_fetch() -> list[tuple[str, int]]:
    """List the lines that the calling thread executes."""
    lines: list[tuple[str, int]] = []
    traced(lambda frame: lines.append((frame.f_code.co_filename, frame.f_lineno)))
    return list(dict.fromkeys(lines))


def test_interrupt_at_any_line_never_makes_a_part_complete() -> None:
    kept = 0
    for line, skipped in itertools.product(lines_of_a_fetch(), (0, 2)):
        passes = itertools.count()

        def interrupt(
            frame: FrameType, line: Any = line, passes: Iterator[int] = passes, skipped: int = skipped
        ) -> None:
            if (frame.f_code.co_filename, frame.f_lineno) == line and next(passes) == skipped:
                raise KeyboardInterrupt

        if (results := traced(interrupt)) is None:
            continue
        calls = frame.from_columns(results[7].tables, {})
        assert len(calls) == len(CALLS) or results[7].problems == [fetch.INTERRUPTED], line
        kept += 0 < len(calls) < len(CALLS)
    assert kept > 50


@pytest.fixture
def served() -> Iterator[ServedProject]:
    with serve_project(project_data(call_records(2_000)), page_cap=50, latency_s=0.002) as served:
        yield served


def interrupted_fetch(served: ServedProject, *, after_requests: int, interrupts: int = 1) -> pd.DataFrame:
    """Press Ctrl-C in a fetch while a request is sent, and more often within 10 ms."""
    count, filter_calls = itertools.count(1), served.client.filter_calls

    def press() -> None:
        for _ in range(interrupts):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.005 * (interrupts > 1))

    def filter_and_press(*arguments: Any, **options: Any) -> Page[Call]:
        if next(count) == after_requests:
            press()
        return filter_calls(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(served.client, "filter_calls", filter_and_press)
        warnings.simplefilter("ignore", IncompleteWarning)
        return served.project.calls(7)


def asking_threads() -> list[threading.Thread]:
    return [
        thread for thread in threading.enumerate() if thread.name.startswith("callframe-") and "demo" not in thread.name
    ]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals between threads")
def test_interrupts_at_random_moments_keep_what_was_read_and_leave_no_thread(served: ServedProject) -> None:
    rng, kept = random.Random(1), 0
    for _ in range(30):
        calls = interrupted_fetch(served, after_requests=rng.randint(1, 25))
        assert is_complete(calls) is False
        kept += len(calls) > 0
        for thread in asking_threads():
            thread.join(5)
        assert not asking_threads()
    assert kept > 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals between threads")
def test_second_interrupt_does_not_undo_the_first(served: ServedProject) -> None:
    for _ in range(20):
        calls = interrupted_fetch(served, after_requests=20, interrupts=2)
        assert is_complete(calls) is False
        assert len(calls) > 0


def test_handler_of_interrupts_is_restored(served: ServedProject) -> None:
    served.project.calls(7)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("name", ["_store", "_finish", "_replace", "_collect_results"])
def test_sync_loses_no_call_for_good_by_an_interrupt(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, data = cf.Archive(tmp_path / "calls.delta"), changing_project(*call_records(300))
    method, passes = getattr(fetch._Fetch, name), itertools.count()

    def interrupt(self: fetch._Fetch, *arguments: Any) -> Any:
        if next(passes) == 0:
            raise KeyboardInterrupt
        return method(self, *arguments)

    with serve(data, page_cap=20) as project:
        monkeypatch.setattr(fetch._Fetch, name, interrupt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncompleteWarning)
            archive.sync(project)
        archive.sync(project)
    assert next(passes) > 1
    assert len(archive.calls()) == 300
