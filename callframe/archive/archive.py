"""What a user holds: an archive, to be brought up to date and read."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.compute as pc

from callframe import frame, window
from callframe.archive import coverage as account
from callframe.archive import layout, reading
from callframe.archive.reading import Wanted
from callframe.coverage import KEY, FunctionCoverage
from callframe.errors import ArgumentError, CallframeError, FileError, IncompleteWarning, RecordWarning
from callframe.progress import bar
from callframe.records import TIME_MAX_MS
from callframe.window import Window

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from callframe.archive.known import Known
    from callframe.archive.report import SyncReport
    from callframe.archive.store import Snapshot, Store
    from callframe.archive.tables import Tables
    from callframe.project import Project
    from callframe.window import SpanLike, TimeLike


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
        try:
            from callframe.archive.tables import Tables  # noqa: PLC0415 - needs the extra, and is slow to import
        except ModuleNotFoundError as error:
            if error.name != "deltalake":
                raise
            raise CallframeError("An archive needs the extra: pip install 'callframe[archive]'") from error
        if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 0):
            raise ArgumentError(f"version={version!r}; expected a whole number from 0, such as info() lists.")
        self._tables: Tables = Tables(path, storage_options or {})
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
        calls = reading.read(self._tables.calls, wanted.files(view.calls)["path"].to_pylist(), wanted)
        counts = calls["function_id"].value_counts().to_dict() if "function_id" in calls else None
        calls.attrs[KEY] = view.account(wanted, counts)
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
        from callframe.archive import scale  # noqa: PLC0415 - needs an extra

        view = self._view(project)
        wanted = view.wanted(start, end, functions, status, columns)
        words = {"function": sorted(set(view.functions["function"])), "status": view.statuses()}
        account = view.account(wanted, None)
        return scale.frame(self._tables.calls, wanted.files(view.calls), wanted, words=words, account={KEY: account})

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
            functions that were there; "partly"; "not"), `functions` (how many were there, those that were ever seen),
            `lacking` (labels of those whose calls are lacking), `reason` (why they could not be read, where it was
            tried).
        """
        view = self._view(project)
        return account.of_time(view.known, view.lives, view.stretch(start, end))

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
        if self._version is not None:
            raise ArgumentError(f"{self!r} is a look at an earlier version; sync Archive({self.path!r}) instead.")
        from callframe.archive.sync import Sync  # noqa: PLC0415 - reading does without

        back_ms = None
        if start is not None:
            now_ms = project.now_ms()
            back_ms = now_ms - window.window(start, None, now_ms=now_ms).start_ms
        with bar(progress, "sync") as show:
            report = Sync(self._tables, project, back_ms=back_ms, show=show).run()
        if not report.complete:
            warnings.warn(str(report), IncompleteWarning, stacklevel=2)
        elif report.set_aside:
            warnings.warn(str(report), RecordWarning, stacklevel=2)
        return report

    def _view(self, project: str | None) -> _View:
        calls = self._tables.calls.open(self._version)
        if calls is None:
            raise FileError(f"There is no archive at {self.path} yet. Make one: Archive({self.path!r}).sync(project).")
        return _View(self._tables, calls, project)


class _View:
    """An archive as it is at one moment, of one project."""

    def __init__(self, tables: Tables, calls: Snapshot, project: str | None) -> None:
        self.calls = calls
        self._tables = tables
        rows = _rows_of(tables.functions)
        projects = sorted(rows["project"].unique().to_pylist())
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
        self.lives = account.lives(self.functions)
        self.known: Known = tables.known(self.project, calls)

    def schedules(self) -> pd.DataFrame:
        return self._seen(self._tables.schedules, ["function", "created_time", "schedule_id"])

    def _seen(self, store: Store, order: list[str]) -> pd.DataFrame:
        from callframe.archive import seen  # noqa: PLC0415 - neighbours of the tables

        rows = _rows_of(store)
        return seen.to_frame(rows.filter(pc.equal(rows["project"], self.project)), store.schema, order)

    def stretch(self, start: TimeLike | None, end: TimeLike | None) -> Window:
        """Take a window; without ends it is what is known."""
        seen = account.span(self.known) or Window(0, 1)
        now_ms = int(time.time() * 1000)
        low = seen.start_ms if start is None else window.parse_time(start, name="start", now_ms=now_ms)
        high = max(seen.end_ms, low + 1) if end is None else window.parse_time(end, name="end", now_ms=now_ms)
        if low >= high:
            raise ArgumentError(
                f"start={start!r} is {window.iso(low)}, which is not before the end, {window.iso(high)}. The end is"
                " excluded; give a start before it."
            )
        return Window(low, high)

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
        whole = Window(0 if start is None else asked.start_ms, TIME_MAX_MS + 1 if end is None else asked.end_ms)
        return Wanted(
            self.project,
            whole,
            reading.function_ids(self.functions, functions),
            reading.statuses(status, self.statuses() if status is not None else ()),
            reading.columns(columns),
        )

    def statuses(self) -> list[str]:
        """List the statuses there are: those the API documents, and others from the few files that may hold some."""
        files = self.calls.files
        odd = files.filter(pc.fill_null(pc.less(files["least_final"], layout.FINISHED), fill_value=True))
        found = self.calls.read(odd["path"].to_pylist(), ["status"], where=pc.field("finality") == 1)
        return frame.status_categories(found["status"].cast("string").unique().to_pylist())

    def account(self, wanted: Wanted, counts: Mapping[int, int] | None) -> dict[str, Any]:
        """Tell what a frame rests on, as the coverage of a fetch does."""
        seen = account.span(self.known) or Window(0, 1)
        fetched_ms = account.fetched_ms(self.known)
        asked = wanted.stretch
        low = seen.start_ms if asked.start_ms == 0 else asked.start_ms
        stretch = Window(low, max(low + 1, min(asked.end_ms, fetched_ms)))
        lives = [one for one in self.lives if wanted.function_ids is None or one.function_id in wanted.function_ids]
        rows: list[FunctionCoverage] = account.of_functions(self.known, lives, stretch, counts or {})
        return {
            "version": 1,
            "project": self.project,
            "fetched_at": window.iso(fetched_ms),
            "window": {"start": window.iso(low), "end": window.iso(stretch.end_ms)},
            "status": list(wanted.statuses),
            "schedule_ids": [],
            "archive": {"path": self._tables.uri, "version": self.calls.version, "counted": counts is not None},
            "functions": [row.row() for row in rows],
        }


def _rows_of(store: Store) -> Any:
    found = store.open()
    return store.schema.empty_table() if found is None else found.read().cast(store.schema)
