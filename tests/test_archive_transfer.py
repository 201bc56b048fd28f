"""Calls that are added to an archive, exported from it, and forgotten."""

from __future__ import annotations

import datetime as dt
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from factories import DAY_MS, HOUR_MS, NOW_MS, call_record, call_records, function_record
from services import changing_project, serve

import callframe as cf
from callframe.archive import queries
from callframe.archive.schema import CALLS, ROLLUP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services import ChangingProject

EIGHT = function_record(id=8, name="Eight", externalId="eight")
SECRET = "Patient 4711 was not found"


@pytest.fixture
def data() -> ChangingProject:
    error = {"message": SECRET, "trace": f"Trace of {SECRET}"}
    secret = call_record(id=900, functionId=8, startTime=NOW_MS - 3 * DAY_MS, status="Failed", error=error)
    return changing_project(*call_records(20, step_ms=HOUR_MS * 6), secret, functions=[function_record(), EIGHT])


@pytest.fixture
def project(data: ChangingProject) -> Iterator[cf.Project]:
    with serve(data) as project:
        yield project


@pytest.fixture
def archive(tmp_path: Path) -> cf.Archive:
    return cf.Archive(tmp_path / "calls.delta")


@pytest.fixture
def synced(archive: cf.Archive, project: cf.Project) -> cf.Archive:
    archive.sync(project)
    return archive


def assert_same(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(actual, expected)


def states(archive: cf.Archive, **selection: Any) -> list[str]:
    return archive.coverage(**selection)["state"].tolist()


# Adding


def test_added_frame_is_read_back_with_its_coverage(archive: cf.Archive, project: cf.Project) -> None:
    calls = project.calls(start="30d")
    report = archive.add(calls)
    assert (report.read, report.new, report.changed, report.complete) == (21, 21, 0, True)
    assert_same(archive.calls(), calls)
    assert states(archive) == ["complete"]
    edges = archive.coverage().iloc[0]
    assert edges["start_time"] == pd.Timestamp(NOW_MS - 30 * DAY_MS, unit="ms", tz="UTC")
    assert edges["end_time"] == pd.Timestamp(NOW_MS - 15 * 60_000, unit="ms", tz="UTC")  # later ones may be late


def test_sync_after_an_added_frame_reads_only_the_rest(archive: cf.Archive, project: cf.Project) -> None:
    archive.add(project.calls(start=pd.Timestamp(NOW_MS - 4 * DAY_MS, unit="ms", tz="UTC")))
    before = len(archive.calls())
    report = archive.sync(project)
    assert (report.new, report.read) == (21 - before, 21 - before)
    assert archive.functions()["name"].notna().all()
    assert_same(archive.calls(), project.calls(start="90d"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda calls: calls[calls["status"] == "Failed"], "selected from 21 calls"),
        (lambda calls: pd.concat([calls, calls]).astype(calls.dtypes), "repeat"),
    ],
)
def test_frame_with_other_rows_than_its_coverage_describes_is_not_complete(
    archive: cf.Archive, project: cf.Project, change: Any, problem: str
) -> None:
    calls = project.calls(start="30d")
    changed = change(calls)
    changed.attrs = calls.attrs
    report = archive.add(changed)
    assert not report.complete
    assert problem in str(report)
    assert len(archive.calls()) == changed["call_id"].nunique()
    assert "complete" not in states(archive)


def test_filtered_fetch_is_not_complete(archive: cf.Archive, project: cf.Project) -> None:
    report = archive.add(project.calls(start="30d", status="Failed"))
    assert "only calls with the status Failed were requested" in str(report)
    assert "complete" not in states(archive)


@pytest.mark.parametrize("name", ["calls.csv", "calls.csv.zst", "calls.parquet"])
def test_exported_file_can_be_added(synced: cf.Archive, tmp_path: Path, name: str) -> None:
    assert synced.export(tmp_path / name, traces=True) == 21
    copy = cf.Archive(tmp_path / "copy.delta")
    report = copy.add(tmp_path / name, project="demo")
    assert (report.new, report.complete) == (21, name.endswith("parquet"))
    assert_same(copy.calls(), synced.calls())
    assert copy.add(tmp_path / name).new == 0


