"""An archive as it is at one moment: what reading it rests on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from callframe import frame, timespan
from callframe.api.catalogue import parse_statuses
from callframe.archive import ledger_report, queries, registry, schema
from callframe.archive.queries import Wanted
from callframe.completeness import Coverage
from callframe.errors import ArgumentError
from callframe.timespan import MAX_TIME_MS, TimeRange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from callframe.archive.coverage_ledger import CoverageLedger
    from callframe.archive.storage import Snapshot, Store
    from callframe.archive.transactions import Tables
    from callframe.timespan import TimeLike


class ArchiveSnapshot:
    """
    An archive as it is at one moment, of one project.

    Parameters
    ----------
    tables
        The archive.
    calls
        Its calls at some version.
    project
        Name of the project; None where there is only one.
    """

    def __init__(self, tables: Tables, calls: Snapshot, project: str | None) -> None:
        self.calls = calls
        self._tables = tables
        projects = projects_of(tables)
        if project is None and len(projects) > 1:
            raise ArgumentError(
                f"The archive {tables.uri} holds the projects {', '.join(projects)}; name one with project=."
            )
        if project is not None and project not in projects:
            raise ArgumentError(
                f"The archive {tables.uri} holds no project {project!r}; it has {', '.join(projects) or 'none yet'}."
            )
        self.project: str = project or (projects[0] if projects else "")
        self.functions = self._seen(tables.functions, ["function", "created_time"])
        self.lives = ledger_report.lives(self.functions)
        self.known: CoverageLedger = tables.known(self.project, calls)

    def schedules(self) -> pd.DataFrame:
        """List the schedules that were ever seen."""
        return self._seen(self._tables.schedules, ["function", "created_time", "schedule_id"])

    def _seen(self, store: Store, order: list[str]) -> pd.DataFrame:
        rows = rows_of(store)
        return registry.to_frame(rows.filter(pc.equal(rows["project"], self.project)), store.schema, order)

    def coverage(self, start: TimeLike | None, end: TimeLike | None) -> pd.DataFrame:
        """Tell stretch by stretch how much is known."""
        return ledger_report.of_time(self.known, self.lives, self.stretch(start, end))

    def stretch(self, start: TimeLike | None, end: TimeLike | None) -> TimeRange:
        """Take a window; without ends it is what is known."""
        seen = ledger_report.span(self.known) or TimeRange(0, 1)
        now_ms = int(time.time() * 1000)
        low = seen.start_ms if start is None else timespan.parse_time(start, name="start", now_ms=now_ms)
        high = max(seen.end_ms, low + 1) if end is None else timespan.parse_time(end, name="end", now_ms=now_ms)
        if low >= high:
            raise ArgumentError(
                f"start={start!r} is {timespan.iso(low)}, which is not before the end, {timespan.iso(high)}. The end is"
                " excluded; give a start before it."
            )
        return TimeRange(low, high)

    def wanted(
        self,
        start: TimeLike | None,
        end: TimeLike | None,
        functions: str | int | Sequence[str | int] | None,
        status: str | Sequence[str] | None,
        columns: Sequence[str] | None,
    ) -> Wanted:
        """Read what a user asked for."""
        asked = self.stretch(start, end)
        whole = TimeRange(0 if start is None else asked.start_ms, MAX_TIME_MS + 1 if end is None else asked.end_ms)
        ids = queries.function_ids(self.functions, functions)
        return Wanted(
            self.project,
            whole,
            ids,
            parse_statuses(status, self.statuses() if status is not None else ()),
            queries.columns(columns),
            self._labels_of(ids),
        )

    def _labels_of(self, function_ids: tuple[int, ...] | None) -> tuple[str, ...] | None:
        """Label functions, where those are all deployments of their labels."""
        if function_ids is None:
            return None
        labels = self.functions["function"]
        found = labels[self.functions["function_id"].isin(function_ids)].unique()
        of_these = self.functions["function_id"][labels.isin(found)]
        return tuple(found) if set(of_these) == set(function_ids) else None

    def statuses(self) -> list[str]:
        """List the statuses there are: those the API documents, and others from the few files that may hold some."""
        files = self.calls.files
        odd = files.filter(pc.fill_null(pc.less(files["least_final"], schema.FINISHED), fill_value=True))
        found = self.calls.read(odd["path"].to_pylist(), ["status"], where=pc.field("finality") == 1)
        return frame.status_categories(found["status"].cast("string").unique().to_pylist())

    def coverage_of(self, wanted: Wanted, counts: Mapping[int, int] | None) -> Coverage:
        """Make the coverage of calls that were read from the archive; `counts` are theirs by function id, if known."""
        seen = ledger_report.span(self.known) or TimeRange(0, 1)
        fetched_ms = ledger_report.fetched_ms(self.known)
        low = seen.start_ms if wanted.stretch.start_ms == 0 else wanted.stretch.start_ms
        window = TimeRange(low, max(low + 1, min(wanted.stretch.end_ms, fetched_ms)))
        lives = [one for one in self.lives if wanted.function_ids is None or one.function_id in wanted.function_ids]
        return Coverage(
            fetched_ms,
            tuple(ledger_report.of_functions(self.known, lives, window, counts or {})),
            self.project,
            window,
            tuple(wanted.statuses),
            archive={"path": self._tables.uri, "version": self.calls.version, "counted": counts is not None},
        )


def projects_of(tables: Tables) -> list[str]:
    """List the projects of an archive."""
    found: list[str] = sorted(rows_of(tables.functions)["project"].unique().to_pylist())
    return found


def rows_of(store: Store) -> Any:
    """Read all rows of a table, none where there is no table."""
    found = store.open()
    return store.schema.empty_table() if found is None else found.read().cast(store.schema)
