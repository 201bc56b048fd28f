"""
The published contract of the Functions API, as JSON Schema in our own words, and a check of what is sent against it.

`tests/conftest.py` checks every answer of the embedded service and every request of callframe's client in all tests.
Records that a test hands over to be served unchanged may break the contract; nothing else may.
"""

from __future__ import annotations

import json
import queue
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
ID: Schema = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
TIME: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
CURSOR: Schema = {"type": "string", "minLength": 1}
LIMIT: Schema = {"type": "integer", "minimum": 1}
NO_QUERY: Schema = {"type": "object", "maxProperties": 0}


def fields(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None, **more: Any) -> Schema:
    """Describe an object of these fields and no others."""
    properties = {**required, **(optional or {})}
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
        **more,
    }


def list_of(items: Schema, optional: Mapping[str, Any] | None = None) -> Schema:
    return fields({"items": {"type": "array", "items": items}}, optional)


def ids(max_count: int, *names: str) -> Schema:
    identifier = {"oneOf": [fields({name: ID if name == "id" else TEXT}) for name in names]}
    items = {"type": "array", "items": identifier, "minItems": 1, "maxItems": max_count, "uniqueItems": True}
    return fields({"items": items}, {"ignoreUnknownIds": {"type": "boolean"}})


RANGE = fields({}, {"min": TIME, "max": TIME})
ERROR_OBJECT = fields({"message": TEXT}, {"trace": TEXT})
_CALL_FIELDS: tuple[dict[str, Any], dict[str, Any]] = (
    {"id": ID, "functionId": ID, "status": TEXT, "startTime": TIME},
    {"endTime": TIME, "scheduledTime": TIME, "scheduleId": ID},
)
_TOGETHER = {"dependentRequired": {"scheduleId": ["scheduledTime"], "scheduledTime": ["scheduleId"]}}
CALL = fields(_CALL_FIELDS[0], {**_CALL_FIELDS[1], "error": {"anyOf": [TEXT, ERROR_OBJECT]}}, **_TOGETHER)
APP_CALL = fields(_CALL_FIELDS[0], {**_CALL_FIELDS[1], "error": TEXT}, **_TOGETHER)
FUNCTION = fields(
    {
        "id": ID,
        "name": TEXT,
        "fileId": ID,
        "status": {"enum": ["Queued", "Deploying", "Ready", "Failed"]},
        "createdTime": TIME,
    },
    {
        **dict.fromkeys(("externalId", "owner", "description", "runtime", "runtimeVersion", "functionPath"), TEXT),
        "functionType": TEXT,
        "metadata": {"type": "object", "additionalProperties": TEXT},
        "cpu": NUMBER,
        "memory": NUMBER,
        "error": {"anyOf": [TEXT, ERROR_OBJECT]},
        "lastCalled": TIME,
    },
)
SCHEDULE = fields(
    {"id": ID, "name": TEXT, "createdTime": TIME, "cronExpression": TEXT, "when": TEXT},
    {"description": TEXT, "sessionId": {"anyOf": [TEXT, ID]}, "functionId": ID, "functionExternalId": TEXT},
    oneOf=[{"required": ["functionId"]}, {"required": ["functionExternalId"]}],
)
LOG_ENTRY = fields({"timestamp": TIME, "message": TEXT})
LOG = list_of(LOG_ENTRY)
RESPONSE = fields({"functionId": ID, "callId": ID}, {"response": {"type": "object"}})
LIMITS = fields(
    {"timeoutMinutes": NUMBER, "runtimes": {"type": "array", "items": TEXT}},
    {"cpuCores": {"type": "object"}, "memoryGb": {"type": "object"}, "responseSizeMb": NUMBER},
)
ERROR = fields(
    {
        "error": fields(
            {"code": {"type": "integer"}, "message": TEXT},
            {name: {"type": "array", "items": {"type": "object"}} for name in ("missing", "duplicated")},
        )
    }
)
CALL_FILTER = fields(
    {},
    {
        "scheduleId": ID,
        "status": {"enum": ["Running", "Completed", "Failed", "Timeout"]},
        "startTime": RANGE,
        "endTime": RANGE,
    },
)
FUNCTION_FILTER = fields(
    {},
    {
        **dict.fromkeys(("name", "owner", "status", "externalIdPrefix"), TEXT),
        "fileId": ID,
        "createdTime": RANGE,
        "metadata": {"type": "object"},
    },
)
SCHEDULE_FILTER = fields(
    {},
    {
        **dict.fromkeys(("name", "FunctionExternalId", "cronExpression"), TEXT),
        "FunctionId": ID,
        "createdTime": RANGE,
    },
)
PAGE_QUERY = fields(
    {}, {"limit": {"type": "string", "pattern": "^[1-9][0-9]*$"}, "cursor": CURSOR}
)  # a query holds text


