"""What leaves a dashboard: files with a link to them, and the code that makes the same."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING

from callframe.explore.history import History
from callframe.explore.pictures import WIDE, view_of
from callframe.files import write_csv, write_parquet

if TYPE_CHECKING:
    import pandas as pd

    from callframe.explore.look import Look
    from callframe.explore.selection import Selection
    from callframe.explore.source import Source

LINK_MOST = 20_000_000
"""Bytes that a link can hold; browsers refuse longer ones."""

_TYPES = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}
_NAMES_MOST = 1_000


def export(calls: pd.DataFrame, suffix: str) -> Path:
    """
    Write calls into the working folder, under a name that is free.

    Parameters
    ----------
    calls
        Call frame.
    suffix
        `".csv"` or `".parquet"`.

    Returns
    -------
    path
        The file.

    Raises
    ------
    FileError
        It could not be written.
    """
    stem = (
        "calls" if calls.empty else f"calls-{calls['start_time'].iloc[0]:%Y%m%d}-{calls['start_time'].iloc[-1]:%Y%m%d}"
    )
    names = [stem, *(f"{stem}-{number}" for number in range(2, _NAMES_MOST))]
    path = next(one for one in (Path(f"{name}{suffix}") for name in names) if not one.exists())
    write = write_csv if suffix == ".csv" else write_parquet
    write(calls, path)
    return path


def link(path: Path, calls: int) -> str:
    """
    Say where a file is, with a link that holds it: so it can be had from a remote server too.

    Parameters
    ----------
    path
        The file.
    calls
        How many calls it holds.

    Returns
    -------
    html
        Without a link where the file is too large for one.
    """
    size = path.stat().st_size
    words = f"{calls:,} calls written to {html.escape(str(path.resolve()))} ({_size(size)})."
    if size > LINK_MOST:
        return f"{words} It is too large for a link; narrow the selection to download it."
    held = base64.b64encode(path.read_bytes()).decode()
    url = f"data:{_TYPES[path.suffix]};base64,{held}"
    return f'{words} <a href="{url}" download="{html.escape(path.name)}">Download {html.escape(path.name)}</a>'


def code(source: Source, look: Look | History) -> str:
    """
    Write the lines that reproduce a selection and its picture.

    Parameters
    ----------
    source
        Where the calls come from.
    look
        What is looked at.

    Returns
    -------
    code
        Python.
    """
    selection, opening = look.selection, source.opening(look)
    if isinstance(look, History):
        view = WIDE.get(selection.tab)
        last = view.code(selection.tz) if view else "cf.summarize_rollup(rollup)"
        return "\n".join(["import callframe as cf", "", *opening.splitlines(), last]) + "\n"
    lines = ["import callframe as cf", *(["import pandas as pd"] if any(look.window) else []), ""]
    lines += opening.splitlines()
    if conditions := _conditions(look):
        lines += ["calls = calls[", f"    {(chr(10) + '    & ').join(conditions)}", "]"]
    view = view_of(selection.tab, selection.picture)
    if view is not None and view.function == "missed_runs":
        lines.append(f"schedules = {'archive' if 'archive' in opening else 'project'}.schedules()")
    lines.append(view.code(selection.tz) if view else _last_line(selection))
    return "\n".join(lines) + "\n"


def _conditions(look: Look) -> list[str]:
    selection, (start, end) = look.selection, look.window
    found = [
        f'calls["{column}"].isin({list(names)!r})'
        for column, names in (
            ("function", selection.functions), ("status", selection.statuses), ("schedule_id", selection.schedules),
        )
        if names
    ]  # fmt: skip
    found += [f'(calls["start_time"] >= pd.Timestamp({start!r}))'] if start else []
    return found + ([f'(calls["start_time"] < pd.Timestamp({end!r}))'] if end else [])


def _last_line(selection: Selection) -> str:
    return "cf.quality(calls)" if selection.tab == "Data quality" else f"cf.summarize(calls, by={selection.by!r})"


def _size(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB" if size >= 1_000_000 else f"{size / 1_000:,.0f} kB"  # noqa: PLR2004
