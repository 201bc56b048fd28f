"""Failures are grouped as a person would group them, and counted as a slow loop counts them."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import callframe as cf
from callframe import frame
from callframe.measures import failures as module
from callframe.measures import traces
from callframe.records import Call, CallError

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTE = 60_000
T0 = 1_790_000_000_000
HOME = "/home/site/wwwroot"
PACKAGES = f"{HOME}/.python_packages/lib/site-packages"
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


def record(at: int = 0, **changes: Any) -> Call:
    """Make a failed call that started `at` minutes after the others could."""
    fields = {"id": at + 1, "function_id": 7, "status": "Failed", "start_time": T0 + at * MINUTE, "end_time": None}
    return Call(**(fields | changes))


def frame_of(*records: Call) -> pd.DataFrame:
    return frame.assemble([frame.columns(records)], {7: "ingest", 8: "report"})


def stack(*frames: str) -> str:
    """Write a traceback; a frame is `path:line:function`."""
    lines = ["Traceback (most recent call last):"]
    for one in frames:
        path, line, function = one.split(":")
        where = path if path.startswith(("/", "<")) else f"{HOME}/{path}"
        lines += [f'  File "{where}", line {line}, in {function}', "    do(it)"]
    return "\n".join(lines) + "\n"


def raised(text: str, *frames: str) -> CallError:
    return CallError(text.split("\n")[0], stack(*(frames or ("handler.py:12:handle",))) + text + "\n")


def groups(*errors: CallError | str | None) -> list[str]:
    """Tell the group of each error, each in a frame of its own."""
    return [cf.failures(frame_of(record(error=error)))["group"].item() for error in errors]


# What people would call the same error. A label a group; the texts are of the kinds that Functions raise.

SDK = f"{PACKAGES}/cognite/client/_api_client.py:1189:_raise_api_error"
API = "cognite.client.exceptions.CogniteAPIError"
STORE = ("handler.py:31:handle", "storage.py:112:store", SDK)
STORE_EDITED = ("handler.py:38:handle", "storage.py:97:store", f"{PACKAGES}/cognite/client/_http.py:88:_raise", SDK)
FETCH = ("handler.py:31:handle", "source.py:77:fetch_page", f"{PACKAGES}/requests/adapters.py:713:send")
HTTPS = "requests.exceptions.ConnectionError: HTTPSConnectionPool"
NEW = "NewConnectionError('<urllib3.connection.HTTPSConnection object at"
URLLIB = stack(f"{PACKAGES}/urllib3/connectionpool.py:534:_make_request", "/usr/local/lib/python3.11/ssl.py:1166:read")
JSON = stack("source.py:91:parse", "/usr/local/lib/python3.11/json/decoder.py:355:raw_decode")
OAUTH = "oauthlib.oauth2.rfc6749.errors.InvalidClientError: (invalid_client)"
PYDANTIC = "pydantic_core._pydantic_core.ValidationError: {0} validation error{1} for Config"

CORPUS: list[tuple[str, CallError | str | None]] = [
    ("unavailable", raised(f"{API}: Service unavailable | code: 503 | X-Request-ID: 9f0c7a53-8f9e-9d2c-a1b4-3f2504e04f89", *STORE)),
    ("unavailable", raised(f"{API}: Service unavailable | code: 503 | X-Request-ID: 11111111-2222-3333-4444-555555555555", *STORE_EDITED)),
    ("bad gateway", raised(f"{API}: Service unavailable | code: 502 | X-Request-ID: 4a0c7a53-8f9e-9d2c-a1b4-3f2504e04f89", *STORE)),
    ("bad request", raised(f"{API}: Invalid timestamp 1790000000000: must be before 2026-10-29T12:19:06Z | code: 400 | X-Request-ID: 0b0c7a53-8f9e-9d2c-a1b4-3f2504e04f89 | cluster: westeurope-1\nThe API Failed to process some items.\nFailed (4xx): [1, 2]", *STORE)),
    ("bad request", raised(f"{API}: Invalid timestamp 5: must be before 2026-11-02T00:00:00Z | code: 400 | X-Request-ID: 0c0c7a53-8f9e-9d2c-a1b4-3f2504e04f89 | cluster: az-eastus-1\nThe API Failed to process some items.\nFailed (4xx): [1]", *STORE)),
    ("not found", raised("cognite.client.exceptions.CogniteNotFoundError: Assets not found: [{'externalId': 'WO-4000001'}] | code: 400", *STORE)),
    ("not found", raised("cognite.client.exceptions.CogniteNotFoundError: Assets not found: [{'id': 5}, {'externalId': 'pump north'}, {'id': 7}] | code: 400", *STORE)),
    ("duplicated", raised("cognite.client.exceptions.CogniteDuplicatedError: Events already exist: [{'externalId': 'a'}] | code: 409", *STORE)),
    ("duplicated", raised("cognite.client.exceptions.CogniteDuplicatedError: Events already exist: [{'externalId': 'b'}, {'externalId': 'c'}] | code: 409", *STORE)),
    ("unauthorized", raised(f"{API}: Unauthorized | code: 401 | X-Request-ID: 6f0c7a53-8f9e-9d2c-a1b4-3f2504e04f89", *STORE)),
    ("forbidden", raised(f"{API}: Resource not found. This may also be due to insufficient access rights. | code: 403", *STORE)),
    ("read timeout", CallError("requests.exceptions.ReadTimeout", URLLIB + "TimeoutError: The read operation timed out\n" + DURING + stack(*FETCH) + "requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='gateway-1.example.com', port=443): Read timed out. (read timeout=20)\n")),
    ("read timeout", raised("requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='gateway-4.example.com', port=8443): Read timed out. (read timeout=60)", *FETCH)),
    ("refused", raised(f"{HTTPS}(host='10.20.3.4', port=44301): Max retries exceeded with url: /odata/orders?$top=500&$skip=0 (Caused by {NEW} 0x7f01ab>: Failed to establish a new connection: [Errno 111] Connection refused'))", *FETCH)),
    ("refused", raised(f"{HTTPS}(host='10.20.0.99', port=44399): Max retries exceeded with url: /odata/orders?$top=500&$skip=9500&since=2026-10-29T12:19:06Z (Caused by {NEW} 0x7fffe012>: Failed to establish a new connection: [Errno 111] Connection refused'))", *FETCH)),
    ("reset", raised("requests.exceptions.ConnectionError: ('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))", *FETCH)),
    ("http 404", raised("requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://sap.example.com/api/orders/4711?x=1", *FETCH)),
    ("http 404", raised("requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://sap.example.com:8443/api/plants/12", *FETCH)),
    ("http 500", raised("requests.exceptions.HTTPError: 500 Server Error: Internal Server Error for url: https://sap.example.com/api/orders/1", *FETCH)),
    ("asset name", raised("KeyError: '21-PT-1019A'", "handler.py:12:handle", "limits.py:58:limit_of")),
    ("asset name", raised("KeyError: 'Pump 12 North'", "handler.py:14:handle", "limits.py:61:limit_of")),
    ("asset name", raised("KeyError: \"O'Brien's pump\"", "handler.py:14:handle", "limits.py:61:limit_of")),
    ("asset name", raised("KeyError: 4503599627370496", "handler.py:14:handle", "limits.py:61:limit_of")),
    ("missing key", raised("KeyError: 'cutoff'")),
    ("columns", raised("KeyError: \"['pressure', 'flow'] not in index\"", "handler.py:5:handle", "features.py:9:build", f"{PACKAGES}/pandas/core/indexing.py:6252:_raise_if_missing")),
    ("columns", raised("KeyError: \"['temperature'] not in index\"", "handler.py:5:handle", "features.py:19:build", f"{PACKAGES}/pandas/core/indexing.py:6300:_raise")),
    ("all columns", raised("KeyError: \"None of [Index(['a', 'b'], dtype='object')] are in the [columns]\"", "handler.py:5:handle", "features.py:9:build")),
    ("ragged", raised("ValueError: Length of values (4) does not match length of index (2981)", "handler.py:5:handle", "features.py:9:build", f"{PACKAGES}/pandas/core/frame.py:4322:__setitem__")),
    ("ragged", raised("ValueError: Length of values (120) does not match length of index (121)", "handler.py:6:handle", "features.py:12:build", "/layers/google.python.pip/pip/lib/python3.11/site-packages/pandas/core/common.py:573:check")),
    ("to float", raised("ValueError: could not convert string to float: 'Bad Input'", "handler.py:5:handle", "features.py:9:build")),
    ("to float", raised("ValueError: could not convert string to float: '12,5'", "handler.py:5:handle", "features.py:9:build")),
    ("date format", raised("ValueError: time data \"29/10/2026\" doesn't match format \"%Y-%m-%d\", at position 14. You might want to try:\n    - passing `format` if your strings have a consistent format;", "handler.py:5:handle", "features.py:9:build")),
    ("date format", raised("ValueError: time data \"30.10.26\" doesn't match format \"%Y-%m-%d\", at position 0. You might want to try:\n    - passing `format` if your strings have a consistent format;", "handler.py:5:handle", "features.py:9:build")),
    ("no answer", CallError("RuntimeError", JSON + "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n" + CAUSE + stack("handler.py:31:handle", "source.py:94:parse") + "RuntimeError: No usable answer for 2026-10-29\n")),
    ("no answer", CallError("RuntimeError", JSON.replace("91", "93") + "json.decoder.JSONDecodeError: Extra data: line 3 column 17 (char 90210)\n" + CAUSE + stack("handler.py:33:handle", "source.py:99:parse") + "RuntimeError: No usable answer for 2026-11-01\n")),
    ("no answer: key", CallError("RuntimeError", stack("source.py:91:parse") + "KeyError: 'items'\n" + CAUSE + stack("handler.py:31:handle", "source.py:94:parse") + "RuntimeError: No usable answer for 2026-10-29\n")),
    ("bad json", CallError("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", JSON + "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n")),
    ("bad json", CallError("json.decoder.JSONDecodeError: Expecting value: line 7 column 21 (char 812)", JSON + "json.decoder.JSONDecodeError: Expecting value: line 7 column 21 (char 812)\n")),
    ("retried", CallError("x", stack("store.py:4:save") + "psycopg.OperationalError: closed\n" + DURING + stack("handler.py:3:handle", "store.py:9:save") + "StoreError: gave up on batch 12\n")),
    ("retried", CallError("x", stack("store.py:4:save") + "psycopg.OperationalError: closed\n" + DURING + stack("store.py:4:save") + "psycopg.OperationalError: closed\n" + DURING + stack("handler.py:3:handle", "store.py:9:save") + "StoreError: gave up on batch 13\n")),
    ("out of memory", raised("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.3 GiB for an array with shape (1000000, 12) and data type float64", "handler.py:3:handle", "model.py:66:window")),
    ("out of memory", raised("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 512. MiB for an array with shape (90, 2, 5) and data type float64", "handler.py:9:handle", "model.py:70:window")),
    ("killed", "Function was killed: memory limit of 1024 MB exceeded (used 1031 MB)"),
    ("killed", "Function was killed: memory limit of 2048 MB exceeded (used 2050 MB)"),
    ("syntax", CallError("SyntaxError", f'Traceback (most recent call last):\n  File "/usr/local/lib/python3.11/importlib/__init__.py", line 126, in import_module\n    return _bootstrap._gcd_import(name)\n  File "{HOME}/handler.py", line 41\n    def handle(client, data)\n                            ^\nSyntaxError: expected \':\'\n')),
    ("syntax", CallError("SyntaxError", f'Traceback (most recent call last):\n  File "/usr/local/lib/python3.11/importlib/__init__.py", line 126, in import_module\n    return _bootstrap._gcd_import(name)\n  File "{HOME}/handler.py", line 44\n    if data\n           ^\nSyntaxError: expected \':\'\n')),
    ("no pandas", raised("ModuleNotFoundError: No module named 'pandas'", "handler.py:2:<module>")),
    ("no pandas", raised("ModuleNotFoundError: No module named 'pandas'", "handler.py:3:<module>")),
    ("no scipy", raised("ModuleNotFoundError: No module named 'scipy.stats'", "handler.py:2:<module>")),
    ("cannot import", raised(f"ImportError: cannot import name 'TimeSeries' from 'cognite.client' ({PACKAGES}/cognite/client/__init__.py)", "handler.py:2:<module>")),
    ("none id", raised("AttributeError: 'NoneType' object has no attribute 'id'", "handler.py:8:handle")),
    ("none id", raised("AttributeError: 'NoneType' object has no attribute 'id'", "handler.py:9:handle")),
    ("append", raised("AttributeError: 'DataFrame' object has no attribute 'append'", "handler.py:8:handle")),
    ("argument", raised("TypeError: handle() got an unexpected keyword argument 'secrets'", f"{HOME}/run.py:3:main")),
    ("norwegian", raised("ValueError: Fant ikke måleren «21-PT-1019» på anlegg 12", "handler.py:8:handle")),
    ("norwegian", raised("ValueError: Fant ikke måleren «Øst 4» på anlegg 3", "handler.py:8:handle")),
    ("chinese", raised("ValueError: 资产12345不存在", "handler.py:8:handle")),
    ("chinese", raised("ValueError: 资产678不存在", "handler.py:8:handle")),
    ("chinese permission", raised("ValueError: 用户12345没有权限", "handler.py:8:handle")),
    ("german", raised("ValueError: Die Datei „bericht.xlsx“ fehlt seit 29.10.2026", "handler.py:8:handle")),
    ("german", raised("ValueError: Die Datei „Plan Süd.pdf“ fehlt seit 01.11.2026 12:30", "handler.py:8:handle")),
    ("pydantic", raised(PYDANTIC.format(1, "") + "\nsite\n  Field required [type=missing, input_value={}, input_type=dict]", "handler.py:8:handle")),
    ("unique", raised('psycopg.errors.UniqueViolation: duplicate key value violates unique constraint "orders_pkey"\nDETAIL:  Key (id)=(4711) already exists.', "handler.py:8:handle", "store.py:9:save")),
    ("unique", raised('psycopg.errors.UniqueViolation: duplicate key value violates unique constraint "orders_pkey"\nDETAIL:  Key (id)=(12) already exists.', "handler.py:8:handle", "store.py:19:save")),
    ("client secret", raised(f"{OAUTH} AADSTS7000215: Invalid client secret provided. Trace ID: 3f2504e0-4f89-11d3-9a0c-0305e82c3301 Correlation ID: 4f2504e0-4f89-11d3-9a0c-0305e82c3301 Timestamp: 2026-10-29 12:19:06Z", "handler.py:8:handle")),
    ("client secret", raised(f"{OAUTH} AADSTS7000215: Invalid client secret provided. Trace ID: 5f2504e0-4f89-11d3-9a0c-0305e82c3301 Correlation ID: 6f2504e0-4f89-11d3-9a0c-0305e82c3301 Timestamp: 2026-11-01 00:00:59Z", "handler.py:8:handle")),
    ("unknown client", raised(f"{OAUTH} AADSTS700016: Application with identifier '3f2504e0-4f89-11d3-9a0c-0305e82c3301' was not found in the directory 'Example'.", "handler.py:8:handle")),
    ("offline", raised("handler.PumpOfflineError: pump P-101 has been silent for 3 days, 4:05:06 (last seen by ops@example.com)", "handler.py:8:handle")),
    ("offline", raised("handler.PumpOfflineError: pump P-7B has been silent for 12 days, 14:05:06 (last seen by me.too@example.org)", "handler.py:8:handle")),
    ("recursion", CallError("x", stack("handler.py:3:handle", *["walk.py:9:walk"] * 3) + "  [Previous line repeated 992 more times]\nRecursionError: maximum recursion depth exceeded\n")),
    ("recursion", CallError("x", stack("handler.py:3:handle", *["walk.py:9:walk", "walk.py:12:visit"] * 40).replace("visit", "walk") + "RecursionError: maximum recursion depth exceeded\n")),
    ("file", raised("FileNotFoundError: [Errno 2] No such file or directory: '/tmp/in/report 4.csv'", "handler.py:8:handle")),
    ("file", raised("FileNotFoundError: [Errno 2] No such file or directory: 'model.pkl'", "handler.py:8:handle")),
    ("no space", raised("OSError: [Errno 28] No space left on device: '/tmp/out.csv'", "handler.py:8:handle")),
    ("no setpoint", "No setpoint for 21-PT-1019A since 2026-10-29 12:00"),
    ("no setpoint", "No setpoint for 23-LIC-9899 since 2026-11-02"),
    ("not authenticated", CallError("Could not authenticate.", "Cannot assign foo to bar.")),
    ("not authenticated", "Could not authenticate."),
    ("none", None),
    ("none", CallError("  \n", "")),
    ("task group", CallError("x", '  + Exception Group Traceback (most recent call last):\n  |   File "' + HOME + '/handler.py", line 5, in handle\n  |     run()\n  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File "' + HOME + '/work.py", line 8, in one\n    |     do()\n    | ValueError: bad row 5\n    +------------------------------------\n')),
    ("task group", CallError("x", '  + Exception Group Traceback (most recent call last):\n  |   File "' + HOME + '/handler.py", line 6, in handle\n  |     run()\n  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File "' + HOME + '/work.py", line 8, in one\n    |     do()\n    | ValueError: bad row 7\n    +---------------- 2 ----------------\n    | Traceback (most recent call last):\n    |   File "' + HOME + '/work.py", line 8, in one\n    |     do()\n    | ValueError: bad row 9\n    +------------------------------------\n')),
    # Where the rule falls short: unquoted names without digits, and what only a list of fields tells.
    ("owner", raised("ValueError: no owner for north", "handler.py:8:handle")),
    ("owner", raised("ValueError: no owner for south", "handler.py:8:handle")),
    ("pydantic wrong type", raised(PYDANTIC.format(1, "") + "\nlimit\n  Input should be a valid number [type=float_parsing, input_value='x']", "handler.py:8:handle")),
]  # fmt: skip

WRONG_SPLITS = {"owner"}
WRONG_MERGES = {frozenset({"pydantic", "pydantic wrong type"})}


@pytest.fixture(scope="module")
def labelled() -> dict[str, set[str]]:
    """Group the corpus in one frame; gives the groups of each label."""
    calls = frame_of(*(record(at, error=error, schedule_id=at + 1) for at, (_, error) in enumerate(CORPUS)))
    group = cf.failures(calls, by="schedule").set_index("schedule")["group"]
    found: dict[str, set[str]] = defaultdict(set)
    for at, (label, _) in enumerate(CORPUS):
        found[label].add(group[at + 1])
    return found


def test_corpus_is_of_at_least_sixty_errors() -> None:
    assert len(CORPUS) >= 60


def test_errors_people_call_the_same_are_one_group(labelled: dict[str, set[str]]) -> None:
    assert {label for label, found in labelled.items() if len(found) > 1} == WRONG_SPLITS


def test_errors_people_tell_apart_are_groups_apart(labelled: dict[str, set[str]]) -> None:
    labels: dict[str, set[str]] = defaultdict(set)
    for label, found in labelled.items():
        for group in found:
            labels[group].add(label)
    assert {frozenset(names) for names in labels.values() if len(names) > 1} == WRONG_MERGES


def test_at_most_two_merges_or_splits_are_wrong() -> None:
    assert len(WRONG_SPLITS) + len(WRONG_MERGES) <= 2


def test_groups_of_a_frame_are_those_of_its_calls_alone(labelled: dict[str, set[str]]) -> None:
    calls = frame_of(*(record(at, error=error) for at, (_, error) in enumerate(CORPUS)))
    assert set(cf.failures(calls)["group"]) == set().union(*labelled.values())


# Which exception names the group


def test_last_exception_of_a_chain_names_the_group() -> None:
    error = dict(CORPUS)["no answer"]
    [row] = cf.failures(frame_of(record(error=error))).to_dict("records")
    assert (row["exception"], row["cause"], row["frames"]) == ("RuntimeError", "JSONDecodeError", "handle > parse")


def test_exception_that_only_libraries_saw_is_no_cause() -> None:
    error = next(error for label, error in CORPUS if label == "read timeout")
    assert cf.failures(frame_of(record(error=error)))["cause"].isna().all()


def test_exception_has_no_module() -> None:
    assert cf.failures(frame_of(record(error=raised("a.b.CustomError: x"))))["exception"].tolist() == ["CustomError"]


def test_message_names_the_exception_where_the_trace_is_cut_off() -> None:
    cut = CallError("ValueError: bad row 12", stack("handler.py:1:handle", "rows.py:8:check"))
    assert groups(cut) == groups(raised("ValueError: bad row 9", "handler.py:1:handle", "rows.py:8:check"))


def test_trace_in_a_message_is_read_as_one() -> None:
    error = raised("ValueError: bad row 9")
    assert groups(error.trace) == groups(error)


def test_message_alone_may_name_its_exception() -> None:
    assert cf.failures(frame_of(record(error="KeyError: 'x'")))["exception"].tolist() == ["KeyError"]


def test_plain_message_has_no_exception() -> None:
    assert cf.failures(frame_of(record(error="it failed")))["exception"].isna().all()


def test_windows_line_ends_make_no_difference() -> None:
    error = raised("ValueError: bad row 9", *FETCH)
    assert groups(CallError(error.message, str(error.trace).replace("\n", "\r\n"))) == groups(error)


def test_comprehensions_make_no_difference() -> None:
    inside = raised("ValueError: x", "handler.py:3:handle", "handler.py:3:<listcomp>", "a.py:4:f")
    assert groups(inside) == groups(raised("ValueError: x", "handler.py:3:handle", "a.py:4:f"))


@pytest.mark.parametrize(
    "path",
    [
        f"{PACKAGES}/pandas/core/frame.py",
        "/usr/lib/python3/dist-packages/requests/api.py",
        "/usr/local/lib/python3.11/json/decoder.py",
        "/opt/conda/lib/python3.12/asyncio/base_events.py",
        "/layers/google.python.pip/pip/lib/python3.11/site-packages/functions_framework/__init__.py",
        "/var/runtime/bootstrap.py",
        "<frozen importlib._bootstrap>",
        "<string>",
        "pandas/_libs/index.pyx",
    ],
)
def test_frame_of_a_library_is_left_out(path: str) -> None:
    [exception] = traces.read(f'Traceback (most recent call last):\n  File "{path}", line 3, in get\nKeyError: 1')
    assert exception.functions == ()


@pytest.mark.parametrize("path", [f"{HOME}/lib/units.py", "handler.py", "/var/task/handler.py", "/workspace/main.py"])
def test_frame_of_the_user_is_kept(path: str) -> None:
    [exception] = traces.read(f'Traceback (most recent call last):\n  File "{path}", line 3, in get\nKeyError: 1')
    assert exception.functions == ("get",)


# The table


def test_all_timeouts_are_one_group_whatever_they_say() -> None:
    found = cf.failures(
        frame_of(record(0, status="Timeout"), record(1, status="Timeout", error="exceeded 540 s"))
    )
    assert found[["exception", "template", "count"]].to_numpy().tolist() == [["Timeout", module.TIMED_OUT, 2]]


def test_failure_without_an_error_is_a_group_of_its_own() -> None:
    found = cf.failures(frame_of(record(0), record(1, error=module.NO_ERROR)))
    assert found["count"].tolist() == [1, 1]


def test_error_of_a_call_that_has_not_failed_is_left_out() -> None:
    assert cf.failures(frame_of(record(status="Running", error="x"), record(1, status="Completed", error="x"))).empty


def test_group_id_never_changes() -> None:
    assert groups(raised("KeyError: 'x'"), None, "No setpoint for A-1") == ["GROUP1", "GROUP2", "GROUP3"]


def test_group_id_holds_the_version_of_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    before = groups("it failed")
    monkeypatch.setattr(module, "RULE", module.RULE + 1)
    assert groups("it failed") != before


def test_template_shown_is_the_most_frequent_of_the_group() -> None:
    errors = ["no value for A1", "no value for 17", "no value for 18"]
    found = cf.failures(frame_of(*(record(at, error=error) for at, error in enumerate(errors))))
    assert found["template"].tolist() == ["no value for <n>"]


def test_example_is_the_latest_call_of_the_group() -> None:
    found = cf.failures(frame_of(record(0, error="a"), record(5, error="a", function_id=8), record(3, error="a")))
    assert found[["call_id", "function"]].to_numpy().tolist() == [[6, "report"]]


def test_functions_are_listed_by_their_failures() -> None:
    found = cf.failures(frame_of(record(0, error="a"), *(record(at, error="a", function_id=8) for at in (1, 2))))
    assert found["functions"].tolist() == ["report, ingest"]


def test_share_is_of_the_failures_of_each_function() -> None:
    found = cf.failures(
        frame_of(record(0, error="a"), record(1, error="b", function_id=8), record(2, error="a", function_id=8)),
        by="function",
    )
    assert found[["function", "share"]].to_numpy().tolist() == [["ingest", 1.0], ["report", 0.5], ["report", 0.5]]


def test_calls_without_a_schedule_are_grouped_within_a_missing_one() -> None:
    found = cf.failures(frame_of(record(0, error="a"), record(1, error="a", schedule_id=4)), by="schedule")
    assert found["schedule"].isna().tolist() == [False, True]


@pytest.mark.parametrize("by", ["owner", ["function", "function"], ["function", "owner"]])
def test_unknown_by_is_refused(by: Any) -> None:
    with pytest.raises(cf.ArgumentError, match="expected None, 'function', 'schedule', 'status'"):
        cf.failures(frame.empty(), by=by)


@pytest.mark.parametrize("measure", [cf.failures, cf.failure_episodes])
def test_frame_that_is_no_call_frame_names_what_it_lacks(measure: Any) -> None:
    with pytest.raises(cf.FrameError, match="lacks error_trace"):
        measure(frame.empty().drop(columns="error_trace"))


TYPES = {
    "group": "str", "exception": "str", "template": "str", "frames": "str", "cause": "str", "count": "int64",
    "share": "float64", "functions": "str", "first_seen": "datetime64[ms, UTC]", "last_seen": "datetime64[ms, UTC]",
    "call_id": "int64", "function": "category",
}  # fmt: skip


@pytest.mark.parametrize("calls", [frame.empty(), frame_of(record(error="a"))], ids=["empty", "one call"])
@pytest.mark.parametrize(
    ("by", "first"),
    [
        (None, {}),
        ("function", {"function": "category"}),
        ("schedule", {"schedule": "Int64"}),
        (["status", "schedule"], {"status": "category", "schedule": "Int64"}),
    ],
)
def test_columns_have_their_types(calls: pd.DataFrame, by: Any, first: dict[str, str]) -> None:
    found = cf.failures(calls, by=by)
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == first | TYPES
    assert list(found.columns[: len(first)]) == list(first)


# Against loops

TEXTS = ["KeyError: 'a'", "KeyError: 'b'", "pump 7 is off", "pump 81 is off", "", "=1+1", "\ud83d".encode("utf-8", "replace").decode()]
TRACED = [raised("ValueError: bad row 1"), raised("ValueError: bad row 22", "handler.py:4:handle"), CallError("x", "y")]
STATUS = st.sampled_from(["Running", "Completed", "Failed", "Failed", "Timeout", "Paused"])
CALLS = st.builds(
    Call,
    id=st.integers(1, 30),
    function_id=st.sampled_from([7, 8, 9]),
    status=STATUS,
    start_time=st.integers(0, 6),
    end_time=st.none() | st.integers(0, 9),
    scheduled_time=st.none() | st.integers(0, 3),
    schedule_id=st.none() | st.integers(1, 2),
    error=st.none() | st.sampled_from([*TEXTS, *TRACED]),
)
FRAMES = st.lists(CALLS, max_size=25, unique_by=lambda call: call.id).map(lambda calls: frame_of(*calls))


def loop(calls: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Go through the failures of a frame in the order of time, each with its group."""
    for row in calls.sort_values(["start_time", "call_id"]).to_dict("records"):
        if row["status"] in ("Failed", "Timeout"):
            yield {**row, "group": group_alone(row["status"], row["error_message"], row["error_trace"])}


