"""Records of the API: decoding, invalid records and lone surrogates."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from factories import NOW_MS, PUBLISHED_RECORD, call_record, few_examples, page_body
from hypothesis import given
from hypothesis import strategies as st

from callframe.api import schemas
from callframe.api.schemas import (
    Call,
    CallError,
    CallResponse,
    Function,
    LogEntry,
    MalformedBodyError,
    Schedule,
    decode_json,
    decode_page,
    decode_record,
)
from callframe.frame import MAX_ID
from callframe.timespan import MAX_TIME_MS

if TYPE_CHECKING:
    from collections.abc import Callable


def decode(**changes: Any) -> Call:
    (item,) = decode_page(page_body(call_record(**changes)), Call).items
    return item


# Valid records


def test_published_example_is_decoded() -> None:
    assert decode_record(json.dumps(PUBLISHED_RECORD).encode(), Call) == Call(
        id=4503599627370496,
        function_id=4503599627370496,
        status="Running",
        start_time=1730204346000,
        end_time=1730204346000,
        scheduled_time=1730204346000,
        schedule_id=4503599627370496,
        error=CallError("Could not authenticate.", "Cannot assign foo to bar."),
    )


def test_optional_fields_can_be_absent() -> None:
    call = decode_record(b'{"id": 1, "functionId": 2, "status": "Running", "startTime": 0}', Call)
    assert call == Call(1, 2, "Running", 0, None, None, None, None)


@pytest.mark.parametrize("field", ["endTime", "scheduledTime", "scheduleId", "error"])
def test_null_is_like_an_absent_field(field: str) -> None:
    assert decode(**{field: None}) == decode(**{field: ...})


def test_unknown_fields_are_ignored() -> None:
    assert decode(new={"deep": [1]}) == decode()


def test_unknown_status_is_kept() -> None:
    assert decode(status="Cancelled").status == "Cancelled"


@pytest.mark.parametrize("value", [1, 2**31, 2**53 - 2, MAX_ID])
def test_ids_are_exact(value: int) -> None:
    call = decode(id=value, functionId=value, scheduleId=value)
    assert (call.id, call.function_id, call.schedule_id) == (value, value, value)


@pytest.mark.parametrize("value", [0, 1, NOW_MS, MAX_TIME_MS])
def test_times_from_1970_to_9999_are_valid(value: int) -> None:
    call = decode(startTime=value, endTime=value, scheduledTime=value)
    assert (call.start_time, call.end_time, call.scheduled_time) == (value, value, value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, None),
        ("text", "text"),
        ("", ""),
        ({"message": "m"}, CallError("m")),
        ({"message": "m", "trace": "t"}, CallError("m", "t")),
        ({"message": "m", "trace": None}, CallError("m")),
        ({"message": "m", "trace": "t", "code": 5}, CallError("m", "t")),
        ({"message": "m", "trace": ["a", "é"]}, CallError("m", '["a", "é"]')),
        ({"message": None, "trace": "t"}, '{"message": null, "trace": "t"}'),
        ({"message": 5}, '{"message": 5}'),
        ({}, "{}"),
        ({"code": 400}, '{"code": 400}'),
        (["a"], '["a"]'),
        (5, "5"),
        (False, "false"),
    ],
)
def test_error_of_any_shape_is_kept(error: object, expected: object) -> None:
    assert decode(error=error).error == expected


# Pages


def test_cursor_is_returned() -> None:
    assert decode_page(page_body(nextCursor="abc"), Call).next_cursor == "abc"


@pytest.mark.parametrize("more", [{}, {"nextCursor": None}, {"nextCursor": ""}])
def test_last_page_has_no_cursor(more: dict[str, Any]) -> None:
    assert decode_page(page_body(call_record(), **more), Call).next_cursor is None


def test_cursor_of_a_page_with_an_invalid_record_is_returned() -> None:
    assert decode_page(page_body(5, nextCursor="abc"), Call).next_cursor == "abc"


def test_empty_cursor_of_a_page_with_an_invalid_record_is_none() -> None:
    assert decode_page(page_body(5, nextCursor=""), Call).next_cursor is None


def test_items_around_an_invalid_record_keep_their_order() -> None:
    result = decode_page(page_body(call_record(id=3), call_record(id=0), call_record(id=1), call_record(id=2)), Call)
    assert [call.id for call in result.items] == [3, 1, 2]


def test_pages_do_not_share_invalid_records() -> None:
    decode_page(page_body(5), Call)
    assert decode_page(page_body(call_record()), Call).set_aside == []


def test_byte_order_mark_is_ignored() -> None:
    assert len(decode_page(b"\xef\xbb\xbf" + page_body(call_record()), Call).items) == 1


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"<html>Bad gateway</html>", b"\xff\xfe", b"\0", b"null", b"[]", b"5", b'"text"'),
        *(b"{}", b'{"items": null}', b'{"items": {}}', b'{"items": 5}', b'{"items": [], "nextCursor": 5}'),
        *(b'{"items": [', b'{"items": []} more', b"[" * 100_000),
    ],
)
def test_body_that_is_not_a_page_is_an_error(body: bytes) -> None:
    with pytest.raises(MalformedBodyError, match="expected"):
        decode_page(body, Call)


def test_error_message_about_a_long_body_is_short() -> None:
    with pytest.raises(MalformedBodyError) as caught:
        decode_page(b"<html>" + b"x" * 10_000, Call)
    assert len(str(caught.value)) < 200


# Invalid records


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": ...}, "missing required field `id`"),
        ({"functionId": ...}, "missing required field `functionId`"),
        ({"status": ...}, "missing required field `status`"),
        ({"startTime": ...}, "missing required field `startTime`"),
        ({"id": None}, "id: .*found null"),
        ({"id": 0}, "id: .*>= 1, found 0"),
        ({"id": -1}, "id: .*found -1"),
        ({"id": 1.5}, "id: .*`float`, found 1.5"),
        ({"id": 1.0}, "id: .*found 1.0"),
        ({"id": "1"}, 'id: .*`str`, found "1"'),
        ({"id": True}, "id: .*`bool`, found true"),
        ({"id": 2**53}, "id: .*<= 9007199254740991, found 9007199254740992"),
        ({"id": 2**63}, "id: .*found 9223372036854775808"),
        ({"id": 2**64}, "id: .*found 18446744073709551616"),
        ({"id": 10**30}, "id: .*found 1000"),
        ({"id": 10**3000}, "id: .*found Infinity"),
        ({"functionId": 0}, "functionId: .*found 0"),
        ({"scheduleId": 0}, "scheduleId: .*found 0"),
        ({"scheduleId": 2**53}, "scheduleId: .*found 9007199254740992"),
        ({"startTime": None}, "startTime: .*found null"),
        ({"startTime": -1}, "startTime: .*>= 0, found -1"),
        ({"startTime": 0.5}, "startTime: .*found 0.5"),
        ({"startTime": "2026-10-29"}, 'startTime: .*found "2026-10-29"'),
        ({"startTime": float("nan")}, "startTime: .*found NaN"),
        ({"startTime": MAX_TIME_MS + 1}, "startTime: .*found 253402300800000"),
        ({"endTime": -1}, "endTime: .*found -1"),
        ({"scheduledTime": -1}, "scheduledTime: .*found -1"),
        ({"status": None}, "status: .*found null"),
        ({"status": 3}, "status: .*found 3"),
    ],
)
def test_invalid_record_is_set_aside_and_the_others_are_returned(changes: dict[str, Any], reason: str) -> None:
    result = decode_page(page_body(call_record(id=7), call_record(**changes), call_record(id=8)), Call)
    assert [call.id for call in result.items] == [7, 8]
    assert [bool(re.search(reason, record.reason)) for record in result.set_aside] == [True]


@pytest.mark.parametrize("item", [5, None, "text", [], True, 0.5])
def test_item_that_is_not_an_object_is_set_aside(item: object) -> None:
    result = decode_page(page_body(call_record(), item), Call)
    assert (len(result.items), [record.record_id for record in result.set_aside]) == (1, [None])


def test_invalid_record_has_its_id() -> None:
    assert decode_page(page_body(call_record(id=5, startTime=-1)), Call).set_aside[0].record_id == 5


@pytest.mark.parametrize("value", [..., None, 0, 1.0, "1", True, 2**53])
def test_invalid_record_does_not_have_an_invalid_id(value: object) -> None:
    assert decode_page(page_body(call_record(id=value)), Call).set_aside[0].record_id is None


def test_reason_shows_the_beginning_of_a_long_value() -> None:
    reason = decode_page(page_body(call_record(status=["x" * 10_000])), Call).set_aside[0].reason
    assert len(reason) < 150


@pytest.mark.parametrize("body", [b"{}", b"[]", b"5", b"null", b"", b"<html>", b'{"items": []}'])
def test_invalid_single_record_is_an_error(body: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        decode_record(body, Call)


# Lone surrogates


@pytest.mark.parametrize(
    ("escaped", "expected"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\ude00", "\ufffd"),
        (r"a\ud83db", "a\ufffdb"),
        (r"\ud83d\ude00", "😀"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"é\ud83d", "é\ufffd"),
    ],
)
def test_lone_surrogate_becomes_the_replacement_character(escaped: str, expected: str) -> None:
    body = page_body(call_record(error="HERE"), call_record(id=2)).replace(b"HERE", escaped.encode())
    assert [call.error for call in decode_page(body, Call).items] == [expected, None]


@pytest.mark.parametrize("name", ["message", "trace"])
def test_lone_surrogate_in_an_error_is_replaced(name: str) -> None:
    error = decode(error={"message": "m", "trace": "t", name: "\ud83d"}).error
    assert isinstance(error, CallError)
    assert getattr(error, name) == "\ufffd"


def test_lone_surrogate_in_a_status_is_replaced() -> None:
    assert decode(status="\ude00").status == "\ufffd"


def test_lone_surrogate_in_a_single_record_is_replaced() -> None:
    assert decode_record(json.dumps(call_record(error="\ud83d")).encode(), Call).error == "\ufffd"


def test_lone_surrogates_are_replaced_at_any_depth() -> None:
    assert decode_json(rb'{"\ud83d": ["\ud83d", {"a": "\ude00"}]}') == {"\ufffd": ["\ufffd", {"a": "\ufffd"}]}


def test_only_invalid_utf8_bytes_are_replaced() -> None:
    body = page_body(call_record(error="HERE"), call_record(id=2)).replace(b"HERE", b"a\xffb")
    assert [call.error for call in decode_page(body, Call).items] == ["a\ufffdb", None]


@few_examples
@given(st.text(st.characters(codec=None), max_size=20))
def test_only_lone_surrogates_of_a_text_are_replaced(text: str) -> None:
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert decode(error=text).error == expected


@few_examples
@given(st.lists(st.one_of(st.just(None), st.integers(1, MAX_ID)), max_size=6))
def test_every_item_is_returned_or_set_aside(item_ids: list[int | None]) -> None:
    result = decode_page(page_body(*(call_record(id=item_id) for item_id in item_ids)), Call)
    assert [call.id for call in result.items] == [item_id for item_id in item_ids if item_id]
    assert len(result.set_aside) == item_ids.count(None)


# Other records


def test_function_requires_only_an_id() -> None:
    assert decode_page(page_body({"id": 5}), Function).items == [Function(5)]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *((Function, {"fileId": value}) for value in (2**63, 10**30, "x")),
        *((Function, {field: 5.5}) for field in ("name", "externalId", "createdTime", "lastCalled", "metadata")),
        (Function, {"cpu": "much", "memory": True, "createdTime": -1}),
        *((Schedule, {"sessionId": value}) for value in (2**63, 10**30, "x", 0.5)),
        *((Schedule, {field: {}}) for field in ("name", "functionId", "functionExternalId", "cronExpression", "when")),
    ],
    ids=str,
)
def test_invalid_field_of_a_function_or_schedule_is_missing(kind: type[Function | Schedule], changes: Any) -> None:
    result = decode_page(page_body({"id": 5, **changes}, {"id": 6}), kind)
    assert (result.items, result.set_aside) == ([kind(5), kind(6)], [])
    assert {one.reason.split(":")[0] for one in result.repaired} == set(changes)


@pytest.mark.parametrize("value", [1730204346000.0, "1730204346000"])
def test_number_in_another_notation_is_exact(value: object) -> None:
    result = decode_page(page_body({"id": 5, "createdTime": value}), Function)
    assert (result.items[0].created_time, result.repaired) == (1730204346000, [])


def test_session_id_may_be_text() -> None:
    assert decode_page(page_body({"id": 5, "sessionId": "77"}), Schedule).items[0].session_id == 77


@pytest.mark.parametrize("record_id", [0, None, "5", 5.0, True])
def test_function_without_a_valid_id_is_set_aside_with_its_name(record_id: object) -> None:
    result = decode_page(page_body({"id": record_id, "name": "n", "externalId": "e"}, {"id": 6}), Function)
    assert (result.items, [one.name for one in result.set_aside]) == ([Function(6)], ["e"])


def test_error_of_a_function_can_be_an_object() -> None:
    (function,) = decode_page(page_body({"id": 5, "error": {"message": "m", "trace": "t"}}), Function).items
    assert function.error == CallError("m", "t")


@pytest.mark.parametrize("field", ["functionId", "functionExternalId"])
def test_schedule_has_the_id_or_the_external_id_of_its_function(field: str) -> None:
    value = 7 if field == "functionId" else "fn"
    (schedule,) = decode_page(page_body({"id": 5, field: value}), Schedule).items
    assert {schedule.function_id, schedule.function_external_id} == {value, None}


def test_log_entry_without_a_timestamp_is_valid() -> None:
    assert decode_page(page_body({"message": "m"}), LogEntry).items == [LogEntry(None, "m")]


@pytest.mark.parametrize("response", [{}, [], None, 5, "text", {"a": [1, {"b": None}]}])
def test_response_of_any_shape_is_kept(response: object) -> None:
    body = json.dumps({"functionId": 1, "callId": 2, "response": response}).encode()
    assert decode_record(body, CallResponse).response == response


def test_absent_response_is_none() -> None:
    assert decode_record(b'{"functionId": 1, "callId": 2}', CallResponse).response is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff"])
def test_invalid_json_is_an_error(body: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        decode_json(body)


@pytest.mark.parametrize("decode_body", [decode_json, partial(decode_record, record_type=CallResponse)])
def test_deeply_nested_json_is_an_error(decode_body: Callable[[bytes], object]) -> None:
    with pytest.raises(MalformedBodyError):
        decode_body(b'{"response": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def nested(depth: int) -> bytes:
    return b'{"a": [' * (depth // 2) + b"]}" * (depth // 2)


@pytest.mark.parametrize("depth", [600, 5_000, 100_000])
@pytest.mark.parametrize("other", [call_record(id=2), call_record(id=2, error="\ud83d"), call_record(id=0)])
def test_field_that_is_not_needed_can_be_nested_to_any_depth(depth: int, other: dict[str, Any]) -> None:
    body = page_body(call_record(extra="HERE"), other).replace(b'"HERE"', nested(depth))
    assert decode_page(body, Call).items[0] == decode()


def test_single_record_can_have_a_deeply_nested_field() -> None:
    body = json.dumps(call_record(extra="HERE")).encode().replace(b'"HERE"', nested(100_000))
    assert decode_record(body, Call) == decode()


def test_deeply_nested_item_is_set_aside() -> None:
    body = page_body("HERE", call_record()).replace(b'"HERE"', nested(100_000))
    result = decode_page(body, Call)
    assert (len(result.items), len(result.set_aside)) == (1, 1)


@pytest.mark.parametrize("damage", ["\ud83d", "\\\ude00"])
def test_page_with_a_lone_surrogate_is_decoded_in_one_step(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "_decode_page_by_item", None)
    assert decode(error=f"a{damage}b").error == f"a{damage[:-1]}\ufffdb"


def test_valid_records_beside_an_invalid_one_are_not_decoded_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = Mock(wraps=json.loads)
    monkeypatch.setattr(json, "loads", loads)
    decode_page(page_body(call_record(), call_record(id=0), call_record(id=2)), Call)
    assert loads.call_count == 1
