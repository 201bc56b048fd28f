"""The kinds of failures, each with what its latest call said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe.analysis.failures import failures
from callframe.analysis.message_templates import contains_secret
from callframe.formatting import format_percent
from callframe.reporting.tables import Cell, format_time, truncate

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN_MOST = 25
"""Groups that are shown with an example; of the others one line each."""

LISTED_MOST = 200
NAMED_MOST = 4

HEADLINE, EXCERPT, EXCERPT_LINES = 300, 1_200, 10
"""Characters of a template, and of the end of a trace, that are shown at once; the whole is behind a click."""

WHOLE_MOST = 2_000_000
"""Characters of whole texts that a page may hold; a page much larger is none that opens."""

SECRET = "The text seems to hold a password, token or key, and is left out."  # noqa: S105 - not one
NOT_ASKED = "The text was left out on request (traces=False)."


@dataclass(frozen=True)
class Group:
    """
    One kind of failure.

    Parameters
    ----------
    exception, template
        What they have in common.
    count, share
        How many, and of all failures.
    width
        The same, 0 to 100, for a bar.
    facts
        Pairs of a name and what it is.
    excerpt
        The end of what the example said.
    whole
        All of it, empty where the excerpt is all.
    note
        Why there is no text.
    """

    exception: str
    template: Cell
    count: str
    share: str
    width: int
    facts: list[tuple[str, Cell]]
    excerpt: str = ""
    whole: str = ""
    note: str = ""


@dataclass(frozen=True)
class Groups:
    """
    The kinds of failures.

    Parameters
    ----------
    shown
        The largest, with an example each.
    listed
        The next ones: their count, and what they are.
    total
        Failures in all.
    kinds
        Groups in all.
    """

    shown: list[Group]
    listed: list[tuple[str, Cell]]
    total: int
    kinds: int

    @property
    def unlisted(self) -> int:
        """Count the groups that are not even listed."""
        return self.kinds - len(self.shown) - len(self.listed)


def groups(calls: pd.DataFrame, *, tz: str, traces: bool) -> Groups:
    """
    Group the failures, the largest groups first.

    Parameters
    ----------
    calls
        Call frame.
    tz
        Time zone of the times.
    traces
        Whether to take along what the examples said.

    Returns
    -------
    groups
        As text, not escaped.
    """
    found = failures(calls)
    shown, rest = found.head(SHOWN_MOST), found.iloc[SHOWN_MOST : SHOWN_MOST + LISTED_MOST]
    said = _said(calls, shown)
    largest = int(found["count"].max()) if len(found) else 1
    left, described = WHOLE_MOST, []
    for row in shown.to_dict("records"):
        text = said.get((row["call_id"], row["function"]), "")
        excerpt, whole, note = _texts(text, row, left=left, traces=traces)
        left -= len(whole)
        described.append(_group(row, tz, largest, excerpt, whole, note))
    listed = [(f"{row['count']:,}", truncate(_headline(row), HEADLINE)) for row in rest.to_dict("records")]
    return Groups(described, listed, int(found["count"].sum()), len(found))


def _group(row: Mapping[Any, Any], tz: str, largest: int, *texts: str) -> Group:
    facts = {
        "seen": f"{format_time(row['first_seen'], tz)} to {format_time(row['last_seen'], tz)} {tz}",
        "through": row["frames"],
        "began as": row["cause"],
        "latest call": f"{row['call_id']} of {truncate(row['function']).text}",
    }
    exception = "" if pd.isna(row["exception"]) else truncate(row["exception"], 60).text
    return Group(
        exception,
        truncate(row["template"], HEADLINE) if row["template"] else Cell(""),
        f"{row['count']:,}",
        format_percent(row["share"]),
        max(1, round(20 * row["count"] / largest)) * 5,
        [("functions", _functions(row["functions"]))]
        + [(name, truncate(value, 200)) for name, value in facts.items() if not pd.isna(value)],
        *texts,
    )


def _functions(names: str) -> Cell:
    """Name the functions with the most of these failures, and count the others."""
    each = names.split(", ")
    more = f" and {len(each) - NAMED_MOST} more" if len(each) > NAMED_MOST else ""
    return Cell(", ".join(truncate(name).text for name in each[:NAMED_MOST]) + more, title=truncate(names).title)


def _headline(row: Mapping[Any, Any]) -> str:
    return ": ".join(str(row[name]) for name in ("exception", "template") if not pd.isna(row[name]) and row[name])


def _said(calls: pd.DataFrame, found: pd.DataFrame) -> dict[tuple[int, str], str]:
    """Take what the example calls said: the trace, and before it the message where that is not in it."""
    rows = calls[calls["call_id"].isin(found["call_id"])]
    said = {}
    for row in rows[["call_id", "function", "error_message", "error_trace"]].to_dict("records"):
        message, trace = ("" if pd.isna(row[name]) else row[name] for name in ("error_message", "error_trace"))
        both = trace if message.strip() in trace else f"{message}\n\n{trace}"
        said[row["call_id"], row["function"]] = both.strip()
    return said


def _texts(text: str, row: Mapping[Any, Any], *, left: int, traces: bool) -> tuple[str, str, str]:
    """Cut what an example said: what is shown at once, the whole of it, and why not."""
    if not text:
        return "", "", "The call left no message and no trace."
    if not traces or contains_secret(text):
        return "", "", f"{SECRET if traces else NOT_ASKED} project.call(..., {row['call_id']}) has it."
    excerpt = "\n".join(text.splitlines()[-EXCERPT_LINES:])[-EXCERPT:]
    if excerpt == text:
        return text, "", ""
    if len(text) > left:
        note = f"The whole is {len(text):,} characters, too many for this page: project.call(..., {row['call_id']})."
        return f"…{excerpt}", "", note
    return f"…\n{excerpt}", text, ""
