"""The shell: what it prints, writes and exits with, against the embedded service."""

from __future__ import annotations

import os
import subprocess
import sys
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
    world = ProjectData.of(functions=FUNCTIONS, calls=CALLS, logs=LOGS)
    with Service(world) as running:
        yield running


@pytest.fixture
def run(service: Service, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(cli.main, [str(word) for word in words])

    return invoke


def test_calls_go_to_standard_output_as_csv(run: Run) -> None:
    done = run("calls", "ingest")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0].startswith("call_id,function_id,function,")
    assert len(done.stdout.splitlines()) == 5


def test_calls_written_to_csv_read_back(run: Run, tmp_path: Path) -> None:
    done = run("calls", "--out", tmp_path / "calls.csv", "--traces")
    assert done.exit_code == 0
    assert cf.read_csv(tmp_path / "calls.csv")["call_id"].tolist() == list(range(107, 99, -1))


def test_calls_written_to_parquet_carry_their_coverage(run: Run, tmp_path: Path) -> None:
    run("calls", "--out", tmp_path / "calls.parquet")
    assert cf.coverage(cf.read_parquet(tmp_path / "calls.parquet"))["complete"].all()


def test_calls_can_be_filtered_by_status(run: Run) -> None:
    assert "\n103,11," in "\n" + run("calls", "--status", "failed").stdout.split("\n", 1)[1]


def test_calls_can_be_asked_for_by_id(run: Run) -> None:
    assert len(run("calls", "ingest", "--call-id", 101, "--call-id", 105).stdout.splitlines()) == 3


def test_an_unknown_ending_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    done = run("calls", "--out", tmp_path / "calls.xlsx")
    assert (done.exit_code, "ends in .csv or .parquet" in done.stderr) == (2, True)


def test_an_unreadable_time_is_wrong_usage(run: Run) -> None:
    done = run("calls", "--start", "yesterday")
    assert (done.exit_code, "start='yesterday' cannot be parsed" in done.stderr) == (2, True)


def test_an_unknown_function_is_named_with_the_nearest(run: Run) -> None:
    done = run("calls", "ingets")
    assert (done.exit_code, "Did you mean 'ingest'" in done.stderr) == (2, True)


def test_an_unknown_call_is_a_failure(run: Run) -> None:
    done = run("call", "ingest", 999)
    assert (done.exit_code, "call 999 of function 11" in done.stderr) == (1, True)


def test_one_call_is_shown_field_by_field(run: Run) -> None:
    done = run("call", "ingest", 103)
    assert done.exit_code == 0
    assert dict(line.split(None, 1) for line in done.stdout.splitlines() if " " in line.strip())["duration"] == "1.5 s"


def test_control_characters_of_a_message_do_not_reach_the_terminal(run: Run) -> None:
    assert "\x1b" not in run("call", "ingest", 103).stdout


def test_control_characters_of_a_log_do_not_reach_the_terminal(run: Run) -> None:
    done = run("logs", "ingest", 101)
    assert [line.rsplit("  ", 1)[1] for line in done.stdout.splitlines()] == ["started \ufffd[2J", "ended"]


def test_summary_has_a_line_a_function(run: Run) -> None:
    lines = run("summary").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["function", "ingest", "report"]


