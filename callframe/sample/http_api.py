"""The endpoints of the CDF Functions API that read, answered from a world."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from callframe.sample.call_store import Filter, Position, Range, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.requests import Request

    from callframe.sample.fault_injection import Faults
    from callframe.sample.project_data import ProjectData

DEFAULT_LIMIT = 100
MOST_CALLS = 10_000
MOST_FUNCTIONS = 10
FORBIDDEN = "Required capabilities functionsAcl:READ not present on token"

_ROOT = "/api/v1/projects/{project}/functions"
_FUNCTION = _ROOT + "/{function_id:int}"
_CALL = _FUNCTION + "/calls/{call_id:int}"


class Problem(Exception):  # noqa: N818 (an answer, not a bug)
    """An answer that is an error, with whatever else its body holds."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"code": status, "message": message, **more}}


class Cursor(NamedTuple):
    """Where a listing goes on: which listing, after which call, how many pages there were, and a serial number."""

    listing: int
    start: int
    tie: int
    pages: int
    serial: int

    def dump(self) -> str:
        """Write it so that nobody is tempted to read it."""
        return base64.urlsafe_b64encode(json.dumps(self).encode()).decode()

    @classmethod
    def load(cls, text: Any) -> Cursor:
        """Read a cursor of this service; anything else is a bad request."""
        try:
            numbers = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
            return cls(*(int(number) for number in numbers))
        except (binascii.Error, TypeError, ValueError) as error:
            raise Problem(400, "Invalid cursor") from error


