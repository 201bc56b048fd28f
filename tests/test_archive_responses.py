"""Responses in an archive: read on demand, kept, and counted as failures where they report one."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from factories import DAY_MS, MINUTE_MS, NOW_MS, call_record, function_record
from services import ServedProject, changing_project, serve, serve_project

import callframe as cf
from callframe import frame
from callframe.archive import schema, sync
from callframe.errors import ArgumentError, IncompleteWarning
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from callframe.api.schemas import CallResponse

ALL = [*frame.COLUMNS, *frame.RESPONSE_COLUMNS]
FUNCTIONS = [function_record(id=number, name=f"f{number}", externalId=f"f{number}") for number in (7, 8)]
CALLS = [
    call_record(id=number, functionId=7 + number % 2, startTime=NOW_MS - number * DAY_MS // 8)
    for number in range(1, 31)
]
RESPONSES: dict[tuple[int, int], Any] = {
    (call["functionId"], call["id"]): {"error": "no data"} if call["id"] % 5 == 0 else {"rows": call["id"]}
    for call in CALLS
}
FAILED = [5, 10, 15, 20, 25, 30]


def project_data() -> ProjectData:
    return ProjectData.from_records(functions=FUNCTIONS, calls=CALLS, responses=RESPONSES)


@pytest.fixture
def archive(tmp_path: Path) -> cf.Archive:
    return cf.Archive(tmp_path / "calls.delta")


@pytest.fixture
def served() -> Iterator[ServedProject]:
    with serve_project(project_data()) as served:
        yield served


def asked(served: ServedProject) -> int:
    return sum(request.path.endswith("/response") for request in served.service.requests)


def failed_ids(calls: pd.DataFrame) -> list[int]:
    return sorted(calls[calls["status"] == "Error response"]["call_id"])


def test_archive_has_what_the_responses_of_the_project_say(archive: cf.Archive, served: ServedProject) -> None:
    report = archive.sync(served.project, responses=True)
    calls = served.project.calls(start="90d")
    expected = cf.with_responses(calls, served.project.responses(calls))
    pd.testing.assert_frame_equal(archive.calls(columns=ALL), expected)
    pd.testing.assert_frame_equal(archive.calls(), expected[list(frame.COLUMNS)])
    assert (report.responses, report.complete) == (30, True)
    assert "30 responses" in str(report)


def test_no_response_is_asked_for_by_default(archive: cf.Archive, served: ServedProject) -> None:
    archive.sync(served.project)
    assert asked(served) == 0
    assert archive.calls(columns=ALL)["response"].isna().all()


@pytest.mark.parametrize("functions", ["f7", ["f7"], 7, [7]])
def test_responses_of_some_functions_are_read(archive: cf.Archive, served: ServedProject, functions: Any) -> None:
    archive.sync(served.project, responses=functions)
    assert failed_ids(archive.calls()) == [10, 20, 30]
    assert asked(served) == 15


def test_unknown_function_is_refused_before_calls_are_read(archive: cf.Archive, served: ServedProject) -> None:
    with pytest.raises(ArgumentError, match="No function is named 'f9'"):
        archive.sync(served.project, responses="f9")
    assert archive.calls().empty


def test_response_is_read_once_and_kept_when_its_call_is_read_again(archive: cf.Archive) -> None:
    late = [call_record(id=100 + k, functionId=7, startTime=NOW_MS - k * MINUTE_MS) for k in range(1, 5)]
    responses = {(7, call["id"]): {"success": call["id"] % 2 == 0} for call in late}
    with serve_project(ProjectData.from_records(functions=FUNCTIONS, calls=late, responses=responses)) as served:
        archive.sync(served.project, responses=True)
        first = archive.calls(columns=ALL)
        report = archive.sync(served.project, responses=True)
        archive.sync(served.project)
        assert asked(served) == 4
    assert report.read == 4
    pd.testing.assert_frame_equal(archive.calls(columns=ALL), first)
    assert failed_ids(first) == [101, 103]


def test_calls_that_end_later_get_their_responses_then(archive: cf.Archive) -> None:
    running = call_record(id=1, startTime=NOW_MS - MINUTE_MS, status="Running", endTime=...)
    data = changing_project(running, responses={(7, 1): {"error": "x"}})
    with serve(data) as project:
        assert archive.sync(project, responses=True).responses == 0
        data.replace_call({**running, "status": "Completed", "endTime": NOW_MS})
        assert archive.sync(project, responses=True).responses == 1
    assert failed_ids(archive.calls()) == [1]


def test_response_that_cannot_be_read_is_reported_and_read_by_the_next_sync(
    archive: cf.Archive, served: ServedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = served.client
    read = client.call_response
    monkeypatch.setattr(
        client, "call_response", lambda function_id, call_id, *, stop: read(function_id, call_id + 1000, stop=stop)
    )
    with pytest.warns(IncompleteWarning, match="15 of 15 responses could not be read"):
        report = archive.sync(served.project, responses=True)
    assert set(report.problems) == {"f7", "f8"}
    assert failed_ids(archive.calls()) == []
    monkeypatch.undo()
    assert archive.sync(served.project, responses=True).complete
    assert failed_ids(archive.calls()) == FAILED


def test_forbidden_function_does_not_keep_the_others_from_being_read(archive: cf.Archive) -> None:
    with serve_project(project_data()) as served:
        archive.sync(served.project)
    with (
        serve_project(project_data(), faults=Faults(forbidden=frozenset({7}))) as served,
        pytest.warns(IncompleteWarning, match="403"),
    ):
        archive.sync(served.project, responses=True)
    assert failed_ids(archive.calls()) == [5, 15, 25]


def test_interrupted_sync_keeps_the_responses_that_were_read(
    archive: cf.Archive, served: ServedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.sync(served.project)
    client, count = served.client, 0
    read = client.call_response

    def interrupt(function_id: int, call_id: int, *, stop: threading.Event) -> CallResponse:
        nonlocal count
        count += 1
        if count == 20:
            signal.raise_signal(signal.SIGINT)
        return read(function_id, call_id, stop=stop)

    monkeypatch.setattr(client, "call_response", interrupt)
    monkeypatch.setattr(sync, "_RESPONSES_PER_STEP", 8)
    with pytest.warns(IncompleteWarning, match="Interrupted"):
        report = archive.sync(served.project, responses=True)
    kept = archive.calls(columns=ALL)["response"].notna().sum()
    assert report.interrupted
    assert 16 <= report.responses == kept < 30
    assert archive.sync(served.project, responses=True).responses == 30 - kept


def test_rollup_dask_and_filters_count_them_as_failures(archive: cf.Archive, served: ServedProject) -> None:
    archive.sync(served.project)
    archive.rollup()
    archive.sync(served.project, responses=True)
    assert cf.summarize_rollup(archive.rollup())["error_response"].sum() == 6
    assert cf.summarize_rollup(archive.rollup(freq="1h"))["error_response"].sum() == 6
    assert failed_ids(archive.calls(status="error response")) == FAILED
    lazy = archive.dask(columns=ALL)
    pd.testing.assert_frame_equal(lazy.compute().reset_index(drop=True), archive.calls(columns=ALL))
    assert cf.summarize(archive.dask())["error_response"].sum() == 6
    assert cf.failures(archive.dask())["count"].tolist() == [6]


def test_other_rule_is_applied_to_stored_responses(archive: cf.Archive, served: ServedProject) -> None:
    archive.sync(served.project, responses=True)
    judged = cf.with_responses(archive.calls(columns=ALL), reports_failure=lambda response: response == {"rows": 3})
    assert failed_ids(judged) == [3]
    assert judged["error_message"].count() == 1


def test_dashboard_and_report_of_an_archive_show_them(
    archive: cf.Archive, served: ServedProject, tmp_path: Path
) -> None:
    archive.sync(served.project, responses=True)
    explorer = cf.explore(archive)
    explorer.selection = {"statuses": ["Error response"]}
    assert explorer.calls["status"].unique().tolist() == ["Error response"]
    explorer.close()
    cf.report(archive, tmp_path / "report.html")
    assert "error response" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_archive_of_an_earlier_version_gets_the_columns(
    tmp_path: Path, served: ServedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = pa.schema([field for field in schema.CALLS if field.name not in frame.RESPONSE_COLUMNS])
    with monkeypatch.context() as patch:
        patch.setattr(schema, "CALLS", earlier)
        cf.Archive(tmp_path / "calls.delta").sync(served.project)
    archive = cf.Archive(tmp_path / "calls.delta")
    assert "response" not in DeltaTable(archive.path).to_pyarrow_table().column_names
    before = archive.calls(columns=ALL)
    assert before["response"].isna().all()
    archive.sync(served.project, responses=True)
    assert failed_ids(archive.calls()) == FAILED
    assert len(archive.calls()) == len(before) == 30
