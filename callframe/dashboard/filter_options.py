"""What there is to choose from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from callframe import frame
from callframe.dashboard.selection import end_ms
from callframe.formatting import printable
from callframe.reporting.tables import truncate

if TYPE_CHECKING:
    from collections.abc import Iterable

NAME = 46
"""Characters of a name that are shown."""


@dataclass(frozen=True)
class FilterOptions:
    """
    What there is to choose from.

    Parameters
    ----------
    functions
        Pairs of what is shown and the label, those with the most failures first.
    schedules
        Pairs of what is shown and the id, by name.
    statuses
        Their names.
    end_ms
        Where the calls end, in milliseconds since 1970-01-01 UTC.
    """

    functions: list[tuple[str, str]] = field(default_factory=list)
    schedules: list[tuple[str, int]] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    end_ms: int = 0


def of_calls(calls: pd.DataFrame, schedules: pd.DataFrame | None) -> FilterOptions:
    """
    Offer what a call frame holds.

    Parameters
    ----------
    calls
        Call frame.
    schedules
        What `Project.schedules` gave, None where they are not known.

    Returns
    -------
    offer
        Schedules are named where their names are known.
    """
    failed = calls["status"].isin(frame.FAILURES).astype("int64")
    counts = failed.groupby(calls["function"], observed=True).agg(["sum", "size"])
    ids = calls["schedule_id"].dropna().unique()
    statuses = [str(one) for one in calls["status"].cat.categories]
    return FilterOptions(_functions(counts), _schedules(ids, schedules), statuses, end_ms(calls))


def of_rollup(rollup: pd.DataFrame, schedules: pd.DataFrame) -> FilterOptions:
    """
    Offer what a rollup counts.

    Parameters
    ----------
    rollup
        What `Archive.rollup` gave.
    schedules
        What `Archive.schedules` gave.

    Returns
    -------
    offer
        With every schedule that was ever seen.
    """
    once = rollup[rollup["measure"] == "duration"]
    failed = once["count"].where(once["status"].isin(frame.FAILURES), 0)
    counts = pd.DataFrame({"sum": failed, "size": once["count"]}).groupby(once["function"], observed=True).sum()
    statuses = [str(one) for one in once["status"].cat.categories]
    return FilterOptions(_functions(counts), _schedules(schedules["schedule_id"], schedules), statuses, end_ms(rollup))


def label(words: object, most: int = NAME) -> str:
    """Write a name of any kind for a control to show."""
    return printable(truncate(words, most).text)


def schedule_names(schedules: pd.DataFrame | None) -> dict[int, str]:
    """Name schedules by their ids, as far as names are known."""
    if schedules is None or "name" not in schedules:
        return {}
    known = schedules[schedules["name"].notna() & schedules["schedule_id"].notna()]
    return dict(zip(known["schedule_id"].astype("int64").tolist(), known["name"], strict=True))


def _functions(counts: pd.DataFrame) -> list[tuple[str, str]]:
    counts = counts.sort_values(["sum", "size"], ascending=False, kind="stable")
    return [
        (f"{label(name)} \N{MIDDLE DOT} {failures:,} of {size:,} failed", str(name))
        for name, failures, size in zip(counts.index, counts["sum"], counts["size"], strict=True)
    ]


def _schedules(ids: Iterable[int], schedules: pd.DataFrame | None) -> list[tuple[str, int]]:
    names = schedule_names(schedules)
    found = [(label(names.get(int(one), one)), int(one)) for one in ids]
    return sorted(found, key=lambda option: (option[0].casefold(), option[1]))
