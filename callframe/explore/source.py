"""Where the calls of a dashboard come from: a frame, a file or a project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callframe import frame
from callframe.errors import ArgumentError, CallframeError, IncompleteError
from callframe.files import read_csv, read_parquet
from callframe.project import Project

if TYPE_CHECKING:
    import threading

    import pandas as pd

    from callframe.window import TimeLike

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
    opening
        The lines of code that make `calls`.
    """

    def __init__(self, calls: pd.DataFrame, schedules: pd.DataFrame | None, opening: str) -> None:
        self.calls = calls
        self.schedules = schedules
        self.opening = opening
        self.project: Project | None = None
        self.problem = ""

    def fetch(self, stop: threading.Event | None = None) -> None:
        """Read everything anew, where that can be done."""


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

    def __init__(self, project: Project, start: TimeLike) -> None:
        super().__init__(frame.empty(), None, f"project = cf.connect()\ncalls = project.calls(start={start!r})")
        self.project: Project = project
        self._start = start

    def fetch(self, stop: threading.Event | None = None) -> None:
        """Fetch the window; what could not be read is said, and what was is kept."""
        self.problem = ""
        try:
            self.calls = self.project.calls(
                start=self._start, strict=True, stop=stop, progress=None if stop is None else False
            )
        except IncompleteError as error:
            self.calls, self.problem = error.calls, str(error)
        except CallframeError as error:
            self.problem = f"The calls could not be fetched. {error}"
            return
        try:
            self.schedules = self.project.schedules()
        except CallframeError as error:
            self.problem = f"{self.problem}\nThe schedules could not be fetched. {error}".strip()


def source_of(given: Any, *, schedules: pd.DataFrame | None, start: TimeLike | None) -> Source:
    """
    Make a source of what a user gave.

    Parameters
    ----------
    given
        A call frame, a project, or the path of a file.
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
    if isinstance(given, Project):
        if schedules is not None:
            raise ArgumentError("A project knows its schedules; leave out schedules=.")
        return ProjectSource(given, "7d" if start is None else start)
    if start is not None:
        raise ArgumentError(
            "start= is for a project; choose a range in the dashboard, or give selection={'start': ...}."
        )
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise ArgumentError(
                f"{str(path)!r} is neither a .csv nor a .parquet file; expected one, a call frame or a project."
            )
        calls = reader(path)
        return Source(calls, schedules, f"calls = cf.{reader.__name__}({str(path)!r})")
    frame.check(given)
    return Source(given.reset_index(drop=True), schedules, "")
