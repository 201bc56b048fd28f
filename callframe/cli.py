"""Command-line interface."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pandas as pd

import callframe as cf
from callframe import jupyter
from callframe.archive import MIN_RETENTION_MS
from callframe.errors import ArgumentError, CallframeError
from callframe.formatting import format_summary, printable
from callframe.timespan import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILED, WRONG_USAGE, INCOMPLETE = 1, 2, 3

_FILTERS = [
    click.option("--start", help='Earliest start time: "7d", "36h", a date, an ISO 8601 time (UTC). Default: 7d.'),
    click.option("--end", help="End of the start times, excluded. Default: now."),
    click.option("--status", multiple=True, help="Only calls of this status; repeatable."),
    click.option("--schedule", multiple=True, help="Only calls of this schedule, by id or name; repeatable."),
    click.option("--strict", is_flag=True, help="Fail if something could not be read."),
]


class _Group(click.Group):
    """Command group that prints errors and warnings as sentences and sets the exit status."""

    def invoke(self, context: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):  # a character that the output cannot encode is replaced
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show_warning
            try:
                return super().invoke(context)
            except CallframeError as error:
                message, status = str(error), WRONG_USAGE if isinstance(error, ArgumentError) else FAILED
            except BrokenPipeError:  # the reader has stopped reading; click exits quietly
                raise
            except OSError as error:
                message, status = f"{error.filename or 'The output'} could not be written: {error.strerror}.", FAILED
        click.echo(f"callframe: {printable(message)}", err=True)
        return context.exit(status)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Print a warning without the line of code that raised it."""
    if issubclass(category, UserWarning):
        click.echo(f"callframe: {printable(str(message))}", err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cf.__version__, prog_name="callframe")
def main() -> None:
    """
    Fetch, summarize and export the call history of Cognite Data Fusion Functions.

    Connection settings and credentials are read from environment variables or a .env file, with the names of the
    Cognite Toolkit: CDF_CLUSTER, CDF_PROJECT, and CDF_TOKEN or IDP_CLIENT_ID, IDP_CLIENT_SECRET, IDP_TENANT_ID.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but incomplete.
    """


def _filter_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@main.command(short_help="Fetch calls as CSV or Parquet.")
@click.argument("functions", nargs=-1)
@_filter_options
@click.option("--call-id", "call_ids", type=int, multiple=True, help="Only the call with this id; repeatable.")
@click.option("--out", type=click.Path(dir_okay=False), help="A .csv or .parquet file. Default: CSV to stdout.")
@click.option("--partial", is_flag=True, help="Write even an incomplete result to --out itself, not beside it.")
@click.option("--traces", is_flag=True, help="Include error traces in CSV.")
@click.option("--ids", type=click.Choice(["number", "text"]), default="number", help="text: for spreadsheets.")
@click.option("--no-escape-formulas", is_flag=True, help="Do not escape text that spreadsheets run as a formula.")
def calls(
    functions: tuple[str, ...],
    out: str | None,
    *,
    partial: bool,
    traces: bool,
    ids: Any,
    no_escape_formulas: bool,
    **filters: Any,
) -> None:
    """Fetch the calls of FUNCTIONS (ids, external ids or names; default: all) as CSV or Parquet."""
    suffix = Path(out).suffix.lower() if out else ".csv"
    if suffix not in {".csv", ".parquet"}:
        raise ArgumentError(f"--out {out}: expected a name that ends in .csv or .parquet.")
    if out:
        _check_folder(out)
    with cf.connect() as project:
        fetched = project.calls(*functions, **_given(filters))
    is_beside = bool(out) and not partial and cf.is_complete(fetched) is False
    target = str(Path(str(out)).with_suffix(f".partial{suffix}")) if is_beside else out
    if suffix == ".parquet":
        cf.write_parquet(fetched, str(target))
    else:
        escape_formulas = not no_escape_formulas
        cf.write_csv(fetched, target or sys.stdout.buffer, traces=traces, ids=ids, escape_formulas=escape_formulas)
    if target:
        note = f"; {out} is left as it is, as not everything could be read (--partial replaces it)" if is_beside else ""
        click.echo(f"{len(fetched):,} calls written to {target}{note}", err=True)
    _exit_if_incomplete(fetched)


