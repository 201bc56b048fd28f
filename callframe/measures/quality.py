"""What is odd about the data, counted: every case that would make a number wrong without a word."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from callframe import frame
from callframe.coverage import KEY, coverage
from callframe.errors import ArgumentError
from callframe.measures import templates
from callframe.measures.survival import LONGEST_LIMIT_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

RUN_LIMIT = pd.Timedelta(minutes=10)
"""How long a call may run, on Azure and AWS; on Google Cloud it is 9 minutes."""

EXAMPLES = 5
"""How many calls are named at most for each oddity."""

FINISHED = ("Completed", "Failed", "Timeout")
"""The statuses of calls that are over."""

_MINUTE_MS = 60_000
_EXACT_DIGITS = 10**15  # from here on Excel rounds

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_HTML = re.compile(
    r"(?i)<!doctype|</?(?:a|b|body|br|button|center|code|div|em|font|form|h[1-6]|head|hr|html|i|iframe|img|input|li"
    r"|link|meta|object|ol|p|pre|script|span|strong|style|svg|table|tbody|td|th|title|tr|u|ul|video)(?:\s[^<>]*)?/?>"
)
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")  # noqa: RUF001 - the wide forms count too


@dataclass(frozen=True)
class _Seen:
    """What a frame holds, in the forms that the checks share."""

    calls: pd.DataFrame
    run_limit_ms: int
    stuck_ms: int
    status: np.ndarray
    start: np.ndarray
    end: np.ndarray
    scheduled: np.ndarray
    messages: np.ndarray
    traces: np.ndarray

    def has(self, *statuses: str) -> np.ndarray:
        """Tell which calls have one of some statuses."""
        categories = self.calls["status"].cat.categories.to_list()
        found: np.ndarray = np.isin(self.status, [categories.index(one) for one in statuses if one in categories])
        return found

    @property
    def fetched_ms(self) -> int:
        """When the frame was fetched; without a word on it, the latest time in it."""
        held = self.calls.attrs.get(KEY, {}).get("fetched_at")
        if held:
            return _ms(held)
        return max((int(one.max()) for one in (self.start, self.end) if len(one)), default=0)

    @property
    def left_edge_ms(self) -> int | None:
        """Where the window begins; without a word on it, where the calls do."""
        held = self.calls.attrs.get(KEY)
        if held is not None:
            return _ms(held["window"]["start"]) if "window" in held else None
        return int(self.start.min()) if len(self.start) else None

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
class _Found:
    """What a check counted, and the positions of a few calls that show it."""

    count: int
    rows: Sequence[int] | np.ndarray = ()


@dataclass(frozen=True)
class _Check:
    """One oddity: its name, what it is, what it counts, what to do, and how to find it."""

    name: str
    what: str
    advice: str
    look: Callable[[_Seen], np.ndarray | _Found]
    unit: str = "calls"


def quality(calls: pd.DataFrame, *, run_limit: str | pd.Timedelta = RUN_LIMIT) -> pd.DataFrame:
    """
    Count what is odd in a call frame.

    Every oddity has its row, also where there is none of it: a count of 0 says that it was looked for.

    Parameters
    ----------
    calls
        Call frame.
    run_limit
        How long a call may run, such as `"9min"`; `Project.limits` tells it. If it is not given, it is 10 minutes, and
        a Running call is stuck from 15, the longest limit documented, as for `summarize`.

    Returns
    -------
    quality
        One row an oddity, always the same ones in the same order, its name as the index: `count` int64; `unit` str, of
        what (`calls`, `functions`, `records`); `what` str, what it is; `advice` str, what to do about it; `call_ids`
        object, a list of the ids of up to 5 such calls, the latest first. Text of calls is never in it.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `run_limit` is no positive span of time.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     found = cf.quality(project.calls(start="14d"))
    >>> int(found.loc["negative_duration", "count"])
    0
    """
    frame.check(calls)
    limit_ms = _span_ms(run_limit)
    seen = _look(calls, limit_ms, LONGEST_LIMIT_MS if run_limit is RUN_LIMIT else limit_ms)
    found = [_found(check.look(seen)) for check in _CHECKS]
    ids = calls["call_id"].to_numpy()
    return pd.DataFrame(
        {
            "count": np.array([one.count for one in found], dtype="int64"),
            "unit": frame.text([check.unit for check in _CHECKS]).array,
            "what": frame.text([check.what for check in _CHECKS]).array,
            "advice": frame.text([check.advice for check in _CHECKS]).array,
            "call_ids": pd.Series([_latest(one.rows, seen.start, ids) for one in found], dtype="object").array,
        },
        index=pd.Index(frame.text([check.name for check in _CHECKS]), name="name"),
    )


def _look(calls: pd.DataFrame, run_limit_ms: int, stuck_ms: int) -> _Seen:
    return _Seen(
        calls,
        run_limit_ms,
        stuck_ms,
        calls["status"].cat.codes.to_numpy(),
        *(_stamps(calls[name]) for name in ("start_time", "end_time", "scheduled_time")),
        *(calls[name].notna().to_numpy(dtype=bool) for name in ("error_message", "error_trace")),
    )


def _found(answer: np.ndarray | _Found) -> _Found:
    if isinstance(answer, _Found):
        return answer
    rows = np.flatnonzero(answer)
    return _Found(len(rows), rows)


def _latest(rows: Sequence[int] | np.ndarray, start: np.ndarray, ids: np.ndarray) -> list[int]:
    """Name the calls that started last."""
    at = np.asarray(rows, dtype="int64")
    if len(at) > 100 * EXAMPLES:
        at = at[np.argpartition(start[at], -100 * EXAMPLES)[-100 * EXAMPLES :]]
    order = np.lexsort((ids[at], start[at]))[::-1][:EXAMPLES]
    found: list[int] = ids[at[order]].tolist()
    return found


def _stamps(times: pd.Series) -> np.ndarray:
    """Take epoch milliseconds, the smallest integer where there is no time."""
    stamps: np.ndarray = times.dt.tz_localize(None).to_numpy().astype("datetime64[ms]").view("int64")
    return stamps


def _ms(time: str) -> int:
    return int(pd.Timestamp(time).timestamp() * 1000)


def _span_ms(run_limit: str | pd.Timedelta) -> int:
    try:
        span = pd.Timedelta(run_limit)
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"run_limit={run_limit!r}; expected a span of time such as '10min'.") from error
    if not span > pd.Timedelta(0):
        raise ArgumentError(f"run_limit={run_limit!r}; expected a span of time above zero, such as '10min'.")
    return int(span / pd.Timedelta(milliseconds=1))


_NONE = int(np.iinfo("int64").min)


def _stuck(seen: _Seen) -> np.ndarray:
    stuck: np.ndarray = seen.has("Running") & (seen.fetched_ms - seen.start > seen.stuck_ms)
    return stuck


def _negative(column: str) -> Callable[[_Seen], np.ndarray]:
    return lambda seen: (seen.calls[column] < pd.Timedelta(0)).to_numpy(dtype=bool)


def _beyond_run_limit(seen: _Seen) -> np.ndarray:
    longer: np.ndarray = (seen.calls["duration"] > pd.Timedelta(milliseconds=seen.run_limit_ms)).to_numpy(dtype=bool)
    found: np.ndarray = longer & ~seen.has("Timeout")
    return found


def _duplicate_slots(seen: _Seen) -> np.ndarray:
    """Find the calls whose schedule has an earlier one on the same minute."""
    schedule = seen.calls["schedule_id"]
    rows = np.flatnonzero(schedule.notna().to_numpy() & (seen.scheduled != _NONE))
    slots = pd.DataFrame(
        {
            "schedule": schedule.take(rows).to_numpy(dtype="int64"),
            "slot": (seen.scheduled[rows] + _MINUTE_MS // 2) // _MINUTE_MS,
        }
    )
    return _repeats(seen, rows, slots)


def _repeated_calls(seen: _Seen) -> np.ndarray:
    rows = np.arange(len(seen.calls))
    ids = seen.calls[["function_id", "call_id"]]
    if ids["call_id"].is_unique:
        return np.zeros(len(rows), dtype=bool)
    return _repeats(seen, rows, ids.reset_index(drop=True))


def _repeats(seen: _Seen, rows: np.ndarray, keys: pd.DataFrame) -> np.ndarray:
    """Mark all but the first of equal keys, in the order of start."""
    answer = np.zeros(len(seen.calls), dtype=bool)
    again = keys.duplicated(keep=False).to_numpy()
    concerned = keys[again].assign(row=rows[again], start=seen.start[rows[again]])
    concerned = concerned.sort_values(["start", "row"], kind="stable")
    answer[concerned.loc[concerned.duplicated(list(keys)), "row"]] = True
    return answer


def _out_of_order(seen: _Seen) -> np.ndarray:
    ids = seen.calls["call_id"].to_numpy()
    earlier: np.ndarray = (seen.start[1:] < seen.start[:-1]) | (
        (seen.start[1:] == seen.start[:-1]) & (ids[1:] < ids[:-1])
    )
    return np.append(np.zeros(min(1, len(ids)), dtype=bool), earlier)


def _left_edge(seen: _Seen) -> np.ndarray:
    edge = seen.left_edge_ms
    if edge is None:
        return np.zeros(len(seen.start), dtype=bool)
    within: np.ndarray = (seen.start >= edge) & (seen.start < edge + seen.run_limit_ms)
    return within


def _deployments(seen: _Seen) -> pd.DataFrame:
    """List the ids of each label, with the row in which each is first seen."""
    codes = seen.calls["function"].cat.codes.to_numpy()
    ids = pd.DataFrame({"function": codes, "function_id": seen.calls["function_id"].to_numpy()})
    return ids.drop_duplicates()


def _redeployed(seen: _Seen) -> _Found:
    found = _deployments(seen)
    several = found[found.duplicated("function", keep=False)]
    return _Found(several["function"].nunique(), several.index.tolist())


def _labelled_by_id(seen: _Seen) -> _Found:
    found = _deployments(seen)
    labels = seen.calls["function"].cat.categories.astype("object").to_numpy()[found["function"].to_numpy()]
    unnamed = found[labels == found["function_id"].astype("str").to_numpy(dtype="object")]
    return _Found(len(unnamed), unnamed.index.tolist())


def _incomplete(seen: _Seen) -> _Found:
    complete = coverage(seen.calls)["complete"]
    return _Found(int((~complete.fillna(value=True)).sum()))


def _coverage_unknown(seen: _Seen) -> _Found:
    return _Found(int(coverage(seen.calls)["complete"].isna().sum()))


def _set_aside(seen: _Seen) -> _Found:
    return _Found(int(coverage(seen.calls)["set_aside"].sum()))


_CHECKS: tuple[_Check, ...] = (
    _Check(
        "incomplete",
        "functions whose calls could not all be read",
        "See coverage(calls) for the reason, and fetch again; counts and rates are of what arrived.",
        _incomplete,
        "functions",
    ),
    _Check(
        "coverage_unknown",
        "functions of which the frame does not say how completely they were read",
        "A CSV file cannot hold it: write Parquet to keep it.",
        _coverage_unknown,
        "functions",
    ),
    _Check(
        "set_aside",
        "records that break the API's contract and are not in the frame",
        "See coverage(calls) for the reasons; report them to the service's support.",
        _set_aside,
        "records",
    ),
    _Check(
        "left_edge",
        "calls that start within a run limit of the window's start, where calls that ran before it are unseen",
        "For concurrency, fetch from a run limit earlier and leave that stretch out.",
        _left_edge,
    ),
    _Check(
        "repeated_call",
        "calls that are in the frame more than once",
        "Drop them by function_id and call_id, keeping the finished ones.",
        _repeated_calls,
    ),
    _Check(
        "out_of_order",
        "calls that started before the one above them",
        "Sort by start_time and call_id before taking differences of rows.",
        _out_of_order,
    ),
    _Check(
        "unknown_status",
        "calls of a status that the API does not document",
        "They are in no rate: find out whether they are over.",
        lambda seen: ~seen.has(*frame.STATUSES),
    ),
    _Check(
        "timeout",
        "calls that were stopped at the run limit",
        "They count as failed; their durations are what they were let, not what the work takes.",
        lambda seen: seen.has("Timeout"),
    ),
    _Check(
        "stuck",
        "calls still Running beyond any run limit",
        "Most likely lost by the service: leave them out of durations and concurrency.",
        _stuck,
    ),
    _Check(
        "running_with_end_time",
        "calls Running that carry an end time",
        "The status decides: they have no duration.",
        lambda seen: seen.has("Running") & (seen.end != _NONE),
    ),
    _Check(
        "finished_without_end_time",
        "calls that are over and carry no end time",
        "Their durations are missing, and none is made up: quantiles leave them out.",
        lambda seen: seen.has(*FINISHED) & (seen.end == _NONE),
    ),
    _Check(
        "beyond_run_limit",
        "calls that took longer than the run limit and are no Timeout",
        "Check run_limit against project.limits(); else take their end times with care.",
        _beyond_run_limit,
    ),
    _Check(
        "negative_duration",
        "calls that ended before they started",
        "Clocks differ: keep them, and clip only when drawing.",
        _negative("duration"),
    ),
    _Check(
        "negative_delay",
        "calls that started before their scheduled time",
        "Clocks differ: keep them, and clip only when drawing.",
        _negative("schedule_delay"),
    ),
    _Check(
        "epoch_zero",
        "calls with a time of 1970-01-01 00:00 UTC",
        "A valid time, though hardly a true one: leave them out of windows and durations.",
        lambda seen: (seen.start == 0) | (seen.end == 0) | (seen.scheduled == 0),
    ),
    _Check(
        "unscheduled",
        "calls without a scheduled time",
        "They have no delay, which is not a delay of 0; workflows start such calls too, not only people.",
        lambda seen: seen.scheduled == _NONE,
    ),
    _Check(
        "duplicate_slot",
        "calls whose schedule had another call at the same scheduled minute",
        "Retries or doubled starts: count slots, not calls, when asking what ran.",
        _duplicate_slots,
    ),
    _Check(
        "redeployed",
        "functions with several ids under one label",
        "A redeploy gives a new id: group by function, and compare before and after.",
        _redeployed,
        "functions",
    ),
    _Check(
        "labelled_by_id",
        "functions known by their id alone",
        "They were deleted, or have neither external id nor name: their earlier deployments are not joined to them.",
        _labelled_by_id,
        "functions",
    ),
    _Check(
        "rounded_ids",
        "calls whose ids have more digits than Excel keeps",
        "Write with write_csv(..., ids='text').",
        lambda seen: (
            (seen.calls["call_id"] >= _EXACT_DIGITS)
            | (seen.calls["function_id"] >= _EXACT_DIGITS)
            | (seen.calls["schedule_id"] >= _EXACT_DIGITS).fillna(value=False)
        ).to_numpy(dtype=bool),
    ),
    _Check(
        "failed_without_error",
        "calls that failed and do not say why",
        "Read their logs: project.logs(function, call_id).",
        lambda seen: seen.has("Failed") & ~seen.messages & ~seen.traces,
    ),
    _Check(
        "failed_without_trace",
        "calls that failed with a message and no trace",
        "They are grouped by the message alone, apart from the same error with a trace.",
        lambda seen: seen.has("Failed") & seen.messages & ~seen.traces,
    ),
    _Check(
        "error_without_failure",
        "calls with an error that are neither Failed nor Timeout",
        "The status decides: they are in no failure rate.",
        lambda seen: ~seen.has("Failed", "Timeout") & (seen.messages | seen.traces),
    ),
    _Check(
        "secret",
        "messages that seem to hold a password, token or key",
        "Do not share the frame; change the secret, and keep it out of what the function raises.",
        lambda seen: seen.of_messages(templates.hold_secrets),
    ),
    _Check(
        "control_characters",
        "messages with control characters",
        "Print them with repr(): they can change what a terminal shows.",
        lambda seen: seen.of_messages(lambda texts: map(_CONTROL.search, texts)),
    ),
    _Check(
        "html",
        "messages with HTML in them, often the error page of a proxy",
        "Escape them before showing them in a page.",
        lambda seen: seen.of_messages(lambda texts: map(_HTML.search, texts)),
    ),
    _Check(
        "formula",
        "messages that a spreadsheet would take for a formula",
        "Leave guard=True in write_csv.",
        lambda seen: seen.of_messages(lambda texts: map(_FORMULA.match, texts)),
    ),
    _Check(
        "replaced_characters",
        "messages with characters that could not be read",
        "They were invalid where they were written; U+FFFD stands in their place.",
        lambda seen: seen.of_messages(lambda texts: ("\ufffd" in text for text in texts)),
    ),
)
