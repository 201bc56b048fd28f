"""
Why made-up calls fail: messages and tracebacks as Python, requests, pandas and the Cognite SDK write them.

The same reason never reads the same twice: ids, times, addresses, tags and line numbers change from call to call.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

HOME = "/home/site/wwwroot"
LIBRARIES = "/home/site/wwwroot/.python_packages/lib/site-packages"
TIMED_OUT = "timed_out"

_CHAINED = "\nThe above exception was the direct cause of the following exception:\n\n"
_DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


class ErrorSample:
    """
    The particulars of one failure, drawn from the id of its call.

    Parameters
    ----------
    call_id
        Id of the call.
    start_ms
        When it started.
    """

    def __init__(self, call_id: int, start_ms: int) -> None:
        self._draw = random.Random(call_id)  # noqa: S311 (a story, not a secret)
        self.time = datetime.fromtimestamp(start_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.day = self.time[:10]

    def number(self, low: int, high: int) -> int:
        """Draw a number, both ends included."""
        return self._draw.randint(low, high)

    def tag(self) -> str:
        """Draw the tag of a sensor."""
        kind = self._draw.choice(("PT", "TT", "FT", "VT", "LIC", "XV"))
        return f"{self.number(21, 29)}-{kind}-{self.number(1001, 9899)}{self._draw.choice(('', '', 'A', 'B'))}"

    def request_id(self) -> str:
        """Draw an `X-Request-ID`."""
        return str(UUID(int=self._draw.getrandbits(128), version=4))

    def address(self) -> str:
        """Draw the address of an object."""
        return f"0x7f{self._draw.getrandbits(40):010x}"

    def frame(self, path: str, line: int, function: str, code: str) -> str:
        """Write a frame of the user's own code; its line moves a little, as edits move it."""
        return f'  File "{HOME}/{path}", line {line + self.number(0, 6)}, in {function}\n    {code}\n'


def _library(path: str, line: int, function: str, code: str) -> str:
    return f'  File "{LIBRARIES}/{path}", line {line}, in {function}\n    {code}\n'


def _trace(*frames: str) -> str:
    return "Traceback (most recent call last):\n" + "".join(frames)


def _handle(story: ErrorSample, code: str) -> str:
    return story.frame("handler.py", 31, "handle", code)


def _missing_sensor(story: ErrorSample) -> tuple[str, str]:
    message = f"KeyError: '{story.tag()}'"
    lookup = story.frame("limits.py", 58, "limit_of", "return self._limits[tag]")
    return message, _trace(_handle(story, "check(client, data)"), lookup) + message


def _missing_key(story: ErrorSample) -> tuple[str, str]:
    message = f"KeyError: '{('cutoff', 'work_order', 'plant', 'recipients')[story.number(0, 3)]}'"
    return message, _trace(_handle(story, "run(client, **data['parameters'])")) + message


def _read_timeout(story: ErrorSample) -> tuple[str, str]:
    pool = f"HTTPSConnectionPool(host='gateway-{story.number(1, 4)}.example.com', port=443)"
    reason = f"{pool}: Read timed out. (read timeout={story.number(2, 6) * 10})"
    cause = _trace(
        _library("urllib3/connectionpool.py", 534, "_make_request", "response = conn.getresponse()"),
        _library("urllib3/connection.py", 571, "getresponse", "httplib_response = super().getresponse()"),
    )
    own = story.frame("source.py", 77, "fetch_page", "answer = self.session.get(url, timeout=self.timeout)")
    outer = _trace(
        _handle(story, "copy_new(source, client)"),
        own,
        _library("requests/sessions.py", 602, "get", 'return self.request("GET", url, **kwargs)'),
        _library("requests/adapters.py", 713, "send", "raise ReadTimeout(e, request=request)"),
    )
    message = f"requests.exceptions.ReadTimeout: {reason}"
    return message, f"{cause}TimeoutError: The read operation timed out\n{_DURING}{outer}{message}"


def _connection_refused(story: ErrorSample) -> tuple[str, str]:
    url = f"/odata/orders?$top=500&$skip={story.number(0, 400) * 500}&changedSince={story.time}"
    cause = f"<urllib3.connection.HTTPSConnection object at {story.address()}>: Failed to establish a new connection"
    host = f"host='10.20.{story.number(0, 3)}.{story.number(4, 250)}', port={story.number(44300, 44399)}"
    message = (
        f"requests.exceptions.ConnectionError: HTTPSConnectionPool({host}): Max retries exceeded with url: {url} "
        f"(Caused by NewConnectionError('{cause}: [Errno 111] Connection refused'))"
    )
    frames = (
        _handle(story, "copy_new(source, client)"),
        story.frame("source.py", 77, "fetch_page", "answer = self.session.get(url, timeout=self.timeout)"),
        _library("requests/sessions.py", 602, "get", 'return self.request("GET", url, **kwargs)'),
        _library("requests/adapters.py", 677, "send", "raise ConnectionError(e, request=request)"),
    )
    return message, _trace(*frames) + message


def _cognite_error(story: ErrorSample, name: str, words: str, code: int) -> tuple[str, str]:
    message = f"cognite.client.exceptions.{name}: {words} | code: {code} | X-Request-ID: {story.request_id()}"
    call = "client.time_series.data.insert_multiple(batch)"
    frames = (
        _handle(story, "store(client, results)"),
        story.frame("storage.py", 112, "store", call),
        _library("cognite/client/_api/datapoints.py", 1604, "insert_multiple", "dps_poster.insert(datapoints)"),
        _library("cognite/client/_api_client.py", 1189, "_raise_api_error", f"raise {name}("),
    )
    return message, _trace(*frames) + message