class Api:
    """
    Answers requests from a world.

    Parameters
    ----------
    world
        What is served.
    project
        Name of the project.
    page_cap
        Most calls a page holds.
    faults
        What goes wrong with cursors, pages and capabilities.
    """

    def __init__(self, world: ProjectData, *, project: str, page_cap: int, faults: Faults) -> None:
        self._world = world
        self._project = project
        self._page_cap = page_cap
        self._faults = faults
        self._serials = itertools.count(1)
        self._expired = dict[int, int]()
        self.app = Starlette(routes=self._routes(), exception_handlers={Problem: _problem, HTTPException: _no_route})

    def _routes(self) -> list[Route]:
        return [
            Route("/api/v1/token/inspect", self.inspect_token),
            Route(_ROOT + "/limits", self.limits),
            Route(_ROOT + "/status", self.status),
            Route(_ROOT + "/list", self.list_functions, methods=["POST"]),
            Route(_ROOT + "/byids", self.functions_by_ids, methods=["POST"]),
            Route(_ROOT + "/schedules/list", self.list_schedules, methods=["POST"]),
            Route(_ROOT + "/schedules/byids", self.schedules_by_ids, methods=["POST"]),
            Route(_ROOT + "/schedules/{schedule_id:int}/input_data", self.schedule_input),
            Route(_FUNCTION, self.function),
            Route(_FUNCTION + "/calls", self.list_calls, methods=["GET"]),
            Route(_FUNCTION + "/calls/list", self.list_calls, methods=["POST"]),
            Route(_FUNCTION + "/calls/byids", self.calls_by_ids, methods=["POST"]),
            Route(_CALL, self.call),
            Route(_CALL + "/logs", self.logs),
            Route(_CALL + "/response", self.response),
        ]

    async def inspect_token(self, _: Request) -> Response:
        """Tell what the token may do."""
        scope = {"functionsAcl": {"actions": ["READ"], "scope": {"all": {}}}, "projectScope": {"allProjects": {}}}
        projects = [{"projectUrlName": self._project, "groups": [1]}]
        return _answer({"subject": "demo", "projects": projects, "capabilities": [scope]})

    async def limits(self, _: Request) -> Response:
        """Tell the limits of the service."""
        return _answer(self._world.limits)

    async def status(self, _: Request) -> Response:
        """Tell that Functions are activated."""
        return _answer({"status": "activated"})

    async def list_functions(self, request: Request) -> Response:
        """List functions; there is no cursor."""
        body = await _body(request, {"filter", "limit"})
        names = {"name", "owner", "fileId", "status", "externalIdPrefix", "createdTime", "metadata"}
        return _answer({"items": _narrow(self._world.functions, body, names)})

    async def functions_by_ids(self, request: Request) -> Response:
        """Look functions up by id or externalId."""
        body = await _body(request, {"items", "ignoreUnknownIds"})
        return _answer({"items": _look_up(self._world.functions, body, ("id", "externalId"), MOST_FUNCTIONS)})

    async def list_schedules(self, request: Request) -> Response:
        """List schedules; there is no cursor."""
        body = await _body(request, {"filter", "limit"})
        names = {"name", "functionId", "functionExternalId", "createdTime", "cronExpression"}
        return _answer({"items": _narrow(self._world.schedules, body, names)})

    async def schedules_by_ids(self, request: Request) -> Response:
        """Look schedules up by id."""
        body = await _body(request, {"items", "ignoreUnknownIds"})
        return _answer({"items": _look_up(self._world.schedules, body, ("id",), MOST_CALLS)})

    async def schedule_input(self, request: Request) -> Response:
        """Tell the data a schedule gives its calls: always none."""
        schedule_id = request.path_params["schedule_id"]
        if not any(record.get("id") == schedule_id for record in self._world.schedules):
            raise Problem(404, f"Schedule {schedule_id} not found")
        return _answer({"id": schedule_id, "data": {}})

    async def function(self, request: Request) -> Response:
        """Read one function."""
        function_id = self._function_id(request)
        for record in self._world.functions:
            if record.get("id") == function_id:
                return _answer(record)
        raise Problem(404, f"Function {function_id} not found")

    async def list_calls(self, request: Request) -> Response:
        """List the calls of a function, newest start first."""
        function_id = self._function_id(request)
        if request.method == "GET":
            body = _query(request)
        else:
            body = await _body(request, {"filter", "limit", "cursor"})
        wanted, limit = _filter(body.get("filter", {})), min(_limit(body), self._page_cap)
        listing = zlib.crc32(f"{function_id}{wanted}".encode())
        text = body.get("cursor")
        cursor = None if text is None else self._open(text, listing, function_id)
        size = self._faults.page_size(limit, request.scope["number"])
        after = None if cursor is None else Position(cursor.start, cursor.tie)
        page = self._world.page(function_id, wanted, after=after, limit=size)
        if page.following is None and not (self._faults.repeat_cursor and text):
            return _items(page.records)
        if not (self._faults.repeat_cursor and text):
            pages = 1 if cursor is None else cursor.pages + 1
            text = Cursor(listing, *(page.following or (0, 0)), pages, next(self._serials)).dump()
        return _items(page.records, text)

    async def calls_by_ids(self, request: Request) -> Response:
        """Look calls up by id."""
        function_id = self._function_id(request)
        body = await _body(request, {"items", "ignoreUnknownIds"})
        ids = [number for _, number in _identifiers(body, ("id",), MOST_CALLS)]
        found = self._world.find(function_id, ids)
        missing = [{"id": number} for number in ids if number not in found]
        if missing and not body.get("ignoreUnknownIds"):
            raise Problem(400, f"Calls not found: {_named(missing)}", missing=missing)
        return _items([found[number] for number in ids if number in found])

    async def call(self, request: Request) -> Response:
        """Read one call, not wrapped in anything."""
        return Response(self._call(request), media_type="application/json")

    async def logs(self, request: Request) -> Response:
        """Read what a call printed."""
        self._call(request)
        return _answer({"items": self._world.logs(*_path_ids(request))})

    async def response(self, request: Request) -> Response:
        """Read what a call returned, if anything."""
        self._call(request)
        function_id, call_id = _path_ids(request)
        value = self._world.response(function_id, call_id)
        body = {} if value is None else {"response": value}
        return _answer({**body, "functionId": function_id, "callId": call_id})

    def _function_id(self, request: Request) -> int:
        function_id = int(request.path_params["function_id"])
        if function_id in self._faults.forbidden:
            raise Problem(403, FORBIDDEN)
        if not self._world.has_function(function_id):
            raise Problem(404, f"Function {function_id} not found")
        return function_id

    def _call(self, request: Request) -> bytes:
        function_id, call_id = self._function_id(request), int(request.path_params["call_id"])
        record = self._world.find(function_id, [call_id]).get(call_id)
        if record is None:
            raise Problem(404, f"Call {call_id} of function {function_id} not found")
        return record

    def _open(self, text: Any, listing: int, function_id: int) -> Cursor:
        cursor = Cursor.load(text)
        if cursor.listing != listing:
            raise Problem(400, "Invalid cursor: it belongs to a request with other parameters")
        after = self._faults.expire_cursors_after
        if after is None or cursor.pages < after:
            return cursor
        # One cursor of each function dies, and stays dead; a listing that starts anew is given others.
        if self._expired.setdefault(function_id, cursor.serial) == cursor.serial:
            raise Problem(400, "Invalid cursor: cursor expired")
        return cursor


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 (Starlette's type of handlers is wider than what it calls)
    return _answer(error.body, status=error.status)


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return _answer({"error": {"code": error.status_code, "message": error.detail}}, status=error.status_code)


def _answer(body: Any, *, status: int = 200) -> Response:
    text = json.dumps(body, separators=(",", ":"))
    return Response(text.encode(), status_code=status, media_type="application/json")


def _items(records: Iterable[bytes], cursor: Any = None) -> Response:
    following = b"" if cursor is None else b',"nextCursor":' + json.dumps(cursor).encode()
    return Response(b'{"items":[' + b",".join(records) + b"]" + following + b"}", media_type="application/json")


def _path_ids(request: Request) -> tuple[int, int]:
    return int(request.path_params["function_id"]), int(request.path_params["call_id"])


def _named(items: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(str(value) for item in items[:5] for value in item.values())
    return names if len(items) <= 5 else f"{names} and {len(items) - 5} more"  # noqa: PLR2004


def _query(request: Request) -> dict[str, Any]:
    query: dict[str, Any] = dict(request.query_params)
    limit = query.get("limit")
    if limit is not None:
        query["limit"] = int(limit) if limit.lstrip("-").isdecimal() else limit
    return query


async def _body(request: Request, names: set[str]) -> dict[str, Any]:
    text = await request.body()
    try:
        body = json.loads(text) if text else {}
    except ValueError as error:
        raise Problem(400, "Request body is not valid JSON") from error
    if not isinstance(body, dict):
        raise Problem(400, "Request body is not a JSON object")
    _refuse_others(body, names, "request body")
    return body


def _refuse_others(given: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    others = sorted(set(given) - set(names))
    if others:
        raise Problem(400, f"Unexpected field in {where}: {', '.join(others)}")


def _limit(body: Mapping[str, Any]) -> int:
    limit = body.get("limit", DEFAULT_LIMIT)
    if whole(limit) < 1:
        raise Problem(400, f"limit must be a whole number of at least 1, not {limit!r}")
    return int(limit)


def _filter(given: Any) -> Filter:
    if not isinstance(given, dict):
        raise Problem(400, "filter must be an object")
    _refuse_others(given, ("scheduleId", "status", "startTime", "endTime"), "filter")
    schedule_id, status = given.get("scheduleId"), given.get("status")
    if schedule_id is not None and whole(schedule_id) < 0:
        raise Problem(400, f"scheduleId must be an id, not {schedule_id!r}")
    if status is not None and not isinstance(status, str):
        raise Problem(400, f"status must be a string, not {status!r}")
    return Filter(schedule_id, status, _range(given, "startTime"), _range(given, "endTime"))


def _range(given: Mapping[str, Any], name: str) -> Range:
    ends = given.get(name)
    if ends is None:
        return Range()
    if not isinstance(ends, dict):
        raise Problem(400, f"{name} must be an object with min and max")
    _refuse_others(ends, ("min", "max"), name)
    for end in ends.values():
        if end is not None and whole(end) < 0:
            raise Problem(400, f"{name} holds milliseconds since 1970, not {end!r}")
    return Range(ends.get("min"), ends.get("max"))


def _narrow(records: Iterable[dict[str, Any]], body: Mapping[str, Any], names: set[str]) -> list[dict[str, Any]]:
    given = body.get("filter", {})
    if not isinstance(given, dict):
        raise Problem(400, "filter must be an object")
    # The published names of two fields begin with a capital.
    wanted = {name[:1].lower() + name[1:]: value for name, value in given.items() if value is not None}
    _refuse_others(wanted, names, "filter")
    created = _range(wanted, "createdTime")
    found = (record for record in records if _fits(record, wanted, created))
    return list(itertools.islice(found, _limit(body)))


def _fits(record: Mapping[str, Any], wanted: Mapping[str, Any], created: Range) -> bool:
    time = whole(record.get("createdTime"))
    if (created.low is not None and time < created.low) or (created.high is not None and time > created.high):
        return False
    for name, value in wanted.items():
        if name == "externalIdPrefix":
            fits = str(record.get("externalId", "")).startswith(str(value))
        elif name == "metadata":
            fits = isinstance(value, dict) and value.items() <= record.get("metadata", {}).items()
        else:
            fits = name == "createdTime" or record.get(name) == value
        if not fits:
            return False
    return True


def _identifiers(body: Mapping[str, Any], fields: Sequence[str], most: int) -> list[tuple[str, Any]]:
    items = body.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= most:
        raise Problem(400, f"items must hold 1 to {most:,} identifiers")
    found = []
    for item in items:
        if not isinstance(item, dict) or len(item) != 1 or next(iter(item)) not in fields:
            raise Problem(400, f"An identifier is an object with one of: {', '.join(fields)}")
        field, value = next(iter(item.items()))
        if (whole(value) < 1) if field == "id" else not isinstance(value, str):
            raise Problem(400, f"{value!r} is no {field}")
        found.append((field, value))
    counted = dict.fromkeys(found, 0)
    for identifier in found:
        counted[identifier] += 1
    duplicated = [{field: value} for (field, value), count in counted.items() if count > 1]
    if duplicated:
        raise Problem(400, f"Identifiers are not unique: {_named(duplicated)}", duplicated=duplicated)
    return found


def _look_up(
    records: Sequence[dict[str, Any]], body: Mapping[str, Any], fields: Sequence[str], most: int
) -> list[dict[str, Any]]:
    found, missing = [], []
    for field, value in _identifiers(body, fields, most):
        match = next((record for record in records if record.get(field) == value), None)
        if match is None:
            missing.append({field: value})
        else:
            found.append(match)
    if missing and not body.get("ignoreUnknownIds"):
        raise Problem(400, f"Not found: {_named(missing)}", missing=missing)
    return found
