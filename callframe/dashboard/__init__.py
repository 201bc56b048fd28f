"""The dashboard for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import pandas as pd

    from callframe.archive import Archive
    from callframe.dashboard.explorer import Explorer
    from callframe.dashboard.selection import Selection
    from callframe.project import Project
    from callframe.timespan import TimeLike


def explore(
    source: pd.DataFrame | Project | Archive | str | os.PathLike[str],
    *,
    schedules: pd.DataFrame | None = None,
    start: TimeLike | None = None,
    selection: Selection | Mapping[str, Any] | None = None,
) -> Explorer:
    """
    Explore calls in a notebook: a dashboard with filters, key figures, plots and tables.

    It needs a notebook that shows ipywidgets: JupyterLab, Notebook 7, VS Code or Voila. Nothing is loaded from the
    network. If no function, status or schedule is chosen, all of them are selected.

    Parameters
    ----------
    source
        A call frame; a project, whose calls are fetched now and again by the button Refresh; an archive, of which
        selections of more than a million calls are shown by their rollup, and others call by call; or the path of a
        file that `write_csv` or `write_parquet` wrote.
    schedules
        Table that `Project.schedules` returned, for missed runs; a project and an archive have their own.
    start
        For a project: the start of the window of start times, `"7d"` by default.
    selection
        What to show first: the `selection` of another dashboard, or what its `to_dict` returned.

    Returns
    -------
    explorer
        A widget. Its `calls` is the call frame that is selected, `figure` the matplotlib figure that is shown, and
        `selection` a small value, which can be set too.

    Raises
    ------
    FrameError
        `source` is not a call frame, or `schedules` is missing a column.
    ArgumentError
        An argument is invalid, or does not apply to this kind of `source`.
    FileError
        The file cannot be read.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     explorer = cf.explore(project.calls(start="14d"), selection={"statuses": ["Failed"]})
    >>> explorer.calls["status"].unique().tolist()
    ['Failed']
    """
    from callframe.dashboard.explorer import Explorer, loading  # noqa: PLC0415 - widgets and matplotlib are slow to import
    from callframe.dashboard.selection import Selection  # noqa: PLC0415
    from callframe.dashboard.sources import make_source  # noqa: PLC0415

    opened = make_source(source, schedules=schedules, start=start)
    chosen = Selection.of(selection)
    with loading() as progress:
        opened.fetch(progress=progress)
    return Explorer(opened, chosen)
