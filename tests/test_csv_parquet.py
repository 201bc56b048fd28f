"""CSV and Parquet files: round trips, files of other programs, invalid files and atomic writes."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from factories import (
    NOW_MS,
    SECOND_MS,
    attach_coverage,
    call_frame,
    call_frames,
    fetched_frame,
    few_examples,
    make_call,
    scheduled_calls,
)
from hypothesis import given
from hypothesis import strategies as st

from callframe import csv_parquet, frame
from callframe.api.schemas import CallError
from callframe.completeness import FunctionCoverage, completeness_text, is_complete
from callframe.csv_parquet import read_csv, read_parquet, write_csv, write_parquet
from callframe.errors import ArgumentError, FileError, FileFormatError, FrameError
from callframe.frame import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[[pd.DataFrame, Path], None]

HEADER = "call_id,function_id,function,schedule_id,status,scheduled_time,start_time,end_time,schedule_delay,duration"
ROW = ["1", "7", "fn", "3", "Completed", "2026-09-30T11:59:59.900Z", "2026-09-30T12:00:00.000Z"]
ROW += ["2026-09-30T12:00:01.500Z", "0.1", "1.5", "m"]

writers = pytest.mark.parametrize("write", [write_csv, write_parquet])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls"


def example(**changes: Any) -> pd.DataFrame:
    call = make_call(scheduled_time=NOW_MS - 100, end_time=NOW_MS + 1500, schedule_id=3, error="m", **changes)
    return call_frame(call, labels={7: "fn"})


def without_unused_categories(calls: pd.DataFrame) -> pd.DataFrame:
    """Reset the index and the categories, which CSV cannot represent."""
    categories = {
        "function": sorted(calls["function"].unique()),
        "status": frame.status_categories(calls["status"].unique().tolist()),
    }
    dtypes = {name: pd.CategoricalDtype(pd.Index(values, dtype=frame.TEXT)) for name, values in categories.items()}
    return calls.reset_index(drop=True).assign(**{name: calls[name].array.astype(dtypes[name]) for name in dtypes})


def csv_text(calls: pd.DataFrame, **options: Any) -> str:
    file = io.BytesIO()
    write_csv(calls, file, **options)
    return file.getvalue().decode()


def write_rows(path: Path, *rows: list[str], header: str = f"{HEADER},error_message", end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in [header, *(",".join(row) for row in rows)]).encode())
    return path


def row_with(name: str, cell: str) -> list[str]:
    column = [*HEADER.split(","), "error_message"].index(name)
    return [*ROW[:column], cell, *ROW[column + 1 :]]


def assert_equal(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(left, right, check_exact=True)


# Round trips


@few_examples
@given(calls=call_frames(), ids=st.sampled_from(["number", "text"]), escape_formulas=st.booleans())
def test_csv_round_trip(folder: Path, calls: pd.DataFrame, ids: Any, *, escape_formulas: bool) -> None:
    write_csv(calls, folder / "calls.csv", traces=True, ids=ids, escape_formulas=escape_formulas)
    assert_equal(read_csv(folder / "calls.csv"), without_unused_categories(calls))


@few_examples
@given(calls=call_frames(), escape_formulas=st.booleans())
def test_csv_round_trip_without_traces(folder: Path, calls: pd.DataFrame, *, escape_formulas: bool) -> None:
    write_csv(calls, folder / "calls.csv", escape_formulas=escape_formulas)
    assert_equal(
        read_csv(folder / "calls.csv"),
        without_unused_categories(calls.assign(error_trace=frame.text_column([None] * len(calls)).array)),
    )


@few_examples
@given(call_frames())
def test_parquet_round_trip(folder: Path, calls: pd.DataFrame) -> None:
    write_parquet(calls, folder / "calls.parquet")
    assert_equal(
        read_parquet(folder / "calls.parquet"),
        calls.reset_index(drop=True) if len(calls) else without_unused_categories(calls),
    )


def test_parquet_file_without_rows_keeps_the_categories_of_status(path: Path) -> None:
    write_parquet(frame.empty(), path)
    assert_equal(read_parquet(path), frame.empty())


@few_examples
@given(call_frames())
def test_frame_is_not_changed_by_writing_it(folder: Path, calls: pd.DataFrame) -> None:
    before = calls.copy(deep=True)
    write_csv(calls, folder / "calls.csv", traces=True, ids="text")
    write_parquet(calls, folder / "calls.parquet")
    assert_equal(calls, before)


@pytest.mark.parametrize(("write", "read"), [(write_csv, read_csv), (write_parquet, read_parquet)])
def test_result_is_a_call_frame(path: Path, write: Write, read: Callable[[Path], pd.DataFrame]) -> None:
    write(example(), path)
    frame.check(read(path))


@pytest.mark.parametrize("text", ["x" * 2**20, 'a "b",\n' * 150_000, "é" * 2**20, "=" * 2**20, "\n" * 2**20])
def test_cell_of_a_megabyte_is_kept(path: Path, text: str) -> None:
    calls = call_frame(
        make_call(error=CallError(text, text)), make_call(id=2, error=CallError("m", text)), make_call(id=3)
    )
    write_csv(calls, path, traces=True)
    assert_equal(read_csv(path), calls)
    write_parquet(calls, path)
    assert_equal(read_parquet(path), calls)


def test_csv_of_several_batches_is_complete(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_parquet, "_BATCH_ROWS", 2)
    calls = call_frame(*(make_call(id=call_id, error="m" * call_id) for call_id in range(1, 8)))
    write_csv(calls, path)
    assert_equal(read_csv(path), calls)


def test_parquet_keeps_the_coverage(path: Path) -> None:
    calls = example()
    functions = [FunctionCoverage(2, "fn", ("403 on page 1",))]
    attach_coverage(calls, functions, project="plant é", fetched_at="2026-09-30T12:00:00.000Z")
    write_parquet(calls, path)
    assert read_parquet(path).attrs == calls.attrs


def test_parquet_without_coverage_has_none(path: Path) -> None:
    write_parquet(example(), path)
    assert read_parquet(path).attrs == {}


def test_parquet_file_cut_by_another_program_is_not_called_complete(path: Path) -> None:
    write_parquet(fetched_frame(scheduled_calls(range(8))), path)
    pq.write_table(pq.read_table(path).slice(0, 5), path)
    with pytest.warns(UserWarning, match=r"another program changed the rows \(selected from 8 calls\)"):
        calls = read_parquet(path)
    assert is_complete(calls) is None


def test_parquet_file_of_some_of_the_calls_says_so_without_a_warning(path: Path) -> None:
    write_parquet(fetched_frame(scheduled_calls(range(8))).head(5), path)
    assert completeness_text(read_parquet(path)) == "selected from 8 calls"


def test_parquet_keeps_unused_categories(path: Path) -> None:
    calls = call_frame(make_call(), make_call(id=2, function_id=8, status="Cancelled"))
    write_parquet(calls[calls["call_id"] == 1], path)
    assert_equal(read_parquet(path), calls[calls["call_id"] == 1])


# Content of a CSV file


def test_content_of_a_csv_file() -> None:
    assert csv_text(example()) == (
        f"{HEADER},error_message\n"
        '1,7,"fn",3,"Completed","2026-09-30T11:59:59.900Z","2026-09-30T12:00:00.000Z","2026-09-30T12:00:01.500Z",0.1,1.5,"m"\n'
    )


def test_missing_values_are_empty_cells_and_empty_text_is_quoted() -> None:
    calls = call_frame(make_call(status="Failed", end_time=None, error=CallError("", None)))
    assert csv_text(calls, traces=True).splitlines()[1] == '1,7,"7",,"Failed",,"2026-09-30T12:00:00.000Z",,,,"",'


def test_empty_frame_is_only_a_header() -> None:
    assert csv_text(frame.empty()) == f"{HEADER},error_message\n"


def test_traces_are_written_on_request() -> None:
    calls = call_frame(make_call(error=CallError("m", "secret")))
    assert "secret" not in csv_text(calls)
    assert "secret" in csv_text(calls, traces=True)


def test_ids_can_be_written_as_text() -> None:
    text = csv_text(example(id=MAX_ID), ids="text")
    assert text.startswith("\ufeffcall_id,")
    assert text.splitlines()[1].startswith('"=""9007199254740991""","=""7""","fn","=""3""",')


