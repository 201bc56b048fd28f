"""The data quality checks: what each finds, what to do about it, and how to find the calls that show it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis import message_templates
from callframe.analysis.schedule_matching import to_minutes
from callframe.timespan import NO_TIME, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FINISHED = ("Completed", *frame.FAILURES)
"""The statuses of calls that have ended."""

_EXCEL_EXACT = 10**15  # Excel rounds larger integers

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_HTML = re.compile(
    r"(?i)<!doctype|</?(?:a|b|body|br|button|center|code|div|em|font|form|h[1-6]|head|hr|html|i|iframe|img|input|li"
    r"|link|meta|object|ol|p|pre|script|span|strong|style|svg|table|tbody|td|th|title|tr|u|ul|video)(?:\s[^<>]*)?/?>"
)
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - the full-width forms count too


@dataclass(frozen=True)
class Limits:
    """What checks compare with: the run limit, when the calls were fetched, and where their window starts, if known."""

    run_limit_ms: int
    fetched_ms: int
    left_edge_ms: int | None


@dataclass(frozen=True)
class CheckedCalls:
    """A call frame in the forms that the checks share; times are epoch milliseconds, `NO_TIME` where missing."""

    calls: pd.DataFrame
    limits: Limits

    @cached_property
    def start(self) -> np.ndarray:
        """Start times."""
        return to_milliseconds(self.calls["start_time"])

    @cached_property
    def end(self) -> np.ndarray:
        """End times."""
        return to_milliseconds(self.calls["end_time"])

    @cached_property
    def scheduled(self) -> np.ndarray:
        """Scheduled times."""
        return to_milliseconds(self.calls["scheduled_time"])

    @cached_property
    def has_message(self) -> np.ndarray:
        """Which calls have an error message."""
        return self.calls["error_message"].notna().to_numpy(dtype=bool)

    @cached_property
    def has_trace(self) -> np.ndarray:
        """Which calls have an error trace."""
        return self.calls["error_trace"].notna().to_numpy(dtype=bool)

    def has_status(self, *statuses: str) -> np.ndarray:
        """Mark the calls with one of some statuses."""
        categories = self.calls["status"].cat.categories.to_list()
        codes = [categories.index(status) for status in statuses if status in categories]
        return np.isin(self.calls["status"].cat.codes.to_numpy(), codes)

    @cached_property
    def _unique_messages(self) -> tuple[np.ndarray, list[str]]:
        codes, messages = pd.factorize(self.calls["error_message"].take(np.flatnonzero(self.has_message)))
        return codes, messages.tolist()

    def message_matches(self, match: Callable[[list[str]], Iterable[object]]) -> np.ndarray:
        """Mark the calls whose message matches; each distinct message is examined once."""
        codes, messages = self._unique_messages
        matches = np.array([bool(result) for result in match(messages)], dtype=bool)
        marked = np.zeros(len(self.calls), dtype=bool)
        marked[np.flatnonzero(self.has_message)] = matches[codes] if len(codes) else False
        return marked


@dataclass(frozen=True)
class Check:
    """One check; `find` marks the calls that show the problem, None if it is not one of single calls."""

    name: str
    what: str
    advice: str
    find: Callable[[CheckedCalls], np.ndarray] | None = None
    unit: str = "calls"


def _stuck(checked: CheckedCalls) -> np.ndarray:
    age = checked.limits.fetched_ms - checked.start
    stuck: np.ndarray = checked.has_status("Running") & (age > checked.limits.run_limit_ms)
    return stuck


def _negative(column: str) -> Callable[[CheckedCalls], np.ndarray]:
    return lambda checked: (checked.calls[column] < pd.Timedelta(0)).to_numpy(dtype=bool)


def _beyond_run_limit(checked: CheckedCalls) -> np.ndarray:
    is_longer = to_milliseconds(checked.calls["duration"]) > checked.limits.run_limit_ms
    beyond: np.ndarray = is_longer & ~checked.has_status("Timeout")
    return beyond


def _duplicate_runs(checked: CheckedCalls) -> np.ndarray:
    """Mark the calls whose schedule has an earlier call at the same scheduled minute."""
    schedule = checked.calls["schedule_id"]
    rows = np.flatnonzero(schedule.notna().to_numpy() & (checked.scheduled != NO_TIME))
    keys = pd.DataFrame(
        {"schedule": schedule.take(rows).to_numpy(dtype="int64"), "minute": to_minutes(checked.scheduled[rows])}
    )
    return _repeats(checked, rows, keys)


def _repeated_calls(checked: CheckedCalls) -> np.ndarray:
    rows = np.arange(len(checked.calls))
    keys = checked.calls[["function_id", "call_id"]]
    if keys["call_id"].is_unique:
        return np.zeros(len(rows), dtype=bool)
    return _repeats(checked, rows, keys.reset_index(drop=True))


def _repeats(checked: CheckedCalls, rows: np.ndarray, keys: pd.DataFrame) -> np.ndarray:
    """Mark all but the first of equal keys, by start time."""
    marked = np.zeros(len(checked.calls), dtype=bool)
    repeated = keys.duplicated(keep=False).to_numpy()
    candidates = keys[repeated].assign(row=rows[repeated], start=checked.start[rows[repeated]])
    candidates = candidates.sort_values(["start", "row"], kind="stable")
    marked[candidates.loc[candidates.duplicated(list(keys)), "row"]] = True
    return marked


def _out_of_order(checked: CheckedCalls) -> np.ndarray:
    start, ids = checked.start, checked.calls["call_id"].to_numpy()
    earlier = (start[1:] < start[:-1]) | ((start[1:] == start[:-1]) & (ids[1:] < ids[:-1]))
    return np.append(np.zeros(min(1, len(ids)), dtype=bool), earlier)


def _left_edge(checked: CheckedCalls) -> np.ndarray:
    edge_ms = checked.limits.left_edge_ms
    if edge_ms is None:
        return np.zeros(len(checked.start), dtype=bool)
    near: np.ndarray = (checked.start >= edge_ms) & (checked.start < edge_ms + checked.limits.run_limit_ms)
    return near


CHECKS: tuple[Check, ...] = (
    Check(
        "incomplete",
        "functions whose calls could not all be read",
        "See coverage(calls) for the reason, and fetch again; counts and rates cover only what arrived.",
        unit="functions",
    ),
    Check(
        "coverage_unknown",
        "functions whose completeness is unknown, as the frame has no coverage, or not the calls that it describes",
        "A CSV file cannot hold the coverage: write Parquet to keep it. Check the whole frame, before a filter.",
        unit="functions",
    ),
    Check(
        "set_aside",
        "records that violate the API's contract and are not in the frame",
        "See coverage(calls) for the reasons, and report them to Cognite support.",
        unit="records",
    ),
    Check(
        "left_edge",
        "calls that start within a run limit of the window's start, when calls from before it may still run unseen",
        "For concurrency, fetch from one run limit earlier and leave that time out.",
        _left_edge,
    ),
    Check(
        "repeated_call",
        "calls that are in the frame more than once",
        "Drop duplicates by function_id and call_id, keeping the finished ones.",
        _repeated_calls,
    ),
    Check(
        "out_of_order",
        "calls that started before the one in the row above",
        "Sort by start_time and call_id before taking differences of rows.",
        _out_of_order,
    ),
    Check(
        "unknown_status",
        "calls with a status that the API does not document",
        "They count in no rate: find out whether they have ended.",
        lambda checked: ~checked.has_status(*frame.KNOWN_STATUSES),
    ),
    Check(
        "timeout",
        "calls that were stopped at the run limit",
        "They count as failed; their durations are the run limit, not what the work takes.",
        lambda checked: checked.has_status("Timeout"),
    ),
    Check(
        "error_response",
        "calls that the service calls Completed and whose response reports a failure",
        "They count as failed: see reports_failure for the rule, and with_responses to replace it.",
        lambda checked: checked.has_status(frame.ERROR_RESPONSE),
    ),
    Check(
        "stuck",
        "calls still Running beyond the run limit",
        "Most likely lost by the service: leave them out of durations and concurrency.",
        _stuck,
    ),
    Check(
        "running_with_end_time",
        "Running calls that carry an end time",
        "The status decides: they have no duration.",
        lambda checked: checked.has_status("Running") & (checked.end != NO_TIME),
    ),
    Check(
        "finished_without_end_time",
        "finished calls without an end time",
        "Their durations are missing, so quantiles leave them out.",
        lambda checked: checked.has_status(*FINISHED) & (checked.end == NO_TIME),
    ),
    Check(
        "beyond_run_limit",
        "calls that took longer than the run limit and are not a Timeout",
        "Compare run_limit with project.limits(); otherwise do not trust their end times.",
        _beyond_run_limit,
    ),
    Check(
        "negative_duration",
        "calls that ended before they started",
        "Clocks differ: keep them, and clip only in plots.",
        _negative("duration"),
    ),
    Check(
        "negative_delay",
        "calls that started before their scheduled time",
        "Clocks differ: keep them, and clip only in plots.",
        _negative("schedule_delay"),
    ),
    Check(
        "epoch_zero",
        "calls with a time of 1970-01-01 00:00 UTC",
        "A valid but implausible time: leave them out of windows and durations.",
        lambda checked: (checked.start == 0) | (checked.end == 0) | (checked.scheduled == 0),
    ),
    Check(
        "unscheduled",
        "calls without a scheduled time",
        "Their delay is missing, not 0; workflows start such calls too, not only people.",
        lambda checked: checked.scheduled == NO_TIME,
    ),
    Check(
        "duplicate_run",
        "calls whose schedule has another call at the same scheduled minute",
        "Retries or double starts: count scheduled times, not calls, to find out what ran.",
        _duplicate_runs,
    ),
    Check(
        "redeployed",
        "functions with several ids under one label",
        "A redeploy creates a new id: group by function, and compare before and after.",
        unit="functions",
    ),
    Check(
        "labelled_by_id",
        "functions labelled by their id",
        "They were deleted, or have neither external id nor name, so earlier deployments are separate.",
        unit="functions",
    ),
    Check(
        "rounded_ids",
        "calls whose ids have more digits than Excel keeps",
        "Write with write_csv(..., ids='text').",
        lambda checked: (
            (checked.calls["call_id"] >= _EXCEL_EXACT)
            | (checked.calls["function_id"] >= _EXCEL_EXACT)
            | (checked.calls["schedule_id"] >= _EXCEL_EXACT).fillna(value=False)
        ).to_numpy(dtype=bool),
    ),
    Check(
        "failed_without_error",
        "calls that failed without an error",
        "Read their logs: project.logs(function, call_id).",
        lambda checked: checked.has_status("Failed") & ~checked.has_message & ~checked.has_trace,
    ),
    Check(
        "failed_without_trace",
        "calls that failed with a message and no trace",
        "They are grouped by message alone, separately from the same error with a trace.",
        lambda checked: checked.has_status("Failed") & checked.has_message & ~checked.has_trace,
    ),
    Check(
        "error_without_failure",
        "calls with an error that have not failed",
        "The status decides: they do not count as failures.",
        lambda checked: ~checked.has_status(*frame.FAILURES) & (checked.has_message | checked.has_trace),
    ),
    Check(
        "secret",
        "messages that may contain a password, token or key",
        "Do not share the frame; change the secret, and keep it out of error messages.",
        lambda checked: checked.message_matches(message_templates.contain_secrets),
    ),
    Check(
        "control_characters",
        "messages with control characters",
        "Print them with repr(): they can control a terminal.",
        lambda checked: checked.message_matches(lambda texts: map(_CONTROL.search, texts)),
    ),
    Check(
        "html",
        "messages that contain HTML, often the error page of a proxy",
        "Escape them before showing them in a web page.",
        lambda checked: checked.message_matches(lambda texts: map(_HTML.search, texts)),
    ),
    Check(
        "formula",
        "messages that a spreadsheet would run as a formula",
        "Keep escape_formulas=True in write_csv.",
        lambda checked: checked.message_matches(lambda texts: map(_FORMULA.match, texts)),
    ),
    Check(
        "replaced_characters",
        "messages with characters that could not be decoded",
        "They were invalid at the source; U+FFFD stands in their place.",
        lambda checked: checked.message_matches(lambda texts: ("\ufffd" in text for text in texts)),
    ),
)
