"""The dashboard in a notebook."""

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
    Explore calls in a notebook: a dashboard with controls, figures, pictures and tables.

    It needs a notebook that shows ipywidgets: JupyterLab, Notebook 7, VS Code, Voila. Nothing is loaded from the
    network. Nothing chosen, of functions, statuses or schedules, means all of them.

    Parameters
    ----------
    source
        A call frame; a project, whose calls are fetched at once and again by the button Refresh; an archive, of which
        selections of over a million calls are told by their rollup, and others call by call; or a file that `write_csv`
        or `write_parquet` wrote.
    schedules
        What `Project.schedules` gave, for missed runs; a project and an archive know their own.
    start
        For a project: where the window of start times begins, `"7d"` by default.
    selection
        What to look at first: the `selection` of another dashboard, or what its `to_dict` gave.

    Returns
    -------
    explorer
        A widget. Its `calls` is the call frame of what is selected, `figure` the matplotlib figure that is shown, and
        `selection` a small value, which can be set too.

    Raises
    ------
    FrameError
        `source` is no call frame, or `schedules` lacks a column.
    ArgumentError
        An argument cannot be right.
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
    from callframe.dashboard.explorer import Explorer  # noqa: PLC0415 - widgets and matplotlib are slow to import
    from callframe.dashboard.selection import Selection  # noqa: PLC0415
    from callframe.dashboard.sources import source_of  # noqa: PLC0415

    made = source_of(source, schedules=schedules, start=start)
    chosen = Selection.of(selection)
    made.fetch()
    return Explorer(made, chosen)
