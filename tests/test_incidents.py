"""Incidents: what belongs together, against which base rate, and how rarely chance looks like one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, call_frame, frame_from_columns, make_call

from callframe import failure_groups, frame, incidents
from callframe.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

START_MS = NOW_MS - 30 * DAY_MS
OUTAGE_MS = START_MS + 12 * DAY_MS


def month(
    rates: Mapping[str, float], *, seed: int, outages: Mapping[str, tuple[int, int]] | None = None
) -> pd.DataFrame:
    """Build a month of calls, one in 20 minutes a function; in its outage 8 of 10 fail."""
    rng = np.random.default_rng(seed)
    start = np.tile(np.arange(START_MS, NOW_MS, 20 * MINUTE_MS), len(rates))
    function = np.repeat(list(rates), len(start) // len(rates))
    failed = rng.random(len(start)) < np.repeat(list(rates.values()), len(start) // len(rates))
    for name, (low, high) in (outages or {}).items():
        inside = (function == name) & (start >= low) & (start < high)
        failed[inside] = rng.random(inside.sum()) < 0.8
    status = np.where(failed, "Failed", "Completed")
    return frame_from_columns(function=function, status=status, start=start, duration=np.full(len(start), 1000.0))


def test_failures_at_a_steady_rate_are_no_incident_in_95_percent_of_months() -> None:
    rates = {"a": 0.001, "b": 0.01, "c": 0.05, "d": 0.3}
    found = [len(incidents(month(rates, seed=seed))) > 0 for seed in range(60)]
    assert np.mean(found) <= 0.05


def test_outage_of_several_functions_is_one_incident() -> None:
    outage = (OUTAGE_MS, OUTAGE_MS + 3 * HOUR_MS)
    found = incidents(month({"a": 0.01, "b": 0.02, "c": 0.01}, seed=1, outages={"a": outage, "b": outage}))
    [row] = found.to_dict("records")
    assert set(row["functions"].split(", ")) == {"a", "b"}
    assert abs(row["start_time"].timestamp() * 1000 - OUTAGE_MS) <= HOUR_MS
    assert row["recovered"]
    assert row["share"] == pytest.approx(0.8, abs=0.15)
    assert row["base_rate"] == pytest.approx(0.015, abs=0.01)


def test_functions_that_fail_too_little_alone_have_an_incident_together() -> None:
    outages = dict.fromkeys("abcdefgh", (OUTAGE_MS, OUTAGE_MS + 40 * MINUTE_MS))
    calls = month(dict.fromkeys("abcdefgh", 0.01), seed=5, outages=outages)
    alone = pd.concat([incidents(calls[calls["function"] == name]) for name in "abcdefgh"])
    assert len(alone) == 0
    [row] = incidents(calls).to_dict("records")
    assert row["functions"].count(",") >= 3


def test_short_outage_within_a_long_one_of_another_function_is_an_incident_of_its_own() -> None:
    outages = {"a": (OUTAGE_MS, OUTAGE_MS + 5 * DAY_MS), "b": (OUTAGE_MS + DAY_MS, OUTAGE_MS + DAY_MS + 3 * HOUR_MS)}
    assert incidents(month({"a": 0.01, "b": 0.01}, seed=3, outages=outages))["functions"].tolist() == ["a", "b"]


def test_incident_that_lasts_to_the_end_has_not_recovered() -> None:
    calls = month({"a": 0.01}, seed=2)
    last = calls["start_time"] >= calls["start_time"].max() - pd.Timedelta("2h")
    calls["status"] = calls["status"].mask(last, "Failed")
    [row] = incidents(calls).to_dict("records")
    assert not row["recovered"]
    assert pd.isna(row["recovered_time"])


def test_incident_names_the_groups_of_its_failures_and_its_first_call() -> None:
    calls = month({"a": 0.01}, seed=4, outages={"a": (OUTAGE_MS, OUTAGE_MS + 3 * HOUR_MS)})
    [row] = incidents(calls).to_dict("records")
    first = calls[(calls["start_time"] == row["start_time"]) & calls["status"].isin(frame.FAILURES)]
    assert row["call_id"] == first["call_id"].iloc[0]
    assert row["groups"] in set(failure_groups(calls).dropna())


def test_order_of_rows_does_not_matter() -> None:
    calls = month({"a": 0.01, "b": 0.01}, seed=6, outages={"a": (OUTAGE_MS, OUTAGE_MS + 3 * HOUR_MS)})
    pd.testing.assert_frame_equal(incidents(calls), incidents(calls.sample(frac=1, random_state=0)))


def test_no_calls_give_an_empty_table_of_the_same_columns() -> None:
    calls = month({"a": 0.01}, seed=4, outages={"a": (OUTAGE_MS, OUTAGE_MS + 3 * HOUR_MS)})
    assert incidents(calls.head(0)).dtypes.equals(incidents(calls).dtypes)


def test_level_that_is_no_probability_is_refused() -> None:
    with pytest.raises(ArgumentError, match="expected a probability"):
        incidents(month({"a": 0.01}, seed=0), alpha=5)


def test_calls_without_a_label_are_found_too() -> None:
    statuses = ["Failed" if 100 <= minute < 130 else "Completed" for minute in range(300)]
    calls = call_frame(
        *(make_call(id=k, start_time=NOW_MS + k * MINUTE_MS, status=status) for k, status in enumerate(statuses))
    )
    calls.loc[calls.index[::2], "function"] = None
    [functions] = incidents(calls)["functions"]
    assert sorted(functions.split(", ")) == ["7", "none"]
