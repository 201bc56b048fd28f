"""What a dashboard exports: files with a link to download them, and code that reproduces what is shown."""

from __future__ import annotations

import base64
import html
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callframe.csv_parquet import FORMULA, READERS, suffix_of, write_csv, write_parquet
from callframe.dashboard.plots import plot_spec
from callframe.dashboard.selection_analysis import CallAnalysis, RollupAnalysis, whole_days
from callframe.dashboard.sources import ArchiveSource, ProjectSource
from callframe.errors import FileError, printable
from callframe.timespan import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from callframe.dashboard.plots import PlotSpec
    from callframe.dashboard.selection import Selection
    from callframe.dashboard.selection_analysis import Window
    from callframe.dashboard.sources import Source

MAX_LINK_BYTES = 20_000_000
"""What a link can hold; browsers refuse longer ones."""

_WRITERS = {".csv": (write_csv, "text/csv"), ".parquet": (write_parquet, "application/vnd.apache.parquet")}


def export(calls: pd.DataFrame, suffix: str) -> Path:
    """Write calls to a new file in the working folder."""
    stem = "calls"
    if len(calls):
        stem += f"-{calls['start_time'].iloc[0]:%Y%m%d}-{calls['start_time'].iloc[-1]:%Y%m%d}"
    path = _new_path(stem, suffix)
    write, _ = _WRITERS[suffix]
    write(calls, path)
    return path


