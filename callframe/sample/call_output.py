"""
Errors, logs and responses of sample calls.

The errors read as those of Python, requests, pandas and the Cognite SDK. Ids, times, addresses, tags and line numbers
differ from call to call, so that equal causes have different messages.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CATCHING = {
    "Calculate pump efficiency": (0.01, "division"),
    "Check data quality": (0.12, "missing_sensor"),
    "Ingest weather forecast": (0.3, "read_timeout"),
}
"""Functions that catch an error and return it: in which share of their Completed calls, and which error."""

HOME = "/home/site/wwwroot"
LIBRARIES = "/home/site/wwwroot/.python_packages/lib/site-packages"

_CHAINED = "\nThe above exception was the direct cause of the following exception:\n\n"
_DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"
_LOG_STEPS = (
    "Reading configuration from extraction pipeline",
    "Fetched {0} rows for {1}",
    "Matched {0} of {0} tags, first {1}",
    "WARNING: no data for {1} since {2}, using the last value",
    "Wrote {0} datapoints in batch {3}",
    "Request {4} took {0} ms",
)

_APP_ERROR_SHARE = 7
"""Responses of 100 of a function app that report an error: its framework makes one of every exception."""

_EXECUTION_ERROR = "Function execution failed in {path}: ZeroDivisionError: float division by zero in meter {tag}"
_APP_ERRORS = (
    (500, "ExecutionError", _EXECUTION_ERROR),
    (500, "ExecutionError", _EXECUTION_ERROR),
    (400, "ValidationError", "Input validation failed for {path}: site: Field required"),
    (404, "RouteNotFound", "No route found for GET /v1{path}"),
)


class CallDetails:
    """Random details of one call, seeded by its id."""

    def __init__(self, call_id: int, start_ms: int) -> None:
        self._random = random.Random(call_id)  # noqa: S311 - sample data, not a secret
        self.time = datetime.fromtimestamp(start_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.day = self.time[:10]

    def number(self, low: int, high: int) -> int:
        """Draw an integer, both ends included."""
        return self._random.randint(low, high)

    def tag(self) -> str:
        """Draw the tag of a sensor."""
        kind = self._random.choice(("PT", "TT", "FT", "VT", "LIC", "XV"))
        return f"{self.number(21, 29)}-{kind}-{self.number(1001, 9899)}{self._random.choice(('', '', 'A', 'B'))}"

    def request_id(self) -> str:
        """Draw an `X-Request-ID`."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def address(self) -> str:
        """Draw the address of an object."""
        return f"0x7f{self._random.getrandbits(40):010x}"

    def frame(self, path: str, line: int, function: str, code: str) -> str:
        """Return a traceback frame of the user's code, with a varying line number."""
        return f'  File "{HOME}/{path}", line {line + self.number(0, 6)}, in {function}\n    {code}\n'


def _library(path: str, line: int, function: str, code: str) -> str:
    return f'  File "{LIBRARIES}/{path}", line {line}, in {function}\n    {code}\n'


def _trace(*frames: str) -> str:
    return "Traceback (most recent call last):\n" + "".join(frames)


def _handle(details: CallDetails, code: str) -> str:
    return details.frame("handler.py", 31, "handle", code)


def _missing_sensor(details: CallDetails) -> tuple[str, str]:
    message = f"KeyError: '{details.tag()}'"
    lookup = details.frame("limits.py", 58, "limit_of", "return self._limits[tag]")
    return message, _trace(_handle(details, "check(client, data)"), lookup) + message


def _missing_key(details: CallDetails) -> tuple[str, str]:
    message = f"KeyError: '{('cutoff', 'work_order', 'plant', 'recipients')[details.number(0, 3)]}'"
    return message, _trace(_handle(details, "run(client, **data['parameters'])")) + message


