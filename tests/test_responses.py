"""Failures that only responses report: the rule, and what counts them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import MINUTE_MS, NOW_MS, START_MS, attach_coverage, call_frame, make_call
from hypothesis import given
from hypothesis import strategies as st

import callframe as cf
from callframe import frame, plot
from callframe.completeness import FunctionCoverage, coverage, is_complete
from callframe.errors import FrameError
from callframe.frame import text_column
from callframe.timespan import iso

if TYPE_CHECKING:
    from pathlib import Path

FETCH: dict[str, Any] = {"project": "demo", "fetched_at": iso(NOW_MS), "call_ids": 1}
FAILING: list[dict[str, Any]] = [
    {"success": False},
    {"success": "false"},
    {"success": " False "},
    {"success": False, "error": None},
    {"statusCode": 400},
    {"status_code": 599, "success": True},
    {"statusCode": "500"},
    {"error": "no data"},
    {"error": True},
    {"error": {"message": "no data"}},
    {"error": {"code": 7, "reason": "no data"}},
    {"error": ["row 1 failed"]},
    {"error": [{"message": "no data"}]},
    {"errorMessage": "no data", "errorType": "ValueError", "stackTrace": []},
    {"error_type": "ValueError"},
    {"exception": "ValueError('x')"},
    {"traceback": "Traceback (most recent call last): ..."},
    {"status": "error", "message": "no data"},
    {"status": "FAILED"},
    {"status": "fail", "data": None},
]
FINE: list[Any] = [
    None,
    {},
    [],
    "error",
    "",
    0,
    False,
    500,
    ["error"],
    {"success": True},
    {"success": None},
    {"success": 0, "failed": 3},
    {"success": "no"},
    {"success": True, "error": "row 7 was skipped"},
    {"success": True, "status": "failed"},
    {"statusCode": 200},
    {"statusCode": 399},
    {"statusCode": 600},
    {"statusCode": None},
    {"statusCode": True},
    {"statusCode": 450.5},
    {"statusCode": "4xx"},
    {"code": 500},
    {"status": "ok"},
    {"status": 500},
    {"status": None},
    {"error": None},
    {"error": False},
    {"error": ""},
    {"error": "  "},
    {"error": "None"},
    {"error": "no error"},
    {"error": {}},
    {"error": []},
    {"error": 0},
    {"error": 0.02},
    {"error": 12},
    {"error": {"rmse": 0.1}},
    {"error": {"message": None}},
    {"error": [None, 0.3]},
    {"errors": 0},
    {"errors": 7},
    {"errors": ["row 7 was skipped"]},
    {"traceback": None},
    {"message": "error"},
    {"response": {"error": "nested deeper"}},
]


def ids(value: Any) -> str:
    return json.dumps(value)


@pytest.mark.parametrize("response", FAILING, ids=ids)
def test_response_reports_a_failure(response: Any) -> None:
    assert cf.reports_failure(response) is True


@pytest.mark.parametrize("response", FINE, ids=ids)
def test_response_reports_no_failure(response: Any) -> None:
    assert cf.reports_failure(response) is False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["success", "error", "statusCode", "status", "message", "traceback"]), inner)
    ),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=6))
def test_responses_of_any_content_are_judged_by_the_rule(values: list[Any]) -> None:
    calls = completed(len(values))
    judged = cf.with_responses(calls, responses(calls, *values))
    assert (judged["status"] == "Error response").tolist() == [cf.reports_failure(value) for value in values]
    assert judged["error_message"].notna().equals(judged["status"] == "Error response")
    frame.check(judged)


def completed(count: int, **changes: Any) -> pd.DataFrame:
    calls = call_frame(
        *(make_call(**{"id": k + 1, "start_time": START_MS + k * MINUTE_MS} | changes) for k in range(count))
    )
    attach_coverage(calls, [FunctionCoverage(7, "7", calls=count)], **FETCH)
    return calls


def responses(calls: pd.DataFrame, *values: Any, **columns: list[str | None]) -> pd.DataFrame:
    """Build a frame of responses; Ellipsis is one that was not read."""
    texts = [None if value is ... else json.dumps(value) for value in values]
    return calls[["call_id", "function_id", "function"]].assign(
        response=text_column(texts), **{name: text_column(texts) for name, texts in columns.items()}
    )


def judged(*values: Any, **columns: Any) -> pd.DataFrame:
    calls = completed(len(values))
    return cf.with_responses(calls, responses(calls, *values, **columns))


# The error


@pytest.mark.parametrize(
    ("response", "message", "trace"),
    [
        ({"success": False, "errorType": "ValueError", "message": "no data"}, "ValueError: no data", None),
        ({"success": False, "errorType": "ValueError", "message": "ValueError: no data"}, "ValueError: no data", None),
        ({"error": "no data", "traceback": "Traceback ..."}, "no data", "Traceback ..."),
        ({"error": {"type": "KeyError", "message": "'x'", "trace": "at f"}}, "KeyError: 'x'", "at f"),
        ({"errorMessage": "bad", "errorType": "E", "stackTrace": ["a", "b"]}, "E: bad", "a\nb"),
        ({"success": False, "details": {"traceback": "T"}, "detail": "d"}, "d", "T"),
        ({"status_code": 503}, "status code 503", None),
        ({"success": False, "message": 5}, '{"success": false, "message": 5}', None),
        ({"success": False, "message": "x" * 50_000}, "x" * 10_000, None),
    ],
)
def test_error_is_that_of_the_response(response: Any, message: str, trace: str | None) -> None:
    [row] = judged(response).to_dict("records")
    assert (row["error_message"], None if pd.isna(row["error_trace"]) else row["error_trace"]) == (message, trace)


def test_failures_of_responses_are_grouped_by_their_errors() -> None:
    calls = judged(*({"success": False, "errorType": "ValueError", "message": f"no data for {k}"} for k in range(5)))
    [group] = cf.failures(calls).to_dict("records")
    assert (group["status"], group["exception"], group["count"]) == ("Error response", "ValueError", 5)


# The frame


def test_only_completed_calls_are_judged() -> None:
    calls = call_frame(*(make_call(id=1 + k, status=status) for k, status in enumerate([*frame.STATUSES, "Paused"])))
    found = cf.with_responses(calls, responses(calls, *[{"success": False}] * 5))
    assert found["status"].tolist() == ["Running", "Error response", "Failed", "Timeout", "Paused"]


def test_frame_keeps_rows_index_and_order() -> None:
    calls = completed(3).iloc[[2, 0, 1]].set_axis([5, 5, 9])
    found = cf.with_responses(calls, responses(completed(3), {"n": 1}, {"n": 2}, {"n": 3}).iloc[::-1])
    assert found.index.tolist() == [5, 5, 9]
    assert found["response"].tolist() == ['{"n": 3}', '{"n": 1}', '{"n": 2}']
    pd.testing.assert_frame_equal(found[list(frame.COLUMNS)], calls)


def test_calls_without_a_response_stay_completed() -> None:
    calls = completed(2)
    found = cf.with_responses(calls, responses(calls, {"error": "x"}, 1).head(1))
    assert found["status"].tolist() == ["Error response", "Completed"]
    assert found["response"].isna().tolist() == [False, True]


def test_input_is_not_changed() -> None:
    calls = completed(2)
    given_responses = responses(calls, {"error": "x"}, {"error": "y"})
    before = [calls.copy(deep=True), given_responses.copy(deep=True)]
    found = cf.with_responses(calls, given_responses)
    found.loc[0, ["error_message", "response"]] = "changed"
    for one, other in zip([calls, given_responses], before, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_frame_without_rows_has_all_columns() -> None:
    found = cf.with_responses(frame.empty(), responses(frame.empty()))
    assert list(found.columns) == [*frame.COLUMNS, "response", "route"]
    assert found.dtypes.astype(str)[["response", "route"]].tolist() == ["str", "str"]


def test_route_is_carried_along() -> None:
    assert judged({}, {}, route=["GET /a", None])["route"].tolist()[0] == "GET /a"


def test_later_responses_fill_gaps_and_replace_earlier_ones() -> None:
    calls = completed(3)
    first = cf.with_responses(calls, responses(calls, {"error": "x"}, ..., {"n": 3}))
    second = cf.with_responses(first, responses(calls, {"n": 1}, {"error": "y"}, ...))
    assert second["status"].tolist() == ["Completed", "Error response", "Completed"]
    assert second["response"].tolist() == ['{"n": 1}', '{"error": "y"}', '{"n": 3}']
    assert second["error_message"].isna().tolist() == [True, False, True]
    assert is_complete(second)


def test_rule_can_be_replaced_and_applied_again() -> None:
    calls = judged({"rows": 0}, {"rows": 5}, {"error": "x"})
    other = cf.with_responses(calls, reports_failure=lambda response: response.get("rows") == 0)
    assert other["status"].tolist() == ["Error response", "Completed", "Completed"]
    assert other["error_message"].tolist()[0] == '{"rows": 0}'
    assert other["error_message"].isna().tolist() == [False, True, True]


def test_status_has_no_category_without_error_responses() -> None:
    assert judged({}, {})["status"].cat.categories.tolist() == list(frame.STATUSES)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "have no responses yet"),
        (pd.DataFrame({"call_id": [1]}), "missing the columns function_id, response"),
        (pd.DataFrame({"call_id": [1], "function_id": [7], "response": ["{not"]}), "not JSON: '{not'"),
    ],
)
def test_what_is_no_frame_of_responses_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        cf.with_responses(completed(1), wrong)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"error": ' + "[" * 900 + "]" * 900 + "}"])
def test_response_that_is_nested_too_deeply_does_not_keep_others_from_being_judged(text: str) -> None:
    calls = completed(2)
    given_responses = responses(calls, None, {"error": "x"})
    given_responses.loc[0, "response"] = text
    assert cf.with_responses(calls, given_responses)["status"].tolist() == ["Completed", "Error response"]


# Completeness


def test_responses_that_were_not_read_make_the_frame_incomplete() -> None:
    calls = judged({}, ..., ...)
    assert coverage(calls)["reason"].tolist() == [
        "no response was read of 2 of 3 calls that the service calls Completed"
    ]
    assert is_complete(calls) is False


def test_functions_whose_responses_were_not_asked_for_are_complete() -> None:
    calls = call_frame(make_call(id=1, function_id=7), make_call(id=2, function_id=8))
    attach_coverage(calls, [FunctionCoverage(7, "7", calls=1), FunctionCoverage(8, "8", calls=1)], **FETCH)
    assert is_complete(cf.with_responses(calls, responses(calls.head(1), {})))


def test_responses_that_were_not_read_do_not_make_runs_unknown() -> None:
    with cf.demo(calls=600) as project:
        calls, schedules = project.calls(start="7d"), project.schedules()
    rows = calls.head(50)
    found = cf.with_responses(calls, responses(rows.reset_index(drop=True), *[...] * len(rows)))
    assert is_complete(found) is False
    pd.testing.assert_frame_equal(cf.missed_runs(found, schedules), cf.missed_runs(calls, schedules))


# What takes such frames


HOSTILE = "<script>alert(1)</script> \x1b[31m =cmd()"


@pytest.fixture(scope="module")
def calls() -> pd.DataFrame:
    values = [{"error": HOSTILE} if k % 4 == 0 else {"rows": k} for k in range(40)]
    return judged(*values, route=["GET /a", "GET /b"] * 20)


def test_rates_of_every_measure_agree(calls: pd.DataFrame) -> None:
    halves = calls[calls["call_id"] <= 20], calls[calls["call_id"] > 20]
    assert cf.summarize(calls)["failure_rate"].tolist() == [0.25]
    assert cf.summarize_rollup(cf.rollup(calls))["failure_rate"].tolist() == [0.25]
    assert cf.compare(*halves)["failure_rate_before"].tolist() == [0.25]
    assert cf.failures(calls)["count"].sum() == cf.failure_groups(calls).notna().sum() == 10
    assert cf.failure_episodes(calls)["length"].sum() == 10
    assert cf.quality(calls)["count"]["error_response"] == 10


def test_durations_are_those_of_calls_that_completed(calls: pd.DataFrame) -> None:
    failed = calls.assign(status=calls["status"].cat.rename_categories({"Error response": "X"}))
    failed["status"] = failed["status"].cat.set_categories([*frame.STATUSES, "X"])
    failed.loc[failed["status"] == "X", "status"] = "Failed"
    failed["status"] = failed["status"].cat.remove_categories(["X"])
    for found, expected in (
        (cf.summarize(calls), cf.summarize(failed)),
        (cf.summarize_rollup(cf.rollup(calls)), cf.summarize_rollup(cf.rollup(failed))),
    ):
        names = [name for name in found.columns if str(name).startswith("duration")]
        pd.testing.assert_frame_equal(found[names], expected[names])


def test_contrast_compares_routes() -> None:
    calls = judged(*([{"error": "x"}, {}] * 100), route=["GET /a", "GET /b"] * 100)
    found = cf.contrast(calls, calls["status"] == "Error response").set_index("attribute")
    assert (found["value"]["route"], found["difference"]["route"]) == ("GET /a", 1.0)


def test_dask_counts_them_too(calls: pd.DataFrame) -> None:
    dd = pytest.importorskip("dask.dataframe")
    lazy = dd.from_pandas(calls, npartitions=3)
    assert cf.summarize(lazy)["error_response"].tolist() == [10]
    assert cf.failures(lazy)["count"].tolist() == [10]


def test_report_names_them_and_escapes_their_text(calls: pd.DataFrame, tmp_path: Path) -> None:
    cf.report(calls, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "the responses; the service calls these calls Completed" in page
    assert "\x1b" not in page


def test_dashboard_selects_them(calls: pd.DataFrame) -> None:
    explorer = cf.explore(calls, selection={"statuses": ["Error response"], "tab": "Failures"})
    assert len(explorer.calls) == 10


def test_timeline_labels_them(calls: pd.DataFrame) -> None:
    legend = plot.timeline(calls).get_legend()
    assert legend is not None
    assert "Error response" in [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_keep_responses_and_routes(calls: pd.DataFrame, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"calls.{suffix}"
    if suffix == "csv":
        cf.write_csv(calls, path, traces=True)
        found = cf.read_csv(path)
    else:
        cf.write_parquet(calls, path)
        found = cf.read_parquet(path)
    pd.testing.assert_frame_equal(found, calls)
    pd.testing.assert_frame_equal(cf.with_responses(found)[list(found)], calls)


def test_csv_leaves_responses_out_unless_asked_for(calls: pd.DataFrame, tmp_path: Path) -> None:
    cf.write_csv(calls, tmp_path / "calls.csv")
    found = cf.read_csv(tmp_path / "calls.csv")
    assert list(found.columns) == [*frame.COLUMNS, "route"]
    assert found["status"].equals(calls["status"])


def test_csv_escapes_formulas_in_responses(tmp_path: Path) -> None:
    calls = judged(1).assign(response=text_column(["=1+1"]), route=text_column(["@x"]))
    cf.write_csv(calls, tmp_path / "calls.csv", traces=True)
    assert "'=1+1" in (tmp_path / "calls.csv").read_text()
    pd.testing.assert_frame_equal(cf.read_csv(tmp_path / "calls.csv"), calls)


def test_response_column_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="response is int64"):
        cf.write_parquet(completed(1).assign(response=5), tmp_path / "calls.parquet")
