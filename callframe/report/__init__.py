"""One page that says it all, for people without a notebook."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from callframe import frame

if TYPE_CHECKING:
    import os

    import pandas as pd


def report(
    calls: pd.DataFrame,
    path: str | os.PathLike[str] | IO[bytes],
    *,
    schedules: pd.DataFrame | None = None,
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
        Call frame.
    path
        Where to; or a file that is open for bytes.
    schedules
        What `Project.schedules` gave; without it the report says nothing of missed runs.
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
    from callframe.files import replace  # noqa: PLC0415 - Arrow, and with the next one matplotlib, are slow to import
    from callframe.report.page import render  # noqa: PLC0415

    frame.check(calls)
    page = render(calls, schedules=schedules, title=title, tz=tz, traces=traces)
    replace(path, lambda file: file.write(page))
