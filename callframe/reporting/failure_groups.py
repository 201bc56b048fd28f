"""The failure groups of a report, each with the text that its latest call left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from callframe.analysis.failures import failures
from callframe.analysis.message_templates import contains_secret
from callframe.formatting import Cell, format_percent, format_time, truncate
from callframe.frame import ERROR_RESPONSE

MAX_SHOWN, MAX_LISTED = 25, 200
"""Groups with an example, and further groups with one line each."""
MAX_EXCERPT_LINES = 10
MAX_TEXT = 2_000_000
"""Characters of whole texts in a page; browsers are slow with much larger ones."""

_MAX_NAMES = 4
_MAX_HEADLINE, _MAX_EXCERPT = 300, 1_200
_BY_RESPONSE = "the responses; the service calls these calls Completed"
_SECRET = "The text seems to hold a password, token or key, and is left out."  # noqa: S105 - not one
_NOT_REQUESTED = "The text was left out on request (traces=False)."


@dataclass(frozen=True)
class FailureGroup:
    """A failure group as text, not escaped; `bar` is its size from 0 to 100, `note` why a text is missing."""

    exception: str
    template: Cell
    count: str
    share: str
    bar: int
    facts: list[tuple[str, Cell]]
    excerpt: str
    whole: str
    note: str


@dataclass(frozen=True)
class FailureGroups:
    """The largest failure groups, one line for each of the next ones, and how many failures and groups there are."""

    shown: list[FailureGroup]
    listed: list[tuple[str, Cell]]
    failures: int
    count: int


def failure_groups(calls: pd.DataFrame, *, tz: str, traces: bool) -> FailureGroups:
    """Describe the failure groups, the largest first; without `traces` no text of a call is included."""
    groups = failures(calls)
    texts = _texts(calls, groups.head(MAX_SHOWN))
    largest = int(groups["count"].max()) if len(groups) else 1
    remaining, shown = MAX_TEXT, []
    for row in groups.head(MAX_SHOWN).to_dict("records"):
        text = texts.get((row["call_id"], row["function"]), "")
        excerpt, whole, note = _cut(text, row, remaining=remaining, traces=traces)
        remaining -= len(whole)
        shown.append(
            FailureGroup(
                exception="" if pd.isna(row["exception"]) else truncate(row["exception"], 60).text,
                template=truncate(row["template"], _MAX_HEADLINE) if row["template"] else Cell(""),
                count=f"{row['count']:,}",
                share=format_percent(row["share"]),
                bar=max(1, round(20 * row["count"] / largest)) * 5,
                facts=_facts(row, tz),
                excerpt=excerpt,
                whole=whole,
                note=note,
            )
        )
    listed = [
        (f"{row['count']:,}", truncate(headline(row), _MAX_HEADLINE))
        for row in groups.iloc[MAX_SHOWN : MAX_SHOWN + MAX_LISTED].to_dict("records")
    ]
    return FailureGroups(shown, listed, int(groups["count"].sum()), len(groups))


def headline(row: dict[Any, Any]) -> str:
    """Write a failure group in one line."""
    return str(row["label"])


def _facts(row: dict[Any, Any], tz: str) -> list[tuple[str, Cell]]:
    facts = {
        "between": f"{format_time(row['first_seen'], tz)} and {format_time(row['last_seen'], tz)} {tz}",
        "through": row["frames"],
        "caused by": row["cause"],
        "reported by": _BY_RESPONSE if row["status"] == ERROR_RESPONSE else None,
        "latest call": f"{row['call_id']} of {truncate(row['function']).text}",
    }
    texts = [(name, truncate(value, 200)) for name, value in facts.items() if not pd.isna(value)]
    return [("functions", _functions(row["functions"])), *texts]


def _functions(names: str) -> Cell:
    """Name the functions with the most of these failures, and count the others."""
    each = names.split(", ")
    more = f" and {len(each) - _MAX_NAMES} more" if len(each) > _MAX_NAMES else ""
    return Cell(", ".join(truncate(name).text for name in each[:_MAX_NAMES]) + more, title=truncate(names).title)


def _texts(calls: pd.DataFrame, groups: pd.DataFrame) -> dict[tuple[int, str], str]:
    """Collect the texts of the example calls: the trace, below the message if that is not part of it."""
    columns = ["call_id", "function", "error_message", "error_trace"]
    texts = {}
    for row in calls.loc[calls["call_id"].isin(groups["call_id"]), columns].to_dict("records"):
        message, trace = ("" if pd.isna(row[name]) else row[name] for name in ("error_message", "error_trace"))
        both = trace if message.strip() in trace else f"{message}\n\n{trace}"
        texts[row["call_id"], row["function"]] = both.strip()
    return texts


def _cut(text: str, row: dict[Any, Any], *, remaining: int, traces: bool) -> tuple[str, str, str]:
    """Cut a text: the excerpt, the whole if that is longer, and why one of them is missing."""
    if not text:
        return "", "", "The call left no message and no trace."
    if not traces or contains_secret(text):
        return "", "", f"{_SECRET if traces else _NOT_REQUESTED} Read it with project.call(..., {row['call_id']})."
    excerpt = "\n".join(text.splitlines()[-MAX_EXCERPT_LINES:])[-_MAX_EXCERPT:]
    if excerpt == text:
        return text, "", ""
    if len(text) > remaining:
        note = f"The text has {len(text):,} characters, too many for this page: project.call(..., {row['call_id']})."
        return f"…{excerpt}", "", note
    return f"…\n{excerpt}", text, ""
