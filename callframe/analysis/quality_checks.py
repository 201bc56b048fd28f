"""The oddities that quality counts: what each is, what to do about it, and how the calls that show it are found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis import message_templates
from callframe.timespan import MINUTE_MS, NO_TIME, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FINISHED = ("Completed", "Failed", "Timeout")
"""The statuses of calls that are over."""

_EXACT_DIGITS = 10**15  # from here on Excel rounds

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_HTML = re.compile(
    r"(?i)<!doctype|</?(?:a|b|body|br|button|center|code|div|em|font|form|h[1-6]|head|hr|html|i|iframe|img|input|li"
    r"|link|meta|object|ol|p|pre|script|span|strong|style|svg|table|tbody|td|th|title|tr|u|ul|video)(?:\s[^<>]*)?/?>"
)
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - the wide forms count too


@dataclass(frozen=True)
class Limits:
    """
    The moments and spans that oddities are judged by, in milliseconds.

    Parameters
    ----------
    run_limit_ms
        How long a call may run.
    stuck_ms
        From when on a Running call is stuck.
    fetched_ms
        When the calls were fetched.
    left_edge_ms
        Where the window begins; None where there is none.
    """

    run_limit_ms: int
    fetched_ms: int
    left_edge_ms: int | None


@dataclass(frozen=True)
class Seen:
    """
    What a frame holds, in the forms that the checks share.

    Parameters
    ----------
    calls
        Call frame.
    limits
        What they are judged by.
    """

    calls: pd.DataFrame
    limits: Limits

    @cached_property
    def start(self) -> np.ndarray:
        """Epoch milliseconds; the smallest integer where there is no time, as in `end` and `scheduled`."""
        return to_milliseconds(self.calls["start_time"])

    @cached_property
    def end(self) -> np.ndarray:
        """When the calls ended."""
        return to_milliseconds(self.calls["end_time"])

    @cached_property
    def scheduled(self) -> np.ndarray:
        """When the calls were to start."""
        return to_milliseconds(self.calls["scheduled_time"])

    @cached_property
    def messages(self) -> np.ndarray:
        """Which calls have a message."""
        return self.calls["error_message"].notna().to_numpy(dtype=bool)

    @cached_property
    def traces(self) -> np.ndarray:
        """Which calls have a trace."""
        return self.calls["error_trace"].notna().to_numpy(dtype=bool)

    def has(self, *statuses: str) -> np.ndarray:
        """Tell which calls have one of some statuses."""
        categories = self.calls["status"].cat.categories.to_list()
        found: np.ndarray = np.isin(
            self.calls["status"].cat.codes.to_numpy(), [categories.index(one) for one in statuses if one in categories]
        )
        return found

    @cached_property
    def texts(self) -> tuple[np.ndarray, list[str]]:
        """The messages, each once, and the place of every call's among them."""
        codes, found = pd.factorize(self.calls["error_message"].take(np.flatnonzero(self.messages)))
        return codes, found.tolist()

    def of_messages(self, fits: Callable[[list[str]], Iterable[object]]) -> np.ndarray:
        """Tell which messages fit; each is looked at once."""
        codes, found = self.texts
        fitting = np.array([bool(one) for one in fits(found)], dtype=bool)
        answer = np.zeros(len(self.calls), dtype=bool)
        answer[np.flatnonzero(self.messages)] = fitting[codes] if len(codes) else False
        return answer


@dataclass(frozen=True)
class Check:
    """
    One oddity.

    Parameters
    ----------
    name, what
        What it is called, and what it is.
    advice
        What to do about it.
    look
        Marks the calls that show it; None where it is none of single calls.
    unit
        What is counted.
    """

    name: str
    what: str
    advice: str
    look: Callable[[Seen], np.ndarray] | None = None
    unit: str = "calls"


def _stuck(seen: Seen) -> np.ndarray:
    stuck: np.ndarray = seen.has("Running") & (seen.limits.fetched_ms - seen.start > seen.limits.run_limit_ms)
    return stuck


def _negative(column: str) -> Callable[[Seen], np.ndarray]:
    return lambda seen: (seen.calls[column] < pd.Timedelta(0)).to_numpy(dtype=bool)


