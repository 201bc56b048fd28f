"""
What the wire says: the API's JSON, decoded and validated into typed records.

A page is decoded at once. Where that fails, because one record breaks the contract or holds half of a surrogate pair,
the page is decoded again record by record: the bad ones are set aside with their reason, the others arrive.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from callframe.frame import MAX_ID, RECORD_SCHEMA
from callframe.timespan import MAX_TIME_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

Id = Annotated[int, msgspec.Meta(ge=1, le=MAX_ID)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Ms = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS)]

_LONGEST_NUMBER = 40
_UNDECODED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class MalformedBodyError(ValueError):
    """A body that is no JSON, or JSON of another shape than the endpoint's."""


class CallError(msgspec.Struct, frozen=True, gc=False):
    """Why a call failed."""

    message: str
    trace: str | None = None


class Call(msgspec.Struct, rename="camel", gc=False):
    """One call of a function. Times are milliseconds since 1970-01-01 UTC."""

    id: Id
    function_id: Id
    status: str
    start_time: Ms
    end_time: Ms | None = None
    scheduled_time: Ms | None = None
    schedule_id: Id | None = None
    error: CallError | str | None = None


class Function(msgspec.Struct, rename="camel", gc=False):
    """One function. Only what callframe cannot do without has to be there."""

    id: Id
    name: str | None = None
    external_id: str | None = None
    owner: str | None = None
    description: str | None = None
    status: str | None = None
    created_time: Ms | None = None
    last_called: Ms | None = None
    file_id: Int64 | None = None
    runtime: str | None = None
    runtime_version: str | None = None
    cpu: float | None = None
    memory: float | None = None
    metadata: dict[str, Any] | None = None
    error: CallError | str | None = None


class Schedule(msgspec.Struct, rename="camel", gc=False):
    """One schedule of a function, which it names by id or, in the deprecated form, by external id."""

    id: Id
    name: str | None = None
    description: str | None = None
    function_id: Id | None = None
    function_external_id: str | None = None
    cron_expression: str | None = None
    when: str | None = None
    created_time: Ms | None = None
    session_id: Int64 | None = None


class LogEntry(msgspec.Struct, rename="camel", gc=False):
    """One printed line."""

    timestamp: Ms | None = None
    message: str | None = None


class CallResponse(msgspec.Struct, rename="camel", gc=False):
    """What a call returned."""

    response: Any = None


class Limits(msgspec.Struct, rename="camel", gc=False):
    """What the service allows a function."""

    timeout_minutes: float | None = None
    cpu_cores: dict[str, Any] | None = None
    memory_gb: dict[str, Any] | None = None
    runtimes: list[str] | None = None
    response_size_mb: float | None = None


class InvalidRecord(msgspec.Struct, frozen=True, gc=False):
    """
    A record that breaks the contract.

    Parameters
    ----------
    reason
        What was expected and what was found, in a sentence.
    record_id
        The id it carried, if it carried one that can be trusted.
    fingerprint
        The same for the same record read twice.
    """

    reason: str
    record_id: int | None = None
    fingerprint: int = 0


Record = TypeVar("Record", bound=msgspec.Struct)


class Page(msgspec.Struct, Generic[Record], rename="camel", gc=False):
    """One page of records; no cursor means the last one."""

    items: list[Record]
    next_cursor: str | None = None
    set_aside: list[InvalidRecord] = []


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}


def decode_page(body: bytes, record: type[Record]) -> Page[Record]:
    """
    Decode one page of records.

    Parameters
    ----------
    body
        The body of an answer, `{"items": [...], "nextCursor": ...}`.
    record
        The type its items should be of.

    Returns
    -------
    page
        The items that keep the contract, in the order of the body, and the others with their reasons. An empty cursor
        counts as none.

    Raises
    ------
    MalformedBodyError
        The body is not JSON, or not a page.
    """
    decoder = _DECODERS.get(record)
    if decoder is None:
        decoder = _DECODERS[record] = msgspec.json.Decoder(_wire_page(record))
    try:
        wire = decoder.decode(body)
    except _UNDECODED:
        return _decode_slowly(body, record)
    return Page(wire.items, wire.next_cursor or None)


def decode_one(body: bytes, record: type[Record]) -> Record:
    """
    Decode a single record that is not wrapped in a page.

    Parameters
    ----------
    body
        The body of an answer.
    record
        The type it should be of.

    Returns
    -------
    record
        The record.

    Raises
    ------
    MalformedBodyError
        The body is not JSON, or not such a record.
    """
    try:
        return msgspec.json.decode(body, type=record)
    except _UNDECODED:
        found = _convert(_loads(body), record)
    if isinstance(found, InvalidRecord):
        raise MalformedBodyError(found.reason)
    return found


def decode_any(body: bytes) -> Any:
    """
    Decode JSON of any shape.

    Parameters
    ----------
    body
        The body of an answer.

    Returns
    -------
    value
        The JSON value, lone surrogates replaced.

    Raises
    ------
    MalformedBodyError
        The body is not JSON.
    """
    try:
        return msgspec.json.decode(body)
    except _UNDECODED:
        return _loads(body)


