"""Reading what many calls left, their responses and logs, in parallel: one request per call."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from callframe import frame
from callframe.api.fetch import INTERRUPTED, count_reasons, progress_bar
from callframe.api.schemas import InvalidRecord
from callframe.api.workers import Workers
from callframe.completeness import CallSet, Coverage, FunctionCoverage, report_incomplete, warn_about_records
from callframe.errors import (
    CallframeError,
    ForbiddenError,
    RateLimitError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
)
from callframe.http.transport import StoppedError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from callframe.api.client import Client
    from callframe.api.schemas import LogEntry, Page

    Key = tuple[int, int]  # the ids of a function and of a call

Output = TypeVar("Output")

WITHOUT_RESPONSE = ("Running", "Failed", "Timeout")
"""The statuses of calls that have no response."""

_REPEATED = (ForbiddenError, RateLimitError, TransportError, UnauthorizedError, UnavailableError)
"""Errors that the other calls of a function would meet too."""

_MAX_FAILURES = 5  # in a row, after which the other calls of a function are not asked for
_MAX_EXAMPLES = 5
_CONTROL = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Characters that a terminal obeys or does not show, and that JSON need not escape, unlike those below 0x20."""

_CALL = ["call_id", "function_id", "function"]


@dataclass(frozen=True)
class OutputReader:
    """Reads the responses or logs of the calls of a frame; the coverage of the result says what could not be read."""

    client: Client
    stop: threading.Event
    progress: bool | None = None

    def responses(self, calls: pd.DataFrame) -> pd.DataFrame:
        """Make the frame of `Project.responses`."""
        calls = _one_row_per_call(calls)
        asked = np.flatnonzero(~calls["status"].isin(WITHOUT_RESPONSE)).tolist()
        columns: dict[str, list[str | None]] = {
            name: [None] * len(calls) for name in ("response", "response_error", "route")
        }

        def store(position: int, response: tuple[str, str | None]) -> None:
            columns["response"][asked[position]], columns["route"][asked[position]] = response

        errors = self._read("responses", calls.take(asked), read_response, store)
        for row, error in zip(asked, errors, strict=True):
            columns["response_error"][row] = error
        table = calls[_CALL].assign(**{name: frame.text_column(values) for name, values in columns.items()})
        return self._with_coverage(table, "responses", calls.take(asked), errors)

    def logs(self, calls: pd.DataFrame, contains: str | None) -> pd.DataFrame:
        """Make the frame of `Project.logs` of many calls."""
        calls = _one_row_per_call(calls)
        lines: list[Sequence[LogEntry]] = [()] * len(calls)
        set_aside: dict[int, Counter[InvalidRecord]] = {}
        ids = calls["function_id"].tolist()

        def read(client: Client, key: Key, stop: threading.Event) -> Page[LogEntry]:
            page = client.call_log(*key, stop=stop)
            page.items = lines_with(contains, page.items)
            return page

        def store(position: int, page: Page[LogEntry]) -> str | None:
            lines[position] = page.items
            set_aside.setdefault(ids[position], Counter()).update(page.set_aside)
            return "the service returned only a part" if page.next_cursor else None

        errors = self._read("logs", calls, read, store)
        rows = np.repeat(np.arange(len(calls)), [len(entries) for entries in lines])
        log = log_frame([entry for entries in lines for entry in entries])
        table = pd.concat([calls[_CALL].take(rows).reset_index(drop=True), log], axis=1)
        return self._with_coverage(table, "logs", calls, errors, set_aside)

    def _read(
        self,
        noun: str,
        calls: pd.DataFrame,
        read: Callable[[Client, Key, threading.Event], Output],
        store: Callable[[int, Output], str | None],
    ) -> list[str | None]:
        """Read something of each call, with a progress bar; see `read_each`."""
        keys = list(zip(calls["function_id"].tolist(), calls["call_id"].tolist(), strict=True))
        with progress_bar(self.progress, noun) as show:
            return read_each(
                self.client,
                keys,
                read,
                store,
                report=lambda done: show(done / len(keys), f"{done:,} of {len(keys):,}"),
                stop=self.stop,
            )

    def _with_coverage(
        self,
        table: pd.DataFrame,
        noun: str,
        calls: pd.DataFrame,
        errors: Sequence[str | None],
        set_aside: Mapping[int, Counter[InvalidRecord]] | None = None,
    ) -> pd.DataFrame:
        """Attach what could not be read of which function."""
        rows = calls[_CALL].assign(error=frame.text_column(errors).array)
        functions = [
            _function_coverage(noun, of_function, set_aside or {})
            for _, of_function in rows.groupby("function_id", sort=False)
        ]
        project, described = self.client.target.project, CallSet.of(table)
        now_ms = self.client.clock.now_ms()
        coverage = Coverage(now_ms, tuple(functions), project, call_ids=len(calls), described=described)
        table.attrs = {}
        coverage.attach(table)
        return table