def _read_timeout(details: CallDetails) -> tuple[str, str]:
    pool = f"HTTPSConnectionPool(host='gateway-{details.number(1, 4)}.example.com', port=443)"
    reason = f"{pool}: Read timed out. (read timeout={details.number(2, 6) * 10})"
    cause = _trace(
        _library("urllib3/connectionpool.py", 534, "_make_request", "response = conn.getresponse()"),
        _library("urllib3/connection.py", 571, "getresponse", "httplib_response = super().getresponse()"),
    )
    own = details.frame("source.py", 77, "fetch_page", "answer = self.session.get(url, timeout=self.timeout)")
    outer = _trace(
        _handle(details, "copy_new(source, client)"),
        own,
        _library("requests/sessions.py", 602, "get", 'return self.request("GET", url, **kwargs)'),
        _library("requests/adapters.py", 713, "send", "raise ReadTimeout(e, request=request)"),
    )
    message = f"requests.exceptions.ReadTimeout: {reason}"
    return message, f"{cause}TimeoutError: The read operation timed out\n{_DURING}{outer}{message}"


def _connection_refused(details: CallDetails) -> tuple[str, str]:
    url = f"/odata/orders?$top=500&$skip={details.number(0, 400) * 500}&changedSince={details.time}"
    cause = f"<urllib3.connection.HTTPSConnection object at {details.address()}>: Failed to establish a new connection"
    host = f"host='10.20.{details.number(0, 3)}.{details.number(4, 250)}', port={details.number(44300, 44399)}"
    message = (
        f"requests.exceptions.ConnectionError: HTTPSConnectionPool({host}): Max retries exceeded with url: {url} "
        f"(Caused by NewConnectionError('{cause}: [Errno 111] Connection refused'))"
    )
    frames = (
        _handle(details, "copy_new(source, client)"),
        details.frame("source.py", 77, "fetch_page", "answer = self.session.get(url, timeout=self.timeout)"),
        _library("requests/sessions.py", 602, "get", 'return self.request("GET", url, **kwargs)'),
        _library("requests/adapters.py", 677, "send", "raise ConnectionError(e, request=request)"),
    )
    return message, _trace(*frames) + message


def _cognite_error(details: CallDetails, name: str, words: str, code: int) -> tuple[str, str]:
    message = f"cognite.client.exceptions.{name}: {words} | code: {code} | X-Request-ID: {details.request_id()}"
    call = "client.time_series.data.insert_multiple(batch)"
    frames = (
        _handle(details, "store(client, results)"),
        details.frame("storage.py", 112, "store", call),
        _library("cognite/client/_api/datapoints.py", 1604, "insert_multiple", "dps_poster.insert(datapoints)"),
        _library("cognite/client/_api_client.py", 1189, "_raise_api_error", f"raise {name}("),
    )
    return message, _trace(*frames) + message


def _cognite_unavailable(details: CallDetails) -> tuple[str, str]:
    return _cognite_error(details, "CogniteAPIError", "Service temporarily unavailable, please retry", 503)


def _cognite_bad_request(details: CallDetails) -> tuple[str, str]:
    words = f"Invalid timestamp {details.number(10**12, 2 * 10**12)}: must be before {details.time}"
    return _cognite_error(details, "CogniteAPIError", words, 400)


def _duplicated_ids(details: CallDetails) -> tuple[str, str]:
    count = details.number(1, 3)
    orders = ", ".join(f"{{'externalId': 'WO-{details.number(4000000, 4999999)}'}}" for _ in range(count))
    return _cognite_error(details, "CogniteDuplicatedError", f"Events already exist: [{orders}]", 409)


def _unauthorized(details: CallDetails) -> tuple[str, str]:
    return _cognite_error(details, "CogniteAPIError", "Could not authenticate.", 401)


def _ragged_frame(details: CallDetails) -> tuple[str, str]:
    rows = details.number(1000, 9000)
    message = f"ValueError: Length of values ({rows - details.number(1, 9)}) does not match length of index ({rows})"
    frames = (
        _handle(details, "features = build(series)"),
        details.frame("features.py", 143, "build", 'frame["rolling"] = smooth(values)'),
        _library("pandas/core/frame.py", 4322, "__setitem__", "self._set_item(key, value)"),
        _library("pandas/core/common.py", 573, "require_length_match", "raise ValueError("),
    )
    return message, _trace(*frames) + message