def test_other_archive_is_added_with_functions_schedules_and_coverage(synced: cf.Archive, tmp_path: Path) -> None:
    copy = cf.Archive(tmp_path / "copy.delta")
    assert copy.add(synced).new == 21
    assert_same(copy.calls(), synced.calls())
    assert_same(copy.functions(), synced.functions())
    assert_same(copy.schedules(), synced.schedules())
    assert_same(copy.coverage(), synced.coverage())


def test_unfinished_call_is_replaced_by_a_later_record_and_never_replaces_one(
    tmp_path: Path,
) -> None:
    data = changing_project(call_record(id=1, status="Running", startTime=NOW_MS - DAY_MS))
    with serve(data) as project:
        running = project.calls(start="7d")
        data.replace_call(call_record(id=1, startTime=NOW_MS - 2 * DAY_MS))
        finished = project.calls(start="7d")
    for first, second in ((running, finished), (finished, running)):
        archive = cf.Archive(tmp_path / f"{first['status'].iloc[0]}.delta")
        archive.add(first)
        archive.add(second)
        assert_same(archive.calls(), finished)


def test_functions_that_were_added_keep_their_label_when_they_are_listed(archive: cf.Archive) -> None:
    old = function_record(id=6)
    with serve(changing_project(call_record(functionId=6), functions=[old])) as project:
        archive.add(project.calls(start="7d"))
    with serve(changing_project(call_record(id=2))) as project:  # redeployed
        archive.sync(project)
    assert set(archive.functions()["function"]) == {"seven"}
    assert archive.calls("seven")["call_id"].tolist() == [1, 2]
    assert archive.functions().set_index("function_id")["gone_time"].notna().to_dict() == {6: True, 7: False}


def test_label_of_the_archive_is_given_to_calls_that_are_added(synced: cf.Archive, project: cf.Project) -> None:
    calls = project.calls("eight", start="7d").drop_duplicates()
    calls["function"] = calls["function"].cat.rename_categories({"eight": "old name"})
    synced.add(calls, project="demo")
    assert set(synced.calls()["function"]) == {"seven", "eight"}


def test_calls_of_an_unknown_project_need_its_name(archive: cf.Archive, project: cf.Project) -> None:
    calls = project.calls(start="7d")
    with pytest.raises(cf.errors.ArgumentError, match="are of the project 'demo', not of 'other'"):
        archive.add(calls, project="other")
    calls.attrs = {}
    with pytest.raises(cf.errors.ArgumentError, match="do not say which project"):
        archive.add(calls)
    with pytest.raises(cf.errors.ArgumentError, match=r"expected a name that ends in \.csv"):
        archive.add("calls.xlsx")


