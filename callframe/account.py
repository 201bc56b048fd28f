"""What a fetch asked for, and in which words it tells what it lacks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from callframe import frame, timespan
from callframe.api import fetch
from callframe.api.client import LISTING_LIMIT
from callframe.completeness import FORGOTTEN, FunctionCoverage
from callframe.errors import IncompleteError, IncompleteWarning, RecordWarning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from callframe.api.catalogue import Catalogue
    from callframe.api.fetch import Reading
    from callframe.api.schemas import Page
    from callframe.timespan import TimeRange

RETENTION_MS = 90 * 24 * 60 * 60 * 1000
"""How long the service keeps calls, in milliseconds."""

_EXAMPLES = 5
_NAMED = 5
_CALLER = 4  # how far up the caller of `Project.calls` is, for warnings to point at


@dataclass(frozen=True)
class Asked:
    """
    What a fetch was asked for.

    Parameters
    ----------
    now_ms
        When, in milliseconds since 1970-01-01 UTC.
    stretch
        The window of start times; None for calls by ids.
    statuses, schedule_ids
        What else was filtered by.
    call_ids
        The calls that were asked for by ids.
    """

    now_ms: int
    stretch: TimeRange | None = None
    statuses: Sequence[str] = ()
    schedule_ids: Sequence[int] = ()
    call_ids: Sequence[int] = ()

    def described(self) -> dict[str, Any]:
        """Write for the coverage of a frame, JSON-able."""
        if self.stretch is None:
            return {"call_ids": len(self.call_ids)}
        return {
            "window": {"start": timespan.iso(self.stretch.start_ms), "end": timespan.iso(self.stretch.end_ms)},
            "status": list(self.statuses),
            "schedule_ids": list(self.schedule_ids),
        }


def row(known: Catalogue, function_id: int, reading: Reading, count: int) -> FunctionCoverage:
    """Account for the reading of one function; a record that was read twice is set aside once."""
    set_aside = list({one.fingerprint: one for one in reading.set_aside}.values())
    return FunctionCoverage(
        function_id,
        known.label(function_id),
        problems=list(reading.problems),
        calls=count,
        set_aside=fetch.count_reasons(set_aside),
        examples=[f"call {record.record_id or 'without an id'}: {record.reason}" for record in set_aside[:_EXAMPLES]],
        created_ms=known.created_ms(function_id),
    )


def add_what_is_lacking(rows: Sequence[FunctionCoverage], calls: pd.DataFrame, asked: Asked) -> None:
    """
    Note what no single request can notice: ids that were not found, and time that the service has forgotten.

    Parameters
    ----------
    rows
        The coverage; its problems are added to.
    calls
        What arrived.
    asked
        What was asked for.
    """
    for problem, concerned in _lacking(calls, rows, asked):
        for one in concerned:
            one.problems.append(problem)


def _lacking(
    calls: pd.DataFrame, rows: Sequence[FunctionCoverage], asked: Asked
) -> Iterator[tuple[str, Sequence[FunctionCoverage]]]:
    missing = sorted(set(asked.call_ids).difference(calls["call_id"].tolist())) if asked.call_ids else []
    if missing:
        named = ", ".join(map(str, missing[:_NAMED])) + (" ..." if len(missing) > _NAMED else "")
        yield f"{len(missing)} of {len(asked.call_ids)} ids were not found: {named}", rows
    edge = timespan.timestamp(max(0, asked.now_ms - RETENTION_MS))
    if asked.stretch and asked.stretch.start < edge and not (calls["start_time"] < edge).any():
        old = [row for row in rows if row.created_ms is None or row.created_ms < asked.now_ms - RETENTION_MS]
        yield f"{FORGOTTEN}: none are left from before {edge:%Y-%m-%d %H:%M} UTC", old


def tell(calls: pd.DataFrame, rows: Sequence[FunctionCoverage], *, strict: bool) -> None:
    """Say in a warning, or an error, which functions lack something and why."""
    lacking = [row for row in rows if row.problems]
    if not lacking:
        return
    shown = [f"  {row.function}: {'; '.join(row.problems)}" for row in lacking[:_NAMED]]
    more = [f"  and {len(lacking) - _NAMED} more"] if len(lacking) > _NAMED else []
    message = "\n".join(
        [
            f"{len(lacking)} of {len(rows)} functions could not be read completely; see callframe.coverage(calls):",
            *shown,
            *more,
        ]
    )
    if strict:
        raise IncompleteError(message, calls)
    warnings.warn(message, IncompleteWarning, stacklevel=_CALLER)


def warn_of_oddities(calls: pd.DataFrame, rows: Sequence[FunctionCoverage]) -> None:
    """Say what arrived and is not as the API promises."""
    broken = [row for row in rows if row.set_aside]
    if broken:
        count = sum(sum(row.set_aside.values()) for row in broken)
        warnings.warn(
            f"{count} records broke the API's contract and were set aside, the first in {broken[0].function}:"
            f" {broken[0].examples[0]}. callframe.coverage(calls) counts them.",
            RecordWarning,
            stacklevel=_CALLER,
        )
    new = [status for status in calls["status"].cat.categories if status not in frame.STATUSES]
    if new:
        warnings.warn(
            f"The status {', '.join(map(repr, new))} is new to callframe; it is kept as a category of its own.",
            RecordWarning,
            stacklevel=_CALLER,
        )


def warn_of_listing(page: Page[Any], what: str) -> None:
    """Say what a listing lacks: records that break the contract, or all that lies beyond its limit."""
    if page.set_aside:
        warnings.warn(
            f"{len(page.set_aside)} {what} broke the API's contract and were left out: {page.set_aside[0].reason}.",
            RecordWarning,
            stacklevel=_CALLER,
        )
    if len(page.items) + len(page.set_aside) == LISTING_LIMIT:
        warnings.warn(
            f"The service listed {LISTING_LIMIT} {what}, just as many as were asked for: there may be more, and this"
            " listing cannot go on.",
            IncompleteWarning,
            stacklevel=_CALLER,
        )