def _bad_json(details: CallDetails) -> tuple[str, str]:
    at = details.number(0, 1) * details.number(100, 90000)
    reason = f"Expecting value: line 1 column {at + 1} (char {at})"
    message = f"RuntimeError: No usable answer for {details.day}"
    cause = _trace(
        details.frame("source.py", 91, "parse", "return json.loads(answer.text)"),
        '  File "/usr/local/lib/python3.11/json/decoder.py", line 355, in raw_decode\n'
        '    raise JSONDecodeError("Expecting value", s, err.value) from None\n',
    )
    outer = _trace(
        _handle(details, "copy_new(source, client)"),
        details.frame("source.py", 94, "parse", "raise RuntimeError(f'No usable answer for {day}') from error"),
    )
    return message, f"{cause}json.decoder.JSONDecodeError: {reason}\n{_CHAINED}{outer}{message}"


def _memory(details: CallDetails) -> tuple[str, str]:
    size = details.number(11, 98) / 10
    message = (
        f"numpy._core._exceptions._ArrayMemoryError: Unable to allocate {size} GiB for an array with shape "
        f"({details.number(10**6, 10**8)}, {details.number(8, 64)}) and data type float64"
    )
    if details.number(0, 2) == 0:
        message = "MemoryError"
    frames = (
        _handle(details, "model.fit(window(series))"),
        details.frame("model.py", 66, "window", "return np.lib.stride_tricks.sliding_window_view(x, n).copy()"),
    )
    return message, _trace(*frames) + message


def _division(details: CallDetails) -> tuple[str, str]:
    message = "ZeroDivisionError: float division by zero"
    own = details.frame("efficiency.py", 24, "efficiency", "return head * flow * GRAVITY / power")
    return message, _trace(_handle(details, "results = [efficiency(p) for p in pumps]"), own) + message


def _broken_file(details: CallDetails) -> tuple[str, str]:
    page = details.number(1, 40)
    path = f"/var/batch-{details.number(1000, 9999)}/{details.request_id()}.pdf"
    message = f"ValueError: cannot read page {page} of '{path}': xref table not found at offset {page * 8191}"
    own = details.frame("diagrams.py", 49, "pages", "raise ValueError(text) from None")
    return message, _trace(_handle(details, "for page in pages(path):"), own) + message


def _database(details: CallDetails) -> tuple[str, str]:
    server = f'connection to server at "10.20.7.{details.number(2, 90)}", port 5432 failed'
    reason = f"psycopg.OperationalError: {server}: server closed the connection unexpectedly"
    message = f"RuntimeError: batch {details.number(10000, 99999)} of {details.number(2, 900)} rows was not stored"
    cause = _trace(
        details.frame("storage.py", 40, "store", "cursor.executemany(INSERT, rows)"),
        _library("psycopg/cursor.py", 128, "executemany", "raise ex.with_traceback(None)"),
    )
    outer = _trace(
        _handle(details, "store(rows)"),
        details.frame("storage.py", 45, "store", "raise RuntimeError(text) from error"),
    )
    return message, f"{cause}{reason}\n{_CHAINED}{outer}{message}"


ERROR_SAMPLES: dict[str, Callable[[CallDetails], tuple[str, str]]] = {
    "missing_sensor": _missing_sensor,
    "missing_key": _missing_key,
    "read_timeout": _read_timeout,
    "connection_refused": _connection_refused,
    "cognite_unavailable": _cognite_unavailable,
    "cognite_bad_request": _cognite_bad_request,
    "duplicated_ids": _duplicated_ids,
    "unauthorized": _unauthorized,
    "ragged_frame": _ragged_frame,
    "bad_json": _bad_json,
    "memory": _memory,
    "division": _division,
    "broken_file": _broken_file,
    "database": _database,
}
"""Functions that return a message and a traceback."""

TIMED_OUT = "timed_out"
CAUSES = (*ERROR_SAMPLES, TIMED_OUT)
"""Causes by their number in the `cause` column."""


def error(call_id: int, start_ms: int, cause: int) -> dict[str, Any]:
    """Return the `error` of a failed call; a call stopped at the run limit has no trace."""
    if CAUSES[cause] == TIMED_OUT:
        return {"message": "Function call exceeded the time limit of 600 seconds and was terminated."}
    message, trace = ERROR_SAMPLES[CAUSES[cause]](CallDetails(call_id, start_ms))
    return {"message": message, "trace": trace + "\n"}


