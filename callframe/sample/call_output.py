"""What made-up calls leave behind besides their record: a log and a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callframe.sample.error_samples import ErrorSample

if TYPE_CHECKING:
    from collections.abc import Mapping

_STEPS = (
    "Reading configuration from extraction pipeline",
    "Fetched {0} rows for {1}",
    "Matched {0} of {0} tags, first {1}",
    "WARNING: no data for {1} since {2}, using the last value",
    "Wrote {0} datapoints in batch {3}",
    "Request {4} took {0} ms",
)


def log(name: str, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    Write what a call printed: a start, some progress, a traceback if it failed, an end if it had one.

    Parameters
    ----------
    name
        Name of the function.
    record
        The call.

    Returns
    -------
    log
        `{timestamp, message}` a line, in the order of time.
    """
    story = ErrorSample(record["id"], record["startTime"])
    start = record["startTime"]
    end = record.get("endTime", start + 60_000)
    lines = [f"Starting {name!r} (call {record['id']})"]
    for _ in range(story.number(2, 6)):
        step = _STEPS[story.number(0, len(_STEPS) - 1)]
        lines.append(
            step.format(story.number(1, 9999), story.tag(), story.time, story.number(1, 99), story.request_id())
        )
    error = record.get("error")
    if error is not None:
        text = error if isinstance(error, str) else error.get("trace") or error["message"]
        lines.extend(text.rstrip("\n").split("\n"))
    if record["status"] == "Completed":
        lines.append(f"Done in {(end - start) / 1000:.1f} s")
    gap = (end - start) / len(lines)
    return [{"timestamp": round(start + gap * (at + 0.5)), "message": line} for at, line in enumerate(lines)]


def response(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Tell what a call returned: something small, sometimes nothing in braces; None unless it completed."""
    if record["status"] != "Completed":
        return None
    story = ErrorSample(record["id"], record["startTime"])
    if story.number(0, 3) == 0:
        return {}
    return {"status": "ok", "rows": story.number(0, 9999), "newest": story.time, "tags": [story.tag(), story.tag()]}
