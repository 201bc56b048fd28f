"""What an archive knows: function by function for a frame, and stretch by stretch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe import frame
from callframe.archive import coverage_ledger
from callframe.archive.coverage_ledger import CoverageLedger
from callframe.completeness import FunctionCoverage
from callframe.timespan import MAX_TIME_MS, TimeRange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STATES = ("complete", "partly", "not")
"""How a stretch of time may be known: of all functions there were, of some, of none."""

_NAMED = 5


@dataclass(frozen=True)
class Life:
    """
    A function id, and from when until when it was there.

    Parameters
    ----------
    function_id, function
        Id and label.
    start_ms, end_ms
        When it was deployed, and when it was found to be listed no more; None where that is not known.
    """

    function_id: int
    function: str
    start_ms: int | None
    end_ms: int | None

    def within(self, stretch: TimeRange) -> TimeRange | None:
        """Give the part of a stretch in which it was there, if any."""
        low = max(stretch.start_ms, self.start_ms or 0)
        high = stretch.end_ms if self.end_ms is None else min(stretch.end_ms, self.end_ms)
        return TimeRange(low, high) if low < high else None


def lives(functions: pd.DataFrame) -> list[Life]:
    """Take the lives of functions from the frame of those that were seen."""
    times = [
        [None if pd.isna(value) else int(value.value // 1_000_000) for value in functions[name].dt.as_unit("ns")]
        for name in ("created_time", "gone_time")
    ]
    rows = zip(functions["function_id"].tolist(), functions["function"].tolist(), *times, strict=True)
    return [Life(*row) for row in rows]


def span(held: CoverageLedger) -> TimeRange | None:
    """Tell from when until when anything is known, or was tried to be."""
    stretches = [one for found in held.complete.values() for one in found]
    stretches += [(one.start_ms, one.end_ms) for found in held.failures.values() for one in found]
    return TimeRange(min(low for low, _ in stretches), max(high for _, high in stretches)) if stretches else None


def of_functions(
    held: CoverageLedger, functions: Sequence[Life], stretch: TimeRange, counts: Mapping[int, int]
) -> list[FunctionCoverage]:
    """
    Tell of each function that was there in a stretch how much of it is known.

    Parameters
    ----------
    held
        What is known.
    functions
        Whose coverage to tell.
    stretch
        Of which time.
    counts
        Calls by function id.

    Returns
    -------
    rows
        By label, the earlier deployments first.
    """
    rows = []
    for one in sorted(functions, key=lambda life: (life.function, life.start_ms or 0)):
        there = one.within(stretch)
        if there is None and not counts.get(one.function_id):
            continue
        lacking = [] if there is None else held.lacking(one.function_id, there)
        rows.append(
            FunctionCoverage(
                one.function_id,
                one.function,
                reasons=(_problem(held, one.function_id, lacking),) if lacking else (),
                calls=counts.get(one.function_id, 0),
                created_ms=one.start_ms,
                missing=tuple(lacking),
            )
        )
    return rows


def of_time(held: CoverageLedger, functions: Sequence[Life], stretch: TimeRange) -> pd.DataFrame:
    """
    Tell stretch by stretch how much of it is known.

    Parameters
    ----------
    held
        What is known.
    functions
        Those that count.
    stretch
        Of which time.

    Returns
    -------
    coverage
        One row a stretch, in order; see `Archive.coverage`.
    """
    alive = [(one, there) for one in functions if (there := one.within(stretch)) is not None]
    lacking = {one.function_id: held.lacking(one.function_id, there) for one, there in alive}
    edges = {stretch.start_ms, stretch.end_ms}
    for one, life in alive:
        parts = [life, *lacking[one.function_id]]
        edges |= {edge for part in parts for edge in (part.start_ms, part.end_ms)}
    seen = span(held)
    rows: list[dict[str, Any]] = []
    for low, high in itertools.pairwise(sorted(edges)):
        there_now = [one for one, life in alive if life.start_ms <= low < life.end_ms]
        without = [one for one in there_now if _holds(lacking[one.function_id], low)]
        is_seen = seen is not None and seen.start_ms <= low < seen.end_ms
        row = _row(TimeRange(low, high), there_now, without, is_seen=is_seen)
        if rows and _alike(rows[-1], row):
            rows[-1] = _joined(rows[-1], row)
        else:
            rows.append(row)
    return _frame(rows, held)


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two stretches are one to the reader; where nothing is known, who was there does not matter."""
    same_functions = one["lacking"] == other["lacking"] or one["state"] == "not"
    return bool(one["state"] == other["state"] and same_functions)


def _joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **one,
        "end_ms": other["end_ms"],
        "functions": max(one["functions"], other["functions"]),
        "lacking": sorted({*one["lacking"], *other["lacking"]}),
        "ids": sorted({*one["ids"], *other["ids"]}),
    }


def _holds(parts: Sequence[TimeRange], moment_ms: int) -> bool:
    return any(part.start_ms <= moment_ms < part.end_ms for part in parts)


def nothing() -> pd.DataFrame:
    """Make the frame of no stretches."""
    return _frame([], CoverageLedger())


def _row(stretch: TimeRange, there: Sequence[Life], without: Sequence[Life], *, is_seen: bool) -> dict[str, Any]:
    known_all = not without and (bool(there) or is_seen)
    state = "complete" if known_all else "not" if len(without) == len(there) else "partly"
    labels = sorted({one.function for one in without})
    return {
        "start_ms": stretch.start_ms,
        "end_ms": stretch.end_ms,
        "state": state,
        "functions": len({one.function for one in there}),
        "lacking": labels,
        "ids": [one.function_id for one in without],
    }


def _frame(rows: Sequence[dict[str, Any]], held: CoverageLedger) -> pd.DataFrame:
    reasons = []
    for row in rows:
        stretch = TimeRange(row["start_ms"], row["end_ms"])
        found = {reason for one in row["ids"] if (reason := held.why(one, stretch)) is not None}
        reasons.append("; ".join(sorted(found)) or None)
    categories = pd.CategoricalDtype(pd.Series(list(STATES), dtype=frame.TEXT), ordered=True)
    return pd.DataFrame(
        {
            "start_time": frame.time_column([row["start_ms"] for row in rows]),
            "end_time": frame.time_column([min(row["end_ms"], MAX_TIME_MS) for row in rows]),
            "state": pd.Categorical([row["state"] for row in rows], dtype=categories),
            "functions": pd.Series([row["functions"] for row in rows], dtype="int64"),
            "lacking": frame.text_column([_listed(row["lacking"]) for row in rows]),
            "reason": frame.text_column(reasons),
        }
    )


def _listed(labels: Sequence[str]) -> str | None:
    if not labels:
        return None
    more = [f"{len(labels) - _NAMED} more"] if len(labels) > _NAMED else []
    return ", ".join([*labels[:_NAMED], *more])


def _problem(held: CoverageLedger, function_id: int, lacking: Sequence[TimeRange]) -> str:
    reasons = {reason for part in lacking if (reason := held.why(function_id, part)) is not None}
    why = f" ({'; '.join(sorted(reasons))})" if reasons else ""
    return f"not in the archive: {coverage_ledger.shown(lacking)}{why}"


def fetched_ms(held: CoverageLedger) -> int:
    """Tell when anything was last read, or tried to be, which is how far the archive can know."""
    tried = [one.at_ms for found in held.failures.values() for one in found]
    return max([*held.read_ms.values(), *tried], default=0)