def log(function_name: str, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the log of a call: a start, some steps, the traceback of a failure, an end if it completed."""
    details = CallDetails(record["id"], record["startTime"])
    lines = [f"Starting {function_name!r} (call {record['id']})"]
    for _ in range(details.number(2, 6)):
        step = _LOG_STEPS[details.number(0, len(_LOG_STEPS) - 1)]
        values = (details.number(1, 9999), details.tag(), details.time, details.number(1, 99), details.request_id())
        lines.append(step.format(*values))
    error = record.get("error")
    if error is not None:
        text = error if isinstance(error, str) else error.get("trace") or error["message"]
        lines.extend(text.rstrip("\n").split("\n"))
    if (caught := _caught_error(function_name, record)) is not None:
        lines.append(f"ERROR: {caught}")
    if record["status"] == "Completed":
        lines.append(f"Done in {(_end_ms(record) - record['startTime']) / 1000:.1f} s")
    return _log_entries(record, lines)


def response(function_name: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the response of a call, sometimes an empty object or an error; None unless it completed."""
    if record["status"] != "Completed":
        return None
    if (caught := _caught_error(function_name, record)) is not None:
        return {"error": caught}
    details = CallDetails(record["id"], record["startTime"])
    if details.number(0, 3) == 0:
        return {}
    return {
        "status": "ok",
        "rows": details.number(0, 9999),
        "newest": details.time,
        "tags": [details.tag(), details.tag()],
    }


def _caught_error(function_name: str, record: Mapping[str, Any]) -> str | None:
    """Return the error that a Completed call caught, None if it had none."""
    share, cause = CATCHING.get(function_name.split(" (", maxsplit=1)[0], (0.0, ""))
    seed = f"caught/{record['id']}"
    if record["status"] != "Completed" or random.Random(seed).random() >= share:  # noqa: S311 - sample data
        return None
    message, _ = ERROR_SAMPLES[cause](CallDetails(record["id"], record["startTime"]))
    return message


def app_response(routes: Sequence[str], record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the response of a call of a function app, which may report an error; None unless the call completed."""
    if record["status"] != "Completed":
        return None
    details, (method, path) = _request(routes, record)
    request = {"method": method, "path": path}
    if details.number(1, 100) > _APP_ERROR_SHARE:
        data = {"kwh": details.number(0, 99_999), "until": details.time}
        return {"success": True, "statusCode": 200, "data": data, **request}
    status, error_type, message = _APP_ERRORS[details.number(0, len(_APP_ERRORS) - 1)]
    message = message.format(path=path, tag=details.tag())
    return {"success": False, "statusCode": status, "errorType": error_type, "message": message, **request}


def app_log(routes: Sequence[str], record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the log of a call of a function app: its request, its error if any, and the status of its response."""
    _, (method, path) = _request(routes, record)
    body = app_response(routes, record)
    lines = [f"{method} {path}", *(str(record["error"]).split("\n") if "error" in record else [])]
    if body is not None:
        lines += [] if body["success"] else [f"ERROR {body['errorType']}: {body['message']}"]
        lines.append(f"{method} {path} -> {body['statusCode']}")
    return _log_entries(record, lines)


def _request(routes: Sequence[str], record: Mapping[str, Any]) -> tuple[CallDetails, tuple[str, str]]:
    """Draw the method and the path of the request that started a call."""
    details = CallDetails(record["id"], record["startTime"])
    method, path = routes[details.number(0, len(routes) - 1)].split()
    return details, (method, path)


def _log_entries(record: Mapping[str, Any], lines: Sequence[str]) -> list[dict[str, Any]]:
    """Spread lines over the run of a call."""
    gap = (_end_ms(record) - record["startTime"]) / len(lines)
    return [
        {"timestamp": round(record["startTime"] + gap * (k + 0.5)), "message": line} for k, line in enumerate(lines)
    ]


def _end_ms(record: Mapping[str, Any]) -> int:
    end_ms: int = record.get("endTime", record["startTime"] + 60_000)
    return end_ms
