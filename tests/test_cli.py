"""Command-line interface: output, files and exit status, with the embedded service."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd
import pytest
from click.testing import CliRunner

import callframe as cf
from callframe import cli
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from click.testing import Result

Run: TypeAlias = "Callable[..., Result]"

FUNCTION, OTHER = 11, 22
NOW_MS = int(pd.Timestamp.now("UTC").timestamp() * 1000)
FUNCTIONS = [
    {"id": FUNCTION, "name": "Ingest", "externalId": "ingest", "fileId": 1, "status": "Ready", "createdTime": 0},
    {"id": OTHER, "name": "Report", "externalId": "report", "fileId": 1, "status": "Ready", "createdTime": 0},
]
CALLS = [
    {
        "id": 100 + k,
        "functionId": FUNCTION if k % 2 else OTHER,
        "status": "Failed" if k == 3 else "Completed",
        "startTime": NOW_MS - 3_600_000 * k - 1000,
        "endTime": NOW_MS - 3_600_000 * k + 500,
        **({"error": {"message": "=HYPERLINK(1) \x1b[31mred", "trace": "Trace"}} if k == 3 else {}),
    }
    for k in range(8)
]
LOGS = {
    (FUNCTION, 101): [{"timestamp": NOW_MS, "message": "started \x1b[2J"}, {"timestamp": NOW_MS, "message": "ended"}]
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    data = ProjectData.from_records(functions=FUNCTIONS, calls=CALLS, logs=LOGS)
    with Service(data) as service:
        yield service


def runner(service: Service, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command with the environment of a service."""
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture
def run(service: Service, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(service, monkeypatch)


@pytest.fixture
def run_with_forbidden_function(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    data = ProjectData.from_records(functions=FUNCTIONS, calls=CALLS)
    with Service(data, faults=Faults(forbidden=frozenset({OTHER}))) as service:
        yield runner(service, monkeypatch)


def test_calls_are_printed_as_csv(run: Run) -> None:
    result = run("calls", "ingest")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("call_id,function_id,function,")
    assert len(result.stdout.splitlines()) == 5


def test_calls_are_written_to_csv(run: Run, tmp_path: Path) -> None:
    result = run("calls", "--out", tmp_path / "calls.csv", "--traces")
    assert result.exit_code == 0
    assert cf.read_csv(tmp_path / "calls.csv")["call_id"].tolist() == list(range(107, 99, -1))


def test_calls_are_written_to_parquet_with_their_coverage(run: Run, tmp_path: Path) -> None:
    run("calls", "--out", tmp_path / "calls.parquet")
    assert cf.coverage(cf.read_parquet(tmp_path / "calls.parquet"))["complete"].all()


def test_incomplete_result_is_written_beside_the_file_and_does_not_replace_it(
    run_with_forbidden_function: Run, tmp_path: Path
) -> None:
    out = tmp_path / "calls.csv"
    out.write_text("complete", encoding="utf-8")
    result = run_with_forbidden_function("calls", "--out", out)
    assert (result.exit_code, out.read_text(encoding="utf-8")) == (3, "complete")
    assert len(cf.read_csv(tmp_path / "calls.partial.csv")) == 4
    assert "calls.partial.csv; " in result.stderr


def test_incomplete_result_replaces_the_file_on_request(run_with_forbidden_function: Run, tmp_path: Path) -> None:
    result = run_with_forbidden_function("calls", "--out", tmp_path / "calls.parquet", "--partial")
    assert (result.exit_code, [path.name for path in tmp_path.iterdir()]) == (3, ["calls.parquet"])


def test_characters_that_the_output_cannot_encode_are_replaced(service: Service) -> None:
    environment = {**os.environ, **service.environment(), "PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "callframe", "logs", "ingest", "101"]
    result = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b"?" in result.stdout


@pytest.mark.parametrize(("options", "cell"), [([], "\"'=HYPERLINK"), (["--no-escape-formulas"], '"=HYPERLINK')])
def test_formulas_are_escaped_in_csv_by_default(run: Run, options: list[str], cell: str) -> None:
    assert cell in run("calls", *options).stdout


def test_calls_are_filtered_by_status(run: Run) -> None:
    assert "\n103,11," in "\n" + run("calls", "--status", "failed").stdout.split("\n", 1)[1]


def test_calls_are_fetched_by_id(run: Run) -> None:
    assert len(run("calls", "ingest", "--call-id", 101, "--call-id", 105).stdout.splitlines()) == 3


@pytest.mark.parametrize("arguments", [[], ["--out", "-"], ["--format", "csv", "--out", "-"]])
def test_csv_goes_to_stdout_by_default(run: Run, arguments: list[str]) -> None:
    result = run("calls", "ingest", *arguments)
    assert cf.read_csv(io.StringIO(result.stdout))["call_id"].tolist() == [107, 105, 103, 101]


def test_json_lines_hold_what_csv_holds(run: Run) -> None:
    rows = [json.loads(line) for line in run("calls", "--status", "failed", "--format", "jsonl").stdout.splitlines()]
    assert [(row["call_id"], row["function"], row["duration"], row["schedule_id"]) for row in rows] == [
        (103, "ingest", 1.5, None)
    ]
    assert rows[0]["error_message"] == "=HYPERLINK(1) \x1b[31mred"
    assert "error_trace" not in rows[0]


def test_json_lines_escape_control_characters_and_all_beyond_ascii(run: Run) -> None:
    output = run("calls", "--format", "jsonl", "--traces").stdout
    assert "\\u001b[31mred" in output
    assert output.isascii()
    assert '"error_trace": "Trace"' in output


@pytest.mark.parametrize("name", ["calls.csv.gz", "calls.CSV.zst", "calls.parquet"])
def test_files_that_calls_writes_are_read_by_summary(run: Run, tmp_path: Path, name: str) -> None:
    assert run("calls", "--out", tmp_path / name).exit_code == 0
    assert run("summary", tmp_path / name).stdout == run("summary").stdout


def test_json_lines_are_written_to_a_file(run: Run, tmp_path: Path) -> None:
    run("calls", "--out", tmp_path / "calls.jsonl")
    assert len((tmp_path / "calls.jsonl").read_text(encoding="utf-8").splitlines()) == 8


def test_incomplete_compressed_file_is_written_beside(run_with_forbidden_function: Run, tmp_path: Path) -> None:
    run_with_forbidden_function("calls", "--out", tmp_path / "calls.csv.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["calls.partial.csv.gz"]


def test_format_of_a_file_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    result = run("calls", "--format", "jsonl", "--out", tmp_path / "calls.csv")
    assert (result.exit_code, "--format is for stdout" in result.stderr) == (2, True)


def print_to_a_terminal(service: Service, *arguments: str) -> bytes:
    """Run a command whose stdout is a terminal, and return what the terminal receives."""
    reading, writing = os.openpty()
    environment = {**os.environ, **service.environment(), "COLUMNS": "200"}
    command = [sys.executable, "-m", "callframe", *arguments]
    subprocess.run(command, env=environment, stdout=writing, stderr=writing, check=True)
    os.close(writing)
    received = b""
    with contextlib.suppress(OSError), os.fdopen(reading, "rb", buffering=0) as file:
        while chunk := file.read(65_536):
            received += chunk
    return received


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudoterminal")
@pytest.mark.parametrize("command", [["calls"], ["call", "ingest", "103"], ["logs", "ingest", "101"], ["summary"]])
def test_terminal_receives_no_control_characters_of_calls(service: Service, command: list[str]) -> None:
    received = print_to_a_terminal(service, *command)
    assert b"ingest" in received or b"ended" in received or b"103" in received
    assert b"\x1b[31m" not in received
    assert b"\x1b[2J" not in received


def test_csv_for_another_program_keeps_control_characters(run: Run) -> None:
    assert "\x1b[31mred" in run("calls").stdout


def test_errors_and_warnings_about_calls_have_no_control_characters() -> None:
    assert str(cf.CallframeError("\x1b[2J")) == "\ufffd[2J"
    with pytest.warns(UserWarning, match="\ufffd\\[2J"):
        cf.errors.warn("\x1b[2J", UserWarning)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("arguments", [["calls", "--out", "-"], ["calls", "--format", "jsonl"], ["functions"]])
def test_reader_that_stops_early_ends_the_command_quietly(big_service: Service, arguments: list[str]) -> None:
    environment = {**os.environ, **big_service.environment()}
    command = [sys.executable, "-m", "callframe", *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in {0, 141}  # a short output may be written before the reader stops


@pytest.fixture(scope="module")
def big_service() -> Iterator[Service]:
    records = [CALLS[0] | {"id": 1_000 + k, "startTime": NOW_MS - 1_000 * k - 1_000} for k in range(3_000)]
    with Service(ProjectData.from_records(functions=FUNCTIONS, calls=records)) as service:
        yield service


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["calls", "--help"]])
def test_help_imports_no_large_library(arguments: list[str]) -> None:
    script = (
        "import sys, atexit, callframe.cli as c; atexit.register(lambda: print(*sys.modules)); c.main(sys.argv[1:])"
    )
    result = subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True)
    assert {"pandas", "numpy", "pyarrow", "requests", "matplotlib"} & set(result.stdout.split()) == set()


@pytest.mark.parametrize("command", ["logs ingest 101", "functions", "summary", "call ingest 103", "calls"])
def test_every_output_can_be_redirected_in_cp1252(exotic_service: Service, command: str) -> None:
    environment = {**os.environ, **exotic_service.environment(), "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    arguments = [sys.executable, "-m", "callframe", *command.split()]
    result = subprocess.run(arguments, env=environment, capture_output=True, check=False)
    assert (result.returncode, b"Traceback" in result.stderr) == (0, False)
    assert result.stdout


@pytest.fixture(scope="module")
def exotic_service() -> Iterator[Service]:
    text = "\u2713 \u65e5\u672c \U0001f600 \u202e"
    functions = [FUNCTIONS[0] | {"owner": text}, FUNCTIONS[1] | {"externalId": text}]
    calls = [call | ({"error": {"message": text, "trace": text}} if call["id"] == 103 else {}) for call in CALLS]
    logs = {(FUNCTION, 101): [{"timestamp": NOW_MS, "message": text}]}
    with Service(ProjectData.from_records(functions=functions, calls=calls, logs=logs)) as service:
        yield service


@pytest.mark.parametrize("command", [["calls"], ["report"]])
def test_file_that_cannot_be_written_is_a_failure_before_the_fetch(
    run: Run, tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    before = len(service.requests)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    result = run(*command, "--out", tmp_path / "calls.csv")
    assert (result.exit_code, "nothing can be written there: Read-only file system" in result.stderr) == (1, True)
    assert len(service.requests) == before


@pytest.mark.parametrize("command", [["calls"], ["report"]])
def test_file_without_permission_is_wrong_usage(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write any file
    (tmp_path / "calls.csv").touch()
    result = run(*command, "--out", tmp_path / "calls.csv")
    assert (result.exit_code, "is not writable" in result.stderr) == (2, True)


@pytest.mark.parametrize(("name", "message"), [("", "is a directory"), ("calls", "expected - or a name that ends in")])
def test_folder_and_name_without_a_suffix_are_wrong_usage(run: Run, tmp_path: Path, name: str, message: str) -> None:
    result = run("calls", "--out", tmp_path / name)
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_unknown_file_extension_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    result = run("calls", "--out", tmp_path / "calls.xlsx")
    assert (result.exit_code, "ends in .csv, .csv.gz" in result.stderr) == (2, True)


def test_invalid_time_is_wrong_usage(run: Run) -> None:
    result = run("calls", "--start", "yesterday")
    assert (result.exit_code, "start='yesterday' cannot be parsed" in result.stderr) == (2, True)


def test_unknown_function_is_wrong_usage_with_a_suggestion(run: Run) -> None:
    result = run("calls", "ingets")
    assert (result.exit_code, "Did you mean 'ingest'" in result.stderr) == (2, True)


def test_unknown_call_is_a_failure(run: Run) -> None:
    result = run("call", "ingest", 999)
    assert (result.exit_code, "call 999 of function 11" in result.stderr) == (1, True)


def test_call_is_shown_field_by_field(run: Run) -> None:
    result = run("call", "ingest", 103)
    assert result.exit_code == 0
    fields = dict(line.split(None, 1) for line in result.stdout.splitlines() if " " in line.strip())
    assert fields["duration"] == "1.5 s"


def test_control_characters_of_an_error_message_are_not_printed(run: Run) -> None:
    assert "\x1b" not in run("call", "ingest", 103).stdout


def test_control_characters_of_a_log_are_not_printed(run: Run) -> None:
    result = run("logs", "ingest", 101)
    assert [line.rsplit("  ", 1)[1] for line in result.stdout.splitlines()] == ["started \ufffd[2J", "ended"]


def test_summary_has_a_line_per_function(run: Run) -> None:
    lines = run("summary").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["function", "ingest", "report"]


def test_summary_of_a_file_needs_no_project(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("calls", "--out", tmp_path / "calls.csv")
    monkeypatch.delenv("CDF_URL")
    result = run("summary", tmp_path / "calls.csv")
    assert (result.exit_code, "ingest" in result.stdout) == (0, True)


def test_calls_without_a_forbidden_function_are_exit_status_3(run_with_forbidden_function: Run) -> None:
    result = run_with_forbidden_function("calls")
    assert result.exit_code == 3
    assert len(result.stdout.splitlines()) == 5
    assert "functionsAcl:READ" in result.stderr


def test_sync_writes_an_archive_and_prints_a_report(run: Run, tmp_path: Path) -> None:
    result = run("sync", tmp_path / "calls.delta")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "8 new and 0 changed calls of project 'demo'" in result.stdout
    assert len(cf.Archive(tmp_path / "calls.delta").calls()) == 8


def test_sync_takes_how_long_versions_are_kept(run: Run, tmp_path: Path) -> None:
    result = run("sync", tmp_path / "calls.delta", "--retention", "30d")
    assert result.exit_code == 0


def test_sync_without_a_forbidden_function_is_exit_status_3(run_with_forbidden_function: Run, tmp_path: Path) -> None:
    result = run_with_forbidden_function("sync", str(tmp_path / "calls.delta"))
    assert (result.exit_code, "functionsAcl:READ" in result.stdout) == (3, True)


def test_sync_into_a_folder_with_other_files_is_a_failure(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("", encoding="utf-8")
    result = run("sync", tmp_path)
    assert (result.exit_code, "it contains thesis.txt" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments", [["--start", "noon"], ["--option", "AWS_REGION"], ["--retention", "59min"], ["--retention", "0d"]]
)
def test_invalid_option_of_sync_is_wrong_usage(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    assert run("sync", tmp_path / "calls.delta", *arguments).exit_code == 2
    assert not (tmp_path / "calls.delta").exists()


def test_incomplete_calls_are_a_failure_if_strict(run_with_forbidden_function: Run) -> None:
    assert run_with_forbidden_function("calls", "--strict").exit_code == 1


def test_missing_credentials_are_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.main, ["calls"])
    assert result.exit_code == 1
    assert "CDF_CLUSTER" in result.stderr


def test_no_command_prints_the_token(run: Run, service: Service) -> None:
    commands = (["calls"], ["call", "ingest", 103], ["summary"], ["calls", "x"])
    assert service.token not in "".join(run(*arguments).output for arguments in commands)


def test_demo_writes_files_and_says_what_to_open(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["demo", "--calls", "2000", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "calls.csv", "calls.parquet", "durations.png", "schedule_delays.png", "failures.png",
    }  # fmt: skip
    assert result.stdout.splitlines()[-1].startswith("Open ")


def test_demo_fetches_all_calls(tmp_path: Path) -> None:
    CliRunner().invoke(cli.main, ["demo", "--calls", "2000", "--out", str(tmp_path)])
    assert len(cf.read_parquet(tmp_path / "calls.parquet")) == 2000


def test_demo_into_a_file_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    result = CliRunner().invoke(cli.main, ["demo", "--calls", "100", "--out", str(tmp_path / "file" / "out")])
    assert (result.exit_code, "could not be created" in result.stderr) == (1, True)


def test_served_project_can_be_connected_to_with_the_printed_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [sys.executable, "-m", "callframe", "demo", "--serve", "--calls", "500", "--functions", "3"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            for _ in range(5):
                name, value = server.stdout.readline().removeprefix("export ").strip().split("=", 1)
                monkeypatch.setenv(name, value)
            with cf.connect() as project:
                assert len(project.calls(start="15d")) == 500
        finally:
            server.terminate()
    assert server.returncode == 0


def test_missing_folder_is_a_failure_before_the_fetch(run: Run, tmp_path: Path, service: Service) -> None:
    before = len(service.requests)
    result = run("calls", "--out", tmp_path / "none" / "calls.csv")
    assert (result.exit_code, "does not exist" in result.stderr) == (1, True)
    assert len(service.requests) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["calls"], ["summary"]])
def test_full_disk_is_a_failure_without_a_traceback(service: Service, arguments: list[str]) -> None:
    environment = {**os.environ, **service.environment()}
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "callframe", *arguments],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    assert result.returncode == 1
    assert "could not be written: No space left on device" in result.stderr
    assert "Traceback" not in result.stderr


def test_closed_pipe_prints_nothing(service: Service) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, **service.environment()}
    arguments = [sys.executable, "-m", "callframe", "calls"]
    result = subprocess.run(arguments, check=False, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writing)
    assert result.stderr == ""


@pytest.mark.parametrize("by", ["function", "schedule", "status"])
def test_summary_without_calls_is_only_a_header(run: Run, by: str) -> None:
    result = run("summary", "--start", "2001-01-01", "--end", "2001-01-02", "--by", by)
    assert (result.exit_code, len(result.stdout.splitlines())) == (3, 1)  # beyond the retention of the service
    assert result.stdout.startswith(by)


def test_filter_of_a_file_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    run("calls", "--out", tmp_path / "calls.csv")
    result = run("summary", tmp_path / "calls.csv", "--start", "1d")
    assert (result.exit_code, "leave out --start" in result.stderr) == (2, True)


def test_report_on_a_project_is_written(run: Run, tmp_path: Path) -> None:
    result = run("report", "--out", tmp_path / "report.html", "--title", "Nightly <b>")
    assert (result.exit_code, "A report on 8 calls written to" in result.stderr) == (0, True)
    assert "<h1>Nightly &lt;b&gt;</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_report_on_a_file_needs_no_project(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("calls", "--out", tmp_path / "calls.parquet")
    monkeypatch.delenv("CDF_URL")
    result = run("report", tmp_path / "calls.parquet", "--out", tmp_path / "report.html")
    assert (result.exit_code, (tmp_path / "report.html").exists()) == (0, True)


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("archive") / "calls.delta")
    with cf.demo(calls=300, functions=3, days=2) as project:
        cf.Archive(folder).sync(project)
    return folder


def test_report_on_an_archive_needs_no_project(run: Run, archived: str, tmp_path: Path) -> None:
    result = run("report", archived, "--start", "30d", "--out", str(tmp_path / "report.html"))
    assert (result.exit_code, (tmp_path / "report.html").stat().st_size > 0) == (0, True)


def test_report_on_an_archive_takes_only_a_window(run: Run, archived: str, tmp_path: Path) -> None:
    result = run("report", archived, "--status", "Failed", "--out", str(tmp_path / "report.html"))
    assert result.exit_code == 2
    assert "takes only --start and --end; leave out --status" in result.output


def test_report_on_a_function_contains_only_its_schedules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listed = [
        {
            "id": 70 + k,
            "functionId": function,
            "name": f"every hour {k}",
            "cronExpression": "0 * * * *",
            "createdTime": 0,
        }
        for k, function in enumerate((FUNCTION, OTHER))
    ]
    with Service(ProjectData.from_records(functions=FUNCTIONS, calls=CALLS, schedules=listed)) as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        CliRunner().invoke(cli.main, ["report", "ingest", "--out", str(tmp_path / "report.html")])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("every hour 0" in page, "every hour 1" in page) == (True, False)


def test_report_without_schedules_is_exit_status_3(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(_: object) -> None:
        raise cf.errors.ForbiddenError("Schedules are forbidden.", status=403)

    monkeypatch.setattr(cf.Project, "schedules", refuse)
    result = run("report", "--out", tmp_path / "report.html")
    assert (result.exit_code, "The report has no missed runs. Schedules are forbidden." in result.stderr) == (3, True)
    assert "schedules were not given" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_incomplete_report_is_exit_status_3(run_with_forbidden_function: Run, tmp_path: Path) -> None:
    result = run_with_forbidden_function("report", "--out", str(tmp_path / "report.html"))
    assert result.exit_code == 3
    assert "INCOMPLETE" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_missing_folder_of_a_report_is_a_failure_before_the_fetch(run: Run, tmp_path: Path, service: Service) -> None:
    before = len(service.requests)
    result = run("report", "--out", tmp_path / "none" / "report.html")
    assert (result.exit_code, "does not exist" in result.stderr) == (1, True)
    assert len(service.requests) == before


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--start", "1d"], "leave out --start"), (["--tz", "Mars"], "not a time zone")]
)
def test_invalid_option_of_a_report_is_wrong_usage(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    run("calls", "--out", tmp_path / "calls.csv")
    result = run("report", tmp_path / "calls.csv", "--out", tmp_path / "report.html", *arguments)
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_report_on_a_missing_file_is_a_failure(run: Run, tmp_path: Path) -> None:
    result = run("report", tmp_path / "none.csv", "--out", tmp_path / "report.html")
    assert (result.exit_code, "could not be read" in result.stderr) == (1, True)


def test_functions_are_listed_by_label(run: Run) -> None:
    lines = run("functions").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["function", "function_id", "family"],
        ["ingest", str(FUNCTION), "function"],
        ["report", str(OTHER), "function"],
    ]
