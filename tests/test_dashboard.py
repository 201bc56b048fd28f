"""The dashboard without a browser: controls are set, and what is shown is read."""

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
from factories import DAY_MS, HOUR_MS, START_MS, STATUSES, edge_case_rows, frame_from_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ipywidgets.widgets.widget import _instances as kept_widgets

import callframe as cf
from callframe import frame
from callframe.dashboard import call_table, export
from callframe.dashboard.call_analysis import ROWS_MOST, CallAnalysis
from callframe.dashboard.filter_options import label, of_calls
from callframe.dashboard.redraw import Redraw
from callframe.dashboard.selection import TABS, Selection, select
from callframe.formatting import format_duration, format_percent
from callframe.reporting import rollup_page
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
    """Give a dashboard as it is at first: making one anew for every test would take a minute."""
    button(shared, "Search all").value = ""
    shared.selection = Selection()
    return shared


def words(value: str) -> str:
    """Read what HTML shows."""
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", value).split()))


def figure(explorer: Explorer, name: str) -> str:
    found = re.search(rf'<dt>{name}</dt>\s*<dd class="value">(.*?)</dd>', explorer._figures.value)
    assert found, name
    return html.unescape(found[1])


def message(explorer: Explorer) -> str:
    return words(explorer._message.value)


def press(explorer: Explorer, name: str) -> None:
    button(explorer, name).click()


def button(widget: Any, name: str) -> Any:
    found = [one for one in walk(widget) if getattr(one, "description", "") == name]
    assert found, name
    return found[0]


