"""Reports: one HTML page about calls, for people without a notebook."""

from __future__ import annotations

import html
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from callframe import frame
from callframe.errors import ArgumentError, printable

if TYPE_CHECKING:
    import os

    import pandas as pd

    from callframe.archive import Archive
    from callframe.timespan import TimeLike

MAX_CALLS = 1_000_000
"""How many calls of an archive are read one by one; for more there is their rollup."""


class ReportLink:
    """A report that was written; a notebook shows a link to it."""

    def __init__(self, path: str | os.PathLike[str] | None, size_bytes: int) -> None:
        self.path = None if path is None else Path(path)
        self.size_bytes = size_bytes

    def __repr__(self) -> str:
        return f"<Report {self._name}, {self.size_bytes / 1000:,.0f} kB>"

    def _repr_html_(self) -> str:
        text = html.escape(printable(f"{self._name}, {self.size_bytes / 1000:,.0f} kB"))
        try:
            address = self.path and self.path.resolve().relative_to(Path.cwd()).as_posix()
        except ValueError:  # a server opens only files below the folder of the notebook
            address = None
        return f'<a href="{html.escape(quote(address))}" target="_blank">{text}</a>' if address else text

    @property
    def _name(self) -> str:
        return "in an open file" if self.path is None else str(self.path)


def report(
    calls: pd.DataFrame | Archive,
    path: str | os.PathLike[str] | IO[bytes],
    *,
    schedules: pd.DataFrame | None = None,
    start: TimeLike | None = None,
    end: TimeLike | None = None,
    title: str | None = None,
    tz: str = "UTC",
    traces: bool = True,
) -> ReportLink:
    """
    Write a report on calls: one self-contained HTML page with key figures, plots and tables.

    The page runs no scripts and loads nothing, all text of calls is escaped, and it can be printed. The file is written
    beside its path and then renamed, so that a crash leaves an older file whole.

    Parameters
    ----------
    calls
        Call frame, or an archive. If more than a million calls of an archive are selected, the page describes their
        rollup.
    path
        Path of the file, or a file that is open for writing bytes.
    schedules
        Table that `Project.schedules` returned; without it missed runs are not known. An archive has its own.
    start, end
        For an archive: the window of start times, its end excluded; by default everything.
    title
        Heading of the page; by default it names the project, if that is known.
    tz
        Time zone of the times in the page.
    traces
        Whether to include an example of the text that each failure group left. The text may be confidential; text that
        seems to hold a password, token or key is left out in any case.

    Returns
    -------
    link
        In a notebook a link to the page; its `path` and `size_bytes`.

    Raises
    ------
    FrameError
        `calls` is not a call frame, or `schedules` is missing a column.
    ArgumentError
        `tz` is not a time zone, or an argument does not apply to this kind of `calls`.
    FileError
        The file could not be written; an older one is unchanged.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     link = cf.report(project.calls(start="14d"), "report.html", schedules=project.schedules())
    >>> link.path.name
    'report.html'
    """
    from callframe.archive import Archive  # noqa: PLC0415 - with the next ones, Arrow and matplotlib are imported
    from callframe.csv_parquet import write_atomically  # noqa: PLC0415
    from callframe.reporting.page import render  # noqa: PLC0415

    if isinstance(calls, Archive):
        if schedules is not None:
            raise ArgumentError("An archive has its own schedules; leave out schedules=.")
        page = _render_archive(calls, start, end, title=title, tz=tz, traces=traces)
    else:
        if start is not None or end is not None:
            raise ArgumentError("start= and end= are for an archive; filter the frame instead.")
        frame.check(calls)
        page = render(calls, schedules=schedules, title=title, tz=tz, traces=traces)
    write_atomically(path, lambda file: file.write(page))
    return ReportLink(None if hasattr(path, "write") else path, len(page))


def _render_archive(
    archive: Archive, start: TimeLike | None, end: TimeLike | None, *, title: str | None, tz: str, traces: bool
) -> bytes:
    """Render the page about the calls of an archive, or about their rollup if they are too many."""
    from callframe.reporting.key_figures import count_calls  # noqa: PLC0415
    from callframe.reporting.page import render, render_history  # noqa: PLC0415

    rollup = archive.rollup(start=start, end=end)
    if count_calls(rollup) > MAX_CALLS:
        return render_history(rollup, archive.coverage(start, end), title=title, tz=tz)
    calls = archive.calls(start=start, end=end)
    return render(calls, schedules=archive.schedules(), title=title, tz=tz, traces=traces)
