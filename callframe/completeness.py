"""What a call frame covers: when it was fetched, over which time range, and how completely for each function."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from callframe import timespan
from callframe.errors import IncompleteError, IncompleteWarning, RecordWarning, warn
from callframe.frame import KNOWN_STATUSES, check, deduplicate, text_column
from callframe.limits import RETENTION_MS
from callframe.timespan import NO_TIME, TimeRange, iso, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

KEY = "callframe"
"""The key of the coverage in the `attrs` of a frame."""

NO_COVERAGE = "the frame carries no coverage"
BEYOND_RETENTION = "the service keeps calls for 90 days"
"""How a reason begins that no fetch could avoid: what is older is gone for everyone."""
NO_RESPONSE = "no response was read"
"""How a reason begins that concerns the outcome of calls that the service calls Completed, but not which there are."""

_SHOWN = 5
_NOT_KNOWN = "completeness not known"
_COPY = (
    "CSV files, merge and concat lose the coverage. If this frame has all rows of another one, copy it back:"
    " merged.attrs = calls.attrs."
)


@dataclass(frozen=True)
class CallSet:
    """The rows of a frame, in any order: their number, the sum of hashes of their ids, and how many repeat a call."""

    count: int
    checksum: int
    repeated: int = 0

    @classmethod
    def of(cls, calls: pd.DataFrame) -> Self:
        """Identify the calls of a frame, in a few milliseconds for a million."""
        hashes = calls["call_id"].to_numpy().astype("uint64")
        hashes *= np.uint64(0x9E3779B97F4A7C15)  # a multiplicative hash, as in splitmix64
        hashes ^= hashes >> np.uint64(32)
        hashes *= np.uint64(0xD6E8FEB86659FD93)
        return cls(len(hashes), int(hashes.sum(dtype="uint64")))

    @classmethod
    def sum(cls, parts: Sequence[Self]) -> Self:
        """Identify the rows of several frames together."""
        checksum = sum(part.checksum for part in parts) % 2**64
        return cls(sum(part.count for part in parts), checksum, sum(part.repeated for part in parts))

    def to_json(self) -> list[Any]:
        """Convert to a list that JSON can hold; the checksum is text, since many readers round such a number."""
        return [self.count, f"{self.checksum:016x}", self.repeated]

    @classmethod
    def from_json(cls, content: Sequence[Any] | None) -> Self | None:
        """Convert back."""
        return cls(int(content[0]), int(content[1], 16), int(content[2])) if content else None


@dataclass(frozen=True)
class FunctionCoverage:
    """
    How completely the calls of one function were read.

    `reasons` say what could not be read (none: complete), `set_aside` counts invalid records by reason, `missing` are
    the time ranges that an archive does not hold.
    """

    function_id: int
    function: str
    reasons: tuple[str, ...] = ()
    calls: int = 0
    set_aside: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    created_ms: int | None = None
    missing: tuple[TimeRange, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """Convert to a dict that JSON can hold."""
        missing = {"missing_ms": [[part.start_ms, part.end_ms] for part in self.missing]} if self.missing else {}
        return {
            "function_id": self.function_id,
            "function": self.function,
            "complete": self.complete,
            "reason": "; ".join(self.reasons) or None,
            "calls": self.calls,
            "set_aside": sum(self.set_aside.values()),
            "set_aside_reasons": dict(self.set_aside),
            "set_aside_examples": list(self.examples),
            "created_ms": self.created_ms,
            **missing,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Convert back; an incomplete function without a reason stays incomplete."""
        reasons = tuple(row["reason"].split("; ")) if row.get("reason") else ()
        return cls(
            int(row["function_id"]),
            str(row["function"]),
            reasons or (() if row.get("complete", True) else ("for an unknown reason",)),
            int(row.get("calls") or 0),
            dict(row.get("set_aside_reasons") or {}),
            tuple(row.get("set_aside_examples") or ()),
            row.get("created_ms"),
            tuple(TimeRange(*part) for part in row.get("missing_ms") or ()),
        )