@dataclass(frozen=True)
class Endpoint:
    """What may be asked of an endpoint, and what it answers; without a body it is a GET."""

    path: str
    answer: Schema
    body: Schema | None = None
    query: Schema = field(default_factory=lambda: NO_QUERY)
    versions: tuple[str, ...] = ("20230101",)

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"


_ID, _PREVIEW = r"[1-9]\d*", ("20230101-alpha", "20230101-beta")
_CALLS, _APP_CALLS = rf"/functions/{_ID}/calls", "/function-apps/[^/]+/calls"
ENDPOINTS = (
    Endpoint("/api/v1/token/inspect", fields({"subject": TEXT, "projects": {}, "capabilities": {}})),
    Endpoint("/functions/limits", LIMITS),
    Endpoint("/functions/status", fields({"status": TEXT})),
    Endpoint("/functions/list", list_of(FUNCTION), fields({}, {"filter": FUNCTION_FILTER, "limit": LIMIT})),
    Endpoint("/functions/byids", list_of(FUNCTION), ids(10, "id", "externalId")),
    Endpoint(rf"/functions/{_ID}", FUNCTION),
    Endpoint("/functions/schedules/list", list_of(SCHEDULE), fields({}, {"filter": SCHEDULE_FILTER, "limit": LIMIT})),
    Endpoint("/functions/schedules/byids", list_of(SCHEDULE), ids(10_000, "id")),
    Endpoint(_CALLS, list_of(CALL, {"nextCursor": CURSOR}), query=PAGE_QUERY),
    Endpoint(
        rf"{_CALLS}/list",
        list_of(CALL, {"nextCursor": CURSOR}),
        fields({}, {"filter": CALL_FILTER, "limit": LIMIT, "cursor": CURSOR}),
    ),
    Endpoint(rf"{_CALLS}/byids", list_of(CALL), ids(10_000, "id")),
    Endpoint(rf"{_CALLS}/{_ID}", CALL),
    Endpoint(rf"{_CALLS}/{_ID}/logs", LOG),
    Endpoint(rf"{_CALLS}/{_ID}/response", RESPONSE),
    Endpoint("/function-apps", list_of(FUNCTION), versions=_PREVIEW),
    Endpoint(_APP_CALLS, list_of(APP_CALL), versions=_PREVIEW),
    Endpoint(rf"{_APP_CALLS}/{_ID}", APP_CALL, versions=_PREVIEW),
    Endpoint(rf"{_APP_CALLS}/{_ID}/logs", LOG, versions=_PREVIEW),
    Endpoint(rf"{_APP_CALLS}/{_ID}/response", RESPONSE, versions=_PREVIEW),
)
_PROJECT = re.compile(r"/api/v1/projects/[^/]+")


def find_endpoint(method: str, path: str) -> Endpoint | None:
    """Find the endpoint of a request, None if it is not published."""
    inner = _PROJECT.sub("", path, count=1)
    matches = (one for one in ENDPOINTS if one.method == method and re.fullmatch(one.path, inner))
    return next(matches, None)


def problems_of_request(
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, *, may_follow: bool = False
) -> list[str]:
    """Describe how a request breaks the contract; one that `may_follow` may have a cursor anywhere."""
    endpoint = find_endpoint(method, path)
    if endpoint is None:
        return ["the endpoint is not published"]
    fields_of_query, content = dict_of(query), json.loads(body) if body else None
    if may_follow:
        for part in (fields_of_query, content or {}):
            part.pop("cursor", None)
    problems = [f"query: {found}" for found in _errors(endpoint.query, fields_of_query)]
    if headers.get("cdf-version") not in endpoint.versions:
        problems.append(f"cdf-version: {headers.get('cdf-version')}")
    if not headers.get("authorization", "").startswith("Bearer "):
        problems.append("no bearer token")
    if endpoint.body is None:
        return [*problems, *(["a body"] if body else [])]
    return problems + [f"body: {found}" for found in _errors(endpoint.body, content)]


def problems_of_answer(
    method: str, path: str, status: int, body: bytes, given: GivenRecords | None = None
) -> list[str]:
    """Describe how an answer breaks the contract, apart from records that were given like that."""
    endpoint = find_endpoint(method, path)
    if status == 200 and endpoint is None:
        return ["the endpoint is not published"]
    content = json.loads(body)
    schema = ERROR if status != 200 or endpoint is None else endpoint.answer
    if _is_valid(schema, content):
        return [f"code {content['error']['code']}"] if schema is ERROR and content["error"]["code"] != status else []
    if given is not None and schema is not ERROR:
        content = given.without(content)
    return [] if content is None else _errors(schema, content)