def export_missed(missed: pd.DataFrame) -> Path:
    """Write missed runs to a new CSV file in the working folder, no name as a formula of a spreadsheet."""
    path = _new_path("missed-runs", ".csv")
    names = {name: missed[name].astype("object").where(missed[name].notna(), "") for name in ("name", "function")}
    escaped = {name: texts.astype("str").str.replace(FORMULA, r"'\1", regex=True) for name, texts in names.items()}
    try:
        missed.assign(**escaped).to_csv(path, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
    except OSError as error:
        raise FileError(f"{str(path)!r} cannot be written: {error.strerror}.") from None
    return path


def _new_path(stem: str, suffix: str) -> Path:
    """Find a name in the working folder that no file has."""
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    try:
        return next(path for path in (Path(f"{name}{suffix}") for name in names) if not path.exists())
    except OSError as error:
        raise FileError(f"The working folder cannot be read: {error.strerror}.") from None


def link(path: Path, rows: int, noun: str = "calls") -> str:
    """Render where a file is, with a link that holds its content: it can be downloaded from a remote server too."""
    size = path.stat().st_size
    text = f"{rows:,} {noun} written to {html.escape(printable(str(path.resolve())))} ({_format_size(size)})."
    if size > MAX_LINK_BYTES:
        return f"{text} It is too large for a link; narrow the selection to download it."
    _, media_type = _WRITERS[path.suffix]
    content = base64.b64encode(path.read_bytes()).decode()
    name = html.escape(path.name)
    return f'{text} <a href="data:{media_type};base64,{content}" download="{name}">Download {name}</a>'


def code(source: Source, analysis: CallAnalysis | RollupAnalysis) -> str:
    """Write the Python code that reproduces a selection and its plot."""
    spec = plot_spec(analysis)
    if isinstance(analysis, RollupAnalysis):
        lines = [*_opening(source, analysis), *_rollup_code(analysis, spec)]
    else:
        chosen = analysis.selection
        needs_pandas = any((*analysis.window, chosen.min_duration, chosen.max_duration))
        imports = ["import pandas as pd"] if needs_pandas else []
        lines = [*imports, "", *_opening(source, analysis), *_calls_code(source, analysis, spec)]
    return "\n".join(["import callframe as cf", *lines]) + "\n"


def _opening(source: Source, analysis: CallAnalysis | RollupAnalysis) -> list[str]:
    """Write the lines that read `calls` or `rollup`; none for a frame, which the user has."""
    if isinstance(source, ProjectSource):
        return ["project = cf.connect()", f"calls = project.calls(start={source.start!r})"]
    if source.path is not None:
        return [f"calls = cf.{READERS[suffix_of(source.path)].__name__}({str(source.path)!r})"]
    if not isinstance(source, ArchiveSource):
        return []
    is_rollup = isinstance(analysis, RollupAnalysis)
    start, end = whole_days(analysis.window) if is_rollup else analysis.window
    times = [f"{name}={value!r}" for name, value in (("start", start), ("end", end)) if value]
    arguments = ", ".join([*map(repr, analysis.selection.functions), *times])
    what = "rollup" if is_rollup else "calls"
    return [f"archive = cf.Archive({source.archive.path!r})", f"{what} = archive.{what}({arguments})"]


def _rollup_code(analysis: RollupAnalysis, spec: PlotSpec | None) -> list[str]:
    selection = analysis.selection
    lines = _filter("rollup", {"status": selection.statuses}, "", (None, None))
    return [*lines, _plot_line(spec, selection.tz, "rollup") if spec else "cf.summarize_rollup(rollup)"]


def _calls_code(source: Source, analysis: CallAnalysis, spec: PlotSpec | None) -> list[str]:
    selection, lines, table = analysis.selection, [], "calls"
    filters = {"function": selection.functions, "status": selection.statuses, "schedule_id": selection.schedules}
    filters["function_id"] = selection.deployments
    if spec and spec.function in {"missed_runs", "run_grid"} and analysis.missed is not None:
        table = "missed" if spec.function == "missed_runs" else "calls"
        owner = {ProjectSource: "project", ArchiveSource: "archive"}.get(type(source))
        lines += [f"schedules = {owner}.schedules()"] if owner else []
        lines += ["missed = cf.missed_runs(calls, schedules)"]
        lines += _filter("missed", {**filters, "status": (), "function_id": ()}, "scheduled_time", analysis.window)
    lines += _filter("calls", filters, "start_time", analysis.window, _other_conditions(selection))
    if spec and spec.rows and table == "calls" and analysis.worst_calls is not analysis.calls:
        table = "worst"
        lines += [f'worst = calls[calls["function"].isin({analysis.worst_calls["function"].unique().tolist()!r})]']
    if spec:
        line = _plot_line(spec, selection.tz, table)
        with_missed = spec.function == "run_grid" and analysis.missed is not None
        return [*lines, line.replace("(calls, ", "(calls, missed=missed, ") if with_missed else line]
    quality = selection.tab == "Data quality"
    return [*lines, "cf.quality(calls)" if quality else f"cf.summarize(calls, by={selection.by!r})"]


def _plot_line(spec: PlotSpec, tz: str, table: str) -> str:
    arguments = [f"{name}={value!r}" for name, value in spec.arguments(tz).items()]
    return f"cf.plot.{spec.function}({', '.join([table, *arguments])})"


def _other_conditions(selection: Selection) -> list[str]:
    """Write the conditions of filters that are not values of a column."""
    conditions = [f"cf.failure_groups(calls).isin({list(selection.groups)!r})"] if selection.groups else []
    for field, name in (("hours", "hour"), ("weekdays", "day_of_week")):
        if chosen := getattr(selection, field):
            local = f'calls["start_time"].dt.tz_convert({selection.tz!r}).dt'
            conditions.append(f"{local}.{name}.isin({list(chosen)!r})")
    for field, sign in (("min_duration", ">="), ("max_duration", "<=")):
        if text := getattr(selection, field):
            limit = parse_duration(text, name=field)
            conditions.append(f'(calls["duration"] {sign} pd.Timedelta({limit}, "ms"))')
    if selection.search:
        sought = selection.search.strip()
        columns = ["function", "status", "error_message", *(["call_id"] if sought.isdecimal() else [])]
        texts = f'calls[{columns!r}].astype("object").fillna("").astype("str")'
        test = f"column.str.contains({sought!r}, case=False, regex=False)"
        conditions.append(f"{texts}.apply(lambda column: {test}).any(axis=1)")
    return conditions


def _filter(
    table: str, filters: Mapping[str, Sequence[Any]], time: str, window: Window, others: Sequence[str] = ()
) -> list[str]:
    """Write the lines that select rows of a table; none if all are selected."""
    conditions = [f'{table}["{column}"].isin({list(values)!r})' for column, values in filters.items() if values]
    conditions += [
        f'({table}["{time}"] {sign} pd.Timestamp({edge!r}))'
        for sign, edge in zip((">=", "<"), window, strict=True)
        if edge
    ]
    conditions += others
    return [f"{table} = {table}[", f"    {(chr(10) + '    & ').join(conditions)}", "]"] if conditions else []


def _format_size(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB" if size >= 1_000_000 else f"{size / 1_000:,.0f} kB"  # noqa: PLR2004
