"""What the tables of a report say: every cell as text, none of it escaped yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe.analysis.failures import failure_episodes
from callframe.analysis.quality import quality
from callframe.completeness import coverage
from callframe.formatting import format_duration, format_percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LABEL = 38
"""The longest name that is written whole; of longer ones the middle is left out, and the title has more."""

TITLE = 500
EPISODES_MOST, MISSED_MOST = 10, 30
EPISODE_FEWEST = 3
"""From how many failures in a row on they are worth a row."""

_SHADES = (0.001, 0.01, 0.05, 0.2)
_NONE = "–"  # noqa: RUF001 - as tables have it


@dataclass(frozen=True)
class Cell:
    """
    One cell.

    Parameters
    ----------
    text
        What it says.
    aside
        What it says small.
    title
        The whole of what was cut.
    tone
        A class of its looks.
    """

    text: str
    aside: str = ""
    title: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """
    Rows under a head, the first cell of each is its name.

    Parameters
    ----------
    caption
        What it shows.
    heads
        Headings; those that begin with `#` are of numbers.
    rows
        As many cells each as there are headings.
    note
        What is said below.
    """

    caption: str
    heads: Sequence[str]
    rows: list[list[Cell]]
    note: str = ""


def truncate(words: Any, most: int = LABEL) -> Cell:
    """Shorten text to one line, in the middle, where two names of a kind are most alike."""
    line = " ".join(str(words).split())
    if len(line) <= most:
        return Cell(line or "(no name)")
    title = line if len(line) <= TITLE else f"{line[:TITLE]}… ({len(line):,} characters)"
    return Cell(f"{line[: most // 2]}…{line[-(most // 2 - 1) :]}", title=title)


def format_time(time: Any, tz: str) -> str:
    """Write a time to the minute."""
    return _NONE if pd.isna(time) else f"{time.tz_convert(tz):%Y-%m-%d %H:%M}"


def format_interval(low: str, high: str) -> str:
    """Write an interval whose ends may not be known."""
    if {low, high} <= {"-", "no data"}:
        return ""
    return f"from {low}" if high == "-" else f"{low} to {high}"


def format_lower_bound(value: Any, above: Any) -> str:
    """Write a span that may be known only to exceed another."""
    words = format_duration(value) if pd.isna(above) else f"> {format_duration(above)}"
    return _NONE if words == "-" else words


def functions(summary: pd.DataFrame, tz: str) -> Table:
    """Lay out a summary, by function or whatever else it has a row for."""
    extra = ["other"] if summary["other"].any() else []
    by = " and ".join("start time" if name == "start_time" else str(name) for name in summary.index.names)
    heads = [by, *(f"#{name}" for name in ("calls", "failed", "timeout", "running", *extra))]
    heads += ["#failure rate", "#p50", "#p95", "#longest", "#delay p95", "last success", "#failed in a row"]
    rows = [
        _function(name, row, extra, tz)
        for name, row in zip(_labels(summary.index, tz), summary.to_dict("records"), strict=True)
    ]
    order = "" if "start_time" in summary.index.names else "Most failures first. "
    note = (
        f"{order}p50 and p95 are durations of completed work; delay is from the scheduled time to the"
        f" start, late is more than {format_duration(pd.Timedelta(seconds=summary.attrs.get('late_after_s', 60)))}."
        f" Times are {tz}."
    )
    return Table(f"Calls by {by}", heads, rows, note)


def _labels(index: pd.Index, tz: str) -> list[Cell]:
    """Name the rows of a summary."""
    levels = [index.get_level_values(level) for level in range(index.nlevels)]
    words = [
        [
            format_time(one, tz) if isinstance(one, pd.Timestamp) else "(none)" if pd.isna(one) else str(one)
            for one in level
        ]
        for level in levels
    ]
    return [truncate(" \N{MIDDLE DOT} ".join(parts)) for parts in zip(*words, strict=True)]


def _function(label: Cell, row: dict[Any, Any], extra: Iterable[str], tz: str) -> list[Cell]:
    rate = format_percent(row["failure_rate"])
    aside = format_interval(format_percent(row["failure_rate_low"]), format_percent(row["failure_rate_high"]))
    late = "" if pd.isna(row["late_rate"]) else f"{format_percent(row['late_rate'])} late"
    stuck = f"{row['stuck']:,} stuck" if row["stuck"] else ""
    return [
        label,
        *(_count(row[column]) for column in ("calls", "failed", "timeout")),
        replace(_count(row["running"]), aside=stuck),
        *(_count(row[column]) for column in extra),
        Cell(rate, aside, tone=_shade(row["failure_rate_low"])),
        Cell(format_lower_bound(row["duration_p50"], row["duration_p50_above"])),
        Cell(format_lower_bound(row["duration_p95"], row["duration_p95_above"])),
        _span(row["duration_max"]),
        replace(_span(row["schedule_delay_p95"]), aside=late),
        Cell(format_time(row["last_success_time"], tz)),
        _count(row["longest_failure_streak"]),
    ]


def episodes(calls: pd.DataFrame, tz: str) -> Table:
    """Lay out the longest runs of consecutive failures, those that still last first."""
    found = failure_episodes(calls)
    found = found[found["length"] >= EPISODE_FEWEST]
    lasting = int((~found["recovered"]).sum())
    shown = found.sort_values(["recovered", "length"], ascending=[True, False], kind="stable").head(EPISODES_MOST)
    rows = [
        [
            truncate(row["function"]),
            _count(row["length"]),
            Cell(format_time(row["start_time"], tz)),
            Cell(format_time(row["end_time"], tz)),
            Cell(format_time(row["recovered_time"], tz)) if row["recovered"] else Cell("not yet", tone="bad"),
        ]
        for row in shown.to_dict("records")
    ]
    more = f" The {len(shown)} longest of {len(found):,} are shown." if len(found) > len(shown) else ""
    note = (
        f"{EPISODE_FEWEST} failures or more without a completed call between them; {lasting:,} of these last until now."
        f"{more} Failures in a row are hardly independent, so the intervals of failure rates are too narrow where"
        " there are many."
    )
    return Table("Failures in a row", ["function", "#failures", "first", "last", "completed again"], rows, note)


def schedules(report: pd.DataFrame) -> Table:
    """Lay out the schedules of which there is something to say."""
    odd = ~report["verdict"].isin(["ran", "nothing due"]) | (report["duplicates"] > 0) | (report["off_schedule"] > 0)
    told = report[odd]
    heads = ["schedule", "function", "cron (UTC)", "#slots", "#run", "#missed", "#unconfirmed", "#unknown", "#twice"]
    rows = [
        [
            truncate(row["schedule_id"] if pd.isna(row["name"]) else row["name"], 26),
            truncate(_NONE if pd.isna(row["function"]) else row["function"], 30),
            truncate(_cadence(row), 18),
            *(_count(row[name]) for name in ("expected", "run")),
            Cell(f"{row['missed']:,}", tone="bad" if row["missed"] else ""),
            *(_count(row[name]) for name in ("unconfirmed", "unknown", "duplicates")),
            Cell(str(row["verdict"]), "" if pd.isna(row["problem"]) else truncate(row["problem"], 300).text),
        ]
        for row in told.to_dict("records")
    ]
    rest = len(report) - len(told)
    note = f"{rest:,} more schedule{'' if rest == 1 else 's'} ran at every slot that was due." if rest else ""
    return Table("Schedules that did not run at every slot, or need a look", [*heads, "verdict"], rows, note)


def missed(found: pd.DataFrame, tz: str) -> Table:
    """Lay out the latest missed runs."""
    sure = found[found["state"] == "missed"]
    shown = sure.iloc[::-1].head(MISSED_MOST)
    rows = [
        [
            Cell(format_time(row["scheduled_time"], tz)),
            truncate(row["schedule_id"] if pd.isna(row["name"]) else row["name"]),
            truncate(_NONE if pd.isna(row["function"]) else row["function"]),
            Cell("inferred from its calls" if row["inferred"] else ""),
        ]
        for row in shown.to_dict("records")
    ]
    note = f"The latest {len(shown)} of {len(sure):,}." if len(sure) > len(shown) else ""
    return Table("Missed runs, the latest first", [f"scheduled time ({tz})", "schedule", "function", ""], rows, note)


def quality_checks(calls: pd.DataFrame) -> Table:
    """Lay out what is odd about the data; what was looked for and not found is counted."""
    found = quality(calls)
    there = found[found["count"] > 0]
    rows = [
        [
            Cell(row["what"]),
            _count(row["count"]),
            Cell(row["advice"]),
            Cell(", ".join(map(str, row["call_ids"][:2])), tone="ids"),
        ]
        for row in there.to_dict("records")
    ]
    note = f"{len(found) - len(there)} more oddities were looked for and not found."
    return Table("What is odd about the data", ["what", "#count", "what to do", "such calls"], rows, note)


def coverage_table(calls: pd.DataFrame) -> Table:
    """Lay out how completely each function was read, the incomplete ones first."""
    rows = coverage(calls)
    rows = rows.sort_values("complete", kind="stable", na_position="first")
    words = {True: Cell("yes"), False: Cell("NO", tone="bad")}
    cells = [
        [
            truncate(row["function"]),
            Cell(str(row["function_id"]), tone="ids"),
            _count(row["calls"]),
            Cell("not known") if pd.isna(row["complete"]) else words[bool(row["complete"])],
            _count(row["set_aside"]),
            Cell("; ".join(str(one) for one in (row["reason"], row["set_aside_reason"]) if not pd.isna(one))),
        ]
        for row in rows.to_dict("records")
    ]
    heads = ["function", "#function id", "#calls read", "complete", "#set aside", "why"]
    return Table("How completely each function was read", heads, cells)


def _cadence(row: dict[Any, Any]) -> str:
    if not pd.isna(row["cron_expression"]):
        return str(row["cron_expression"])
    return _NONE if pd.isna(row["cadence"]) else f"every {format_duration(row['cadence'])}, inferred"


def _count(number: Any) -> Cell:
    return Cell(f"{number:,}", tone="" if number else "faint")


def _span(value: Any) -> Cell:
    return Cell(_NONE if pd.isna(value) else format_duration(value))


def _shade(low: float) -> str:
    """Shade by the lower end of the interval, so that few calls are no alarm."""
    level = sum(low >= edge for edge in _SHADES)  # nothing is, where it is missing
    return f"shade{level}" if level else ""
