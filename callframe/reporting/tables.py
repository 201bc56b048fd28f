"""The tables of reports and dashboards beside the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe.analysis.failures import failure_episodes
from callframe.analysis.quality import quality
from callframe.completeness import coverage
from callframe.formatting import (
    MISSING,
    Cell,
    Column,
    Table,
    count_cell,
    format_duration,
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
    columns = [
        Column("schedule", lambda row: truncate(row["schedule_id"] if pd.isna(row["name"]) else row["name"], 26)),
        _name("function", length=30),
        Column("cron (UTC)", lambda row: truncate(_cadence(row), 18)),
        _count("scheduled times", "expected"),
        _count("run"),
        Column("missed", lambda row: count_cell(row["missed"], nonzero="bad"), numeric=True),
        _count("unconfirmed"),
        _count("unknown"),
        _count("duplicates"),
        Column("verdict", lambda row: Cell(str(row["verdict"]), _text(row["problem"], 300))),
    ]
    rest = int(in_order.sum())
    note = f"{rest:,} {'schedule' if rest == 1 else 'schedules'} ran at every scheduled time." if rest else ""
    return make_table("Schedules with missed runs or other problems", columns, report[~in_order], note)


def missed_table(missed: pd.DataFrame, tz: str) -> Table:
    """List the latest missed runs."""
    certain = missed[missed["state"] == "missed"]
    shown = certain.iloc[::-1].head(_MAX_MISSED)
    columns = [
        _time(f"scheduled time ({tz})", "scheduled_time", tz),
        Column("schedule", lambda row: truncate(row["schedule_id"] if pd.isna(row["name"]) else row["name"])),
        _name("function"),
        Column("", lambda row: "inferred from its calls" if row["inferred"] else ""),
    ]
    note = f"The latest {len(shown)} of {len(certain):,}." if len(certain) > len(shown) else ""
    return make_table("Missed runs, the latest first", columns, shown, note)


def quality_table(calls: pd.DataFrame) -> Table:
    """List the quality checks that found something."""
    checks = quality(calls)
    columns = [
        Column("problem", lambda row: str(row["what"])),
        _count("count"),
        Column("advice", lambda row: str(row["advice"])),
        Column("such calls", lambda row: Cell(", ".join(map(str, row["call_ids"][:2])), classes="ids")),
    ]
    failed = checks[checks["count"] > 0]
    note = f"{len(checks) - len(failed)} more checks found nothing."
    return make_table("Data quality problems", columns, failed, note)


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