def test_missing_schedule_is_an_empty_cell_if_ids_are_text() -> None:
    assert csv_text(call_frame(make_call()), ids="text").splitlines()[1].startswith('"=""1""","=""7""","7",,')


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x"]
)
def test_formula_is_escaped(text: str) -> None:
    assert f'"\'{text}"' in csv_text(call_frame(make_call(error=text)))


@pytest.mark.parametrize("column", ["function", "status", "error_message", "error_trace"])
def test_formulas_are_escaped_in_all_text_columns(column: str) -> None:
    texts = {"function": "f", "status": "s", "error_message": "m", "error_trace": "t", column: "=1"}
    error = CallError(texts["error_message"], texts["error_trace"])
    calls = call_frame(make_call(status=texts["status"], error=error), labels={7: texts["function"]})
    assert csv_text(calls, traces=True).count('"\'=1"') == 1


@pytest.mark.parametrize("text", ["a=1", " =1", "'text", "'", "1", "text", "\x00=1"])
def test_text_that_is_not_a_formula_is_unrow_with(text: str) -> None:
    assert f'"{text}"' in csv_text(call_frame(make_call(error=text)))


@pytest.mark.parametrize("text", ["=1", "'=1", "-1"])
def test_escaping_of_formulas_can_be_turned_off(text: str) -> None:
    assert f'"{text}"' in csv_text(call_frame(make_call(error=text)), escape_formulas=False)


