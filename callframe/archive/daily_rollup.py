"""
The rollup of years, quickly: each day is counted once and kept, until the files of the day are others.

Running calls are left out of what is kept: how long they have run changes with every look.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame
from callframe.analysis.rollup import MEASURES, merge_rollups, rollup
from callframe.archive import queries, schema
from callframe.archive.dask import partitions
from callframe.archive.schema import DAY
from callframe.archive.storage import ConflictError, Snapshot
from callframe.archive.transactions import ROLLUP
from callframe.errors import FileError
from callframe.timespan import DAY_MS, TimeRange, floor_ms, from_epoch_ms, parse_duration, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from callframe.archive.queries import Wanted
    from callframe.archive.transactions import Tables

    Sources = Mapping[dt.date, str]

_KEPT = "1D"


def read(tables: Tables, calls: Snapshot, wanted: Wanted, freq: str, *, fetched_at: str) -> pd.DataFrame:
    """
    Roll up what is wanted, from the days that are kept where that is possible.

    Parameters
    ----------
    tables
        The archive.
    calls
        Its calls at some version.
    wanted
        What of them; statuses and columns do not count.
    freq
        Length of the bins.
    fetched_at
        How long Running calls have run is told as of then.

    Returns
    -------
    rollup
        As `callframe.rollup` gives it of the same calls.
    """
    width_ms = parse_duration(freq, name="freq", at_least_ms=1)
    files = wanted.files(calls)
    by_label = wanted.function_ids is None or wanted.labels is not None
    inner = _whole_days(wanted.stretch) if by_label and width_ms % DAY_MS == 0 else []
    sources = {day: source for day, source in _sources(files).items() if inner and inner[0] <= day < inner[-1]}
    kept = refresh(tables, calls, wanted.project, sources) if sources else _empty()
    parts = [_chosen(kept, wanted, width_ms)]
    parts += _counted(tables, files, wanted, freq, set(sources))
    parts.append(_running(tables, files, wanted, freq, fetched_at))
    return merge_rollups(parts)


def refresh(tables: Tables, calls: Snapshot, project: str, sources: Sources) -> pa.Table:
    """
    Bring kept days up to date.

    Parameters
    ----------
    tables
        The archive.
    calls
        Its calls at some version.
    project
        Whose calls.
    sources
        What each day is to be counted from.

    Returns
    -------
    kept
        The rows of these days; where they could not be written they are given all the same.
    """
    snapshot = None
    with contextlib.suppress(FileError):
        snapshot = tables.rollup.open_or_make()
    held = None if snapshot is None else _of_months(snapshot, {day.replace(day=1) for day in sources})
    current = _empty() if held is None else _current(held, project, sources)
    counted = _days(current)
    missing = {day: source for day, source in sources.items() if day not in counted}
    if not missing:
        return current
    fresh = pa.concat_tables([_empty(), *_count(tables, calls, project, missing)])
    if snapshot is not None and held is not None:
        with contextlib.suppress(ConflictError, FileError):  # it is counted anew when it is asked for
            _keep(snapshot, _plain(held), fresh, project)
    return pa.concat_tables([_plain(current), fresh])


def _keep(snapshot: Snapshot, held: pa.Table, fresh: pa.Table, project: str) -> None:
    """Put days in the place of the same as they were kept."""
    stale = pc.and_(pc.equal(held["project"], project), _on(held, _days(fresh)))
    rows = pa.concat_tables([held.filter(pc.invert(stale)), fresh])
    months = set(fresh[DAY].unique().to_pylist())
    snapshot.replace(rows.filter(pc.is_in(rows[DAY], pa.array(sorted(months), pa.date32()))), months)


def sources_of(calls: Snapshot, days: Iterable[dt.date]) -> dict[dt.date, str]:
    """Tell what some days are to be counted from."""
    files = calls.files
    return _sources(files.filter(pc.is_in(files["day"], pa.array(sorted(days), pa.date32()))))


def _sources(files: pa.Table) -> dict[dt.date, str]:
    found: dict[dt.date, list[str]] = {}
    for day, path in zip(files["day"].to_pylist(), files["path"].to_pylist(), strict=True):
        found.setdefault(day, []).append(path.rpartition("/")[2])
    return {day: " ".join(sorted(names)) for day, names in found.items()}


def _whole_days(stretch: TimeRange) -> list[dt.date]:
    """Give the first day that lies whole in a stretch, and the first after those."""
    low, high = -(-stretch.start_ms // DAY_MS), stretch.end_ms // DAY_MS
    most = (dt.date.max - _EPOCH).days
    return [_EPOCH + dt.timedelta(days=min(low, most)), _EPOCH + dt.timedelta(days=min(high, most))]


_EPOCH = dt.date(1970, 1, 1)


def _count(tables: Tables, calls: Snapshot, project: str, missing: Sources) -> Iterable[pa.Table]:
    """Count days, a few at a time; a day leaves a row of nothing, so that it is known to have been counted."""
    files = calls.files.filter(pc.is_in(calls.files["day"], pa.array(sorted(missing), pa.date32())))
    everything = queries.Wanted(project, TimeRange(0, 2**60 // 1000))
    for paths in partitions(files):
        found = queries.read(tables.calls, paths, everything)
        table = rollup(found[found["status"] != "Running"], _KEPT)
        yield _stored(table, project, missing)
    days = sorted(missing)
    yield _rows(project, missing, days, {"count": pa.array([0] * len(days), pa.int64())})


def _stored(table: pd.DataFrame, project: str, sources: Sources) -> pa.Table:
    start = pa.chunked_array([pa.array(table["start_time"])]).cast(pa.timestamp("us", "UTC"))
    words = {name: pa.array(table[name].astype("object"), pa.string()) for name in ("function", "status", "measure")}
    spans = pa.array(table["bucket"], from_pandas=True).cast(pa.duration("ms")).cast(pa.int64())
    counts = pa.array(table["count"], pa.int64())
    return _rows(project, sources, start.cast(pa.date32()).to_pylist(), {**words, "bucket_ms": spans, "count": counts})


def _rows(project: str, sources: Sources, days: Sequence[dt.date], columns: Mapping[str, Any]) -> pa.Table:
    """Write rows of the rollup; columns that are not given are empty."""
    stamps = pa.array(days, pa.date32()).cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.timestamp("us", "UTC"))
    made = {
        "project": pa.array([project] * len(days), pa.string()),
        "source": pa.array([sources[day] for day in days], pa.string()),
        "start_time": stamps,
        DAY: pa.array([day.replace(day=1) for day in days], pa.date32()),
        **columns,
    }
    return pa.table([made.get(field.name, pa.nulls(len(days), field.type)) for field in ROLLUP], schema=ROLLUP)


def _plain(rows: pa.Table) -> pa.Table:
    """Write rows as they are written: words as text, and the month they are kept in."""
    if DAY in rows.column_names:
        return rows
    month = pc.floor_temporal(rows["start_time"], unit="month").cast(pa.date32())
    return rows.append_column(DAY, month).cast(ROLLUP)


def _empty() -> pa.Table:
    return ROLLUP.empty_table()


def _of_months(snapshot: Snapshot, months: set[dt.date]) -> pa.Table:
    """Read months; words stay dictionaries, which are quick to look through."""
    files = snapshot.files
    paths = files.filter(pc.is_in(files["day"], pa.array(sorted(months), pa.date32())))["path"].to_pylist()
    return snapshot.read(paths)


def _on(rows: pa.Table, days: Iterable[dt.date]) -> pa.ChunkedArray:
    return pc.is_in(rows["start_time"].cast(pa.date32()), pa.array(sorted(days), pa.date32()))


def _encoded(words: pa.ChunkedArray) -> pa.ChunkedArray:
    return words.unify_dictionaries() if pa.types.is_dictionary(words.type) else words.dictionary_encode()


def _among(words: pa.ChunkedArray, wanted: Iterable[str]) -> pa.Array:
    """Tell which words of a dictionary column are among some."""
    encoded = pa.chunked_array([words.unify_dictionaries().combine_chunks()]).chunk(0)
    found = pc.is_in(encoded.dictionary, pa.array(list(wanted), pa.string()))
    return found.take(encoded.indices)


def _current(held: pa.Table, project: str, sources: Sources) -> pa.Table:
    """Take the rows of days that were counted from the files that are there now."""
    if not held.num_rows:
        return held
    return held.filter(pc.and_(_among(held["project"], [project]), _among(held["source"], sources.values())))


def _days(rows: pa.Table) -> set[dt.date]:
    return set(rows["start_time"].unique().cast(pa.date32()).to_pylist())


def _chosen(kept: pa.Table, wanted: Wanted, width_ms: int) -> pd.DataFrame:
    """Make a rollup of kept rows."""
    rows = kept.filter(pc.greater(kept["count"], 0))
    start = frame.from_arrow(pa.table({"start_time": rows["start_time"].cast(pa.timestamp("ms", "UTC"))}))["start_time"]
    words: dict[str, Any] = {name: _encoded(rows[name]).to_pandas() for name in ("function", "status", "measure")}
    table = pd.DataFrame(
        {
            "function": words["function"],
            "start_time": from_epoch_ms(floor_ms(to_milliseconds(start), width_ms)),
            "status": words["status"],
            "measure": pd.Categorical(words["measure"], categories=list(MEASURES)),
            "bucket": rows["bucket_ms"].cast(pa.duration("ms")).to_numpy(),
            "count": rows["count"].to_numpy(),
        }
    )
    return table if wanted.labels is None else table[table["function"].isin(wanted.labels)]


def _counted(tables: Tables, files: pa.Table, wanted: Wanted, freq: str, kept: set[dt.date]) -> list[pd.DataFrame]:
    """Count what is in no kept day, a few days at a time."""
    rest = files if not kept else files.filter(pc.invert(pc.is_in(files["day"], pa.array(sorted(kept), pa.date32()))))
    found = []
    for paths in partitions(rest):
        calls = queries.read(tables.calls, paths, wanted)
        found.append(rollup(calls[calls["status"] != "Running"], freq))
    return found


def _running(tables: Tables, files: pa.Table, wanted: Wanted, freq: str, fetched_at: str) -> pd.DataFrame:
    """Count Running calls, which stand in a few files only."""
    odd = files.filter(pc.fill_null(pc.less(files["least_final"], schema.FINISHED), fill_value=True))
    calls = queries.read(tables.calls, odd["path"].to_pylist(), wanted, where=pc.field("finality") == 0)
    return rollup(calls, freq, fetched_at=fetched_at)
