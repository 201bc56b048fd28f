"""Queries of an archive: their arguments, the files and rows they select, and the frames they return."""

from __future__ import annotations

import functools
import itertools
import operator
import time
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame, timespan
from callframe.api.catalogue import as_list, find_function_ids, find_schedule_ids, parse_call_ids, parse_statuses
from callframe.archive import coverage_ledger, registry, schema
from callframe.completeness import CallSet, Coverage, FetchRequest, FunctionCoverage
from callframe.errors import ArgumentError, CallframeError
from callframe.timespan import DAY_MS, MAX_TIME_MS, TimeRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from callframe.archive.storage import DeltaStore, TableSnapshot
    from callframe.archive.transactions import ArchiveTables
    from callframe.timespan import TimeLike

    Categories = Mapping[str, list[str]]

ALL_TIMES = TimeRange(0, MAX_TIME_MS + 1)

ROWS_PER_PARTITION = 250_000
"""Days are read together up to about this many rows; a day with more rows is not divided."""


@dataclass(frozen=True)
class Query:
    """
    A selection of calls: all statuses or schedules if none is given, all functions or calls if it is None.

    `labels` are those of the functions, None if not all deployments of these labels are selected.
    """

    project: str
    window: TimeRange = ALL_TIMES
    function_ids: tuple[int, ...] | None = None
    statuses: tuple[str, ...] = ()
    schedule_ids: tuple[int, ...] = ()
    call_ids: tuple[int, ...] | None = None
    columns: tuple[str, ...] = frame.COLUMNS
    labels: tuple[str, ...] | None = None

    def files(self, snapshot: TableSnapshot) -> pa.Table:
        """Select the files of the days, in order of time."""
        days = snapshot.files["day"].cast(pa.int32())
        first, last = self.window.start_ms // DAY_MS, (self.window.end_ms - 1) // DAY_MS
        return snapshot.files.filter(pc.and_(pc.greater_equal(days, first), pc.less_equal(days, last)))

    def condition(self) -> Any:
        """Return the condition on rows."""
        low, high = (pa.scalar(time_ms * 1000, schema.TIME) for time_ms in (self.window.start_ms, self.window.end_ms))
        start_time = pc.field("start_time")
        condition = (start_time >= low) & (start_time < high) & (pc.field("project") == self.project)
        ids = {"function_id": self.function_ids, "schedule_id": self.schedule_ids or None, "call_id": self.call_ids}
        for name, values in ids.items():
            if values is not None:
                condition &= pc.field(name).isin(pa.array(values, pa.int64()))
        if self.statuses:
            condition &= pc.field("status").cast(pa.string()).isin(pa.array(self.statuses))
        return condition


def read_calls(
    store: DeltaStore,
    paths: Sequence[str],
    query: Query,
    *,
    categories: Categories | None = None,
    condition: Any = True,
) -> pd.DataFrame:
    """Read the calls of a query from files in order of time, as a sorted call frame."""
    columns = [*map(schema.stored_name, query.columns), *schema.SORTED_BY]
    rows = store.read(paths, list(dict.fromkeys(columns)), condition=query.condition() & condition)
    return schema.to_frame(schema.sort_rows(rows), query.columns, categories=categories)


