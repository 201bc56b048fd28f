# mypy: disable-error-code="attr-defined,union-attr,index,misc,arg-type"
"""Plots, by the data of their artists."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from factories import DAY_MS, MINUTE_MS, START_MS, attach_coverage, call_frame, make_call
from matplotlib.colors import to_hex

from callframe import frame, plot
from callframe.analysis.rollup import rollup
from callframe.analysis.schedules import missed_runs
from callframe.completeness import FunctionCoverage
from callframe.errors import ArgumentError, FrameError
from callframe.plot import marks, style

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.axes import Axes

PLOTS: dict[str, Callable[..., Axes]] = {
    "durations": plot.durations,
    "durations over time": lambda calls, **more: plot.durations(calls, over="time", **more),
    "schedule_delays": plot.schedule_delays,
    "schedule_delays over time": lambda calls, **more: plot.schedule_delays(calls, over="time", **more),
    "failures": plot.failures,
    "failures over time": lambda calls, **more: plot.failures(calls, over="time", **more),
    "findings": plot.findings,
    "incidents": plot.incidents,
    "changes": plot.changes,
    "run_grid": plot.run_grid,
    "timeline": plot.timeline,
    "heatmap": plot.heatmap,
    "heatmap of delays": lambda calls, **more: plot.heatmap(calls, "delays", **more),
    "concurrency": plot.concurrency,
    "concurrency by function": lambda calls, **more: plot.concurrency(calls, by="function", **more),
    "survival": plot.survival,
    "history of calls": lambda calls, **more: plot.history(rollup(calls), **more),
    "history of failures": lambda calls, **more: plot.history(rollup(calls), "failures", **more),
    "history of durations": lambda calls, **more: plot.history(rollup(calls), "durations", **more),
    "history of delays": lambda calls, **more: plot.history(rollup(calls), "delays", **more),
}


def many(count: int, functions: int = 3, **changes: Any) -> pd.DataFrame:
    """Make calls of some functions, one a minute each."""
    return call_frame(
        *(
            make_call(
                id=1 + k,
                function_id=1 + k % functions,
                **(
                    {
                        "start_time": START_MS + k // functions * MINUTE_MS,
                        "end_time": START_MS + k // functions * MINUTE_MS + 1_000 * (1 + k % 7),
                        "scheduled_time": START_MS + k // functions * MINUTE_MS - 500,
                        "schedule_id": 100 + k % functions,
                        "status": "Completed",
                    }
                    | changes
                ),
            )
            for k in range(count)
        )
    )


FRAMES = {
    "no calls": frame.empty(),
    "one call": many(1),
    "only failed": many(40, status="Failed", error="boom $x$"),
    "only running": many(40, status="Running", end_time=None),
    "only error responses": many(40, status="Error response", error="boom"),
    "only timeouts": many(40, status="Timeout"),
    "thirty functions": many(300, functions=30),
    "instant and unscheduled": many(10, start_time=START_MS, end_time=START_MS, scheduled_time=None, schedule_id=None),
    "clocks that disagree": many(10, start_time=START_MS, end_time=START_MS - 5, scheduled_time=START_MS + 900),
}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.parametrize(("plot_name", "calls"), list(itertools.product(PLOTS, FRAMES)))
def test_every_plot_of_every_frame_is_drawn_with_labels_and_a_footer(plot_name: str, calls: str) -> None:
    ax = PLOTS[plot_name](FRAMES[calls])
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left")
    assert ax.get_xlabel().strip()
    assert any("complete" in text.get_text() for text in ax.texts)


@pytest.mark.parametrize("plot_name", PLOTS)
def test_every_plot_draws_into_the_given_axes(plot_name: str) -> None:
    _, mine = plt.subplots()
    assert PLOTS[plot_name](FRAMES["one call"], ax=mine) is mine


@pytest.mark.parametrize("plot_name", PLOTS)
def test_title_and_footer_of_every_plot_can_be_chosen(plot_name: str) -> None:
    ax = PLOTS[plot_name](FRAMES["one call"], title="Mine", footer=False)
    assert ax.get_title(loc="left") == "Mine"
    assert not any("complete" in text.get_text() for text in ax.texts)


@pytest.mark.parametrize("plot_name", [name for name in PLOTS if name not in {"incidents", "changes"}])
def test_options_of_matplotlib_are_passed_to_the_artists_of_every_plot(plot_name: str) -> None:
    ax = PLOTS[plot_name](many(30, status="Timeout"), alpha=0.123)
    artists = [*ax.lines, *ax.patches, *ax.collections]
    assert any(artist.get_alpha() == 0.123 for artist in artists)


@pytest.mark.parametrize("plot_name", PLOTS)
def test_no_plot_modifies_its_calls(plot_name: str) -> None:
    calls = many(30)
    before = calls.copy(deep=True)
    PLOTS[plot_name](calls)
    pd.testing.assert_frame_equal(calls, before)


@pytest.mark.parametrize("plot_name", PLOTS)
def test_every_plot_rejects_a_frame_that_is_not_a_call_frame(plot_name: str) -> None:
    with pytest.raises(FrameError, match="missing the columns status"):
        PLOTS[plot_name](many(1).drop(columns="status"))


@pytest.mark.parametrize("plot_name", PLOTS)
def test_every_footer_says_when_the_calls_are_incomplete(plot_name: str) -> None:
    calls = many(30)
    rows = [FunctionCoverage(1, "1", reasons=("forbidden",))]
    attach_coverage(calls, rows, project="p", fetched_at="2024-10-30T00:00:00.000Z", window=None)
    assert any("INCOMPLETE" in text.get_text() for text in PLOTS[plot_name](calls).texts)


@pytest.mark.filterwarnings("ignore:Missed runs")
@pytest.mark.parametrize("plot_name", PLOTS)
def test_no_footer_calls_some_of_the_calls_complete(plot_name: str) -> None:
    calls = many(30)
    attach_coverage(calls, [FunctionCoverage(1, "1", calls=30)], project="p", fetched_at="2024-10-30T00:00:00.000Z")
    footers = [text.get_text() for text in PLOTS[plot_name](calls.head(5)).texts]
    assert any("selected from 30 calls" in footer.replace("\n", " ") for footer in footers)
    assert not any(re.search(r", complete\b", footer.replace("\n", " ")) for footer in footers)


@pytest.mark.parametrize("plot_name", PLOTS)
def test_no_label_is_parsed_as_mathematics_or_breaks_its_line(plot_name: str) -> None:
    calls = many(12)
    calls["function"] = calls["function"].cat.rename_categories({"1": "a$_{b}$\n<img src=x>" + "y" * 200})
    ax = PLOTS[plot_name](calls)
    ax.figure.canvas.draw()
    shown = [text.get_text() for text in [*ax.get_yticklabels(), *(ax.get_legend().texts if ax.get_legend() else [])]]
    assert all("\n" not in text and len(text) < 70 for text in shown)


def test_labels_of_thirty_functions_do_not_overlap() -> None:
    ax = plot.durations(FRAMES["thirty functions"])
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))


def test_the_dots_of_durations_are_the_medians() -> None:
    ax = plot.durations(many(21, functions=1))
    assert ax.collections[-2].get_offsets()[:, 0].tolist() == [4.0]


def test_durations_longer_than_observed_end_in_an_arrow() -> None:
    ax = plot.durations(FRAMES["only timeouts"])
    assert any("arrow" in text.get_text() for text in ax.texts)


def test_a_deploy_is_marked_over_time() -> None:
    calls = many(300)
    rows = [FunctionCoverage(1, "1", created_ms=START_MS + 50 * MINUTE_MS)]
    attach_coverage(calls, rows, project="p", fetched_at="2024-10-30T00:00:00.000Z", window=None)
    ax = plot.durations(calls, over="time")
    assert sum(len(set(np.asarray(line.get_xdata()).tolist())) == 1 for line in ax.lines) == 1


def test_the_distribution_of_delays_shows_the_share_of_late_calls() -> None:
    ax = plot.schedule_delays(many(30), late_after="400ms")
    assert "all calls (100.0% late)" in [text.get_text() for text in ax.get_legend().texts]


def test_the_functions_with_the_longest_delays_are_coloured() -> None:
    calls = many(100, functions=5)
    delay = (calls["schedule_delay"] + calls["function_id"] * pd.Timedelta("2min")).dt.as_unit("ms")
    legend = plot.schedule_delays(calls.assign(schedule_delay=delay)).get_legend()
    assert legend is not None
    assert [text.get_text().split()[0] for text in legend.get_texts()] == ["5", "4", "3", "all"]


def test_a_function_without_late_calls_is_not_coloured() -> None:
    legend = plot.schedule_delays(many(60)).get_legend()
    assert legend is not None
    assert [text.get_text().split()[0] for text in legend.get_texts()] == ["all"]


def test_failure_groups_are_sorted_by_size() -> None:
    calls = call_frame(
        *(make_call(id=1 + k, status="Failed", error=f"{'a' if k < 5 else 'b'} broke") for k in range(7))
    )
    assert [bar.get_width() for bar in plot.failures(calls).patches][::-1] == [5, 2]


def test_failure_groups_show_when_they_failed() -> None:
    calls = many(60, functions=1)
    failed = calls.index.isin([0, 59])
    statuses = calls["status"].mask(failed, "Failed")
    ax = plot.failures(calls.assign(status=statuses, error_message=calls["error_message"].mask(failed, "broke")))
    _, bars = ax.collections
    assert [path.vertices[0][0] for path in bars.get_paths()] == pytest.approx([0.83, 1.0])


def test_failure_groups_have_the_colours_of_their_statuses() -> None:
    calls = call_frame(*(make_call(id=1 + k, status=status) for k, status in enumerate(frame.FAILURES)))
    colours = {to_hex(bar.get_facecolor()).upper() for bar in plot.failures(calls).patches}
    assert colours == {style.COLOURS[status] for status in frame.FAILURES}


@pytest.mark.parametrize("frame_name", ["only failed", "only error responses"])
def test_failures_over_time_add_up(frame_name: str) -> None:
    bars = plot.failures(FRAMES[frame_name], over="time").patches
    assert sum(bar.get_height() for bar in bars) == 40


def test_a_running_call_of_the_timeline_reaches_to_the_edge() -> None:
    ax = plot.timeline(FRAMES["only running"])
    assert all(bar.get_x() + bar.get_width() == pytest.approx(ax.get_xlim()[1]) for bar in ax.patches)


def test_a_crowded_timeline_is_counted_in_bins_and_says_so() -> None:
    ax = plot.timeline(many(6_000, functions=5, start_time=START_MS))
    assert any("bins of 5 min" in text.get_text() for text in ax.texts)


def test_the_timeline_of_another_day_shows_that_day() -> None:
    ax = plot.timeline(many(3), start="2020-01-01")
    assert any("no calls in this day" in text.get_text() for text in ax.texts)


def test_the_heatmap_counts_in_the_requested_time_zone() -> None:
    values = plot.heatmap(many(3), "calls", tz="Asia/Kolkata").collections[0].get_array()
    assert values is not None
    assert values.reshape(7, 24)[2, 17] == 3  # 12:00 UTC is 17:30 there, a Wednesday


def test_no_peak_of_concurrency_is_lost() -> None:
    calls = many(9_000, functions=1, end_time=START_MS + 9_000 * MINUTE_MS)
    assert np.nanmax(np.asarray(plot.concurrency(calls).lines[0].get_ydata(), dtype=float)) == 9_000


def test_concurrency_by_function_shows_the_peak_of_each_row() -> None:
    calls = many(12, functions=2, end_time=START_MS + 60 * MINUTE_MS)
    ends = calls["end_time"].mask(calls["function_id"] == 2, calls["start_time"] + pd.Timedelta("1s"))
    ax = plot.concurrency(calls.assign(end_time=ends), by="function")
    cells = np.ma.filled(ax.collections[0].get_array(), 0).reshape(2, -1)
    assert [name.get_text() for name in ax.get_yticklabels()] == ["2", "1"]
    assert cells.max(axis=1).tolist() == [1, 6]
    assert [text.get_text().strip() for text in ax.texts[:2]] == ["1", "6"]


def test_each_missed_run_is_a_mark() -> None:
    calls = many(30)
    attach_coverage(
        calls,
        [FunctionCoverage(one, str(one)) for one in (1, 2, 3)],
        project="p",
        fetched_at="2024-10-30T00:00:00.000Z",
        window={"start": "2024-10-29T12:00:00.000Z", "end": "2024-10-29T13:00:00.000Z"},
    )
    schedules = pd.DataFrame(
        {
            "schedule_id": pd.Series([100], dtype="int64"),
            "name": frame.text_column(["every minute"]),
            "function_id": pd.Series([1], dtype="Int64"),
            "function": frame.text_column(["1"]),
            "function_external_id": frame.text_column([None]),
            "cron_expression": frame.text_column(["* * * * *"]),
            "created_time": frame.time_column([0]),
        }
    )
    missed = missed_runs(calls, schedules)
    ax = plot.missed_runs(missed)
    assert sum(len(marks.get_offsets()) for marks in ax.collections) == len(missed) > 0


def test_missed_runs_rejects_another_table() -> None:
    with pytest.raises(ArgumentError, match="missing the column schedule_id"):
        plot.missed_runs(pd.DataFrame())


def test_an_unknown_over_is_rejected() -> None:
    with pytest.raises(ArgumentError, match="expected 'time'"):
        plot.durations(many(1), over="week")


def test_an_unknown_time_zone_is_rejected() -> None:
    with pytest.raises(ArgumentError, match="not a time zone"):
        plot.timeline(many(1), tz="Mars/Olympus")


def test_survival_starts_at_the_first_end_of_work() -> None:
    calls = many(3_000, functions=1, end_time=START_MS + 4_000 * MINUTE_MS)
    assert plot.survival(calls).get_xlim()[0] > 30 * 60


@pytest.mark.parametrize(("count", "says"), [(20, False), (3_000, True)])
def test_concurrency_says_when_a_pixel_holds_many_changes(count: int, says: bool) -> None:
    texts = [text.get_text() for text in plot.concurrency(many(count)).texts]
    assert any("within a pixel" in " ".join(text.split()) for text in texts) is says


def test_history_counts_calls_and_failures_by_day() -> None:
    calls = many(600, status="Failed")
    ax = plot.history(rollup(calls, "1D"))
    assert sum(patch.get_height() for patch in ax.patches) == 600
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["did not fail (0)", "failed (600)"]


def test_history_of_a_year_is_drawn_by_week() -> None:
    day = pd.Timedelta(days=1)
    calls = many(400, functions=1)
    calls = calls.assign(start_time=calls["start_time"].iloc[0] + day * np.arange(400))
    calls["start_time"] = calls["start_time"].astype("datetime64[ms, UTC]")
    assert plot.history(rollup(calls, "1D")).get_ylabel() == "calls in a week"


def test_history_rejects_what_is_not_a_rollup() -> None:
    with pytest.raises(FrameError, match="Not a rollup"):
        plot.history(frame.empty())


def test_history_in_an_unknown_time_zone_is_rejected_even_without_calls() -> None:
    with pytest.raises(ArgumentError, match="is not a time zone"):
        plot.history(rollup(frame.empty()), tz="Middle/Earth")


def test_history_of_failures_is_the_share_of_finished_calls() -> None:
    ax = plot.history(rollup(many(40, status="Failed"), "1D"), "failures")
    assert ax.lines[0].get_ydata().tolist() == [1.0]


def test_history_of_an_unknown_quantity_lists_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match="expected one of 'calls', 'failures', 'durations', 'delays'"):
        plot.history(rollup(frame.empty()), "costs")


def test_an_incident_is_a_bar_from_its_first_to_its_last_failure() -> None:
    calls = many(3_000)
    inside = calls["start_time"].between(calls["start_time"].iloc[600], calls["start_time"].iloc[690])
    ax = plot.incidents(calls.assign(status=calls["status"].mask(inside, "Failed")), alpha=0.5)
    [bar] = ax.patches
    assert bar.get_width() * 1440 == pytest.approx(30)
    assert bar.get_alpha() == 0.5
    assert any("93 of 93 calls lost" in text.get_text() for text in ax.texts)


def test_a_change_is_a_dot_in_its_interval() -> None:
    calls = many(20_000, functions=1)
    late = calls["start_time"] >= calls["start_time"].iloc[12_000]
    ax = plot.changes(calls.assign(duration=calls["duration"].mask(late, calls["duration"] * 3)), alpha=0.5)
    dots = ax.collections[1].get_offsets()
    assert np.asarray(dots)[:, 0] == pytest.approx([START_MS / DAY_MS + 12_000 / 1440], abs=0.01)
    assert ax.collections[0].get_alpha() == 0.5
    assert any("duration x 3.0" in text.get_text() for text in ax.texts)


def test_a_contrast_has_two_bars_a_row_and_is_pale_where_it_may_be_chance() -> None:
    calls = many(300)
    ax = plot.contrast(calls, calls["function"] == "1")
    bars = [bar for bar in ax.patches if bar.get_width()]
    assert "function: 1" in {text.get_text() for text in ax.texts}
    assert max(bar.get_width() for bar in bars) == 1
    assert {bar.get_alpha() for bar in ax.patches} == {0.35, 1.0}


def test_every_failure_of_the_timeline_has_a_mark() -> None:
    calls = many(40, status="Failed")
    marks = [one for one in plot.timeline(calls).collections if len(one.get_offsets()) == 40]
    assert len(marks) == 1


def test_delays_of_seconds_and_of_hours_have_different_colours_in_the_heatmap() -> None:
    calls = many(360, functions=1)
    late = np.where(calls.index < 120, 1_000, np.where(calls.index < 240, 20_000, 7_200_000))
    ax = plot.heatmap(calls.assign(schedule_delay=pd.to_timedelta(late, unit="ms").as_unit("ms")), "delays")
    shades = ax.collections[0].norm(np.array([1.0, 20.0, 7_200.0]))
    assert np.diff(shades).min() > 0.2


def test_a_failure_group_says_when_it_was_first_and_last_seen() -> None:
    texts = [text.get_text() for text in plot.failures(many(40, status="Failed")).texts]
    assert any(re.fullmatch(r" 40, \d\d-\d\d \d\d:\d\d to \d\d-\d\d \d\d:\d\d(, new)?", text) for text in texts)


@pytest.mark.parametrize(
    ("plot_name", "field"),
    [
        ("run_grid", "functions"), ("timeline", "functions"), ("durations", "functions"), ("failures", "groups"),
        ("failures over time", "statuses"), ("heatmap", "hours"), ("concurrency by function", "functions"),
    ],
)  # fmt: skip
def test_parts_of_plots_can_be_pointed_at_and_filter(plot_name: str, field: str) -> None:
    calls = many(40)
    calls.loc[::2, "status"] = "Failed"
    ax = PLOTS[plot_name](calls)
    ax.figure.canvas.draw()
    found = marks.of_figure(ax.figure)
    assert found
    assert all(0 <= edge <= 1 for box, _, _ in found for edge in box)
    assert all(text for _, text, _ in found)
    assert any(field in filters for _, _, filters in found)


def test_time_axis_of_a_plot_spans_the_range_of_its_calls() -> None:
    ax = plot.run_grid(many(40))
    [(_, start_ms, end_ms)] = marks.time_axes(ax.figure)
    assert start_ms <= START_MS < START_MS + 13 * MINUTE_MS <= end_ms


def test_grid_has_the_worst_functions_first_and_counts_their_failures() -> None:
    calls = many(30)
    calls.loc[calls["function_id"] == 2, "status"] = "Failed"
    ax = plot.run_grid(calls)
    assert ax.get_yticklabels()[0].get_text() == str(calls.loc[calls["function_id"] == 2, "function"].iloc[0])
    assert " 10" in [text.get_text() for text in ax.texts]
