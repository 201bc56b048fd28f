"""Findings: what is worth a sentence, in which order, and silence where nothing is wrong."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, attach_coverage, frame_from_columns

from callframe import demo, findings, frame
from callframe.completeness import FunctionCoverage

START_MS = NOW_MS - 30 * DAY_MS
LAST_DAYS_MS = NOW_MS - 12 * DAY_MS


def month(seed: int = 0, **changes: Any) -> pd.DataFrame:
    """Build 30 days of a function that runs every half hour for 10 s, and fails once in a hundred times."""
    rng = np.random.default_rng(seed)
    start = np.arange(START_MS, NOW_MS, 30 * MINUTE_MS)
    columns = {
        "function": np.full(len(start), "f"),
        "status": np.where(rng.random(len(start)) < 0.01, "Failed", "Completed"),
        "start": start,
        "duration": 10_000 * np.exp(rng.normal(0, 0.3, len(start))),
        "delay": np.full(len(start), 1000.0),
    }
    return frame_from_columns(**(columns | {name: change(columns, rng) for name, change in changes.items()}))


def since(columns: dict[str, Any], start_ms: int) -> Any:
    return columns["start"] >= start_ms


def test_ordinary_months_have_nothing_wrong() -> None:
    kinds = [findings(month(seed))["kind"].tolist() for seed in range(20)]
    assert sum(kind != ["nothing"] for kind in kinds) <= 1


def test_nothing_wrong_says_of_how_many_calls() -> None:
    assert findings(month(1))["sentence"].tolist() == ["Nothing is wrong beyond chance in 1,440 calls of 1 function."]
    assert findings(month(1).head(0))["sentence"].tolist() == ["There are no calls to judge."]


def test_outage_has_its_calls_rate_and_interval() -> None:
    outage = month(
        status=lambda columns, _: np.where(
            since(columns, NOW_MS - 5 * HOUR_MS) & (columns["start"] < NOW_MS - HOUR_MS), "Failed", columns["status"]
        )
    )
    first = findings(outage).iloc[0]
    assert (first["kind"], first["function"], first["code"]) == ("incident", "f", "cf.incidents(calls)")
    assert "8 of 8 calls were lost, 100.0% (67.6 to 100.0%)" in first["sentence"]
    assert "all have completed a call since" in first["sentence"]


def test_slower_function_is_named_with_the_time_and_ratio() -> None:
    slower = month(duration=lambda columns, _: columns["duration"] * np.where(since(columns, LAST_DAYS_MS), 2, 1))
    [sentence] = findings(slower)["sentence"]
    assert sentence.startswith("The duration of f went from 9.8 s to 19.2 s (1.96 times, 1.88 to 2.04)")
    assert "2026-09-18" in sentence
    faster = month(duration=lambda columns, _: columns["duration"] / np.where(since(columns, LAST_DAYS_MS), 2, 1))
    assert findings(faster)["kind"].tolist() == ["nothing"]


def test_slower_since_the_deploy_is_said_once() -> None:
    calls = month(
        duration=lambda columns, _: columns["duration"] * np.where(since(columns, LAST_DAYS_MS), 2, 1),
        function_ids=lambda columns, _: np.where(since(columns, LAST_DAYS_MS), 2, 1),
    )
    functions = [
        FunctionCoverage(1, "f", created_ms=0),
        FunctionCoverage(2, "f", created_ms=LAST_DAYS_MS),
    ]
    window = {"start": "2026-08-31T12:00:00Z", "end": "2026-09-30T12:00:00Z"}
    attach_coverage(
        calls, functions, project="p", fetched_at="2026-09-30T12:00:00Z", window=window, status=[], schedule_ids=[]
    )
    table = findings(calls)
    assert table["kind"].tolist() == ["deploy"]
    assert "f is slower since its deploy" in table["sentence"].iloc[0]


def test_function_that_will_run_into_the_limit_is_said_before_it_does() -> None:
    rng, n = np.random.default_rng(0), 4_000
    start = NOW_MS - 7 * DAY_MS + np.arange(n) * 7 * DAY_MS // n
    durations = np.minimum(60_000 * np.exp(rng.normal(0, 0.75, n)), 599_000)
    calls = frame_from_columns(function=["f"] * n, status=["Completed"] * n, start=start, duration=durations)
    [sentence] = findings(calls, run_limit="10min")["sentence"]
    assert "f will run into the run limit of 10.0 min" in sentence
    times, low, high = map(int, re.findall(r"about (\d+) times a month \((\d+) to (\d+)\)", sentence)[0])
    assert low <= times <= high
    assert findings(calls, run_limit="5h")["kind"].tolist() == ["nothing"]


def test_timeouts_and_stuck_calls_are_said() -> None:
    def status(columns: dict[str, Any], rng: np.random.Generator) -> Any:
        drawn = np.where(rng.random(len(columns["start"])) < 0.05, "Timeout", "Completed")
        drawn[-20:-18] = "Running"
        return drawn

    kinds = findings(month(status=status))["kind"].tolist()
    assert kinds == ["run limit", "stuck"]


def test_quota_is_said_before_it_is_reached() -> None:
    start = NOW_MS - HOUR_MS + np.arange(90)
    calls = frame_from_columns(function=["f"] * 90, status=["Completed"] * 90, start=start, duration=[60_000.0] * 90)
    [sentence] = findings(calls)["sentence"]
    assert sentence.startswith("f came near its quota: 90 of 100 calls ran at 2026-09-30 11:00 UTC, above 80% for 59.9")


def test_new_failure_group_is_said_if_it_is_not_one_burst() -> None:
    calls = month(2)
    recent = (calls["start_time"] >= calls["start_time"].max() - pd.Timedelta("3D")).to_numpy()
    failed = calls["status"] == "Failed"
    for place in np.flatnonzero(recent)[::30]:
        failed.iloc[place] = True
    calls["status"] = calls["status"].mask(failed, "Failed")
    words = pd.Series(np.where(recent, "disk full", "connection lost"), dtype=frame.TEXT)
    calls["error_message"] = words.where(failed)
    assert any("A new failure: disk full" in sentence for sentence in findings(calls)["sentence"])


def test_missed_runs_and_incomplete_data_of_the_demo_are_said() -> None:
    with demo(calls=20_000) as project:
        calls, schedules = project.calls(start="14d"), project.schedules()
        kinds = findings(calls, schedules)["kind"]
        some = findings(calls.head(5_000))["kind"]
    assert {"missed", "incident", "deploy"} <= set(kinds)
    assert len(kinds) <= 10
    assert "incomplete" in set(some)


@pytest.mark.parametrize("rows", [0, 5])
def test_table_always_has_the_same_columns(rows: int) -> None:
    assert findings(month().head(rows)).dtypes.equals(findings(month()).dtypes)