def test_negative_durations_are_numbers() -> None:
    calls = call_frame(make_call(scheduled_time=NOW_MS + 5, end_time=NOW_MS - 7))
    assert ",-0.005,-0.007," in csv_text(calls)


def test_unknown_ids_option_is_an_error(path: Path) -> None:
    with pytest.raises(ArgumentError, match="ids='string'; expected 'number' or 'text'"):
        write_csv(example(), path, ids="string")  # type: ignore[arg-type] # an invalid value
    assert not path.exists()


@writers
def test_frame_that_is_not_a_call_frame_is_not_written(path: Path, write: Write) -> None:
    with pytest.raises(FrameError):
        write(pd.DataFrame({"a": [1]}), path)
    assert not path.exists()


def test_open_file_is_written_and_stays_open() -> None:
    file = io.BytesIO(b"")
    write_csv(example(), file)
    assert not file.closed
    assert file.getvalue().decode() == csv_text(example())


def test_text_file_in_memory_is_written_and_read() -> None:
    file = io.StringIO()
    write_csv(example(), file)
    assert file.getvalue() == csv_text(example())
    assert_equal(read_csv(io.StringIO(file.getvalue())), example())


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_text_file_on_disk_is_written_as_utf_8(path: Path, encoding: str) -> None:
    calls = call_frame(make_call(error="gr\u00f8n \u2713\nx"))
    with path.open("w", encoding=encoding) as file:
        write_csv(calls, file)
    assert_equal(read_csv(path), calls)


def test_files_in_memory_are_read() -> None:
    assert_equal(read_csv(io.BytesIO(csv_text(example()).encode())), example())
    file = io.BytesIO()
    write_parquet(example(), file)
    assert_equal(read_parquet(io.BytesIO(file.getvalue())), example())


@pytest.mark.parametrize("file", [None, 5, b"calls.csv"])
def test_what_is_neither_a_path_nor_a_file_is_an_error(file: Any) -> None:
    with pytest.raises(ArgumentError, match="Expected a path or a file open for writing, found"):
        write_csv(example(), file)
    with pytest.raises(ArgumentError, match="Expected a path or a file open for reading, found"):
        read_csv(file)


def test_file_that_is_not_open_for_writing_is_an_error(path: Path) -> None:
    path.touch()
    with path.open("rb") as file, pytest.raises(FileError, match="could not be written"):
        write_csv(example(), file)