@main.command(short_help="List the functions.")
def functions() -> None:
    """List the functions: label, id, status, time of deployment and owner."""
    with cf.connect() as project:
        table = project.functions()[["function", "function_id", "status", "created_time", "owner"]]
    rows = [[" ".join(printable(_format(cell)).split()) for cell in row] for row in table.astype("object").to_numpy()]
    columns = list(zip(table.columns, *rows, strict=True))
    padded = [[cell.ljust(max(map(len, column))) for cell in column] for column in columns]
    for line in zip(*padded, strict=True):
        click.echo("  ".join(line).rstrip())


@main.command(short_help="Show a call.")
@click.argument("function")
@click.argument("call_id", type=int)
def call(function: str, call_id: int) -> None:
    """Show a call of FUNCTION (id, external id or name)."""
    with cf.connect() as project:
        row = project.call(function, call_id).iloc[0]
    width = max(map(len, row.index))
    for name, value in row.items():
        text = printable(_format(value)).replace("\n", "\n" + " " * (width + 2))
        click.echo(f"{name:<{width}}  {text}".rstrip())


@main.command(short_help="Print the log of a call.")
@click.argument("function")
@click.argument("call_id", type=int)
def logs(function: str, call_id: int) -> None:
    """Print the log of a call of FUNCTION (id, external id or name)."""
    with cf.connect() as project:
        log = project.logs(function, call_id)
    for timestamp, message in zip(log["timestamp"], log["message"], strict=True):
        prefix = "" if pd.isna(timestamp) else f"{_format(timestamp)}  "
        click.echo(prefix + ("" if pd.isna(message) else printable(message)))


@main.command(short_help="Summarize the calls of a project or a file.")
@click.argument("source", nargs=-1)
@_filter_options
@click.option("--by", type=click.Choice(["function", "schedule", "status"]), default="function", help="Grouping.")
def summary(source: tuple[str, ...], by: str, **filters: Any) -> None:
    """Summarize the calls of functions (ids, external ids or names; default: all), or of one .csv or .parquet file."""
    calls = _read_file(source, filters, "summarized")
    if calls is None:
        with cf.connect() as project:
            calls = project.calls(*source, **_given(filters))
    click.echo(format_summary(cf.summarize(calls, by=by), width=_terminal_width()))
    _exit_if_incomplete(calls)


@main.command(short_help="Write a report as an HTML page.")
@click.argument("source", nargs=-1)
@_filter_options
@click.option("--out", type=click.Path(dir_okay=False), default="report.html", show_default=True, help="HTML file.")
@click.option("--title", help="Heading of the page.")
@click.option("--tz", default="UTC", show_default=True, help="Time zone of the times, such as Europe/Oslo.")
@click.option("--no-traces", is_flag=True, help="Leave out error messages and traces.")
def report(source: tuple[str, ...], out: str, *, title: str | None, tz: str, no_traces: bool, **filters: Any) -> None:
    """
    Write a report as an HTML page: on functions (ids, external ids or names; default: all), a file or an archive.

    A .csv or .parquet file has no schedules, so its report has no missed runs. An archive is a folder or an address
    such as s3://bucket/calls.delta; the report on more than a million calls is made from their rollup.
    """
    _check_folder(out)
    if archive := _open_archive(source):
        _report_archive(archive, filters, out, title=title, tz=tz, traces=not no_traces)
        return
    calls, schedules, has_schedules = _read_file(source, filters, "reported"), None, True
    if calls is None:
        with cf.connect() as project:
            calls = project.calls(*source, **_given(filters))
            schedules = _fetch_schedules(project, calls)
        has_schedules = schedules is not None
    cf.report(calls, out, schedules=schedules, title=title, tz=tz, traces=not no_traces)
    click.echo(f"A report on {len(calls):,} calls written to {out}", err=True)
    _exit_if_incomplete(calls)
    if not has_schedules:
        click.get_current_context().exit(INCOMPLETE)


