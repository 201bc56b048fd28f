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
from callframe.dashboard import call_table, export, selection_analysis
from callframe.dashboard.controls import FilterOptions, shorten
from callframe.dashboard.explorer import Redraw
from callframe.dashboard.selection import TABS, Selection, select
from callframe.dashboard.selection_analysis import MAX_ROWS, CallAnalysis
from callframe.formatting import format_duration, format_percent
from callframe.sample.server import Faults
from callframe.timespan import iso

if TYPE_CHECKING:
    from collections.abc import Iterator
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
    button(shared, "Search all").value = ""
    shared.selection = Selection()
    return shared


def text(value: str) -> str:
    """Read the text of HTML."""
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", value).split()))


def key_figure(explorer: Explorer, name: str) -> str:
    match = re.search(rf'<dt>{name}</dt>\s*<dd class="value">(.*?)</dd>', explorer._key_figures.value)
    assert match, name
    return html.unescape(match[1])


def message(explorer: Explorer) -> str:
    return text(explorer._message.value)


def press(explorer: Explorer, name: str) -> None:
    button(explorer, name).click()


def button(widget: Any, name: str) -> Any:
    buttons = [part for part in walk(widget) if getattr(part, "description", "") == name]
    assert buttons, name
    return buttons[0]


def walk(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def open_tab(explorer: Explorer, name: str) -> Any:
    explorer._tab_bar.selected_index = TABS.index(name)
    return explorer._tabs[name]


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
    part = CallAnalysis(calls, schedules, Selection(functions=tuple(names))).missed
    expected = whole[whole["function"].isin(names)]
    assert part is not None
    assert part["scheduled_time"].tolist() == expected["scheduled_time"].tolist()
    assert part["state"].tolist() == expected["state"].tolist()


def test_selection_by_status_does_not_make_runs_missed(calls: pd.DataFrame, schedules: pd.DataFrame) -> None:
    analysis = CallAnalysis(calls, schedules, Selection(statuses=("Failed",)))
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
    assert message(explorer).startswith("No calls are selected.")


def test_function_that_is_gone_after_a_refresh_stays_chosen(explorer: Explorer, calls: pd.DataFrame) -> None:
    name = calls["function"].iloc[0]
    explorer._controls.functions.value = (name,)
    explorer._controls.set_options(FilterOptions.of_calls(calls[calls["function"] != name], None))
    try:
        assert explorer._controls.functions.options[-1] == (f"{shorten(name)} \N{MIDDLE DOT} no calls", name)
        assert explorer.selection.functions == (name,)
    finally:
        explorer._load()


def test_reset_removes_choices_that_are_gone(explorer: Explorer) -> None:
    explorer.selection = {"functions": ["gone"], "statuses": ["Gone"], "schedules": [42]}
    press(explorer, "Reset")
    assert "Gone" not in explorer._controls.statuses
    assert [one for one in explorer._controls.schedules.options if one[1] == 42] == []


# The dashboard


def test_key_figures_are_those_of_the_selected_calls(explorer: Explorer, calls: pd.DataFrame) -> None:
    name = calls["function"].iloc[0]
    explorer._controls.functions.value = (name,)
    chosen = calls[calls["function"] == name]
    summary = cf.summarize(chosen).iloc[0]
    assert key_figure(explorer, "Calls") == f"{len(chosen):,}"
    assert key_figure(explorer, "Failure rate") == format_percent(summary["failure_rate"])
    assert key_figure(explorer, "Duration, p95") == format_duration(summary["duration_p95"])


def test_calls_are_those_that_the_controls_select(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._controls.statuses["Failed"].value = True
    pd.testing.assert_frame_equal(explorer.calls, calls[calls["status"] == "Failed"].reset_index(drop=True))


def test_changing_calls_does_not_change_the_dashboard(explorer: Explorer, calls: pd.DataFrame) -> None:
    mine = explorer.calls
    mine.loc[:, "call_id"] = 0
    assert explorer.calls["call_id"].equals(calls["call_id"])


def test_quick_range_is_shown_in_the_date_fields(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._controls.last.value = "24h"
    shown = pd.Timestamp(explorer._controls.start.value)
    assert shown == pd.Timestamp(calls.attrs["callframe"]["fetched_at"]).tz_localize(None) - pd.Timedelta("24h")


def test_picked_times_are_of_the_time_zone_that_is_shown(explorer: Explorer) -> None:
    explorer._controls.tz.value = "Europe/Oslo"
    explorer._controls.start.value = pd.Timestamp("2026-01-01 12:00").to_pydatetime()
    assert explorer.selection.start == "2026-01-01T11:00:00.000Z"


def test_time_zone_moves_the_fields_and_not_the_selection(explorer: Explorer) -> None:
    explorer._controls.start.value = pd.Timestamp("2026-01-01 12:00").to_pydatetime()
    explorer._controls.tz.value = "Europe/Oslo"
    assert explorer._controls.start.value.hour == 13
    assert explorer.selection.start == "2026-01-01T12:00:00.000Z"


def test_picking_one_end_leaves_the_other_as_it_is(explorer: Explorer) -> None:
    second_two_oclock = "2026-10-25T01:30:00.123Z"
    explorer.selection = {"start": second_two_oclock, "tz": "Europe/Oslo"}
    explorer._controls.end.value = pd.Timestamp("2026-10-26 12:00").to_pydatetime()
    assert (explorer.selection.start, explorer.selection.end) == (second_two_oclock, "2026-10-26T11:00:00.000Z")


def test_time_that_no_clock_shows_is_shifted_forward(explorer: Explorer) -> None:
    explorer._controls.tz.value = "Europe/Oslo"
    explorer._controls.start.value = pd.Timestamp("2026-03-29 02:30").to_pydatetime()
    assert explorer.selection.start == "2026-03-29T01:00:00.000Z"


@pytest.mark.parametrize("year", [2, 1969, 2262, 9999])
def test_partly_typed_year_is_not_an_error(explorer: Explorer, year: int) -> None:
    explorer._controls.tz.value = "Pacific/Auckland"
    explorer._controls.start.value = dt.datetime(year, 12, 31)  # noqa: DTZ001 - as pickers give it
    explorer._controls.tz.value = "America/New_York"
    assert 'role="alert"' not in explorer._message.value


def test_search_lists_matching_functions_and_keeps_the_chosen_ones(explorer: Explorer, calls: pd.DataFrame) -> None:
    first, second = sorted(calls["function"].unique())[:2]
    explorer._controls.functions.value = (first,)
    explorer._controls.search.value = second.upper()
    assert {name for _, name in explorer._controls.functions.options} >= {first, second}
    assert explorer.selection.functions == (first,)


def test_enter_in_the_search_chooses_what_matches(explorer: Explorer, calls: pd.DataFrame) -> None:
    controls = explorer._controls
    controls.search.value = "in"
    controls.search._handle_msg(
        {"buffers": [], "content": {"data": {"method": "custom", "content": {"event": "submit"}}}}
    )
    controls.search.value = "ingest"  # typed before Enter, received after it
    names = calls["function"].cat.categories
    assert set(controls.functions.value) == {name for name in names if "ingest" in name}


def test_search_alone_selects_nothing(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._controls.search.value = "no function has this name"
    assert len(explorer.calls) == len(calls)


def test_functions_with_the_most_failures_come_first(explorer: Explorer, calls: pd.DataFrame) -> None:
    failed = calls[calls["status"].isin(["Failed", "Timeout"])]["function"].value_counts()
    assert explorer._controls.functions.options[0][1] == failed.index[0]


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_shows_something(explorer: Explorer, tab: str) -> None:
    panel = open_tab(explorer, tab)
    shown = [one.value for one in walk(panel.widget) if type(one).__name__ == "HTML"]
    assert any(text(one) or "<img" in one or "<iframe" in one for one in shown)
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


def test_tab_is_drawn_when_it_is_first_opened(calls: pd.DataFrame) -> None:
    explorer = cf.explore(calls)
    assert explorer._tabs["Durations"]._plot.value == ""
    assert "<img" in open_tab(explorer, "Durations")._plot.value


def test_plot_has_a_description(explorer: Explorer) -> None:
    assert re.search(r'alt="A day of calls\. 1,200 calls of \d functions', explorer._tabs["Overview"]._plot.value)


def test_all_plots_are_drawn_into_the_same_figure(explorer: Explorer) -> None:
    before = explorer.figure
    open_tab(explorer, "Failures")
    assert explorer.figure is before
    assert before.axes[0].get_title(loc="left") == "Calls that failed"


def test_figure_follows_the_return_to_another_tab(explorer: Explorer) -> None:
    open_tab(explorer, "Failures")
    open_tab(explorer, "Overview")
    assert explorer.figure.axes[0].get_title(loc="left") == "A day of calls"


def test_matplotlib_style_of_the_user_does_not_change_the_plots(explorer: Explorer) -> None:
    panel = open_tab(explorer, "Durations")
    before = panel._plot.value
    with plt.style.context("dark_background"), plt.rc_context({"font.size": 30}):
        explorer._drawn.clear()
        explorer.selection = explorer.selection
    assert panel._plot.value == before


def test_closed_dashboard_frees_its_calls(calls: pd.DataFrame) -> None:
    before = set(kept_widgets)
    explorer = cf.explore(calls)
    open_tab(explorer, "Failures")
    held = weakref.ref(explorer._source)
    explorer.close()
    del explorer
    gc.collect()
    assert (held(), set(kept_widgets) - before) == (None, set())


def test_changes_do_not_accumulate_widgets(explorer: Explorer) -> None:
    before = len(kept_widgets)
    for name in ("Gone", "Elsewhere", "Nowhere"):
        explorer.selection = {"statuses": [name]}
        explorer._load()
    press(explorer, "Reset")
    assert len(kept_widgets) == before


def test_dashboard_leaves_no_figure_open(calls: pd.DataFrame) -> None:
    plt.close("all")
    open_tab(cf.explore(calls), "Concurrency")
    assert plt.get_fignums() == []


def test_another_plot_of_a_tab_can_be_chosen(explorer: Explorer) -> None:
    panel = open_tab(explorer, "Durations")
    panel.plots.value = "Over time"
    assert explorer.selection.plot == "Over time"
    assert explorer.figure.axes[0].get_xlabel().startswith("start time")


def test_same_selection_shows_the_same(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._controls.functions.value = (calls["function"].iloc[0],)
    open_tab(explorer, "Durations").plots.value = "Over time"
    other = cf.explore(calls, selection=explorer.selection.to_dict())
    assert other.selection == explorer.selection
    assert key_figure(other, "Calls") == key_figure(explorer, "Calls")


def test_reset_selects_everything_and_stays_on_the_tab(explorer: Explorer, calls: pd.DataFrame) -> None:
    open_tab(explorer, "Failures")
    explorer._controls.statuses["Failed"].value = True
    press(explorer, "Reset")
    assert (len(explorer.calls), explorer.selection.tab) == (len(calls), "Failures")


def test_empty_selection_says_so(explorer: Explorer) -> None:
    explorer._controls.start.value = pd.Timestamp("2126-01-01").to_pydatetime()
    assert message(explorer).startswith("No calls are selected.")


def test_unknown_time_zone_is_shown_as_a_message(explorer: Explorer) -> None:
    explorer._controls.tz.value = "Middle/Earth"
    assert message(explorer).startswith("tz='Middle/Earth' is not a time zone")
    assert 'role="alert"' in explorer._message.value


@pytest.mark.parametrize("selection", [{"tz": "Middle/Earth"}, {"tz": "Middle/Earth", "start": "2026-01-01"}])
def test_controls_work_while_the_time_zone_is_invalid(explorer: Explorer, selection: dict[str, Any]) -> None:
    explorer.selection = selection
    explorer._controls.start.value = pd.Timestamp("2026-01-01").to_pydatetime()
    explorer._controls.last.value = "24h"
    assert message(explorer).startswith("tz='Middle/Earth' is not a time zone")
    press(explorer, "Reset")
    assert (message(explorer), explorer.selection) == ("", Selection())


def test_dashboard_works_after_an_error(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._controls.tz.value = "Middle/Earth"
    explorer._controls.tz.value = "UTC"
    assert (message(explorer), key_figure(explorer, "Calls")) == ("", f"{len(calls):,}")


def test_unexpected_error_is_shown(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer._tabs["Durations"], "draw", lambda _: 1 / 0)
    open_tab(explorer, "Durations")
    assert "ZeroDivisionError" in message(explorer)


def test_unexpected_error_in_a_tab_is_shown(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = open_tab(explorer, "Calls")
    monkeypatch.setattr(call_table, "search", lambda *_: 1 / 0)
    panel.search.value = "x"
    assert "ZeroDivisionError" in message(explorer)


def test_grouping_changes_the_rows_of_the_summary(explorer: Explorer) -> None:
    explorer._controls.by.value = "status"
    assert "Calls by status" in text(explorer._tabs["Overview"]._details.value)
    assert '<ol class="findings">' in explorer._tabs["Overview"]._details.value


def test_too_many_calls_for_findings_are_reported(calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection_analysis, "MAX_FINDINGS_CALLS", len(calls) // 2)
    shown = text(cf.explore(calls)._tabs["Overview"]._details.value)
    assert "their findings take seconds to compute. cf.findings(calls, schedules)" in " ".join(shown.split())


def test_schedules_are_named_in_the_summary(explorer: Explorer, schedules: pd.DataFrame) -> None:
    explorer._controls.by.value = "schedule"
    shown = text(explorer._tabs["Overview"]._details.value)
    assert [name for name in schedules["name"].dropna().head(3) if name in shown]


def test_missed_runs_are_not_known_without_schedules(calls: pd.DataFrame) -> None:
    explorer = cf.explore(calls, selection={"tab": "Schedules"})
    assert key_figure(explorer, "Missed runs") == "not known"
    assert "The schedules are not known" in text(explorer._tabs["Schedules"]._details.value)


def test_widget_has_a_png_for_places_without_widgets(explorer: Explorer) -> None:
    bundle = explorer._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_incomplete_calls_are_reported(calls: pd.DataFrame) -> None:
    part = calls.copy()
    rows_of = [{**row, "complete": False, "reason": "it broke"} for row in calls.attrs["callframe"]["functions"]]
    part.attrs = {"callframe": {**calls.attrs["callframe"], "functions": rows_of}}
    assert message(cf.explore(part)).startswith("Incomplete:")


# Failures


def test_first_failure_group_is_the_most_frequent(explorer: Explorer, calls: pd.DataFrame) -> None:
    panel = open_tab(explorer, "Failures")
    assert panel.groups.value == cf.failures(calls)["group"].iloc[0]


def test_examples_are_calls_of_the_chosen_group(explorer: Explorer, calls: pd.DataFrame) -> None:
    panel = open_tab(explorer, "Failures")
    group = cf.failures(calls)["group"].iloc[1]
    panel.groups.value = group
    groups = cf.failure_groups(calls)
    assert {groups.loc[place] for _, place in panel.examples.options} == {group}


def test_trace_of_the_example_is_shown(explorer: Explorer, calls: pd.DataFrame) -> None:
    panel = open_tab(explorer, "Failures")
    traced = cf.failures(calls).dropna(subset="frames")["group"].iloc[0]
    panel.groups.value = traced
    trace = calls["error_trace"].loc[panel.examples.value]
    assert html.escape(trace) in panel.text.value


def test_log_is_fetched_on_demand(project: Project) -> None:
    explorer = cf.explore(project)
    panel = open_tab(explorer, "Failures")
    press(panel.widget, "Read the log")
    row = explorer.calls.loc[panel.examples.value]
    first = project.logs(int(row["function_id"]), int(row["call_id"]))["message"].iloc[0]
    assert first in html.unescape(panel.log.value)


def test_missing_log_is_shown_as_a_message(project: Project) -> None:
    explorer = cf.explore(project)
    panel = open_tab(explorer, "Failures")
    gone = explorer._source.calls.copy(deep=False)
    gone["call_id"] = np.arange(1, len(gone) + 1)
    explorer._source.calls = gone
    panel.show_details(CallAnalysis(gone, None, Selection()))
    press(panel.widget, "Read the log")
    assert text(panel.log.value).startswith("The log could not be read.")


def test_without_a_project_there_is_no_log_button(explorer: Explorer) -> None:
    panel = open_tab(explorer, "Failures")
    assert panel.log_button not in panel.widget.children


def test_text_of_calls_is_escaped_everywhere() -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>$x$ \" ' \x1b[31m"
    one = frame_from_rows(
        [{"function": evil, "status": "Failed", "start": START_MS + n, "duration": 1000, "delay": 5} for n in range(3)],
        fetched_ms=None,
    )
    one["error_message"] = frame.text_column([evil + str(n) for n in range(3)])
    one["error_trace"] = frame.text_column([f"Traceback:\n{evil}"] * 3)
    explorer = cf.explore(one)
    for tab in TABS:
        open_tab(explorer, tab)
    shown = "".join(one.value for one in walk(explorer) if type(one).__name__ == "HTML")
    assert html.escape("<img src=x onerror=alert(1)>") in shown
    assert [one for one in ("<img src=x", "<script>", "\x1b") if one in shown] == []


def test_long_trace_is_cut() -> None:
    one = frame_from_rows(
        [{"function": "a", "status": "Failed", "start": START_MS, "duration": 1000, "delay": 5}], fetched_ms=None
    )
    one["error_trace"] = frame.text_column(["x" * 1_000_000])
    panel = open_tab(cf.explore(one), "Failures")
    assert len(panel.text.value) < 110_000
    assert "900,000 characters are left out" in panel.text.value


# Calls


def test_search_finds_calls_by_function_status_error_and_id(calls: pd.DataFrame) -> None:
    name, call_id = str(calls["function"].iloc[0]), str(calls["call_id"].iloc[5])
    assert set(call_table.search(calls, name.upper())["function"]) >= {name}
    assert call_table.search(calls, call_id)["call_id"].tolist() == [int(call_id)]
    assert set(call_table.search(calls, "FAILED")["status"]) >= {"Failed"}
    assert len(call_table.search(calls, "  ")) == len(calls)


def test_search_is_literal() -> None:
    one = frame_from_rows([{"function": "a", "status": "Failed", "start": START_MS, "duration": 1, "delay": 5}])
    one["error_message"] = frame.text_column(["Stra\N{LATIN SMALL LETTER SHARP S}e (1.5) was \N{SNOWMAN} lost"])
    assert [len(call_table.search(one, sought)) for sought in ("stra\N{LATIN SMALL LETTER SHARP S}e (1.5)", "1x5")] == [
        1,
        0,
    ]


def test_call_whose_function_is_missing_is_in_the_table(calls: pd.DataFrame) -> None:
    odd = calls.head(3).assign(function=calls["function"].head(3).where(np.array([True, False, True])))
    table = call_table.table_rows(odd, "Earliest start", "UTC")
    assert (len(table), table["function"].tolist()[1]) == (3, "")


def test_table_holds_the_first_thousand_calls_of_an_order(calls: pd.DataFrame) -> None:
    table = call_table.table_rows(calls, "Longest duration", "UTC")
    assert len(table) == 1_000 < len(calls)
    assert float(table["duration [s]"].iloc[0]) == calls["duration"].max().total_seconds()


def test_interactive_table_is_sandboxed() -> None:
    made = call_table.interactive_html(
        pd.DataFrame({**dict.fromkeys(call_table.NUMERIC, ""), "error": ["</script><script>alert(1)</script>"]})
    )
    assert made.startswith('<iframe title="Table of calls" sandbox="allow-scripts"')
    assert made.count("<") == 2
    assert "default-src 'none'" in html.unescape(made)


# Actions


def test_exported_csv_holds_the_selected_calls(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer._controls.statuses["Failed"].value = True
    press(explorer, "Export CSV")
    (path,) = tmp_path.glob("*.csv")
    assert cf.read_csv(path)["call_id"].tolist() == explorer.calls["call_id"].tolist()
    assert f"{len(explorer.calls):,} calls written to {path}" in message(explorer)
    assert f'download="{path.name}"' in explorer._message.value


def test_export_never_overwrites(explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    press(explorer, "Export Parquet")
    press(explorer, "Export Parquet")
    assert len(list(tmp_path.glob("*.parquet"))) == 2


def test_export_into_a_missing_folder_is_shown_as_a_message(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "Path", lambda name: tmp_path / "gone" / name)
    press(explorer, "Export CSV")
    assert 'role="alert"' in explorer._message.value


def test_export_into_an_unreadable_folder_is_shown_as_a_message(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.exists", refuse)
    press(explorer, "Export CSV")
    assert message(explorer) == "The working folder cannot be read: Permission denied."


def copied(explorer: Explorer) -> str:
    """Press Copy code, and read the code."""
    press(explorer, "Copy code")
    match = re.search(r"<textarea[^>]*>(.*?)</textarea>", explorer._code.value, re.DOTALL)
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
    press(explorer, "Refresh")
    assert explorer.refreshing is not None
    explorer.refreshing.join(60)
    assert message(explorer) == ""
    assert explorer.calls["start_time"].min() >= pd.Timestamp.now(tz="UTC") - pd.Timedelta("25h")
    assert button(explorer, "Refresh").icon == "refresh"


def refreshed(explorer: Explorer) -> str:
    """Press Refresh, and read the message after it."""
    press(explorer, "Refresh")
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
    explorer._source.refresh(stop)
    assert (len(explorer._source.calls), "interrupted" in explorer._source.problem) == (count, True)
    assert "The calls shown are those fetched at" in explorer._source.problem


def test_unexpected_error_in_a_refresh_stays_visible(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = cf.explore(project)
    monkeypatch.setattr(explorer._source, "fetch", lambda _: 1 / 0)
    assert "ZeroDivisionError" in refreshed(explorer)
    assert button(explorer, "Refresh").icon == "refresh"


def test_plot_drawn_during_a_refresh_is_drawn_again(calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = cf.explore(calls)
    panel, draw = explorer._tabs["Durations"], explorer._tabs["Durations"].draw

    def draw_meanwhile(analysis: CallAnalysis) -> None:
        monkeypatch.setattr(panel, "draw", draw)
        draw(analysis)
        explorer._source.calls = calls.head(5)
        explorer._load()
        explorer._redraw.request()

    monkeypatch.setattr(panel, "draw", draw_meanwhile)
    open_tab(explorer, "Durations")
    assert 'alt="How long calls took. 5 calls' in panel._plot.value
    assert key_figure(explorer, "Calls") == "5"


def test_change_while_another_thread_sets_the_controls_is_not_lost(explorer: Explorer) -> None:
    with explorer._controls._muted():
        other = threading.Thread(target=lambda: setattr(explorer._controls.last, "value", "24h"))
        other.start()
        other.join(30)
    assert explorer._controls.start.value is not None


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
    assert button(explorer, "Refresh")


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
    panel = open_tab(large, tab)
    assert "choose a shorter range" in text(panel._details.value)
    assert message(large) == ""


def test_shorter_range_of_a_large_archive_reads_its_calls(large: Explorer, archive: cf.Archive) -> None:
    large._controls.last.value = "24h"
    assert key_figure(large, "Missed runs") != "not counted"
    assert len(large.calls) == len(archive.calls(start=large.calls["start_time"].min().isoformat()))


def test_calls_of_a_large_archive_are_all_selected_ones(large: Explorer, archive: cf.Archive) -> None:
    large._controls.statuses["Completed"].value = True
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
    assert message(explorer).startswith("No calls are selected.")
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
    press(explorer, "Refresh")
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
