"""Errors that functions raise, each with the label of the group that people would put it in."""

# ruff: noqa: E501 - the errors are long, and in several languages

from __future__ import annotations

from callframe.api.schemas import CallError

HOME = "/home/site/wwwroot"
PACKAGES = f"{HOME}/.python_packages/lib/site-packages"
CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
DURING = "\nDuring handling of the above exception, another exception occurred:\n\n"


def stack(*frames: str) -> str:
    """Build a traceback from frames such as `path:line:function`."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        path, line, function = frame.split(":")
        full_path = path if path.startswith(("/", "<")) else f"{HOME}/{path}"
        lines += [f'  File "{full_path}", line {line}, in {function}', "    do(it)"]
    return "\n".join(lines) + "\n"


def raised(text: str, *frames: str) -> CallError:
    return CallError(text.split("\n", maxsplit=1)[0], stack(*(frames or ("handler.py:12:handle",))) + text + "\n")


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
    ("file", raised("FileNotFoundError: [Errno 2] No such file or directory: '/var/in/report 4.csv'", "handler.py:8:handle")),
    ("file", raised("FileNotFoundError: [Errno 2] No such file or directory: 'model.pkl'", "handler.py:8:handle")),
    ("no space", raised("OSError: [Errno 28] No space left on device: '/var/out.csv'", "handler.py:8:handle")),
    ("no setpoint", "No setpoint for 21-PT-1019A since 2026-10-29 12:00"),
    ("no setpoint", "No setpoint for 23-LIC-9899 since 2026-11-02"),
    ("not authenticated", CallError("Could not authenticate.", "Cannot assign foo to bar.")),
    ("not authenticated", "Could not authenticate."),
    ("none", None),
    ("none", CallError("  \n", "")),
    ("task group", CallError("x", '  + Exception Group Traceback (most recent call last):\n  |   File "' + HOME + '/handler.py", line 5, in handle\n  |     run()\n  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File "' + HOME + '/work.py", line 8, in one\n    |     do()\n    | ValueError: bad row 5\n    +------------------------------------\n')),
    ("task group", CallError("x", '  + Exception Group Traceback (most recent call last):\n  |   File "' + HOME + '/handler.py", line 6, in handle\n  |     run()\n  | ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File "' + HOME + '/work.py", line 8, in one\n    |     do()\n    | ValueError: bad row 7\n    +---------------- 2 ----------------\n    | Traceback (most recent call last):\n    |   File "' + HOME + '/work.py", line 8, in one\n    |     do()\n    | ValueError: bad row 9\n    +------------------------------------\n')),
    # A known limit: unquoted names without digits.
    ("owner", raised("ValueError: no owner for north", "handler.py:8:handle")),
    ("owner", raised("ValueError: no owner for south", "handler.py:8:handle")),
    ("pydantic wrong type", raised(PYDANTIC.format(1, "") + "\nlimit\n  Input should be a valid number [type=float_parsing, input_value='x']", "handler.py:8:handle")),
]  # fmt: skip

WRONG_SPLITS = {"owner"}
WRONG_MERGES: set[frozenset[str]] = set()
