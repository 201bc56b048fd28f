"""One page that says it all, for people without a notebook."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from callframe import frame
from callframe.errors import ArgumentError

if TYPE_CHECKING:
    import os

    import pandas as pd

    from callframe.archive import Archive
    from callframe.timespan import TimeLike


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
) -> None:
    """
    Write a report on calls: one HTML page with figures, pictures and tables, which needs nothing else.

    It holds no scripts and loads nothing, all text of calls is escaped, and it prints. The file is written beside its
    place and then moved there, so a crash leaves an older one whole.

    Parameters
    ----------
    calls
        Call frame, or an archive. Of more than a million calls of an archive the page shows what their rollup tells.
    path
        Where to; or a file that is open for bytes.
    schedules
        What `Project.schedules` gave; without it the report says nothing of missed runs. An archive knows its own.
    start, end
        Of an archive: the window of start times, its end excluded; by default all of it.
    title
        Heading of the page; by default it names the project, where the frame does.
    tz
        Time zone of the times in it.
    traces
        Whether to show an example of what each kind of failure said, whole. It may hold what should not leave the
        project; what seems to hold a password, token or key is left out in any case.

    Raises
    ------
    FrameError
        `calls` is no call frame, or `schedules` lacks a column.
    ArgumentError
        `tz` is no time zone.
    FileError
        The file could not be written; an older one is still there.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     cf.report(project.calls(start="14d"), "report.html", schedules=project.schedules())
    """
    from callframe.archive import Archive  # noqa: PLC0415 - with the next ones, Arrow and matplotlib are imported
    from callframe.files import write_atomically  # noqa: PLC0415
    from callframe.reporting.page import render  # noqa: PLC0415

    if isinstance(calls, Archive):
        if schedules is not None:
            raise ArgumentError("An archive knows its schedules; leave out schedules=.")
        page = _of_archive(calls, start, end, title=title, tz=tz, traces=traces)
    else:
        if start is not None or end is not None:
            raise ArgumentError("start= and end= are for an archive; select the calls of a frame before.")
        frame.check(calls)
        page = render(calls, schedules=schedules, title=title, tz=tz, traces=traces)
    write_atomically(path, lambda file: file.write(page))


def _of_archive(
    archive: Archive, start: TimeLike | None, end: TimeLike | None, *, title: str | None, tz: str, traces: bool
) -> bytes:
    """Look at the calls one by one, or at their rollup where they are too many."""
    from callframe.reporting import rollup_page  # noqa: PLC0415
    from callframe.reporting.page import render, render_history  # noqa: PLC0415

    rollup = archive.rollup(start=start, end=end)
    if rollup_page.count(rollup) > rollup_page.CALLS_MOST:
        return render_history(rollup, archive.coverage(start, end), title=title, tz=tz)
    calls = archive.calls(start=start, end=end)
    return render(calls, schedules=archive.schedules(), title=title, tz=tz, traces=traces)
