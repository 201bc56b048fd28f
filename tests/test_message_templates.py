"""Templates replace what varies in a message, and nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callframe.analysis.message_templates import MAX_LENGTH, contains_secret, normalize, skeleton, template

JWT = "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0.c2ln"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("page 12 of 300", "page <n> of <n>"),
        ("off by -3.5e-7, x=+4", "off by <n>, x=<n>"),
        ("took 3.2s and 300ms", "took <n>"),
        ("512. MiB of 7.3 GiB", "<n> B of <n> B"),
        ("request 3f2504e0-4f89-11d3-9a0c-0305e82c3301 failed", "request <uuid> failed"),
        ("object at 0x7f01AB", "object at <hex>"),
        ("commit 9f8a7b6c5d", "commit <hex>"),
        ("no value for 21-PT-1019A", "no value for <id>"),
        ("no value for IA_21PT1019.AH.PV", "no value for <id>"),
        ("at 2026-10-29T12:19:06.123Z", "at <time>"),
        ("at 2026-10-29 12:19:06,123+01:00", "at <time>"),
        ("at 29.10.2026 12:19", "at <time>"),
        ("on Thu, 29 Oct 2026 12:19:06 GMT", "on <time>"),
        ("on Oct 29, 2026", "on <time>"),
        ("at 12:19:06", "at <time>"),
        ("could not read 'in put'", "could not read <text>"),
        ('could not read "in put"', "could not read <text>"),
        ("could not read `in put`", "could not read <text>"),
        ("fant ikke «Øst 4»", "fant ikke <text>"),
        ("can't read 'O'Brien', doesn't exist", "can't read <text>, doesn't exist"),
        ("no file /var/in/a b", "no file <path> b"),
        ("no file C:\\in\\a.csv here", "no file <path> here"),
        ("no file data/in/a.csv here", "no file <path> here"),
        ("no file report.xlsx here", "no file <path> here"),
        ("GET https://sap.example.com:8443/a?b=1 failed", "GET <url> failed"),
        ("told ops+cdf@example.com", "told <email>"),
        ("ids [1, 2, 3]", "ids [...]"),
        ("ids [{'id': 1}, {'externalId': 'a', 'rows': [1, None]}]", "ids [...]"),
        ("shape (3, 4)", "shape (...)"),
        ("(char 812)", "(char <n>)"),
        ("missing A1, B2 and C3", "missing <id>"),
        ("资产12345不存在", "资产<n>不存在"),
    ],
)
def test_what_varies_becomes_a_placeholder(message: str, expected: str) -> None:
    assert template(message) == expected


@pytest.mark.parametrize(
    "message",
    [
        "Unauthorized | code: 401",
        "404 Client Error: Not Found",
        "[Errno 111] Connection refused",
        "HTTP 503",
        "cannot cast float64 to utf-8",
        "AADSTS7000215: Invalid client secret provided.",
        "ORA-00942: table or view does not exist",
        "[WinError 10061] No connection could be made",
        "E1001: step failed",
        "sap returned 502",
        "<Response [404]>",
        "Error 111 connecting to the cache",
        "exited with code -9",
        "failed with 0x80070005",
        "and/or, n/a, application/json",
        "Fant ikke måleren på anlegget",
    ],
)
def test_what_tells_errors_apart_stays(message: str) -> None:
    assert template(message) == message


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("failed: {'code': 403, 'message': 'no'}", "failed: {code: 403, <text>: <text>}"),
        ("failed: {'error': 'invalid_grant'}", "failed: {error: invalid_grant}"),
        ("Client error '404 Not Found' for it", "Client error 404 Not Found for it"),
        ("(1045, \"Access denied for user 'etl'\")", "(1045, Access denied for user <text>)"),
        ("('Connection aborted.', OSError(113, 'No route'))", "(<text>, OSError(113, No route))"),
        ("2 validation errors for Config\nrows.3.site\n  Field required [type=missing]\nunit\n  No [type=enum]",
         "validation error for Config: rows.*.site missing, unit enum"),
        ("returned 404 rows", "returned <n> rows"),
        ("with url: / (Caused by it)", "with url: <path> (Caused by it)"),
        ("no value for tag PUMP_NORTH.PV", "no value for tag <id>"),
        ("status INVALID_SESSION_ID", "status INVALID_SESSION_ID"),
    ],
)  # fmt: skip
def test_codes_stay_where_the_rest_varies(message: str, expected: str) -> None:
    assert template(message) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gave up after 1 attempt", "gave up after 3 attempts"),
        ("1 entry was invalid", "2 entries were invalid"),
        ("no answer in 30 s", "no answer in 2 minutes"),
        ("level 97 % is high", "level 98.5% is high"),
    ],
)
def test_counts_and_units_make_no_difference(one: str, other: str) -> None:
    assert skeleton(template(one)) == skeleton(template(other))


def test_oauth_code_is_no_secret() -> None:
    assert not contains_secret("no token: 'invalid_grant'")


def test_names_of_the_code_stay_in_errors_about_code() -> None:
    message = "'NoneType' object has no attribute 'id'"
    assert template(message, "AttributeError") == message


def test_names_of_the_code_stay_where_the_exception_is_not_known() -> None:
    assert template("No module named 'pandas'") == "No module named 'pandas'"


def test_names_are_data_in_other_errors() -> None:
    assert template("'cutoff'", "KeyError") == "<text>"


def test_sentence_that_a_key_error_quotes_is_read() -> None:
    assert template("\"['a', 'b'] not in index\"", "KeyError") == "[...] not in index"


def test_only_the_first_line_counts() -> None:
    assert template("row 5 is bad\ndetail one\ndetail two") == "row <n> is bad"


def test_line_after_a_heading_counts_too() -> None:
    assert template("It failed:\n\n  no owner\nrow 5") == "It failed: no owner"


def test_quote_that_goes_on_in_the_next_line_is_text() -> None:
    assert template("bad input 'abc\ndef'") == "bad input <text>"


def test_control_characters_are_left_out() -> None:
    assert template("\x1b[31mno\x00 owner\u202e") == "no owner"


@pytest.mark.parametrize("message", ["", "  \n\t ", "\x00"])
def test_blank_message_has_an_empty_template(message: str) -> None:
    assert template(message) == ""


def test_long_message_is_cut() -> None:
    found = template("no owner " * 1000)
    assert len(found) == MAX_LENGTH
    assert found.endswith("…")


@pytest.mark.parametrize("one", ["ab12cd34", "12345678", "A1", "7", "'north'"])
def test_kinds_of_placeholders_do_not_matter(one: str) -> None:
    assert skeleton(template(f"no value for {one}")) == "no value for <*>"


SECRETS = [
    "password=" + "hunter2x",
    "bad client_secret: " + "Xy7~aB" + "cdef",
    '{"token": "' + "abcdefgh" + '"}',
    "Authorization: Bearer " + "a1b2c3d4" * 3,
    f"refused {JWT}",
    "cannot connect to postgresql://me:" + "hunter2@db.example.com/x",
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "api-key = " + "k3yk3yk3y",
]


@pytest.mark.parametrize("message", SECRETS)
def test_what_looks_like_a_secret_is_seen(message: str) -> None:
    assert contains_secret(message)


@pytest.mark.parametrize("message", SECRETS[:1] + SECRETS[4:5])
def test_secret_is_not_in_the_template(message: str) -> None:
    assert "hunter2" not in template(message)
    assert "eyJ" not in template(message)


@pytest.mark.parametrize("message", SECRETS)
def test_template_of_a_secret_holds_none(message: str) -> None:
    assert not contains_secret(template(message))


@pytest.mark.parametrize(
    "message",
    ["Invalid client secret provided", "token expired", "KeyError: 'password'", "password=None", "token: <token>"],
)
def test_talk_of_secrets_is_none(message: str) -> None:
    assert not contains_secret(message)


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_text_has_a_template_of_one_printable_line(message: str) -> None:
    found = template(message)
    assert len(found) <= MAX_LENGTH
    assert "\n" not in found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**18), st.integers(0, 10**18))
def test_numbers_make_no_difference(one: int, other: int) -> None:
    assert template(f"row {one} of {other} is bad") == "row <n> of <n> is bad"


@settings(max_examples=25, deadline=None)
@given(st.uuids(), st.datetimes())
def test_ids_and_times_make_no_difference(uuid: object, moment: object) -> None:
    found = template(f"request {uuid} at {moment} of a@example.com failed")
    assert found == "request <uuid> at <time> of <email> failed"


@pytest.mark.parametrize(
    "piece",
    [
        "'a ",
        "[(",
        "a-",
        "/",
        "1.",
        "\\",
        "x=",
        '"',
        "<n>, ",
        "a.b",
        "token",
        "{'a': ",
        "@",
        "Error('",
        "'code': '",
        "(1045, '",
        "returned 502 ",
        "2 validation errors for a\\nb\\n c [type=d\\n",
        "A-",
    ],
)
def test_hostile_message_is_read_quickly(piece: str) -> None:
    began = time.process_time()
    template(piece * 20_000)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("end", ["", " ", ".", ",", ")", "-", "x", ".5", "'", ":", " MB", "Z", "/", "_1"])
@pytest.mark.parametrize(
    "start", ["", " ", "(", "code: ", "ORA-", "AADSTS", "id=", "'", "Mar 3 ", "x", "-", "/", "pwd: "]
)
@pytest.mark.parametrize(
    "word",
    [
        "404",
        "1234",
        "20261",
        "1234567890123456",
        "0x7f01AB",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "2026-09-21T14:20:59Z",
    ],
)
def test_normalized_message_has_the_template_it_had(start: str, word: str, end: str) -> None:
    text = f"page {start}{word}{end} of 5678, 1234567"
    assert template(normalize([text])[0]) == template(text)


@given(
    st.lists(
        st.sampled_from(
            [*"0123456789abcf -.,:;()[]'=/xZT", "1234", "0x", " 20261 ", "token", " '/a1' ", "2026-09-21T14:20:59Z"]
        ),
        max_size=40,
    )
)
def test_normalized_text_of_any_kind_has_the_template_it_had(parts: list[str]) -> None:
    text = "".join(parts)
    assert template(normalize([text])[0]) == template(text)


def test_messages_that_differ_in_ids_alone_are_normalized_alike() -> None:
    texts = [f"row {n} of 3f2504e0-4f89-11d3-9a0c-0305e82c{n % 10_000:04} is bad" for n in (12345, 98765432)]
    assert len(set(normalize(texts))) == 1
