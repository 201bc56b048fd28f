"""The official SDK and callframe read the same values from the same service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from cognite.client import ClientConfig, CogniteClient, global_config
from cognite.client.credentials import Token
from factories import NOW, NOW_MS
from services import ServedProject, serve_project

import callframe as cf
from callframe.http.clock import ServiceClock
from callframe.sample.project_data import ProjectData

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The first releases of version 8 warn about loopback addresses.
pytestmark = pytest.mark.filterwarnings("ignore:Given base URL may be invalid:UserWarning")

KEYS = ("id", "functionId", "scheduleId", "status", "scheduledTime", "startTime", "endTime")


@pytest.fixture(scope="module")
def served() -> Iterator[ServedProject]:
    with serve_project(ProjectData.generate(calls=4_000, functions=8, end_time=NOW), now_ms=NOW_MS) as served:
        yield served


@pytest.fixture(scope="module")
def sdk(served: ServedProject) -> Any:
    global_config.disable_pypi_version_check = True
    credentials = Token(served.service.token)
    return CogniteClient(
        ClientConfig(client_name="contract", project="demo", credentials=credentials, base_url=served.service.url)
    )


@pytest.fixture(scope="module")
def calls(served: ServedProject) -> pd.DataFrame:
    return served.project.calls(start="30d")


@pytest.fixture(scope="module")
def failed(calls: pd.DataFrame) -> pd.Series:
    """Return a failed call of a schedule."""
    return calls[calls["status"].eq("Failed") & calls["schedule_id"].notna()].iloc[0]


def ms(times: pd.Series) -> list[int | None]:
    return [None if time is pd.NaT else int(time.value // 1_000_000) for time in times]


def text(values: pd.Series) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in values]


def rows(calls: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Convert a call frame to rows in the format of the API."""
    schedules = [None if value is pd.NA else int(value) for value in calls["schedule_id"]]
    times = (ms(calls[name]) for name in ("scheduled_time", "start_time", "end_time"))
    errors = (text(calls[name]) for name in ("error_message", "error_trace"))
    return sorted(zip(calls["call_id"], calls["function_id"], schedules, calls["status"], *times, *errors, strict=True))