@dataclass(frozen=True)
class Coverage:
    """
    What a frame covers, as its `attrs` carry it; read and written here only.

    Without a `window` the calls were requested by their ids, `call_ids` of them. No `statuses` and no `schedule_ids`
    means all. `archive` tells where the calls were read from, if not from the service. `described` are the calls that
    were read; `other_rows` says what a frame has instead, None if it has exactly these.
    """

    fetched_ms: int
    functions: tuple[FunctionCoverage, ...] = ()
    project: str | None = None
    window: TimeRange | None = None
    statuses: tuple[str, ...] = ()
    schedule_ids: tuple[int, ...] = ()
    call_ids: int = 0
    archive: Mapping[str, Any] | None = None
    described: CallSet | None = None
    other_rows: CallSet | None = None
    clock_skew_ms: int | None = None
    """How far the local clock was ahead of the service's, None if its responses have no date."""

    @classmethod
    def of(cls, table: pd.DataFrame) -> Coverage | None:
        """
        Read the coverage of a frame, and compare it with its rows; None if it carries none that is valid.

        A table of measures is not compared: what its calls were is in its coverage.
        """
        coverage = cls.from_json(table.attrs.get(KEY))
        if coverage is None or not _has_calls(table):
            return coverage
        found = CallSet.of(table)
        if found == coverage.described:
            return replace(coverage, other_rows=None)
        return replace(coverage, other_rows=replace(found, repeated=count_repeated(table)))

    @classmethod
    def from_json(cls, content: Any) -> Coverage | None:
        """Read a coverage from what JSON holds, None if it is not one."""
        try:
            window = content.get("window")
            return cls(
                _parse(content["fetched_at"]),
                tuple(FunctionCoverage.from_json(row) for row in content.get("functions") or ()),
                content.get("project"),
                TimeRange(_parse(window["start"]), _parse(window["end"])) if window else None,
                tuple(content.get("status") or ()),
                tuple(content.get("schedule_ids") or ()),
                int(content.get("call_ids") or 0),
                content.get("archive"),
                CallSet.from_json(content.get("describes")),
                CallSet.from_json(content.get("other_rows")),
                content.get("clock_skew_ms"),
            )
        except (AttributeError, LookupError, TypeError, ValueError):
            return None

    @classmethod
    def merge(cls, sources: Sequence[Coverage | None]) -> Coverage | None:
        """Join the coverage of tables of measures that are added together, None if it is not the same for all."""
        requests = [source and replace(source, other_rows=None) for source in sources] or [None]
        request = requests[0] if all(one == requests[0] for one in requests) else None
        if request is None or request.described is None:
            return request
        rows = CallSet.sum([source.other_rows or request.described for source in sources if source])
        return replace(request, other_rows=None if rows == request.described else rows)

    def to_json(self) -> dict[str, Any]:
        """Convert to a dict that JSON can hold."""
        content = self._request() | {"functions": [function.to_json() for function in self.functions]}
        content |= {} if self.described is None else {"describes": self.described.to_json()}
        return content | ({} if self.other_rows is None else {"other_rows": self.other_rows.to_json()})

    def _request(self) -> dict[str, Any]:
        content: dict[str, Any] = {"version": 1, "project": self.project, "fetched_at": iso(self.fetched_ms)}
        content |= {"clock_skew_ms": self.clock_skew_ms}
        if self.window is None:
            content |= {"call_ids": self.call_ids}
        else:
            content |= {"window": {"start": iso(self.window.start_ms), "end": iso(self.window.end_ms)}}
            content |= {"status": list(self.statuses), "schedule_ids": list(self.schedule_ids)}
        return content | ({} if self.archive is None else {"archive": dict(self.archive)})

    def attach(self, table: pd.DataFrame) -> None:
        """Write the coverage into the `attrs` of a frame."""
        table.attrs[KEY] = self.to_json()

    @property
    def complete(self) -> bool | None:
        """Whether everything that was requested was read; None if it was, but the frame has other rows."""
        if not all(function.complete for function in self.functions):
            return False
        return None if self.other_rows else True

    @property
    def text(self) -> str:
        """What a person is told about completeness."""
        words = {True: "complete", False: "INCOMPLETE", None: "" if self.described else _NOT_KNOWN}
        return ", ".join(filter(None, [self.selection, words[self.complete]]))

    @property
    def selection(self) -> str:
        """What the rows of the frame are, if they are not the calls that were read."""
        if self.other_rows is None:
            return ""
        repeated, count = self.other_rows.repeated, self.described.count if self.described else 0
        distinct = self.other_rows.count - repeated
        parts = [format_repeated(repeated)] if repeated else []
        if distinct < count:
            parts.insert(0, f"selected from {count:,} calls")
        elif self.described and (distinct > count or not parts):
            parts.insert(0, f"not the {count:,} calls that were read")
        return ", ".join(parts)

    @property
    def set_aside(self) -> int:
        """The number of invalid records that were set aside."""
        return sum(sum(function.set_aside.values()) for function in self.functions)

    @property
    def by_id(self) -> dict[int, FunctionCoverage]:
        """The functions by their ids."""
        return {function.function_id: function for function in self.functions}

    @property
    def covered(self) -> TimeRange | None:
        """The range of start times of which calls can be in the frame, None if they were requested by ids."""
        if self.window is None:
            return None
        start_ms = self.window.start_ms
        if self.archive is None:
            start_ms = max(start_ms, self.fetched_ms - RETENTION_MS)
        return TimeRange(start_ms, max(start_ms, min(self.window.end_ms, self.fetched_ms)))

    @property
    def restriction(self) -> str | None:
        """Why calls of any function may be missing, None if nothing restricts them."""
        if self.window is None:
            return "the calls were requested by ids"
        if self.statuses:
            return f"only calls with the status {', '.join(self.statuses)} were requested"
        return None

    def missing_calls(self, calls: pd.DataFrame) -> dict[int, str]:
        """Find the functions of which calls are missing from a frame, and why: by function id."""
        return self.removed_calls(calls) | {
            function_id: f"its function was not read completely: {'; '.join(function.reasons)}"
            for function_id, function in self.by_id.items()
            if not all(reason.startswith((BEYOND_RETENTION, NO_RESPONSE)) for reason in function.reasons)
        }

    def removed_calls(self, calls: pd.DataFrame) -> dict[int, str]:
        """Find the functions of which not all calls that were read are in a frame: by function id, in words."""
        if self.other_rows is None:
            return {}
        if self.described is None:
            return dict.fromkeys(self.by_id, "which calls were read is not recorded")
        counts = deduplicate(calls)["function_id"].value_counts().to_dict()
        return {
            function_id: f"the frame has only {counts.get(function_id, 0):,} of the {function.calls:,} calls of its"
            " function"
            for function_id, function in self.by_id.items()
            if counts.get(function_id, 0) < function.calls
        }

    def with_reasons(self, beginning: str, reasons: Mapping[int, str]) -> Coverage:
        """Replace the reasons with a beginning by new ones, by function id."""
        functions = []
        for one in self.functions:
            kept = [reason for reason in one.reasons if not reason.startswith(beginning)]
            kept += [reasons[one.function_id]] if one.function_id in reasons else []
            functions.append(replace(one, reasons=tuple(kept)))
        return replace(self, functions=tuple(functions))

    def select(
        self,
        calls: pd.DataFrame,
        *,
        functions: Sequence[str] = (),
        statuses: Sequence[str] = (),
        schedule_ids: Sequence[int] = (),
        start: str | None = None,
        end: str | None = None,
    ) -> Coverage:
        """Restrict the coverage to a selection, which holds `calls`; rows that were missing before stay missing."""
        kept, described = [one for one in self.functions if not functions or one.function in functions], self.described
        if self.other_rows is None:
            counts, described = calls["function_id"].value_counts().to_dict(), CallSet.of(calls)
            kept = [replace(one, calls=int(counts.get(one.function_id, 0))) for one in kept]
        if self.window is None:
            return replace(self, functions=tuple(kept), described=described)
        start_ms = max(self.window.start_ms, _parse(start) if start else NO_TIME)
        end_ms = min(self.window.end_ms, _parse(end) if end else self.window.end_ms)
        return replace(
            self,
            functions=tuple(kept),
            described=described,
            window=TimeRange(start_ms, max(start_ms, end_ms)),
            statuses=_intersect(self.statuses, statuses),
            schedule_ids=_intersect(self.schedule_ids, schedule_ids),
        )


