"""How many calls each choice of the filters has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from callframe import frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


@dataclass(frozen=True)
class Option:
    """A choice: its value, its text, its calls and how many of them failed."""

    value: Any
    text: str
    count: int
    failed: int


def count_options(calls: pd.DataFrame, schedule_names: Mapping[int, str]) -> dict[str, list[Option]]:
    """Count the calls of each function, status and schedule, those with the most failures first."""
    failed = calls["status"].isin(frame.FAILURES)
    options = {}
    for field, column in (("functions", "function"), ("statuses", "status"), ("schedules", "schedule_id")):
        counts = failed.groupby(calls[column], observed=True).agg(["sum", "size"])
        if field != "statuses":
            counts = counts.sort_values(["sum", "size"], ascending=False, kind="stable")
        options[field] = [
            Option(value, str(schedule_names.get(value, value)), int(row["size"]), int(row["sum"]))
            for value, row in zip(counts.index.tolist(), counts.to_dict("records"), strict=True)
        ]
    return options