def test_interrupted_add_claims_nothing(
    archive: cf.Archive, project: cf.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(archive._tables, "upsert", stop)
    with pytest.raises(KeyboardInterrupt):
        archive.add(project.calls(start="30d"))
    assert "complete" not in states(archive)


# Exporting


def test_export_in_parts_is_the_file_that_a_frame_gives(
    synced: cf.Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "ROWS_PER_PARTITION", 4)
    calls = synced.calls()
    synced.export(tmp_path / "calls.parquet")
    synced.export(tmp_path / "calls.csv.gz", traces=True)
    read = cf.read_parquet(tmp_path / "calls.parquet")
    assert_same(read, calls)
    assert read.attrs == calls.attrs
    assert cf.is_complete(read)
    assert_same(cf.read_csv(tmp_path / "calls.csv.gz"), calls)


def test_export_selects_functions_and_times(synced: cf.Archive, tmp_path: Path) -> None:
    start = pd.Timestamp(NOW_MS - 2 * DAY_MS, unit="ms", tz="UTC")
    count = synced.export(tmp_path / "calls.csv", "seven", start=start)
    assert count == len(synced.calls("seven", start=start)) == len(cf.read_csv(tmp_path / "calls.csv"))
    assert synced.export(tmp_path / "none.csv", start="2020-01-01", end="2020-01-02") == 0
    assert len(cf.read_csv(tmp_path / "none.csv")) == 0


# Forgetting


def files_with(archive: cf.Archive, *texts: str) -> list[str]:
    """List the files that contain a text, in the columns of a Parquet file too."""
    found = []
    for path in Path(archive.path).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += repr(pa.parquet.read_table(pa.BufferReader(content)).to_pylist()).encode()
            found += [str(path) for text in texts if text.encode() in content]
    return found


def changed_often(archive: cf.Archive, data: ChangingProject, project: cf.Project) -> None:
    """Leave files of old versions, a rollup and an orphan."""
    data.add_call(call_record(id=901, functionId=8, startTime=NOW_MS - 3 * DAY_MS, status="Running"))
    archive.sync(project)
    data.replace_call(call_record(id=901, functionId=8, startTime=NOW_MS - 3 * DAY_MS))
    data.now_ms += DAY_MS
    archive.sync(project)
    archive.rollup()


def test_no_file_contains_a_call_that_was_forgotten(
    archive: cf.Archive, data: ChangingProject, project: cf.Project
) -> None:
    changed_often(archive, data, project)
    assert len(files_with(archive, SECRET)) > 1
    removed = archive.forget(call_ids=[900])
    assert removed[["function", "calls"]].to_numpy().tolist() == [["eight", 1]]
    assert files_with(archive, SECRET) == []
    assert 900 not in archive.calls()["call_id"].tolist()
    assert len(archive.calls()) == 21


def test_no_file_names_a_function_that_was_forgotten(
    archive: cf.Archive, data: ChangingProject, project: cf.Project
) -> None:
    changed_often(archive, data, project)
    assert archive.forget("eight")["calls"].tolist() == [2]
    assert files_with(archive, SECRET, "eight", "Eight") == []
    assert archive.functions()["function"].tolist() == ["seven"]
    assert_same(archive.rollup(), cf.rollup(archive.calls(), "1D"))


@pytest.mark.parametrize("selection", [{"call_ids": [900]}, {"before": NOW_MS - 2 * DAY_MS}, {"functions": ["eight"]}])
def test_neither_a_sync_nor_add_brings_back_what_was_forgotten(
    synced: cf.Archive, data: ChangingProject, project: cf.Project, selection: dict[str, Any]
) -> None:
    fetched, functions = project.calls(start="30d"), selection.pop("functions", [])
    if "before" in selection:
        selection["before"] = pd.Timestamp(selection["before"], unit="ms", tz="UTC")
    count = synced.forget(*functions, **selection)["calls"].sum()
    data.add_call(call_record(id=950, functionId=8, startTime=NOW_MS + 9 * HOUR_MS))
    data.now_ms = int(pd.Timestamp.now("UTC").timestamp() * 1000) + DAY_MS
    synced.sync(project)
    assert len(synced.calls()) in {21 - count, 22 - count}
    report = synced.add(fetched)
    assert (report.new, report.set_aside) == (0, {"they were forgotten": count})
    assert 900 not in synced.calls()["call_id"].tolist()


def test_coverage_says_what_was_forgotten(synced: cf.Archive) -> None:
    at = pd.Timestamp(NOW_MS - 2 * DAY_MS, unit="ms", tz="UTC")
    synced.forget(before=at)
    assert states(synced) == ["complete"]
    assert synced.coverage()["start_time"].iloc[0] == at
    earlier = synced.coverage(start=at - pd.Timedelta("1D"), end=at)
    assert earlier["state"].tolist() == ["missing"]
    assert earlier["reason"].iloc[0].startswith("forgotten on ")
    assert cf.is_complete(synced.calls())
    assert not cf.is_complete(synced.calls(start=at - pd.Timedelta("1D")))


def test_forgetting_needs_a_selection_in_the_past(synced: cf.Archive) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="Nothing was selected"):
        synced.forget()
    with pytest.raises(cf.errors.ArgumentError, match="is in the future"):
        synced.forget(before="2999-01-01")
    with pytest.raises(cf.errors.ArgumentError, match="Did you mean 'eight'"):
        synced.forget("eigth")
    assert len(synced.calls()) == 21


def test_calls_of_other_projects_are_not_forgotten(synced: cf.Archive, project: cf.Project) -> None:
    calls = project.calls(start="30d")
    calls.attrs = {}
    synced.add(calls, project="other")
    assert synced.forget("eight", project="demo")["calls"].tolist() == [1]
    assert_same(synced.calls(project="other"), calls)


