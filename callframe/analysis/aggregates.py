"""
What a summary is made of: counts, extremes, streaks and curves by group.

They are taken of a call frame at once, and exactly, or of its parts: then spans are counted by bucket, and all adds up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from callframe.analysis import histogram, streaks
from callframe.analysis.grouping import COLUMNS, TIME, Groups, concat, group
from callframe.analysis.kaplan_meier import Curves, curves
from callframe.analysis.survival import COMPLETED, awaited, work
from callframe.timespan import NO_TIME, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from callframe.analysis.survival import Work
    from callframe.timespan import DurationLike

NEEDED = (
    "call_id", "function", "schedule_id", "status", "scheduled_time", "start_time", "end_time", "schedule_delay",
    "duration",
)  # fmt: skip
"""The columns of a call frame that are looked at."""

KINDS = ("running", "completed", "failed", "timeout", "other")
"""What calls are counted as, in the order of `survival`."""

_COUNTS = (*KINDS, "stuck", "late")
_LARGEST = ("longest", "known", "delayed", "last_success")
_DELAY = 2  # the kind of spans that are delays; durations are 0 where they ended, 1 where they are censored
_PLACES, _KINDS_BITS = 13, 2  # bits for more than there are buckets on both sides of 0, and for the kinds


@dataclass(frozen=True)
class Asked:
    """
    What is asked of calls.

    Parameters
    ----------
    by, run_limit
        As for `summarize`.
    late_after_ms
        How late a call may start.
    fetched_ms
        When the calls were fetched; None where they say so.
    """

    by: Mapping[str, int]
    run_limit: DurationLike | None
    late_after_ms: int
    fetched_ms: int | None = None


@dataclass(frozen=True)
class Tally:
    """
    What a summary is made of; all arrays hold one value a group.

    Parameters
    ----------
    index
        The groups.
    numbers
        `running`, `completed`, `failed`, `timeout`, `other`, `stuck`, `late` calls; `longest` duration of calls that
        ended in any way, `last_success`, and the longest `streak` of failures.
    durations, delays
        The curves of both.
    """

    index: pd.Index
    numbers: dict[str, np.ndarray]
    durations: Curves
    delays: Curves


@dataclass(frozen=True)
class Part:
    """
    What a tally is made of, which adds up.

    Parameters
    ----------
    groups
        One row a group: the columns that make it, then numbers.
    spans
        One row a group, kind (0 durations that ended, 1 that are censored, 2 delays) and bucket; `count` of calls.
    """

    groups: pd.DataFrame
    spans: pd.DataFrame

    @property
    def ordered(self) -> bool:
        """Whether the calls of every group came in the order of start, from part to part."""
        return bool(self.groups["ordered"].all())


def of_calls(calls: pd.DataFrame, asked: Asked) -> Tally:
    """Take a tally of calls, exactly."""
    groups, worked = group(calls, asked.by), work(calls, asked.run_limit, asked.fetched_ms)
    order = streaks.in_order(calls, groups, worked.kinds)
    numbers = _numbers(calls, groups, worked, asked.late_after_ms)
    numbers["streak"] = streaks.longest(groups, worked.kinds, order)
    durations = curves(worked.times, awaited(worked.kinds, groups), groups)
    return Tally(groups.index, numbers, durations, curves(to_milliseconds(calls["schedule_delay"]), None, groups))


def of_parts(part: Part, by: Mapping[str, int]) -> Tally:
    """Take a tally of what has been added up."""
    groups = group(part.groups, by)
    order = np.argsort(groups.codes)
    table = part.groups.iloc[order]
    numbers = {name: table[name].to_numpy() for name in (*_COUNTS, *_LARGEST, "streak")}
    delays = (part.spans["kind"] == _DELAY).to_numpy()
    durations = _curves(part.spans[~delays], groups, numbers["known"])
    return Tally(groups.index, numbers, durations, _curves(part.spans[delays], groups, numbers["delayed"]))


def measure(calls: pd.DataFrame, asked: Asked) -> Part:
    """Take a part of a tally."""
    groups, worked = group(calls, asked.by), work(calls, asked.run_limit, asked.fetched_ms)
    delays = to_milliseconds(calls["schedule_delay"])
    order = streaks.in_order(calls, groups, worked.kinds)
    numbers = _numbers(calls, groups, worked, asked.late_after_ms)
    numbers |= {"known": groups.max(worked.times), "delayed": groups.max(delays)}
    numbers |= {"streak": streaks.longest(groups, worked.kinds, order), "ordered": np.ones(len(groups), dtype=bool)}
    numbers |= streaks.ends(calls, groups, worked.kinds, order)
    censored = (~awaited(worked.kinds, groups)).astype("int64")
    times = np.concatenate([worked.times, delays])
    kinds = np.concatenate([censored, np.full(len(calls), _DELAY)])
    return Part(_table(groups, asked.by, numbers), _count(np.tile(groups.codes, 2), kinds, times))


def add(parts: Sequence[Part], by: Mapping[str, int]) -> Part:
    """Add parts up, which follow each other in time."""
    together = concat([part.groups for part in parts])
    groups = group(together, by)
    ends = np.cumsum([len(part.groups) for part in parts])
    codes = np.split(groups.codes, ends[:-1])
    numbers = {name: groups.sum(together[name].to_numpy()) for name in _COUNTS}
    numbers |= {name: groups.max(together[name].to_numpy()) for name in _LARGEST}
    numbers |= streaks.follow([part.groups for part in parts], codes, len(groups))
    spans = pd.concat(
        [
            part.spans.assign(group=code[part.spans["group"]].astype("int32"))
            for part, code in zip(parts, codes, strict=True)
        ]
    )
    spans = pd.DataFrame(spans.groupby(["group", "kind", "place"], sort=False)[["count"]].sum()).reset_index()
    return Part(_table(groups, by, numbers), spans)


def _numbers(calls: pd.DataFrame, groups: Groups, worked: Work, late_after_ms: int) -> dict[str, np.ndarray]:
    kinds = len(KINDS)
    table = np.bincount(groups.codes * kinds + worked.kinds, minlength=len(groups) * kinds).reshape(-1, kinds)
    start = to_milliseconds(calls["start_time"])
    return {
        **dict(zip(KINDS, table.T.copy(), strict=True)),
        "stuck": groups.count(worked.stuck),
        "late": groups.count(to_milliseconds(calls["schedule_delay"]) > late_after_ms),
        "longest": groups.max(to_milliseconds(calls["duration"])),
        "last_success": groups.max(np.where(worked.kinds == COMPLETED, start, NO_TIME)),
    }


def _table(groups: Groups, by: Mapping[str, int], numbers: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Put the columns that groups are made by beside what is told of them."""
    keys = {COLUMNS.get(name, TIME): groups.index.get_level_values(name).array for name in by}
    return pd.DataFrame({**keys, **numbers})


def _count(codes: np.ndarray, kinds: np.ndarray, times: np.ndarray) -> pd.DataFrame:
    """Count spans that are known by group, kind and bucket."""
    known = times != NO_TIME
    packed = ((codes[known] << _KINDS_BITS) + kinds[known]) << _PLACES
    packed += histogram.places(times[known]) + (1 << (_PLACES - 1))
    found, count = np.unique(packed, return_counts=True)
    place = (found & ((1 << _PLACES) - 1)) - (1 << (_PLACES - 1))
    kind = (found >> _PLACES) & ((1 << _KINDS_BITS) - 1)
    columns = {"group": found >> (_PLACES + _KINDS_BITS), "kind": kind, "place": place, "count": count}
    return pd.DataFrame(columns).astype({"group": "int32", "kind": "int8", "place": "int16"})


def _curves(spans: pd.DataFrame, groups: Groups, largest: np.ndarray) -> Curves:
    times = histogram.stand_for(spans["place"].to_numpy())
    of = Groups(groups.codes[spans["group"].to_numpy()], groups.index)
    return curves(times, (spans["kind"] != 1).to_numpy(), of, spans["count"].to_numpy(), largest)
