"""The contract: the official client reads the embedded service as it reads the real one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cognite.client import ClientConfig, CogniteClient, global_config
from cognite.client.credentials import Token
from cognite.client.exceptions import CogniteAPIError, CogniteNotFoundError, CogniteProjectAccessError

from callframe.sample.project_data import ProjectData
from callframe.sample.server import Faults, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

# The first releases of version 8 know no address of this kind.
pytestmark = pytest.mark.filterwarnings("ignore:Given base URL may be invalid:UserWarning")

END = datetime(2026, 6, 15, 12, 34, 56, tzinfo=UTC)


@pytest.fixture(scope="module")
def world() -> ProjectData:
    return ProjectData.generate(calls=6_000, end_time=END)


@pytest.fixture(scope="module")
def service(world: ProjectData) -> Iterator[Service]:
    with Service(world) as started:
        yield started


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    return connected(service)


@pytest.fixture(scope="module")
def function(world: ProjectData) -> dict[str, Any]:
    return world.functions[0]


def connected(service: Service, token: str | None = None) -> Any:
    global_config.disable_pypi_version_check = True
    credentials = Token(service.token if token is None else token)
    return CogniteClient(
        ClientConfig(client_name="contract", project=service.project, credentials=credentials, base_url=service.url)
    )


def ids(items: Any) -> list[int]:
    return [item.id for item in items]


def test_client_lists_every_function(client: Any, world: ProjectData) -> None:
    found = client.functions.list(limit=None)
    assert ids(found) == [record["id"] for record in world.functions]
    assert [item.external_id for item in found] == [record.get("externalId") for record in world.functions]


def test_client_filters_functions(client: Any) -> None:
    assert len(client.functions.list(external_id_prefix="ingest-sap", limit=None)) == 2


def test_client_retrieves_a_function_by_id_and_external_id(client: Any, function: dict[str, Any]) -> None:
    assert client.functions.retrieve(id=function["id"]).name == function["name"]
    assert client.functions.retrieve(external_id=function["externalId"]).id == function["id"]


def test_client_lists_every_schedule(client: Any, world: ProjectData) -> None:
    found = client.functions.schedules.list(limit=None)
    assert [item.cron_expression for item in found] == [record["cronExpression"] for record in world.schedules]


def test_client_lists_the_schedules_of_a_function(client: Any, world: ProjectData, function: dict[str, Any]) -> None:
    found = client.functions.schedules.list(function_id=function["id"], limit=None)
    assert ids(found) == [record["id"] for record in world.schedules if record.get("functionId") == function["id"]]


def test_client_retrieves_a_schedule(client: Any, world: ProjectData) -> None:
    schedule = world.schedules[0]
    assert client.functions.schedules.retrieve(id=schedule["id"]).name == schedule["name"]


def test_client_lists_every_call_of_a_function(client: Any, world: ProjectData, function: dict[str, Any]) -> None:
    found = client.functions.calls.list(function_id=function["id"], limit=None)
    assert len(found) > 1000  # more than one of its pages
    assert ids(found) == [call["id"] for call in world.calls(function["id"])]


def test_client_lists_calls_by_external_id(client: Any, world: ProjectData, function: dict[str, Any]) -> None:
    found = client.functions.calls.list(function_external_id=function["externalId"], limit=3)
    assert ids(found) == [call["id"] for call in world.calls(function["id"])[:3]]


def test_client_filters_calls_by_status(client: Any, world: ProjectData, function: dict[str, Any]) -> None:
    found = client.functions.calls.list(function_id=function["id"], status="Failed", limit=None)
    assert ids(found) == [call["id"] for call in world.calls(function["id"]) if call["status"] == "Failed"]


def test_client_reads_error_and_trace(client: Any, function: dict[str, Any]) -> None:
    found = client.functions.calls.list(function_id=function["id"], status="Failed", limit=1)
    assert found[0].error["trace"].startswith("Traceback")


def test_client_filters_calls_by_schedule(client: Any, world: ProjectData, function: dict[str, Any]) -> None:
    schedule_id = world.calls(function["id"])[0]["scheduleId"]
    found = client.functions.calls.list(function_id=function["id"], schedule_id=schedule_id, limit=None)
    assert {item.schedule_id for item in found} == {schedule_id}
    assert found


def test_client_filters_calls_by_time(client: Any, world: ProjectData, function: dict[str, Any]) -> None:
    newest, *_, oldest = world.calls(function["id"])[5:15]
    window = {"min": oldest["startTime"], "max": newest["startTime"]}
    found = client.functions.calls.list(function_id=function["id"], start_time=window, limit=None)
    assert len(found) == 10


def test_client_retrieves_one_call(client: Any, world: ProjectData, function: dict[str, Any]) -> None:
    call = world.calls(function["id"])[7]
    found = client.functions.calls.retrieve(call["id"], function_id=function["id"])
    assert found.dump() == call


def test_client_gets_none_for_an_unknown_call(client: Any, function: dict[str, Any]) -> None:
    assert client.functions.calls.retrieve(12, function_id=function["id"]) is None


def test_client_reads_logs(client: Any, world: ProjectData, function: dict[str, Any]) -> None:
    call_id = world.calls(function["id"])[7]["id"]
    found = client.functions.calls.get_logs(call_id, function_id=function["id"])
    assert found.dump() == world.logs(function["id"], call_id)


def test_client_reads_a_response(client: Any, world: ProjectData, function: dict[str, Any]) -> None:
    call_id = next(call["id"] for call in world.calls(function["id"]) if call["status"] == "Completed")
    found = client.functions.calls.get_response(call_id, function_id=function["id"])
    assert found == world.response(function["id"], call_id)


def test_client_reads_limits_and_status(client: Any) -> None:
    assert client.functions.limits().timeout_minutes == 10
    assert client.functions.status().status == "activated"


def test_client_inspects_its_token(client: Any) -> None:
    assert [project.url_name for project in client.iam.token.inspect().projects] == ["demo"]


def test_client_makes_a_frame_of_calls(client: Any, function: dict[str, Any]) -> None:
    frame = client.functions.calls.list(function_id=function["id"], limit=10).to_pandas()
    assert len(frame) == 10


def test_client_with_a_wrong_token_is_told_so(service: Service) -> None:
    with pytest.raises(CogniteProjectAccessError, match=r"code: 401 \| X-Request-ID: \w"):
        connected(service, token="wrong").functions.list()


def test_client_is_told_which_capability_is_missing(world: ProjectData, function: dict[str, Any]) -> None:
    faults = Faults(forbidden=frozenset({function["id"]}))
    with Service(world, faults=faults) as service, pytest.raises(CogniteAPIError, match="functionsAcl:READ"):
        connected(service).functions.calls.list(function_id=function["id"])


def test_client_is_told_which_functions_are_missing(client: Any) -> None:
    with pytest.raises(CogniteNotFoundError) as caught:
        client.functions.retrieve_multiple(ids=[12])
    assert caught.value.not_found == [{"id": 12}]