def test_rows_without_an_id_stay_when_others_are_forgotten(synced: cf.Archive) -> None:
    rows = synced._tables.calls.open_or_create().read()
    odd = pa.Table.from_pylist([rows.slice(0, 1).to_pylist()[0] | {"function_id": None}])
    day = odd["start_time"].cast("date32")
    write_deltalake(synced.path, odd.append_column("start_date", day), mode="append")
    synced.forget("eight", "seven")
    assert synced._tables.calls.open_or_create().read()["function_id"].to_pylist() == [None]


# Verifying


def problems(archive: cf.Archive) -> list[tuple[str, str, int]]:
    return [tuple(row) for row in archive.verify().to_numpy().tolist()]


def append(archive: cf.Archive, **changes: Any) -> None:
    """Append a changed copy of the first call, as another program may."""
    row = archive._tables.calls.open_or_create().read().slice(0, 1).to_pylist()[0]
    rows = pa.Table.from_pylist([row | {"start_date": row["start_time"].date()} | changes], schema=CALLS)
    write_deltalake(archive.path, rows, mode="append")


def test_synced_archive_has_no_findings(archive: cf.Archive, data: ChangingProject, project: cf.Project) -> None:
    changed_often(archive, data, project)
    findings = archive.verify()
    assert findings.dtypes.astype(str).to_dict() == {"problem": "str", "subject": "str", "count": "int64"}
    assert len(findings) == 0
    archive.forget("eight")
    assert problems(archive) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("calls that are stored twice", "", 1)),
        ({"call_id": 5_000, "status": "Running"}, ("calls with a wrong finality", "*", 1)),
        ({"call_id": 5_000, "function_id": 9}, ("calls of an unknown function", "9", 1)),
        ({"call_id": 5_000, "function_id": 9}, ("calls of a time range that was not read", "9", 1)),
        ({"call_id": 5_000, "start_date": dt.date(2026, 1, 1)}, ("calls of another day than their file", "*", 1)),
    ],
)
def test_calls_of_another_program_are_found(
    synced: cf.Archive, changes: dict[str, Any], expected: tuple[str, str, int]
) -> None:
    append(synced, **changes)
    found = [(problem, subject if expected[1] != "*" else "*", count) for problem, subject, count in problems(synced)]
    assert expected in found


def test_calls_that_a_running_sync_put_back_are_found(synced: cf.Archive) -> None:
    append(synced, call_id=5_000)
    synced.forget(call_ids=[5_000])
    append(synced, call_id=5_000)
    assert ("calls that were forgotten", "seven", 2) in problems(synced)  # the first call started at the same time


def test_damaged_missing_unused_and_unknown_files_are_found(synced: cf.Archive) -> None:
    first, second, third = sorted(Path(synced.path).glob("start_date=*/*.parquet"))[:3]
    third.with_name(f"part-00000-{uuid.uuid4()}-c000.zstd.parquet").write_bytes(first.read_bytes())
    (Path(synced.path) / "notes.txt").write_text("mine")
    first.write_bytes(first.read_bytes()[:100])
    second.unlink()
    found = problems(synced)
    assert [problem for problem, _, _ in found].count("damaged or missing file") == 2
    assert ("unknown file, of another program", "notes.txt", 1) in found
    assert any(problem == "unused file, which vacuum removes" for problem, _, _ in found)


def test_wrong_rollup_is_found(synced: cf.Archive) -> None:
    synced.rollup()
    rollup = synced._tables.rollup.open_or_create()
    rows = rollup.read()
    doubled = rows.set_column(rows.column_names.index("count"), "count", pa.compute.multiply(rows["count"], 2))
    month = doubled["start_time"].cast("date32")
    month = pa.array([day.replace(day=1) for day in month.to_pylist()], pa.date32())
    rollup.replace(doubled.append_column("start_date", month).select(ROLLUP.names))
    stored_days = len(rows.filter(pa.compute.greater(rows["count"], 0))["start_time"].unique())
    assert stored_days >= 4
    assert problems(synced) == [("days whose stored rollup is wrong", "demo", stored_days)]
