"""Where the calls of a dashboard come from: a frame, a file, a project or an archive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe import frame, reporting
from callframe.analysis.schedule_matching import parse_schedules
from callframe.archive import Archive
from callframe.completeness import Coverage, observed_until_ms
from callframe.csv_parquet import READERS, suffix_of
from callframe.dashboard.selection import end_ms, select, window
from callframe.dashboard.selection_analysis import CallAnalysis, RollupAnalysis, WholeHistory, estimate_count
from callframe.errors import ArgumentError, CallframeError, IncompleteError
from callframe.project import Project
from callframe.timespan import iso, to_milliseconds

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from callframe.dashboard.selection import Selection
    from callframe.timespan import TimeLike

    Progress = Callable[[float, str], None]
    """Gets the fraction that is done and a text."""


class Source:
    """Calls of a frame or a file; `problem` says what went wrong while reading."""

    refreshable = False
    problem = ""

    def __init__(self, calls: pd.DataFrame, schedules: pd.DataFrame | None, path: Path | None = None) -> None:
        self.calls = calls
        self.schedules = schedules
        self.path = path
        self._whole: WholeHistory | None = None

    def fetch(self, stop: threading.Event | None = None, progress: Progress | None = None) -> None:
        """Read everything again, if that is possible; what goes wrong is raised, or kept in `problem`."""

    def refresh(self, stop: threading.Event, progress: Progress) -> None:
        """Read everything again; if that fails, the calls stay as they are, and `problem` says why."""
        try:
            self.fetch(stop, progress)
        except CallframeError as error:
            self.problem = f"The calls could not be read again. {error}"

    @property
    def empty(self) -> bool:
        """Whether there are no calls at all."""
        return self.calls.empty

    def analyze(self, selection: Selection) -> CallAnalysis | RollupAnalysis:
        """Analyze a selection."""
        return CallAnalysis(self._whole_of(self.calls), selection)

    def _whole_of(self, calls: pd.DataFrame) -> WholeHistory:
        """Keep what is computed on all calls as long as these are the same."""
        if self._whole is None or self._whole.calls is not calls or self._whole.schedules is not self.schedules:
            self._whole = WholeHistory(calls, self.schedules)
        return self._whole

    def select(self, selection: Selection) -> pd.DataFrame:
        """Select calls, however many."""
        return select(self.calls, selection)


class ProjectSource(Source):
    """Calls of a project since `start`, which can be fetched again."""

    refreshable = True

    def __init__(self, project: Project, start: TimeLike) -> None:
        super().__init__(frame.empty(), None)
        self.project = project
        self.start = start

    def fetch(self, stop: threading.Event | None = None, progress: Progress | None = None) -> None:
        """Fetch the calls, and keep the earlier ones if fewer functions can be read completely."""
        self.problem = ""
        try:
            self.calls = self.project.calls(start=self.start, strict=True, stop=stop, progress=progress)
        except IncompleteError as error:
            self.problem = str(error)
            if _count_complete(error.calls) >= _count_complete(self.calls):
                self.calls = error.calls
            else:
                self.problem += f"\nThe calls shown are those fetched at {iso(observed_until_ms(self.calls))}."
        except CallframeError as error:
            self.problem = f"The calls could not be fetched. {error}"
            return
        try:
            self.schedules = self.project.schedules()
        except CallframeError as error:
            self.problem = f"{self.problem}\nThe schedules could not be fetched. {error}".strip()


class ArchiveSource(Source):
    """Calls of an archive: its rollup, and the calls themselves if not too many are selected."""

    refreshable = True

    def __init__(self, archive: Archive) -> None:
        super().__init__(frame.empty(), None)
        self.archive = archive
        self._rollup = pd.DataFrame()
        self._cached: tuple[object, pd.DataFrame] = (None, self.calls)

    def fetch(self, stop: threading.Event | None = None, progress: Progress | None = None) -> None:  # noqa: ARG002 - reading is quick
        """Read the rollup and the schedules."""
        rollup, schedules = self.archive.rollup(), self.archive.schedules()
        self._rollup, self.schedules, self.problem = rollup, schedules, ""
        self._cached = (None, self.calls)

    @property
    def empty(self) -> bool:
        """Whether there are no calls at all."""
        return self._rollup.empty

    def analyze(self, selection: Selection) -> CallAnalysis | RollupAnalysis:
        """Analyze a selection, call by call if there are not too many."""
        times = window(end_ms(self._rollup), selection)
        if estimate_count(self._rollup, selection, times) > reporting.MAX_CALLS:
            return RollupAnalysis(self._rollup, selection, times)
        wanted, (key, calls) = (selection.functions, *times), self._cached
        if key != wanted:
            calls = self._read(selection)
            self._cached = (wanted, calls)
        return CallAnalysis(self._whole_of(calls), selection)

    def select(self, selection: Selection) -> pd.DataFrame:
        """Select calls, however many."""
        return select(self._read(selection), selection)

    def _read(self, selection: Selection) -> pd.DataFrame:
        """Read the calls of a selection, of any status and schedule."""
        start, end = window(end_ms(self._rollup), selection)
        available = set(self._rollup["function"].cat.categories)
        functions = [name for name in selection.functions if name in available]
        first = "" if self._rollup.empty else iso(int(to_milliseconds(self._rollup["start_time"]).min()))
        if (selection.functions and not functions) or (end is not None and end <= max(first, start or "")):
            return self.calls
        return self.archive.calls(*functions, start=start, end=end)


def make_source(value: Any, *, schedules: pd.DataFrame | None, start: TimeLike | None) -> Source:
    """Make a source from what a user gave; nothing is fetched yet."""
    if not isinstance(value, Project | Archive | str | os.PathLike):
        frame.check(value)
    if schedules is not None:
        parse_schedules(schedules)
        if isinstance(value, Project | Archive):
            kind = "A project" if isinstance(value, Project) else "An archive"
            raise ArgumentError(f"{kind} has its own schedules; leave out schedules=.")
    if isinstance(value, Project):
        return ProjectSource(value, "7d" if start is None else start)
    if start is not None:
        raise ArgumentError(
            "start= is for a project; choose a range in the dashboard, or give selection={'start': ...}."
        )
    if isinstance(value, Archive):
        return ArchiveSource(value)
    if isinstance(value, str | os.PathLike):
        path = Path(value)
        reader = READERS.get(suffix_of(path))
        if reader is None:
            raise ArgumentError(
                f"{str(path)!r} does not end in {', '.join(READERS)}; expected such a file, a call frame, a project or"
                " an archive."
            )
        return Source(reader(path), schedules, path)
    return Source(value.reset_index(drop=True), schedules)


def _count_complete(calls: pd.DataFrame) -> int:
    """Count the functions that were read completely."""
    known = Coverage.of(calls)
    return sum(function.complete for function in known.functions) if known else 0
