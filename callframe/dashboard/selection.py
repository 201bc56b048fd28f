"""What of a call frame is looked at, and how: a small value that can be saved and given back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from callframe import timespan
from callframe.completeness import Coverage
from callframe.errors import ArgumentError
from callframe.timespan import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

LAST = ("1h", "24h", "7d")
"""Stretches of time that end where the calls do, for a quick choice."""

BY = ("function", "schedule", "status", "1h", "1d")
"""What the summary can be grouped by."""

TABS = (
    "Overview", "Durations", "Schedule delays", "Failures", "Schedules", "Concurrency", "Calls", "Data quality",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """
    Which calls are looked at, and how.

    Parameters
    ----------
    functions
        Labels of functions; none means all.
    statuses
        Statuses; none means all.
    schedules
        Ids of schedules; none means all calls, those without a schedule too.
    last
        A stretch of time that ends where the calls do, such as `"24h"`; in place of `start` and `end`.
    start, end
        Start times, the end excluded, as ISO 8601 text in UTC; None as far as there are calls.
    by
        What the summary is grouped by: `"function"`, `"schedule"`, `"status"` or a frequency.
    tz
        Time zone in which times are shown.
    tab
        Which tab is open.
    picture
        Which of its pictures is shown; the first by default.
    """

    functions: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    schedules: tuple[int, ...] = ()
    last: str | None = None
    start: str | None = None
    end: str | None = None
    by: str = "function"
    tz: str = "UTC"
    tab: str = TABS[0]
    picture: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be right, in a sentence."""
        for name, kind in (("functions", str), ("statuses", str), ("schedules", int)):
            object.__setattr__(self, name, _several(name, getattr(self, name), kind))
        for name in ("by", "tz", "picture"):
            if not isinstance(getattr(self, name), str):
                raise ArgumentError(f"{name}={getattr(self, name)!r}; expected text.")
        if self.tab not in TABS:
            raise ArgumentError(f"tab={self.tab!r}; expected one of {', '.join(map(repr, TABS))}.")
        if self.last is not None:
            if self.start or self.end:
                raise ArgumentError("A selection takes last, or start and end, but not both.")
            if not isinstance(self.last, str):
                raise ArgumentError(f'last={self.last!r}; expected text such as "24h".')
            timespan.parse_duration(self.last, name="last")
        for name in ("start", "end"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, timespan.iso(timespan.parse_time(value, name=name, now_ms=0)))

    @classmethod
    def of(cls, given: Selection | Mapping[str, Any] | None) -> Self:
        """Make a selection of what a user gave: another one, what `to_dict` gave, or nothing."""
        if not isinstance(given, Selection | Mapping | None):
            raise ArgumentError(f"selection={given!r}; expected a selection, or the dict that its to_dict gave.")
        fields = {field.name for field in dataclasses.fields(cls)}
        values = {} if given is None else dict(given.to_dict() if isinstance(given, Selection) else given)
        if unknown := [repr(name) for name in values if name not in fields]:
            raise ArgumentError(f"A selection has no {', '.join(unknown)}; it has {', '.join(sorted(fields))}.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Write what differs from the default as a JSON-able dict, which `explore` takes back."""
        found = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found

    def replace(self, **changes: Any) -> Self:
        """Make another one that differs in some fields."""
        return dataclasses.replace(self, **changes)

    @property
    def what(self) -> tuple[Any, ...]:
        """The part that chooses calls."""
        return (self.functions, self.statuses, self.schedules, self.last, self.start, self.end)


def stretch(end_ms: int, selection: Selection) -> tuple[str | None, str | None]:
    """
    Tell which start times are selected.

    Parameters
    ----------
    end_ms
        Where the calls end, in milliseconds since 1970-01-01 UTC.
    selection
        The selection.

    Returns
    -------
    start, end
        ISO 8601 text in UTC, the end excluded; None as far as there are calls.
    """
    if selection.last is None:
        return selection.start, selection.end
    span_ms = timespan.parse_duration(selection.last, name="last")
    return timespan.iso(max(0, end_ms - span_ms)), None


def end_ms(calls: pd.DataFrame) -> int:
    """Tell where the calls of a frame end, in milliseconds since 1970: where their window does, else the latest one."""
    known = Coverage.of(calls)
    if known is not None and known.window is not None:
        return min(known.window.end_ms, known.fetched_ms)
    return 0 if calls.empty else int(to_milliseconds(calls["start_time"]).max()) + 1


def select(calls: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """
    Take the calls that are selected.

    Parameters
    ----------
    calls
        Call frame.
    selection
        What to take; names that no call has take nothing.

    Returns
    -------
    calls
        Call frame, in the same order, with a RangeIndex. Its coverage says what was selected. The same object where
        everything is selected.
    """
    start, end = stretch(end_ms(calls), selection)
    if not any((selection.functions, selection.statuses, selection.schedules, start, end)):
        return calls
    kept = np.ones(len(calls), dtype=bool)
    if selection.functions:
        kept &= _among(calls["function"], selection.functions)
    if selection.statuses:
        kept &= _among(calls["status"], selection.statuses)
    if selection.schedules:
        kept &= calls["schedule_id"].isin(selection.schedules).to_numpy(dtype=bool)
    times = calls["start_time"]
    if start:
        kept &= (times >= pd.Timestamp(start)).to_numpy()
    if end:
        kept &= (times < pd.Timestamp(end)).to_numpy()
    chosen = calls if kept.all() else calls.take(np.flatnonzero(kept)).reset_index(drop=True)
    chosen = chosen.copy(deep=False)
    chosen.attrs = dict(calls.attrs)
    if known := Coverage.of(calls):
        known.select(
            chosen, functions=selection.functions, statuses=selection.statuses, schedule_ids=selection.schedules,
            start=start, end=end,
        ).attach(chosen)  # fmt: skip
    return chosen


def _several(name: str, given: Any, kind: type) -> tuple[Any, ...]:
    """Take names or ids, each once."""
    listed = not isinstance(given, str) and isinstance(given, Iterable)
    found = tuple(dict.fromkeys(given)) if listed else ()
    if kind is int:
        found = tuple(int(one) if isinstance(one, np.integer) else one for one in found)
    if not listed or not all(isinstance(one, kind) for one in found):
        words = {"functions": "labels", "statuses": "names", "schedules": "ids, whole numbers"}[name]
        raise ArgumentError(f"{name}={given!r}; expected a list of {words}.")
    return found


def _among(column: pd.Series, names: Sequence[str]) -> np.ndarray:
    """Tell which values of a category are among some; each category is compared once."""
    wanted = np.append(column.cat.categories.isin(names), False)  # the last one is for what is missing
    found: np.ndarray = wanted[column.cat.codes.to_numpy()]
    return found
