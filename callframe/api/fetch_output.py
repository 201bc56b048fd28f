"""Reads the responses and logs of many calls in parallel, with one request per call."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from types import MappingProxyType
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

Output = TypeVar("Output")

WITHOUT_RESPONSE = ("Running", "Failed", "Timeout")
"""The statuses of calls that have no response."""

_REPEATED = (ForbiddenError, RateLimitError, TransportError, UnauthorizedError, UnavailableError)
"""Errors that the other calls of a function would meet too."""

_MAX_FAILURES = 5
_NOT_ASKED = f"not asked for after {_MAX_FAILURES} failures in a row of its function"
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
        asked = np.flatnonzero(~calls["status"].isin(WITHOUT_RESPONSE))
        columns = {name: np.full(len(calls), None, dtype="object") for name in ("response", "response_error", "route")}

        def read(function_id: int, call_id: int) -> tuple[str, str | None]:
            answer = self.client.call_response(function_id, call_id, stop=self.stop)
            text = json.dumps(answer.response, ensure_ascii=False)
            text = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
            return text, route_of(answer.data) or route_of(answer.response)

        def store(position: int, response: tuple[str, str | None]) -> None:
            columns["response"][asked[position]], columns["route"][asked[position]] = response

        errors = self._read("responses", calls.take(asked), read, store)
        columns["response_error"][asked] = errors
        texts = {name: frame.text_column(column.tolist()) for name, column in columns.items()}
        return self._with_coverage(calls[_CALL].assign(**texts), "responses", calls.take(asked), errors)

    def logs(self, calls: pd.DataFrame, contains: str | None) -> pd.DataFrame:
        """Make the frame of `Project.logs` of many calls."""
        calls = _one_row_per_call(calls)
        lines: list[Sequence[LogEntry]] = [()] * len(calls)
        set_aside: dict[int, Counter[InvalidRecord]] = defaultdict(Counter)

        def read(function_id: int, call_id: int) -> Page[LogEntry]:
            page = self.client.call_log(function_id, call_id, stop=self.stop)
            page.items = lines_with(contains, page.items)
            return page

        def store(position: int, page: Page[LogEntry]) -> str | None:
            lines[position] = page.items
            set_aside[int(calls["function_id"].iloc[position])].update(page.set_aside)
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
        read: Callable[[int, int], Output],
        store: Callable[[int, Output], str | None],
    ) -> list[str | None]:
        """
        Read each call in parallel, and return for each why it could not be read completely, None if it was.

        `read` runs in a worker, `store` in this thread, with the position of the call; it returns what is wrong with
        the result. After Ctrl-C, or when another thread sets `stop`, what was stored is kept.
        """
        keys = list(zip(calls["function_id"].tolist(), calls["call_id"].tolist(), strict=True))
        errors: list[str | None] = [INTERRUPTED] * len(keys)
        failures: Counter[int] = Counter()

        def work(position: int) -> Iterator[tuple[int, Output | CallframeError]]:
            function_id, call_id = keys[position]
            result: Output | CallframeError = CallframeError(_NOT_ASKED)
            if failures[function_id] < _MAX_FAILURES:
                result = _attempt(read, function_id, call_id)
                failures[function_id] = failures[function_id] + 1 if isinstance(result, _REPEATED) else 0
            yield position, result

        def take(position: int, result: Output | CallframeError) -> None:
            errors[position] = str(result) if isinstance(result, CallframeError) else store(position, result)

        with (
            progress_bar(self.progress, noun) as show,
            Workers(self.client.workers, work, self.stop) as workers,
            contextlib.suppress(KeyboardInterrupt),
        ):
            for position in range(len(keys)):
                workers.submit(position)
            done = 0
            while done < len(keys) and not self.stop.is_set():
                if (result := workers.next_result()) is not None:
                    take(*result)
                    done += 1
                    show(done / len(keys), f"{done:,} of {len(keys):,}")
        for result in workers.arrived_results():
            take(*result)
        return errors

    def _with_coverage(
        self,
        table: pd.DataFrame,
        noun: str,
        calls: pd.DataFrame,
        errors: Sequence[str | None],
        set_aside: Mapping[int, Counter[InvalidRecord]] = MappingProxyType({}),
    ) -> pd.DataFrame:
        """Attach what could not be read of which function."""
        rows = calls[_CALL].assign(error=frame.text_column(errors).array)
        functions = [_function_coverage(noun, one, set_aside) for _, one in rows.groupby("function_id", sort=False)]
        table.attrs = {}
        Coverage(
            self.client.clock.now_ms(),
            tuple(functions),
            self.client.target.project,
            call_ids=len(calls),
            described=CallSet.of(table),
        ).attach(table)
        return table


def _attempt(read: Callable[[int, int], Output], function_id: int, call_id: int) -> Output | CallframeError:
    try:
        return read(function_id, call_id)
    except StoppedError:
        return CallframeError(INTERRUPTED)
    except CallframeError as error:
        return error
    except BaseException as error:  # noqa: BLE001 - if the worker died, the call would never finish
        return CallframeError(f"Internal error: {error!r}")


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