@dataclass(frozen=True)
class FetchRequest:
    """What a fetch was asked for: a window with filters, or ids of calls."""

    now_ms: int
    window: TimeRange | None = None
    statuses: Sequence[str] = ()
    schedule_ids: Sequence[int] = ()
    call_ids: Sequence[int] = ()
    clock_skew_ms: int | None = None

    def coverage(self, functions: Sequence[FunctionCoverage], calls: pd.DataFrame, project: str) -> Coverage:
        """Make the coverage of a fetch, with what no single request can notice: unknown ids, and retention."""
        functions = self._with_unknown_ids(self._with_retention(functions, calls), calls)
        return Coverage(
            self.now_ms,
            tuple(functions),
            project,
            self.window,
            tuple(self.statuses),
            tuple(self.schedule_ids),
            len(self.call_ids),
            described=CallSet.of(calls),
            clock_skew_ms=self.clock_skew_ms,
        )

    def _with_unknown_ids(self, functions: Sequence[FunctionCoverage], calls: pd.DataFrame) -> list[FunctionCoverage]:
        unknown = sorted(set(self.call_ids).difference(calls["call_id"].tolist())) if self.call_ids else []
        if not unknown:
            return list(functions)
        examples = ", ".join(map(str, unknown[:_SHOWN])) + (" ..." if len(unknown) > _SHOWN else "")
        reason = f"{len(unknown)} of {len(self.call_ids)} ids were not found: {examples}"
        return [replace(one, reasons=(*one.reasons, reason)) for one in functions]

    def _with_retention(self, functions: Sequence[FunctionCoverage], calls: pd.DataFrame) -> list[FunctionCoverage]:
        edge_ms = max(0, self.now_ms - RETENTION_MS)
        edge = timespan.timestamp(edge_ms)
        if self.window is None or self.window.start_ms >= edge_ms or (calls["start_time"] < edge).any():
            return list(functions)
        reason = f"{BEYOND_RETENTION}: none are left from before {edge:%Y-%m-%d %H:%M} UTC"
        return [
            replace(one, reasons=(*one.reasons, reason))
            if one.created_ms is None or one.created_ms < self.now_ms - RETENTION_MS
            else one
            for one in functions
        ]