def dict_of(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}


class GivenRecords:
    """Records that tests hand over to be served unchanged, those alone that break the contract."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def add(self, schema: Schema, records: Iterable[Any]) -> None:
        for record in records:
            try:
                content = json.loads(record) if isinstance(record, bytes) else json.loads(json.dumps(record))
            except ValueError:
                continue
            if not _is_valid(schema, content):
                self._texts.add(_canonical(content))

    def without(self, content: Any) -> Any:
        """Leave out of an answer what was given; None if that is all of it."""
        if isinstance(content, dict) and isinstance(content.get("items"), list):
            return {**content, "items": [item for item in content["items"] if _canonical(item) not in self._texts]}
        if isinstance(content, dict) and "response" in content and _canonical(content["response"]) in self._texts:
            return {name: value for name, value in content.items() if name != "response"}
        return None if _canonical(content) in self._texts else content


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


_VALIDATORS: dict[int, Any] = {}
_LOCK = threading.Lock()


def _validator_of(schema: Schema) -> Any:
    with _LOCK:
        if id(schema) not in _VALIDATORS:
            _VALIDATORS[id(schema)] = (schema, jsonschema_rs.validator_for(schema))  # keeps the schema, and so its id
        return _VALIDATORS[id(schema)][1]


def _is_valid(schema: Schema, content: Any) -> bool:
    try:
        return bool(_validator_of(schema).is_valid(content))
    except ValueError:  # a number beyond all ranges
        return False


def _errors(schema: Schema, content: Any) -> list[str]:
    if _is_valid(schema, content):
        return []
    try:
        found = list(_validator_of(schema).iter_errors(content))
    except ValueError as error:
        return [str(error)]
    return [f"{'/'.join(map(str, one.instance_path))}: {one.message}"[:300] for one in found[:3]]


@dataclass(frozen=True)
class Exchange:
    """
    A request to the embedded service, and its answer.

    A request to a fake server has no answer that counts, and may follow a cursor that the contract does not have.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None = None
    answer: bytes = b""

    @property
    def is_of_callframe(self) -> bool:
        return self.headers.get("x-cdp-app") == "callframe"


class ContractCheck:
    """Collects exchanges while tests run, and checks each distinct one."""

    def __init__(self) -> None:
        self.given = GivenRecords()
        self.counts: Counter[str] = Counter()
        self._exchanges: queue.SimpleQueue[Exchange] = queue.SimpleQueue()
        self._known: set[int] = set()

    def record(self, exchange: Exchange) -> None:
        self._exchanges.put(exchange)

    def record_given(
        self,
        *,
        functions: Iterable[Any] = (),
        apps: Iterable[Any] = (),
        schedules: Iterable[Any] = (),
        calls: Any = (),
        logs: Mapping[Any, list[Any]] | None = None,
        responses: Mapping[Any, Any] | None = None,
        limits: Any = None,
    ) -> None:
        """Record what a test hands over to be served, with the arguments of `ProjectData.from_records`."""
        groups = calls.values() if isinstance(calls, dict) else [calls]
        self.given.add(APP_CALL, (call for group in groups for call in group))  # stricter than CALL
        self.given.add(FUNCTION, [*functions, *apps])
        self.given.add(SCHEDULE, schedules)
        self.given.add(LOG_ENTRY, (line for lines in (logs or {}).values() for line in lines))
        self.given.add({"type": "object"}, (responses or {}).values())
        self.given.add(LIMITS, [] if limits is None else [limits])

    def problems(self) -> list[str]:
        """Check the exchanges since the last time, and describe how they break the contract."""
        problems = []
        while not self._exchanges.empty():
            one = self._exchanges.get()
            found = self._problems_of(one)
            problems += [f"{one.method} {one.path} ({one.status}): {problem}" for problem in found]
        return problems

    def _problems_of(self, one: Exchange) -> list[str]:
        problems = []
        request = (one.method, one.path, one.query, dict(one.headers), one.body)
        if one.is_of_callframe and self._is_new(*map(str, request)):
            self.counts["requests"] += 1
            found = problems_of_request(*request, may_follow=one.status is None)
            problems += [f"request: {problem}" for problem in found]
        if one.status is not None and self._is_new(one.method, one.path, str(one.status), one.answer):
            self.counts["answers"] += 1
            found = problems_of_answer(one.method, one.path, one.status, one.answer, self.given)
            problems += [f"answer: {problem}" for problem in found]
        return problems

    def _is_new(self, *parts: str | bytes) -> bool:
        key = hash(parts)
        is_new = key not in self._known
        self._known.add(key)
        return is_new