@main.command(short_help="Bring an archive up to date.")
@click.argument("path")
@click.option("--start", help='Earliest start time to read, such as "30d" or a date. Default: all the service keeps.')
@click.option("--retention", help='Then remove files that only older versions need, such as "30d". Default: keep all.')
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="For the object store; repeatable.")
def sync(path: str, start: str | None, retention: str | None, options: tuple[str, ...]) -> None:
    """
    Bring the archive at PATH up to date: a folder, or an address such as s3://bucket/calls.delta.

    The first sync reads all calls that the service keeps, later ones read new and changed calls. Suited for cron: an
    interrupted sync is continued by the next one. Put secrets of an object store into environment variables, not into
    --option.
    """
    archive = cf.Archive(path, storage_options=_parse_pairs(options))
    if retention is not None:
        parse_duration(retention, name="--retention", at_least_ms=MIN_RETENTION_MS)  # before a long sync
    with cf.connect() as project, warnings.catch_warnings():
        for category in (cf.IncompleteWarning, cf.RecordWarning):  # the printed report contains them
            warnings.simplefilter("ignore", category)
        sync_report = archive.sync(project, start=start)
    click.echo(printable(str(sync_report)))
    if retention is not None:
        click.echo(f"{archive.vacuum(retention=retention):,} old files removed")
    if not sync_report.complete:
        click.get_current_context().exit(INCOMPLETE)


@main.command(short_help="Try callframe on a sample project.")
@click.option("--out", type=click.Path(file_okay=False), default="callframe-demo", show_default=True, help="Folder.")
@click.option("--calls", "count", type=click.IntRange(0), default=150_000, show_default=True)
@click.option("--functions", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--latency-s", type=click.FloatRange(0), default=0.0, show_default=True, help="Delay of each response.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--serve", is_flag=True, help="Only serve the project, until stopped.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="With --serve; default: any free port.")
def demo(out: str, *, serve: bool, port: int, count: int, functions: int, latency_s: float, seed: int) -> None:
    """Try callframe on a sample project: fetch over HTTP, summarize, plot and export."""
    options: dict[str, Any] = {"calls": count, "functions": functions, "latency_s": latency_s, "seed": seed}
    if serve:
        _serve(port, options)
        return
    folder = Path(out)
    with cf.demo(**options) as project:
        base_url = project.client.target.base_url
        click.echo(f"A sample project is served at {base_url}; fetching its calls over HTTP ...")
        started_s = time.perf_counter()
        calls = project.calls(start="15d")
    elapsed_s = time.perf_counter() - started_s
    click.echo(f"{len(calls):,} calls of {calls['function'].nunique()} functions in {elapsed_s:.1f} s\n")
    click.echo(format_summary(cf.summarize(calls), width=_terminal_width()))
    click.echo("\nWritten:")
    for path in _export(calls, folder):
        click.echo(f"  {path}")
    click.echo(f"\nOpen {folder / 'failures.png'} and {folder / 'calls.csv'} next. For your own project: cf.connect().")
    _exit_if_incomplete(calls)


@main.command(short_help="Open the notebooks in JupyterLab.", context_settings={"ignore_unknown_options": True})
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False), default="callframe-notebooks", show_default=True,
    help="Folder of the copies.",
)  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--port", type=click.IntRange(1, 65535), help="Use only this port. Default: the first free from 8888.")
@click.argument("jupyter_options", nargs=-1, type=click.UNPROCESSED)
def notebook(folder: str, *, no_browser: bool, port: int | None, jupyter_options: tuple[str, ...]) -> None:
    """
    Open JupyterLab with copies of the tutorial notebooks, which run without an account.

    Changed copies are kept. Further options, such as --ip or --allow-root, are passed to JupyterLab.
    """
    jupyter.check_installed()
    kept = jupyter.copy_notebooks(Path(folder))
    click.echo(f"The notebooks are in {folder}. Press Ctrl-C here to stop JupyterLab.", err=True)
    if kept:
        click.echo(f"Changed copies are kept: {', '.join(kept)}. Rename or delete one to get a new copy.", err=True)
    options = ["--no-browser"] if no_browser else []
    if port is not None:
        options += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    jupyter.run_jupyterlab(Path(folder), [*options, *jupyter_options])


