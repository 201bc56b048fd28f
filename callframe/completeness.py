"""What a call frame rests on: when it was fetched, over which window, and how completely for each function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe.frame import TEXT, check

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEY = "callframe"
"""Where the coverage stands in the `attrs` of a call frame."""

UNKNOWN = "not known: the frame carries no coverage"

FORGOTTEN = "the service keeps calls for 90 days"
"""How a problem begins that is none of the reading: what lies further back is gone for everyone."""


@dataclass
class FunctionCoverage:
    """
    How completely the calls of one function were read.

    Parameters
    ----------
    function_id, function
        Id and label.
    problems
        What could not be read, in sentences; none means complete.
    calls
        How many arrived.
    set_aside
        How many records broke the contract, by reason.
    examples
        A few of those records: their id, where it could be trusted, and the reason.
    created_ms
        When the function was deployed.
    lacking
        Stretches of the window that an archive does not know, in milliseconds; none are told of a fetch.
    """

    function_id: int
    function: str
    problems: list[str] = field(default_factory=list)
    calls: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    created_ms: int | None = None
    lacking: list[tuple[int, int]] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Write as a JSON-able dict."""
        return {
            "function_id": self.function_id,
            "function": self.function,
            "complete": not self.problems,
            "reason": "; ".join(self.problems) or None,
            "calls": self.calls,
            "set_aside": sum(self.set_aside.values()),
            "set_aside_reasons": self.set_aside,
            "set_aside_examples": self.examples,
            "created_ms": self.created_ms,
            **({"lacking_ms": [list(one) for one in self.lacking]} if self.lacking else {}),
        }


def attach(
    calls: pd.DataFrame, functions: Sequence[FunctionCoverage], *, project: str, fetched_at: str, asked: dict[str, Any]
) -> None:
    """
    Put on a call frame what it rests on.

    Parameters
    ----------
    calls
        Call frame; its `attrs` are changed.
    functions
        One for each function that was asked.
    project
        Name of the project.
    fetched_at
        When the fetch began, as ISO 8601 text; calls that started later are not in it.
    asked
        The window, and what else was filtered by, JSON-able.
    """
    rows = [function.row() for function in functions]
    calls.attrs[KEY] = {"version": 1, "project": project, "fetched_at": fetched_at, **asked, "functions": rows}


def coverage(calls: pd.DataFrame) -> pd.DataFrame:
    """
    Show what a call frame rests on, a row a function.

    A frame that carries no coverage (read from a CSV, put together by hand) gives a row for each function in it, with
    `complete` missing: nothing is known is not the same as incomplete.

    Parameters
    ----------
    calls
        Call frame.

    Returns
    -------
    coverage
        Columns `function_id` int64, `function` str, `complete` boolean, `reason` str (missing where complete), `calls`
        int64 and `set_aside` int64 (records that broke the API's contract) as counted when the frame was fetched,
        `set_aside_reason` str. Its `attrs` hold project, `fetched_at` and the window.
    """
    check(calls)
    held = calls.attrs.get(KEY)
    rows = held["functions"] if held else _unknown(calls)
    frame = pd.DataFrame(
        {
            "function_id": pd.Series([row["function_id"] for row in rows], dtype="int64"),
            "function": _text(row["function"] for row in rows),
            "complete": pd.Series([row["complete"] for row in rows], dtype="boolean"),
            "reason": _text(row["reason"] for row in rows),
            "calls": pd.Series([row["calls"] for row in rows], dtype="int64"),
            "set_aside": pd.Series([row["set_aside"] for row in rows], dtype="int64"),
            "set_aside_reason": _text(
                "; ".join(f"{count} x {reason}" for reason, count in row["set_aside_reasons"].items()) or None
                for row in rows
            ),
        }
    )
    frame.attrs = {name: value for name, value in (held or {}).items() if name != "functions"}
    return frame


def is_complete(calls: pd.DataFrame) -> bool | None:
    """
    Tell whether everything asked for was read.

    Parameters
    ----------
    calls
        Call frame.

    Returns
    -------
    complete
        None where the frame carries no coverage.
    """
    held = calls.attrs.get(KEY)
    return None if held is None else all(row["complete"] for row in held["functions"])


def narrow(
    calls: pd.DataFrame,
    *,
    functions: Sequence[str] = (),
    statuses: Sequence[str] = (),
    schedule_ids: Sequence[int] = (),
    start: str | None = None,
    end: str | None = None,
) -> None:
    """
    Let the coverage of calls that were chosen from a frame say what was chosen.

    What was read completely is complete in a part of it too, so the window, the statuses and the functions of the
    coverage become those of the choice, and the counts those of the calls that are left.

    Parameters
    ----------
    calls
        Call frame that carries the coverage of the larger one; its `attrs` are changed.
    functions, statuses, schedule_ids
        What was chosen; none is all.
    start, end
        The start times that were chosen, as ISO 8601 text in UTC; None where the window goes on.
    """
    held = calls.attrs.get(KEY)
    if not held:
        return
    counts = calls["function_id"].value_counts().to_dict()
    rows = [row for row in held["functions"] if not functions or row["function"] in set(functions)]
    narrowed = {**held, "functions": [{**row, "calls": int(counts.get(row["function_id"], 0))} for row in rows]}
    if asked := held.get("window"):
        times = {"start": max(asked["start"], start or ""), "end": min(asked["end"], end or asked["end"])}
        narrowed |= {"window": times | {"end": max(times.values())}}
        narrowed |= {"status": _both(held.get("status"), statuses)}
        narrowed |= {"schedule_ids": _both(held.get("schedule_ids"), schedule_ids)}
    calls.attrs = {**calls.attrs, KEY: narrowed}


def _both(held: Sequence[Any] | None, chosen: Sequence[Any]) -> list[Any]:
    """Take what was asked for and chosen; none is all."""
    return [one for one in held if not chosen or one in chosen] if held else list(chosen)


def _unknown(calls: pd.DataFrame) -> list[dict[str, Any]]:
    counts = calls.groupby(["function_id", "function"], observed=True).size()
    return [
        {
            "function_id": function_id,
            "function": function,
            "complete": pd.NA,
            "reason": UNKNOWN,
            "calls": count,
            "set_aside": 0,
            "set_aside_reasons": {},
        }
        for (function_id, function), count in zip(counts.index, counts, strict=True)
    ]


def _text(values: Iterable[str | None]) -> pd.Series:
    return pd.Series(list(values), dtype=TEXT)