def test_summary_of_a_file_needs_no_project(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("calls", "--out", tmp_path / "calls.csv")
    monkeypatch.delenv("CDF_URL")
    done = run("summary", tmp_path / "calls.csv")
    assert (done.exit_code, "ingest" in done.stdout) == (0, True)


def test_a_forbidden_function_is_exit_status_3_and_the_others_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    with Service(
        ProjectData.of(functions=FUNCTIONS, calls=CALLS), faults=Faults(forbidden=frozenset({OTHER}))
    ) as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(cli.main, ["calls"])
    assert done.exit_code == 3
    assert len(done.stdout.splitlines()) == 5
    assert "functionsAcl:READ" in done.stderr


def test_sync_writes_an_archive_and_says_what_it_did(run: Run, tmp_path: Path) -> None:
    done = run("sync", tmp_path / "calls.delta")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "8 new and 0 changed calls of project 'demo'" in done.stdout
    assert len(cf.Archive(tmp_path / "calls.delta").calls()) == 8


def test_sync_removes_old_versions_when_asked(run: Run, tmp_path: Path) -> None:
    done = run("sync", tmp_path / "calls.delta", "--keep", "30d")
    assert (done.exit_code, "0 old files removed" in done.stdout) == (0, True)


def test_sync_that_lacks_a_function_is_exit_status_3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Service(
        ProjectData.of(functions=FUNCTIONS, calls=CALLS), faults=Faults(forbidden=frozenset({OTHER}))
    ) as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(cli.main, ["sync", str(tmp_path / "calls.delta")])
    assert (done.exit_code, "functionsAcl:READ" in done.stdout) == (3, True)


def test_sync_into_a_folder_of_something_else_is_a_failure(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("", encoding="utf-8")
    done = run("sync", tmp_path)
    assert (done.exit_code, "it holds thesis.txt" in done.stderr) == (1, True)


@pytest.mark.parametrize("words", [["--start", "noon"], ["--option", "AWS_REGION"], ["--keep", "1min"]])
def test_sync_with_words_that_mean_nothing_is_wrong_usage(run: Run, tmp_path: Path, words: list[str]) -> None:
    assert run("sync", tmp_path / "calls.delta", *words).exit_code == 2


def test_strict_is_a_failure_where_something_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    with Service(
        ProjectData.of(functions=FUNCTIONS, calls=CALLS), faults=Faults(forbidden=frozenset({OTHER}))
    ) as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        assert CliRunner().invoke(cli.main, ["calls", "--strict"]).exit_code == 1


def test_nothing_to_sign_in_with_is_a_failure_that_lists_where_it_looked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, ["calls"])
    assert done.exit_code == 1
    assert "CDF_CLUSTER" in done.stderr


def test_no_command_shows_the_token(run: Run, service: Service) -> None:
    outputs = [run(*words).output for words in (["calls"], ["call", "ingest", 103], ["summary"], ["calls", "x"])]
    assert service.token not in "".join(outputs)


def test_demo_writes_its_files_and_ends_by_saying_what_to_open(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.main, ["demo", "--calls", "2000", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "calls.csv", "calls.parquet", "durations.png", "schedule_delays.png", "failures.png",
    }  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith("Open ")


def test_demo_fetches_every_call_there_is(tmp_path: Path) -> None:
    CliRunner().invoke(cli.main, ["demo", "--calls", "2000", "--out", str(tmp_path)])
    assert len(cf.read_parquet(tmp_path / "calls.parquet")) == 2000


def test_demo_into_a_place_that_is_a_file_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    done = CliRunner().invoke(cli.main, ["demo", "--calls", "100", "--out", str(tmp_path / "file" / "out")])
    assert (done.exit_code, "could not be created" in done.stderr) == (1, True)


def test_a_served_project_is_found_by_what_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [sys.executable, "-m", "callframe", "demo", "--serve", "--calls", "500", "--functions", "3"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
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


def test_a_folder_that_is_not_there_is_told_before_the_fetch(run: Run, tmp_path: Path, service: Service) -> None:
    before = len(service.requests)
    done = run("calls", "--out", tmp_path / "none" / "calls.csv")
    assert (done.exit_code, "does not exist" in done.stderr) == (1, True)
    assert len(service.requests) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("words", [["calls"], ["summary"]])
def test_a_full_disk_behind_standard_output_is_told_in_a_sentence(service: Service, words: list[str]) -> None:
    environment = {**os.environ, **service.environment()}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "callframe", *words],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    assert done.returncode == 1
    assert "could not be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_of_calls_that_has_seen_enough_is_no_failure_to_talk_of(service: Service) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, **service.environment()}
    words = [sys.executable, "-m", "callframe", "calls"]
    done = subprocess.run(words, check=False, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writing)
    assert done.stderr == ""


@pytest.mark.parametrize("by", ["function", "schedule", "status"])
def test_summary_of_no_calls_is_a_header_alone(run: Run, by: str) -> None:
    done = run("summary", "--start", "2001-01-01", "--end", "2001-01-02", "--by", by)
    assert (done.exit_code, len(done.stdout.splitlines())) == (3, 1)  # so long ago is no more known
    assert done.stdout.startswith(by)


def test_a_window_does_not_go_with_a_file(run: Run, tmp_path: Path) -> None:
    run("calls", "--out", tmp_path / "calls.csv")
    done = run("summary", tmp_path / "calls.csv", "--start", "1d")
    assert (done.exit_code, "leave out --start" in done.stderr) == (2, True)


def test_report_on_a_project_is_written(run: Run, tmp_path: Path) -> None:
    done = run("report", "--out", tmp_path / "report.html", "--title", "Nightly <b>")
    assert (done.exit_code, "A report on 8 calls written to" in done.stderr) == (0, True)
    assert "<h1>Nightly &lt;b&gt;</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_report_on_a_file_needs_no_project(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("calls", "--out", tmp_path / "calls.parquet")
    monkeypatch.delenv("CDF_URL")
    done = run("report", tmp_path / "calls.parquet", "--out", tmp_path / "report.html")
    assert (done.exit_code, (tmp_path / "report.html").exists()) == (0, True)


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("archive") / "calls.delta")
    with cf.demo(calls=300, functions=3, days=2) as project:
        cf.Archive(folder).sync(project)
    return folder


def test_report_on_an_archive_needs_no_project(run: Run, archived: str, tmp_path: Path) -> None:
    done = run("report", archived, "--start", "30d", "--out", str(tmp_path / "report.html"))
    assert (done.exit_code, (tmp_path / "report.html").stat().st_size > 0) == (0, True)


def test_report_on_an_archive_takes_a_window_alone(run: Run, archived: str, tmp_path: Path) -> None:
    done = run("report", archived, "--status", "Failed", "--out", str(tmp_path / "report.html"))
    assert done.exit_code == 2
    assert "takes only --start and --end; leave out --status" in done.output


def test_report_of_one_function_is_of_its_schedules_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
    with Service(ProjectData.of(functions=FUNCTIONS, calls=CALLS, schedules=listed)) as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        CliRunner().invoke(cli.main, ["report", "ingest", "--out", str(tmp_path / "report.html")])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("every hour 0" in page, "every hour 1" in page) == (True, False)


def test_report_without_a_word_on_schedules_is_incomplete(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: object) -> None:
        raise cf.errors.ForbiddenError("Schedules are forbidden.", status=403)

    monkeypatch.setattr(cf.Project, "schedules", refuse)
    done = run("report", "--out", tmp_path / "report.html")
    assert (done.exit_code, "The report has no missed runs. Schedules are forbidden." in done.stderr) == (3, True)
    assert "schedules were not given" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_incomplete_report_is_exit_status_3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Service(
        ProjectData.of(functions=FUNCTIONS, calls=CALLS), faults=Faults(forbidden=frozenset({OTHER}))
    ) as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(cli.main, ["report", "--out", str(tmp_path / "report.html")])
    assert done.exit_code == 3
    assert "INCOMPLETE" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_folder_of_a_report_is_looked_at_before_the_fetch(run: Run, tmp_path: Path, service: Service) -> None:
    before = len(service.requests)
    done = run("report", "--out", tmp_path / "none" / "report.html")
    assert (done.exit_code, "does not exist" in done.stderr) == (1, True)
    assert len(service.requests) == before


@pytest.mark.parametrize(
    ("words", "said"), [(["--start", "1d"], "leave out --start"), (["--tz", "Mars"], "not a time zone")]
)
def test_wrong_options_of_a_report_are_wrong_usage(run: Run, tmp_path: Path, words: list[str], said: str) -> None:
    run("calls", "--out", tmp_path / "calls.csv")
    done = run("report", tmp_path / "calls.csv", "--out", tmp_path / "report.html", *words)
    assert (done.exit_code, said in done.stderr) == (2, True)


def test_report_on_a_file_that_is_not_there_is_a_failure(run: Run, tmp_path: Path) -> None:
    done = run("report", tmp_path / "none.csv", "--out", tmp_path / "report.html")
    assert (done.exit_code, "could not be read" in done.stderr) == (1, True)


def test_functions_are_listed_by_what_to_call_them(run: Run) -> None:
    lines = run("functions").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["function", "function_id", "status"],
        ["ingest", str(FUNCTION), "Ready"],
        ["report", str(OTHER), "Ready"],
    ]