def walk(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def open_tab(explorer: Explorer, name: str) -> Any:
    explorer._tabs.selected_index = TABS.index(name)
    return explorer._panels[name]


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


def test_last_counts_back_from_where_the_window_ends(calls: pd.DataFrame) -> None:
    fetched = pd.Timestamp(calls.attrs["callframe"]["fetched_at"])
    chosen = select(calls, Selection(last="1h"))
    assert len(chosen) == (calls["start_time"] >= fetched - pd.Timedelta("1h")).sum()


def test_selected_calls_are_numbered_from_0_and_keep_their_dtypes(calls: pd.DataFrame) -> None:
    chosen = select(calls, Selection(statuses=("Failed",)))
    frame.check(chosen)
    assert chosen.index.equals(pd.RangeIndex(len(chosen)))


def test_selecting_leaves_the_frame_as_it_was(calls: pd.DataFrame) -> None:
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


def test_missed_runs_of_a_part_are_those_of_the_whole_in_it(calls: pd.DataFrame, schedules: pd.DataFrame) -> None:
    whole = cf.missed_runs(calls, schedules)
    names = whole.loc[whole["state"] == "missed", "function"].unique()[:2].tolist()
    part = CallAnalysis(calls, schedules, Selection(functions=tuple(names))).missed
    expected = whole[whole["function"].isin(names)]
    assert part is not None
    assert part["scheduled_time"].tolist() == expected["scheduled_time"].tolist()
    assert part["state"].tolist() == expected["state"].tolist()


def test_selection_by_status_does_not_make_runs_missed(calls: pd.DataFrame, schedules: pd.DataFrame) -> None:
    look = CallAnalysis(calls, schedules, Selection(statuses=("Failed",)))
    assert look.missed is not None
    assert len(look.missed) == len(cf.missed_runs(calls, schedules))


@pytest.mark.parametrize(
    ("changes", "said"),
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
def test_wrong_selection_says_what_is_expected(calls: pd.DataFrame, changes: Any, said: str) -> None:
    with pytest.raises(cf.errors.ArgumentError, match=re.escape(said)):
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


def test_selection_survives_being_saved() -> None:
    one = Selection(functions=("a",), last="24h", by="1d", tz="Europe/Oslo", tab="Failures", picture="By kind")
    assert Selection.of(one.to_dict()) == one


@pytest.mark.parametrize("changes", [{"functions": ["gone"]}, {"statuses": ["Gone"]}, {"schedules": [42]}])
def test_what_is_chosen_and_gone_takes_nothing(explorer: Explorer, changes: dict[str, Any]) -> None:
    explorer.selection = changes
    assert (len(explorer.calls), explorer.selection.to_dict()) == (0, changes)
    assert message(explorer).startswith("No calls are selected.")


def test_function_that_is_gone_after_a_refresh_stays_chosen(explorer: Explorer, calls: pd.DataFrame) -> None:
    name = calls["function"].iloc[0]
    explorer._controls.functions.value = (name,)
    explorer._controls.fill(of_calls(calls[calls["function"] != name], None))
    try:
        assert explorer._controls.functions.options[-1] == (f"{label(name)} \N{MIDDLE DOT} no calls", name)
        assert explorer.selection.functions == (name,)
    finally:
        explorer._fill()


def test_reset_forgets_what_is_gone(explorer: Explorer) -> None:
    explorer.selection = {"functions": ["gone"], "statuses": ["Gone"], "schedules": [42]}
    press(explorer, "Reset")
    assert "Gone" not in explorer._controls.statuses
    assert [one for one in explorer._controls.schedules.options if one[1] == 42] == []


# The dashboard


def test_figures_are_those_of_the_selected_calls(explorer: Explorer, calls: pd.DataFrame) -> None:
    name = calls["function"].iloc[0]
    explorer._controls.functions.value = (name,)
    chosen = calls[calls["function"] == name]
    summary = cf.summarize(chosen).iloc[0]
    assert figure(explorer, "Calls") == f"{len(chosen):,}"
    assert figure(explorer, "Failure rate") == format_percent(summary["failure_rate"])
    assert figure(explorer, "Duration, p95") == format_duration(summary["duration_p95"])


def test_calls_are_those_that_the_controls_select(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._controls.statuses["Failed"].value = True
    pd.testing.assert_frame_equal(explorer.calls, calls[calls["status"] == "Failed"].reset_index(drop=True))


def test_changing_calls_does_not_change_what_is_explored(explorer: Explorer, calls: pd.DataFrame) -> None:
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


def test_time_that_no_clock_shows_is_the_next_one(explorer: Explorer) -> None:
    explorer._controls.tz.value = "Europe/Oslo"
    explorer._controls.start.value = pd.Timestamp("2026-03-29 02:30").to_pydatetime()
    assert explorer.selection.start == "2026-03-29T01:00:00.000Z"


@pytest.mark.parametrize("year", [2, 1969, 2262, 9999])
def test_year_that_is_being_typed_is_no_error(explorer: Explorer, year: int) -> None:
    explorer._controls.tz.value = "Pacific/Auckland"
    explorer._controls.start.value = dt.datetime(year, 12, 31)  # noqa: DTZ001 - as pickers give it
    explorer._controls.tz.value = "America/New_York"
    assert 'role="alert"' not in explorer._message.value


def test_search_offers_matching_functions_and_keeps_the_chosen_ones(explorer: Explorer, calls: pd.DataFrame) -> None:
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
    controls.search.value = "ingest"  # typed before Enter, told after it
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
    assert any(words(one) or "<img" in one or "<iframe" in one for one in shown)
    assert message(explorer) == ""


@pytest.mark.parametrize("tab", TABS)
def test_tab_of_no_calls_says_so(tab: str) -> None:
    explorer = cf.explore(frame.empty(), selection={"tab": tab})
    assert message(explorer) == "There are no calls to show."


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("status", ["Failed", "Running", "Timeout"])
def test_tab_of_one_call_shows_it(tab: str, status: str) -> None:
    one = frame_from_rows(
        [{"function": "a", "status": status, "start": START_MS, "duration": None, "delay": None}], fetched_ms=None
    )
    assert message(cf.explore(one, selection={"tab": tab})) == ""


def test_tab_is_drawn_when_it_is_first_looked_at(calls: pd.DataFrame) -> None:
    explorer = cf.explore(calls)
    assert explorer._panels["Durations"]._picture.value == ""
    assert "<img" in open_tab(explorer, "Durations")._picture.value


def test_picture_has_words_for_those_who_do_not_see_it(explorer: Explorer) -> None:
    assert re.search(r'alt="A day of calls\. 1,200 calls of \d functions', explorer._panels["Overview"]._picture.value)


def test_every_picture_is_drawn_into_the_same_figure(explorer: Explorer) -> None:
    before = explorer.figure
    open_tab(explorer, "Failures")
    assert explorer.figure is before
    assert before.axes[0].get_title(loc="left") == "Calls that failed"


def test_figure_is_that_of_the_tab_gone_back_to(explorer: Explorer) -> None:
    open_tab(explorer, "Failures")
    open_tab(explorer, "Overview")
    assert explorer.figure.axes[0].get_title(loc="left") == "A day of calls"


def test_style_of_the_user_changes_no_picture(explorer: Explorer) -> None:
    panel = open_tab(explorer, "Durations")
    before = panel._picture.value
    with plt.style.context("dark_background"), plt.rc_context({"font.size": 30}):
        explorer._shown.clear()
        explorer.selection = explorer.selection
    assert panel._picture.value == before


def test_closed_dashboard_lets_its_calls_go(calls: pd.DataFrame) -> None:
    before = set(kept_widgets)
    explorer = cf.explore(calls)
    open_tab(explorer, "Failures")
    held = weakref.ref(explorer._source)
    explorer.close()
    del explorer
    gc.collect()
    assert (held(), set(kept_widgets) - before) == (None, set())


def test_changes_keep_no_more_and_more_widgets(explorer: Explorer) -> None:
    before = len(kept_widgets)
    for name in ("Gone", "Elsewhere", "Nowhere"):
        explorer.selection = {"statuses": [name]}
        explorer._fill()
    press(explorer, "Reset")
    assert len(kept_widgets) == before


def test_dashboard_leaves_no_figure_open(calls: pd.DataFrame) -> None:
    plt.close("all")
    open_tab(cf.explore(calls), "Concurrency")
    assert plt.get_fignums() == []


def test_other_picture_of_a_tab_can_be_chosen(explorer: Explorer) -> None:
    panel = open_tab(explorer, "Durations")
    panel.views.value = "Over time"
    assert explorer.selection.picture == "Over time"
    assert explorer.figure.axes[0].get_xlabel().startswith("start time")


def test_selection_given_back_shows_the_same(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._controls.functions.value = (calls["function"].iloc[0],)
    open_tab(explorer, "Durations").views.value = "Over time"
    other = cf.explore(calls, selection=explorer.selection.to_dict())
    assert other.selection == explorer.selection
    assert other._figures.value == explorer._figures.value or figure(other, "Calls") == figure(explorer, "Calls")


def test_reset_selects_everything_and_stays_on_the_tab(explorer: Explorer, calls: pd.DataFrame) -> None:
    open_tab(explorer, "Failures")
    explorer._controls.statuses["Failed"].value = True
    press(explorer, "Reset")
    assert (len(explorer.calls), explorer.selection.tab) == (len(calls), "Failures")


def test_empty_selection_says_so(explorer: Explorer) -> None:
    explorer._controls.start.value = pd.Timestamp("2126-01-01").to_pydatetime()
    assert message(explorer).startswith("No calls are selected.")


def test_unknown_time_zone_is_a_sentence_in_the_view(explorer: Explorer) -> None:
    explorer._controls.tz.value = "Middle/Earth"
    assert message(explorer).startswith("tz='Middle/Earth' is not a time zone")
    assert 'role="alert"' in explorer._message.value


@pytest.mark.parametrize("selection", [{"tz": "Middle/Earth"}, {"tz": "Middle/Earth", "start": "2026-01-01"}])
def test_controls_go_on_while_the_time_zone_is_wrong(explorer: Explorer, selection: dict[str, Any]) -> None:
    explorer.selection = selection
    explorer._controls.start.value = pd.Timestamp("2026-01-01").to_pydatetime()
    explorer._controls.last.value = "24h"
    assert message(explorer).startswith("tz='Middle/Earth' is not a time zone")
    press(explorer, "Reset")
    assert (message(explorer), explorer.selection) == ("", Selection())


def test_view_goes_on_after_an_error(explorer: Explorer, calls: pd.DataFrame) -> None:
    explorer._controls.tz.value = "Middle/Earth"
    explorer._controls.tz.value = "UTC"
    assert (message(explorer), figure(explorer, "Calls")) == ("", f"{len(calls):,}")


def test_mistake_of_our_own_is_shown_too(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer._panels["Durations"], "draw", lambda _: 1 / 0)
    open_tab(explorer, "Durations")
    assert "ZeroDivisionError" in message(explorer)


def test_mistake_in_a_tab_is_shown_too(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = open_tab(explorer, "Calls")
    monkeypatch.setattr(call_table, "shown", lambda *_: 1 / 0)
    panel.search.value = "x"
    assert "ZeroDivisionError" in message(explorer)


def test_grouping_changes_the_rows_of_the_summary(explorer: Explorer) -> None:
    explorer._controls.by.value = "status"
    assert "Calls by status" in words(explorer._panels["Overview"]._below.value)


def test_schedules_are_named_in_the_summary(explorer: Explorer, schedules: pd.DataFrame) -> None:
    explorer._controls.by.value = "schedule"
    shown = words(explorer._panels["Overview"]._below.value)
    assert [name for name in schedules["name"].dropna().head(3) if name in shown]


def test_unknown_schedules_are_not_taken_for_none_missed(calls: pd.DataFrame) -> None:
    explorer = cf.explore(calls, selection={"tab": "Schedules"})
    assert figure(explorer, "Missed runs") == "not known"
    assert "The schedules are not known" in words(explorer._panels["Schedules"]._below.value)


def test_widget_carries_its_picture_for_where_there_are_no_widgets(explorer: Explorer) -> None:
    bundle = explorer._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_incomplete_calls_are_said_to_be_so(calls: pd.DataFrame) -> None:
    part = calls.copy()
    rows_of = [{**row, "complete": False, "reason": "it broke"} for row in calls.attrs["callframe"]["functions"]]
    part.attrs = {"callframe": {**calls.attrs["callframe"], "functions": rows_of}}
    assert message(cf.explore(part)).startswith("Incomplete:")


# Failures


def test_first_kind_of_failure_is_the_most_frequent(explorer: Explorer, calls: pd.DataFrame) -> None:
    panel = open_tab(explorer, "Failures")
    assert panel.kinds.value == cf.failures(calls)["group"].iloc[0]


def test_examples_are_calls_of_the_kind_that_is_chosen(explorer: Explorer, calls: pd.DataFrame) -> None:
    panel = open_tab(explorer, "Failures")
    group = cf.failures(calls)["group"].iloc[1]
    panel.kinds.value = group
    groups = cf.failure_groups(calls)
    assert {groups.loc[place] for _, place in panel.examples.options} == {group}


def test_trace_of_the_example_is_shown(explorer: Explorer, calls: pd.DataFrame) -> None:
    panel = open_tab(explorer, "Failures")
    traced = cf.failures(calls).dropna(subset="frames")["group"].iloc[0]
    panel.kinds.value = traced
    trace = calls["error_trace"].loc[panel.examples.value]
    assert html.escape(trace) in panel.said.value


def test_log_is_fetched_on_demand(project: Project) -> None:
    explorer = cf.explore(project)
    panel = open_tab(explorer, "Failures")
    press(panel.widget, "Read its log")
    row = explorer.calls.loc[panel.examples.value]
    first = project.logs(int(row["function_id"]), int(row["call_id"]))["message"].iloc[0]
    assert first in html.unescape(panel.log.value)


def test_log_that_is_gone_is_a_sentence_in_the_view(project: Project) -> None:
    explorer = cf.explore(project)
    panel = open_tab(explorer, "Failures")
    gone = explorer._source.calls.copy(deep=False)
    gone["call_id"] = np.arange(1, len(gone) + 1)
    explorer._source.calls = gone
    panel.tell(CallAnalysis(gone, None, Selection()))
    press(panel.widget, "Read its log")
    assert words(panel.log.value).startswith("The log could not be read.")


def test_without_a_project_no_log_is_offered(explorer: Explorer) -> None:
    panel = open_tab(explorer, "Failures")
    assert panel.read_log not in panel.widget.children


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


def test_a_megabyte_of_trace_is_cut() -> None:
    one = frame_from_rows(
        [{"function": "a", "status": "Failed", "start": START_MS, "duration": 1000, "delay": 5}], fetched_ms=None
    )
    one["error_trace"] = frame.text_column(["x" * 1_000_000])
    panel = open_tab(cf.explore(one), "Failures")
    assert len(panel.said.value) < 110_000
    assert "900,000 characters are left out" in panel.said.value


# Calls


def test_search_finds_calls_by_function_status_error_and_id(calls: pd.DataFrame) -> None:
    name, call_id = str(calls["function"].iloc[0]), str(calls["call_id"].iloc[5])
    assert set(call_table.matching(calls, name.upper())["function"]) >= {name}
    assert call_table.matching(calls, call_id)["call_id"].tolist() == [int(call_id)]
    assert set(call_table.matching(calls, "FAILED")["status"]) >= {"Failed"}
    assert len(call_table.matching(calls, "  ")) == len(calls)


def test_search_is_for_text_as_it_is_written() -> None:
    one = frame_from_rows([{"function": "a", "status": "Failed", "start": START_MS, "duration": 1, "delay": 5}])
    one["error_message"] = frame.text_column(["Stra\N{LATIN SMALL LETTER SHARP S}e (1.5) was \N{SNOWMAN} lost"])
    assert [
        len(call_table.matching(one, sought)) for sought in ("stra\N{LATIN SMALL LETTER SHARP S}e (1.5)", "1x5")
    ] == [
        1,
        0,
    ]


def test_call_whose_function_is_missing_is_in_the_table(calls: pd.DataFrame) -> None:
    odd = calls.head(3).assign(function=calls["function"].head(3).where(np.array([True, False, True])))
    table, found = call_table.shown(CallAnalysis(odd, None, Selection()), "Earliest start", "")
    assert (found, table["function"].tolist()[1]) == (3, "")


def test_table_takes_the_first_thousand_of_an_order(calls: pd.DataFrame) -> None:
    table, found = call_table.shown(CallAnalysis(calls, None, Selection()), "Longest duration", "")
    assert (len(table), found) == (1_000, len(calls))
    assert float(table["duration [s]"].iloc[0]) == calls["duration"].max().total_seconds()


def test_table_stays_within_a_frame_that_can_reach_nothing() -> None:
    made = call_table.table_html(
        pd.DataFrame({**dict.fromkeys(call_table.NUMBERS, ""), "error": ["</script><script>alert(1)</script>"]})
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


def test_export_into_a_folder_that_is_gone_is_a_sentence(
    explorer: Explorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "Path", lambda name: tmp_path / "gone" / name)
    press(explorer, "Export CSV")
    assert 'role="alert"' in explorer._message.value


def test_export_into_a_folder_that_may_not_be_looked_at_is_a_sentence(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.exists", refuse)
    press(explorer, "Export CSV")
    assert message(explorer) == "The working folder cannot be looked at: Permission denied."


def copied(explorer: Explorer) -> str:
    """Press Copy code, and take it."""
    press(explorer, "Copy code")
    found = re.search(r"<textarea[^>]*>(.*?)</textarea>", explorer._code.value, re.DOTALL)
    assert found
    return html.unescape(found[1])


def drawn(figure_of: Any) -> list[Any]:
    """Read what a figure shows: its labels, and how many of what are at which heights."""
    (ax, *_) = figure_of.axes
    labels = [one.get_text() for one in ax.get_yticklabels()]
    return [ax.get_title(loc="left"), labels, [np.nan_to_num(one.get_ydata()).tolist() for one in ax.lines]]


@pytest.mark.parametrize("kind", ["frame", "file", "project", "archive"])
def test_copied_code_of_missed_runs_draws_the_same_picture(
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
    found = drawn(plt.gcf())
    plt.close("all")
    assert found == drawn(explorer.figure)


def test_copied_code_of_many_functions_draws_the_same_rows() -> None:
    rows_of = [
        {
            "function": f"f{n:02}",
            "status": "Failed" if n % 3 else "Completed",
            "start": START_MS,
            "duration": 9,
            "delay": 0,
        }
        for n in range(ROWS_MOST + 8)
    ]
    calls = frame_from_rows(rows_of, fetched_ms=None)
    explorer = cf.explore(calls)
    exec(copied(explorer), {"calls": calls})
    found = drawn(plt.gcf())
    plt.close("all")
    assert found == drawn(explorer.figure)


@pytest.mark.parametrize(("tab", "picture"), [("Overview", ""), ("Durations", "Over time"), ("Data quality", "")])
def test_copied_code_makes_the_same_selection(calls: pd.DataFrame, tmp_path: Path, tab: str, picture: str) -> None:
    cf.write_parquet(calls, tmp_path / "calls.parquet")
    name = calls["function"].iloc[0]
    explorer = cf.explore(
        tmp_path / "calls.parquet",
        selection={"functions": [name], "statuses": ["Completed"], "last": "24h", "tab": tab, "picture": picture},
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
    """Press Refresh, and read what is said after it."""
    press(explorer, "Refresh")
    assert explorer.refreshing is not None
    explorer.refreshing.join(60)
    return message(explorer)


def test_what_was_read_stays_when_the_service_goes_away() -> None:
    with cf.demo(calls=300, functions=3, days=2) as other:
        explorer = cf.explore(other)
        before = explorer.calls
    assert refreshed(explorer).startswith("The calls could not be fetched. No connection")
    pd.testing.assert_frame_equal(explorer.calls, before)


def test_what_was_read_stays_when_a_refresh_is_stopped(project: Project) -> None:
    explorer = cf.explore(project)
    count, stop = len(explorer.calls), threading.Event()
    stop.set()
    explorer._source.refresh(stop)
    assert (len(explorer._source.calls), "interrupted" in explorer._source.problem) == (count, True)
    assert "The calls shown are those fetched at" in explorer._source.problem


def test_mistake_in_a_refresh_stays_to_be_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = cf.explore(project)
    monkeypatch.setattr(explorer._source, "fetch", lambda _: 1 / 0)
    assert "ZeroDivisionError" in refreshed(explorer)
    assert button(explorer, "Refresh").icon == "refresh"


def test_picture_drawn_while_a_refresh_comes_in_is_drawn_anew(
    calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = cf.explore(calls)
    panel, draw = explorer._panels["Durations"], explorer._panels["Durations"].draw

    def draw_meanwhile(look: CallAnalysis) -> None:
        monkeypatch.setattr(panel, "draw", draw)
        draw(look)
        explorer._source.calls = calls.head(5)
        explorer._fill()
        explorer._redraw.ask()

    monkeypatch.setattr(panel, "draw", draw_meanwhile)
    open_tab(explorer, "Durations")
    assert 'alt="How long calls took. 5 calls' in panel._picture.value
    assert figure(explorer, "Calls") == "5"


def test_change_made_while_another_thread_fills_the_controls_is_not_lost(explorer: Explorer) -> None:
    with explorer._controls._quietly():
        other = threading.Thread(target=lambda: setattr(explorer._controls.last, "value", "24h"))
        other.start()
        other.join(30)
    assert explorer._controls.start.value is not None


def test_function_without_permission_is_a_sentence_in_the_view(calls: pd.DataFrame) -> None:
    forbidden = int(calls["function_id"].iloc[0])
    with cf.demo(calls=1_200, functions=8, days=3, faults=Faults(forbidden=frozenset({forbidden}))) as other:
        explorer = cf.explore(other)
    assert "functionsAcl:READ" in message(explorer)
    assert 0 < len(explorer.calls) < len(calls)


def test_project_that_refuses_the_token_is_a_sentence_in_the_view(project: Project) -> None:
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
    ("source", "options", "error", "said"),
    [
        (pd.DataFrame({"a": [1]}), {}, cf.errors.FrameError, "call_id"),
        ("calls.xlsx", {}, cf.errors.ArgumentError, "neither a .csv nor a .parquet"),
        ("gone.csv", {}, cf.errors.FileError, "gone.csv"),
        (frame.empty(), {"start": "7d"}, cf.errors.ArgumentError, "start= is for a project"),
        (frame.empty(), {"schedules": pd.DataFrame({"a": [1]})}, cf.errors.FrameError, "no frame of schedules"),
        (frame.empty(), {"schedules": []}, cf.errors.FrameError, "found list"),
        (5, {}, cf.errors.FrameError, "found int"),
    ],
)
def test_wrong_source_says_what_is_expected(
    source: Any, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        cf.explore(source, **options)


# An archive


@pytest.fixture(scope="module")
def archive(project: Project, tmp_path_factory: pytest.TempPathFactory) -> cf.Archive:
    made = cf.Archive(tmp_path_factory.mktemp("archive") / "calls.delta")
    made.sync(project)
    return made


@pytest.fixture
def long(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> Explorer:
    monkeypatch.setattr(rollup_page, "CALLS_MOST", 600)
    return cf.explore(archive)


def test_archive_that_is_small_is_looked_at_call_by_call(archive: cf.Archive) -> None:
    explorer = cf.explore(archive)
    assert figure(explorer, "Calls") == f"{len(archive.calls()):,}"
    assert figure(explorer, "Missed runs") != "not counted"


def test_long_history_is_told_by_its_rollup(long: Explorer, archive: cf.Archive) -> None:
    exact = cf.summarize(archive.calls())
    assert figure(long, "Calls") == f"{exact['calls'].sum():,}"
    assert figure(long, "Missed runs") == "not counted"
    assert long.figure.axes[0].get_title(loc="left") == "Calls, and those that failed"


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_of_a_long_history_says_how_to_see_calls(long: Explorer, tab: str) -> None:
    panel = open_tab(long, tab)
    assert "choose a shorter range" in words(panel._below.value)
    assert message(long) == ""


def test_narrowing_a_long_history_reads_its_calls(long: Explorer, archive: cf.Archive) -> None:
    long._controls.last.value = "24h"
    assert figure(long, "Missed runs") != "not counted"
    assert len(long.calls) == len(archive.calls(start=long.calls["start_time"].min().isoformat()))


def test_calls_of_a_long_history_are_all_of_those_selected(long: Explorer, archive: cf.Archive) -> None:
    long._controls.statuses["Completed"].value = True
    assert len(long.calls) == (archive.calls()["status"] == "Completed").sum()


@pytest.mark.parametrize("chosen", [{}, {"statuses": ["Failed"]}, {"start": "2026-01-01T10:00"}])
def test_copied_code_of_a_long_history_makes_the_same_rollup(long: Explorer, chosen: dict[str, Any]) -> None:
    if "start" in chosen:
        chosen = {"start": (long.calls["start_time"].iloc[0] + pd.Timedelta("1h")).isoformat()}
    long.selection = chosen
    made: dict[str, Any] = {}
    exec(copied(long), made)
    plt.close("all")
    look: Any = long._looked()
    pd.testing.assert_frame_equal(made["rollup"].reset_index(drop=True), look.rollup.reset_index(drop=True))


@pytest.mark.parametrize(
    "chosen", [{"start": "2126-01-01"}, {"end": "1999-01-01"}, {"start": "2026-01-02", "end": "2026-01-01"},
    {"functions": ["gone"]}],
)  # fmt: skip
def test_range_without_calls_in_an_archive_says_so(archive: cf.Archive, chosen: dict[str, Any]) -> None:
    explorer = cf.explore(archive, selection=chosen)
    assert message(explorer).startswith("No calls are selected.")
    assert len(explorer.calls) == 0


def test_archive_that_is_gone_leaves_what_was_read(project: Project, tmp_path: Path) -> None:
    made = cf.Archive(tmp_path / "calls.delta")
    made.sync(project)
    explorer = cf.explore(made)
    count = figure(explorer, "Calls")
    (tmp_path / "calls.delta").rename(tmp_path / "moved")
    assert refreshed(explorer).startswith("The calls could not be read anew. There is no archive at")
    assert (figure(explorer, "Calls"), len(explorer.calls)) == (count, int(count.replace(",", "")))


def test_archive_is_read_anew(archive: cf.Archive) -> None:
    explorer = cf.explore(archive)
    press(explorer, "Refresh")
    assert explorer.refreshing is not None
    explorer.refreshing.join(60)
    assert message(explorer) == ""


# Redrawing


def test_changes_in_a_loop_come_in_as_one_redraw() -> None:
    drawn: list[int] = []
    state = [0]

    async def change() -> None:
        redraw = Redraw(lambda: drawn.append(state[0]), pause_s=0.0)
        for number in range(10):
            state[0] = number
            redraw.ask()
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(change())
    assert drawn == [9]


def test_change_during_a_redraw_is_drawn_after_it() -> None:
    drawn: list[str] = []
    state = ["first"]
    started, go_on = threading.Event(), threading.Event()

    def draw() -> None:
        seen = state[0]
        started.set()
        go_on.wait(10)
        drawn.append(seen)

    redraw = Redraw(draw)
    first = threading.Thread(target=redraw.ask)
    first.start()
    started.wait(10)
    state[0] = "second"
    second = threading.Thread(target=redraw.ask)
    second.start()
    go_on.set()
    first.join(10)
    second.join(10)
    assert (drawn[0], drawn[-1]) == ("first", "second")


def test_last_state_is_drawn_whichever_threads_change_it() -> None:
    drawn: list[int] = []
    state = [0]
    counting = threading.Lock()
    redraw = Redraw(lambda: drawn.append(state[0]))

    def change() -> None:
        for _ in range(50):
            with counting:
                state[0] += 1
            redraw.ask()

    threads = [threading.Thread(target=change) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert (drawn[-1], drawn) == (200, sorted(drawn))


def test_drawing_that_asks_for_a_redraw_is_drawn_once_more() -> None:
    drawn: list[int] = []

    def draw() -> None:
        drawn.append(len(drawn))
        if len(drawn) == 1:
            redraw.ask()

    redraw = Redraw(draw)
    redraw.ask()
    assert drawn == [0, 1]


# Overlaps


def overlapping(rows_of: list[tuple[int, int | None, str]]) -> pd.DataFrame:
    made = frame_from_rows(
        [
            {"function": "a", "status": status, "start": START_MS + start, "duration": took, "delay": 0}
            for start, took, status in rows_of
        ]
    )
    made["schedule_id"] = pd.array([7] * len(made), dtype="Int64")
    return made


def test_call_that_starts_before_the_last_one_ended_overlaps() -> None:
    found = cf.overlapping_runs(overlapping([(0, 1000, "Completed"), (400, 100, "Completed"), (1000, 5, "Failed")]))
    assert found[["call_id", "earlier_call_id"]].to_numpy().tolist() == [[2, 1]]
    assert found["overlap"].tolist() == [pd.Timedelta(milliseconds=100)]


def test_running_call_overlaps_until_it_is_stuck() -> None:
    found = cf.overlapping_runs(overlapping([(0, None, "Running"), (DAY_MS, 5, "Completed"), (60_000, 5, "Completed")]))
    assert found["call_id"].tolist() == [3]


def test_calls_without_a_schedule_overlap_by_function_only() -> None:
    made = overlapping([(0, 1000, "Completed"), (400, 100, "Completed")])
    made["schedule_id"] = pd.array([pd.NA] * 2, dtype="Int64")
    assert (len(cf.overlapping_runs(made)), len(cf.overlapping_runs(made, "function"))) == (0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_are_those_of_a_loop_over_calls(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    made = overlapping(
        [(int(drawn.integers(0, HOUR_MS)), int(drawn.integers(0, HOUR_MS // 8)), "Completed") for _ in range(60)]
    ).sort_values(["start_time", "call_id"], ignore_index=True)
    expected = [
        row.call_id
        for place, row in enumerate(made.itertuples())
        if any(made["end_time"][earlier] > row.start_time for earlier in range(place))
    ]
    assert cf.overlapping_runs(made)["call_id"].tolist() == expected


def test_unknown_grouping_of_overlaps_says_what_is_expected() -> None:
    for by in ("status", ["schedule"]):
        with pytest.raises(cf.errors.ArgumentError, match="expected 'schedule' or 'function'"):
            cf.overlapping_runs(frame.empty(), by)  # type: ignore[arg-type]
