"""
Logs and responses of the calls of a sample function app.

Its framework turns every exception of a handler into a response that reports an error, so that the call is Completed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callframe.sample.call_output import CallDetails

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ERROR_SHARE = 7
"""Responses of 100 that report an error."""


def _validation_error(details: CallDetails, path: str) -> dict[str, Any]:
    field = ("site", "from", "unit")[details.number(0, 2)]
    return _error(400, "ValidationError", f"Input validation failed for {path}: {field}: Field required")


def _execution_error(details: CallDetails, path: str) -> dict[str, Any]:
    reason = f"ZeroDivisionError: float division by zero in meter {details.tag()}"
    return _error(500, "ExecutionError", f"Function execution failed in {path}: {reason}")


def _route_not_found(_: CallDetails, path: str) -> dict[str, Any]:
    return _error(404, "RouteNotFound", f"No route found for GET /v1{path}")


_ERRORS = (_execution_error, _execution_error, _validation_error, _route_not_found)


def _error(status: int, error_type: str, message: str) -> dict[str, Any]:
    return {"success": False, "statusCode": status, "errorType": error_type, "message": message}


def response(routes: Sequence[str], record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the response of a call, which may report an error; None unless the call completed."""
    if record["status"] != "Completed":
        return None
    details, (method, path) = _request(routes, record)
    if details.number(1, 100) <= _ERROR_SHARE:
        body = _ERRORS[details.number(0, len(_ERRORS) - 1)](details, path)
    else:
        body = {"success": True, "statusCode": 200, "data": {"kwh": details.number(0, 99_999), "until": details.time}}
    return {**body, "method": method, "path": path}


def log(routes: Sequence[str], record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the log of a call: its request, the error if there is one, and the status of its response."""
    _, (method, path) = _request(routes, record)
    body = response(routes, record)
    lines = [f"{method} {path}", *(str(record["error"]).split("\n") if "error" in record else [])]
    if body is not None:
        lines += [] if body["success"] else [f"ERROR {body['errorType']}: {body['message']}"]
        lines.append(f"{method} {path} -> {body['statusCode']}")
    start, end = record["startTime"], record.get("endTime", record["startTime"] + 60_000)
    gap = (end - start) / len(lines)
    return [{"timestamp": round(start + gap * (k + 0.5)), "message": line} for k, line in enumerate(lines)]


def _request(routes: Sequence[str], record: Mapping[str, Any]) -> tuple[CallDetails, tuple[str, str]]:
    """Draw the method and the path of the request that started a call."""
    details = CallDetails(record["id"], record["startTime"])
    method, path = routes[details.number(0, len(routes) - 1)].split()
    return details, (method, path)