def read_each(
    client: Client,
    keys: Sequence[Key],
    read: Callable[[Client, Key, threading.Event], Output],
    store: Callable[[int, Output], str | None],
    *,
    stop: threading.Event,
    report: Callable[[int], None] = lambda _: None,
) -> list[str | None]:
    """
    Read something of each call in parallel, and return why it could not be read completely, None if it was.

    What was read is passed to `store` in this thread, with the position of the call; it returns what is wrong with it.
    Ctrl-C, or another thread that sets `stop`, ends the reading and keeps what was stored.
    """
    errors: list[str | None] = [INTERRUPTED] * len(keys)
    failures: Counter[int] = Counter()

    def work(position: int) -> Iterator[tuple[int, Output | None, str | None]]:
        function_id = keys[position][0]
        if failures[function_id] >= _MAX_FAILURES:
            yield position, None, f"not asked for after {_MAX_FAILURES} failures in a row of its function"
            return
        output, error = _attempt(client, keys[position], read, stop)
        failures[function_id] = failures[function_id] + 1 if isinstance(error, _REPEATED) else 0
        yield position, output, None if error is None else str(error)

    def take(result: tuple[int, Output | None, str | None]) -> None:
        position, output, error = result
        errors[position] = store(position, output) if error is None else error  # type: ignore[arg-type]

    with Workers(client.workers, work, stop) as workers:
        try:
            for position in range(len(keys)):
                workers.submit(position)
            done = 0
            while done < len(keys) and not stop.is_set():
                if (result := workers.next_result()) is not None:
                    take(result)
                    done += 1
                    report(done)
        except KeyboardInterrupt:
            stop.set()
        for result in workers.arrived_results():
            take(result)
    return errors


def _attempt(
    client: Client, key: Key, read: Callable[[Client, Key, threading.Event], Output], stop: threading.Event
) -> tuple[Output | None, CallframeError | None]:
    try:
        return read(client, key, stop), None
    except StoppedError:
        return None, CallframeError(INTERRUPTED)
    except CallframeError as error:
        return None, error
    except BaseException as error:  # noqa: BLE001 - if the worker died, the call would never finish
        return None, CallframeError(f"Internal error: {error!r}")


def read_response(client: Client, key: Key, stop: threading.Event) -> tuple[str, str | None]:
    """Read the response of a call as JSON text, and the route of its request."""
    answer = client.call_response(*key, stop=stop)
    text = json.dumps(answer.response, ensure_ascii=False)
    text = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return text, route_of(answer.data) or route_of(answer.response)


def route_of(value: Any) -> str | None:
    """Name the route of a function app, such as `GET /pumps`, that the data of a call or its response carries."""
    path, method = (value.get("path"), value.get("method")) if isinstance(value, dict) else (None, None)
    if not isinstance(path, str) or not path.startswith("/"):
        return None
    return f"{method.upper() if isinstance(method, str) else ''} {path.split('?')[0]}".strip()


def lines_with(text: str | None, entries: Iterable[LogEntry]) -> list[LogEntry]:
    """Select the lines that contain a text, in any case; None selects all."""
    sought = (text or "").casefold()
    return [entry for entry in entries if sought in (entry.message or "").casefold()]


def log_frame(entries: Sequence[LogEntry]) -> pd.DataFrame:
    """Make a frame of the lines of a log."""
    return pd.DataFrame(
        {
            "timestamp": frame.time_column([entry.timestamp for entry in entries]),
            "message": frame.text_column([entry.message for entry in entries]),
        }
    )


def report(table: pd.DataFrame, *, strict: bool) -> pd.DataFrame:
    """Return a frame of responses or logs; warn of what could not be read, or raise if strict."""
    if coverage := Coverage.of(table):
        warn_about_records(table, coverage)
        report_incomplete(table, coverage, strict=strict)
    return table


def _one_row_per_call(calls: pd.DataFrame) -> pd.DataFrame:
    frame.check(calls)
    return frame.deduplicate(calls).reset_index(drop=True)


def _function_coverage(
    noun: str, calls: pd.DataFrame, set_aside: Mapping[int, Counter[InvalidRecord]]
) -> FunctionCoverage:
    """Make the coverage of the responses or logs of one function, of calls with the `error` of each."""
    function_id, unread = int(calls["function_id"].iloc[0]), calls[calls["error"].notna()]
    reasons = [
        f"{len(unread):,} of {len(calls):,} {noun} could not be read, the first of call {row.call_id}: {row.error}"
        for row in unread.head(1).itertuples()
    ]
    invalid = set_aside.get(function_id, Counter[InvalidRecord]())
    return FunctionCoverage(
        function_id,
        str(calls["function"].iloc[0]),
        tuple(reasons),
        len(calls) - len(unread),
        count_reasons(invalid),
        tuple(record.reason for record in list(invalid)[:_MAX_EXAMPLES]),
    )
