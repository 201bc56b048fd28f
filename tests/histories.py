"""Call frames of made-up histories, put together without a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from builders import attach_coverage

from callframe import frame
from callframe.api import schemas
from callframe.api.schemas import Call
from callframe.completeness import FunctionCoverage
from callframe.timespan import iso

if TYPE_CHECKING:
    from collections.abc import Sequence

MINUTE = 60_000
DAY = 24 * 60 * MINUTE
NOW = 1_800_000_000_000  # 2027-01-15 08:00 UTC, a Friday


def call(call_id: int, start_ms: int, **changes: Any) -> Call:
    """Make the record of a call that took five seconds."""
    fields: dict[str, Any] = {
        "id": call_id,
        "function_id": 1,
        "status": "Completed",
        "start_time": start_ms,
        "end_time": start_ms + 5_000,
    }
    return Call(**(fields | changes))


def runs(slots: Sequence[int], *, schedule_id: int = 7, delay_ms: int = 2_000, **changes: Any) -> list[Call]:
    """Make a call on each slot, given in milliseconds."""
    return [
        call(schedule_id * 1_000_000 + k, slot + delay_ms, scheduled_time=slot, schedule_id=schedule_id, **changes)
        for k, slot in enumerate(slots)
    ]


def history(records: Sequence[Call], *, start_ms: int = NOW - DAY, end_ms: int = NOW, **changes: Any) -> pd.DataFrame:
    """Make a call frame, as a complete fetch at `NOW` gives it, or with other attributes."""
    ids = {record.function_id for record in records} | {1}
    calls = frame.from_columns([schemas.to_columns(records)], {one: f"f{one}" for one in ids})
    counts = calls["function_id"].value_counts()
    functions = [FunctionCoverage(one, f"f{one}", calls=int(counts.get(one, 0)), created_ms=0) for one in sorted(ids)]
    asked: dict[str, Any] = {"window": {"start": iso(start_ms), "end": iso(end_ms)}, "status": [], "schedule_ids": []}
    attach_coverage(calls, functions, project="p", fetched_at=iso(NOW), **(asked | changes))
    return calls


def schedules(*rows: dict[str, Any]) -> pd.DataFrame:
    """Make a frame of schedules; each runs hourly unless it says otherwise."""
    usual: dict[str, Any] = {
        "schedule_id": 7,
        "name": "s",
        "function_id": 1,
        "cron_expression": "0 * * * *",
        "created_ms": 0,
    }
    full = [usual | row for row in rows]
    return pd.DataFrame(
        {
            "schedule_id": pd.Series([row["schedule_id"] for row in full], dtype="int64"),
            "name": frame.text_column([row["name"] for row in full]),
            "function_id": pd.Series([row["function_id"] for row in full], dtype="Int64"),
            "function": frame.text_column([row.get("function", f"f{row['function_id']}") for row in full]),
            "function_external_id": frame.text_column([row.get("function_external_id") for row in full]),
            "cron_expression": frame.text_column([row["cron_expression"] for row in full]),
            "created_time": frame.time_column([row["created_ms"] for row in full]),
        }
    )
