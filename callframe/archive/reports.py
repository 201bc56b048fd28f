"""Reports: what a sync did, what an archive contains, and what in it is not consistent."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from callframe import frame
from callframe.archive import queries, schema
from callframe.archive.coverage_ledger import union
from callframe.errors import FileError, printable
from callframe.timespan import MAX_TIME_MS, iso

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callframe.archive.coverage_ledger import Range
    from callframe.archive.storage import TableSnapshot
    from callframe.archive.transactions import ArchiveTables

_MAX_GAPS = 5
_NOT_COUNTABLE = (
    "damaged or missing file",
    "calls of another day than their file",
    "calls that are stored twice",
)
_KEYS = pa.schema([schema.CALLS.field(name) for name in ("project", "function_id", "call_id")])


@dataclass
class SyncReport:
    """
    What a sync or `Archive.add` did; printed, a few lines of text.

    Parameters
    ----------
    project
        Name of the project.
    archive
        Path of the archive.
    started
        When the sync began; later calls are left for the next sync.
    read
        Number of calls read.
    new, changed
        Number of calls that were not in the archive, and of stored calls that changed.
    responses
        Number of responses read.
    steps
        Number of steps committed.
    problems
        What could not be read, in sentences, by function or other subject.
    set_aside
        Number of invalid records by reason.
    interrupted
        Whether the sync was interrupted; the next one continues.
    version
        Version of the calls after the sync.
    """

    project: str
    archive: str
    started: pd.Timestamp
    read: int = 0
    new: int = 0
    changed: int = 0
    responses: int = 0
    steps: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    set_aside: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    version: int = 0

    @property
    def complete(self) -> bool:
        """Whether everything was read."""
        return not self.problems and not self.interrupted

    def __str__(self) -> str:
        result = f"{self.new:,} new and {self.changed:,} changed calls of project {self.project!r} in {self.archive}"
        responses = f", {self.responses:,} responses" if self.responses else ""
        lines = [f"{result} ({self.read:,} read in {self.steps} steps{responses}, version {self.version})"]
        if self.interrupted:
            lines.append("Interrupted; the next sync continues from here.")
        lines += [f"{count} records set aside: {reason}" for reason, count in self.set_aside.items()]
        if self.problems:
            lines.append("Not complete; the next sync tries again what CDF still has:")
            lines += [f"  {subject}: {'; '.join(problems)}" for subject, problems in self.problems.items()]
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True)
class ArchiveInfo:
    """
    What an archive contains; printed, a few lines of text.

    Parameters
    ----------
    path
        Path or address.
    version
        Version of the calls.
    projects
        Names of the projects.
    calls, files, size_bytes
        Number of calls, number of files and their size, without earlier versions.
    start, end
        First and last time that was read; None if nothing was.
    versions
        One row per version of the calls in the log, the newest first: `version`, `time`, `operation`.
    gaps
        The incomplete rows of `Archive.coverage`, with the `project`.
    """

    path: str
    version: int
    projects: Sequence[str]
    calls: int
    files: int
    size_bytes: int
    start: pd.Timestamp | None
    end: pd.Timestamp | None
    versions: pd.DataFrame
    gaps: pd.DataFrame

    def __str__(self) -> str:
        period = "nothing was read yet"
        if self.start is not None and self.end is not None:
            period = f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"
        lines = [
            f"{self.path}, version {self.version}",
            f"projects  {', '.join(map(printable, self.projects)) or 'none'}",
            f"calls     {self.calls:,} in {self.files:,} files, {self.size_bytes / 1e6:,.1f} MB",
            f"period    {period}",
            f"gaps      {len(self.gaps) or 'none'}",
        ]
        for gap in self.gaps.head(_MAX_GAPS).itertuples():
            functions = f" without {printable(str(gap.missing_functions))}" if gap.state == "partial" else ""
            lines.append(f"  {gap.start_time:%Y-%m-%d %H:%M} to {gap.end_time:%Y-%m-%d %H:%M}  {gap.state}{functions}")
        return "\n".join(lines)

    __repr__ = __str__


def verify(tables: ArchiveTables, calls: TableSnapshot, snapshots: Sequence[queries.ArchiveSnapshot]) -> pd.DataFrame:
    """Make the frame of `Archive.verify`."""
    findings: Counter[tuple[str, str]] = Counter()
    keys = []
    for file in calls.files.to_pylist():
        try:
            rows = calls.store.read([file["path"]])
        except FileError:
            findings["damaged or missing file", file["path"]] += 1
            continue
        keys.append(rows.select(["project", "function_id", "call_id"]).cast(_KEYS))
        findings["calls more or fewer than the log says", file["path"]] += abs(rows.num_rows - (file["rows"] or 0))
        days = rows["start_time"].cast(pa.date32())
        findings["calls of another day than their file", file["path"]] += _count(pc.not_equal(days, file["day"]))
        final = pa.array(frame.finality(rows["status"]), pa.int8())
        findings["calls with a wrong finality", file["path"]] += _count(pc.not_equal(rows["finality"], final))
        for snapshot in snapshots:
            own = rows.filter(pc.equal(rows["project"], snapshot.project))
            for problem, function, count in _compare_with_coverage(own, snapshot):
                findings[problem, function] += count
    findings["calls that are stored twice", ""] += _count_repeated(pa.concat_tables([_KEYS.empty_table(), *keys]))
    for path in calls.unused_paths():
        is_own = calls.store.is_own_file(path)
        findings["unused file, which vacuum removes" if is_own else "unknown file, of another program", path] += 1
    if not any(count and problem in _NOT_COUNTABLE for (problem, _), count in findings.items()):
        for snapshot in snapshots:
            findings["days whose stored rollup is wrong", snapshot.project] += _count_wrong_days(tables, snapshot)
    rows_found = [(*key, count) for key, count in findings.items() if count]
    problems, subjects, counts = zip(*rows_found, strict=True) if rows_found else ((), (), ())
    columns = {"problem": frame.text_column(problems), "subject": frame.text_column(subjects)}
    return pd.DataFrame({**columns, "count": pd.Series(counts, dtype="int64")})


def _compare_with_coverage(rows: pa.Table, snapshot: queries.ArchiveSnapshot) -> Iterator[tuple[str, str, int]]:
    labels = dict(zip(snapshot.functions["function_id"], snapshot.functions["function"], strict=True))
    for function_id in rows["function_id"].unique().to_pylist():
        times = (
            rows.filter(pc.equal(rows["function_id"], function_id))["start_time"].cast(pa.int64()).to_numpy() // 1000
        )
        read = snapshot.ledger.complete.get(function_id, [])
        forgotten = union(part[:2] for part in snapshot.ledger.forgotten.get(function_id, []))
        gaps = [(before[1], after[0]) for before, after in itertools.pairwise(read)] if read else [(0, MAX_TIME_MS)]
        label = labels.get(function_id, str(function_id))
        yield "calls of an unknown function", label, 0 if function_id in labels else len(times)
        yield "calls of a time range that was not read", label, _count_within(times, gaps)
        yield "calls that were forgotten", label, _count_within(times, forgotten)


def _count_within(times: np.ndarray, ranges: Sequence[Range]) -> int:
    edges = np.array(ranges, dtype="int64").ravel()
    return int(np.count_nonzero(np.searchsorted(edges, times, side="right") % 2))


def _count_repeated(keys: pa.Table) -> int:
    """Count the rows whose call is in another row too; few ids are, so that only their rows are compared."""
    ordered = np.sort(keys["call_id"].to_numpy())
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    rows = keys.filter(pc.is_in(keys["call_id"], pa.array(repeated, pa.int64())))
    return int(rows.num_rows - rows.group_by(rows.column_names).aggregate([]).num_rows)


def _count_wrong_days(tables: ArchiveTables, snapshot: queries.ArchiveSnapshot) -> int:
    from callframe.analysis.rollup import merge_rollups, rollup  # noqa: PLC0415 - slow to import
    from callframe.archive.daily_rollup import read_rollup  # noqa: PLC0415

    query, until_ms = queries.Query(snapshot.project), snapshot.ledger.last_read_ms
    stored = read_rollup(tables, snapshot.calls, query, "1D", fetched_ms=until_ms)
    parts = (queries.read_calls(tables.calls, paths, query) for paths in queries.partitions(snapshot.calls.files))
    counted = merge_rollups([rollup(part, "1D", fetched_at=iso(until_ms)) for part in parts])
    both = pd.concat([stored, counted.assign(count=-counted["count"])])
    keys = [name for name in both.columns if name != "count"]
    both = both.astype(dict.fromkeys(("function", "status", "measure"), "str"))
    sums = both.groupby(keys, dropna=False)["count"].sum()
    return int(sums[sums != 0].index.get_level_values("start_time").nunique())


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py() or 0)
