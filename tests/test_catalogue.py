"""Functions and schedules by id or name, unique labels, and the frames that list them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from factories import NOW_MS, few_examples
from hypothesis import given
from hypothesis import strategies as st

from callframe.api.catalogue import Catalogue, check_id, function_frame, parse_statuses, schedule_frame
from callframe.api.schemas import CallError, Function, Schedule
from callframe.errors import ArgumentError
from callframe.frame import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Sequence


def catalogue(*functions: Function) -> Catalogue:
    return Catalogue(functions)


def of(function_id: int, name: str | None = None, external_id: str | None = None, **more: Any) -> Function:
    return Function(function_id, name, external_id, **more)


# Labels


@pytest.mark.parametrize(
    ("function", "label"),
    [
        (of(1, "name", "ext"), "ext"),
        (of(1, "name"), "name"),
        (of(1), "1"),
        (of(1, "name", ""), "name"),
        (of(1, "", ""), "1"),
        (of(1, "1"), "1"),
    ],
)
def test_label_is_external_id_else_name_else_id(function: Function, label: str) -> None:
    assert catalogue(function).label(1) == label


@pytest.mark.parametrize(
    ("functions", "labels"),
    [
        ([of(1, "a", "x"), of(2, "b", "x")], ["x", "x"]),  # deployments of the same function
        ([of(1, "a"), of(2, "a")], ["a (1)", "a (2)"]),
        ([of(1, "a"), of(2, "a", "x")], ["a", "x"]),
        ([of(1, "a"), of(2, "b", "a")], ["a (1)", "a"]),
        ([of(1, "a"), of(2, "a"), of(3, "c", "a")], ["a (1)", "a (2)", "a"]),
        ([of(1), of(2, "1")], ["1 (1)", "1 (2)"]),
        ([of(1), of(2, "b", "1")], ["1 (1)", "1"]),
        ([of(1, "2"), of(2, "1")], ["2 (1)", "1 (2)"]),
        ([of(1, "a"), of(2, "A")], ["a", "A"]),
    ],
)
def test_only_deployments_of_the_same_function_share_a_label(functions: list[Function], labels: list[str]) -> None:
    listed = catalogue(*functions)
    assert [listed.label(function.id) for function in functions] == labels


names = st.none() | st.sampled_from(["", "a", "b", "1", "2", "a (1)", "a (2)", "a (1) (1)", "1 (1)", "2 (2)"])
identities = st.none() | names


@few_examples
@given(st.lists(st.tuples(st.integers(1, 4), names, identities), max_size=5, unique_by=lambda fields: fields[0]))
def test_labels_are_unique(fields: list[tuple[int, str | None, str | None]]) -> None:
    functions = [of(*values) for values in fields]
    listed = Catalogue(functions)
    pairs = {(listed.label(function.id), function.external_id or function.id) for function in functions}
    assert len({label for label, _ in pairs}) == len(pairs)
    assert all(label == identity for label, identity in pairs if isinstance(identity, str))


def test_unlisted_function_is_labelled_by_its_id() -> None:
    assert catalogue(of(1, "a")).label(5) == "5"


def test_unlisted_function_does_not_get_the_label_of_another() -> None:
    assert catalogue(of(1, "5")).label(5) == "5 (5)"


# Finding functions


@pytest.mark.parametrize("value", [7, "7", np.int64(7), "name", "ext"])
def test_function_is_found_by_id_external_id_or_name(value: int | str) -> None:
    assert catalogue(of(7, "name", "ext"), of(8, "other")).find_functions(value) == [7]


def test_function_is_found_by_its_label() -> None:
    assert catalogue(of(1, "a"), of(2, "a")).find_functions("a (2)") == [2]


def test_newest_deployment_is_found_first() -> None:
    listed = catalogue(of(5, "a", "x", created_time=NOW_MS), of(9, "a", "x", created_time=0), of(7, "a", "x"))
    assert listed.find_functions("x")[0] == 5
    assert sorted(listed.find_functions("x")) == [5, 7, 9]


def test_functions_that_share_a_name_are_all_found() -> None:
    assert sorted(catalogue(of(1, "a"), of(2, "a")).find_functions("a")) == [1, 2]


def test_external_id_takes_precedence_over_a_name() -> None:
    assert catalogue(of(1, "a"), of(2, "b", "a")).find_functions("a") == [2]


def test_name_of_digits_takes_precedence_over_an_id() -> None:
    assert catalogue(of(1, "5"), of(5, "b")).find_functions("5") == [1]


def test_unlisted_id_is_accepted() -> None:
    assert catalogue().find_functions(MAX_ID) == [MAX_ID]


def test_id_is_a_python_integer() -> None:
    assert type(catalogue().find_functions(np.int64(5))[0]) is int  # type: ignore[arg-type] # NumPy's, from a frame


@pytest.mark.parametrize("value", [0, -1, 2**53, "0", "9007199254740992", "99999999999999999999"])
def test_function_id_out_of_range_is_an_error(value: int | str) -> None:
    with pytest.raises(ArgumentError, match=r"The function id .* is out of range; ids go from 1 to 9007199254740991"):
        catalogue().find_functions(value)


@pytest.mark.parametrize("value", [None, 1.0, [], b"a", float("nan"), True, np.True_])
def test_function_of_another_type_is_an_error(value: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"given by its id, external id or name; .* {type(value).__name__}"):
        catalogue(of(1, "a")).find_functions(value)


@pytest.mark.parametrize(
    ("value", "suggestion"),
    [("ingst-sap", "'ingest-sap'"), ("INGEST-SAP", "'ingest-sap'"), ("ingest", "'ingest-pi' or 'ingest-sap'")],
)
def test_error_suggests_similar_names(value: str, suggestion: str) -> None:
    listed = catalogue(of(1, "Ingest of SAP", "ingest-sap"), of(2, "ingest-pi"), of(3, "zzz"))
    with pytest.raises(ArgumentError, match=rf"No function is named '{value}'. Did you mean .*{suggestion}"):
        listed.find_functions(value)


def test_error_suggests_a_name_that_is_not_the_label() -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'Ingest of SAP'"):
        catalogue(of(1, "Ingest of SAP", "x1")).find_functions("ingest of sap")


def test_error_suggests_nothing_if_no_name_is_similar() -> None:
    with pytest.raises(ArgumentError, match=r"No function is named 'zzz'. The project has 1 functions;") as caught:
        catalogue(of(1, "ingest")).find_functions("zzz")
    assert "Did you mean" not in str(caught.value)


def test_error_says_that_there_are_no_functions() -> None:
    with pytest.raises(ArgumentError, match="The project has no functions"):
        catalogue().find_functions("a")


def test_deployment_time_is_none_if_unknown() -> None:
    listed = catalogue(of(1, created_time=0), of(2))
    assert [listed.created_ms(function_id) for function_id in (1, 2, 3)] == [0, None, None]


# Ids


@pytest.mark.parametrize("value", [1, MAX_ID, np.int64(5), np.uint8(5)])
def test_id_in_range_is_returned(value: Any) -> None:
    assert (check_id(value, "call id"), type(check_id(value, "call id"))) == (value, int)


@pytest.mark.parametrize("value", [0, -1, 2**53, 2**64, np.int64(0)])
def test_id_out_of_range_is_an_error(value: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"The call id {int(value)} is out of range"):
        check_id(value, "call id")


@pytest.mark.parametrize("value", [1.0, "1", None, True, np.True_, np.float64(1)])
def test_id_of_another_type_is_an_error(value: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"of type {type(value).__name__}; expected an integer"):
        check_id(value, "call id")


# Statuses


@pytest.mark.parametrize(
    ("value", "statuses"),
    [
        (None, ()),
        ([], ()),
        ("failed", ("Failed",)),
        (["TIMEOUT", "Failed", "timeout"], ("Timeout", "Failed")),
        (pd.Series(["Running"]), ("Running",)),
    ],
)
def test_statuses_are_parsed_ignoring_case(value: Any, statuses: tuple[str, ...]) -> None:
    assert parse_statuses(value) == statuses


@pytest.mark.parametrize("value", ["Faild", ["Failed", 5], 5, [""]])
def test_unknown_status_is_an_error(value: Any) -> None:
    with pytest.raises(ArgumentError, match=r"Unknown status=.*; expected one or several of Running, Completed"):
        parse_statuses(value)


def test_other_statuses_can_be_known() -> None:
    assert parse_statuses("paused", ["Running", "Paused"]) == ("Paused",)


# Frames


FUNCTION_DTYPES = {
    "function_id": "int64",
    "function": "str",
    "family": "str",
    "name": "str",
    "external_id": "str",
    "owner": "str",
    "description": "str",
    "status": "str",
    "created_time": "datetime64[ms, UTC]",
    "last_called": "datetime64[ms, UTC]",
    "file_id": "Int64",
    "runtime": "str",
    "runtime_version": "str",
    "cpu": "float64",
    "memory": "float64",
    "error_message": "str",
    "metadata": "str",
}
SCHEDULE_DTYPES = {
    "schedule_id": "int64",
    "name": "str",
    "function_id": "Int64",
    "function": "str",
    "function_external_id": "str",
    "cron_expression": "str",
    "when": "str",
    "created_time": "datetime64[ms, UTC]",
    "session_id": "Int64",
    "description": "str",
}


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in table.dtypes.items()}


def schedules(functions: Sequence[Function], *listed: Schedule) -> pd.DataFrame:
    return schedule_frame(Catalogue(functions), listed)


@pytest.mark.parametrize("functions", [[], [of(1)], [of(1, "a", file_id=MAX_ID, cpu=0.25), of(2)]])
def test_function_frame_has_fixed_dtypes(functions: list[Function]) -> None:
    assert list(dtypes(function_frame(Catalogue(functions))).items()) == list(FUNCTION_DTYPES.items())


@pytest.mark.parametrize("listed", [[], [Schedule(1)], [Schedule(1, function_id=2, session_id=MAX_ID), Schedule(2)]])
def test_schedule_frame_has_fixed_dtypes(listed: list[Schedule]) -> None:
    assert list(dtypes(schedules([], *listed)).items()) == list(SCHEDULE_DTYPES.items())


def test_functions_are_sorted_by_label_and_deployment() -> None:
    listed = catalogue(of(1, "b"), of(2, "a", "x", created_time=9), of(3, "a", "x", created_time=0), of(4, "a"))
    assert function_frame(listed)["function_id"].tolist() == [4, 1, 3, 2]


def test_function_frame_contains_all_fields() -> None:
    function = of(1, "n", "x", owner="o", status="Failed", created_time=0, file_id=7, runtime="py", cpu=0.5, memory=1)
    row = function_frame(catalogue(function)).iloc[0]
    names = ["function", "name", "external_id", "owner", "status", "file_id", "runtime", "cpu", "memory"]
    assert row[names].tolist() == ["x", "n", "x", "o", "Failed", 7, "py", 0.5, 1]
    assert row["created_time"] == pd.Timestamp(0, tz="UTC")


@pytest.mark.parametrize("error", ["m", CallError("m", "t")])
def test_error_message_of_a_function_is_text(error: str | CallError) -> None:
    assert function_frame(catalogue(of(1, error=error)))["error_message"].tolist() == ["m"]


def test_metadata_is_json_text() -> None:
    shown = function_frame(catalogue(of(1, metadata={"b": "é", "a": "1"})))
    assert shown["metadata"].tolist() == ['{"a": "1", "b": "é"}']


def test_schedule_finds_its_function_by_id() -> None:
    shown = schedules([of(7, "a")], Schedule(1, function_id=7))
    assert shown[["function_id", "function"]].to_numpy().tolist() == [[7, "a"]]


def test_schedule_finds_the_newest_deployment_by_external_id() -> None:
    functions = [of(7, "a", "x", created_time=9), of(8, "a", "x", created_time=5)]
    shown = schedules(functions, Schedule(1, function_external_id="x"))
    assert shown[["function_id", "function"]].to_numpy().tolist() == [[7, "x"]]


def test_schedule_of_an_unlisted_function_keeps_its_id_or_external_id() -> None:
    shown = schedules([], Schedule(1, function_id=5), Schedule(2, function_external_id="gone"), Schedule(3))
    by_id = shown.set_index("schedule_id").loc[[1, 2, 3]]
    assert by_id["function"].fillna("none").tolist() == ["5", "gone", "none"]
    assert by_id["function_id"].fillna(0).tolist() == [5, 0, 0]


def test_schedule_without_a_function_has_none() -> None:
    assert catalogue(of(1, "a")).function_of(Schedule(1)) is None


def test_schedules_are_sorted_by_function_and_creation() -> None:
    functions = [of(7, "b"), of(8, "a")]
    listed = [Schedule(1, function_id=7), Schedule(2, function_id=8, created_time=9), Schedule(3, function_id=8)]
    assert schedules(functions, *listed)["schedule_id"].tolist() == [3, 2, 1]
