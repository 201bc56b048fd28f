"""What a user holds: an archive, to be brought up to date and read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe import timespan
from callframe.archive import ledger_report, queries
from callframe.archive.information import CompactReport, Information
from callframe.archive.snapshot import ArchiveSnapshot, projects_of
from callframe.archive.storage_options import StorageOptions
from callframe.errors import ArgumentError, CallframeError, FileError, IncompleteWarning, RecordWarning, warn
from callframe.progress import progress_bar

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from callframe.archive.storage import Snapshot
    from callframe.archive.sync_report import SyncReport
    from callframe.archive.transactions import Tables
    from callframe.project import Project
    from callframe.timespan import DurationLike, TimeLike

_SHORTEST_KEEP_MS = 3_600_000


class Archive:
    """
    The call history of a project, kept for good in a Delta Lake table.

    Nothing is read or made before it is asked for. See `callframe.archive` for what the table holds.

    Parameters
    ----------
    path
        Folder, or the address of one in an object store, such as `"s3://bucket/calls.delta"`; it is made by the first
        sync.
    storage_options
        Of the object store: credentials and such, as `deltalake` takes them. They are shown nowhere.
    version
        Look at an earlier version of the calls; such an archive can be read only. By default the newest.

    Raises
    ------
    CallframeError
        The extra is not installed.
    FileFormatError
        The folder is something else.

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
        options = storage_options = StorageOptions(storage_options)  # type: ignore[assignment] # before any frame
        try:
            from callframe.archive.transactions import Tables  # noqa: PLC0415 - needs the extra, and is slow to import
        except ModuleNotFoundError as error:
            if error.name != "deltalake":
                raise
            raise CallframeError("An archive needs the extra: pip install 'callframe[archive]'") from error
        if version is not None and version < 0:
            raise ArgumentError(f"version={version!r}; expected a whole number from 0, such as info() lists.")
        self._tables: Tables = Tables(path, options)
        self._version = version

    def __repr__(self) -> str:
        """Tell where it is, and nothing of the storage options."""
        at = "" if self._version is None else f" version {self._version}"
        return f"<Archive {self.path!r}{at}>"

    @property
    def path(self) -> str:
        """Where it is: an absolute path, or an address."""
        return self._tables.uri

    def calls(
        self,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        functions: str | int | Sequence[str | int] | None = None,
        status: str | Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        project: str | None = None,
    ) -> pd.DataFrame:
        """
        Read calls; only the days, functions and columns that are asked for are read.

        Parameters
        ----------
        start, end
            Window of start times, its end excluded; by default all of it. A timestamp, a date, an ISO 8601 string or an
            age such as `"1y"`.
        functions
            Ids, labels, external ids or names; by default all. A label takes all deployments of a function.
        status
            Only calls of this status, or these.
        columns
            Only these columns of the call frame. Measures need all of them but for the texts of errors.
        project
            Whose calls, where the archive holds those of several projects.

        Returns
        -------
        calls
            Call frame, sorted by `start_time`, `call_id`. Its coverage says which stretches the archive lacks.

        Raises
        ------
        ArgumentError
            An argument cannot be right, or the archive knows no such function.
        FileError
            The archive is not there, cannot be read, or is damaged; the message names the file.
        """
        view = self._view(project)
        wanted = view.wanted(start, end, functions, status, columns)
        calls = queries.read(self._tables.calls, wanted.files(view.calls)["path"].to_pylist(), wanted)
        counts: dict[Any, int] | None = None
        if "function_id" in calls:
            counts = calls["function_id"].value_counts().to_dict()
        view.coverage_of(wanted, counts).attach(calls)
        return calls

    def dask(
        self,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        functions: str | int | Sequence[str | int] | None = None,
        status: str | Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        *,
        project: str | None = None,
    ) -> Any:
        """
        Read calls as a Dask DataFrame, for histories larger than memory.

        Parameters
        ----------
        start, end, functions, status, columns, project
            As `calls` takes them.

        Returns
        -------
        calls
            Dask DataFrame of the call frame's dtypes: whole days a partition, in the order of time, sorted within. What
            it rests on is in its `attrs` and in those of each partition; calls are not counted there. Operations of
            Dask lose the `attrs` of the collection, those of its partitions stay.

        Raises
        ------
        ArgumentError
            An argument cannot be right, or the archive knows no such function.
        CallframeError
            Dask is not installed.
        FileError
            The archive is not there, cannot be read, or is damaged.
        """
        from callframe.archive import dask  # noqa: PLC0415 - needs an extra

        view = self._view(project)
        wanted = view.wanted(start, end, functions, status, columns)
        words = {"function": sorted(set(view.functions["function"])), "status": view.statuses()}
        known = view.coverage_of(wanted, None)
        return dask.frame(self._tables.calls, wanted.files(view.calls), wanted, words=words, known=known)

    def rollup(
        self,
        freq: str = "1D",
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        functions: str | int | Sequence[str | int] | None = None,
        *,
        project: str | None = None,
    ) -> pd.DataFrame:
        """
        Count calls by function, time, status and how long they took, as `callframe.rollup` does.

        Whole days are counted once and kept beside the calls, so a year is quick. A `freq` shorter than a day is
        counted from the calls, a few days at a time.

        Parameters
        ----------
        freq
            Length of the bins of start time, such as `"1D"`, `"7D"` or `"1h"`.
        start, end, functions, project
            As `calls` takes them.

        Returns
        -------
        rollup
            As `callframe.rollup` gives it of the same calls; for `callframe.summarize_rollup` and
            `callframe.merge_rollups`.

        Raises
        ------
        ArgumentError
            An argument cannot be right, or the archive knows no such function.
        FileError
            The archive is not there, cannot be read, or is damaged.
        """
        from callframe.archive import daily_rollup  # noqa: PLC0415 - the measures are slow to import

        view = self._view(project)
        wanted = view.wanted(start, end, functions, None, None)
        known = view.coverage_of(wanted, None)
        table = daily_rollup.read(self._tables, view.calls, wanted, freq, fetched_at=timespan.iso(known.fetched_ms))
        known.attach(table)
        return table

    def functions(self, *, project: str | None = None) -> pd.DataFrame:
        """
        List the functions that were ever seen.

        Parameters
        ----------
        project
            Whose functions, where the archive holds several projects.

        Returns
        -------
        functions
            One row a function id, as `Project.functions` has it when last seen, with the label that is kept, and
            `first_seen_time`, `last_seen_time` and `gone_time`, when it was first found to be listed no more.
        """
        return self._view(project).functions

    def schedules(self, *, project: str | None = None) -> pd.DataFrame:
        """
        List the schedules that were ever seen.

        Parameters
        ----------
        project
            Whose schedules, where the archive holds several projects.

        Returns
        -------
        schedules
            One row a schedule id, as `Project.schedules` has it when last seen, and `first_seen_time`,
            `last_seen_time` and `gone_time`.
        """
        return self._view(project).schedules()

    def coverage(
        self, start: TimeLike | None = None, end: TimeLike | None = None, *, project: str | None = None
    ) -> pd.DataFrame:
        """
        Tell which stretches of time the archive knows completely, which partly, and which not.

        Parameters
        ----------
        start, end
            Window, its end excluded; by default from when until when anything is known.
        project
            Of which project, where the archive holds several.

        Returns
        -------
        coverage
            One row a stretch, in order: `start_time`, `end_time` (excluded), `state` ("complete": the calls of all
            functions that were there; "partly"; "not"), `functions` (how many were there at most, of those ever seen),
            `lacking` (labels of those whose calls are lacking), `reason` (why they could not be read, where it was
            tried).
        """
        return self._view(project).coverage(start, end)

    def sync(self, project: Project, *, start: TimeLike | None = None, progress: bool | None = None) -> SyncReport:
        """
        Bring the archive up to date with a project.

        The first time everything the service still keeps is read, later what is new, what could not be read before,
        and every call that was not finished. A more final record replaces a less final one, never the other way;
        calls that are gone from the service stay. It may be stopped at any moment (Ctrl-C gives the report so far): the
        next sync goes on. Several processes may sync at once.

        Parameters
        ----------
        project
            What to read, as `callframe.connect` gives it.
        start
            How far back to read what is not known; by default as far as the service keeps calls, 90 days.
        progress
            Whether to show a bar; by default in terminals and notebooks.

        Returns
        -------
        report
            What was done, and what could not be read.

        Raises
        ------
        ArgumentError
            `start` cannot be read, or an earlier version was opened.
        FileError
            The archive cannot be written: the disk is full, say, or it may not be. What was committed stays.

        Warns
        -----
        IncompleteWarning
            Something could not be read; it is tried again at the next sync.
        RecordWarning
            Records broke the API's contract and were set aside.
        """
        self._refuse_earlier("sync")
        from callframe.archive.sync import Sync  # noqa: PLC0415 - reading does without

        back_ms = None
        if start is not None:
            now_ms = project.now_ms()
            back_ms = now_ms - timespan.time_range(start, None, now_ms=now_ms).start_ms
        with progress_bar(progress, "sync") as show:
            report = Sync(self._tables, project, back_ms=back_ms, show=show).run()
        if not report.complete:
            warn(str(report), IncompleteWarning)
        elif report.set_aside:
            warn(str(report), RecordWarning)
        return report

    def info(self) -> Information:
        """
        Tell what the archive is: its size, its span, its versions, and what it lacks.

        Returns
        -------
        info
            Printed, a few lines for people.

        Raises
        ------
        FileError
            The archive is not there, or cannot be read.
        """
        calls = self._open()
        views = [ArchiveSnapshot(self._tables, calls, project) for project in projects_of(self._tables)]
        spans = [seen for view in views if (seen := ledger_report.span(view.known)) is not None]
        coverage = [view.coverage(None, None).assign(project=view.project) for view in views]
        whole = pd.concat(coverage) if coverage else ledger_report.nothing().assign(project="")
        return Information(
            path=self.path,
            version=calls.version,
            projects=[view.project for view in views],
            calls=sum(rows or 0 for rows in calls.files["rows"].to_pylist()),
            files=calls.files.num_rows,
            size_bytes=sum(calls.files["size_bytes"].to_pylist()),
            start=min((one.start for one in spans), default=None),
            end=max((one.end for one in spans), default=None),
            versions=calls.history(),
            gaps=whole[whole["state"] != "complete"].reset_index(drop=True),
        )

    def compact(self, *, keep: DurationLike | None = None) -> CompactReport:
        """
        Merge small files, and remove what only versions older than a span need, if one is given.

        A sync leaves one file a day, so there is only something to merge where others have written to the table too.

        Parameters
        ----------
        keep
            How long versions can still be opened, such as `"7d"`; files that no version since then needs are removed.
            At least an hour, as a sync under way may need them. By default nothing is removed.

        Returns
        -------
        report
            How many files were merged and removed.

        Raises
        ------
        ArgumentError
            `keep` is too short or cannot be read, or an earlier version was opened.
        FileError
            The archive is not there, or cannot be written.
        """
        self._refuse_earlier("compact")
        keep_ms = None if keep is None else timespan.parse_duration(keep, name="keep")
        if keep_ms is not None and keep_ms < _SHORTEST_KEEP_MS:
            raise ArgumentError(f"keep={keep!r} is too short: a sync under way may need those files; give 1h or more.")
        self._open()
        merged = self._tables.compact()
        removed = 0 if keep_ms is None else self._tables.clean(keep_ms)
        return CompactReport(merged, removed, self._open().version)

    def restore(self, version: int) -> int:
        """
        Make an earlier version the newest; the next sync reads anew what that one did not know.

        What the service has forgotten since then is lost with the versions that are left behind, so look at the
        version first: `Archive(path, version=...)`.

        Parameters
        ----------
        version
            Number of the version.

        Returns
        -------
        version
            Number of the version that is the newest now.

        Raises
        ------
        FileError
            There is no such version any more, or the archive cannot be written.
        """
        self._refuse_earlier("restore")
        return self._tables.restore(version)

    def _refuse_earlier(self, what: str) -> None:
        if self._version is not None:
            raise ArgumentError(f"{self!r} is a look at an earlier version; {what} Archive({self.path!r}) instead.")

    def _open(self) -> Snapshot:
        calls = self._tables.calls.open(self._version)
        if calls is None:
            raise FileError(f"There is no archive at {self.path} yet. Make one: Archive({self.path!r}).sync(project).")
        return calls

    def _view(self, project: str | None) -> ArchiveSnapshot:
        return ArchiveSnapshot(self._tables, self._open(), project)