def to_columns(records: Sequence[Call]) -> pa.Table:
    """
    Turn records into columns, so that no record has to be kept.

    Parameters
    ----------
    records
        Calls as the wire has them.

    Returns
    -------
    columns
        One row a record, in their order; times are integers of milliseconds. For `assemble`.
    """
    count = len(records)
    # np.fromiter takes whole numbers faster than Arrow does, but no nulls.
    table = {
        "call_id": np.fromiter([record.id for record in records], "int64", count),
        "function_id": np.fromiter([record.function_id for record in records], "int64", count),
        "schedule_id": [record.schedule_id for record in records],
        "status": [record.status for record in records],
        "scheduled_time": [record.scheduled_time for record in records],
        "start_time": np.fromiter([record.start_time for record in records], "int64", count),
        "end_time": [record.end_time for record in records],
        **_errors([record.error for record in records]),
    }
    # Arrow's own pool keeps memory for each thread that ever asked it, and pages are read in many.
    pool = pa.system_memory_pool()
    arrays = [pa.array(table[field.name], field.type, memory_pool=pool) for field in RECORD_SCHEMA]
    return pa.Table.from_arrays(arrays, schema=RECORD_SCHEMA)


def _errors(errors: Sequence[CallError | str | None]) -> dict[str, list[str | None]]:
    """Split errors into messages and traces; most calls have neither."""
    messages: list[str | None] = [None] * len(errors)
    traces = messages.copy()
    for place in [place for place, error in enumerate(errors) if error is not None]:
        error = errors[place]
        if isinstance(error, CallError):
            messages[place], traces[place] = error.message, error.trace
        else:
            messages[place] = error
    return {"error_message": messages, "error_trace": traces}


def _wire_page(record: type[Record]) -> type[msgspec.Struct]:
    """Make the type of a page as it comes, without what callframe adds to it."""
    return msgspec.defstruct(
        f"{record.__name__}Page",
        [("items", list[record]), ("next_cursor", str | None, None)],  # type: ignore[valid-type]
        rename="camel",
        gc=False,
    )


def _decode_slowly(body: bytes, record: type[Record]) -> Page[Record]:
    page = _loads(body)
    if not isinstance(page, dict) or not isinstance(page.get("items"), list):
        raise MalformedBodyError(f"expected an object with a list of items, found {_shorten(page)}")
    cursor = page.get("nextCursor")
    if not isinstance(cursor, str | None):
        raise MalformedBodyError(f"expected nextCursor to be text, found {_shorten(cursor)}")
    items: list[Record] = []
    set_aside: list[InvalidRecord] = []
    for item in page["items"]:
        found = _convert(item, record)
        if isinstance(found, InvalidRecord):
            set_aside.append(found)
        else:
            items.append(found)
    return Page(items, cursor or None, set_aside)


def _convert(item: object, record: type[Record]) -> Record | InvalidRecord:
    """Make one record of one JSON value, or say why it is none."""
    if isinstance(item, dict) and "error" in item:
        item = {**item, "error": _tidy_error(item["error"])}
    try:
        return msgspec.convert(item, record)
    except msgspec.ValidationError as exception:
        fingerprint = zlib.crc32(json.dumps(item, sort_keys=True, default=str).encode())
        return InvalidRecord(_explain(str(exception), item), _trusted_id(item), fingerprint)


def _tidy_error(error: object) -> object:
    """Keep an error of a shape the docs do not show as its JSON text: nothing is lost."""
    if error is None or isinstance(error, str):
        return error
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        trace = error.get("trace")
        return {**error, "trace": trace if isinstance(trace, str | None) else json.dumps(trace, ensure_ascii=False)}
    return json.dumps(error, ensure_ascii=False)


def _explain(complaint: str, item: object) -> str:
    """Turn msgspec's complaint into field, expectation and what was found."""
    match = re.fullmatch(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", complaint, re.DOTALL)
    what, path = (match["what"], match["path"]) if match else (complaint, None)
    if isinstance(item, dict) and path in item:
        return f"{path}: {what[:1].lower()}{what[1:]}, found {_shorten(item[path])}"
    return f"{what}, found {_shorten(item)}" if not isinstance(item, dict) else what


def _trusted_id(item: object) -> int | None:
    found = item.get("id") if isinstance(item, dict) else None
    return found if type(found) is int and 1 <= found <= MAX_ID else None


def _shorten(value: object) -> str:
    """Show a value as the JSON it came as, at most 60 characters of it."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004


def _loads(body: bytes) -> Any:
    """Decode with the standard library, which takes lone surrogates; what else is odd is mended."""
    try:
        return _mend(json.loads(body.decode("utf-8-sig", errors="replace"), parse_int=_parse_int))
    except (ValueError, RecursionError):
        pass
    raise MalformedBodyError(f"expected JSON, found {body[:60]!r}")


def _parse_int(digits: str) -> int | float:
    """Read an integer; one of hundreds of digits is refused by `int` and is out of every range here anyway."""
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float("inf")


def _mend(value: Any) -> Any:
    """Replace halves of surrogate pairs by U+FFFD, in all the text of a JSON value."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_mend(item) for item in value]
    if isinstance(value, dict):
        return {_mend(key): _mend(item) for key, item in value.items()}
    return value
