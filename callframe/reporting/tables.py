"""The tables of reports and dashboards beside the summary."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe.analysis.failures import failure_episodes
from callframe.completeness import coverage
from callframe.formatting import (
    MISSING,
    Cell,
    Column,
    Table,
    count_cell,
    format_duration,
    format_lower_bound,
    format_percent,
    format_time,
    make_table,
    truncate,
)
from callframe.limits import FUNCTION_QUOTA, PROJECT_QUOTA
from callframe.reporting.key_figures import LATE_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable


MIN_EPISODE = 3
"""How many failures in a row are worth listing."""
_ARROW = "\N{RIGHTWARDS ARROW}"
_BAD_VERDICTS = {"slower", "slower tail", "more failures"}
_MAX_EPISODES, _MAX_MISSED, _MAX_ROWS = 10, 30, 12


def episodes_table(calls: pd.DataFrame, tz: str) -> Table:
    """List the longest runs of consecutive failures, those that still last first."""
    episodes = failure_episodes(calls)
    episodes = episodes[episodes["length"] >= MIN_EPISODE]
    lasting = int((~episodes["recovered"]).sum())
    shown = episodes.sort_values(["recovered", "length"], ascending=[True, False], kind="stable").head(_MAX_EPISODES)
    columns = [
        _name("function"),
        _count("failures", "length"),
        _time("first", "start_time", tz),
        _time("last", "end_time", tz),
        Column("completed again", lambda row: _recovery(row, tz)),
    ]
    more = f" The {len(shown)} longest of {len(episodes):,} are shown." if len(episodes) > len(shown) else ""
    note = (
        f"{MIN_EPISODE} or more failures without a completed call between them; {lasting:,} of these runs last until"
        f" now.{more} Failures in a row are hardly independent: where there are many, the intervals of failure rates"
        " are too narrow."
    )
    return make_table("Failures in a row", columns, shown, note)


def schedules_table(report: pd.DataFrame) -> Table:
    """List the schedules that missed runs or have other problems."""
    in_order = report["verdict"].isin(["ran", "nothing due"]) & (report[["duplicates", "off_schedule"]] == 0).all(
        axis=1
    )
    rest = int(in_order.sum())
    note = f"{rest:,} {'schedule' if rest == 1 else 'schedules'} ran at every scheduled time." if rest else ""
    return make_table("Schedules with missed runs or other problems", _schedule_columns("UTC"), report[~in_order], note)


def missed_table(missed: pd.DataFrame, tz: str) -> Table:
    """List the latest missed runs."""
    certain = missed[missed["state"] == "missed"]
    shown = certain.iloc[::-1].head(_MAX_MISSED)
    note = f"The latest {len(shown)} of {len(certain):,}." if len(certain) > len(shown) else ""
    return make_table("Missed runs, the latest first", _missed_columns(tz), shown, note)


def quality_table(checks: pd.DataFrame) -> Table:
    """List the quality checks that found something."""
    failed = checks[checks["count"] > 0]
    note = f"{len(checks) - len(failed)} more checks found nothing."
    return make_table("Data quality problems", _quality_columns("UTC"), failed, note)


def coverage_table(calls: pd.DataFrame) -> Table:
    """List how completely each function was read, the incomplete ones first."""
    answers = {True: Cell("yes"), False: Cell("NO", classes="bad")}
    columns = [
        _name("function"),
        Column("function id", lambda row: Cell(str(row["function_id"]), classes="ids"), numeric=True),
        _count("calls read", "calls"),
        Column("complete", lambda row: "not known" if pd.isna(row["complete"]) else answers[bool(row["complete"])]),
        _count("set aside"),
        Column(
            "reason",
            lambda row: "; ".join(row[name] for name in ("reason", "set_aside_reason") if not pd.isna(row[name])),
        ),
    ]
    rows = coverage(calls).sort_values("complete", kind="stable", na_position="first")
    return make_table("How completely each function was read", columns, rows)


def archive_coverage_table(coverage: pd.DataFrame, tz: str) -> Table:
    """List the time ranges that an archive holds, and those that it does not."""
    columns = [
        _time(f"from ({tz})", "start_time", tz),
        _time("until", "end_time", tz),
        Column("state", lambda row: Cell(str(row["state"]), classes="" if row["state"] == "complete" else "bad")),
        _count("functions"),
        Column("missing", lambda row: _text(row["missing_functions"], 200)),
        Column("reason", lambda row: _text(row["reason"], 200)),
    ]
    return make_table("Time ranges in the archive", columns, coverage)


def extremes_table(calls: pd.DataFrame, column: str, caption: str, tz: str) -> Table:
    """List the calls with the largest durations or schedule delays."""
    values = calls[column].dropna()
    if len(values) > 10_000:  # noqa: PLR2004 - sorting a part is enough
        values = values[values >= values.quantile(1 - 1_000 / len(values))]
    largest = values.sort_values(ascending=False, kind="stable").head(_MAX_ROWS).index
    columns = [
        _name("function"),
        Column("call id", lambda row: Cell(str(row["call_id"]), classes="ids"), numeric=True),
        Column("status", lambda row: str(row["status"])),
        _time(f"start time ({tz})", "start_time", tz),
        _duration(column.replace("_", " "), column),
    ]
    return make_table(caption, columns, calls.loc[largest])


def late_table(late: pd.DataFrame, schedule_name: Callable[[Any], str]) -> Table:
    """List the schedules with the most late calls."""
    columns = [
        Column("schedule", lambda row: truncate(schedule_name(row["schedule"]))),
        _name("function"),
        _count("calls", "scheduled"),
        Column("late", lambda row: Cell(f"{row['late']:,.0f}", format_percent(row["late_rate"])), numeric=True),
        _duration("delay p50", "schedule_delay_p50"),
        _duration("delay p95", "schedule_delay_p95"),
        _duration("delay max", "schedule_delay_max"),
    ]
    note = f"Late is more than {format_duration(LATE_AFTER)} after the scheduled time.{_more(late)}"
    return make_table("Schedules that start late", columns, late.head(_MAX_ROWS), note)


def overlaps_table(overlaps: pd.DataFrame, schedule_name: Callable[[Any], str], tz: str) -> Table:
    """List the schedules of which calls started before an earlier call had ended."""
    schedules = (
        overlaps.groupby(["schedule_id", "function"], observed=True)
        .agg(count=("call_id", "size"), longest=("overlap", "max"), latest=("start_time", "max"))
        .sort_values("count", ascending=False, kind="stable")
        .reset_index()
    )
    columns = [
        Column("schedule", lambda row: truncate(schedule_name(row["schedule_id"]))),
        _name("function"),
        _count("started too early", "count"),
        _duration("longest overlap", "longest"),
        _time(f"latest ({tz})", "latest", tz),
    ]
    note = f"Calls that started while an earlier call of the same schedule was still running.{_more(schedules)}"
    return make_table("Schedules whose calls overlap", columns, schedules.head(_MAX_ROWS), note)


def peaks_table(peaks: pd.DataFrame, tz: str) -> Table:
    """List how close each function came to its quota, and how many of its calls ran at the overall peak."""
    columns = [
        _name("function"),
        _count("peak"),
        _time(f"when ({tz})", "peak_time", tz),
        _duration(f"above {FUNCTION_QUOTA * 8 // 10} of {FUNCTION_QUOTA}", "time_above"),
        Column("at the overall peak", _at_peak, numeric=True),
    ]
    note = f"A function may run {FUNCTION_QUOTA} calls at the same time, a project {PROJECT_QUOTA}."
    return make_table("Calls running at the same time, by function", columns, peaks.reset_index(), note)


def lay_out(table: pd.DataFrame, *, tz: str = "UTC", caption: str = "", max_rows: int | None = None) -> Table | None:
    """Lay out the rows of a table of the analysis, in their order; None if it is another frame."""
    columns = _COLUMNS.get(tuple(map(str, table.columns[:4])))
    if columns is None:
        return None
    shown = table.iloc[:max_rows].reset_index()
    note = f"{len(shown):,} of {len(table):,} rows are shown." if len(table) > len(shown) else ""
    return make_table(caption, columns(tz), shown, note)


def _comparison_columns(tz: str) -> list[Column]:  # noqa: ARG001 - as the others
    return [
        _name("function", length=30),
        Column("duration", lambda row: _verdict(row, "duration", _ratio(row, "duration_ratio"))),
        Column("p50", lambda row: _before_after(row, "duration_p50"), numeric=True),
        Column("tail", lambda row: _verdict(row, "tail", _ratio(row, "tail_ratio"))),
        Column("p95", lambda row: _before_after(row, "duration_p95"), numeric=True),
        Column("failures", lambda row: _verdict(row, "failure", _rates(row))),
        Column("new failure groups", lambda row: count_cell(row["new_failure_groups"], nonzero="bad"), numeric=True),
        Column("hours of the week", lambda row: str(row["hours_of_week"])),
    ]


def _failure_columns(tz: str) -> list[Column]:
    return [
        Column("label", lambda row: replace(truncate(row["label"], 120), classes="wrapped")),
        Column("failures", lambda row: Cell(f"{row['count']:,}", format_percent(row["share"])), numeric=True),
        Column("status", lambda row: str(row["status"])),
        Column("functions", _functions),
        Column(f"first seen ({tz})", lambda row: Cell(format_time(row["first_seen"], tz), "NEW" if row["new"] else "")),
        _time("last seen", "last_seen", tz),
        _id("example call", "call_id"),
    ]


def _quality_columns(tz: str) -> list[Column]:  # noqa: ARG001
    return [
        Column("problem", lambda row: Cell(str(row["what"]), classes="wrapped")),
        _count("count"),
        Column("advice", lambda row: Cell(str(row["advice"]), classes="wrapped")),
        Column("such calls", lambda row: Cell(", ".join(map(str, row.get("call_ids", [])[:2])), classes="ids")),
    ]


def _schedule_columns(tz: str) -> list[Column]:  # noqa: ARG001
    return [
        _schedule(26),
        _name("function", length=30),
        Column("verdict", lambda row: Cell(str(row["verdict"]), _text(row["problem"], 300))),
        Column("missed", lambda row: count_cell(row["missed"], nonzero="bad"), numeric=True),
        _count("scheduled times", "expected"),
        _count("run"),
        _count("unconfirmed"),
        _count("unknown"),
        _count("duplicates"),
        Column("cron (UTC)", lambda row: truncate(_cadence(row), 18)),
    ]


def _missed_columns(tz: str) -> list[Column]:
    return [
        _time(f"scheduled time ({tz})", "scheduled_time", tz),
        _schedule(40),
        _name("function"),
        Column("state", lambda row: str(row["state"])),
        Column("cron (UTC)", lambda row: MISSING if pd.isna(row["cron_expression"]) else str(row["cron_expression"])),
        Column("", lambda row: "inferred from its calls" if row["inferred"] else ""),
    ]


def _incident_columns(tz: str) -> list[Column]:
    return [
        _time(f"from ({tz})", "start_time", tz),
        _time("until", "end_time", tz),
        Column("completed again", lambda row: _recovery(row, tz)),
        Column("failed", _failed_of, numeric=True),
        Column("usually", lambda row: format_percent(row["base_rate"]), numeric=True),
        Column("functions", _functions),
        _id("first call", "call_id"),
    ]


def _change_columns(tz: str) -> list[Column]:
    return [
        _name("function"),
        Column("what", lambda row: f"{row['measure']}: {row['kind']}"),
        _time(f"when ({tz})", "time", tz),
        Column("between", lambda row: f"{format_time(row['time_low'], tz)} and {format_time(row['time_high'], tz)}"),
        Column("before", lambda row: _measured(row, "before"), numeric=True),
        Column("after", lambda row: _measured(row, "after"), numeric=True),
        Column("change", _change, numeric=True),
        _time("deployed", "deploy_time", tz),
    ]


def _contrast_columns(tz: str) -> list[Column]:  # noqa: ARG001
    return [
        Column("attribute", lambda row: str(row["attribute"]).replace("_", " ")),
        Column("value", lambda row: truncate(row["value"], 60)),
        Column("selected", lambda row: _share(row, "selected"), numeric=True),
        Column("rest", lambda row: _share(row, "rest"), numeric=True),
        Column("difference", lambda row: _difference(row, "difference"), numeric=True),
    ]


def _finding_columns(tz: str) -> list[Column]:  # noqa: ARG001
    return [
        Column("finding", lambda row: Cell(str(row["sentence"]), classes="wrapped")),
        Column("details", lambda row: str(row["code"])),
    ]


_COLUMNS: dict[tuple[str, ...], Callable[[str], list[Column]]] = {
    ("at", "hours_of_week", "completed_before", "completed_after"): _comparison_columns,
    ("group", "label", "status", "exception"): _failure_columns,
    ("count", "unit", "what", "advice"): _quality_columns,
    ("schedule_id", "name", "function", "cron_expression"): _schedule_columns,
    ("schedule_id", "name", "function", "scheduled_time"): _missed_columns,
    ("start_time", "end_time", "recovered", "recovered_time"): _incident_columns,
    ("function", "measure", "kind", "time"): _change_columns,
    ("attribute", "value", "selected_count", "rest_count"): _contrast_columns,
    ("kind", "sentence", "code", "function"): _finding_columns,
}
"""The columns to show of a table, by its first columns."""


def _id(heading: str, key: str) -> Column:
    return Column(heading, lambda row: Cell(str(row[key]), classes="ids"), numeric=True)


def _schedule(length: int) -> Column:
    return Column("schedule", lambda row: truncate(row["schedule_id"] if pd.isna(row["name"]) else row["name"], length))


def _functions(row: dict[Any, Any]) -> Cell:
    """Name the first function of a list, and count the others."""
    first, *others = str(row["functions"]).split(", ")
    return Cell(truncate(first, 30).text, f"and {len(others)} more" if others else "", str(row["functions"]))


def _before_after(row: dict[Any, Any], key: str) -> str:
    sides = [f"{key}_before", f"{key}_after"]
    return f" {_ARROW} ".join(format_lower_bound(row[side], row[f"{side}_above"]) for side in sides)


def _rates(row: dict[Any, Any]) -> str:
    return f" {_ARROW} ".join(format_percent(row[f"failure_rate_{side}"]) for side in ("before", "after"))


def _verdict(row: dict[Any, Any], measure: str, remark: str) -> Cell:
    verdict = str(row[f"{measure}_verdict"])
    return Cell(verdict, remark, classes="bad" if verdict in _BAD_VERDICTS else "wrapped")


def _ratio(row: dict[Any, Any], key: str) -> str:
    if pd.isna(row[key]):
        return ""
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return f"\N{MULTIPLICATION SIGN}{row[key]:.2f}" + ("" if pd.isna(low) else f" ({low:.2f} to {high:.2f})")


def _measured(row: dict[Any, Any], key: str) -> str:
    """Format a duration in seconds or a failure rate."""
    return format_percent(row[key]) if "failure" in row["measure"] else format_duration(pd.Timedelta(seconds=row[key]))


def _difference(row: dict[Any, Any], key: str) -> Cell:
    return Cell(_signed(row[key]), f"({_signed(row[f'{key}_low'])} to {_signed(row[f'{key}_high'])})")


def _change(row: dict[Any, Any]) -> Cell | str:
    return _difference(row, "change") if "failure" in row["measure"] else _ratio(row, "change")


def _failed_of(row: dict[Any, Any]) -> Cell:
    return Cell(f"{row['failures']:,} of {row['finished']:,}", format_percent(row["share"]))


def _share(row: dict[Any, Any], side: str) -> Cell:
    return Cell(format_percent(row[f"{side}_share"]), f"{row[f'{side}_count']:,}")


def _signed(share: Any) -> str:
    return MISSING if pd.isna(share) else f"{share:+.1%}"


def _name(heading: str, *, length: int = 40) -> Column:
    return Column(heading, lambda row: MISSING if pd.isna(row[heading]) else truncate(row[heading], length))


def _count(heading: str, key: str = "") -> Column:
    key = key or heading.replace(" ", "_")
    return Column(heading, lambda row: count_cell(row[key]), numeric=True)


def _duration(heading: str, key: str) -> Column:
    return Column(heading, lambda row: format_duration(row[key]), numeric=True)


def _time(heading: str, key: str, tz: str) -> Column:
    return Column(heading, lambda row: format_time(row[key], tz))


def _text(value: Any, length: int) -> str:
    return truncate(value, length).text if isinstance(value, str) and value else ""


def _recovery(row: dict[Any, Any], tz: str) -> Cell | str:
    return format_time(row["recovered_time"], tz) if row["recovered"] else Cell("not yet", classes="bad")


def _at_peak(row: dict[Any, Any]) -> Cell:
    return Cell(f"{row['at_peak']:,}", "" if pd.isna(row["share"]) else format_percent(row["share"]))


def _cadence(row: dict[Any, Any]) -> str:
    if not pd.isna(row["cron_expression"]):
        return str(row["cron_expression"])
    return MISSING if pd.isna(row["cadence"]) else f"every {format_duration(row['cadence'])}, inferred"


def _more(rows: pd.DataFrame) -> str:
    return f" {len(rows) - _MAX_ROWS:,} more rows are not shown." if len(rows) > _MAX_ROWS else ""
