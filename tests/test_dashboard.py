"""The dashboard without a browser: controls are set, and the content of widgets is read."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import html
import re
import threading
import weakref
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, START_MS, STATUSES, edge_case_rows, frame_from_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ipywidgets.widgets.widget import _instances as kept_widgets

import callframe as cf
from callframe import frame, reporting
from callframe.dashboard import export
from callframe.dashboard.call_table import CallTable
from callframe.dashboard.explorer import Redraw, _of_finding
from callframe.dashboard.selection import TABS, Selection, contains, select
from callframe.dashboard.selection_analysis import MAX_ROWS, CallAnalysis, WholeHistory
from callframe.formatting import format_duration, format_percent
from callframe.sample.server import Faults
from callframe.timespan import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from callframe.dashboard.explorer import Explorer
    from callframe.project import Project


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with cf.demo(calls=1_200, functions=8, days=3) as project:
        yield project


@pytest.fixture(scope="module")
def calls(project: Project) -> pd.DataFrame:
    return project.calls(start="7d")


@pytest.fixture(scope="module")
def schedules(project: Project) -> pd.DataFrame:
    return project.schedules()


@pytest.fixture(scope="module")
def shared(calls: pd.DataFrame, schedules: pd.DataFrame) -> Iterator[Explorer]:
    explorer = cf.explore(calls, schedules=schedules)
    yield explorer
    explorer.close()


@pytest.fixture
def explorer(shared: Explorer) -> Explorer:
    """Reset a dashboard: a new one for every test would take a minute."""
    shared.selection = Selection()
    shared._history.clear()
    return shared


def text(value: str) -> str:
    """Read the text of HTML."""
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", value).split()))


def key_figure(explorer: Explorer, name: str) -> str:
    pattern = rf'<span class="name">{name}</span> <span class="value">(.*?)</span>'
    match = re.search(pattern, explorer._key_figures.html)
    assert match, name
    return html.unescape(match[1])


def message(explorer: Explorer) -> str:
    return text(explorer._message.html)


def details(explorer: Explorer) -> str:
    return text(explorer._view._details.html)


def do(explorer: Explorer, command: str) -> None:
    explorer._act({"do": command})


def choose(explorer: Explorer, **fields: Any) -> None:
    explorer._act({"set": fields})


def everything(explorer: Explorer) -> str:
    """Collect the HTML of all widgets that are shown."""
    return "".join(getattr(part, "html", "") or getattr(part, "value", "") or "" for part in walk(explorer))


def walk(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


# Selection


def test_nothing_selected_is_the_frame_itself(calls: pd.DataFrame) -> None:
    assert select(calls, Selection()) is calls


def test_functions_and_statuses_are_selected_together(calls: pd.DataFrame) -> None:
    name = calls["function"].iloc[0]
    chosen = select(calls, Selection(functions=(name,), statuses=("Failed", "Timeout")))
    expected = calls[(calls["function"] == name) & calls["status"].isin(["Failed", "Timeout"])]
    assert chosen["call_id"].tolist() == expected["call_id"].tolist()


def test_schedules_select_their_calls(calls: pd.DataFrame) -> None:
    one = int(calls["schedule_id"].dropna().iloc[0])
    assert select(calls, Selection(schedules=(one,)))["schedule_id"].unique().tolist() == [one]


def test_end_of_a_range_is_excluded(calls: pd.DataFrame) -> None:
    start, end = calls["start_time"].iloc[10], calls["start_time"].iloc[20]
    chosen = select(calls, Selection(start=start.isoformat(), end=end.isoformat()))
    assert (chosen["start_time"].min(), (chosen["start_time"] < end).all()) == (start, True)


def test_last_counts_back_from_the_end_of_the_window(calls: pd.DataFrame) -> None:
    fetched = pd.Timestamp(calls.attrs["callframe"]["fetched_at"])
    chosen = select(calls, Selection(last="1h"))
    assert len(chosen) == (calls["start_time"] >= fetched - pd.Timedelta("1h")).sum()


def test_selected_calls_are_numbered_from_0_and_keep_their_dtypes(calls: pd.DataFrame) -> None:
    chosen = select(calls, Selection(statuses=("Failed",)))
    frame.check(chosen)
    assert chosen.index.equals(pd.RangeIndex(len(chosen)))


def test_selecting_does_not_change_the_frame(calls: pd.DataFrame) -> None:
    before, attrs = calls.copy(), dict(calls.attrs["callframe"])
    select(calls, Selection(statuses=("Failed",), last="24h"))
    pd.testing.assert_frame_equal(calls, before)
    assert calls.attrs["callframe"] == attrs


def test_coverage_of_selected_calls_names_what_was_selected(calls: pd.DataFrame) -> None:
    name = calls["function"].iloc[0]
    chosen = select(calls, Selection(functions=(name,), statuses=("Failed",), start="2026-01-01"))
    held = chosen.attrs["callframe"]
    assert [row["function"] for row in held["functions"]] == [name]
    assert (held["status"], held["functions"][0]["calls"]) == (["Failed"], len(chosen))


def test_missed_runs_of_a_function_are_those_of_the_whole_frame(calls: pd.DataFrame, schedules: pd.DataFrame) -> None:
    whole = cf.missed_runs(calls, schedules)
    names = whole.loc[whole["state"] == "missed", "function"].unique()[:2].tolist()
    part = CallAnalysis(WholeHistory(calls, schedules), Selection(functions=tuple(names))).missed
    expected = whole[whole["function"].isin(names)]
    assert part is not None
    assert part["scheduled_time"].tolist() == expected["scheduled_time"].tolist()
    assert part["state"].tolist() == expected["state"].tolist()


def test_selection_by_status_does_not_make_runs_missed(calls: pd.DataFrame, schedules: pd.DataFrame) -> None:
    analysis = CallAnalysis(WholeHistory(calls, schedules), Selection(statuses=("Failed",)))
    assert analysis.missed is not None
    assert len(analysis.missed) == len(cf.missed_runs(calls, schedules))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tab": "Costs"}, "expected one of 'Overview'"),
        ({"last": "1h", "start": "2026-01-01"}, "not both"),
        ({"last": "soon"}, "last='soon' is not a duration"),
        ({"start": "noon"}, "start='noon' cannot be parsed"),
        ({"functions": "ingest"}, "expected a list"),
        ({"colour": "red"}, "has no 'colour'"),
        ({"functions": [1]}, "expected a list of labels"),
        ({"statuses": 5}, "expected a list of names"),
        ({"schedules": ["7"]}, "expected a list of ids"),
        ({"by": 5}, "by=5; expected text"),
        ({"last": 3600}, "expected text such as"),
        (5, "selection=5; expected a selection"),
    ],
)
def test_invalid_selection_is_an_error_with_what_was_expected(calls: pd.DataFrame, changes: Any, message: str) -> None:
    with pytest.raises(cf.errors.ArgumentError, match=re.escape(message)):
        cf.explore(calls, selection=changes)


@given(edge_case_rows(), st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_selected_calls_are_those_that_pandas_filters(given_rows: list[dict[str, Any]], data: st.DataObject) -> None:
    calls = frame_from_rows(given_rows, fetched_ms=None)
    calls["schedule_id"] = pd.array([n % 4 or None for n in range(len(calls))], dtype="Int64")
    times = st.none() | st.integers(START_MS, START_MS + 15 * DAY_MS).map(iso)
    functions = data.draw(st.lists(st.sampled_from("abcx"), unique=True))
    statuses = data.draw(st.lists(st.sampled_from(STATUSES), unique=True))
    schedules = data.draw(st.lists(st.sampled_from([1, 2, 3, 9]), unique=True))
    start, end = data.draw(times), data.draw(times)
    chosen = select(calls, Selection(tuple(functions), tuple(statuses), tuple(schedules), start=start, end=end))
    kept = pd.Series(data=True, index=calls.index)
    for column, names in (("function", functions), ("status", statuses), ("schedule_id", schedules)):
        kept &= calls[column].isin(names) if names else True
    kept &= calls["start_time"] >= pd.Timestamp(start) if start else True
    kept &= calls["start_time"] < pd.Timestamp(end) if end else True
    pd.testing.assert_frame_equal(chosen, calls[kept].reset_index(drop=True))


def test_selection_can_be_saved() -> None:
    one = Selection(functions=("a",), last="24h", by="1d", tz="Europe/Oslo", tab="Failures", plot="By group")
    assert Selection.of(one.to_dict()) == one


@pytest.mark.parametrize("changes", [{"functions": ["gone"]}, {"statuses": ["Gone"]}, {"schedules": [42]}])
def test_choice_that_is_gone_selects_nothing(explorer: Explorer, changes: dict[str, Any]) -> None:
    explorer.selection = changes
    assert (len(explorer.calls), explorer.selection.to_dict()) == (0, changes)
    assert message(explorer).startswith("No calls are selected:")


# Filters


def local(calls: pd.DataFrame) -> Any:
    return calls["start_time"].dt.tz_convert("Europe/Oslo").dt


FILTERS: dict[str, tuple[dict[str, Any], Callable[[pd.DataFrame], Any]]] = {
    "hours": ({"hours": [3, 4]}, lambda calls: local(calls).hour.isin([3, 4])),
    "weekdays": ({"weekdays": [1]}, lambda calls: local(calls).day_of_week == 1),
    "at least": ({"min_duration": "20s"}, lambda calls: calls["duration"] >= pd.Timedelta("20s")),
    "between": (
        {"min_duration": "1s", "max_duration": "20s"},
        lambda calls: calls["duration"].between(pd.Timedelta("1s"), pd.Timedelta("20s")),
    ),
    "deployment": ({"deployments": [1]}, lambda calls: calls["function_id"] == 1),
    "search": ({"search": "READTIMEOUT"}, lambda calls: calls["error_message"].str.contains("ReadTimeout", na=False)),
    "both": (
        {"search": "fail", "hours": [3]},
        lambda calls: calls["status"].eq("Failed") & (local(calls).hour == 3),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filter_selects_what_pandas_does_and_so_does_its_code(calls: pd.DataFrame, name: str) -> None:
    fields, expected = FILTERS[name]
    calls = calls.assign(
        function_id=calls["function_id"].where(calls["function_id"] != calls["function_id"].iloc[0], 1)
    )
    kept = expected(calls)
    explorer = cf.explore(calls, selection={**fields, "tz": "Europe/Oslo", "tab": "Data quality"})
    assert explorer.calls["call_id"].tolist() == calls.loc[kept, "call_id"].tolist()
    made: dict[str, Any] = {"calls": calls}
    exec(copied(explorer), made)
    assert made["calls"]["call_id"].tolist() == explorer.calls["call_id"].tolist()


def test_counts_of_choices_follow_the_other_filters(explorer: Explorer, calls: pd.DataFrame) -> None:
    name = str(calls["function"].iloc[0])
    choose(explorer, functions=[name], statuses=["Failed"])
    counts = {field: {one.value: one.count for one in options} for field, options in explorer._analyze().counts.items()}
    own = calls[calls["function"] == name]
    failed = calls[calls["status"] == "Failed"]
    assert counts["statuses"] == {status: (own["status"] == status).sum() for status in counts["statuses"]}
    assert counts["functions"] == {one: (failed["function"] == one).sum() for one in counts["functions"]}
    hours = own[own["status"] == "Failed"]["start_time"].dt.hour
    assert counts["hours"] == {hour: (hours == hour).sum() for hour in range(24)}


def test_zooming_in_changes_no_missed_run(calls: pd.DataFrame, schedules: pd.DataFrame) -> None:
    missed = cf.missed_runs(calls, schedules)
    start = missed["scheduled_time"].iloc[len(missed) // 2].floor("2h")
    end = start + pd.Timedelta("2h")
    explorer = cf.explore(calls, schedules=schedules, selection={"start": start.isoformat(), "end": end.isoformat()})
    within = missed[missed["scheduled_time"].between(start, end, inclusive="left")]
    assert key_figure(explorer, "Missed runs") == f"{(within['state'] == 'missed').sum():,}"


def test_zooming_in_changes_no_peak(explorer: Explorer, calls: pd.DataFrame) -> None:
    peak = cf.concurrency_peaks(calls).iloc[0]
    start = peak["peak_time"] - pd.Timedelta("1s")
    choose(explorer, start=start.isoformat(), end=(start + pd.Timedelta("1min")).isoformat())
    analysis = explorer._analyze()
    assert isinstance(analysis, CallAnalysis)
    assert cf.concurrency_peaks(analysis.running)["peak"].iloc[0] == peak["peak"]


def test_figures_of_failed_calls_are_those_of_all_outcomes(explorer: Explorer, calls: pd.DataFrame) -> None:
    figures = [key_figure(explorer, name) for name in ("Failure rate", "Duration, p95")]
    choose(explorer, statuses=["Failed"])
    assert [key_figure(explorer, name) for name in ("Failure rate", "Duration, p95")] == figures
    assert key_figure(explorer, "Calls") == f"{(calls['status'] == 'Failed').sum():,}"


# The controls


def test_calls_are_those_that_are_chosen(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._act({"toggle": {"statuses": ["Failed"]}, "add": True})
    pd.testing.assert_frame_equal(explorer.calls, calls[calls["status"] == "Failed"].reset_index(drop=True))


def test_pressing_twice_chooses_nothing(explorer: Explorer) -> None:
    for _ in range(2):
        explorer._act({"toggle": {"statuses": ["Failed"]}, "add": True})
    assert explorer.selection == Selection()


def test_pressing_with_shift_adds(explorer: Explorer, calls: pd.DataFrame) -> None:
    first, second = calls["function"].unique()[:2]
    explorer._act({"toggle": {"functions": [first]}})
    explorer._act({"toggle": {"functions": [second]}}, add=True)
    assert list(explorer.selection.functions) == [first, second]
    explorer._act({"toggle": {"functions": ["other"]}})
    assert list(explorer.selection.functions) == ["other"]


def test_back_undoes_one_gesture_after_the_other(explorer: Explorer) -> None:
    choose(explorer, last="24h")
    choose(explorer, statuses=["Failed"])
    do(explorer, "back")
    assert explorer.selection == Selection(last="24h")
    do(explorer, "back")
    do(explorer, "back")
    assert explorer.selection == Selection()


def test_chip_removes_its_filter(explorer: Explorer) -> None:
    choose(explorer, last="24h", statuses=["Failed", "Timeout"])
    assert 'aria-label="Remove the filter Failed"' in explorer._toolbar.chips.html
    explorer._act({"without": ["statuses", "Failed"]})
    explorer._act({"without": ["last", "24h"]})
    assert explorer.selection == Selection(statuses=("Timeout",))


def test_toggles_say_their_state(explorer: Explorer) -> None:
    choose(explorer, last="24h", statuses=["Failed"])
    assert re.findall(r'aria-pressed="true"[^>]*>(\w+)', explorer._toolbar.statuses.html) == ["Failed"]
    assert re.findall(r'aria-checked="true"[^>]*>([^<]+)', explorer._toolbar.ranges.html) == ["24 h"]
    assert re.findall(r'aria-selected="true"[^>]*>([^<]+)', explorer._tabs.html) == ["Overview"]


@pytest.fixture
def more(explorer: Explorer) -> Iterator[Explorer]:
    """Open the panel under More."""
    explorer._toolbar.statuses._handle_custom_msg({"action": {"do": "more"}}, [])
    yield explorer
    explorer._toolbar.statuses._handle_custom_msg({"action": {"do": "more"}}, [])


def picked(text: str) -> dt.datetime:
    time: dt.datetime = pd.Timestamp(text).to_pydatetime()
    return time


def test_picked_times_are_of_the_time_zone_that_is_shown(more: Explorer) -> None:
    more._toolbar.tz.value = "Europe/Oslo"
    more._toolbar.start.value = picked("2026-01-01 12:00")
    assert more.selection.start == "2026-01-01T11:00:00.000Z"


def test_time_zone_moves_the_fields_and_not_the_selection(more: Explorer) -> None:
    more._toolbar.start.value = picked("2026-01-01 12:00")
    more._toolbar.tz.value = "Europe/Oslo"
    assert more._toolbar.start.value.hour == 13
    assert more.selection.start == "2026-01-01T12:00:00.000Z"


def test_picking_one_end_leaves_the_other_as_it_is(more: Explorer) -> None:
    second_two_oclock = "2026-10-25T01:30:00.123Z"
    more.selection = {"start": second_two_oclock, "tz": "Europe/Oslo"}
    more._toolbar.end.value = picked("2026-10-26 12:00")
    assert (more.selection.start, more.selection.end) == (second_two_oclock, "2026-10-26T11:00:00.000Z")


def test_time_that_no_clock_shows_is_shifted_forward(more: Explorer) -> None:
    more._toolbar.tz.value = "Europe/Oslo"
    more._toolbar.start.value = picked("2026-03-29 02:30")
    assert more.selection.start == "2026-03-29T01:00:00.000Z"


@pytest.mark.parametrize("year", [2, 1969, 2262, 9999])
def test_partly_typed_year_is_not_an_error(more: Explorer, year: int) -> None:
    more._toolbar.tz.value = "Pacific/Auckland"
    more._toolbar.start.value = dt.datetime(year, 12, 31)  # noqa: DTZ001 - as pickers give it
    more._toolbar.tz.value = "America/New_York"
    assert 'role="alert"' not in more._message.html


def test_range_that_ends_before_it_starts_is_refused_at_the_field(more: Explorer) -> None:
    more._toolbar.start.value = picked("2026-01-02 12:00")
    before = more.selection
    more._toolbar.end.value = picked("2026-01-01 12:00")
    assert text(more._toolbar.problem.html) == "The range ends before it starts: To must be after From."
    assert more.selection == before


@pytest.mark.parametrize("sought", ["INGEST", "ingest"])
def test_enter_in_the_search_chooses_what_matches(explorer: Explorer, calls: pd.DataFrame, sought: str) -> None:
    explorer._toolbar.find.value = sought
    names = {name for name in calls["function"].cat.categories if "ingest" in name}
    assert set(explorer.selection.functions) == names
    assert explorer._toolbar.find.value == ""


def test_functions_with_the_most_failures_come_first(more: Explorer, calls: pd.DataFrame) -> None:
    failed = calls[calls["status"].isin(["Failed", "Timeout"])]["function"].value_counts()
    assert more._toolbar.choices["functions"].options[0][1] == failed.index[0]
    assert f"{failed.iloc[0]:,} failed" in more._toolbar.choices["functions"].options[0][0]


def test_unknown_time_zone_is_refused_at_the_field(more: Explorer) -> None:
    more._toolbar.tz.value = "Middle/Earth"
    assert "tz='Middle/Earth' is not a time zone" in text(more._toolbar.problem.html)
    assert more.selection == Selection()
    more._toolbar.tz.value = "Europe/Oslo"
    assert (more._toolbar.problem.html, more.selection.tz) == ("", "Europe/Oslo")


def test_error_while_drawing_is_shown_as_a_message(explorer: Explorer) -> None:
    explorer.selection = {"tz": "Middle/Earth"}
    assert message(explorer).startswith("tz='Middle/Earth' is not a time zone")
    do(explorer, "back")
    assert message(explorer) == ""


# The dashboard


def test_key_figures_are_those_of_the_selected_calls(explorer: Explorer, calls: pd.DataFrame) -> None:
    name = calls["function"].iloc[0]
    choose(explorer, functions=[name])
    chosen = calls[calls["function"] == name]
    summary = cf.summarize(chosen).iloc[0]
    assert key_figure(explorer, "Calls") == f"{len(chosen):,}"
    assert key_figure(explorer, "Failure rate") == format_percent(summary["failure_rate"])
    assert key_figure(explorer, "Duration, p95") == format_duration(summary["duration_p95"])


def test_changing_calls_does_not_change_the_dashboard(explorer: Explorer, calls: pd.DataFrame) -> None:
    mine = explorer.calls
    mine.loc[:, "call_id"] = 0
    assert explorer.calls["call_id"].equals(calls["call_id"])


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_shows_something(explorer: Explorer, tab: str) -> None:
    choose(explorer, tab=tab)
    assert details(explorer)
    assert message(explorer) == ""


@pytest.mark.parametrize("tab", TABS)
def test_tab_of_no_calls_says_so(tab: str) -> None:
    explorer = cf.explore(frame.empty(), selection={"tab": tab})
    assert message(explorer) == "There are no calls to show."


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("status", ["Failed", "Running", "Timeout"])
def test_tab_of_one_call_shows_no_message(tab: str, status: str) -> None:
    one = frame_from_rows(
        [{"function": "a", "status": status, "start": START_MS, "duration": None, "delay": None}], fetched_ms=None
    )
    assert message(cf.explore(one, selection={"tab": tab})) == ""


def test_figure_follows_the_tabs(explorer: Explorer) -> None:
    before = explorer.figure
    choose(explorer, tab="Failures")
    assert before.axes[0].get_title(loc="left") == "Calls that failed"
    choose(explorer, tab="Concurrency", plot="By function")
    assert explorer.figure is before
    assert before.axes[0].get_title(loc="left") == "Calls running at the same time"


def test_matplotlib_style_of_the_user_does_not_change_the_plots(explorer: Explorer) -> None:
    choose(explorer, tab="Durations")
    before = explorer._renderer.png
    with plt.style.context("dark_background"), plt.rc_context({"font.size": 30}):
        explorer._redraw_all()
    assert explorer._renderer.png == before


def test_closed_dashboard_frees_its_calls(calls: pd.DataFrame) -> None:
    before = set(kept_widgets)
    explorer = cf.explore(calls)
    choose(explorer, tab="Failures")
    held = weakref.ref(explorer._source)
    explorer.close()
    del explorer
    gc.collect()
    assert (held(), set(kept_widgets) - before) == (None, set())


def test_changes_do_not_accumulate_widgets(explorer: Explorer) -> None:
    before = len(kept_widgets)
    for tab in TABS:
        choose(explorer, statuses=["Gone"], tab=tab)
    do(explorer, "reset")
    assert len(kept_widgets) == before


def test_dashboard_leaves_no_figure_open(calls: pd.DataFrame) -> None:
    plt.close("all")
    cf.explore(calls, selection={"tab": "Concurrency"})
    assert plt.get_fignums() == []


def test_same_selection_shows_the_same(explorer: Explorer, calls: pd.DataFrame) -> None:
    choose(explorer, functions=[calls["function"].iloc[0]], tab="Durations", plot="Over time")
    other = cf.explore(calls, selection=explorer.selection.to_dict())
    assert other.selection == explorer.selection
    assert key_figure(other, "Calls") == key_figure(explorer, "Calls")


def test_reset_selects_everything_and_stays_on_the_tab(explorer: Explorer, calls: pd.DataFrame) -> None:
    choose(explorer, tab="Failures", statuses=["Failed"], functions=["gone"])
    do(explorer, "reset")
    assert (len(explorer.calls), explorer.selection) == (len(calls), Selection(tab="Failures"))


def test_unexpected_error_is_shown(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer._view, "draw", lambda _: 1 / 0)
    choose(explorer, tab="Durations")
    assert "ZeroDivisionError" in message(explorer)


def test_grouping_changes_the_rows_of_the_summary(explorer: Explorer, schedules: pd.DataFrame) -> None:
    choose(explorer, by="status")
    assert "Calls by status" in details(explorer)
    choose(explorer, by="schedule")
    assert [name for name in schedules["name"].dropna().head(3) if name in details(explorer)]


def test_missed_runs_are_not_known_without_schedules(calls: pd.DataFrame) -> None:
    explorer = cf.explore(calls, selection={"tab": "Schedules"})
    assert key_figure(explorer, "Missed runs") == "not known"
    assert "The schedules are not known" in details(explorer)


def test_project_without_schedules_says_so(calls: pd.DataFrame, schedules: pd.DataFrame) -> None:
    explorer = cf.explore(calls, schedules=schedules.head(0), selection={"tab": "Schedules"})
    assert "There are no schedules." in details(explorer)
    assert "Every schedule ran" not in details(explorer)


def test_all_missed_runs_are_listed_and_exported(
    explorer: Explorer,
    calls: pd.DataFrame,
    schedules: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    missed = cf.missed_runs(calls, schedules)
    choose(explorer, tab="Schedules")
    assert f"{(missed['state'] == 'missed').sum():,} scheduled times without a call" in details(explorer)
    do(explorer, "missed")
    written = pd.read_csv(tmp_path / "missed-runs.csv", parse_dates=["scheduled_time"])
    assert written["scheduled_time"].tolist() == missed["scheduled_time"].tolist()


def test_widget_has_a_png_for_places_without_widgets(explorer: Explorer) -> None:
    bundle = explorer._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_incomplete_calls_are_reported(calls: pd.DataFrame) -> None:
    part = calls.copy()
    rows_of = [{**row, "complete": False, "reason": "it broke"} for row in calls.attrs["callframe"]["functions"]]
    part.attrs = {"callframe": {**calls.attrs["callframe"], "functions": rows_of}}
    assert message(cf.explore(part)).startswith("Incomplete:")


def test_finding_selects_what_it_is_about(explorer: Explorer, calls: pd.DataFrame, schedules: pd.DataFrame) -> None:
    row = {"kind": "incident", "function": "f", "start_time": pd.Timestamp("2026-01-01", tz="UTC")}
    fields = _of_finding({**row, "end_time": pd.Timestamp("2026-01-02", tz="UTC")})
    assert Selection(**fields) == Selection(
        functions=("f",), start="2026-01-01T00:00Z", end="2026-01-02T00:00Z", tab="Failures"
    )
    sentences = cf.findings(calls, schedules)["sentence"]
    assert sentences[0] in text(explorer._findings.html)


# Failures and single calls


def test_cards_are_the_failure_groups(explorer: Explorer, calls: pd.DataFrame) -> None:
    choose(explorer, tab="Failures")
    counts = re.findall(r"<b>([\d,]+)</b><small>", explorer._view._details.html)
    assert counts == [f"{count:,}" for count in cf.failures(calls)["count"].head(30)]


def test_failure_group_can_be_chosen(explorer: Explorer, calls: pd.DataFrame) -> None:
    group = cf.failures(calls)["group"].iloc[1]
    explorer._act({"toggle": {"groups": [group]}})
    assert cf.failure_groups(explorer.calls).unique().tolist() == [group]


def opened(explorer: Explorer, call: pd.Series) -> str:
    """Open a call, and read the drawer."""
    explorer._act({"open": [str(call["function_id"]), str(call["call_id"])]})
    if explorer._drawer.reading is not None:
        explorer._drawer.reading.join(60)
    return text(explorer._drawer.widget.html)


def test_drawer_shows_a_call_and_its_neighbours(explorer: Explorer, calls: pd.DataFrame) -> None:
    same = calls[calls["function"] == calls["function"].iloc[0]]
    shown = opened(explorer, same.iloc[1])
    assert shown.startswith(f"Call {same['call_id'].iloc[1]} {same['status'].iloc[1]}")
    for place in (0, 2):
        assert f'["{same["function_id"].iloc[place]}", "{same["call_id"].iloc[place]}"]' in explorer._drawer.widget.html
    do(explorer, "close")
    assert explorer._drawer.widget.html == ""


def test_call_is_opened_by_its_id_alone(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._act({"open": str(calls["call_id"].iloc[3])})
    assert f"Call {calls['call_id'].iloc[3]}" in explorer._drawer.widget.html


def test_drawer_of_a_project_shows_trace_log_and_response(project: Project) -> None:
    explorer = cf.explore(project, selection={"tz": "Europe/Oslo"})
    call = explorer.calls.dropna(subset="error_trace").iloc[0]
    shown = opened(explorer, call)
    log = project.logs(int(call["function_id"]), int(call["call_id"]))
    first = log["timestamp"].iloc[0].tz_convert("Europe/Oslo")
    assert f"{first:%Y-%m-%d %H:%M:%S} {log['message'].iloc[0]}" in shown
    assert " ".join(call["error_trace"].split()) in shown
    assert "Response" in shown


def test_log_that_cannot_be_read_is_reported(project: Project) -> None:
    explorer = cf.explore(project)
    gone = explorer._source.calls.copy(deep=False)
    gone["call_id"] = np.arange(1, len(gone) + 1)
    explorer._source.calls = gone
    explorer._reload()
    assert "The log could not be read." in opened(explorer, gone.iloc[0])


def test_drawer_of_a_frame_says_how_to_read_logs(explorer: Explorer, calls: pd.DataFrame) -> None:
    assert "Logs and responses are read from a project" in opened(explorer, calls.iloc[0])


def test_text_of_calls_is_escaped_everywhere() -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>$x$ \" ' \x1b[31m"
    one = frame_from_rows(
        [{"function": evil, "status": "Failed", "start": START_MS + n, "duration": 1000, "delay": 5} for n in range(3)],
        fetched_ms=None,
    )
    one["error_message"] = frame.text_column([evil + str(n) for n in range(3)])
    one["error_trace"] = frame.text_column([f"Traceback:\n{evil}"] * 3)
    explorer = cf.explore(one)
    shown = ""
    for tab in TABS:
        choose(explorer, tab=tab)
        shown += everything(explorer)
    shown += opened(explorer, one.iloc[0]) and explorer._drawer.widget.html
    assert html.escape("<img src=x onerror=alert(1)>") in shown
    assert [one for one in ("<img src=x", "<script>", "\x1b") if one in shown] == []


def test_long_trace_is_cut() -> None:
    one = frame_from_rows(
        [{"function": "a", "status": "Failed", "start": START_MS, "duration": 1000, "delay": 5}], fetched_ms=None
    )
    one["error_trace"] = frame.text_column(["x" * 1_000_000])
    shown = opened(cf.explore(one), one.iloc[0])
    assert len(shown) < 110_000
    assert "900,000 characters are left out" in shown


# Calls


def test_search_finds_calls_by_function_status_error_and_id(calls: pd.DataFrame) -> None:
    name, call_id = str(calls["function"].iloc[0]), str(calls["call_id"].iloc[5])
    assert set(calls[contains(calls, name.upper())]["function"]) >= {name}
    assert calls[contains(calls, call_id)]["call_id"].tolist() == [int(call_id)]
    assert set(calls[contains(calls, "FAILED")]["status"]) >= {"Failed"}


def test_search_is_literal() -> None:
    one = frame_from_rows([{"function": "a", "status": "Failed", "start": START_MS, "duration": 1, "delay": 5}])
    one["error_message"] = frame.text_column(["Stra\N{LATIN SMALL LETTER SHARP S}e (1.5) was \N{SNOWMAN} lost"])
    assert [int(contains(one, sought).sum()) for sought in ("stra\N{LATIN SMALL LETTER SHARP S}e (1.5)", "1x5")] == [
        1,
        0,
    ]


def shown_ids(explorer: Explorer) -> list[int]:
    return [int(one) for one in re.findall(r'class="number ids">(\d+)<', explorer._view._table.table.html)]


def test_call_table_is_sorted_among_all_selected_calls(explorer: Explorer, calls: pd.DataFrame) -> None:
    choose(explorer, tab="Calls")
    assert shown_ids(explorer) == calls["call_id"].iloc[::-1].head(100).tolist()
    explorer._view._table._on_action({"sort": 3})
    longest = calls.set_index("call_id")["duration"].nlargest(100)
    assert calls.set_index("call_id")["duration"].loc[shown_ids(explorer)].tolist() == longest.tolist()
    explorer._view._table._on_action({"page": 1})
    assert len(set(shown_ids(explorer)) - set(longest.index)) == 100


def test_call_table_is_searched_among_all_selected_calls(explorer: Explorer, calls: pd.DataFrame) -> None:
    choose(explorer, tab="Calls")
    explorer._view._table.search.value = str(calls["call_id"].iloc[3])
    assert shown_ids(explorer) == [calls["call_id"].iloc[3]]
    explorer._view._table.search.value = ""


def test_call_whose_function_is_missing_is_in_the_table(calls: pd.DataFrame) -> None:
    odd = calls.head(3).assign(function=calls["function"].head(3).where(np.array([True, False, True])))
    table = CallTable(lambda *_: None)
    table.show(odd, "UTC")
    assert table.table.html.count('class="number ids"') == 3


# Actions


def test_exported_csv_holds_the_selected_calls(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    choose(explorer, statuses=["Failed"])
    do(explorer, "csv")
    (path,) = tmp_path.glob("*.csv")
    assert cf.read_csv(path)["call_id"].tolist() == explorer.calls["call_id"].tolist()
    assert f"{len(explorer.calls):,} calls written to {path}" in message(explorer)
    assert f'download="{path.name}"' in explorer._message.html


def test_export_of_very_many_calls_asks_first(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("callframe.dashboard.explorer.MAX_EXPORT", 100)
    do(explorer, "csv")
    assert (message(explorer), list(tmp_path.iterdir())) == ("Write 1,200 calls to a file? Write the file", [])
    explorer._act({"do": "csv", "confirmed": True})
    assert len(list(tmp_path.glob("*.csv"))) == 1


def test_export_never_overwrites(explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    do(explorer, "parquet")
    do(explorer, "parquet")
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_export_into_a_missing_folder_is_shown_as_a_message(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "Path", lambda name: tmp_path / "gone" / name)
    do(explorer, "csv")
    assert 'role="alert"' in explorer._message.html


def test_export_into_an_unreadable_folder_is_shown_as_a_message(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.exists", refuse)
    do(explorer, "csv")
    assert message(explorer) == "The working folder cannot be read: Permission denied."


def copied(explorer: Explorer) -> str:
    """Press Code, and read the code."""
    do(explorer, "code")
    match = re.search(r"<textarea[^>]*>(.*?)</textarea>", explorer._code.html, re.DOTALL)
    assert match
    return html.unescape(match[1])


def drawn(figure_of: Any) -> list[Any]:
    """Read what a figure shows: its title, labels and lines."""
    (ax, *_) = figure_of.axes
    labels = [one.get_text() for one in ax.get_yticklabels()]
    return [ax.get_title(loc="left"), labels, [np.nan_to_num(one.get_ydata()).tolist() for one in ax.lines]]


@pytest.mark.parametrize("kind", ["frame", "file", "project", "archive"])
def test_copied_code_of_missed_runs_draws_the_same_plot(
    kind: str, project: Project, archive: cf.Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, schedules = project.calls(start="7d"), project.schedules()
    path = tmp_path / "archive.parquet"  # a name that says what it is not
    cf.write_parquet(calls, path)
    source: Any = {"frame": calls, "file": path, "project": project, "archive": archive}[kind]
    known = schedules if kind in {"frame", "file"} else None
    name = str(cf.missed_runs(calls, schedules)["function"].iloc[0])
    chosen = {"functions": [name], "statuses": ["Failed"], "tab": "Schedules"}
    explorer = cf.explore(source, schedules=known, selection=chosen)
    monkeypatch.setattr(cf, "connect", lambda: project)
    exec(copied(explorer), {"calls": calls, "schedules": schedules})
    copy = drawn(plt.gcf())
    plt.close("all")
    assert copy == drawn(explorer.figure)


def test_copied_code_of_many_functions_draws_the_same_rows() -> None:
    rows_of = [
        {
            "function": f"f{n:02}",
            "status": "Failed" if n % 3 else "Completed",
            "start": START_MS,
            "duration": 9,
            "delay": 0,
        }
        for n in range(MAX_ROWS + 8)
    ]
    calls = frame_from_rows(rows_of, fetched_ms=None)
    explorer = cf.explore(calls)
    exec(copied(explorer), {"calls": calls})
    copy = drawn(plt.gcf())
    plt.close("all")
    assert copy == drawn(explorer.figure)


@pytest.mark.parametrize(("tab", "plot"), [("Overview", ""), ("Durations", "Over time"), ("Data quality", "")])
def test_copied_code_makes_the_same_selection(calls: pd.DataFrame, tmp_path: Path, tab: str, plot: str) -> None:
    cf.write_parquet(calls, tmp_path / "calls.parquet")
    name = calls["function"].iloc[0]
    explorer = cf.explore(
        tmp_path / "calls.parquet",
        selection={"functions": [name], "statuses": ["Completed"], "last": "24h", "tab": tab, "plot": plot},
    )
    made: dict[str, Any] = {}
    exec(copied(explorer), made)
    plt.close("all")
    assert made["calls"]["call_id"].tolist() == explorer.calls["call_id"].tolist()


# Sources


def test_project_is_fetched_and_can_be_refreshed(project: Project) -> None:
    explorer = cf.explore(project, start="1d")
    do(explorer, "refresh")
    assert explorer.refreshing is not None
    explorer.refreshing.join(60)
    assert message(explorer) == ""
    assert explorer.calls["start_time"].min() >= pd.Timestamp.now(tz="UTC") - pd.Timedelta("25h")
    assert "Refresh" in explorer._toolbar.freshness.html


def refreshed(explorer: Explorer) -> str:
    """Press Refresh, and read the message after it."""
    do(explorer, "refresh")
    assert explorer.refreshing is not None
    explorer.refreshing.join(60)
    return message(explorer)


def test_calls_are_kept_when_the_service_is_gone() -> None:
    with cf.demo(calls=300, functions=3, days=2) as other:
        explorer = cf.explore(other)
        before = explorer.calls
    assert refreshed(explorer).startswith("The calls could not be fetched. No connection")
    pd.testing.assert_frame_equal(explorer.calls, before)


def test_calls_are_kept_when_a_refresh_is_stopped(project: Project) -> None:
    explorer = cf.explore(project)
    count, stop = len(explorer.calls), threading.Event()
    stop.set()
    explorer._source.refresh(stop, lambda *_: None)
    assert (len(explorer._source.calls), "interrupted" in explorer._source.problem) == (count, True)
    assert "The calls shown are those fetched at" in explorer._source.problem


def test_unexpected_error_in_a_refresh_stays_visible(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = cf.explore(project)
    monkeypatch.setattr(explorer._source, "fetch", lambda *_: 1 / 0)
    assert "ZeroDivisionError" in refreshed(explorer)
    assert "Refresh" in explorer._toolbar.freshness.html


def test_plot_drawn_during_a_refresh_is_drawn_again(calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = cf.explore(calls)
    view, draw = explorer._view, explorer._view.draw

    def draw_meanwhile(analysis: CallAnalysis) -> None:
        monkeypatch.setattr(view, "draw", draw)
        draw(analysis)
        explorer._source.calls = calls.head(5)
        explorer._reload()

    monkeypatch.setattr(view, "draw", draw_meanwhile)
    choose(explorer, tab="Durations")
    assert view.image is not None
    assert view.image.alt.startswith("How long calls took. 5 calls")
    assert key_figure(explorer, "Calls") == "5"


def test_forbidden_function_is_shown_as_a_message(calls: pd.DataFrame) -> None:
    forbidden = int(calls["function_id"].iloc[0])
    with cf.demo(calls=1_200, functions=8, days=3, faults=Faults(forbidden=frozenset({forbidden}))) as other:
        explorer = cf.explore(other)
    assert "functionsAcl:READ" in message(explorer)
    assert 0 < len(explorer.calls) < len(calls)


def test_refused_token_is_shown_as_a_message(project: Project) -> None:
    stranger = cf.connect(base_url=project.client.target.base_url, project=project.name, token="of-somebody-else")
    explorer = cf.explore(stranger)
    assert message(explorer).startswith("The calls could not be fetched. 401")
    assert "Refresh" in explorer._toolbar.freshness.html


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_file_is_read(calls: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"calls{suffix}"
    (cf.write_csv if suffix == ".csv" else cf.write_parquet)(calls, path)
    assert len(cf.explore(str(path)).calls) == len(calls)


def test_filtered_frame_can_be_explored(calls: pd.DataFrame) -> None:
    explorer = cf.explore(calls[calls["status"] == "Failed"])
    assert explorer.calls["status"].unique().tolist() == ["Failed"]


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (pd.DataFrame({"a": [1]}), {}, cf.errors.FrameError, "call_id"),
        ("calls.xlsx", {}, cf.errors.ArgumentError, "does not end in .csv, .csv.gz, .csv.zst, .parquet"),
        ("gone.csv", {}, cf.errors.FileError, "gone.csv"),
        (frame.empty(), {"start": "7d"}, cf.errors.ArgumentError, "start= is for a project"),
        (frame.empty(), {"schedules": pd.DataFrame({"a": [1]})}, cf.errors.FrameError, "Not a table of schedules"),
        (frame.empty(), {"schedules": []}, cf.errors.FrameError, "found list"),
        (5, {}, cf.errors.FrameError, "found int"),
    ],
)
def test_invalid_source_is_an_error_with_what_was_expected(
    source: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        cf.explore(source, **options)


# An archive


@pytest.fixture(scope="module")
def archive(project: Project, tmp_path_factory: pytest.TempPathFactory) -> cf.Archive:
    made = cf.Archive(tmp_path_factory.mktemp("archive") / "calls.delta")
    made.sync(project)
    return made


@pytest.fixture
def large(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    monkeypatch.setattr(reporting, "MAX_CALLS", 600)
    return cf.explore(archive)


def test_small_archive_is_read_call_by_call(archive: cf.Archive) -> None:
    explorer = cf.explore(archive)
    assert key_figure(explorer, "Calls") == f"{len(archive.calls()):,}"
    assert key_figure(explorer, "Missed runs") != "not counted"


def test_large_archive_is_shown_by_its_rollup(large: Explorer, archive: cf.Archive) -> None:
    exact = cf.summarize(archive.calls())
    assert key_figure(large, "Calls") == f"{exact['calls'].sum():,}"
    assert key_figure(large, "Missed runs") == "not counted"
    assert large.figure.axes[0].get_title(loc="left") == "Calls and failures"


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_of_a_large_archive_explains_how_to_see_calls(large: Explorer, tab: str) -> None:
    choose(large, tab=tab)
    assert "choose a shorter range" in details(large)
    assert message(large) == ""


def test_shorter_range_of_a_large_archive_reads_its_calls(large: Explorer, archive: cf.Archive) -> None:
    choose(large, last="24h")
    assert key_figure(large, "Missed runs") != "not counted"
    assert len(large.calls) == len(archive.calls(start=large.calls["start_time"].min().isoformat()))


def test_calls_of_a_large_archive_are_all_selected_ones(large: Explorer, archive: cf.Archive) -> None:
    choose(large, statuses=["Completed"])
    assert len(large.calls) == (archive.calls()["status"] == "Completed").sum()


@pytest.mark.parametrize("chosen", [{}, {"statuses": ["Failed"]}, {"start": "2026-01-01T10:00"}])
def test_copied_code_of_a_large_archive_makes_the_same_rollup(large: Explorer, chosen: dict[str, Any]) -> None:
    if "start" in chosen:
        chosen = {"start": (large.calls["start_time"].iloc[0] + pd.Timedelta("1h")).isoformat()}
    large.selection = chosen
    made: dict[str, Any] = {}
    exec(copied(large), made)
    plt.close("all")
    analysis: Any = large._analyze()
    pd.testing.assert_frame_equal(made["rollup"].reset_index(drop=True), analysis.rollup.reset_index(drop=True))


@pytest.mark.parametrize(
    "chosen", [{"start": "2126-01-01"}, {"end": "1999-01-01"}, {"start": "2026-01-02", "end": "2026-01-01"},
    {"functions": ["gone"]}],
)  # fmt: skip
def test_empty_range_of_an_archive_is_reported(archive: cf.Archive, chosen: dict[str, Any]) -> None:
    explorer = cf.explore(archive, selection=chosen)
    assert message(explorer).startswith("No calls are selected:")
    assert len(explorer.calls) == 0


def test_calls_are_kept_when_the_archive_is_gone(project: Project, tmp_path: Path) -> None:
    made = cf.Archive(tmp_path / "calls.delta")
    made.sync(project)
    explorer = cf.explore(made)
    count = key_figure(explorer, "Calls")
    (tmp_path / "calls.delta").rename(tmp_path / "moved")
    assert refreshed(explorer).startswith("The calls could not be read again. There is no archive at")
    assert (key_figure(explorer, "Calls"), len(explorer.calls)) == (count, int(count.replace(",", "")))


def test_archive_can_be_refreshed(archive: cf.Archive) -> None:
    explorer = cf.explore(archive)
    do(explorer, "refresh")
    assert explorer.refreshing is not None
    explorer.refreshing.join(60)
    assert message(explorer) == ""


# Redrawing


def test_changes_in_an_event_loop_are_drawn_once() -> None:
    drawn: list[int] = []
    state = [0]

    async def change() -> None:
        redraw = Redraw(lambda: drawn.append(state[0]), pause_s=0.0)
        for number in range(10):
            state[0] = number
            redraw.request()
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(change())
    assert drawn == [9]


def test_change_during_a_redraw_is_drawn_after_it() -> None:
    drawn: list[str] = []
    state = ["first"]
    started, go_on = threading.Event(), threading.Event()

    def draw() -> None:
        drawing = state[0]
        started.set()
        go_on.wait(10)
        drawn.append(drawing)

    redraw = Redraw(draw)
    first = threading.Thread(target=redraw.request)
    first.start()
    started.wait(10)
    state[0] = "second"
    second = threading.Thread(target=redraw.request)
    second.start()
    go_on.set()
    first.join(10)
    second.join(10)
    assert (drawn[0], drawn[-1]) == ("first", "second")


def test_last_state_is_drawn_whichever_thread_changed_it() -> None:
    drawn: list[int] = []
    state = [0]
    counting = threading.Lock()
    redraw = Redraw(lambda: drawn.append(state[0]))

    def change() -> None:
        for _ in range(50):
            with counting:
                state[0] += 1
            redraw.request()

    threads = [threading.Thread(target=change) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert (drawn[-1], drawn) == (200, sorted(drawn))


def test_redraw_requested_while_drawing_follows_it() -> None:
    drawn: list[int] = []

    def draw() -> None:
        drawn.append(len(drawn))
        if len(drawn) == 1:
            redraw.request()

    redraw = Redraw(draw)
    redraw.request()
    assert drawn == [0, 1]
