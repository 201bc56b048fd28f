"""
Rollup of an archive: each day is counted once and stored, until its files change.

Running calls are not stored, because how long they have run so far changes with every read.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame
from callframe.analysis.rollup import MEASURES, NEEDED, count_calls, merge_rollups, rollup
from callframe.archive.queries import Query, partitions, read_calls, unfinished_paths
from callframe.archive.schema import DAY, ROLLUP, TIME, on_days
from callframe.archive.storage import ConflictError, TableSnapshot
from callframe.errors import FileError
from callframe.timespan import DAY_MS, floor_ms, from_epoch_ms, iso, parse_duration, to_milliseconds

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from callframe.archive.transactions import ArchiveTables

    Sources = Mapping[dt.date, str]


def read_rollup(
    tables: ArchiveTables, calls: TableSnapshot, query: Query, freq: str, *, fetched_ms: int
) -> pd.DataFrame:
    """
    Roll up the calls of a query, from stored days if possible.

    `fetched_ms` is the time until which running calls have run. Stored days cannot be used for bins shorter than days,
    or for only some deployments of a function.
    """
    width_ms = parse_duration(freq, name="freq", at_least_ms=1)
    files = query.files(calls)
    day = files["day"].cast(pa.int32())
    low, high = -(-query.window.start_ms // DAY_MS), query.window.end_ms // DAY_MS  # of the days inside the window
    is_stored = pc.and_(pc.greater_equal(day, low), pc.less(day, high))
    if width_ms % DAY_MS or (query.function_ids is not None and query.labels is None):
        is_stored = pc.and_(is_stored, pa.scalar(value=False))
    is_stored = pc.and_(is_stored, _is_settled(files, fetched_ms))
    sources = _sources(files.filter(is_stored))
    stored = refresh(tables, calls, query.project, sources) if sources else ROLLUP.empty_table()
    others = partitions(files.filter(pc.invert(is_stored)))
    parts = [_count_ended(tables, paths, query, width_ms) for paths in others]
    running = read_calls(tables.calls, unfinished_paths(files), query, condition=pc.field("finality") == 0)
    return merge_rollups(
        [_to_rollup(stored, query, width_ms), *parts, rollup(running, freq, fetched_at=iso(fetched_ms))]
    )


def refresh(tables: ArchiveTables, calls: TableSnapshot, project: str, sources: Sources) -> pa.Table:
    """Count the days whose files have changed, store them if possible, and return the rows of all these days."""
    snapshot, stored = None, ROLLUP.empty_table()
    with contextlib.suppress(FileError):
        snapshot = tables.rollup.open_or_create()
        stored = snapshot.read({day.replace(day=1) for day in sources})  # text is encoded, which is fast to filter
    current = stored
    if stored.num_rows:
        is_current = _is_in(stored["source"], sources.values())
        current = stored.filter(pc.and_(_is_in(stored["project"], [project]), is_current))
    missing = {day: sources[day] for day in sources.keys() - _days(current)}
    if not missing:
        return current
    counted = pa.concat_tables(_count(tables, calls, project, missing))
    if snapshot is not None:
        with contextlib.suppress(ConflictError, FileError):  # it will be counted again when it is read
            _store(snapshot, _decode(stored), counted, project)
    return pa.concat_tables([_decode(current), counted])


def sources_of(calls: TableSnapshot, *, until_ms: int) -> dict[dt.date, str]:
    """Name the files of the days that no longer change every hour, and are worth storing."""
    return _sources(calls.files.filter(_is_settled(calls.files, until_ms)))


def _is_settled(files: pa.Table, now_ms: int) -> pa.Array:
    return pc.less(files["day"].cast(pa.int32()), now_ms // DAY_MS - 1)


def _sources(files: pa.Table) -> dict[dt.date, str]:
    names: dict[dt.date, list[str]] = {}
    for day, path in zip(files["day"].to_pylist(), files["path"].to_pylist(), strict=True):
        names.setdefault(day, []).append(path.rpartition("/")[2])
    return {day: " ".join(sorted(files_of_day)) for day, files_of_day in names.items()}


def _store(snapshot: TableSnapshot, stored: pa.Table, counted: pa.Table, project: str) -> None:
    """Replace days of a project."""
    on_counted_days = on_days(stored["start_time"].cast(pa.date32()), _days(counted))
    outdated = pc.and_(pc.equal(stored["project"], project), on_counted_days)
    rows = pa.concat_tables([stored.filter(pc.invert(outdated)), counted])
    months = set(counted[DAY].unique().to_pylist())
    snapshot.replace(rows.filter(on_days(rows[DAY], months)), months)


def _count(tables: ArchiveTables, calls: TableSnapshot, project: str, sources: Sources) -> Iterator[pa.Table]:
    """Count days, some at a time; each day also gets a row with the count 0, which marks it as counted."""
    for paths in partitions(calls.files.filter(on_days(calls.files["day"], sources))):
        table = _count_ended(tables, paths, Query(project), DAY_MS)
        start_time = pa.chunked_array([pa.array(table["start_time"])]).cast(TIME)
        text = {name: pa.array(table[name].astype("object"), pa.string()) for name in ("function", "status", "measure")}
        bucket_ms = pa.array(table["bucket"], from_pandas=True).cast(pa.duration("ms")).cast(pa.int64())
        counts = {"bucket_ms": bucket_ms, "count": pa.array(table["count"], pa.int64())}
        yield _to_rows(project, sources, start_time.cast(pa.date32()).combine_chunks(), {**text, **counts})
    days = pa.array(sorted(sources), pa.date32())
    yield _to_rows(project, sources, days, {"count": pa.array([0] * len(sources), pa.int64())})


def _count_ended(tables: ArchiveTables, paths: Sequence[str], query: Query, width_ms: int) -> pd.DataFrame:
    """Count the calls of files that do not run any more."""
    ended = pc.field("finality") > 0
    return count_calls(read_calls(tables.calls, paths, replace(query, columns=NEEDED), condition=ended), width_ms, None)


def _to_rows(project: str, sources: Sources, days: pa.Array, columns: Mapping[str, Any]) -> pa.Table:
    """Make rows of the schema `ROLLUP`; columns that are not given are null."""
    columns = {
        "project": pa.repeat(project, len(days)),
        "source": pa.array(sources.values(), pa.string()).take(pc.index_in(days, pa.array(sources, pa.date32()))),
        "start_time": days.cast(TIME),
        DAY: pc.floor_temporal(days, unit="month").cast(pa.date32()),
        **columns,
    }
    return pa.table([columns.get(field.name, pa.nulls(len(days), field.type)) for field in ROLLUP], schema=ROLLUP)


def _decode(rows: pa.Table) -> pa.Table:
    """Convert rows of files to the schema `ROLLUP`: decode text and add the month."""
    if DAY in rows.column_names:
        return rows
    month = pc.floor_temporal(rows["start_time"], unit="month").cast(pa.date32())
    return rows.append_column(DAY, month).cast(ROLLUP)


def _to_rollup(rows: pa.Table, query: Query, width_ms: int) -> pd.DataFrame:
    """Convert stored rows to a rollup."""
    rows = rows.filter(pc.greater(rows["count"], 0))
    start = frame.from_arrow(pa.table({"start_time": rows["start_time"].cast(pa.timestamp("ms", "UTC"))}))["start_time"]
    table = pd.DataFrame(
        {
            "function": _encode(rows["function"]).to_pandas(),
            "start_time": from_epoch_ms(floor_ms(to_milliseconds(start), width_ms)),
            "status": _encode(rows["status"]).to_pandas(),
            "measure": pd.Categorical(_encode(rows["measure"]).to_pandas(), categories=list(MEASURES)),
            "bucket": rows["bucket_ms"].cast(pa.duration("ms")).to_numpy(),
            "count": rows["count"].to_numpy(),
        }
    )
    return table if query.labels is None else table[table["function"].isin(query.labels)]


def _encode(text: pa.ChunkedArray) -> pa.ChunkedArray:
    return text.unify_dictionaries() if pa.types.is_dictionary(text.type) else text.dictionary_encode()


def _is_in(text: pa.ChunkedArray, values: Iterable[str]) -> pa.Array:
    """Return a mask of the values that are among some; only those of the dictionary are compared."""
    encoded = pa.chunked_array([text.unify_dictionaries().combine_chunks()]).chunk(0)
    return pc.is_in(encoded.dictionary, pa.array(list(values), pa.string())).take(encoded.indices)


def _days(rows: pa.Table) -> set[dt.date]:
    return set(rows["start_time"].unique().cast(pa.date32()).to_pylist())
