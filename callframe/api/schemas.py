"""
The records of the Functions API, decoded from JSON and validated.

A page is decoded in one step. If that fails, lone surrogates and what is nested too deeply are replaced; if it fails
again, the page is decoded item by item: invalid records are set aside with the reason, and the others are returned.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING, Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from callframe.frame import MAX_ID, RECORD_SCHEMA
from callframe.timespan import MAX_TIME_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
EpochMs = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS)]

_MAX_INT_DIGITS = 40
_MAX_SHOWN_LENGTH = 60
_MAX_DEPTH = 100
_SURROGATES = re.compile(rb"\\u[dD](?:[89abAB]..\\u[dD][c-fC-F]..|[89a-fA-F]..)")  # pairs of them, or lone ones
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class MalformedBodyError(ValueError):
    """Body that is not JSON, or not the JSON that the endpoint returns."""


class CallError(msgspec.Struct, frozen=True, gc=False):
    """Error of a failed call."""

    message: str
    trace: str | None = None


class Call(msgspec.Struct, rename="camel", gc=False):
    """Call of a function. Times are milliseconds since 1970-01-01 UTC."""

    id: Id
    function_id: Id
    status: str
    start_time: EpochMs
    end_time: EpochMs | None = None
    scheduled_time: EpochMs | None = None
    schedule_id: Id | None = None
    error: CallError | str | None = None


class Function(msgspec.Struct, rename="camel", gc=False):
    """Function. Only its id is required."""

    id: Id
    name: str | None = None
    external_id: str | None = None
    owner: str | None = None
    description: str | None = None
    status: str | None = None
    created_time: EpochMs | None = None
    last_called: EpochMs | None = None
    file_id: Int64 | None = None
    runtime: str | None = None
    runtime_version: str | None = None
    function_type: str | None = None
    cpu: float | None = None
    memory: float | None = None
    metadata: dict[str, Any] | None = None
    error: CallError | str | None = None


class FunctionApp(NamedTuple):
    """Function app, whose calls are asked for by its external id; `function_ids` are those of its deployments."""

    external_id: str
    function_ids: frozenset[int]


class Schedule(msgspec.Struct, rename="camel", gc=False):
    """Schedule of a function, which it names by id or, in the deprecated form, by external id."""

    id: Id
    name: str | None = None
    description: str | None = None
    function_id: Id | None = None
    function_external_id: str | None = None
    cron_expression: str | None = None
    when: str | None = None
    created_time: EpochMs | None = None
    session_id: Int64 | None = None


class LogEntry(msgspec.Struct, rename="camel", gc=False):
    """Line of the log of a call."""

    timestamp: EpochMs | None = None
    message: str | None = None


class CallResponse(msgspec.Struct, rename="camel", gc=False):
    """Value that a call returned, and the data that it was called with, if the service tells."""

    response: Any = None
    data: Any = None


class Limits(msgspec.Struct, rename="camel", gc=False):
    """Limits of the service."""

    timeout_minutes: float | None = None
    cpu_cores: dict[str, Any] | None = None
    memory_gb: dict[str, Any] | None = None
    runtimes: list[str] | None = None
    response_size_mb: float | None = None


class InvalidRecord(msgspec.Struct, frozen=True, gc=False):
    """Record that is not valid: the reason, its id if that is valid, its name, a hash to recognize duplicates by."""

    reason: str
    record_id: int | None = None
    fingerprint: int = 0
    name: str | None = None


Record = TypeVar("Record", bound=msgspec.Struct)


class Page(msgspec.Struct, Generic[Record], rename="camel", gc=False):
    """Page of records; the last page has no cursor. `repaired` are records with a field that was not valid."""

    items: list[Record]
    next_cursor: str | None = None
    set_aside: list[InvalidRecord] = []
    repaired: list[InvalidRecord] = []


class _RawPage(msgspec.Struct, rename="camel", gc=False):
    items: list[msgspec.Raw]
    next_cursor: str | None = None


_RAW_PAGES = msgspec.json.Decoder(_RawPage)
_PAGE_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}


def decode_page(body: bytes, record_type: type[Record]) -> Page[Record]:
    """Decode `{"items": [...], "nextCursor": ...}`, or raise `MalformedBodyError`; an empty cursor counts as none."""
    decoder = _PAGE_DECODERS.get(record_type)
    if decoder is None:
        decoder = _PAGE_DECODERS[record_type] = msgspec.json.Decoder(_page_type(record_type))
    page = _decode(body, decoder)
    if page is None:
        body = _repair_text(body)
        page = _decode(body, decoder)
    return _decode_page_by_item(body, record_type) if page is None else Page(page.items, page.next_cursor or None)


def decode_app_page(body: bytes, function_id: int, app: FunctionApp) -> Page[Call]:
    """Decode calls of a function app, which are of `function_id` unless they are of another of its deployments."""
    page = decode_json(body)
    items = page.get("items") if isinstance(page, dict) else None
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            found = item.get("functionId")
            item["functionId"] = found if type(found) is int and found in app.function_ids else function_id
    return decode_page(msgspec.json.encode(page), Call)


def decode_app_call(body: bytes, function_id: int, app: FunctionApp) -> Call:
    """Decode a single call of a function app."""
    page = decode_app_page(msgspec.json.encode({"items": [decode_json(body)]}), function_id, app)
    if not page.items:
        raise MalformedBodyError(page.set_aside[0].reason)
    return page.items[0]


def decode_record(body: bytes, record_type: type[Record]) -> Record:
    """Decode a single record that is not wrapped in a page, or raise `MalformedBodyError`."""
    try:
        return msgspec.json.decode(body, type=record_type)
    except _DECODE_ERRORS:  # the response of a call is never changed
        record = _convert(_loads(body if record_type is CallResponse else _repair_text(body)), record_type)
    if isinstance(record, InvalidRecord):
        raise MalformedBodyError(record.reason)
    return record


def decode_json(body: bytes) -> Any:
    """Decode any JSON, with lone surrogates replaced, or raise `MalformedBodyError`."""
    try:
        return msgspec.json.decode(body)
    except _DECODE_ERRORS:
        return _loads(body)


def to_columns(calls: Sequence[Call]) -> pa.Table:
    """Convert calls to a table of `RECORD_SCHEMA`, one row per call, in order."""
    count = len(calls)
    # np.fromiter is faster than Arrow for integers, but has no nulls.
    columns = {
        "call_id": np.fromiter([call.id for call in calls], "int64", count),
        "function_id": np.fromiter([call.function_id for call in calls], "int64", count),
        "schedule_id": [call.schedule_id for call in calls],
        "status": [call.status for call in calls],
        "scheduled_time": [call.scheduled_time for call in calls],
        "start_time": np.fromiter([call.start_time for call in calls], "int64", count),
        "end_time": [call.end_time for call in calls],
        **_error_columns([call.error for call in calls]),
    }
    # Arrow's default pool keeps memory for every thread that has used it.
    pool = pa.system_memory_pool()
    arrays = [pa.array(columns[field.name], field.type, memory_pool=pool) for field in RECORD_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=RECORD_SCHEMA)


def _error_columns(errors: Sequence[CallError | str | None]) -> dict[str, list[str | None]]:
    messages: list[str | None] = [None] * len(errors)
    traces = messages.copy()
    for row, error in enumerate(errors):
        if isinstance(error, CallError):
            messages[row], traces[row] = error.message, error.trace
        elif error is not None:
            messages[row] = error
    return {"error_message": messages, "error_trace": traces}


def _page_type(record_type: type[Record]) -> type[msgspec.Struct]:
    """Make the type of a page as the API sends it, without `set_aside`."""
    return msgspec.defstruct(
        f"{record_type.__name__}Page",
        [("items", list[record_type]), ("next_cursor", str | None, None)],  # type: ignore[valid-type]
        rename="camel",
        gc=False,
    )


def _decode(body: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    """Decode JSON, or return None."""
    try:
        return decoder.decode(body)
    except _DECODE_ERRORS:
        return None


def _repair_text(body: bytes) -> bytes:
    """Replace invalid UTF-8 and lone surrogates by U+FFFD, and what is nested too deeply by null."""
    text = _SURROGATES.sub(_replace_lone_surrogate, body.decode("utf-8-sig", "replace").encode())
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except RecursionError:
        return _cut_deep(text)
    except msgspec.MsgspecError:  # not JSON
        pass
    return text


def _replace_lone_surrogate(match: re.Match[bytes]) -> bytes:
    body, start = match.string, match.start()
    while start and body[start - 1] == ord("\\"):
        start -= 1
    is_escape, is_pair = (match.start() - start) % 2 == 0, len(match[0]) > len(rb"\ud83d")
    return match[0] if is_pair or not is_escape else rb"\ufffd"


def _cut_deep(body: bytes) -> bytes:
    """Replace values nested too deeply by null."""
    pieces, position, depth = list[bytes](), 0, 0
    for token in _TOKENS.finditer(body):
        if token[0] in b"[{":
            depth += 1
            if depth == _MAX_DEPTH + 1:
                pieces.append(body[position : token.start()])
        elif token[0] in b"]}":
            if depth == _MAX_DEPTH + 1:
                pieces.append(b"null")
                position = token.end()
            depth -= 1
    return b"".join(pieces) + body[position:] if depth == 0 else body


def _decode_page_by_item(body: bytes, record_type: type[Record]) -> Page[Record]:
    decoder, (found, cursor) = msgspec.json.Decoder(record_type), _split_page(body)
    items: list[Record] = []
    set_aside: list[InvalidRecord] = []
    repaired: list[InvalidRecord] = []
    for item in found:
        if isinstance(item, msgspec.Raw):
            if (record := _decode(item, decoder)) is not None:
                items.append(record)
                continue
            item = _loads(bytes(item))  # noqa: PLW2901
        record = _convert(item, record_type)
        if isinstance(record, InvalidRecord) and record_type in (Function, Schedule) and record.record_id is not None:
            item, problems = _repair(item, record_type)  # noqa: PLW2901
            repaired += [InvalidRecord(problem, record.record_id, name=record.name) for problem in problems]
            record = _convert(item, record_type)
        if isinstance(record, InvalidRecord):
            set_aside.append(record)
        else:
            items.append(record)
    return Page(items, cursor or None, set_aside, repaired)


def _split_page(body: bytes) -> tuple[list[Any], str | None]:
    """Split a page into its items, as JSON if possible and otherwise decoded, and its cursor."""
    if (raw := _decode(body, _RAW_PAGES)) is not None:
        return raw.items, raw.next_cursor
    page = _loads(body)
    if not isinstance(page, dict) or not isinstance(page.get("items"), list):
        raise MalformedBodyError(f"expected an object with a list of items, found {_shorten(page)}")
    cursor = page.get("nextCursor")
    if not isinstance(cursor, str | None):
        raise MalformedBodyError(f"expected nextCursor to be text, found {_shorten(cursor)}")
    return page["items"], cursor


def _convert(item: object, record_type: type[Record]) -> Record | InvalidRecord:
    """Convert a JSON value to a record, or to the reason why it is not one."""
    if isinstance(item, dict) and "error" in item:
        item = {**item, "error": _normalize_error(item["error"])}
    try:
        return msgspec.convert(item, record_type)
    except msgspec.ValidationError as exception:
        fingerprint = zlib.crc32(json.dumps(item, sort_keys=True, default=str).encode())
        return InvalidRecord(_reason(str(exception), item), _valid_id(item), fingerprint, _name(item))


def _repair(item: dict[str, Any], record_type: type[Record]) -> tuple[dict[str, Any], list[str]]:
    """Leave out the optional fields that are not valid, with the reasons; a number may be text or a float, if exact."""
    repaired, problems = dict(item), []
    for field in msgspec.structs.fields(record_type):
        name = field.encode_name
        if field.required or name not in item or name == "error" or _is_valid(item[name], field.type):
            continue
        try:
            repaired[name] = msgspec.convert(item[name], field.type, strict=False)
        except msgspec.ValidationError as exception:
            del repaired[name]
            problems.append(_reason(f"{exception} - at `$.{name}`", item))
    return repaired, problems


def _is_valid(value: object, field_type: Any) -> bool:
    try:
        msgspec.convert(value, field_type)
    except msgspec.ValidationError:
        return False
    return True


def _normalize_error(error: object) -> object:
    """Keep an error of an undocumented shape as its JSON text."""
    if error is None or isinstance(error, str):
        return error
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        trace = error.get("trace")
        return {**error, "trace": trace if isinstance(trace, str | None) else json.dumps(trace, ensure_ascii=False)}
    return json.dumps(error, ensure_ascii=False)


def _reason(message: str, item: object) -> str:
    """Turn a message of msgspec into: field, what was expected, what was found."""
    match = re.fullmatch(r"(?P<expected>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", message, re.DOTALL)
    expected, path = (match["expected"], match["path"]) if match else (message, None)
    if isinstance(item, dict) and path in item:
        return f"{path}: {expected[:1].lower()}{expected[1:]}, found {_shorten(item[path])}"
    return f"{expected}, found {_shorten(item)}" if not isinstance(item, dict) else expected


def _valid_id(item: object) -> int | None:
    value = item.get("id") if isinstance(item, dict) else None
    return value if type(value) is int and 1 <= value <= MAX_ID else None


def _name(item: object) -> str | None:
    """Return the external id or name of a function or schedule, whatever else is wrong with it."""
    names = [item.get(key) for key in ("externalId", "name")] if isinstance(item, dict) else []
    return next((name for name in names if isinstance(name, str) and name), None)


def _shorten(value: object) -> str:
    """Write a value as JSON, cut to 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN_LENGTH else f"{text[: _MAX_SHOWN_LENGTH - 3]}..."


def _loads(body: bytes) -> Any:
    """Decode JSON with the standard library, which accepts lone surrogates; invalid UTF-8 is replaced."""
    try:
        return _replace_surrogates(json.loads(body.decode("utf-8-sig", errors="replace"), parse_int=_parse_int))
    except (ValueError, RecursionError):
        pass
    raise MalformedBodyError(f"expected JSON, found {body[:_MAX_SHOWN_LENGTH]!r}")


def _parse_int(digits: str) -> int | float:
    """Parse an integer; `int` refuses thousands of digits, and such numbers are out of range anyway."""
    return int(digits) if len(digits) <= _MAX_INT_DIGITS else float("inf")


def _replace_surrogates(value: Any) -> Any:
    """Replace lone surrogates by U+FFFD in all text of a JSON value."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in value.items()}
    return value