class ArchiveSnapshot:
    """A project in an archive at a version of the calls; the project can be None if there is only one."""

    def __init__(self, tables: ArchiveTables, calls: TableSnapshot, project: str | None) -> None:
        projects = list_projects(tables)
        if project is None and len(projects) > 1:
            raise ArgumentError(
                f"The archive {tables.uri} contains the projects {', '.join(projects)}; choose one with project=."
            )
        if project is not None and project not in projects:
            raise ArgumentError(
                f"The archive {tables.uri} does not contain the project {project!r}; it contains"
                f" {', '.join(projects) or 'none yet'}."
            )
        self.calls = calls
        self.project: str = project or (projects[0] if projects else "")
        self._tables = tables
        self.functions = self._registry(tables.functions, ["function", "created_time"])
        self.ledger = tables.ledger(self.project, calls)
        self._lifetimes = coverage_ledger.lifetimes(self.functions)

    def schedules(self) -> pd.DataFrame:
        """List the schedules."""
        return self._registry(self._tables.schedules, ["function", "created_time", "schedule_id"])

    def statuses(self) -> list[str]:
        """List the documented statuses, and others that occur, from the few files that may contain unknown ones."""
        is_unknown = pc.field("finality") == 1
        rows = self.calls.store.read(unfinished_paths(self.calls.files), ["status"], condition=is_unknown)
        statuses: list[str] = rows["status"].cast("string").unique().to_pylist()
        if (pc.max(self.calls.files["max_finality"]).as_py() or 0) > schema.FINISHED:
            statuses.append(frame.ERROR_RESPONSE)
        return frame.status_categories(statuses)

    def registry_rows(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Read the functions and the schedules as they are stored."""
        functions, schedules = (
            [row for row in store.read_all().to_pylist() if row["project"] == self.project]
            for store in (self._tables.functions, self._tables.schedules)
        )
        return functions, schedules

    def categories(self) -> dict[str, list[str]]:
        """List the labels and statuses, which are the same for parts that are read one by one."""
        return {"function": sorted(set(self.functions["function"])), "status": self.statuses()}

    def coverage_periods(self, start: TimeLike | None, end: TimeLike | None) -> pd.DataFrame:
        """Make the frame of `Archive.coverage`."""
        return coverage_ledger.coverage_by_time(self.ledger, self._lifetimes, self._time_range(start, end))

    def query(
        self,
        functions: Iterable[str | int] = (),
        *,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        status: str | Sequence[str] | None = None,
        schedule: str | int | Sequence[str | int] | None = None,
        call_ids: Iterable[int] | None = None,
        columns: Sequence[str] | None = None,
    ) -> Query:
        """Parse the arguments of a user."""
        ids = parse_call_ids(call_ids, start=start, end=end, status=status, schedule=schedule)
        window = self._time_range(start, end)
        function_ids = self._function_ids(functions)
        schedule_ids, function_ids = self._schedule_ids(schedule, function_ids)
        return Query(
            self.project,
            TimeRange(0 if start is None else window.start_ms, ALL_TIMES.end_ms if end is None else window.end_ms),
            function_ids,
            () if status is None else parse_statuses(status, self.statuses()),
            schedule_ids,
            None if ids is None else tuple(ids),
            _parse_columns(columns),
            self._complete_labels(function_ids),
        )

    def read(self, query: Query) -> pd.DataFrame:
        """Read calls into memory."""
        calls = read_calls(self.calls.store, query.files(self.calls)["path"].to_pylist(), query)
        counts: Any = calls["function_id"].value_counts().to_dict() if "function_id" in calls else {}
        described = CallSet.of(calls) if "call_id" in calls else None
        replace(self.coverage(query, counts), described=described).attach(calls)
        return calls

    def read_dask(self, query: Query) -> Any:
        """Read calls as a Dask DataFrame, with the same categories in all partitions."""
        try:
            import dask  # noqa: PLC0415 - an extra, and slow to import
            import dask.dataframe as dd  # noqa: PLC0415
        except ImportError as error:
            raise CallframeError("Dask is not installed: pip install 'callframe[archive,scale]'") from error
        from callframe.archive.daily_rollup import read_rollup  # noqa: PLC0415 - it imports this module

        categories = self.categories()
        read = functools.partial(
            _read_partition,  # contains no open table, so that it can be sent to workers
            store=self.calls.store,
            query=query,
            categories=categories,
            coverage=self.coverage(query),
        )
        paths = partitions(query.files(self.calls))
        meta = read(())
        with dask.config.set({"dataframe.convert-string": False}):  # the text of a call frame is Arrow's already
            calls: Any = dd.from_map(read, paths or [()], meta=meta, label="callframe-archive", enforce_metadata=False)
        calls.attrs = dict(meta.attrs)
        if query == replace(query, statuses=(), schedule_ids=(), call_ids=None):
            calls.read_rollup = functools.partial(read_rollup, self._tables, self.calls, query)
        return calls

    def coverage(self, query: Query, counts: Mapping[int, int] = MappingProxyType({})) -> Coverage:
        """Make the coverage of a query; `counts` are its calls by function id, if known."""
        functions = self._lifetimes
        if query.function_ids is not None:
            functions = [function for function in functions if function.function_id in query.function_ids]
        archive = {"path": self._tables.uri, "version": self.calls.version}
        fetched_ms = self.ledger.last_read_ms
        if query.call_ids is not None:
            rows = []
            for function in functions:
                count = counts.get(function.function_id, 0)
                created_ms = function.start_ms
                rows.append(FunctionCoverage(function.function_id, function.function, (), count, created_ms=created_ms))
            stored = read_calls(self.calls.store, self.calls.paths(), replace(query, columns=("call_id",)))
            request = FetchRequest(fetched_ms, call_ids=query.call_ids)
            return replace(request.coverage(rows, stored, self.project), archive=archive)
        extent = self.ledger.extent or TimeRange(0, 1)
        start_ms = extent.start_ms if query.window.start_ms == 0 else query.window.start_ms
        window = TimeRange(start_ms, max(start_ms + 1, min(query.window.end_ms, fetched_ms)))
        rows = coverage_ledger.function_coverage(self.ledger, functions, window, counts)
        filters = (query.statuses, query.schedule_ids)
        return Coverage(fetched_ms, tuple(rows), self.project, window, *filters, archive=archive)

    def _registry(self, store: DeltaStore, order: list[str]) -> pd.DataFrame:
        rows = store.read_all()
        return registry.to_frame(rows.filter(pc.equal(rows["project"], self.project)), order)

    def _time_range(self, start: TimeLike | None, end: TimeLike | None) -> TimeRange:
        """Parse a time range, by default the extent of the ledger."""
        extent = self.ledger.extent or TimeRange(0, 1)
        now_ms = int(time.time() * 1000)
        start_ms = extent.start_ms if start is None else timespan.parse_time(start, name="start", now_ms=now_ms)
        end_ms = max(extent.end_ms, start_ms + 1)
        if end is not None:
            end_ms = timespan.parse_time(end, name="end", now_ms=now_ms)
        if start_ms >= end_ms:
            raise ArgumentError(
                f"start={start!r} is {timespan.iso(start_ms)}, which is not before the end, {timespan.iso(end_ms)}. The"
                " end is excluded; give an earlier start."
            )
        return TimeRange(start_ms, end_ms)

    def _function_ids(self, functions: Iterable[str | int]) -> tuple[int, ...] | None:
        """Find function ids by id or name, all deployments of a function; None means all functions."""
        by_id = self.functions.set_index("function_id")
        names = [by_id[column].to_dict() for column in ("function", "external_id", "name")]
        hint = f"The archive has {len(self.functions)} functions; archive.functions() lists them."
        ids = [function_id for value in functions for function_id in find_function_ids(value, names, hint=hint)]
        return tuple(dict.fromkeys(ids)) or None

    def _schedule_ids(
        self, schedule: str | int | Sequence[str | int] | None, function_ids: tuple[int, ...] | None
    ) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """Find schedules by id or name, and restrict the function ids to their functions if these are known."""
        if schedule is None:
            return (), function_ids
        schedules = self.schedules().set_index("schedule_id")
        hint, names = "archive.schedules() lists them.", schedules["name"].to_dict()
        ids = [schedule_id for value in as_list(schedule) for schedule_id in find_schedule_ids(value, names, hint=hint)]
        labels = set(schedules["function"].reindex(ids))
        if ids and labels <= set(self.functions["function"]):
            selected = self.functions["function_id"][self.functions["function"].isin(labels)]
            function_ids = tuple(selected) if function_ids is None else tuple(set(selected).intersection(function_ids))
        return tuple(dict.fromkeys(ids)), function_ids

    def _complete_labels(self, function_ids: tuple[int, ...] | None) -> tuple[str, ...] | None:
        """Return the labels of functions if these are all of their deployments."""
        if function_ids is None:
            return None
        labels = self.functions["function"]
        selected = labels[self.functions["function_id"].isin(function_ids)].unique()
        deployments = self.functions["function_id"][labels.isin(selected)]
        return tuple(selected) if set(deployments) == set(function_ids) else None


def list_projects(tables: ArchiveTables) -> list[str]:
    """List the projects of an archive."""
    projects: list[str] = sorted(tables.functions.read_all()["project"].unique().to_pylist())
    return projects


def unfinished_paths(files: pa.Table) -> list[str]:
    """List the files that may contain calls which are not finished."""
    may_contain = pc.fill_null(pc.less(files["min_finality"], schema.FINISHED), fill_value=True)
    paths: list[str] = files.filter(may_contain)["path"].to_pylist()
    return paths


def partitions(files: pa.Table) -> list[tuple[str, ...]]:
    """Group the paths of files to partitions of whole days, in order of time."""
    groups: list[list[str]] = []
    size = 0
    rows = zip(*(files[name].to_pylist() for name in ("day", "path", "rows")), strict=True)
    for _, day in itertools.groupby(rows, key=operator.itemgetter(0)):
        _, paths, counts = zip(*day, strict=True)
        day_size = sum(filter(None, counts))
        if not groups or size + day_size > ROWS_PER_PARTITION:
            groups, size = [*groups, []], 0
        groups[-1] += paths
        size += day_size
    return [tuple(paths) for paths in groups]


def _read_partition(
    paths: Sequence[str],
    columns: Sequence[str] | None = None,  # those that Dask needs
    *,
    store: DeltaStore,
    query: Query,
    categories: Categories,
    coverage: Coverage,
) -> pd.DataFrame:
    query = query if columns is None else replace(query, columns=tuple(columns))
    calls = read_calls(store, paths, query, categories=categories)
    coverage.attach(calls)
    return calls


def _parse_columns(columns: Sequence[str] | None) -> tuple[str, ...]:
    known = (*frame.COLUMNS, *frame.RESPONSE_COLUMNS)
    names = list(frame.COLUMNS) if columns is None else as_list(columns)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ArgumentError(f"columns contains {unknown[0]!r}; a call frame has {', '.join(known)}.")
    return tuple(dict.fromkeys(names))