@functools.cache
def group_alone(status: str, message: str | float, trace: str | float) -> str:
    """Tell the group of a failure that is the only one in its frame."""
    calls = frame_of(record(status=status)).assign(
        error_message=frame.text([message if isinstance(message, str) else None]),
        error_trace=frame.text([trace if isinstance(trace, str) else None]),
    )
    return str(cf.failures(calls)["group"].item())


@settings(deadline=None, max_examples=60)
@given(FRAMES, st.randoms(use_true_random=False))
def test_counts_are_those_of_a_loop(calls: pd.DataFrame, random: Any) -> None:
    calls = calls.sample(frac=1, random_state=random.randrange(1000)).set_axis([0] * len(calls))
    rows = list(loop(calls))
    expected = Counter(row["group"] for row in rows)
    found = cf.failures(calls).set_index("group")
    assert found["count"].to_dict() == dict(expected)
    assert found["count"].is_monotonic_decreasing
    for group, row in found.iterrows():
        ours = [one for one in rows if one["group"] == group]
        assert (row["first_seen"], row["last_seen"]) == (ours[0]["start_time"], ours[-1]["start_time"])
        assert (row["call_id"], row["function"]) == (ours[-1]["call_id"], ours[-1]["function"])
        assert row["share"] == len(ours) / len(rows)
        assert set(row["functions"].split(", ")) == {one["function"] for one in ours}