def coverage(calls: pd.DataFrame) -> pd.DataFrame:
    """
    Show what a call frame covers, one row per function.

    Parameters
    ----------
    calls
        Call frame, or a frame of responses or logs.

    Returns
    -------
    coverage
        `function_id` int64, `function` str, `complete` boolean (missing where the frame carries no coverage, or has not
        all the calls that were read), `reason` str (missing where complete), `calls` int64 that were read, `set_aside`
        int64 invalid records, and `set_aside_reason` str. Its `attrs` hold project, `fetched_at`,
        `clock_skew_ms` (how far the local clock was ahead of the service's) and the window.

    Raises
    ------
    FrameError
        `calls` carries no coverage and is not a call frame.
    """
    known = Coverage.of(calls)
    if known is None:
        check(calls)
    functions = _uncovered(calls) if known is None else known.functions
    removed = dict.fromkeys(calls["function_id"], NO_COVERAGE) if known is None else known.removed_calls(calls)
    lacking = [removed.get(one.function_id) for one in functions]
    reasons = [
        "; ".join([*one.reasons, *filter(None, [why])]) or None for one, why in zip(functions, lacking, strict=True)
    ]
    set_aside = ["; ".join(f"{count} x {reason}" for reason, count in one.set_aside.items()) for one in functions]
    complete = [pd.NA if why and one.complete else one.complete for one, why in zip(functions, lacking, strict=True)]
    table = pd.DataFrame(
        {
            "function_id": pd.Series([one.function_id for one in functions], dtype="int64"),
            "function": text_column([one.function for one in functions]),
            "complete": pd.Series(complete, dtype="boolean"),
            "reason": text_column(reasons),
            "calls": pd.Series([one.calls for one in functions], dtype="int64"),
            "set_aside": pd.Series([sum(one.set_aside.values()) for one in functions], dtype="int64"),
            "set_aside_reason": text_column([words or None for words in set_aside]),
        }
    )
    if known is not None:
        table.attrs.update(known._request())  # noqa: SLF001 - its own class
    return table


def is_complete(calls: pd.DataFrame) -> bool | None:
    """
    Check whether everything that was requested was read, and is still in the frame.

    Parameters
    ----------
    calls
        Call frame, or a table of measures that kept its coverage.

    Returns
    -------
    complete
        False if something could not be read. None where that is not known: the frame carries no coverage, or its rows
        are not the calls that were read, such as after a filter.
    """
    known = Coverage.of(calls)
    return None if known is None else known.complete


def completeness_text(table: pd.DataFrame) -> str:
    """Say whether everything that was requested was read and is in a table; all that is shown to people says this."""
    if (known := Coverage.of(table)) is not None:
        return known.text
    repeated = count_repeated(table) if _has_calls(table) else 0
    return f"{_NOT_KNOWN}, {format_repeated(repeated)}" if repeated else _NOT_KNOWN


def format_repeated(repeated: int) -> str:
    """Say how many rows repeat a call."""
    return f"{repeated:,} row{' repeats' if repeated == 1 else 's repeat'} a call"