def rows_of_sdk(sdk_calls: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Convert the calls of the SDK to the same rows."""
    dumped = [call.dump() for call in sdk_calls]
    errors = [call.get("error") or {} for call in dumped]
    errors = [{"message": error} if isinstance(error, str) else error for error in errors]
    return sorted(
        (*(call.get(key) for key in KEYS), error.get("message"), error.get("trace"))
        for call, error in zip(dumped, errors, strict=True)
    )


def of(calls: pd.DataFrame, function_id: int) -> pd.DataFrame:
    return calls[calls["function_id"] == function_id]


# Calls


def test_listed_calls_agree(sdk: Any, calls: pd.DataFrame, served: ServedProject) -> None:
    listed = [
        call
        for function in served.service.data.functions
        for call in sdk.functions.calls.list(function_id=function["id"], limit=None)
    ]
    assert len(listed) == 4_000
    assert rows_of_sdk(listed) == rows(calls)


def test_calls_by_id_agree(sdk: Any, served: ServedProject, calls: pd.DataFrame) -> None:
    function_id = int(calls["function_id"].value_counts().index[-1])
    expected = of(calls, function_id)
    single = pd.concat([served.project.call(function_id, call_id) for call_id in expected["call_id"]])
    retrieved = [sdk.functions.calls.retrieve(int(call_id), function_id=function_id) for call_id in expected["call_id"]]
    assert rows_of_sdk(retrieved) == rows(single) == rows(expected)


def test_calls_by_several_ids_agree(served: ServedProject, calls: pd.DataFrame) -> None:
    some = calls.iloc[::7]
    assert rows(served.project.calls(call_ids=some["call_id"])) == rows(some)


@pytest.mark.parametrize("status", ["Running", "Completed", "Failed", "Timeout"])
def test_calls_by_status_agree(sdk: Any, served: ServedProject, status: str) -> None:
    listed = [
        call
        for function in served.service.data.functions
        for call in sdk.functions.calls.list(function_id=function["id"], status=status, limit=None)
    ]
    assert rows_of_sdk(listed) == rows(served.project.calls(start="30d", status=status))


def test_calls_by_schedule_agree(sdk: Any, served: ServedProject, failed: pd.Series) -> None:
    function_id, schedule_id = int(failed["function_id"]), int(failed["schedule_id"])
    listed = sdk.functions.calls.list(function_id=function_id, schedule_id=schedule_id, limit=None)
    assert rows_of_sdk(listed) == rows(served.project.calls(function_id, start="30d", schedule=schedule_id))
    assert len(listed) > 0


def test_calls_by_start_time_agree(sdk: Any, served: ServedProject, calls: pd.DataFrame) -> None:
    function_id = int(calls["function_id"].value_counts().index[0])
    start, end = of(calls, function_id)["start_time"].iloc[[5, 40]]
    window = {"min": int(start.value // 1_000_000), "max": int(end.value // 1_000_000) - 1}  # the end is included
    listed = sdk.functions.calls.list(function_id=function_id, start_time=window, limit=None)
    assert rows_of_sdk(listed) == rows(served.project.calls(function_id, start=start, end=end))
    assert len(listed) == 35


def test_calls_have_all_statuses(calls: pd.DataFrame) -> None:
    assert set(calls["status"]) == {"Running", "Completed", "Failed", "Timeout"}


# Logs and responses


def test_logs_agree(sdk: Any, served: ServedProject, failed: pd.Series) -> None:
    function_id, call_id = int(failed["function_id"]), int(failed["call_id"])
    entries = sdk.functions.calls.get_logs(call_id, function_id=function_id).dump()
    log = served.project.logs(function_id, call_id)
    assert [
        {"timestamp": time, "message": message}
        for time, message in zip(ms(log["timestamp"]), log["message"], strict=True)
    ] == entries
    assert entries


def test_responses_agree(sdk: Any, served: ServedProject, calls: pd.DataFrame) -> None:
    for _, call in calls[calls["status"].isin(["Completed", "Failed"])].iloc[::400].iterrows():
        function_id, call_id = int(call["function_id"]), int(call["call_id"])
        expected = sdk.functions.calls.get_response(call_id, function_id=function_id)
        assert served.project.response(function_id, call_id) == expected


# Functions and schedules


def test_functions_agree(sdk: Any, served: ServedProject) -> None:
    listed = sorted(
        (function.dump() for function in sdk.functions.list(limit=None)), key=lambda record: int(record["id"])
    )
    frame = served.project.functions().sort_values("function_id")
    assert frame["function_id"].to_list() == [record["id"] for record in listed]
    assert ms(frame["created_time"]) == [record["createdTime"] for record in listed]
    for column, key in {"name": "name", "external_id": "externalId", "owner": "owner", "status": "status"}.items():
        assert text(frame[column]) == [record.get(key) for record in listed]


def test_schedules_agree(sdk: Any, served: ServedProject) -> None:
    listed = sorted(
        (schedule.dump() for schedule in sdk.functions.schedules.list(limit=None)), key=lambda record: int(record["id"])
    )
    frame = served.project.schedules().sort_values("schedule_id")
    assert frame["schedule_id"].to_list() == [record["id"] for record in listed]
    assert ms(frame["created_time"]) == [record["createdTime"] for record in listed]
    assert text(frame["cron_expression"]) == [record["cronExpression"] for record in listed]
    assert text(frame["name"]) == [record["name"] for record in listed]


def test_limits_agree(sdk: Any, served: ServedProject) -> None:
    expected, limits = sdk.functions.limits(), served.project.limits()
    assert (limits["timeout_minutes"], limits["runtimes"]) == (expected.timeout_minutes, expected.runtimes)
    assert (limits["cpu_cores"], limits["memory_gb"]) == (expected.cpu_cores, expected.memory_gb)


# Credentials


def test_connection_uses_the_credentials_of_the_sdk(sdk: Any, calls: pd.DataFrame) -> None:
    with cf.connect(client=sdk) as project:
        project.client.clock = ServiceClock(lambda: NOW_MS / 1000)
        fetched = project.calls(start=calls["start_time"].min(), end=NOW)
    pd.testing.assert_frame_equal(fetched, calls)