@settings(deadline=None, max_examples=40)
@given(FRAMES)
def test_groups_within_functions_are_the_groups_of_each_function(calls: pd.DataFrame) -> None:
    found = cf.failures(calls, by="function")
    for function in calls["function"].cat.categories:
        alone = cf.failures(calls[calls["function"] == function])
        within = found[found["function"] == function].reset_index(drop=True)
        columns = ["group", "count", "share", "first_seen", "call_id"]
        pd.testing.assert_frame_equal(within[columns], alone[columns])


def slow_episodes(calls: pd.DataFrame, by: str) -> list[tuple[Any, ...]]:
    runs: dict[Any, list[list[Any]]] = defaultdict(list)
    open_runs: dict[Any, bool] = defaultdict(bool)
    for row in calls.sort_values(["start_time", "call_id"]).to_dict("records"):
        owner = row["function"] if by == "function" else row["schedule_id"]
        if pd.isna(owner):
            continue
        if row["status"] in ("Failed", "Timeout"):
            if not open_runs[owner]:
                runs[owner].append([[], None])
            runs[owner][-1][0].append(row)
            open_runs[owner] = True
        elif row["status"] == "Completed":
            if open_runs[owner]:
                runs[owner][-1][1] = row["start_time"]
            open_runs[owner] = False
    return sorted(
        (
            rows[0]["start_time"], rows[0]["call_id"], rows[-1]["start_time"], rows[-1]["call_id"], len(rows),
            recovery is not None, recovery,
        )
        for owned in runs.values()
        for rows, recovery in owned
    )  # fmt: skip