@pytest.mark.parametrize(("name", "start"), [("c.csv.gz", b"\x1f\x8b"), ("c.csv.zst", b"\x28\xb5\x2f\xfd")])
def test_compressed_csv_is_written_and_read(tmp_path: Path, name: str, start: bytes) -> None:
    calls = call_frame(*(make_call(id=call_id, error="m" * call_id) for call_id in range(1, 50)))
    write_csv(calls, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert_equal(read_csv(tmp_path / name), calls)


def test_compressed_csv_of_another_program_is_read(path: Path) -> None:
    halves = csv_text(example()).encode().partition(b"\n")
    path.write_bytes(gzip.compress(halves[0] + b"\n") + gzip.compress(halves[2]))
    assert_equal(read_csv(path), example())


@pytest.mark.parametrize("name", ["c.csv.gz", "c.csv.zst"])
def test_truncated_compressed_csv_is_an_error(tmp_path: Path, name: str) -> None:
    write_csv(call_frame(*(make_call(id=call_id) for call_id in range(1, 50))), tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
    with pytest.raises(FileFormatError, match="it may be truncated"):
        read_csv(tmp_path / name)


def test_file_that_may_not_be_written_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"mine")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write any file
    with pytest.raises(FileError, match=r"Permission denied. An older file is unchanged"):
        write_csv(example(), path)
    assert path.read_bytes() == b"mine"


def long_ids(count: int) -> list[int]:
    return [4_503_599_627_370_496 + 7_919 * k for k in range(count)]


@pytest.mark.parametrize("count", [5, 40, 1000])
def test_ids_that_a_spreadsheet_rounded_are_warned_of(path: Path, count: int) -> None:
    write_csv(call_frame(*(make_call(id=call_id // 10 * 10) for call_id in long_ids(count))), path)
    with pytest.warns(UserWarning, match=f"{count:,} of {count:,} long ids end in 0, as if a spreadsheet had rounded"):
        read_csv(path)


def test_rows_with_rounded_ids_among_others_are_warned_of(path: Path) -> None:
    ids = [call_id // 10 * 10 for call_id in long_ids(300)] + long_ids(1_000)[300:]
    write_csv(call_frame(*(make_call(id=call_id) for call_id in ids)), path)
    with pytest.warns(UserWarning, match="370 of 1,000 long ids end in 0"):
        read_csv(path)


@pytest.mark.parametrize(("count", "step"), [(4, 10), (1000, 1), (30, 7)])
def test_ids_that_end_in_zero_by_chance_are_not(path: Path, count: int, step: int) -> None:
    write_csv(call_frame(*(make_call(id=10**15 + step * k) for k in range(count))), path)
    assert len(read_csv(path)) == count


def test_ids_in_scientific_notation_are_refused_with_the_reason(path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"spreadsheets round ids: write with ids='text'\), found '9\.00719"):
        read_csv(write_rows(path, row_with("call_id", "9.00719925474099E+15")))


@pytest.mark.parametrize("read", [pd.read_csv, pd.read_parquet])
def test_frame_that_pandas_read_is_refused_with_a_pointer_to_our_reader(path: Path, read: Any) -> None:
    (write_csv if read is pd.read_csv else write_parquet)(example(), path)
    with pytest.raises(FrameError, match=r"cf\.read_csv|cf\.read_parquet"):
        frame.check(read(path))


# Reading CSV files of other programs


def test_hand_written_csv_is_read(path: Path) -> None:
    assert_equal(read_csv(write_rows(path, ROW)), example())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_endings_and_byte_order_mark_do_not_matter(path: Path, end: str, mark: bytes) -> None:
    write_rows(path, ROW, end=end)
    path.write_bytes(mark + path.read_bytes())
    assert_equal(read_csv(path), example())


def test_last_line_ending_is_optional(path: Path) -> None:
    write_rows(path, ROW)
    path.write_bytes(path.read_bytes().rstrip())
    assert_equal(read_csv(path), example())


def test_order_of_columns_does_not_matter(path: Path) -> None:
    header = ",".join([*HEADER.split(","), "error_message"][::-1])
    assert_equal(read_csv(write_rows(path, ROW[::-1], header=header)), example())


def test_other_columns_are_ignored_with_a_warning(path: Path) -> None:
    write_rows(path, [*ROW, "more"], header=f"{HEADER},error_message,note")
    with pytest.warns(UserWarning, match="ignoring the columns note"):
        assert_equal(read_csv(path), example())


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
def test_header_without_rows_is_an_empty_frame(path: Path, end: str) -> None:
    assert_equal(read_csv(write_rows(path, end=end)), frame.empty())


@pytest.mark.parametrize(
    "cell",
    [
        *("2026-09-30T12:00:00Z", "2026-09-30 12:00:00Z", "2026-09-30T12:00:00.0Z"),
        *("2026-09-30T14:00:00+02:00", "2026-09-30T14:00:00+0200", "2026-09-30T12:00:00.000+00:00"),
    ],
)
def test_other_time_formats_are_read(path: Path, cell: str) -> None:
    assert_equal(read_csv(write_rows(path, row_with("start_time", cell))), example())


@pytest.mark.parametrize("cell", ["1.5", "1.50", "1.5004"])
def test_seconds_are_read_to_the_millisecond(path: Path, cell: str) -> None:
    assert_equal(read_csv(write_rows(path, row_with("duration", cell))), example())


@pytest.mark.parametrize(("option", "expected"), [(None, "=1"), (True, "=1"), (False, "'=1")])
def test_unescaping_of_formulas_can_be_turned_off(path: Path, option: bool | None, expected: str) -> None:
    calls = read_csv(write_rows(path, row_with("error_message", "'=1")), unescape_formulas=option)
    assert calls["error_message"].tolist() == [expected]


@pytest.mark.parametrize("name", HEADER.split(","))
def test_missing_column_is_an_error(path: Path, name: str) -> None:
    header = ",".join(column for column in [*HEADER.split(","), "error_message"] if column != name)
    with pytest.raises(FileFormatError, match=f"calls: missing column {name}. Found the columns"):
        read_csv(write_rows(path, header=header))


def test_duplicate_column_is_an_error(path: Path) -> None:
    with pytest.raises(FileFormatError, match="calls has the column call_id twice"):
        read_csv(write_rows(path, [*ROW, "5"], header=f"{HEADER},error_message,call_id"))


def test_traces_are_optional(path: Path) -> None:
    assert read_csv(write_rows(path, ROW))["error_trace"].isna().all()


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        (
            "call_id",
            ["x", "0", "-1", "1.0", "1e3", " 1", "9007199254740992", "99999999999999999", "\uff11"],
            "a whole number",
        ),
        ("call_id", ["4.50359962737E+15"], r"spreadsheets round ids: write with ids='text'"),
        ("function_id", ["x"], "a whole number"),
        ("schedule_id", ["0", "x"], "a whole number"),
        (
            "start_time",
            ["noon", "2026-09-30", "2026-09-30T12:00:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z"],
            "a time",
        ),
        ("end_time", ["2026-09-30T24:00:01Z", "2026-09-30T12:00:61Z", "2026-09-30T12:00:00+99:00", '""'], "a time"),
        ("scheduled_time", ["1790769600000"], "a time"),
        ("schedule_delay", ["1 s", "00:01"], "seconds"),
        ("duration", ["x", "NaN", "inf", "-", "1.", "0 days 00:00:01"], "seconds"),
    ],
)
def test_error_names_row_and_column_of_an_invalid_value(path: Path, name: str, cells: list[str], expected: str) -> None:
    for cell in cells:
        write_rows(path, ROW, ROW, row_with(name, cell), ROW)
        with pytest.raises(FileFormatError, match=f"row 3 below the header, column {name}: expected .*{expected}"):
            read_csv(path)


@pytest.mark.parametrize("name", ["call_id", "function_id", "function", "status", "start_time"])
def test_missing_value_of_a_required_column_is_an_error(path: Path, name: str) -> None:
    with pytest.raises(
        FileFormatError, match=f"row 2 below the header, column {name}: expected a value, found nothing"
    ):
        read_csv(write_rows(path, ROW, row_with(name, "")))


def test_long_invalid_value_is_shortened(path: Path) -> None:
    with pytest.raises(FileFormatError) as caught:
        read_csv(write_rows(path, row_with("duration", "x" * 10_000)))
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("row", [ROW[:3], ROW[:-1], [*ROW, ""]])
def test_row_with_missing_or_extra_cells_is_an_error(path: Path, row: list[str]) -> None:
    with pytest.raises(FileFormatError, match=r"cannot be read as CSV: .*Expected 11 columns"):
        read_csv(write_rows(path, ROW, row, ROW))


def test_error_recognizes_semicolons(path: Path) -> None:
    write_rows(path, ROW)
    path.write_bytes(path.read_bytes().replace(b",", b";"))
    with pytest.raises(
        FileFormatError, match=r"missing column call_id.*separated by semicolons; save the file with commas"
    ):
        read_csv(path)


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\n", b"\xef\xbb\xbf", b"\r\n"])
def test_empty_file_is_an_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="calls is empty; expected the columns call_id, function_id,"):
        read_csv(path)


def test_text_that_is_not_utf8_is_an_error(path: Path) -> None:
    path.write_bytes(write_rows(path, ROW).read_bytes().replace(b"fn", b"f\xe9"))
    with pytest.raises(FileFormatError, match=r"cannot be read as CSV: .*UTF8"):
        read_csv(path)


def test_carriage_returns_as_line_endings_are_an_error(path: Path) -> None:
    with pytest.raises(FileFormatError, match="the first line is not CSV"):
        read_csv(write_rows(path, ROW, end="\r"))


@pytest.mark.parametrize("quote", ["", '"'])
def test_long_first_line_is_an_error(path: Path, quote: str) -> None:
    path.write_text(quote + "x" * 200_000 + quote, encoding="utf-8")
    with pytest.raises(FileFormatError, match="the first line is not CSV"):
        read_csv(path)


@pytest.mark.parametrize("data", [bytes(range(256)), b"\0" * 100, b"PAR1", "call_id,".encode("utf-16"), b"<html>\n"])
def test_file_of_another_format_is_an_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="missing column"):
        read_csv(path)


# Reading Parquet files


@pytest.mark.parametrize("data", [b"", b"PAR1", b"call_id,function_id\n1,2\n", b"PAR1" + b"x" * 20 + b"PAR1"])
def test_file_that_is_not_parquet_is_an_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="calls cannot be read as a Parquet file"):
        read_parquet(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_parquet_file_is_an_error(path: Path, share: float) -> None:
    write_parquet(example(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(FileFormatError, match="cannot be read as a Parquet file"):
        read_parquet(path)


def test_missing_column_of_a_parquet_file_is_an_error(path: Path) -> None:
    pq.write_table(frame.to_arrow(example()).drop_columns("status"), path)
    with pytest.raises(FileFormatError, match=r"missing column status. Found the columns call_id, "):
        read_parquet(path)


def test_column_of_another_type_is_an_error(path: Path) -> None:
    pq.write_table(frame.to_arrow(example()).set_column(0, "call_id", pa.array(["x"])), path)
    with pytest.raises(FileFormatError, match="column call_id is string, expected int64"):
        read_parquet(path)


@pytest.mark.parametrize("name", ["call_id", "function_id", "function", "status", "start_time"])
def test_missing_value_of_a_parquet_file_is_an_error(path: Path, name: str) -> None:
    table = frame.to_arrow(call_frame(make_call(), make_call(id=2)))
    column = pa.array(
        [table[name][0].as_py(), None],
        table[name].type.value_type if name in {"function", "status"} else table[name].type,
    )
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)
    with pytest.raises(FileFormatError, match=f"row 2, column {name}: expected a value, found nothing"):
        read_parquet(path)


def test_parquet_file_written_by_pandas_is_read(path: Path) -> None:
    example().to_parquet(path)
    assert_equal(read_parquet(path), example())


# Paths that cannot be read or written


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_missing_file_is_an_error(path: Path, read: Callable[[Path], pd.DataFrame]) -> None:
    with pytest.raises(FileError, match="calls could not be read: "):
        read(path)


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_folder_is_an_error(tmp_path: Path, read: Callable[[Path], pd.DataFrame]) -> None:
    with pytest.raises(FileError, match="could not be read: "):
        read(tmp_path)


@writers
@pytest.mark.parametrize("target", ["file/calls", "nowhere/calls", "."])
def test_path_that_cannot_be_written_is_an_error(tmp_path: Path, write: Write, target: str) -> None:
    (tmp_path / "file").write_text("content", encoding="utf-8")
    with pytest.raises(FileError, match=r"could not be written: .*An older file is unchanged"):
        write(example(), tmp_path / target)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_file_error_is_an_os_error(path: Path) -> None:
    with pytest.raises(OSError, match="could not be read"):
        read_csv(path)


def test_file_format_error_is_a_value_error(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        read_csv(path)


# Atomic writes


@writers
def test_no_temporary_file_remains(path: Path, write: Write) -> None:
    write(example(), path)
    write(example(id=5), path)
    assert list(path.parent.iterdir()) == [path]


@writers
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_error_while_writing_leaves_the_old_file(
    path: Path, write: Write, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object, file: io.BytesIO, *__: object, **___: object) -> None:
        file.write(b"half")
        raise error

    path.write_bytes(b"old")
    monkeypatch.setattr(pyarrow.csv, "write_csv", broken)
    monkeypatch.setattr(pq, "write_table", broken)
    with pytest.raises(FileError if isinstance(error, OSError) else type(error)):
        write(example(), path)
    assert (path.read_bytes(), list(path.parent.iterdir())) == (b"old", [path])


FULL_DISK = """
import resource, sys
from pathlib import Path
import callframe as cf
from callframe import frame
from callframe.api.schemas import Call, to_columns
path = Path(sys.argv[1])
records = [Call(id, 2, "Failed", id * 7919, error=str(id)) for id in range(1, 20_000)]
calls = frame.from_columns([to_columns(records)], {})
resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))
for write in (cf.write_csv, cf.write_parquet):
    try:
        write(calls, path)
    except cf.errors.FileError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_full_disk_leaves_the_old_file(path: Path) -> None:
    path.write_bytes(b"old")
    command = [sys.executable, "-B", "-c", FULL_DISK, str(path)]  # bytecode of imports would be cut off too
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert output == [f"{path} could not be written: File too large. An older file is unchanged."] * 2
    assert (path.read_bytes(), list(path.parent.iterdir())) == (b"old", [path])


@writers
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_full_device_is_an_error(write: Write) -> None:
    with pytest.raises(FileError, match="/dev/full could not be written: No space left on device"):
        write(example(), Path("/dev/full"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_device_is_not_replaced() -> None:
    write_csv(example(), os.devnull)
    assert not Path(os.devnull).is_file()


@writers
@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_of_the_old_file_are_kept(path: Path, write: Write, mode: int) -> None:
    path.touch()
    path.chmod(mode)
    write(example(), path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@writers
@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_link_is_followed(tmp_path: Path, path: Path, write: Write) -> None:
    (tmp_path / "there").mkdir()
    path.symlink_to(Path("there", "real"))
    write(example(), path)
    assert path.is_symlink()
    assert (tmp_path / "there" / "real").stat().st_size > 0


@writers
@pytest.mark.parametrize("name", ["calls é 😀.csv", "x" * 250, ".calls", "a b'c"])
def test_unusual_file_names_are_valid(tmp_path: Path, write: Write, name: str) -> None:
    write(example(), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@writers
def test_path_can_be_text(path: Path, write: Callable[[pd.DataFrame, str], None]) -> None:
    write(example(), str(path))
    assert path.is_file()


def test_order_of_rows_is_kept(path: Path) -> None:
    calls = call_frame(*(make_call(id=number, start_time=NOW_MS + number * SECOND_MS) for number in (1, 2, 3))).iloc[
        ::-1
    ]
    for write, read in ((write_csv, read_csv), (write_parquet, read_parquet)):
        write(calls, path)
        assert read(path)["call_id"].tolist() == [3, 2, 1]


def test_file_truncated_inside_a_cell_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "calls.csv"
    csv_parquet.write_csv(call_frame(make_call(error="a long message")), path)
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(FileFormatError, match="ends inside a quoted cell"):
        csv_parquet.read_csv(path)