def _export(calls: pd.DataFrame, folder: Path) -> list[Path]:
    """Write calls as files and plots into a folder."""
    os.environ["MPLBACKEND"] = "Agg"  # no window, and no icon in a dock
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cf.errors.FileError(f"The folder {folder} could not be created: {error.strerror}.") from None
    cf.write_csv(calls, folder / "calls.csv")
    cf.write_parquet(calls, folder / "calls.parquet")
    written = [folder / "calls.csv", folder / "calls.parquet"]
    for plot in (cf.plot.durations, cf.plot.schedule_delays, cf.plot.failures):
        figure = plot(calls).figure
        written.append(folder / f"{plot.__name__}.png")
        figure.savefig(written[-1], dpi=130)  # type: ignore[union-attr] # axes made here are on a figure
    return written


def _serve(port: int, options: dict[str, Any]) -> None:
    from callframe.sample import serve  # noqa: PLC0415 - needs an extra

    def announce(environment: dict[str, str]) -> None:
        for name, value in environment.items():
            click.echo(f"export {name}={value}")
        click.echo("Serving until stopped (Ctrl-C). Set these in another shell, then run: callframe summary", err=True)
        sys.stdout.flush()

    serve(port=port, announce=announce, **options)


def _check_folder(out: str) -> None:
    """Check that the folder of a file exists, before a long fetch."""
    if not Path(out).parent.is_dir():
        raise cf.errors.FileError(f"--out {out}: the folder {Path(out).parent} does not exist.")


def _read_file(source: Sequence[str], filters: dict[str, Any], verb: str) -> pd.DataFrame | None:
    """Read the calls of a file; None if the source is not a file."""
    suffix = Path(source[0]).suffix.lower() if len(source) == 1 else ""
    if suffix not in {".csv", ".parquet"}:
        return None
    if given := _given(filters):
        raise ArgumentError(f"A file is always {verb} as a whole; leave out --{', --'.join(given)}.")
    return cf.read_csv(source[0]) if suffix == ".csv" else cf.read_parquet(source[0])


def _open_archive(source: Sequence[str]) -> cf.Archive | None:
    """Open an archive; None if the source is not an archive."""
    if len(source) != 1 or not ("://" in source[0] or Path(source[0], "_delta_log").is_dir()):
        return None
    return cf.Archive(source[0])


def _report_archive(archive: cf.Archive, filters: dict[str, Any], out: str, **options: Any) -> None:
    given = _given(filters)
    if unused := sorted(set(given) - {"start", "end"}):
        raise ArgumentError(f"A report on an archive takes only --start and --end; leave out --{', --'.join(unused)}.")
    cf.report(archive, out, **given, **options)
    click.echo(f"A report on {archive.path} written to {out}", err=True)


def _fetch_schedules(project: cf.Project, calls: pd.DataFrame) -> pd.DataFrame | None:
    """Fetch the schedules of the functions in the coverage; None if that fails."""
    try:
        schedules = project.schedules()
    except cf.errors.ServiceError as error:
        click.echo(f"callframe: The report has no missed runs. {printable(str(error))}", err=True)
        return None
    return schedules[schedules["function"].isin(cf.coverage(calls)["function"])]


def _given(filters: dict[str, Any]) -> dict[str, Any]:
    """Select the options that were given on the command line."""
    return {name: value for name, value in filters.items() if value not in (None, (), False)}


def _terminal_width() -> int | None:
    """Return the width of the terminal, None if the output is redirected."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _exit_if_incomplete(calls: pd.DataFrame) -> None:
    if cf.is_complete(calls) is False:
        click.get_current_context().exit(INCOMPLETE)


def _parse_pairs(options: Sequence[str]) -> dict[str, str]:
    """Parse NAME=VALUE; the message does not show the value, which may be a secret."""
    pairs = {}
    for option in options:
        name, separator, value = option.partition("=")
        if not name or not separator:
            raise ArgumentError("--option: expected NAME=VALUE, such as AWS_REGION=eu-north-1.")
        pairs[name] = value
    return pairs


def _format(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{value.total_seconds():g} s" if isinstance(value, pd.Timedelta) else str(value)
