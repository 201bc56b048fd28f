"""
Histories of one function that are uneven, and the service that lists them in any order.

    uv run python -m benchmarks.fetching "last 2 of 90 days" random 200000 0.1

serves one, and prints the environment variables that connect to it.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from callframe.sample.project_data import Filter, Page, Position, ProjectData
from callframe.sample.server import Service

if TYPE_CHECKING:
    from collections.abc import Callable

FUNCTION_ID = 7
END_MS = 1_790_769_600_000
DAY_MS = 86_400_000
WORKERS = 5
ORDERS = ("ascending", "descending", "random")


@dataclass(frozen=True)
class History:
    """
    When calls start, before `END_MS`, and how they are fetched.

    Parameters
    ----------
    age_ms
        Draws the ages of calls at `END_MS`, from a generator and their number.
    days
        Days to fetch.
    share
        Share of the usual number of calls.
    page_share
        Rows of a page, as a share of the usual number.
    created_days
        Age of the function.
    is_sequential
        Whether no window can be cut, so that pages can only be read one after the other.
    looks
        Rounds of requests that even the fastest client needs to find the calls.
    """

    age_ms: Callable[[np.random.Generator, int], Any]
    days: float = 90
    share: float = 1.0
    page_share: float = 1.0
    created_days: float = 90
    is_sequential: bool = False
    looks: int = 0

    def calls(self, count: int) -> int:
        """Return the number of calls."""
        return round(count * self.share)

    def page_rows(self, count: int) -> int:
        """Return the number of rows of a page: twenty pages, or two hundred."""
        return max(1, round(count / 20 * self.page_share))

    def ideal_s(self, count: int, latency_s: float) -> float:
        """Return the time of full pages that keep all workers busy, after a request for the functions."""
        pages = math.ceil(self.calls(count) / self.page_rows(count))
        return latency_s * (1 + self.looks + (pages if self.is_sequential else math.ceil(pages / WORKERS)))


def _last(days: float) -> Callable[[np.random.Generator, int], Any]:
    return lambda rng, count: rng.random(count) * days * DAY_MS + 1


def _within(span_ms: float) -> Callable[[np.random.Generator, int], Any]:
    return lambda rng, count: 3 * DAY_MS + rng.random(count) * span_ms


HISTORIES = {
    "even": History(_last(90)),
    "even, small pages": History(_last(90), page_share=0.1),
    "last 14 of 90 days": History(_last(14)),
    "last 14 of 90 days, small pages": History(_last(14), page_share=0.1),
    "last 2 of 90 days": History(_last(2)),
    "last 2 of 90 days, small pages": History(_last(2), page_share=0.1),
    "a quarter of them, in a minute": History(_within(60_000), share=0.25, looks=1),
    "a quarter of them, in a minute, small pages": History(_within(60_000), share=0.25, looks=1, page_share=0.1),
    "in a millisecond": History(_within(0), is_sequential=True),
    "last 14 of 1000 days": History(_last(14), days=1000, created_days=14),
}


class OrderedCalls(ProjectData):
    """Calls of one function, listed in the order in which they are given."""

    start_ms: Any
    records: list[bytes]

    def page(self, function_id: int, filter_: Filter, *, after: Position | None = None, limit: int) -> Page:  # noqa: ARG002
        """Return a page of the listing."""
        first, (low, high) = 0 if after is None else after.start, filter_.start
        starts = self.start_ms[first:]
        rows = np.flatnonzero((starts >= (low or 0)) & (starts <= (high or END_MS)))[: limit + 1] + first
        records = [self.records[row] for row in rows[:limit].tolist()]
        return Page(records, Position(int(rows[limit]), 0) if len(rows) > limit else None)


def project_data(history: History, order: str, count: int) -> OrderedCalls:
    """Build the calls of a history."""
    rng = np.random.default_rng(1)
    starts = np.sort(END_MS - history.age_ms(rng, history.calls(count)).astype("int64"))
    starts = {"ascending": starts, "descending": starts[::-1], "random": rng.permutation(starts)}[order]
    function = {"id": FUNCTION_ID, "name": "f", "createdTime": END_MS - round(history.created_days * DAY_MS)}
    data = OrderedCalls.from_records(functions=[function], calls={FUNCTION_ID: []})
    assert isinstance(data, OrderedCalls)
    data.start_ms = np.ascontiguousarray(starts)
    common = {"functionId": FUNCTION_ID, "status": "Completed", "scheduleId": 3}
    data.records = [
        json.dumps(
            {"id": number, "startTime": start, "scheduledTime": start, "endTime": start + 900, **common}
        ).encode()
        for number, start in enumerate(starts.tolist(), 1)
    ]
    return data


def main() -> None:
    """Serve a history until it is killed."""
    name, order, count, latency_s = sys.argv[1:]
    history = HISTORIES[name]
    data, page_rows = project_data(history, order, int(count)), history.page_rows(int(count))
    service = Service(data, page_cap=page_rows, latency_s=float(latency_s))

    def show() -> None:
        print("\n".join(f"{key}={value}" for key, value in service.environment().items()), flush=True)

    service.serve_forever(show)


if __name__ == "__main__":
    main()