def _cognite_unavailable(story: ErrorSample) -> tuple[str, str]:
    return _cognite_error(story, "CogniteAPIError", "Service temporarily unavailable, please retry", 503)


def _cognite_bad_request(story: ErrorSample) -> tuple[str, str]:
    words = f"Invalid timestamp {story.number(10**12, 2 * 10**12)}: must be before {story.time}"
    return _cognite_error(story, "CogniteAPIError", words, 400)


def _duplicated_ids(story: ErrorSample) -> tuple[str, str]:
    orders = ", ".join(f"{{'externalId': 'WO-{story.number(4000000, 4999999)}'}}" for _ in range(story.number(1, 3)))
    return _cognite_error(story, "CogniteDuplicatedError", f"Events already exist: [{orders}]", 409)


def _unauthorized(story: ErrorSample) -> tuple[str, str]:
    return _cognite_error(story, "CogniteAPIError", "Could not authenticate.", 401)


def _ragged_frame(story: ErrorSample) -> tuple[str, str]:
    rows = story.number(1000, 9000)
    message = f"ValueError: Length of values ({rows - story.number(1, 9)}) does not match length of index ({rows})"
    frames = (
        _handle(story, "features = build(series)"),
        story.frame("features.py", 143, "build", 'frame["rolling"] = smooth(values)'),
        _library("pandas/core/frame.py", 4322, "__setitem__", "self._set_item(key, value)"),
        _library("pandas/core/common.py", 573, "require_length_match", "raise ValueError("),
    )
    return message, _trace(*frames) + message


def _bad_json(story: ErrorSample) -> tuple[str, str]:
    at = story.number(0, 1) * story.number(100, 90000)
    reason = f"Expecting value: line 1 column {at + 1} (char {at})"
    message = f"RuntimeError: No usable answer for {story.day}"
    cause = _trace(
        story.frame("source.py", 91, "parse", "return json.loads(answer.text)"),
        '  File "/usr/local/lib/python3.11/json/decoder.py", line 355, in raw_decode\n'
        '    raise JSONDecodeError("Expecting value", s, err.value) from None\n',
    )
    outer = _trace(
        _handle(story, "copy_new(source, client)"),
        story.frame("source.py", 94, "parse", "raise RuntimeError(f'No usable answer for {day}') from error"),
    )
    return message, f"{cause}json.decoder.JSONDecodeError: {reason}\n{_CHAINED}{outer}{message}"


def _memory(story: ErrorSample) -> tuple[str, str]:
    size = story.number(11, 98) / 10
    message = (
        f"numpy._core._exceptions._ArrayMemoryError: Unable to allocate {size} GiB for an array with shape "
        f"({story.number(10**6, 10**8)}, {story.number(8, 64)}) and data type float64"
    )
    if story.number(0, 2) == 0:
        message = "MemoryError"
    frames = (
        _handle(story, "model.fit(window(series))"),
        story.frame("model.py", 66, "window", "return np.lib.stride_tricks.sliding_window_view(x, n).copy()"),
    )
    return message, _trace(*frames) + message


def _division(story: ErrorSample) -> tuple[str, str]:
    message = "ZeroDivisionError: float division by zero"
    own = story.frame("efficiency.py", 24, "efficiency", "return head * flow * GRAVITY / power")
    return message, _trace(_handle(story, "results = [efficiency(p) for p in pumps]"), own) + message


def _broken_file(story: ErrorSample) -> tuple[str, str]:
    page = story.number(1, 40)
    path = f"/var/batch-{story.number(1000, 9999)}/{story.request_id()}.pdf"
    message = f"ValueError: cannot read page {page} of '{path}': xref table not found at offset {page * 8191}"
    own = story.frame("diagrams.py", 49, "pages", "raise ValueError(text) from None")
    return message, _trace(_handle(story, "for page in pages(path):"), own) + message


def _database(story: ErrorSample) -> tuple[str, str]:
    server = f'connection to server at "10.20.7.{story.number(2, 90)}", port 5432 failed'
    reason = f"psycopg.OperationalError: {server}: server closed the connection unexpectedly"
    message = f"RuntimeError: batch {story.number(10000, 99999)} of {story.number(2, 900)} rows was not stored"
    cause = _trace(
        story.frame("storage.py", 40, "store", "cursor.executemany(INSERT, rows)"),
        _library("psycopg/cursor.py", 128, "executemany", "raise ex.with_traceback(None)"),
    )
    outer = _trace(
        _handle(story, "store(rows)"),
        story.frame("storage.py", 45, "store", "raise RuntimeError(text) from error"),
    )
    return message, f"{cause}{reason}\n{_CHAINED}{outer}{message}"


CAUSES: dict[str, Callable[[ErrorSample], tuple[str, str]]] = {
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
"""The exception and the traceback of each reason."""

NAMES = (*CAUSES, TIMED_OUT)
"""Reasons by the number that stands for them in a column."""


def error(call_id: int, start_ms: int, cause: int) -> dict[str, Any]:
    """Write the `error` of a call that failed for a reason; one cut off at the run limit has no trace."""
    if NAMES[cause] == TIMED_OUT:
        return {"message": "Function call exceeded the time limit of 600 seconds and was terminated."}
    message, trace = CAUSES[NAMES[cause]](ErrorSample(call_id, start_ms))
    return {"message": message, "trace": trace + "\n"}
