"""Services that do not keep the documented contract: no call is lost, and complete is only what was checked."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record
from services import FakeServer, ReceivedRequest, Reply, client_of, error_reply, json_reply

from callframe.api import fetch
from callframe.completeness import coverage, is_complete
from callframe.errors import IncompleteWarning, InvalidResponseError, RecordWarning
from callframe.project import Project
from callframe.timespan import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

Record = dict[str, Any]


@dataclass
class HostileListing:
    """Lists calls in the order given, page by page; the changes of the contract are options."""

    calls: list[Record]
    page_rows: int = 100
    ignored: Iterable[str] = ()
    includes: tuple[bool, bool] = (True, True)
    """Whether the range of start times includes its min and its max."""
    change: Callable[[int, Reply], Reply] = lambda _, reply: reply
    """Changes the reply to the page of a number, from 0, of a listing."""
    server: FakeServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = FakeServer(respond=self.respond)

    @property
    def page_requests(self) -> int:
        return sum(request.path.endswith("/calls/list") for request in self.server.requests)

    def respond(self, request: ReceivedRequest) -> Reply:
        if not request.path.endswith("/calls/list"):
            return json_reply({"items": [function_record(id=7), function_record(id=8, externalId="eight")]})
        body = json.loads(request.body)
        first = int(body.get("cursor", 0))
        function_id = int(request.path.split("/")[-3])
        selected = [call for call in self.calls if self.matches(call, function_id, body["filter"])]
        page: Record = {"items": selected[first : first + self.page_rows]}
        if first + self.page_rows < len(selected):
            page["nextCursor"] = str(first + self.page_rows)
        return self.change(first // self.page_rows, json_reply(page))

    def matches(self, call: Record, function_id: int, conditions: Record) -> bool:
        window = conditions["startTime"]
        low, high = window["min"] + (not self.includes[0]), window["max"] - (not self.includes[1])
        matches = {
            "functionId": call["functionId"] == function_id,
            "startTime": low <= call["startTime"] <= high,
            "status": conditions.get("status") in {None, call["status"]},
            "scheduleId": conditions.get("scheduleId") in {None, call.get("scheduleId")},
        }
        return all(matches[name] for name in matches if name not in self.ignored)

    def fetch(self, *functions: int, workers: int = 5, **arguments: Any) -> pd.DataFrame:
        with client_of(self.server, workers=workers) as client:
            return Project(client, clock=lambda: NOW_MS / 1000).calls(*(functions or (7,)), **arguments)


def shuffled(calls: list[Record]) -> list[Record]:
    return random.Random(1).sample(calls, len(calls))


def ids(calls: Iterable[Record]) -> list[int]:
    return [call["id"] for call in calls]


ORDERS: dict[str, Callable[[list[Record]], list[Record]]] = {
    "ascending": lambda calls: calls,
    "descending": lambda calls: calls[::-1],
    "random": shuffled,
}

# Filters that are ignored


@pytest.mark.parametrize("order", ORDERS)
def test_listing_that_ignores_its_window_is_read_once(order: str) -> None:
    calls = call_records(4_000, step_ms=60_000)
    listing = HostileListing(ORDERS[order](calls), ignored=["startTime"])
    with pytest.warns(RecordWarning, match="3652 records .*the service ignored the filter startTime"):
        fetched = listing.fetch(start=timestamp(NOW_MS - 348 * 60_000))
    assert fetched["call_id"].to_list() == ids(calls[-348:])
    assert is_complete(fetched)
    assert listing.page_requests <= 40 + 5


def test_listing_that_ignores_its_window_is_incomplete_unless_read_to_its_end() -> None:
    listing = HostileListing(
        call_records(4_000, step_ms=60_000)[::-1],
        ignored=["startTime"],
        change=lambda page, reply: reply if page < 10 else error_reply(403),
    )
    with pytest.warns(RecordWarning), pytest.warns(IncompleteWarning, match="403"):
        fetched = listing.fetch(start="1h")
    assert len(fetched) == 60
    assert not is_complete(fetched)


@pytest.mark.parametrize("name", ["min", "max"])
def test_listing_that_ignores_one_end_of_its_window_is_complete(name: str) -> None:
    calls = call_records(1_000, step_ms=60_000)

    class OpenListing(HostileListing):
        def matches(self, call: Record, function_id: int, conditions: Record) -> bool:
            window = conditions["startTime"] | {name: {"min": 0, "max": 2**53}[name]}
            return super().matches(call, function_id, conditions | {"startTime": window})

    listing = OpenListing(calls)
    with pytest.warns(RecordWarning, match="startTime"):
        fetched = listing.fetch(start=timestamp(NOW_MS - 500 * 60_000), end=timestamp(NOW_MS - 100 * 60_000))
    assert fetched["call_id"].to_list() == ids(calls[500:900])
    assert is_complete(fetched)


@pytest.mark.parametrize(
    ("name", "argument", "other"),
    [("scheduleId", {"schedule": 3}, {"scheduleId": 4}), ("status", {"status": "Completed"}, {"status": "Failed"})],
)
def test_calls_that_do_not_match_an_ignored_filter_are_dropped(name: str, argument: Record, other: Record) -> None:
    calls = [call | {"scheduleId": 3} | (other if k % 2 else {}) for k, call in enumerate(call_records(400))]
    listing = HostileListing(calls, ignored=[name])
    with pytest.warns(RecordWarning, match=f"200 records .*the service ignored the filter {name}"):
        fetched = listing.fetch(**argument)
    assert fetched["call_id"].to_list() == ids(calls[::2])
    assert is_complete(fetched)
    assert coverage(fetched)["set_aside"].to_list() == [200]


def test_calls_of_other_functions_are_dropped() -> None:
    calls = [*call_records(50), *call_records(20, function_id=8)]
    with pytest.warns(RecordWarning, match="20 records .*its function is not the one"):
        fetched = HostileListing(calls, ignored=["functionId"]).fetch(workers=1)
    assert fetched["function_id"].unique().tolist() == [7]
    assert len(fetched) == 50


def test_answer_to_another_request_is_not_an_empty_function() -> None:
    listing = HostileListing(call_records(20, function_id=8), ignored=["functionId"])
    with pytest.warns(IncompleteWarning, match="answered with calls of function 8 when asked for those of function 7"):
        fetched = listing.fetch(workers=1)
    assert fetched.empty


def test_interim_response_does_not_shift_the_answers() -> None:
    calls = [*call_records(30), *call_records(20, function_id=8)]
    listing = HostileListing(calls, page_rows=10, change=lambda _, reply: replace(reply, early_hints=True))
    fetched = listing.fetch(7, 8)
    assert fetched["function_id"].value_counts().to_dict() == {7: 30, 8: 20}
    assert is_complete(fetched)


def test_ids_that_were_not_asked_for_are_dropped() -> None:
    server = FakeServer(json_reply({"items": [function_record()]}), json_reply({"items": call_records(5)}))
    wanted = ids(call_records(5))[:2]
    with client_of(server, workers=1) as client, pytest.warns(RecordWarning, match="3 records .*its id is not one"):
        fetched = Project(client, clock=lambda: NOW_MS / 1000).calls(7, call_ids=wanted)
    assert fetched["call_id"].to_list() == wanted


@pytest.mark.parametrize("changes", [{"id": 777}, {"functionId": 55}])
def test_single_call_that_was_not_asked_for_is_an_error(changes: Record) -> None:
    server = FakeServer(json_reply({"items": [function_record()]}), json_reply(call_record() | changes))
    with client_of(server) as client, pytest.raises(InvalidResponseError, match="when asked for call 1 of function 7"):
        Project(client).call(7, 1)


@pytest.mark.parametrize("includes", list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize("workers", [1, 5])
def test_ends_of_a_window_may_be_excluded(includes: tuple[bool, bool], workers: int) -> None:
    starts = [NOW_MS - 100_000 + 10_000 * k + d for k in range(11) for d in (-2, -1, 0, 1, 2)]
    calls = [call_record(id=number, startTime=start) for number, start in enumerate(starts, 1)]
    listing = HostileListing(calls, page_rows=7, includes=includes)
    fetched = listing.fetch(workers=workers, start=timestamp(NOW_MS - 100_000))
    assert fetched["call_id"].to_list() == [
        number for number, start in enumerate(starts, 1) if NOW_MS - 100_000 <= start < NOW_MS
    ]
    assert coverage(fetched)["set_aside"].to_list() == [0]


# Cursors


@pytest.mark.parametrize("order", ORDERS)
def test_window_is_cut_if_its_cursors_die(order: str) -> None:
    calls = call_records(3_000)
    listing = HostileListing(
        ORDERS[order](calls), change=lambda page, reply: reply if page < 3 else error_reply(400, "cursor expired")
    )
    fetched = listing.fetch(workers=1)
    assert fetched["call_id"].to_list() == ids(calls)
    assert is_complete(fetched)


def test_calls_of_one_millisecond_cannot_be_cut_if_their_cursors_die() -> None:
    calls = [call_record(id=number) for number in range(1, 501)]
    listing = HostileListing(calls, change=lambda page, reply: reply if page < 3 else error_reply(400, "cursor died"))
    with pytest.warns(IncompleteWarning, match="cursor died"):
        fetched = listing.fetch(workers=1)
    assert len(fetched) == 300
    assert listing.page_requests < 1_000


class EndlessListing(HostileListing):
    """Answers every page with some of the same calls, and a new cursor."""

    def respond(self, request: ReceivedRequest) -> Reply:
        if not request.path.endswith("/calls/list"):
            return super().respond(request)
        page = shuffled(self.calls)[: self.page_rows] if self.calls else []
        return json_reply({"items": page, "nextCursor": str(len(self.server.requests))})


@pytest.mark.parametrize("page_rows", [1, 50, 4_000])
def test_listing_that_repeats_its_calls_under_new_cursors_ends(page_rows: int) -> None:
    calls = [call_record(id=number, startTime=NOW_MS - 1) for number in range(1, 4_001)]
    listing = EndlessListing(calls, page_rows=page_rows)
    with pytest.warns(IncompleteWarning, match="last 10 pages had no new call"):
        fetched = listing.fetch(workers=2, start=timestamp(NOW_MS - DAY_MS))
    assert len(fetched) == page_rows
    assert listing.page_requests < 20


def test_listing_of_empty_pages_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_MAX_EMPTY_PAGES", 30)
    listing = EndlessListing([])
    with pytest.warns(IncompleteWarning, match="last 30 pages had no new call"):
        listing.fetch(workers=1)
    assert listing.page_requests == 30


# Invalid records


def test_equal_invalid_records_are_counted_one_by_one() -> None:
    calls = [*[call_record(id=0)] * 50, call_record()]
    with pytest.warns(RecordWarning, match="50 records"):
        fetched = HostileListing(calls, page_rows=7).fetch()
    assert len(fetched) == 1


@pytest.mark.parametrize("start_ms", [-1, 0])
def test_invalid_record_that_is_in_several_windows_is_counted_once(start_ms: int) -> None:
    edge_ms = NOW_MS - 60_000

    class OverlappingListing(HostileListing):
        def matches(self, call: Record, function_id: int, conditions: Record) -> bool:
            return (call["id"] == 0 and start_ms < 0) or super().matches(call, function_id, conditions)

    calls = [call_record(id=0, startTime=edge_ms if start_ms == 0 else -1), call_record(startTime=NOW_MS - 1)]
    listing = OverlappingListing(calls)
    with pytest.warns(RecordWarning, match="1 records"):
        fetched = listing.fetch(workers=2, start=timestamp(edge_ms - 60_000))
    assert listing.page_requests == 2
    assert len(fetched) == 1