def count_repeated(calls: pd.DataFrame) -> int:
    """Count the rows whose call is in an earlier row too."""
    ordered = np.sort(calls["call_id"].to_numpy())
    return 0 if (ordered[1:] != ordered[:-1]).all() else len(calls) - len(deduplicate(calls))


def measured_attrs(calls: pd.DataFrame) -> dict[Hashable | None, Any]:
    """Copy the `attrs` of calls for a table of measures, of which no rows could tell that calls were removed."""
    known = Coverage.of(calls)
    return {**calls.attrs} if known is None else {**calls.attrs, KEY: known.to_json()}


def warn_about_repeated(calls: pd.DataFrame) -> None:
    """Warn where rows are counted and some repeat a call, as after `pd.concat` of frames that overlap."""
    known = Coverage.of(calls)
    other = None if known is None else known.other_rows
    if repeated := count_repeated(calls) if known is None else other and other.repeated:
        warn(
            f"{format_repeated(repeated)}, of {len(calls):,}, and each row counts. Drop them:"
            " calls.drop_duplicates(['function_id', 'call_id'], keep='last').",
            UserWarning,
        )


def warn_about_removed(calls: pd.DataFrame, what: str) -> None:
    """Warn where a frame cannot tell something any more, because rows or the coverage were removed after the fetch."""
    if (known := Coverage.of(calls)) is None:
        warn(f"{what} are unknown: {NO_COVERAGE}. {_COPY}", UserWarning)
    elif removed := known.removed_calls(calls):
        first = next(iter(removed))
        warn(
            f"{what} of {len(removed):,} of {len(known.functions):,} functions are unknown."
            f" {known.by_id[first].function}: {removed[first]}. Pass the whole frame, and select from the result.",
            UserWarning,
        )


def observed_until_ms(calls: pd.DataFrame) -> int:
    """Find until when a frame observed its calls: when it was fetched, else its latest time; 0 if it has none."""
    known = Coverage.of(calls)
    if known is not None:
        return known.fetched_ms
    return max(int(to_milliseconds(calls[name]).max(initial=0)) for name in ("start_time", "end_time"))


def report_incomplete(calls: pd.DataFrame, known: Coverage, *, strict: bool) -> None:
    """Warn, or raise if `strict`, about functions that were not read completely."""
    incomplete = [one for one in known.functions if not one.complete]
    if not incomplete:
        return
    lines = [f"  {one.function}: {'; '.join(one.reasons)}" for one in incomplete[:_SHOWN]]
    lines += [f"  and {len(incomplete) - _SHOWN} more"] if len(incomplete) > _SHOWN else []
    title = f"{len(incomplete)} of {len(known.functions)} functions could not be read completely;"
    message = "\n".join([f"{title} see callframe.coverage(calls):", *lines])
    if strict:
        raise IncompleteError(message, calls)
    warn(message, IncompleteWarning)


def warn_about_records(calls: pd.DataFrame, known: Coverage) -> None:
    """Warn about invalid records and about statuses that the API does not document."""
    count = known.set_aside
    if count:
        first = next(one for one in known.functions if one.set_aside)
        warn(
            f"{count} records violate the API's contract and were set aside, the first in {first.function}:"
            f" {first.examples[0]}. callframe.coverage(calls) counts them.",
            RecordWarning,
        )
    statuses = calls["status"].cat.categories if "status" in calls else ()
    unknown = [status for status in statuses if status not in KNOWN_STATUSES]
    if unknown:
        warn(f"Unknown status {', '.join(map(repr, unknown))}; it is kept as a category of its own.", RecordWarning)


def _has_calls(table: pd.DataFrame) -> bool:
    return str(table.dtypes.get("call_id")) == "int64"


def _uncovered(calls: pd.DataFrame) -> list[FunctionCoverage]:
    """List the functions of a frame that carries no coverage."""
    counts = Counter(zip(calls["function_id"], calls["function"], strict=True))
    return [FunctionCoverage(*key, calls=count) for key, count in sorted(counts.items())]


def _intersect(requested: tuple[Any, ...], chosen: Sequence[Any]) -> tuple[Any, ...]:
    """Combine two filters, where an empty one means all."""
    return tuple(one for one in requested if not chosen or one in chosen) if requested else tuple(chosen)


def _parse(time: str) -> int:
    return timespan.parse_time(time, name="time", now_ms=0)