@settings(deadline=None, max_examples=80)
@given(FRAMES, st.sampled_from(["function", "schedule"]))
def test_episodes_are_those_of_a_loop(calls: pd.DataFrame, by: str) -> None:
    found = cf.failure_episodes(calls, by=by)
    columns = ["start_time", "first_call_id", "end_time", "last_call_id", "length", "recovered", "recovered_time"]
    ours = [tuple(None if value is pd.NaT else value for value in row) for row in found[columns].itertuples(index=False)]
    assert ours == slow_episodes(calls, by)


def episodes(*statuses: str) -> pd.DataFrame:
    return cf.failure_episodes(frame_of(*(record(at, status=status) for at, status in enumerate(statuses))))


def test_timeout_and_failure_are_of_one_episode() -> None:
    assert episodes("Failed", "Timeout", "Failed")["length"].tolist() == [3]


@pytest.mark.parametrize("status", ["Running", "Paused"])
def test_call_that_may_turn_out_either_way_neither_counts_nor_ends_an_episode(status: str) -> None:
    assert episodes("Failed", status, "Failed")["length"].tolist() == [2]


def test_completed_call_ends_an_episode() -> None:
    assert episodes("Failed", "Completed", "Failed", "Failed")["length"].tolist() == [1, 2]


def test_episode_with_no_completed_call_after_it_has_not_recovered() -> None:
    assert episodes("Failed", "Completed", "Failed", "Running")["recovered"].tolist() == [True, False]


