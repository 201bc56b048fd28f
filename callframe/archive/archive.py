"""Archive of a project: synchronize it, read it, and maintain it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe import timespan
from callframe.api.fetch import progress_bar
from callframe.archive.coverage_ledger import coverage_frame
from callframe.archive.queries import ArchiveSnapshot, list_projects
from callframe.archive.reports import ArchiveInfo, verify
from callframe.errors import ArgumentError, CallframeError, FileError, IncompleteWarning, RecordWarning, warn
from callframe.frame import COLUMNS, RESPONSE_COLUMNS
from callframe.http.secret import wrap_secret
from callframe.timespan import TimeRange

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from callframe.archive.reports import SyncReport
    from callframe.archive.storage import TableSnapshot
    from callframe.archive.transactions import ArchiveTables
    from callframe.project import Project
    from callframe.timespan import DurationLike, TimeLike

MIN_RETENTION_MS = 3_600_000
"""Shortest retention of `Archive.vacuum`: a running sync may need the files of the last hour."""


class Archive:
    """
    Call history in a Delta Lake table, which is kept longer than by the service.

    Nothing is read or created before a method is called. See `callframe.archive` for the layout of the table.

    Parameters
    ----------
    path
        Folder, or an address in an object store such as `"s3://bucket/calls.delta"`; created by the first sync.
    storage_options
        Options and credentials of the object store, as for `deltalake`. They are never displayed.
    version
        Earlier version of the calls to read; such an archive cannot be changed. The newest by default.

    Raises
    ------
    ArgumentError
        Invalid version.
    CallframeError
        The extra `archive` is not installed.

    Examples
    --------
    >>> import callframe as cf, tempfile
    >>> with cf.demo(calls=1_000) as project, tempfile.TemporaryDirectory() as folder:
    ...     archive = cf.Archive(f"{folder}/calls.delta")
    ...     report = archive.sync(project)
    ...     calls = archive.calls(start="1y")
    >>> report.new == len(calls)
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        storage_options: Mapping[str, str] | None = None,
        version: int | None = None,
    ) -> None:
        options = storage_options = wrap_secret(storage_options or {})  # type: ignore[assignment] # before any frame
        try:
            from callframe.archive.storage import StorageOptions  # noqa: PLC0415 - needs the extra, and slow to import
            from callframe.archive.transactions import ArchiveTables  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if error.name != "deltalake":
                raise
            raise CallframeError("An archive needs the extra: pip install 'callframe[archive]'") from error
        if version is not None and version < 0:
            raise ArgumentError(f"version={version!r}; expected an integer from 0, as listed by info().")
        self._tables: ArchiveTables = ArchiveTables(path, StorageOptions(options.reveal()))
        self._version = version

    def __repr__(self) -> str:
        version = "" if self._version is None else f" version {self._version}"
        return f"<Archive {self.path!r}{version}>"

    @property
    def path(self) -> str:
        """Absolute path, or address in an object store."""
        return self._tables.uri

    def calls(
        self,
        *functions: str | int,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        status: str | Sequence[str] | None = None,
        schedule: str | int | Sequence[str | int] | None = None,
        call_ids: Iterable[int] | None = None,
        columns: Sequence[str] | None = None,
        project: str | None = None,
    ) -> pd.DataFrame:
        """
        Read calls.

        Only the selected days, functions and columns are read. The coverage lists the time ranges that are not in the
        archive.

        Parameters
        ----------
        *functions
            Ids, labels, external ids or names; by default all functions. A label selects all deployments of a function.
        start
            Earliest start time: a timestamp, a date, an ISO 8601 string or an age such as `"1y"`, in UTC unless it has
            a time zone. By default the earliest.
        end
            End of the start times, excluded; by default the latest.
        status
            Only calls of this status, or these.
        schedule
            Only calls of this schedule, or these: ids or names.
        call_ids
            Ids of the calls to read, instead of a time range, status and schedule.
        columns
            Columns to read: those of a call frame, by default, and of `callframe.with_responses`. Analysis needs all
            but the texts of errors.
        project
            Name of the project, if the archive contains several.

        Returns
        -------
        calls
            Call frame, sorted by `start_time`, `call_id`.

        Raises
        ------
        ArgumentError
            Invalid argument, or unknown function, schedule or project.
        FileError
            There is no archive, or it is damaged or cannot be read.
        """
        snapshot = self._snapshot(project)
        query = snapshot.query(
            functions, start=start, end=end, status=status, schedule=schedule, call_ids=call_ids, columns=columns
        )
        return snapshot.read(query)

    def dask(
        self,
        *functions: str | int,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        status: str | Sequence[str] | None = None,
        schedule: str | int | Sequence[str | int] | None = None,
        call_ids: Iterable[int] | None = None,
        columns: Sequence[str] | None = None,
        project: str | None = None,
    ) -> Any:
        """
        Read calls as a Dask DataFrame, for histories larger than memory.

        Parameters
        ----------
        *functions, start, end, status, schedule, call_ids, columns, project
            As in `calls`.

        Returns
        -------
        calls
            Dask DataFrame with the dtypes of a call frame. Partitions are whole days in order of time, sorted within.
            The coverage is in the `attrs` of the frame and of each partition, without numbers of calls; operations of
            Dask keep only the latter.

        Raises
        ------
        ArgumentError, FileError
            As in `calls`.
        CallframeError
            Dask is not installed.
        """
        snapshot = self._snapshot(project)
        query = snapshot.query(
            functions, start=start, end=end, status=status, schedule=schedule, call_ids=call_ids, columns=columns
        )
        return snapshot.read_dask(query)

    def rollup(
        self,
        *functions: str | int,
        freq: str = "1D",
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        project: str | None = None,
    ) -> pd.DataFrame:
        """
        Count calls by function, time, status and duration, like `callframe.rollup`.

        Whole days are counted once and stored, so that a year is read fast. For a `freq` shorter than a day the calls
        are read and counted in parts.

        Parameters
        ----------
        *functions, start, end, project
            As in `calls`.
        freq
            Length of the bins of start time, such as `"1D"`, `"7D"` or `"1h"`.

        Returns
        -------
        rollup
            Rollup as of `callframe.rollup`, for `callframe.summarize_rollup` and `callframe.merge_rollups`.

        Raises
        ------
        ArgumentError, FileError
            As in `calls`.
        """
        from callframe.archive.daily_rollup import read_rollup  # noqa: PLC0415 - the analysis is slow to import

        snapshot = self._snapshot(project)
        query = snapshot.query(functions, start=start, end=end)
        coverage = snapshot.coverage(query)
        rollup = read_rollup(self._tables, snapshot.calls, query, freq, fetched_ms=coverage.fetched_ms)
        coverage.attach(rollup)
        return rollup

    def functions(self, *, project: str | None = None) -> pd.DataFrame:
        """
        List the functions, including deleted ones.

        Parameters
        ----------
        project
            Name of the project, if the archive contains several.

        Returns
        -------
        functions
            One row per function id, as last listed by `Project.functions`, with the permanent label, and with
            `first_seen_time`, `last_seen_time` and `gone_time`, when it was first missing from the list.
        """
        return self._snapshot(project).functions

    def schedules(self, *, project: str | None = None) -> pd.DataFrame:
        """
        List the schedules, including deleted ones.

        Parameters
        ----------
        project
            Name of the project, if the archive contains several.

        Returns
        -------
        schedules
            One row per schedule id, as last listed by `Project.schedules`, with `first_seen_time`, `last_seen_time` and
            `gone_time`, when it was first missing from the list.
        """
        return self._snapshot(project).schedules()

    def coverage(
        self, start: TimeLike | None = None, end: TimeLike | None = None, *, project: str | None = None
    ) -> pd.DataFrame:
        """
        List which time ranges are complete.

        Parameters
        ----------
        start, end
            Time range, its end excluded; by default everything that was read.
        project
            Name of the project, if the archive contains several.

        Returns
        -------
        coverage
            One row per time range, in order: `start_time`, `end_time` (excluded), `state` ("complete": the calls of all
            functions that existed; "partial"; "missing"), `functions` (number of functions that existed, at most),
            `missing_functions` (labels of those whose calls are missing), `reason` (why they could not be read, if that
            was tried).
        """
        return self._snapshot(project).coverage_periods(start, end)

    def sync(
        self,
        project: Project,
        *,
        start: TimeLike | None = None,
        responses: bool | str | int | Sequence[str | int] = False,
        retention: DurationLike = "2d",
        progress: bool | None = None,
    ) -> SyncReport:
        """
        Bring the archive up to date with a project.

        The first sync reads everything that the service keeps. Later ones read new calls, what could not be read
        before, and calls that had not finished. Stored calls are only replaced by more final records, and calls that
        the service has deleted are kept. A sync can be interrupted at any moment (Ctrl-C returns the report so far),
        and the next one continues. Several processes can sync at the same time. Once a day it also stores the rollup of
        the days that are over, and removes files that only versions older than `retention` need.

        Parameters
        ----------
        project
            Project to read, as returned by `callframe.connect`.
        start
            Earliest start time to read if it is missing; by default 90 days ago.
        responses
            Whether to read the responses of Completed calls too, of the last 90 days that have none in the archive yet:
            of all functions, or of some by id, external id or name. One request each. A call whose response reports a
            failure (`callframe.reports_failure`) is stored with the status "Error response".
        retention
            How long earlier versions can still be opened, at least 1 hour; a longer one keeps more files.
        progress
            Whether to show a progress bar; by default in terminals and notebooks.

        Returns
        -------
        report
            What was read, and what could not be.

        Raises
        ------
        ArgumentError
            Invalid `start` or `retention`, or the archive was opened at an earlier version.
        FileError
            The archive cannot be written, for example on a full disk. Committed steps are kept.

        Warns
        -----
        IncompleteWarning
            Something could not be read; the next sync tries again.
        RecordWarning
            Invalid records were set aside.
        """
        self._check_newest("sync")
        from callframe.archive.sync import Sync  # noqa: PLC0415 - not needed for reading

        retention_ms = timespan.parse_duration(retention, name="retention", at_least_ms=MIN_RETENTION_MS)
        history_ms = None
        if start is not None:
            history_ms = timespan.time_range(start, None, now_ms=project.now_ms()).length_ms
        with progress_bar(progress, "sync") as show:
            sync = Sync(
                self._tables, project, history_ms=history_ms, retention_ms=retention_ms, responses=responses, show=show
            )
            report = sync.run()
        if not report.complete:
            warn(str(report), IncompleteWarning)
        elif report.set_aside:
            warn(str(report), RecordWarning)
        return report

    def add(self, calls: pd.DataFrame | str | os.PathLike[str] | Archive, *, project: str | None = None) -> SyncReport:
        """
        Add calls from a frame, a file or another archive.

        Of a call that is stored already the more final record stays. New functions keep their labels. Calls that were
        forgotten are left out. A frame counts as complete only if its coverage says so of exactly its rows, and never
        for the last 15 minutes before it was fetched.

        Parameters
        ----------
        calls
            Call frame; path of a CSV or Parquet file, which is read into memory; or another archive, which is read in
            parts, with its coverage, functions and schedules.
        project
            Name of the project; by default that of the coverage, or the only one.

        Returns
        -------
        report
            What was added, and why it does not count as complete.

        Raises
        ------
        ArgumentError
            Unknown project, or the archive was opened at an earlier version.
        FrameError, FileError
            Not a call frame, or a file cannot be read or written.
        """
        self._check_newest("add to")
        from callframe.archive import transfer  # noqa: PLC0415 - not needed for reading

        if isinstance(calls, Archive):
            addition = transfer.addition_of_archive(calls._snapshot(project))  # noqa: SLF001 - its own class
        else:
            addition = transfer.addition_of_calls(calls, project, list_projects(self._tables))
        return transfer.add(self._tables, addition)

    def export(
        self,
        path: str | os.PathLike[str],
        *functions: str | int,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        project: str | None = None,
        traces: bool = False,
        responses: bool = False,
    ) -> int:
        """
        Write calls to a file, a few days at a time; the file replaces an older one only when it is complete.

        Parameters
        ----------
        path
            Path that ends in `.csv`, `.csv.gz`, `.csv.zst` or `.parquet`. A Parquet file has the coverage, too.
        *functions, start, end, project
            As in `calls`.
        traces
            Whether a CSV file has `error_trace`; a Parquet file always does.
        responses
            Whether the file has `response` and `route`.

        Returns
        -------
        count
            Number of calls.

        Raises
        ------
        ArgumentError, FileError
            As in `calls`, and for an unknown suffix or a file that cannot be written.
        """
        from callframe.archive import transfer  # noqa: PLC0415 - not needed for reading

        columns = [*COLUMNS, *(RESPONSE_COLUMNS if responses else ())]
        snapshot = self._snapshot(project)
        query = snapshot.query(functions, start=start, end=end, columns=columns)
        return transfer.export(snapshot, query, path, traces=traces)

    def forget(
        self,
        *functions: str | int,
        before: TimeLike | None = None,
        call_ids: Iterable[int] | None = None,
        project: str | None = None,
    ) -> pd.DataFrame:
        """
        Remove calls for good, with all earlier versions of the archive, so that no file contains them.

        Neither a sync nor `add` brings them back while CDF still has them, and the coverage says when they were
        forgotten. A whole function loses its entry and its schedules too; if CDF still lists it, the next sync reads
        its calls from then on. No sync may run meanwhile. Exports, backups and versions that an object store keeps are
        not changed.

        Parameters
        ----------
        *functions
            As in `calls`.
        before
            Only calls that started before this time.
        call_ids
            Only these calls. Others of their functions from the same milliseconds stay, but are not read again.
        project
            As in `calls`.

        Returns
        -------
        removed
            One row per function: `function`, `calls` int64, and the `first_start_time` and `last_start_time` of the
            calls that were removed.

        Raises
        ------
        ArgumentError
            Nothing was selected, an unknown function, a time in the future, or an earlier version.
        FileError
            There is no archive, or it cannot be written.
        """
        self._check_newest("forget calls of")
        from callframe.archive import transfer  # noqa: PLC0415 - not needed for reading

        if not functions and before is None and call_ids is None:
            raise ArgumentError("Nothing was selected; give functions, before= or call_ids=.")
        snapshot = self._snapshot(project)
        query = snapshot.query(functions, call_ids=call_ids)
        now_ms = int(time.time() * 1000)
        if before is not None:
            before_ms = timespan.parse_time(before, name="before", now_ms=now_ms)
            if before_ms > now_ms:
                raise ArgumentError(f"before={before!r} is in the future; leave it out to forget everything until now.")
            query = replace(query, window=TimeRange(0, before_ms))
        return transfer.forget(self._tables, snapshot, query, now_ms=now_ms)

    def info(self) -> ArchiveInfo:
        """
        Describe the archive: its size, time range, versions and gaps.

        Returns
        -------
        info
            Printed, a few lines of text.

        Raises
        ------
        FileError
            There is no archive, or it cannot be read.
        """
        calls = self._open()
        snapshots = self._snapshots(calls)
        extents = [extent for snapshot in snapshots if (extent := snapshot.ledger.extent) is not None]
        periods = [snapshot.coverage_periods(None, None).assign(project=snapshot.project) for snapshot in snapshots]
        coverage = pd.concat(periods or [coverage_frame([]).assign(project="")])
        return ArchiveInfo(
            path=self.path,
            version=calls.version,
            projects=[snapshot.project for snapshot in snapshots],
            calls=sum(rows or 0 for rows in calls.files["rows"].to_pylist()),
            files=calls.files.num_rows,
            size_bytes=sum(calls.files["size_bytes"].to_pylist()),
            start=min((extent.start for extent in extents), default=None),
            end=max((extent.end for extent in extents), default=None),
            versions=calls.history(),
            gaps=coverage[coverage["state"] != "complete"].reset_index(drop=True),
        )

    def verify(self) -> pd.DataFrame:
        """
        Read everything, and compare calls with the log, the coverage, the list of functions and the rollup.

        Returns
        -------
        findings
            One row per finding, none if all is well: `problem`, `subject` (a file, function or project) and `count`
            int64. Calls of a time range that was not read came from a file without coverage, another program, or a sync
            that could read only some.

        Raises
        ------
        ArgumentError
            The archive was opened at an earlier version.
        FileError
            There is no archive, or its log cannot be read.
        """
        self._check_newest("verify")
        calls = self._open()
        return verify(self._tables, calls, self._snapshots(calls))

    def compact(self) -> int:
        """
        Merge the files of days that have several.

        A sync writes one file per day, so this is only useful if other tools have written to the table.

        Returns
        -------
        merged_files
            Number of files that were merged.

        Raises
        ------
        ArgumentError
            The archive was opened at an earlier version.
        FileError
            There is no archive, or it cannot be written.
        """
        self._check_newest("compact")
        self._open()
        return self._tables.compact()

    def vacuum(self, *, retention: DurationLike = "30d") -> int:
        """
        Remove files that only older versions need, or that interrupted processes left; other files in the folder stay.

        Parameters
        ----------
        retention
            How long versions can still be opened, at least 1 hour.

        Returns
        -------
        removed_files
            Number of files that were removed.

        Raises
        ------
        ArgumentError
            Invalid retention, or the archive was opened at an earlier version.
        FileError
            There is no archive, or it cannot be written.
        """
        retention_ms = timespan.parse_duration(retention, name="retention", at_least_ms=MIN_RETENTION_MS)
        self._check_newest("vacuum")
        self._open()
        return self._tables.vacuum(retention_ms)

    def restore(self, version: int) -> int:
        """
        Make an earlier version the newest; the next sync reads again what that version does not contain.

        Calls of later versions that the service has deleted are lost, so read the version first:
        `Archive(path, version=...)`.

        Parameters
        ----------
        version
            Number of the version.

        Returns
        -------
        version
            Number of the new version.

        Raises
        ------
        ArgumentError
            The archive was opened at an earlier version.
        FileError
            The version does not exist or was vacuumed, or the archive cannot be written.
        """
        self._check_newest("restore")
        return self._tables.restore(version)

    def _check_newest(self, action: str) -> None:
        if self._version is not None:
            raise ArgumentError(f"{self!r} is an earlier version; {action} Archive({self.path!r}) instead.")

    def _open(self) -> TableSnapshot:
        calls = self._tables.calls.open(self._version)
        if calls is None and self._version is not None and self._tables.calls.open() is not None:
            raise FileError(
                f"Version {self._version} of the archive {self.path} no longer exists: it is older than the retention."
                f" Archive({self.path!r}).info() lists the versions."
            )
        if calls is None:
            raise FileError(f"There is no archive at {self.path} yet. Create it: Archive({self.path!r}).sync(project).")
        return calls

    def _snapshots(self, calls: TableSnapshot) -> list[ArchiveSnapshot]:
        return [ArchiveSnapshot(self._tables, calls, project) for project in list_projects(self._tables)]

    def _snapshot(self, project: str | None) -> ArchiveSnapshot:
        return ArchiveSnapshot(self._tables, self._open(), project)
