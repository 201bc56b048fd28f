"""Every oddity is counted as a slow loop counts it, and named with calls that show it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pandas as pd
import pytest
from factories import DAY_MS, MINUTE_MS, NOW_MS, SECOND_MS, START_MS, attach_coverage, call_frame, make_call
from hypothesis import given, settings
from hypothesis import strategies as st

import callframe as cf
from callframe import frame
from callframe.api import schemas
from callframe.api.schemas import Call, CallError
from callframe.completeness import FunctionCoverage
from callframe.timespan import iso

LABELS = {7: "ingest", 8: "report", 9: "ingest"}
SECRET = "refused password=" + "hunter2hunter2"


def scheduled_call(minute: int = 0, **changes: Any) -> Call:
    start_ms = START_MS + minute * MINUTE_MS
    fields = {"id": minute + 1, "start_time": start_ms, "scheduled_time": start_ms, "schedule_id": 4}
    return make_call(**(fields | changes))


def frame_of(*calls: Call, **request: Any) -> pd.DataFrame:
    """Build the call frame of a complete fetch, unless `request` differs."""
    fetched = call_frame(*calls, labels=LABELS)
    window = {"start": iso(START_MS - 30 * DAY_MS), "end": iso(NOW_MS)}
    content = {"functions": [], "fetched_at": iso(START_MS + 400 * SECOND_MS), "window": window} | request
    attach_coverage(fetched, content.pop("functions"), project="p", **content)
    return fetched


def count(name: str, *records: Call, **asked: Any) -> int:
    return int(cf.quality(frame_of(*records, **asked))["count"][name])


CASES: dict[str, list[Call]] = {
    "unknown_status": [scheduled_call(status="Paused")],
    "timeout": [scheduled_call(status="Timeout")],
    "error_response": [scheduled_call(status="Error response")],
    "stuck": [scheduled_call(-11, id=1, status="Running", end_time=None)],
    "running_with_end_time": [scheduled_call(status="Running")],
    "finished_without_end_time": [scheduled_call(end_time=None)],
    "beyond_run_limit": [scheduled_call(end_time=START_MS + 16 * MINUTE_MS)],
    "negative_duration": [scheduled_call(end_time=START_MS - 1)],
    "negative_delay": [scheduled_call(scheduled_time=START_MS + 1)],
    "epoch_zero": [scheduled_call(scheduled_time=0)],
    "unscheduled": [scheduled_call(scheduled_time=None, schedule_id=None)],
    "duplicate_run": [scheduled_call(0), scheduled_call(1, scheduled_time=START_MS + 400)],
    "redeployed": [scheduled_call(0), scheduled_call(1, function_id=9)],
    "labelled_by_id": [scheduled_call(function_id=5)],
    "rounded_ids": [scheduled_call(id=4503599627370496)],
    "failed_without_error": [scheduled_call(status="Failed")],
    "failed_without_trace": [scheduled_call(status="Failed", error="it failed")],
    "error_without_failure": [scheduled_call(status="Running", end_time=None, error="Could not authenticate.")],
    "secret": [scheduled_call(status="Failed", error=SECRET)],
    "control_characters": [scheduled_call(status="Failed", error="\x1b[31mred")],
    "html": [scheduled_call(status="Failed", error="<html><body>502 Bad Gateway</body></html>")],
    "formula": [scheduled_call(status="Failed", error="=1+1")],
    "replaced_characters": [scheduled_call(status="Failed", error="pump \ufffd")],
}


@pytest.mark.parametrize("name", CASES)
def test_problem_is_counted(name: str) -> None:
    assert count(name, *CASES[name]) == 1


@pytest.mark.parametrize("name", CASES)
def test_problem_is_named_with_a_call_that_shows_it(name: str) -> None:
    ids = {call.id for call in CASES[name]}
    named = cf.quality(frame_of(*CASES[name]))["call_ids"][name]
    assert named
    assert set(named) <= ids


def test_ordinary_calls_are_all_clear() -> None:
    found = cf.quality(
        frame_of(scheduled_call(0), scheduled_call(1), scheduled_call(2, status="Running", end_time=None))
    )
    assert found.index[found["count"] > 0].tolist() == []


def test_every_problem_has_a_row_where_there_is_none_of_it() -> None:
    assert cf.quality(frame.empty()).index.tolist() == cf.quality(frame_of(*CASES["stuck"])).index.tolist()


def test_every_case_but_those_of_whole_frames_is_here() -> None:
    whole = {"incomplete", "coverage_unknown", "set_aside", "left_edge", "repeated_call", "out_of_order"}
    assert set(cf.quality(frame.empty()).index) == set(CASES) | whole


def test_problems_have_one_line_of_advice_each() -> None:
    found = cf.quality(frame.empty())
    assert found["advice"].str.len().between(10, 120).all()
    assert not found["advice"].str.contains("\n").any()


def test_functions_that_could_not_be_read_are_counted() -> None:
    broken = FunctionCoverage(7, "ingest", reasons=("403",))
    assert count("incomplete", scheduled_call(), functions=[broken, FunctionCoverage(8, "report")]) == 1


def test_records_set_aside_are_counted() -> None:
    some = FunctionCoverage(7, "ingest", set_aside={"no id": 2, "negative time": 1})
    assert count("set_aside", scheduled_call(), functions=[some]) == 3


def test_frame_that_says_nothing_of_its_coverage_is_seen() -> None:
    calls = frame_of(scheduled_call(0), scheduled_call(1, function_id=8))
    calls.attrs = {}
    assert cf.quality(calls).loc["coverage_unknown", "count"] == 2


def test_calls_at_the_left_edge_are_counted() -> None:
    window = {"start": iso(START_MS), "end": iso(START_MS + DAY_MS)}
    assert count("left_edge", scheduled_call(0), scheduled_call(14), scheduled_call(15), window=window) == 2


def test_left_edge_is_the_first_start_where_the_window_is_not_known() -> None:
    calls = frame_of(scheduled_call(3), scheduled_call(17), scheduled_call(18))
    calls.attrs = {}
    assert cf.quality(calls).loc["left_edge", "count"] == 2


def test_calls_requested_by_ids_have_no_left_edge() -> None:
    assert count("left_edge", scheduled_call(), asked={"call_ids": 1}) == 0


def test_call_that_is_in_the_frame_twice_is_counted_once() -> None:
    calls = pd.concat([frame_of(scheduled_call(0), scheduled_call(1)), frame_of(scheduled_call(1))], ignore_index=True)
    assert cf.quality(calls).loc[["repeated_call"], ["count", "call_ids"]].to_numpy().tolist() == [[1, [2]]]


def test_calls_of_two_functions_may_share_an_id() -> None:
    assert count("repeated_call", scheduled_call(), scheduled_call(function_id=8)) == 0


def test_calls_out_of_order_are_counted() -> None:
    calls = frame_of(scheduled_call(0), scheduled_call(1), scheduled_call(2)).iloc[[1, 0, 2]]
    assert cf.quality(calls).loc[["out_of_order"], ["count", "call_ids"]].to_numpy().tolist() == [[1, [1]]]


def test_running_call_within_the_run_limit_is_not_stuck() -> None:
    assert count("stuck", scheduled_call(-10, id=1, status="Running"), fetched_at=iso(START_MS)) == 0


@pytest.mark.parametrize("minutes", [9, 10, 12, 15, 16])
@pytest.mark.parametrize("limit", [{}, {"run_limit": "9min"}, {"run_limit": "10min"}, {"run_limit": "12min"}])
def test_calls_are_stuck_where_they_are_in_a_summary(minutes: int, limit: dict[str, Any]) -> None:
    calls = frame_of(scheduled_call(-minutes, id=1, status="Running"), fetched_at=iso(START_MS + 1))
    assert cf.quality(calls, **limit).loc["stuck", "count"] == cf.summarize(calls, **limit)["stuck"].sum()


def test_run_limit_can_be_given() -> None:
    calls = frame_of(scheduled_call(end_time=START_MS + 10 * MINUTE_MS))
    assert cf.quality(calls, run_limit="9min").loc["beyond_run_limit", "count"] == 1


def test_timeout_beyond_the_run_limit_is_expected() -> None:
    assert count("beyond_run_limit", scheduled_call(status="Timeout", end_time=START_MS + 16 * MINUTE_MS)) == 0


@pytest.mark.parametrize("text", ["<urllib3.connection.HTTPSConnection object at 0x7f>", "a < b > c", "<class 'str'>"])
def test_angle_brackets_are_not_html(text: str) -> None:
    assert count("html", scheduled_call(status="Failed", error=text)) == 0


def test_lines_and_tabs_are_not_control_characters() -> None:
    assert count("control_characters", scheduled_call(status="Failed", error="one\n\ttwo\r\nthree")) == 0


def test_secrets_are_never_shown() -> None:
    calls = frame_of(scheduled_call(status="Failed", error=CallError(SECRET, SECRET)))
    assert "hunter2" not in cf.quality(calls).to_csv()


def test_latest_calls_are_named_first_and_five_at_most() -> None:
    calls = frame_of(*(scheduled_call(at, status="Timeout") for at in range(1000)))
    assert cf.quality(calls).loc["timeout", "call_ids"] == [1000, 999, 998, 997, 996]


@pytest.mark.parametrize("run_limit", ["soon", "-1min", "0s", "NaT"])
def test_run_limit_that_is_invalid_is_rejected(run_limit: Any) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="run_limit"):
        cf.quality(frame.empty(), run_limit=run_limit)


def test_frame_that_is_not_a_call_frame_names_what_it_lacks() -> None:
    with pytest.raises(cf.errors.FrameError, match="missing the columns status"):
        cf.quality(frame.empty().drop(columns="status"))


@pytest.mark.parametrize("calls", [frame.empty(), frame_of(scheduled_call())], ids=["empty", "one call"])
def test_columns_have_their_types(calls: pd.DataFrame) -> None:
    dtypes = {name: str(dtype) for name, dtype in cf.quality(calls).dtypes.items()}
    assert dtypes == {"count": "int64", "unit": "str", "what": "str", "advice": "str", "call_ids": "object"}


def test_empty_frame_has_nothing_odd() -> None:
    assert cf.quality(frame.empty())["count"].sum() == 0


def test_input_is_left_as_it_was() -> None:
    calls = frame_of(*(call for case in CASES.values() for call in case)).iloc[::-1]
    before = calls.copy(deep=True)
    cf.quality(calls)
    pd.testing.assert_frame_equal(calls, before)


# Against a loop

ERRORS = ["it failed", "=1+1", "<b>no</b>", "\x07", "\ufffd", SECRET, CallError("x", "y"), None, None]
TIMES = st.sampled_from([0, START_MS, START_MS + 1, START_MS + MINUTE_MS, START_MS + 20 * MINUTE_MS])
CALLS = st.builds(
    Call,
    id=st.integers(1, 9) | st.just(10**15),
    function_id=st.sampled_from([5, 7, 8, 9]),
    status=st.sampled_from(["Running", "Completed", "Failed", "Timeout", "Paused"]),
    start_time=TIMES,
    end_time=st.none() | TIMES,
    scheduled_time=st.none() | TIMES,
    schedule_id=st.none() | st.integers(1, 2),
    error=st.sampled_from(ERRORS),
)


def loop(calls: pd.DataFrame) -> Counter[str]:
    """Count the oddities that a row, or the rows before it, shows."""
    found: Counter[str] = Counter()
    ids: dict[str, set[int]] = defaultdict(set)
    seen_calls: set[tuple[int, int]] = set()
    slots: set[tuple[int, pd.Timestamp]] = set()
    rows: list[dict[Any, Any]] = calls.to_dict("records")
    edge = min((row["start_time"] for row in rows), default=pd.Timestamp(0, tz="UTC"))
    latest = max(
        [row["start_time"] for row in rows] + [row["end_time"] for row in rows if row["end_time"] is not pd.NaT],
        default=None,
    )
    limit, zero = pd.Timedelta("10min"), pd.Timestamp(0, tz="UTC")
    for above, row in zip([None, *rows], rows, strict=False):
        status, message, trace = row["status"], row["error_message"], row["error_trace"]
        said, traced = isinstance(message, str), isinstance(trace, str)
        ended = row["end_time"] is not pd.NaT
        took = row["end_time"] - row["start_time"] if ended and status != "Running" else pd.NaT
        found["unknown_status"] += status == "Paused"
        found["timeout"] += status == "Timeout"
        found["error_response"] += status == "Error response"
        found["stuck"] += status == "Running" and latest - row["start_time"] > limit
        found["running_with_end_time"] += status == "Running" and ended
        found["finished_without_end_time"] += status in ("Completed", *frame.FAILURES) and not ended
        found["beyond_run_limit"] += status != "Timeout" and bool(took > limit)
        found["negative_duration"] += bool(took < pd.Timedelta(0))
        found["negative_delay"] += bool(row["scheduled_time"] > row["start_time"])
        found["epoch_zero"] += zero in (row["start_time"], row["end_time"], row["scheduled_time"])
        found["unscheduled"] += row["scheduled_time"] is pd.NaT
        found["rounded_ids"] += row["call_id"] >= 10**15
        found["failed_without_error"] += status == "Failed" and not said and not traced
        found["failed_without_trace"] += status == "Failed" and said and not traced
        found["error_without_failure"] += status not in frame.FAILURES and (said or traced)
        found["secret"] += said and "password=" in message
        found["control_characters"] += said and "\x07" in message
        found["html"] += said and "<b>" in message
        found["formula"] += said and message[0] == "="
        found["replaced_characters"] += said and "\ufffd" in message
        found["left_edge"] += row["start_time"] < edge + limit
        if above is not None:
            before, here = ((one["start_time"], one["call_id"]) for one in (above, row))
            found["out_of_order"] += here < before
        key = (row["function_id"], row["call_id"])
        found["repeated_call"] += key in seen_calls
        seen_calls.add(key)
        if pd.notna(row["schedule_id"]) and pd.notna(row["scheduled_time"]):
            slot = (row["schedule_id"], row["scheduled_time"].round("min"))
            found["duplicate_run"] += slot in slots
            slots.add(slot)
        ids[row["function"]].add(row["function_id"])
    found["redeployed"] = sum(len(several) > 1 for several in ids.values())
    found["labelled_by_id"] = sum(str(one) == label for label, several in ids.items() for one in several)
    found["coverage_unknown"] = len({(row["function"], row["function_id"]) for row in rows})
    return found


@settings(deadline=None, max_examples=25)
@given(st.lists(CALLS, max_size=10), st.randoms(use_true_random=False))
def test_counts_are_those_of_a_loop(records: list[Call], random: Any) -> None:
    calls = frame.from_columns([schemas.to_columns(records)], LABELS)
    calls = pd.concat([calls, calls.head(1)]).sample(frac=1, random_state=random.randrange(1000))
    found = cf.quality(calls)["count"]
    assert found[found > 0].to_dict() == {name: value for name, value in loop(calls).items() if value}