def test_episode_names_when_the_next_call_completed() -> None:
    found = episodes("Failed", "Completed")
    assert found["recovered_time"].tolist() == [pd.Timestamp(T0 + MINUTE, unit="ms", tz="UTC")]


def test_functions_do_not_end_each_others_episodes() -> None:
    calls = frame_of(record(0), record(1, function_id=8, status="Completed"), record(2))
    assert cf.failure_episodes(calls)["length"].tolist() == [2]


def test_episodes_of_schedules_leave_out_calls_without_one() -> None:
    calls = frame_of(record(0), record(1, schedule_id=4))
    found = cf.failure_episodes(calls, by="schedule")
    assert found[["schedule", "function", "first_call_id"]].to_numpy().tolist() == [[4, "ingest", 2]]


@pytest.mark.parametrize("by", ["function", "schedule"])
@pytest.mark.parametrize("calls", [frame.empty(), frame_of(record(schedule_id=4))], ids=["empty", "one call"])
def test_episodes_have_their_types(calls: pd.DataFrame, by: str) -> None:
    types = {
        "function": "category", "length": "int64", "start_time": "datetime64[ms, UTC]",
        "end_time": "datetime64[ms, UTC]", "recovered": "bool", "recovered_time": "datetime64[ms, UTC]",
        "first_call_id": "int64", "last_call_id": "int64",
    }  # fmt: skip
    first = {"schedule": "int64"} if by == "schedule" else {}
    found = cf.failure_episodes(calls, by=by)
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == first | types


def test_unknown_by_of_episodes_is_refused() -> None:
    with pytest.raises(cf.ArgumentError, match="expected 'function' or 'schedule'"):
        cf.failure_episodes(frame.empty(), by="status")


@pytest.mark.parametrize("measure", [cf.failures, cf.failure_episodes])
def test_input_is_left_as_it_was(measure: Any) -> None:
    calls = frame_of(record(1, error="a"), record(0, status="Timeout"), record(2, status="Completed")).iloc[::-1]
    before = calls.copy(deep=True)
    measure(calls)
    pd.testing.assert_frame_equal(calls, before)
