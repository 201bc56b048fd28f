"""Which calls started while an earlier one of the same schedule, or function, still ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from callframe import frame
from callframe.completeness import observed_until_ms
from callframe.errors import ArgumentError
from callframe.limits import RunLimit
from callframe.timespan import NO_TIME, to_milliseconds

if TYPE_CHECKING:
    from callframe.timespan import DurationLike

_BY = {"schedule": "schedule_id", "function": "function"}
_COLUMNS = ["schedule_id", "function", "call_id", "start_time", "earlier_call_id", "overlap"]


def overlapping_runs(
    calls: pd.DataFrame, by: str = "schedule", *, run_limit: DurationLike | None = None
) -> pd.DataFrame:
    """
    Find the calls that started before an earlier call of the same schedule had ended.

    A Running call lasts until the frame was fetched; one that has been Running for longer than the run limit is stuck,
    and taken to have ended there. A call that ended without an end time is taken to have ended when it started.

    Parameters
    ----------
    calls
        Call frame. A call that is in it twice counts once.
    by
        `"schedule"`, where calls without one are left out, or `"function"`.
    run_limit
        How long the service lets a call run.

    Returns
    -------
    overlaps
        One row a call that started too early, in the order of time: `schedule_id` Int64, `function` category,
        `call_id` int64, `start_time` datetime64[ms, UTC], `earlier_call_id` int64, of the earlier calls that still ran
        the one that ended last, and `overlap` timedelta64[ms], for how long both ran: 0 where the
        later one has no end.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `by` is unknown, or the run limit no length of time.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     overlaps = cf.overlapping_runs(project.calls(start="14d"))
    >>> bool((overlaps["overlap"] >= "0s").all())
    True
    """
    frame.check(calls)
    if by not in tuple(_BY):  # which takes what cannot be hashed
        raise ArgumentError(f"by={by!r}; expected {' or '.join(map(repr, _BY))}.")
    limit_ms = RunLimit.parse(run_limit).longest_ms
    calls = frame.deduplicate(calls)
    calls = calls[calls[_BY[by]].notna()]
    owner, start, end = pd.factorize(calls[_BY[by]])[0], to_milliseconds(calls["start_time"]), _ends(calls, limit_ms)
    order = np.lexsort((calls["call_id"].to_numpy(), start, owner))
    owner, start, end = owner[order], start[order], end[order]
    longest = _longest_before(owner, end)
    found = np.flatnonzero(longest >= 0)
    found = found[end[longest[found]] > start[found]]
    found = found[np.argsort(start[found], kind="stable")]
    earlier = longest[found]
    rows = calls.take(order[found]).reset_index(drop=True)
    overlap = np.minimum(end[earlier], np.maximum(end[found], start[found])) - start[found]
    rows = rows.assign(
        earlier_call_id=calls["call_id"].to_numpy()[order[earlier]], overlap=overlap.astype("timedelta64[ms]")
    )
    return rows[_COLUMNS]


def _ends(calls: pd.DataFrame, limit_ms: int) -> np.ndarray:
    """Tell when each call ended, as far as that is known."""
    start, end = to_milliseconds(calls["start_time"]), to_milliseconds(calls["end_time"])
    running = (calls["status"] == "Running").to_numpy()
    now_ms = observed_until_ms(calls)
    end = np.where(running, np.minimum(now_ms, start + limit_ms), end)
    ends: np.ndarray = np.maximum(np.where(end == NO_TIME, start, end), start)
    return ends


def _longest_before(owner: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Find, of the earlier rows of the same owner, the one that ends last; -1 for an owner's first."""
    if not len(owner):
        return np.empty(0, dtype="int64")
    first = np.append(True, owner[1:] != owner[:-1])
    ranks = np.empty(len(end), dtype="int64")
    ranks[np.lexsort((end, owner))] = np.arange(len(end))  # rising with the owner, and within it with the end
    row_of = np.empty(len(end), dtype="int64")
    row_of[ranks] = np.arange(len(end))
    before = row_of[np.maximum.accumulate(ranks)[:-1]]
    return np.where(first, -1, np.append(-1, before))
