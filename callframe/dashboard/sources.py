"""Where the calls of a dashboard come from: a frame, a file, a project or an archive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe import frame
from callframe.analysis.schedule_matching import parse_schedules
from callframe.archive import Archive
from callframe.completeness import Coverage, observed_until_ms
from callframe.dashboard.call_analysis import CallAnalysis
from callframe.dashboard.filter_options import FilterOptions, of_calls, of_rollup
from callframe.dashboard.rollup_analysis import RollupAnalysis, estimate, whole_days
from callframe.dashboard.selection import select, stretch
from callframe.errors import ArgumentError, CallframeError, IncompleteError
from callframe.files import read_csv, read_parquet
from callframe.project import Project
from callframe.reporting import rollup_page
from callframe.timespan import iso

if TYPE_CHECKING:
    import threading

    from callframe.dashboard.selection import Selection
    from callframe.timespan import TimeLike

READERS = {".csv": read_csv, ".parquet": read_parquet}


class Source:
    """
    Calls to look at, and what is known beside them.

    Parameters
    ----------
    calls
        Call frame.
    schedules
        What `Project.schedules` gave, None where the schedules are not known.
    lines
        The lines of code that make `calls`.
    """

    project: Project | None = None
    refreshable = False
    schedules_line = ""
    """The line of code that makes `schedules`; empty where a user has them at hand, as the calls of a frame."""

    def __init__(self, calls: pd.DataFrame, schedules: pd.DataFrame | None, lines: str = "") -> None:
        self.calls = calls
        self.schedules = schedules
        self.problem = ""
        self._lines = lines

    def fetch(self, stop: threading.Event | None = None) -> None:
        """Read everything anew, where that can be done; what goes wrong is raised, or said in `problem`."""

    def refresh(self, stop: threading.Event) -> None:
        """Read everything anew; where that cannot be done, what is known stays, and `problem` says why."""
        try:
            self.fetch(stop)
        except CallframeError as error:
            self.problem = f"The calls could not be read anew. {error}"

    @property
    def empty(self) -> bool:
        """Whether there are no calls at all."""
        return self.calls.empty

    def offer(self) -> FilterOptions:
        """Say what there is to choose from."""
        return of_calls(self.calls, self.schedules)

    def look(self, selection: Selection) -> CallAnalysis | RollupAnalysis:
        """Look at a selection."""
        return CallAnalysis(self.calls, self.schedules, selection)

    def selected(self, selection: Selection) -> pd.DataFrame:
        """Give the calls that are selected, however many."""
        return select(self.calls, selection)

    def opening(self, _: CallAnalysis | RollupAnalysis) -> str:
        """Write the lines of code that make `calls`."""
        return self._lines


class ProjectSource(Source):
    """
    Calls of a project, which can be fetched again.

    Parameters
    ----------
    project
        The project.
    start
        Where the window begins; an age moves along with the present.
    """

    refreshable = True
    schedules_line = "schedules = project.schedules()"

    def __init__(self, project: Project, start: TimeLike) -> None:
        super().__init__(frame.empty(), None, f"project = cf.connect()\ncalls = project.calls(start={start!r})")
        self.project: Project = project
        self._start = start

    def fetch(self, stop: threading.Event | None = None) -> None:
        """Fetch the window; what could not be read is said, and what is known already stays where less arrives."""
        self.problem = ""
        progress = None if stop is None else False
        try:
            self.calls = self.project.calls(start=self._start, strict=True, stop=stop, progress=progress)
        except IncompleteError as error:
            self.problem = str(error)
            if _known(error.calls) >= _known(self.calls):
                self.calls = error.calls
            else:
                self.problem += f"\nThe calls shown are those fetched at {_fetched_at(self.calls)}."
        except CallframeError as error:
            self.problem = f"The calls could not be fetched. {error}"
            return
        try:
            self.schedules = self.project.schedules()
        except CallframeError as error:
            self.problem = f"{self.problem}\nThe schedules could not be fetched. {error}".strip()


class ArchiveSource(Source):
    """
    Calls of an archive: what its rollup tells, until what is selected can be looked at call by call.

    Parameters
    ----------
    archive
        The archive.
    """

    refreshable = True
    schedules_line = "schedules = archive.schedules()"

    def __init__(self, archive: Archive) -> None:
        super().__init__(frame.empty(), None)
        self._archive = archive
        self._offer = FilterOptions()
        self._rollup = pd.DataFrame()
        self._held: tuple[object, pd.DataFrame] = (None, self.calls)

    def fetch(self, stop: threading.Event | None = None) -> None:  # noqa: ARG002 - reading is quick
        """Read the rollup, and which functions and schedules there are."""
        rollup, schedules = self._archive.rollup(), self._archive.schedules()
        self._rollup, self.schedules, self.problem = rollup, schedules, ""
        self._offer = of_rollup(rollup, schedules)
        self._held = (None, self.calls)

    @property
    def empty(self) -> bool:
        """Whether there are no calls at all."""
        return self._rollup.empty

    def offer(self) -> FilterOptions:
        """Say what there is to choose from."""
        return self._offer

    def look(self, selection: Selection) -> CallAnalysis | RollupAnalysis:
        """Look at a selection, call by call where there are not too many."""
        window = stretch(self._offer.end_ms, selection)
        if estimate(self._rollup, selection, window) > rollup_page.CALLS_MOST:
            return RollupAnalysis(self._rollup, selection, window)
        wanted, (held, calls) = (selection.functions, *window), self._held
        if held != wanted:
            calls = self._read(selection)
            self._held = (wanted, calls)
        return CallAnalysis(calls, self.schedules, selection)

    def selected(self, selection: Selection) -> pd.DataFrame:
        """Give the calls that are selected, however many."""
        return select(self._read(selection), selection)

    def opening(self, look: CallAnalysis | RollupAnalysis) -> str:
        """Write the lines of code that read what is looked at."""
        start, end = whole_days(look.window) if look.wide else look.window
        options = [f"{name}={value!r}" for name, value in {"start": start, "end": end}.items() if value]
        words = ", ".join([*map(repr, look.selection.functions), *options])
        if look.wide:
            return f"archive = cf.Archive({self._archive.path!r})\nrollup = archive.rollup({words})"
        return f"archive = cf.Archive({self._archive.path!r})\ncalls = archive.calls({words})"

    def _read(self, selection: Selection) -> pd.DataFrame:
        start, end = stretch(self._offer.end_ms, selection)
        there = {name for _, name in self._offer.functions}
        functions = [name for name in selection.functions if name in there]
        known = Coverage.of(self._rollup)
        first = iso(known.window.start_ms) if known and known.window else ""
        if (selection.functions and not functions) or (end is not None and end <= max(first, start or "")):
            return self.calls
        return self._archive.calls(*functions, start=start, end=end)


def source_of(given: Any, *, schedules: pd.DataFrame | None, start: TimeLike | None) -> Source:
    """
    Make a source of what a user gave.

    Parameters
    ----------
    given
        A call frame, a project, an archive, or the path of a file.
    schedules
        What `Project.schedules` gave; a project has its own.
    start
        Where the window of a project begins.

    Returns
    -------
    source
        Of a project nothing is fetched yet.

    Raises
    ------
    FrameError, ArgumentError, FileError
        It is none of these, or cannot be read.
    """
    if not isinstance(given, Project | Archive | str | os.PathLike):
        frame.check(given)
    if schedules is not None:
        parse_schedules(schedules)
    if isinstance(given, Project):
        if schedules is not None:
            raise ArgumentError("A project knows its schedules; leave out schedules=.")
        return ProjectSource(given, "7d" if start is None else start)
    if start is not None:
        raise ArgumentError(
            "start= is for a project; choose a range in the dashboard, or give selection={'start': ...}."
        )
    if isinstance(given, Archive):
        if schedules is not None:
            raise ArgumentError("An archive knows its schedules; leave out schedules=.")
        return ArchiveSource(given)
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise ArgumentError(
                f"{str(path)!r} is neither a .csv nor a .parquet file; expected one, a call frame, a project or an"
                " archive."
            )
        calls = reader(path)
        return Source(calls, schedules, f"calls = cf.{reader.__name__}({str(path)!r})")
    return Source(given.reset_index(drop=True), schedules, "")


def _known(calls: pd.DataFrame) -> int:
    """Count the functions that were read completely."""
    known = Coverage.of(calls)
    return sum(function.complete for function in known.functions) if known else 0


def _fetched_at(calls: pd.DataFrame) -> str:
    return iso(observed_until_ms(calls))