def _beyond_run_limit(seen: Seen) -> np.ndarray:
    longer: np.ndarray = (seen.calls["duration"] > pd.Timedelta(milliseconds=seen.limits.run_limit_ms)).to_numpy(
        dtype=bool
    )
    found: np.ndarray = longer & ~seen.has("Timeout")
    return found


def slots_of(scheduled: np.ndarray) -> np.ndarray:
    """Round milliseconds to minutes."""
    slots: np.ndarray = (scheduled + MINUTE_MS // 2) // MINUTE_MS
    return slots


def _duplicate_slots(seen: Seen) -> np.ndarray:
    """Find the calls whose schedule has an earlier one on the same minute."""
    schedule = seen.calls["schedule_id"]
    rows = np.flatnonzero(schedule.notna().to_numpy() & (seen.scheduled != NO_TIME))
    slots = pd.DataFrame(
        {
            "schedule": schedule.take(rows).to_numpy(dtype="int64"),
            "slot": slots_of(seen.scheduled[rows]),
        }
    )
    return _repeats(seen, rows, slots)


def _repeated_calls(seen: Seen) -> np.ndarray:
    rows = np.arange(len(seen.calls))
    ids = seen.calls[["function_id", "call_id"]]
    if ids["call_id"].is_unique:
        return np.zeros(len(rows), dtype=bool)
    return _repeats(seen, rows, ids.reset_index(drop=True))


def _repeats(seen: Seen, rows: np.ndarray, keys: pd.DataFrame) -> np.ndarray:
    """Mark all but the first of equal keys, in the order of start."""
    answer = np.zeros(len(seen.calls), dtype=bool)
    again = keys.duplicated(keep=False).to_numpy()
    concerned = keys[again].assign(row=rows[again], start=seen.start[rows[again]])
    concerned = concerned.sort_values(["start", "row"], kind="stable")
    answer[concerned.loc[concerned.duplicated(list(keys)), "row"]] = True
    return answer


def _out_of_order(seen: Seen) -> np.ndarray:
    ids = seen.calls["call_id"].to_numpy()
    earlier: np.ndarray = (seen.start[1:] < seen.start[:-1]) | (
        (seen.start[1:] == seen.start[:-1]) & (ids[1:] < ids[:-1])
    )
    return np.append(np.zeros(min(1, len(ids)), dtype=bool), earlier)


def _left_edge(seen: Seen) -> np.ndarray:
    edge = seen.limits.left_edge_ms
    if edge is None:
        return np.zeros(len(seen.start), dtype=bool)
    within: np.ndarray = (seen.start >= edge) & (seen.start < edge + seen.limits.run_limit_ms)
    return within


CHECKS: tuple[Check, ...] = (
    Check(
        "incomplete",
        "functions whose calls could not all be read",
        "See coverage(calls) for the reason, and fetch again; counts and rates are of what arrived.",
        unit="functions",
    ),
    Check(
        "coverage_unknown",
        "functions of which the frame does not say how completely they were read",
        "A CSV file cannot hold it: write Parquet to keep it.",
        unit="functions",
    ),
    Check(
        "set_aside",
        "records that break the API's contract and are not in the frame",
        "See coverage(calls) for the reasons; report them to the service's support.",
        unit="records",
    ),
    Check(
        "left_edge",
        "calls that start within a run limit of the window's start, where calls that ran before it are unseen",
        "For concurrency, fetch from a run limit earlier and leave that stretch out.",
        _left_edge,
    ),
    Check(
        "repeated_call",
        "calls that are in the frame more than once",
        "Drop them by function_id and call_id, keeping the finished ones.",
        _repeated_calls,
    ),
    Check(
        "out_of_order",
        "calls that started before the one above them",
        "Sort by start_time and call_id before taking differences of rows.",
        _out_of_order,
    ),
    Check(
        "unknown_status",
        "calls of a status that the API does not document",
        "They are in no rate: find out whether they are over.",
        lambda seen: ~seen.has(*frame.STATUSES),
    ),
    Check(
        "timeout",
        "calls that were stopped at the run limit",
        "They count as failed; their durations are what they were let, not what the work takes.",
        lambda seen: seen.has("Timeout"),
    ),
    Check(
        "stuck",
        "calls still Running beyond any run limit",
        "Most likely lost by the service: leave them out of durations and concurrency.",
        _stuck,
    ),
    Check(
        "running_with_end_time",
        "calls Running that carry an end time",
        "The status decides: they have no duration.",
        lambda seen: seen.has("Running") & (seen.end != NO_TIME),
    ),
    Check(
        "finished_without_end_time",
        "calls that are over and carry no end time",
        "Their durations are missing, and none is made up: quantiles leave them out.",
        lambda seen: seen.has(*FINISHED) & (seen.end == NO_TIME),
    ),
    Check(
        "beyond_run_limit",
        "calls that took longer than the run limit and are no Timeout",
        "Check run_limit against project.limits(); else take their end times with care.",
        _beyond_run_limit,
    ),
    Check(
        "negative_duration",
        "calls that ended before they started",
        "Clocks differ: keep them, and clip only when drawing.",
        _negative("duration"),
    ),
    Check(
        "negative_delay",
        "calls that started before their scheduled time",
        "Clocks differ: keep them, and clip only when drawing.",
        _negative("schedule_delay"),
    ),
    Check(
        "epoch_zero",
        "calls with a time of 1970-01-01 00:00 UTC",
        "A valid time, though hardly a true one: leave them out of windows and durations.",
        lambda seen: (seen.start == 0) | (seen.end == 0) | (seen.scheduled == 0),
    ),
    Check(
        "unscheduled",
        "calls without a scheduled time",
        "They have no delay, which is not a delay of 0; workflows start such calls too, not only people.",
        lambda seen: seen.scheduled == NO_TIME,
    ),
    Check(
        "duplicate_slot",
        "calls whose schedule had another call at the same scheduled minute",
        "Retries or doubled starts: count slots, not calls, when asking what ran.",
        _duplicate_slots,
    ),
    Check(
        "redeployed",
        "functions with several ids under one label",
        "A redeploy gives a new id: group by function, and compare before and after.",
        unit="functions",
    ),
    Check(
        "labelled_by_id",
        "functions known by their id alone",
        "They were deleted, or have neither external id nor name: their earlier deployments are not joined to them.",
        unit="functions",
    ),
    Check(
        "rounded_ids",
        "calls whose ids have more digits than Excel keeps",
        "Write with write_csv(..., ids='text').",
        lambda seen: (
            (seen.calls["call_id"] >= _EXACT_DIGITS)
            | (seen.calls["function_id"] >= _EXACT_DIGITS)
            | (seen.calls["schedule_id"] >= _EXACT_DIGITS).fillna(value=False)
        ).to_numpy(dtype=bool),
    ),
    Check(
        "failed_without_error",
        "calls that failed and do not say why",
        "Read their logs: project.logs(function, call_id).",
        lambda seen: seen.has("Failed") & ~seen.messages & ~seen.traces,
    ),
    Check(
        "failed_without_trace",
        "calls that failed with a message and no trace",
        "They are grouped by the message alone, apart from the same error with a trace.",
        lambda seen: seen.has("Failed") & seen.messages & ~seen.traces,
    ),
    Check(
        "error_without_failure",
        "calls with an error that are neither Failed nor Timeout",
        "The status decides: they are in no failure rate.",
        lambda seen: ~seen.has(*frame.FAILURES) & (seen.messages | seen.traces),
    ),
    Check(
        "secret",
        "messages that seem to hold a password, token or key",
        "Do not share the frame; change the secret, and keep it out of what the function raises.",
        lambda seen: seen.of_messages(message_templates.hold_secrets),
    ),
    Check(
        "control_characters",
        "messages with control characters",
        "Print them with repr(): they can change what a terminal shows.",
        lambda seen: seen.of_messages(lambda texts: map(_CONTROL.search, texts)),
    ),
    Check(
        "html",
        "messages with HTML in them, often the error page of a proxy",
        "Escape them before showing them in a page.",
        lambda seen: seen.of_messages(lambda texts: map(_HTML.search, texts)),
    ),
    Check(
        "formula",
        "messages that a spreadsheet would take for a formula",
        "Keep escape_formulas=True in write_csv.",
        lambda seen: seen.of_messages(lambda texts: map(_FORMULA.match, texts)),
    ),
    Check(
        "replaced_characters",
        "messages with characters that could not be read",
        "They were invalid where they were written; U+FFFD stands in their place.",
        lambda seen: seen.of_messages(lambda texts: ("\ufffd" in text for text in texts)),
    ),
)
