"""What leaves a dashboard: files with a link to them, and the code that makes the same."""

from __future__ import annotations

import base64
import html
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callframe.dashboard.plot_specs import WIDE, plot_spec
from callframe.dashboard.rollup_analysis import RollupAnalysis
from callframe.errors import FileError
from callframe.files import write_csv, write_parquet
from callframe.formatting import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from callframe.dashboard.call_analysis import CallAnalysis
    from callframe.dashboard.selection import Selection
    from callframe.dashboard.sources import Source

LINK_MOST = 20_000_000
"""Bytes that a link can hold; browsers refuse longer ones."""

_TYPES = {".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}


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
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    try:
        path = next(one for one in (Path(f"{name}{suffix}") for name in names) if not one.exists())
    except OSError as error:
        raise FileError(f"The working folder cannot be looked at: {error.strerror}.") from None
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
    words = f"{calls:,} calls written to {html.escape(printable(str(path.resolve())))} ({_size(size)})."
    if size > LINK_MOST:
        return f"{words} It is too large for a link; narrow the selection to download it."
    held = base64.b64encode(path.read_bytes()).decode()
    url = f"data:{_TYPES[path.suffix]};base64,{held}"
    return f'{words} <a href="{url}" download="{html.escape(path.name)}">Download {html.escape(path.name)}</a>'


def code(source: Source, look: CallAnalysis | RollupAnalysis) -> str:
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
    lines = ["import callframe as cf", *(["import pandas as pd"] if not look.wide and any(look.window) else []), ""]
    lines += source.opening(look).splitlines()
    lines += _of_rollup(look) if isinstance(look, RollupAnalysis) else _of_calls(source, look)
    return "\n".join(lines) + "\n"


def _of_rollup(look: RollupAnalysis) -> list[str]:
    statuses, view = look.selection.statuses, WIDE.get(look.selection.tab)
    lines = _taking("rollup", [f'rollup["status"].isin({list(statuses)!r})'] if statuses else [])
    return [*lines, view.code(look.selection.tz, "rollup") if view else "cf.summarize_rollup(rollup)"]


def _of_calls(source: Source, look: CallAnalysis) -> list[str]:
    selection, times = look.selection, look.window
    view = plot_spec(selection.tab, selection.picture)
    lines, what = [], "calls"
    if view is not None and view.function == "missed_runs" and look.missed is None:
        view = None
    elif view is not None and view.function == "missed_runs":  # of all calls: a slot is filled by calls of any status
        lines = [*source.schedules_line.splitlines(), "missed = cf.missed_runs(calls, schedules)"]
        chosen = {"function": selection.functions, "schedule_id": selection.schedules}
        lines += _taking("missed", _conditions("missed", chosen, "scheduled_time", times))
        what = "missed"
    chosen = {"function": selection.functions, "status": selection.statuses, "schedule_id": selection.schedules}
    lines += _taking("calls", _conditions("calls", chosen, "start_time", times))
    if view is not None and view.rows and what == "calls" and look.worst is not look.calls:
        worst = look.worst["function"].unique().tolist()
        lines += [f'worst = calls[calls["function"].isin({worst!r})]']
        what = "worst"
    return [*lines, view.code(selection.tz, what) if view else _last_line(selection)]


def _conditions(
    table: str, chosen: Mapping[str, Sequence[Any]], time: str, window: tuple[str | None, str | None]
) -> list[str]:
    """Write as code which rows of a table are selected."""
    found = [f'{table}["{column}"].isin({list(names)!r})' for column, names in chosen.items() if names]
    found += [
        f'({table}["{time}"] {sign} pd.Timestamp({moment!r}))'
        for sign, moment in zip((">=", "<"), window, strict=True)
        if moment
    ]
    return found


def _taking(table: str, conditions: Sequence[str]) -> list[str]:
    """Write as code that only some rows of a table are taken."""
    return [f"{table} = {table}[", f"    {(chr(10) + '    & ').join(conditions)}", "]"] if conditions else []


def _last_line(selection: Selection) -> str:
    return "cf.quality(calls)" if selection.tab == "Data quality" else f"cf.summarize(calls, by={selection.by!r})"


def _size(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB" if size >= 1_000_000 else f"{size / 1_000:,.0f} kB"  # noqa: PLR2004
