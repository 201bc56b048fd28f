"""Calls that are added to an archive, exported from it, or removed for good."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame
from callframe.archive import queries, schema
from callframe.archive.coverage_ledger import CoverageLedger, subtract
from callframe.archive.reports import SyncReport
from callframe.completeness import BEYOND_RETENTION, NO_COVERAGE, NO_RESPONSE, CallSet, Coverage
from callframe.csv_parquet import READERS, suffix_of, to_table, write_csv_parts, write_parquet_parts
from callframe.errors import ArgumentError
from callframe.limits import RunLimit
from callframe.timespan import TimeRange, timestamp, to_milliseconds

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from callframe.archive.queries import ArchiveSnapshot, Query
    from callframe.archive.storage import TableSnapshot
    from callframe.archive.transactions import ArchiveTables

    Row = dict[str, Any]


class Addition(NamedTuple):
    """Calls of a project to add, in parts, and what is known about them; `problem` is why they are not complete."""

    project: str
    functions: list[Row]
    schedules: list[Row]
    calls: Iterable[pa.Table]
    coverage: CoverageLedger
    problem: str | None


def addition_of_calls(
    calls: pd.DataFrame | str | os.PathLike[str], project: str | None, projects: Sequence[str]
) -> Addition:
    """Prepare a call frame or a file; `projects` are those of the archive."""
    if isinstance(calls, str | os.PathLike):
        calls = READERS[_checked_suffix(calls)](calls)
    rows = schema.to_rows(calls, "")
    known = Coverage.of(calls)
    names = [project, known.project if known else None, *(projects if len(projects) == 1 else ())]
    name = next(filter(None, names), None)
    if name is None:
        raise ArgumentError("The calls do not say which project they are of; give its name, project=.")
    if names[1] not in {None, name}:
        raise ArgumentError(f"The calls are of the project {names[1]!r}, not of {name!r}.")
    ledger, problem = _coverage_of_calls(known)
    return Addition(name, _functions_of_calls(calls, known), [], [rows], ledger, problem)


def addition_of_archive(snapshot: ArchiveSnapshot) -> Addition:
    """Prepare a project of another archive."""
    is_own = pc.field("project") == snapshot.project
    parts = (
        schema.with_days(snapshot.calls.store.read(paths, condition=is_own))
        for paths in queries.partitions(snapshot.calls.files)
    )
    return Addition(snapshot.project, *snapshot.registry_rows(), parts, snapshot.ledger, None)


def add(tables: ArchiveTables, addition: Addition) -> SyncReport:
    """Add calls, and then their coverage."""
    labels = tables.add_to_registry(addition.project, addition.functions, addition.schedules)
    forgotten = tables.ledger(addition.project)
    report = SyncReport(addition.project, tables.uri, pd.Timestamp.now("UTC"))
    for part in addition.calls:
        given = part.take(pa.array(frame.final_records(part)))
        rows = _relabel(_without_forgotten(given, forgotten), addition.project, labels)
        report.read, report.steps = report.read + given.num_rows, report.steps + 1
        if dropped := given.num_rows - rows.num_rows:
            report.set_aside["they were forgotten"] = report.set_aside.get("they were forgotten", 0) + dropped
        if rows.num_rows:
            new, changed = tables.upsert(rows, _previous_days(tables.calls.open_or_create(), rows))
            report.new, report.changed = report.new + new, report.changed + changed
    tables.record_coverage(addition.project, addition.coverage)
    report.problems |= {"these calls": [addition.problem]} if addition.problem else {}
    report.version = tables.calls.open_or_create().version
    return report


def export(snapshot: ArchiveSnapshot, query: Query, path: str | os.PathLike[str], *, traces: bool) -> int:
    """Write calls to a file, a few days at a time, and return their number."""
    suffix = _checked_suffix(path)
    counts: Counter[int] = Counter()
    sets: list[CallSet] = []
    categories = snapshot.categories()

    def read_parts() -> Iterator[pa.Table]:
        for paths in queries.partitions(query.files(snapshot.calls)) or [()]:
            calls = queries.read_calls(snapshot.calls.store, paths, query, categories=categories)
            counts.update(calls["function_id"].tolist())
            sets.append(CallSet.of(calls))
            yield to_table(calls, traces=traces or suffix == ".parquet")

    def coverage() -> Coverage:
        return replace(snapshot.coverage(query, counts), described=CallSet.sum(sets))

    if suffix == ".parquet":
        write_parquet_parts(read_parts(), frame.arrow_schema(query.columns), path, coverage)
    else:
        write_csv_parts(read_parts(), path)
    return counts.total()


def forget(tables: ArchiveTables, snapshot: ArchiveSnapshot, query: Query, *, now_ms: int) -> pd.DataFrame:
    """Remove the calls of a query for good, and whole functions with all that is known about them."""
    is_whole = query.call_ids is None and query.window == queries.ALL_TIMES
    ids = query.function_ids or tuple(snapshot.functions["function_id"])
    calls = queries.read_calls(
        snapshot.calls.store,
        query.files(snapshot.calls)["path"].to_pylist(),
        replace(query, columns=("function_id", "function", "start_time")),
    )
    start_ms = to_milliseconds(calls["start_time"])
    changes = CoverageLedger()
    if query.call_ids is not None:
        for function_id, time_ms in zip(calls["function_id"], start_ms.tolist(), strict=True):
            changes.forget(function_id, TimeRange(time_ms, time_ms + 1), now_ms)
    else:
        extent = snapshot.ledger.extent
        until_ms = max(now_ms, extent.end_ms if extent else 0, int(start_ms.max(initial=0)) + 1)
        for function_id in ids:
            changes.forget(function_id, TimeRange(0, until_ms if is_whole else query.window.end_ms), now_ms)
    tables.record_coverage(query.project, changes)
    days = pa.array(calls["start_time"]).cast(pa.timestamp("ms")).cast(pa.date32())
    tables.remove(pa.table({schema.DAY: days}), query.condition())
    if is_whole:
        tables.remove_from_registry(query.project, set(ids))
    tables.purge()
    groups = calls.groupby("function", observed=True)["start_time"]
    removed = groups.agg(calls="size", first_start_time="min", last_start_time="max").reset_index()
    return removed.astype({"function": frame.TEXT, "calls": "int64"})


def _checked_suffix(path: str | os.PathLike[str]) -> str:
    if suffix := suffix_of(path):
        return suffix
    raise ArgumentError(f"{os.fspath(path)!r}: expected a name that ends in {', '.join(READERS)}.")


def _coverage_of_calls(known: Coverage | None) -> tuple[CoverageLedger, str | None]:
    """Record what a frame covers, if that is known of exactly its rows; else return why not."""
    ledger = CoverageLedger()
    if known is None:
        return ledger, NO_COVERAGE
    if known.other_rows is not None or known.described is None:
        return ledger, f"the coverage describes other rows: {known.selection or 'which is not recorded'}"
    covered = known.covered
    if covered is None or known.restriction or known.schedule_ids:
        return ledger, known.restriction or "only calls of some schedules were requested"
    end_ms = min(covered.end_ms, known.fetched_ms - RunLimit().longest_ms)  # later calls may not have been listed yet
    for one in known.functions:
        avoidable = [reason for reason in one.reasons if not reason.startswith((BEYOND_RETENTION, NO_RESPONSE))]
        if one.function_id <= 0 or covered.start_ms >= end_ms or (avoidable and not one.missing):
            continue
        missing = sorted((part.start_ms, part.end_ms) for part in one.missing)
        for start_ms, stop_ms in subtract((covered.start_ms, end_ms), missing):
            ledger.add_complete(one.function_id, TimeRange(start_ms, stop_ms), known.fetched_ms)
    return ledger, None if ledger.complete else "no function was read completely"


def _functions_of_calls(calls: pd.DataFrame, known: Coverage | None) -> list[Row]:
    """Make rows of the registry for functions of which little is known: neither name nor external id."""
    listed = {one.function_id: one for one in known.functions if one.function_id > 0} if known else {}
    labels = {key: one.function for key, one in listed.items()} | dict(
        calls[["function_id", "function"]].drop_duplicates().itertuples(index=False)
    )
    starts = calls.groupby("function_id")["start_time"]
    first, last = (times.to_dict() for times in (starts.min(), starts.max()))
    fetched = timestamp(known.fetched_ms if known else 0)
    rows: list[Row] = []
    for key, label in labels.items():
        created_ms = listed[key].created_ms if key in listed else None
        row = dict.fromkeys(schema.FUNCTIONS.names) | {"function_id": int(key), "function": str(label)}
        row["created_time"] = None if created_ms is None else timestamp(created_ms).to_pydatetime()
        row["first_seen_time"] = first.get(key, fetched).to_pydatetime()
        row["last_seen_time"] = last.get(key, fetched).to_pydatetime()
        rows.append(row)
    return rows


def _relabel(rows: pa.Table, project: str, labels: Mapping[int, str]) -> pa.Table:
    """Give functions the labels that they have in the archive."""
    ids = rows["function_id"].combine_chunks().dictionary_encode()
    names = pa.array([labels[function_id] for function_id in ids.dictionary.to_pylist()], pa.string())
    columns = {"function": names.take(ids.indices), "project": pa.array([project] * rows.num_rows, pa.string())}
    return pa.table({name: columns.get(name, rows[name]) for name in rows.column_names}, schema=schema.CALLS)


def _without_forgotten(rows: pa.Table, ledger: CoverageLedger) -> pa.Table:
    start_ms, function_id = rows["start_time"].cast(pa.int64()).to_numpy() // 1000, rows["function_id"].to_numpy()
    kept = np.ones(rows.num_rows, dtype=bool)
    for key, parts in ledger.forgotten.items():
        is_of_function = function_id == key
        for part in parts if is_of_function.any() else ():
            kept &= ~(is_of_function & (start_ms >= part.start_ms) & (start_ms < part.end_ms))
    return rows if kept.all() else rows.filter(pa.array(kept))


def _previous_days(calls: TableSnapshot, rows: pa.Table) -> dict[tuple[int, int], dt.date]:
    """Find the calls whose stored record is on another day."""
    keys = ["function_id", "call_id"]
    is_given = pc.field("call_id").isin(rows["call_id"].combine_chunks())
    is_own = pc.field("project") == rows["project"][0].as_py()
    stored = calls.store.read(calls.paths(), [*keys, "start_time"], condition=is_own & is_given)
    days = stored.append_column("day", stored["start_time"].cast(pa.date32())).select([*keys, "day"])
    both = rows.select([*keys, schema.DAY]).join(days, keys, join_type="inner")
    moved = both.filter(pc.not_equal(both[schema.DAY], both["day"])).to_pylist()
    return {(row["function_id"], row["call_id"]): row["day"] for row in moved}
