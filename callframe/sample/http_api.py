"""The endpoints of the CDF Functions API that read."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from callframe.sample.project_data import Filter, Position, Range, integer_or_missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.requests import Request

    from callframe.sample.middleware import Faults
    from callframe.sample.project_data import ProjectData

DEFAULT_LIMIT = 100
MAX_CALLS = 10_000
MAX_FUNCTIONS = 10
FORBIDDEN = "Required capabilities functionsAcl:READ not present on token"

_ROOT = "/api/v1/projects/{project}/functions"
_FUNCTION = _ROOT + "/{function_id:int}"
_CALL = _FUNCTION + "/calls/{call_id:int}"
_APPS = "/api/v1/projects/{project}/function-apps"
_APP_CALLS = _APPS + "/{external_id:path}/calls"
_APP_CALL = _APP_CALLS + "/{call_id:int}"
_APP_VERSIONS = {"20230101-alpha", "20230101-beta"}


class ApiError(Exception):
    """An error response; `details` are further fields of its body."""

    def __init__(self, status: int, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": status, "message": message, **details}}


class Cursor(NamedTuple):
    """
    Where a listing continues.

    The checksum of the listing, the last start and tie, the number of pages so far, and a serial number.
    """

    listing: int
    start: int
    tie: int
    pages: int
    serial: int

    def encode(self) -> str:
        """Encode the cursor as opaque text."""
        return base64.urlsafe_b64encode(json.dumps(self).encode()).decode()

    @classmethod
    def decode(cls, text: Any) -> Cursor:
        """Decode the cursor of a request."""
        try:
            numbers = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
            return cls(*(int(number) for number in numbers))
        except (binascii.Error, TypeError, ValueError) as error:
            raise ApiError(400, "Invalid cursor") from error


class HttpApi:
    """Responds to requests from project data; `app` is the ASGI application."""

    def __init__(self, data: ProjectData, *, project: str, page_cap: int, faults: Faults) -> None:
        self._data = data
        self._project = project
        self._page_cap = page_cap
        self._faults = faults
        self._cursor_serials = itertools.count(1)
        self._expired_cursors = dict[int, int]()
        self.app = Starlette(
            routes=self._routes(), exception_handlers={ApiError: _api_error, HTTPException: _http_exception}
        )

    def _routes(self) -> list[Route]:
        return [
            Route("/api/v1/token/inspect", self._inspect_token),
            Route(_ROOT + "/limits", self._limits),
            Route(_ROOT + "/status", self._status),
            Route(_ROOT + "/list", self._list_functions, methods=["POST"]),
            Route(_ROOT + "/byids", self._functions_by_ids, methods=["POST"]),
            Route(_ROOT + "/schedules/list", self._list_schedules, methods=["POST"]),
            Route(_ROOT + "/schedules/byids", self._schedules_by_ids, methods=["POST"]),
            Route(_FUNCTION, self._function),
            Route(_FUNCTION + "/calls", self._list_calls, methods=["GET"]),
            Route(_FUNCTION + "/calls/list", self._list_calls, methods=["POST"]),
            Route(_FUNCTION + "/calls/byids", self._calls_by_ids, methods=["POST"]),
            Route(_CALL, self._call),
            Route(_CALL + "/logs", self._logs),
            Route(_CALL + "/response", self._response),
            Route(_APPS, self._list_apps),
            Route(_APP_CALLS, self._list_app_calls),
            Route(_APP_CALL, self._call),
            Route(_APP_CALL + "/logs", self._logs),
            Route(_APP_CALL + "/response", self._response),
        ]

    async def _inspect_token(self, _: Request) -> Response:
        scope = {"functionsAcl": {"actions": ["READ"], "scope": {"all": {}}}, "projectScope": {"allProjects": {}}}
        projects = [{"projectUrlName": self._project, "groups": [1]}]
        return _json_response({"subject": "demo", "projects": projects, "capabilities": [scope]})

    async def _limits(self, _: Request) -> Response:
        return _json_response(self._data.limits)

    async def _status(self, _: Request) -> Response:
        return _json_response({"status": "activated"})

    async def _list_functions(self, request: Request) -> Response:
        body = await _json_body(request, {"filter", "limit"})
        names = {"name", "owner", "fileId", "status", "externalIdPrefix", "createdTime", "metadata"}
        return _json_response({"items": _filtered(self._data.functions, body, names)})

    async def _list_apps(self, request: Request) -> Response:
        _check_app_version(request)
        return _json_response({"items": self._data.apps})

    async def _list_app_calls(self, request: Request) -> Response:
        return _call_list(self._data.page(self._function_id(request), Filter(), limit=2**62).records)

    async def _functions_by_ids(self, request: Request) -> Response:
        body = await _json_body(request, {"items", "ignoreUnknownIds"})
        return _json_response({"items": _by_ids(self._data.functions, body, ("id", "externalId"), MAX_FUNCTIONS)})

    async def _list_schedules(self, request: Request) -> Response:
        body = await _json_body(request, {"filter", "limit"})
        names = {"name", "functionId", "functionExternalId", "createdTime", "cronExpression"}
        return _json_response({"items": _filtered(self._data.schedules, body, names)})

    async def _schedules_by_ids(self, request: Request) -> Response:
        body = await _json_body(request, {"items", "ignoreUnknownIds"})
        return _json_response({"items": _by_ids(self._data.schedules, body, ("id",), MAX_CALLS)})

    async def _function(self, request: Request) -> Response:
        function_id = self._function_id(request)
        for record in self._data.functions:
            if record.get("id") == function_id:
                return _json_response(record)
        raise ApiError(404, f"Function {function_id} not found")

    async def _list_calls(self, request: Request) -> Response:
        function_id = self._function_id(request)
        if request.method == "GET":
            body = _query_parameters(request)
        else:
            body = await _json_body(request, {"filter", "limit", "cursor"})
        filter_, limit = _call_filter(body.get("filter", {})), min(_limit(body), self._page_cap)
        listing = zlib.crc32(f"{function_id}{filter_}".encode())
        text = body.get("cursor")
        cursor = None if text is None else self._decode_cursor(text, listing, function_id)
        page_size = self._faults.page_size(limit, request.scope["number"])
        after = None if cursor is None else Position(cursor.start, cursor.tie)
        page = self._data.page(function_id, filter_, after=after, limit=page_size)
        repeats = self._faults.repeat_cursor and text
        if page.next_position is None and not repeats:
            return _call_list(page.records)
        if not repeats:
            pages = 1 if cursor is None else cursor.pages + 1
            text = Cursor(listing, *(page.next_position or (0, 0)), pages, next(self._cursor_serials)).encode()
        return _call_list(page.records, text)

    async def _calls_by_ids(self, request: Request) -> Response:
        function_id = self._function_id(request)
        body = await _json_body(request, {"items", "ignoreUnknownIds"})
        ids = [call_id for _, call_id in _identifiers(body, ("id",), MAX_CALLS)]
        records = self._data.calls_by_ids(function_id, ids)
        missing = [{"id": call_id} for call_id in ids if call_id not in records]
        if missing and not body.get("ignoreUnknownIds"):
            raise ApiError(400, f"Calls not found: {_join(missing)}", missing=missing)
        return _call_list([records[call_id] for call_id in ids if call_id in records])

    async def _call(self, request: Request) -> Response:
        return Response(self._call_json(request), media_type="application/json")

    async def _logs(self, request: Request) -> Response:
        self._call_json(request)
        return _json_response({"items": self._data.logs(*self._path_ids(request))})

    async def _response(self, request: Request) -> Response:
        self._call_json(request)
        function_id, call_id = self._path_ids(request)
        value = self._data.response(function_id, call_id)
        body = {} if value is None else {"response": value}
        return _json_response({**body, "functionId": function_id, "callId": call_id})

    def _path_ids(self, request: Request) -> tuple[int, int]:
        return self._function_id(request), int(request.path_params["call_id"])

    def _function_id(self, request: Request) -> int:
        if "external_id" in request.path_params:
            return self._app_id(request)
        function_id = int(request.path_params["function_id"])
        if function_id in self._faults.forbidden:
            raise ApiError(403, FORBIDDEN)
        if not self._data.has_function(function_id):
            raise ApiError(404, f"Function {function_id} not found")
        return function_id

    def _app_id(self, request: Request) -> int:
        _check_app_version(request)
        external_id = request.path_params["external_id"]
        app_id = self._data.app_id(external_id)
        if app_id in self._faults.forbidden:
            raise ApiError(403, FORBIDDEN)
        if app_id is None:
            raise ApiError(404, f"Function app {external_id!r} not found")
        return app_id

    def _call_json(self, request: Request) -> bytes:
        function_id, call_id = self._function_id(request), int(request.path_params["call_id"])
        record = self._data.calls_by_ids(function_id, [call_id]).get(call_id)
        if record is None:
            raise ApiError(404, f"Call {call_id} of function {function_id} not found")
        return record

    def _decode_cursor(self, text: Any, listing: int, function_id: int) -> Cursor:
        cursor = Cursor.decode(text)
        if cursor.listing != listing:
            raise ApiError(400, "Invalid cursor: it belongs to a request with other parameters")
        after = self._faults.expire_cursors_after
        if after is None or cursor.pages < after:
            return cursor
        # One cursor of each function expires for good; a new listing gets other cursors.
        if self._expired_cursors.setdefault(function_id, cursor.serial) == cursor.serial:
            raise ApiError(400, "Invalid cursor: cursor expired")
        return cursor


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - Starlette's type of handlers is wider than what it calls
    return _json_response(error.body, status=error.status)


async def _http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return _json_response({"error": {"code": error.status_code, "message": error.detail}}, status=error.status_code)


def _json_response(body: Any, *, status: int = 200) -> Response:
    text = json.dumps(body, separators=(",", ":"))
    return Response(text.encode(), status_code=status, media_type="application/json")


def _call_list(records: Iterable[bytes], cursor: Any = None) -> Response:
    next_cursor = b"" if cursor is None else b',"nextCursor":' + json.dumps(cursor).encode()
    return Response(b'{"items":[' + b",".join(records) + b"]" + next_cursor + b"}", media_type="application/json")


def _check_app_version(request: Request) -> None:
    """Refuse requests for function apps that do not ask for a preview of the API."""
    if request.headers.get("cdf-version") not in _APP_VERSIONS:
        raise ApiError(404, "Not found")


def _join(items: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(str(value) for item in items[:5] for value in item.values())
    return names if len(items) <= 5 else f"{names} and {len(items) - 5} more"  # noqa: PLR2004


def _query_parameters(request: Request) -> dict[str, Any]:
    query: dict[str, Any] = dict(request.query_params)
    limit = query.get("limit")
    if limit is not None:
        query["limit"] = int(limit) if limit.lstrip("-").isdecimal() else limit
    return query


async def _json_body(request: Request, allowed: set[str]) -> dict[str, Any]:
    text = await request.body()
    try:
        body = json.loads(text) if text else {}
    except ValueError as error:
        raise ApiError(400, "Request body is not valid JSON") from error
    if not isinstance(body, dict):
        raise ApiError(400, "Request body is not a JSON object")
    _check_fields(body, allowed, "request body")
    return body


def _check_fields(fields: Mapping[str, Any], allowed: Iterable[str], place: str) -> None:
    unexpected = sorted(set(fields) - set(allowed))
    if unexpected:
        raise ApiError(400, f"Unexpected field in {place}: {', '.join(unexpected)}")


def _limit(body: Mapping[str, Any]) -> int:
    limit = body.get("limit", DEFAULT_LIMIT)
    if integer_or_missing(limit) < 1:
        raise ApiError(400, f"limit must be an integer of at least 1, not {limit!r}")
    return int(limit)


def _call_filter(fields: Any) -> Filter:
    if not isinstance(fields, dict):
        raise ApiError(400, "filter must be an object")
    _check_fields(fields, ("scheduleId", "status", "startTime", "endTime"), "filter")
    schedule_id, status = fields.get("scheduleId"), fields.get("status")
    if schedule_id is not None and integer_or_missing(schedule_id) < 0:
        raise ApiError(400, f"scheduleId must be an id, not {schedule_id!r}")
    if status is not None and not isinstance(status, str):
        raise ApiError(400, f"status must be a string, not {status!r}")
    return Filter(schedule_id, status, _range(fields, "startTime"), _range(fields, "endTime"))


def _range(fields: Mapping[str, Any], name: str) -> Range:
    ends = fields.get(name)
    if ends is None:
        return Range()
    if not isinstance(ends, dict):
        raise ApiError(400, f"{name} must be an object with min and max")
    _check_fields(ends, ("min", "max"), name)
    for end in ends.values():
        if end is not None and integer_or_missing(end) < 0:
            raise ApiError(400, f"{name} must be in milliseconds since 1970, not {end!r}")
    return Range(ends.get("min"), ends.get("max"))


def _filtered(records: Iterable[dict[str, Any]], body: Mapping[str, Any], names: set[str]) -> list[dict[str, Any]]:
    fields = body.get("filter", {})
    if not isinstance(fields, dict):
        raise ApiError(400, "filter must be an object")
    # The documented names of two fields start with a capital.
    filter_ = {name[:1].lower() + name[1:]: value for name, value in fields.items() if value is not None}
    _check_fields(filter_, names, "filter")
    created = _range(filter_, "createdTime")
    matches = (record for record in records if _matches(record, filter_, created))
    return list(itertools.islice(matches, _limit(body)))


def _matches(record: Mapping[str, Any], filter_: Mapping[str, Any], created: Range) -> bool:
    time = integer_or_missing(record.get("createdTime"))
    if (created.low is not None and time < created.low) or (created.high is not None and time > created.high):
        return False
    for name, value in filter_.items():
        if name == "externalIdPrefix":
            matches = str(record.get("externalId", "")).startswith(str(value))
        elif name == "metadata":
            matches = isinstance(value, dict) and value.items() <= record.get("metadata", {}).items()
        else:
            matches = name == "createdTime" or record.get(name) == value
        if not matches:
            return False
    return True


def _identifiers(body: Mapping[str, Any], fields: Sequence[str], max_count: int) -> list[tuple[str, Any]]:
    items = body.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= max_count:
        raise ApiError(400, f"items must hold 1 to {max_count:,} identifiers")
    identifiers = []
    for item in items:
        if not isinstance(item, dict) or len(item) != 1 or next(iter(item)) not in fields:
            raise ApiError(400, f"An identifier is an object with one of: {', '.join(fields)}")
        field, value = next(iter(item.items()))
        if (integer_or_missing(value) < 1) if field == "id" else not isinstance(value, str):
            raise ApiError(400, f"{value!r} is not a valid {field}")
        identifiers.append((field, value))
    duplicated = [{field: value} for (field, value), count in Counter(identifiers).items() if count > 1]
    if duplicated:
        raise ApiError(400, f"Identifiers are not unique: {_join(duplicated)}", duplicated=duplicated)
    return identifiers


def _by_ids(
    records: Sequence[dict[str, Any]], body: Mapping[str, Any], fields: Sequence[str], max_count: int
) -> list[dict[str, Any]]:
    matches, missing = [], []
    for field, value in _identifiers(body, fields, max_count):
        match = next((record for record in records if record.get(field) == value), None)
        if match is None:
            missing.append({field: value})
        else:
            matches.append(match)
    if missing and not body.get("ignoreUnknownIds"):
        raise ApiError(400, f"Not found: {_join(missing)}", missing=missing)
    return matches
