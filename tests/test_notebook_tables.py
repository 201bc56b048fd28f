"""How a notebook shows the tables of the analysis."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from factories import DAY_MS, HOUR_MS, NOW_MS, call_frame, fetched_frame, make_call, schedule_frame
from IPython.core.formatters import DisplayFormatter

import callframe as cf
from callframe.reporting import notebook
from callframe.reporting.tables import lay_out

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], str]:
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    notebook.show_in_notebooks()
    return lambda value: str(shell.display_formatter.format(value)[0]["text/html"])


@pytest.fixture(scope="module")
def calls() -> pd.DataFrame:
    """Two weeks of hourly calls, slower in the second, with an outage."""
    start_ms = NOW_MS - 14 * DAY_MS
    records = []
    for place in range(14 * 24):
        start = start_ms + place * HOUR_MS
        failed = 100 <= place < 112
        seconds = 20 + place % 7 + (30 if place > 7 * 24 else 0)
        records.append(
            make_call(
                id=place,
                start_time=start,
                scheduled_time=start,
                end_time=start + seconds * 1000,
                status="Failed" if failed else "Completed",
                error=f"{HOSTILE} {place}" if failed else None,
            )
        )
    return fetched_frame(records, start_ms=start_ms)


TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "comparison": lambda calls: cf.compare(calls, at=calls["start_time"].iloc[7 * 24]),
    "failures": cf.failures,
    "quality": cf.quality,
    "schedule report": lambda calls: cf.schedule_report(calls, schedule_frame({"name": "hourly"})),
    "missed runs": lambda calls: cf.missed_runs(calls, schedule_frame({"name": "hourly"})),
    "incidents": cf.incidents,
    "changes": cf.changes,
    "contrast": lambda calls: cf.contrast(calls, calls["status"] == "Failed"),
    "findings": cf.findings,
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_shown_in_words(name: str, calls: pd.DataFrame, display: Callable[[object], str]) -> None:
    shown = display(TABLES[name](calls))
    assert "<table" in shown
    assert not any(raw in shown for raw in ("0 days", "NaT", "nan", "+00:00", "&lt;NA&gt;"))


@pytest.mark.parametrize("name", TABLES)
def test_tables_without_rows_are_shown_with_their_headings(
    name: str, calls: pd.DataFrame, display: Callable[[object], str]
) -> None:
    assert "<th" in display(TABLES[name](calls).head(0))


def test_text_of_calls_stays_text(calls: pd.DataFrame, display: Callable[[object], str]) -> None:
    assert "<img" not in display(cf.failures(calls))


def test_checks_that_found_nothing_are_folded(calls: pd.DataFrame, display: Callable[[object], str]) -> None:
    checks = cf.quality(calls)
    before, folded = display(checks).split("<details>")
    found = checks[checks["count"] > 0]
    assert before.count("<tr>") == len(found) + bool(len(found))
    assert folded.count("<tr>") == len(checks) - len(found) + 1


def test_ratio_is_shown_with_its_interval_and_verdict(calls: pd.DataFrame, display: Callable[[object], str]) -> None:
    compared = TABLES["comparison"](calls).iloc[0]
    shown = display(TABLES["comparison"](calls))
    low, high = compared["duration_ratio_low"], compared["duration_ratio_high"]
    assert str(compared["duration_verdict"]) in shown
    assert f"{compared['duration_ratio']:.2f} ({low:.2f} to {high:.2f})" in shown


def test_rows_beyond_what_pandas_shows_are_counted(display: Callable[[object], str]) -> None:
    groups = cf.failures(call_frame(make_call(status="Failed", error="cause")))
    with pd.option_context("display.max_rows", 1):
        shown = display(pd.concat([groups, groups], ignore_index=True))
    assert f"1 of {2 * len(groups)} rows are shown." in shown


def test_another_frame_of_similar_columns_is_not_laid_out() -> None:
    assert lay_out(pd.DataFrame({"kind": [1], "sentence": [2]})) is None
