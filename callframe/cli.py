"""Command-line interface."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import callframe as cf
from callframe.errors import ArgumentError, CallframeError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

FAILED, WRONG_USAGE, INCOMPLETE, CLOSED_PIPE = 1, 2, 3, 141

_OUTPUTS = (".csv", ".csv.gz", ".csv.zst", ".jsonl", ".parquet")

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
            except BrokenPipeError:  # the reader has stopped reading, as `head` does
                return context.exit(_close_stdout())
            except OSError as error:
                message, status = f"{error.filename or 'The output'} could not be written: {error.strerror}.", FAILED
        _echo(f"callframe: {message}", err=True)
        return context.exit(status)


def _close_stdout() -> int:
    """Let Python find nothing to write when it exits; return the status of a process that SIGPIPE ends."""
    with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())
    return CLOSED_PIPE


def _echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text without what a terminal would obey: it may come from calls."""
    click.echo(printable(text), err=err, nl=nl)


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Print a warning without the line of code that raised it."""
    if issubclass(category, UserWarning):
        _echo(f"callframe: {message}", err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cf.__version__, prog_name="callframe")
def main() -> None:
    """
    Fetch, summarize and export the call history of Cognite Data Fusion Functions.

    Connection settings and credentials are read from environment variables or a .env file, with the names of the
    Cognite Toolkit: CDF_CLUSTER, CDF_PROJECT, and CDF_TOKEN or IDP_CLIENT_ID, IDP_CLIENT_SECRET, IDP_TENANT_ID.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but incomplete, 141 the reader of the output stopped.
    """


def _filter_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@main.command(short_help="Fetch calls as CSV, JSON lines or Parquet.")
@click.argument("functions", nargs=-1)
@_filter_options
@click.option("--call-id", "call_ids", type=int, multiple=True, help="Only the call with this id; repeatable.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, readable=False, allow_dash=True),
    default="-",
    help=f"File, in the format of its name: {', '.join(_OUTPUTS)}. Default: -, stdout.",
)
@click.option("--format", "stdout_format", type=click.Choice(["csv", "jsonl"]), help="Format of stdout. Default: csv.")
@click.option("--partial", is_flag=True, help="Write even an incomplete result to --out itself, not beside it.")
@click.option("--traces", is_flag=True, help="Include error traces in CSV and JSON lines.")
@click.option("--ids", type=click.Choice(["number", "text"]), default="number", help="text: for spreadsheets.")
@click.option("--no-escape-formulas", is_flag=True, help="Do not escape text that spreadsheets run as a formula.")
def calls(
    functions: tuple[str, ...],
    out: str,
    *,
    stdout_format: str | None,
    partial: bool,
    traces: bool,
    ids: Any,
    no_escape_formulas: bool,
    **filters: Any,
) -> None:
    """Fetch the calls of FUNCTIONS (ids, external ids or names; default: all) as CSV, JSON lines or Parquet."""
    suffix = _output_suffix(out, stdout_format)
    if out != "-":
        _check_folder(out)
    with cf.connect() as project:
        fetched = project.calls(*functions, **_given(filters))

    def write(target: Any) -> None:
        from callframe.csv_parquet import write_json_lines

        if suffix == ".parquet":
            cf.write_parquet(fetched, target)
        elif suffix == ".jsonl":
            write_json_lines(fetched, target, traces=traces)
        else:
            cf.write_csv(fetched, target, traces=traces, ids=ids, escape_formulas=not no_escape_formulas)

    if out == "-":
        _print_file(write)
    else:
        is_beside = not partial and cf.is_complete(fetched) is False
        target = f"{out[: -len(suffix)]}.partial{suffix}" if is_beside else out
        write(target)
        note = f"; {out} is left as it is, as not everything could be read (--partial replaces it)" if is_beside else ""
        click.echo(f"{len(fetched):,} calls written to {target}{note}", err=True)
    _exit_if_incomplete(fetched)


def _output_suffix(out: str, stdout_format: str | None) -> str:
    """Find how calls are written: for a file its name says so."""
    if out == "-":
        return f".{stdout_format or 'csv'}"
    if stdout_format:
        raise ArgumentError(f"--format is for stdout; leave it out, and end the name {out} in the format.")
    suffix = next((suffix for suffix in _OUTPUTS if out.lower().endswith(suffix)), None)
    if suffix is None:
        raise ArgumentError(f"--out {out}: expected - or a name that ends in {', '.join(_OUTPUTS)}.")
    return suffix


def _print_file(write: Callable[[Any], None]) -> None:
    """Write a file to stdout: as it is for another program, without control characters for a terminal."""
    if not sys.stdout.isatty():
        write(sys.stdout.buffer)
        return
    buffer = io.BytesIO()
    write(buffer)
    _echo(buffer.getvalue().decode(), nl=False)


@main.command(short_help="List the functions.")
def functions() -> None:
    """List the functions: label, id, family (function or app), status, time of deployment and owner."""
    with cf.connect() as project:
        table = project.functions()[["function", "function_id", "family", "status", "created_time", "owner"]]
    rows = [[" ".join(_format(cell).split()) for cell in row] for row in table.astype("object").to_numpy()]
    columns = list(zip(table.columns, *rows, strict=True))
    padded = [[cell.ljust(max(map(len, column))) for cell in column] for column in columns]
    for line in zip(*padded, strict=True):
        _echo("  ".join(line).rstrip())


@main.command(short_help="Show a call.")
@click.argument("function")
@click.argument("call_id", type=int)
def call(function: str, call_id: int) -> None:
    """Show a call of FUNCTION (id, external id or name)."""
    with cf.connect() as project:
        row = project.call(function, call_id).iloc[0]
    width = max(map(len, row.index))
    for name, value in row.items():
        text = _format(value).replace("\n", "\n" + " " * (width + 2))
        _echo(f"{name:<{width}}  {text}".rstrip())


@main.command(short_help="Print the log of a call.")
@click.argument("function")
@click.argument("call_id", type=int)
def logs(function: str, call_id: int) -> None:
    """Print the log of a call of FUNCTION (id, external id or name)."""
    with cf.connect() as project:
        log = project.logs(function, call_id)
    for timestamp, message in zip(log["timestamp"], log["message"], strict=True):
        prefix = f"{_format(timestamp)}  " if _format(timestamp) else ""
        _echo(prefix + _format(message))


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
    _print_summary(calls, by=by)
    _exit_if_incomplete(calls)


@main.command(short_help="Write a report as an HTML page.")
@click.argument("source", nargs=-1)
@_filter_options
@click.option(
    "--out",
    type=click.Path(dir_okay=False, writable=True, readable=False),
    default="report.html",
    show_default=True,
    help="HTML file.",
)
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
@click.option("--retention", default="2d", show_default=True, help="How long earlier versions can still be opened.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="For the object store; repeatable.")
def sync(path: str, start: str | None, retention: str, options: tuple[str, ...]) -> None:
    """
    Bring the archive at PATH up to date: a folder, or an address such as s3://bucket/calls.delta.

    The first sync reads all calls that the service keeps, later ones read new and changed calls. Suited for cron: an
    interrupted sync is continued by the next one. Put secrets of an object store into environment variables, not into
    --option.
    """
    archive = cf.Archive(path, storage_options=_parse_pairs(options))
    with cf.connect() as project, warnings.catch_warnings():
        for category in (cf.IncompleteWarning, cf.RecordWarning):  # the printed report contains them
            warnings.simplefilter("ignore", category)
        sync_report = archive.sync(project, start=start, retention=retention)
    _echo(str(sync_report))
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
    _print_summary(calls)
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
    from callframe import jupyter

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
    from callframe.sample import serve

    def announce(environment: dict[str, str]) -> None:
        for name, value in environment.items():
            click.echo(f"export {name}={value}")
        click.echo("Serving until stopped (Ctrl-C). Set these in another shell, then run: callframe summary", err=True)
        sys.stdout.flush()

    serve(port=port, announce=announce, **options)


def _check_folder(out: str) -> None:
    """Check that a file can be written, before a long fetch."""
    path = Path(os.path.realpath(out))
    if not path.parent.is_dir():
        raise cf.errors.FileError(f"--out {out}: the folder {path.parent} does not exist.")
    if path.is_file() or not path.exists():  # neither a pipe nor a device
        try:
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise cf.errors.FileError(f"--out {out}: nothing can be written there: {error.strerror}.") from None


def _read_file(source: Sequence[str], filters: dict[str, Any], verb: str) -> pd.DataFrame | None:
    """Read the calls of a file; None if the source is not a file."""
    from callframe.csv_parquet import READERS, suffix_of

    read = READERS.get(suffix_of(source[0])) if len(source) == 1 else None
    if read is None:
        return None
    if given := _given(filters):
        raise ArgumentError(f"A file is always {verb} as a whole; leave out --{', --'.join(given)}.")
    return read(source[0])


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
        _echo(f"callframe: The report has no missed runs. {error}", err=True)
        return None
    return schedules[schedules["function"].isin(cf.coverage(calls)["function"])]


def _given(filters: dict[str, Any]) -> dict[str, Any]:
    """Select the options that were given on the command line."""
    return {name: value for name, value in filters.items() if value not in (None, (), False)}


def _print_summary(calls: pd.DataFrame, *, by: str = "function") -> None:
    """Print a summary, as wide as the terminal, or as it is if the output is redirected."""
    from callframe.formatting import format_summary

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    _echo(format_summary(cf.summarize(calls, by=by), width=width))


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
    import pandas as pd

    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{value.total_seconds():g} s" if isinstance(value, pd.Timedelta) else str(value)
