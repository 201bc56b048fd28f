"""The same from a shell."""

from __future__ import annotations

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
from callframe.errors import ArgumentError, CallframeError
from callframe.formatting import format_summary, printable
from callframe.timespan import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILED, WRONG_USAGE, INCOMPLETE = 1, 2, 3

_WINDOW = [
    click.option("--start", help='Start of the window: "7d", "36h", a date, an ISO 8601 time (UTC). Default: 7d.'),
    click.option("--end", help="End of the window, excluded. Default: now."),
    click.option("--status", multiple=True, help="Only calls of this status; may be given more than once."),
    click.option("--schedule", multiple=True, help="Only calls of this schedule, by id or name."),
]


class _Group(click.Group):
    """Commands whose errors are sentences and whose exit status tells what became of them."""

    def invoke(self, context: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show
            try:
                return super().invoke(context)
            except CallframeError as error:
                message, status = str(error), WRONG_USAGE if isinstance(error, ArgumentError) else FAILED
            except BrokenPipeError:  # the reader has seen enough, and click knows how to end then
                raise
            except OSError as error:
                message, status = f"{error.filename or 'The output'} could not be written: {error.strerror}.", FAILED
        click.echo(f"callframe: {printable(message)}", err=True)
        return context.exit(status)


def _show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Show a warning as a sentence, without the line of code it comes from."""
    if issubclass(category, UserWarning):
        click.echo(f"callframe: {printable(str(message))}", err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cf.__version__, prog_name="callframe")
def main() -> None:
    """
    Call history of Cognite Data Fusion Functions: fetch, summarize, export.

    Where to and as whom is read from the environment or a .env, as the Cognite Toolkit has it: CDF_CLUSTER,
    CDF_PROJECT, and CDF_TOKEN or IDP_CLIENT_ID, IDP_CLIENT_SECRET, IDP_TENANT_ID.

    Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but incomplete.
    """


def _windowed(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_WINDOW):
        command = option(command)
    return command


@main.command(short_help="Fetch calls as CSV or Parquet.")
@click.argument("functions", nargs=-1)
@_windowed
@click.option("--call-id", "call_ids", type=int, multiple=True, help="Exactly this call; may be given more than once.")
@click.option("--out", type=click.Path(dir_okay=False), help="A .csv or .parquet file. Default: CSV to stdout.")
@click.option("--traces", is_flag=True, help="Write error traces to CSV too.")
@click.option("--ids", type=click.Choice(["number", "text"]), default="number", help="text: for spreadsheets.")
@click.option("--no-guard", is_flag=True, help="Leave text that a spreadsheet would run as a formula as it is.")
@click.option("--strict", is_flag=True, help="Fail where something could not be read.")
def calls(functions: tuple[str, ...], out: str | None, *, traces: bool, ids: Any, no_guard: bool, **asked: Any) -> None:
    """Fetch the calls of FUNCTIONS (ids, external ids or names; default: all) as CSV or Parquet."""
    suffix = Path(out).suffix.lower() if out else ".csv"
    if suffix not in {".csv", ".parquet"}:
        raise ArgumentError(f"--out {out}: expected a name that ends in .csv or .parquet.")
    if out:
        _check_folder(out)
    with cf.connect() as project:
        fetched = _fetch(project, functions, asked)
    if suffix == ".parquet":
        cf.write_parquet(fetched, str(out))
    else:
        cf.write_csv(fetched, out or sys.stdout.buffer, traces=traces, ids=ids, guard=not no_guard)
    if out:
        click.echo(f"{len(fetched):,} calls written to {out}", err=True)
    _exit(fetched)


@main.command(short_help="List the functions.")
def functions() -> None:
    """List the functions: by what to call them, their id, status, owner and when they were deployed."""
    with cf.connect() as project:
        listed = project.functions()[["function", "function_id", "status", "created_time", "owner"]]
    rows = [[" ".join(printable(_words(cell)).split()) for cell in row] for row in listed.astype("object").to_numpy()]
    columns = list(zip(listed.columns, *rows, strict=True))
    padded = [[cell.ljust(max(map(len, column))) for cell in column] for column in columns]
    for line in zip(*padded, strict=True):
        click.echo("  ".join(line).rstrip())


@main.command(short_help="Show one call.")
@click.argument("function")
@click.argument("call_id", type=int)
def call(function: str, call_id: int) -> None:
    """Show one call of FUNCTION (id, external id or name)."""
    with cf.connect() as project:
        found = project.call(function, call_id).iloc[0]
    width = max(map(len, found.index))
    for name, value in found.items():
        words = _indented(printable(_words(value)), width + 2)
        click.echo(f"{name:<{width}}  {words}".rstrip())


@main.command(short_help="Print what one call printed.")
@click.argument("function")
@click.argument("call_id", type=int)
def logs(function: str, call_id: int) -> None:
    """Print what one call of FUNCTION printed."""
    with cf.connect() as project:
        log = project.logs(function, call_id)
    for moment, message in zip(log["timestamp"], log["message"], strict=True):
        stamp = "" if pd.isna(moment) else f"{_words(moment)}  "
        click.echo(stamp + ("" if pd.isna(message) else printable(message)))


@main.command(short_help="Summarize the calls of a project or a file.")
@click.argument("source", nargs=-1)
@_windowed
@click.option("--by", type=click.Choice(["function", "schedule", "status"]), default="function", help="Groups.")
@click.option("--strict", is_flag=True, help="Fail where something could not be read.")
def summary(source: tuple[str, ...], by: str, **asked: Any) -> None:
    """Summarize calls: of functions (ids, external ids or names; default: all), or of one .csv or .parquet file."""
    given = _of_file(source, asked, "summarized")
    if given is None:
        with cf.connect() as project:
            given = _fetch(project, source, asked)
    click.echo(format_summary(cf.summarize(given, by=by), width=_width()))
    _exit(given)


@main.command(short_help="Write a report as one HTML page.")
@click.argument("source", nargs=-1)
@_windowed
@click.option("--out", type=click.Path(dir_okay=False), default="report.html", show_default=True, help="HTML file.")
@click.option("--title", help="Heading of the page.")
@click.option("--tz", default="UTC", show_default=True, help="Time zone of the times, such as Europe/Oslo.")
@click.option("--no-traces", is_flag=True, help="Leave out what failures said.")
@click.option("--strict", is_flag=True, help="Fail where something could not be read.")
def report(source: tuple[str, ...], out: str, *, title: str | None, tz: str, no_traces: bool, **asked: Any) -> None:
    """
    Write a report as one HTML page: on functions (ids, external ids or names; default: all), a file or an archive.

    The file is a .csv or .parquet, which holds no schedules, so nothing is said of missed runs. An archive is a folder
    or an address such as s3://bucket/calls.delta; of more than a million calls the page shows what their rollup tells.
    """
    _check_folder(out)
    if archive := _archive(source):
        _report_archive(archive, asked, out, title=title, tz=tz, traces=not no_traces)
        return
    given, schedules, whole = _of_file(source, asked, "reported"), None, True
    if given is None:
        with cf.connect() as project:
            given = _fetch(project, source, asked)
            schedules = _schedules(project, given)
        whole = schedules is not None
    cf.report(given, out, schedules=schedules, title=title, tz=tz, traces=not no_traces)
    click.echo(f"A report on {len(given):,} calls written to {out}", err=True)
    _exit(given)
    if not whole:
        click.get_current_context().exit(INCOMPLETE)


@main.command(short_help="Bring an archive up to date.")
@click.argument("path")
@click.option("--start", help='How far back to read what is not known: "30d", a date. Default: all the service keeps.')
@click.option("--keep", help='Remove afterwards what only older versions need, such as "30d". Default: keep it all.')
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the object store; repeatable.")
def sync(path: str, start: str | None, keep: str | None, options: tuple[str, ...]) -> None:
    """
    Bring the archive at PATH up to date: a folder, or an address such as s3://bucket/calls.delta.

    The first time all the service keeps is read, later what is new or has gone on. Made for cron: it may be stopped at
    any moment and goes on the next time. Secrets of an object store belong in the environment, not in --option.
    """
    archive = cf.Archive(path, storage_options=_pairs(options))
    if keep is not None:
        parse_duration(keep, name="--keep")  # before a long sync rather than after it
    with cf.connect() as project, warnings.catch_warnings():
        for told in (cf.IncompleteWarning, cf.RecordWarning):  # the report says the same
            warnings.simplefilter("ignore", told)
        done = archive.sync(project, start=start)
    click.echo(printable(str(done)))
    if keep is not None:
        click.echo(str(archive.compact(keep=keep)))
    if not done.complete:
        click.get_current_context().exit(INCOMPLETE)


@main.command(short_help="Try it all on a made-up project.")
@click.option("--out", type=click.Path(file_okay=False), default="callframe-demo", show_default=True, help="Folder.")
@click.option("--calls", "count", type=click.IntRange(0), default=150_000, show_default=True)
@click.option("--functions", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--latency-s", type=click.FloatRange(0), default=0.0, show_default=True, help="Added to each answer.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--serve", is_flag=True, help="Only serve, until stopped.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="With --serve; default: any that is free.")
def demo(out: str, *, serve: bool, port: int, count: int, functions: int, latency_s: float, seed: int) -> None:
    """Try it all on a made-up project: fetch over HTTP, summarize, plot and export."""
    made: dict[str, Any] = {"calls": count, "functions": functions, "latency_s": latency_s, "seed": seed}
    if serve:
        _serve(port, made)
        return
    folder = Path(out)
    with cf.demo(**made) as project:
        where = project.client.target.base_url
        click.echo(f"A made-up project is served at {where}; fetching its calls as from one of your own ...")
        began = time.perf_counter()
        fetched = project.calls(start="15d")
    took_s = time.perf_counter() - began
    click.echo(f"{len(fetched):,} calls of {fetched['function'].nunique()} functions in {took_s:.1f} s\n")
    click.echo(format_summary(cf.summarize(fetched), width=_width()))
    click.echo("\nWritten:")
    for path in _export(fetched, folder):
        click.echo(f"  {path}")
    click.echo(
        f"\nOpen {folder / 'failures.png'} next, then {folder / 'calls.csv'}. With your own project: cf.connect()."
    )
    _exit(fetched)


@main.command(short_help="Open the notebooks in JupyterLab.", context_settings={"ignore_unknown_options": True})
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False), default="callframe-notebooks", show_default=True,
    help="Where the copies are, yours to change.",
)  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--port", type=click.IntRange(1, 65535), help="Exactly this port. Default: the first free from 8888 on.")
@click.argument("jupyter_options", nargs=-1, type=click.UNPROCESSED)
def notebook(folder: str, *, no_browser: bool, port: int | None, jupyter_options: tuple[str, ...]) -> None:
    """
    Open JupyterLab on copies of the notebooks that teach callframe; they run without an account.

    Copies that you have changed are kept. Further options, such as --ip or --allow-root, go to JupyterLab.
    """
    jupyter.check_installed()
    kept = jupyter.copy(Path(folder))
    click.echo(f"The notebooks are in {folder}. Ctrl-C here ends JupyterLab.", err=True)
    if kept:
        click.echo(f"Yours are kept as they are: {', '.join(kept)}. To get one new, rename or delete it.", err=True)
    options = ["--no-browser"] if no_browser else []
    if port is not None:
        options += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    jupyter.run(Path(folder), [*options, *jupyter_options])


def _export(fetched: pd.DataFrame, folder: Path) -> list[Path]:
    """Write files and pictures into a folder."""
    os.environ["MPLBACKEND"] = "Agg"  # pictures go to files: no window, and no icon in a dock
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cf.errors.FileError(f"The folder {folder} could not be made: {error.strerror}.") from None
    cf.write_csv(fetched, folder / "calls.csv")
    cf.write_parquet(fetched, folder / "calls.parquet")
    written = [folder / "calls.csv", folder / "calls.parquet"]
    for picture in (cf.plot.durations, cf.plot.schedule_delays, cf.plot.failures):
        figure = picture(fetched).figure
        written.append(folder / f"{picture.__name__}.png")
        figure.savefig(written[-1], dpi=130)  # type: ignore[union-attr] # axes made here are on a figure
    return written


def _serve(port: int, made: dict[str, Any]) -> None:
    from callframe.sample import serve  # noqa: PLC0415 - needs an extra

    def announce(environment: dict[str, str]) -> None:
        for name, value in environment.items():
            click.echo(f"export {name}={value}")
        click.echo("Serving until stopped (Ctrl-C). Set these in another shell, then try: callframe summary", err=True)
        sys.stdout.flush()

    serve(port=port, announce=announce, **made)


def _check_folder(out: str) -> None:
    """Make sure of the folder before a long fetch rather than after it."""
    if not Path(out).parent.is_dir():
        raise cf.errors.FileError(f"--out {out}: there is no folder {Path(out).parent}.")


def _of_file(source: Sequence[str], asked: dict[str, Any], done: str) -> pd.DataFrame | None:
    """Read the file that a source is; None where it names functions."""
    suffix = Path(source[0]).suffix.lower() if len(source) == 1 else ""
    if suffix not in {".csv", ".parquet"}:
        return None
    if unused := [name for name, value in asked.items() if value not in (None, (), False)]:
        raise ArgumentError(f"A file is {done} as it is; leave out --{', --'.join(unused)}.")
    return cf.read_csv(source[0]) if suffix == ".csv" else cf.read_parquet(source[0])


def _archive(source: Sequence[str]) -> cf.Archive | None:
    """Open the archive that a source is; None where it names something else."""
    if len(source) != 1 or not ("://" in source[0] or Path(source[0], "_delta_log").is_dir()):
        return None
    return cf.Archive(source[0])


def _report_archive(archive: cf.Archive, asked: dict[str, Any], out: str, **options: Any) -> None:
    given = {name: value for name, value in asked.items() if value not in (None, (), False)}
    if unused := sorted(set(given) - {"start", "end"}):
        raise ArgumentError(f"Of an archive, only the window is chosen; leave out --{', --'.join(unused)}.")
    cf.report(archive, out, **given, **options)
    click.echo(f"A report on {archive.path} written to {out}", err=True)


def _schedules(project: cf.Project, given: pd.DataFrame) -> pd.DataFrame | None:
    """Fetch the schedules of the functions that were asked for; None where that is not allowed."""
    try:
        found = project.schedules()
    except cf.errors.ServiceError as error:
        click.echo(f"callframe: The report says nothing of missed runs. {printable(str(error))}", err=True)
        return None
    return found[found["function"].isin(cf.coverage(given)["function"])]


def _fetch(project: cf.Project, functions: Sequence[str], asked: dict[str, Any]) -> pd.DataFrame:
    """Fetch what the options ask for; those not given are left to the library."""
    return project.calls(*functions, **{name: value for name, value in asked.items() if value not in (None, ())})


def _width() -> int | None:
    """Tell how wide the terminal is; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _exit(given: pd.DataFrame) -> None:
    if cf.is_complete(given) is False:
        click.get_current_context().exit(INCOMPLETE)


def _pairs(options: Sequence[str]) -> dict[str, str]:
    """Split NAME=VALUE; the value is not shown, it may be a secret all the same."""
    found = {}
    for one in options:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise ArgumentError("--option: expected NAME=VALUE, such as AWS_REGION=eu-north-1.")
        found[name] = value
    return found


def _words(value: Any) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, pd.Timestamp):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{value.total_seconds():g} s" if isinstance(value, pd.Timedelta) else str(value)


def _indented(words: str, width: int) -> str:
    return words.replace("\n", "\n" + " " * width)
