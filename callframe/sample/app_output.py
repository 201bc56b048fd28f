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

_EXECUTION_ERROR = "Function execution failed in {path}: ZeroDivisionError: float division by zero in meter {tag}"
_ERRORS = (
    (500, "ExecutionError", _EXECUTION_ERROR),
    (500, "ExecutionError", _EXECUTION_ERROR),
    (400, "ValidationError", "Input validation failed for {path}: site: Field required"),
    (404, "RouteNotFound", "No route found for GET /v1{path}"),
)


def response(routes: Sequence[str], record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the response of a call, which may report an error; None unless the call completed."""
    if record["status"] != "Completed":
        return None
    details, (method, path) = _request(routes, record)
    request = {"method": method, "path": path}
    if details.number(1, 100) > _ERROR_SHARE:
        data = {"kwh": details.number(0, 99_999), "until": details.time}
        return {"success": True, "statusCode": 200, "data": data, **request}
    status, error_type, message = _ERRORS[details.number(0, len(_ERRORS) - 1)]
    message = message.format(path=path, tag=details.tag())
    return {"success": False, "statusCode": status, "errorType": error_type, "message": message, **request}


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
