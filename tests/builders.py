"""Small makers of what the tests need: records, pages and call frames."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from callframe import frame
from callframe.api import schemas
from callframe.api.schemas import Call, CallError
from callframe.completeness import Coverage, FunctionCoverage
from callframe.frame import MAX_ID
from callframe.timespan import MAX_TIME_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

NOON = 1_790_769_600_000  # 2026-09-30 12:00 UTC
SECOND, MINUTE, DAY = 1_000, 60_000, 86_400_000

EXAMPLE = {
    "id": 4503599627370496,
    "functionId": 4503599627370496,
    "status": "Running",
    "startTime": 1730204346000,
    "endTime": 1730204346000,
    "scheduledTime": 1730204346000,
    "scheduleId": 4503599627370496,
    "error": {"message": "Could not authenticate.", "trace": "Cannot assign foo to bar."},
}
"""The single call that the published reference of the API shows."""

steady = settings(max_examples=25, deadline=None, database=None, derandomize=True)
"""Property tests that take no clock, no file and no luck."""


def wire(**changes: Any) -> dict[str, Any]:
    """Make one call as the service sends it; `...` leaves a field out."""
    fields = {"id": 1, "functionId": 2, "status": "Completed", "startTime": NOON, "endTime": NOON + SECOND, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def page(*items: object, **more: object) -> bytes:
    """Make the body of a page."""
    return json.dumps({"items": items, **more}).encode()


def record(**changes: Any) -> Call:
    """Make one decoded call, completed in a second."""
    return Call(
        **{"id": 1, "function_id": 2, "status": "Completed", "start_time": NOON, "end_time": NOON + SECOND, **changes}
    )


def frame_of(*records: Call, labels: Mapping[int, str] | None = None) -> pd.DataFrame:
    """Make a call frame; functions are labelled by their ids."""
    return frame.from_columns([schemas.to_columns(records)], labels or {})


ids = st.integers(1, MAX_ID) | st.sampled_from([1, 2, 2**31, 2**53 - 2, MAX_ID])
moments = st.integers(0, MAX_TIME_MS) | st.integers(NOON, NOON + DAY) | st.sampled_from([0, MAX_TIME_MS])
statuses = st.sampled_from([*frame.STATUSES, *frame.STATUSES, "Cancelled", "=1+1", ""])
# What a program between may take for something else: missing values, formulas, quotes, ends of lines.
_MISTAKEN = (
    "|NA|nan|null|None|#N/A| |0|1970-01-01|\ufeff|\ufffd|\u2028|\x85"
    "|=1+1|'=1+1|''=1+1|'|''|'text|+1|-1|@x|\tx|\rx|\nx|\uff1d1|\uff0b1|\uff0d1|\uff20|=\"1\""
    '|"|""|a"b|a,b|a;b|a\nb|a\r\nb|a\rb|\r|\n|\r\n|\0|a\0b|\U0001f600'
)
odd_text = st.sampled_from(_MISTAKEN.split("|"))
texts = odd_text | st.text(max_size=12) | st.builds(str.__add__, odd_text, odd_text)
errors = st.none() | texts | st.builds(CallError, message=texts, trace=st.none() | texts)
records = st.builds(
    Call,
    id=ids,
    function_id=st.sampled_from([1, 2, 3, MAX_ID]),
    status=statuses,
    start_time=moments,
    end_time=st.none() | moments,
    scheduled_time=st.none() | moments,
    schedule_id=st.none() | ids,
    error=errors,
)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Make call frames of all sorts, at times filtered, so that categories are unused and the index has gaps."""
    labels = draw(st.dictionaries(st.sampled_from([1, 2, 3, MAX_ID]), texts, max_size=4))
    calls = frame_of(*draw(st.lists(records, max_size=8)), labels=labels)
    if not draw(st.booleans()):
        return calls
    kept = draw(st.lists(st.booleans(), min_size=len(calls), max_size=len(calls)))
    return calls[np.array(kept, dtype=bool)]


def attach_coverage(
    calls: pd.DataFrame, functions: Sequence[FunctionCoverage], *, project: str, fetched_at: str, **request: Any
) -> None:
    """Attach a coverage to a frame; `request` holds the window and the filters as JSON does."""
    content = {
        "project": project,
        "fetched_at": fetched_at,
        "functions": [one.to_json() for one in functions],
        **request,
    }
    coverage = Coverage.from_json(content)
    assert coverage is not None
    coverage.attach(calls)
