"""The official SDK works with the embedded service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cognite.client import ClientConfig, CogniteClient, global_config
from cognite.client.credentials import Token
from cognite.client.exceptions import CogniteAPIError, CogniteNotFoundError, CogniteProjectAccessError
from factories import NOW

from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

# The first releases of version 8 warn about addresses of this kind.
pytestmark = pytest.mark.filterwarnings("ignore:Given base URL may be invalid:UserWarning")


@pytest.fixture(scope="module")
def data() -> ProjectData:
    return ProjectData.generate(calls=6_000, end_time=NOW)


@pytest.fixture(scope="module")
def service(data: ProjectData) -> Iterator[Service]:
    with Service(data) as started:
        yield started


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    return connected(service)


@pytest.fixture(scope="module")
def function(data: ProjectData) -> dict[str, Any]:
    return data.functions[0]


def connected(service: Service, token: str | None = None) -> Any:
    global_config.disable_pypi_version_check = True
    credentials = Token(service.token if token is None else token)
    return CogniteClient(
        ClientConfig(client_name="test", project=service.project, credentials=credentials, base_url=service.url)
    )


def ids(items: Any) -> list[int]:
    return [item.id for item in items]


def test_client_lists_every_function(client: Any, data: ProjectData) -> None:
    listed = client.functions.list(limit=None)
    assert ids(listed) == [record["id"] for record in data.functions]
    assert [item.external_id for item in listed] == [record.get("externalId") for record in data.functions]


def test_client_filters_functions(client: Any) -> None:
    assert len(client.functions.list(external_id_prefix="ingest-sap", limit=None)) == 2


def test_client_retrieves_a_function_by_id_and_external_id(client: Any, function: dict[str, Any]) -> None:
    assert client.functions.retrieve(id=function["id"]).name == function["name"]
    assert client.functions.retrieve(external_id=function["externalId"]).id == function["id"]


def test_client_lists_every_schedule(client: Any, data: ProjectData) -> None:
    listed = client.functions.schedules.list(limit=None)
    assert [item.cron_expression for item in listed] == [record["cronExpression"] for record in data.schedules]


def test_client_lists_the_schedules_of_a_function(client: Any, data: ProjectData, function: dict[str, Any]) -> None:
    listed = client.functions.schedules.list(function_id=function["id"], limit=None)
    assert ids(listed) == [record["id"] for record in data.schedules if record.get("functionId") == function["id"]]


def test_client_retrieves_a_schedule(client: Any, data: ProjectData) -> None:
    schedule = data.schedules[0]
    assert client.functions.schedules.retrieve(id=schedule["id"]).name == schedule["name"]


def test_client_lists_every_call_of_a_function(client: Any, data: ProjectData, function: dict[str, Any]) -> None:
    listed = client.functions.calls.list(function_id=function["id"], limit=None)
    assert len(listed) > 1000  # more than one of its pages
    assert ids(listed) == [call["id"] for call in data.calls(function["id"])]


def test_client_lists_calls_by_external_id(client: Any, data: ProjectData, function: dict[str, Any]) -> None:
    listed = client.functions.calls.list(function_external_id=function["externalId"], limit=3)
    assert ids(listed) == [call["id"] for call in data.calls(function["id"])[:3]]


def test_client_filters_calls_by_status(client: Any, data: ProjectData, function: dict[str, Any]) -> None:
    listed = client.functions.calls.list(function_id=function["id"], status="Failed", limit=None)
    assert ids(listed) == [call["id"] for call in data.calls(function["id"]) if call["status"] == "Failed"]


def test_client_reads_error_and_trace(client: Any, function: dict[str, Any]) -> None:
    listed = client.functions.calls.list(function_id=function["id"], status="Failed", limit=1)
    assert listed[0].error["trace"].startswith("Traceback")


def test_client_filters_calls_by_schedule(client: Any, data: ProjectData, function: dict[str, Any]) -> None:
    schedule_id = data.calls(function["id"])[0]["scheduleId"]
    listed = client.functions.calls.list(function_id=function["id"], schedule_id=schedule_id, limit=None)
    assert {item.schedule_id for item in listed} == {schedule_id}
    assert listed


def test_client_filters_calls_by_time(client: Any, data: ProjectData, function: dict[str, Any]) -> None:
    newest, *_, oldest = data.calls(function["id"])[5:15]
    window = {"min": oldest["startTime"], "max": newest["startTime"]}
    listed = client.functions.calls.list(function_id=function["id"], start_time=window, limit=None)
    assert len(listed) == 10


def test_client_retrieves_one_call(client: Any, data: ProjectData, function: dict[str, Any]) -> None:
    call = data.calls(function["id"])[7]
    listed = client.functions.calls.retrieve(call["id"], function_id=function["id"])
    assert listed.dump() == call


def test_client_returns_none_for_an_unknown_call(client: Any, function: dict[str, Any]) -> None:
    assert client.functions.calls.retrieve(12, function_id=function["id"]) is None


def test_client_reads_logs(client: Any, data: ProjectData, function: dict[str, Any]) -> None:
    call_id = data.calls(function["id"])[7]["id"]
    listed = client.functions.calls.get_logs(call_id, function_id=function["id"])
    assert listed.dump() == data.logs(function["id"], call_id)


def test_client_reads_a_response(client: Any, data: ProjectData, function: dict[str, Any]) -> None:
    call_id = next(call["id"] for call in data.calls(function["id"]) if call["status"] == "Completed")
    listed = client.functions.calls.get_response(call_id, function_id=function["id"])
    assert listed == data.response(function["id"], call_id)


def test_client_reads_limits_and_status(client: Any) -> None:
    assert client.functions.limits().timeout_minutes == 10
    assert client.functions.status().status == "activated"


def test_client_inspects_its_token(client: Any) -> None:
    assert [project.url_name for project in client.iam.token.inspect().projects] == ["demo"]


def test_client_returns_calls_as_a_frame(client: Any, function: dict[str, Any]) -> None:
    frame = client.functions.calls.list(function_id=function["id"], limit=10).to_pandas()
    assert len(frame) == 10


def test_client_reports_a_wrong_token(service: Service) -> None:
    with pytest.raises(CogniteProjectAccessError, match=r"code: 401 \| X-Request-ID: \w"):
        connected(service, token="wrong").functions.list()


def test_client_reports_the_missing_capability(data: ProjectData, function: dict[str, Any]) -> None:
    faults = Faults(forbidden=frozenset({function["id"]}))
    with Service(data, faults=faults) as service, pytest.raises(CogniteAPIError, match="functionsAcl:READ"):
        connected(service).functions.calls.list(function_id=function["id"])


def test_client_reports_missing_functions(client: Any) -> None:
    with pytest.raises(CogniteNotFoundError) as caught:
        client.functions.retrieve_multiple(ids=[12])
    assert caught.value.not_found == [{"id": 12}]
