"""Reading an archive: as frames, as Dask, as rollups, and with other tools."""

from __future__ import annotations

import pickle
import re
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from deltalake import DeltaTable, TableFeatures, write_deltalake
from factories import DAY_MS, HOUR_MS, NOW_MS, call_record, call_records, function_record
from services import RUN_LIMIT_MS, changing_project, serve

import callframe as cf
from callframe import frame
from callframe.archive import queries
from callframe.archive.storage import StorageOptions

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> tuple[cf.Archive, pd.DataFrame]:
    """Sync a sample project, and fetch the same calls directly."""
    archive = cf.Archive(tmp_path_factory.mktemp("archive") / "calls.delta")
    with cf.demo(calls=20_000) as project:
        archive.sync(project)
        calls = project.calls(start="15d", end=archive.calls()["start_time"].max() + pd.Timedelta("1ms"))
    return archive, calls


@pytest.fixture
def archive(synced: tuple[cf.Archive, pd.DataFrame]) -> cf.Archive:
    return synced[0]


@pytest.fixture
def calls(synced: tuple[cf.Archive, pd.DataFrame]) -> pd.DataFrame:
    return synced[1]


def assert_same(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(actual, expected)


# Frames


def test_archive_returns_the_same_frame_as_a_fetch(archive: cf.Archive, calls: pd.DataFrame) -> None:
    assert_same(archive.calls(), calls)


def test_functions_time_range_status_and_columns_select_calls(archive: cf.Archive, calls: pd.DataFrame) -> None:
    start, end = calls["start_time"].iloc[[5_000, 15_000]]
    functions, columns = ["ingest-sap-orders", "sync-asset-hierarchy"], ["start_time", "call_id"]
    read = archive.calls(*functions, start=start, end=end, status="failed", columns=columns)
    selected = calls["start_time"].between(start, end, inclusive="left") & (calls["status"] == "Failed")
    assert_same(read, calls.loc[selected & calls["function"].isin(functions), columns].reset_index(drop=True))


def test_function_is_selected_by_its_id(archive: cf.Archive, calls: pd.DataFrame) -> None:
    function_id = int(calls["function_id"].iloc[0])
    assert len(archive.calls(function_id)) == (calls["function_id"] == function_id).sum()


@pytest.mark.parametrize("by", ["schedule_id", "name"])
def test_schedule_is_selected_by_id_or_name(archive: cf.Archive, calls: pd.DataFrame, by: str) -> None:
    schedule = archive.schedules().iloc[3]
    read = archive.calls(schedule=schedule[by])
    expected = calls[calls["schedule_id"] == schedule["schedule_id"]]
    assert read["call_id"].tolist() == expected["call_id"].tolist() != []
    assert set(cf.coverage(read)["function"]) == {schedule["function"]}


def test_schedule_of_another_function_has_no_calls(archive: cf.Archive) -> None:
    schedules = archive.schedules()
    other = next(function for function in schedules["function"] if function != schedules["function"].iloc[0])
    assert archive.calls(other, schedule=schedules["schedule_id"].iloc[0]).empty


def test_calls_are_selected_by_their_ids(archive: cf.Archive, calls: pd.DataFrame) -> None:
    read = archive.calls(call_ids=calls["call_id"].iloc[[7, 3, 3, 11_000]])
    assert read["call_id"].tolist() == calls["call_id"].iloc[[3, 7, 11_000]].tolist()
    assert cf.is_complete(read)


def test_call_ids_that_are_not_found_are_in_the_coverage(archive: cf.Archive, calls: pd.DataFrame) -> None:
    call = calls.iloc[0]
    read = archive.calls(str(call["function"]), call_ids=[1, call["call_id"], 2], columns=["status"])
    assert read["status"].tolist() == [call["status"]]
    reasons = [function["reason"] for function in read.attrs["callframe"]["functions"]]
    assert reasons == ["2 of 3 ids were not found: 1, 2"]


@pytest.mark.parametrize("name", ["call_ids", "status", "schedule"])
def test_empty_list_selects_no_calls_as_in_a_project(archive: cf.Archive, name: str) -> None:
    nothing: dict[str, Any] = {name: []}
    read = archive.calls(**nothing)
    assert (len(read), "window" in read.attrs["callframe"]) == (0, False)


def test_coverage_names_the_filters(archive: cf.Archive, calls: pd.DataFrame) -> None:
    schedule_id = int(archive.schedules()["schedule_id"].iloc[0])
    filtered = archive.calls(status=["failed", "Timeout"], schedule=schedule_id).attrs["callframe"]
    assert (filtered["status"], filtered["schedule_ids"]) == (["Failed", "Timeout"], [schedule_id])
    assert archive.calls(call_ids=calls["call_id"].iloc[:3]).attrs["callframe"]["call_ids"] == 3
    assert "window" not in archive.calls(call_ids=calls["call_id"].iloc[:3]).attrs["callframe"]


def test_selection_without_calls_is_an_empty_call_frame(archive: cf.Archive) -> None:
    read = archive.calls(start="2020-01-01", end="2020-02-01")
    frame.check(read)
    assert len(read) == 0


def test_only_files_of_the_selected_days_are_opened(
    archive: cf.Archive, calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read = archive._tables.calls.read

    def read_and_record(paths: Any, *more: Any, **options: Any) -> Any:
        opened.extend(paths)
        return read(paths, *more, **options)

    monkeypatch.setattr(archive._tables.calls, "read", read_and_record)
    day = calls["start_time"].iloc[10_000].floor("1D")
    archive.calls(start=day, end=day + pd.Timedelta("1D"))
    assert [path.partition("/")[0] for path in opened] == [f"start_date={day:%Y-%m-%d}"]


def test_each_day_is_one_file(archive: cf.Archive, calls: pd.DataFrame) -> None:
    assert archive.info().files == calls["start_time"].dt.floor("1D").nunique()


def test_calls_of_an_archive_can_be_summarized(archive: cf.Archive, calls: pd.DataFrame) -> None:
    read, fetched = archive.calls(), calls.copy()
    fetched.attrs = read.attrs  # so that Running calls have run for the same time
    assert_same(cf.summarize(read), cf.summarize(fetched))


def test_frame_has_a_coverage(archive: cf.Archive) -> None:
    read = archive.calls(start="3d")
    assert cf.is_complete(read)
    assert cf.coverage(read)["calls"].sum() == len(read)
    assert read.attrs["callframe"]["archive"]["path"] == archive.path


def test_latest_possible_time_is_stored_exactly(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "calls.delta")
    call = call_record(startTime=NOW_MS - 1, endTime=253_402_300_799_999, scheduledTime=0)
    with serve(changing_project(call)) as project:
        archive.sync(project)
        assert_same(archive.calls(), project.calls("seven"))


def test_special_text_is_stored_exactly(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "calls.delta")
    texts = ["", "NA", "=1+1", "a\0b", "\U0001f600", "'", '"', "\r\n"]
    errors = [{}, *({"error": {"message": text, "trace": text}} for text in texts)]
    records = [call_record(id=number, status="Failed", **error) for number, error in enumerate(errors, 1)]
    functions = [function_record(externalId="=odd/%20 #?é")]
    with serve(changing_project(*records, functions=functions)) as project:
        archive.sync(project)
        assert_same(archive.calls(), project.calls(7))


def test_repr_shows_the_path(archive: cf.Archive) -> None:
    assert repr(archive) == f"<Archive {archive.path!r}>"


def test_table_can_be_pickled(archive: cf.Archive) -> None:
    assert pickle.loads(pickle.dumps(archive._tables.calls)).uri == archive.path


def test_archive_need_not_exist_to_be_opened(tmp_path: Path) -> None:
    assert cf.Archive(tmp_path / "not" / "there").path == str(tmp_path / "not" / "there")


def test_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cf.Archive("calls.delta").path == str(tmp_path / "calls.delta")


def test_log_of_many_commits_is_read_from_its_checkpoint(tmp_path: Path) -> None:
    archive, data = cf.Archive(tmp_path / "calls.delta"), changing_project(call_record())
    with serve(data) as project:
        archive.sync(project)
        no_rows = archive._tables.calls.schema.empty_table()
        for number in range(105):
            archive._tables.calls.open_or_create().replace(no_rows, [pd.Timestamp(number, unit="D")])
        data.now_ms += DAY_MS
        data.add_call(call_record(id=2, startTime=NOW_MS + 5))
        archive.sync(project)
    assert len(archive.calls()) == 2
    assert list(Path(archive.path).glob("_delta_log/*.checkpoint.parquet"))


def test_object_store_is_read_through_its_own_file_system(
    archive: cf.Archive, calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callframe.archive.storage.local_folder", lambda _: None)
    remote = cf.Archive(Path(archive.path).as_uri())
    assert_same(remote.calls(), calls)
    assert_same(remote.dask().compute(scheduler="sync").reset_index(drop=True).astype(calls.dtypes), calls)


def test_storage_options_are_not_displayed_and_can_be_pickled() -> None:
    options = StorageOptions({"AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_REGION": "eu-north-1"})
    assert repr(options) == "<2 storage options>"
    assert options.redact("key hush-hush in eu-north-1") == "key <secret> in eu-north-1"
    assert pickle.loads(pickle.dumps(options)).reveal() == options.reveal()


# Maintenance


def test_info_describes_size_time_range_and_versions(archive: cf.Archive, calls: pd.DataFrame) -> None:
    info = archive.info()
    assert (info.calls, info.projects, len(info.gaps)) == (20_000, ["demo"], 0)
    assert info.version == info.versions["version"].iloc[0]
    assert info.end is not None
    assert info.end > calls["start_time"].max()
    assert "calls     20,000 in" in str(info)


def test_compact_merges_files_of_other_tools(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "calls.delta")
    with serve(changing_project(*call_records(10, step_ms=1000))) as project:
        archive.sync(project)
    rows = DeltaTable(archive.path).to_pyarrow_table()
    write_deltalake(archive.path, rows.slice(5), mode="overwrite")
    write_deltalake(archive.path, rows.slice(0, 5), mode="append")
    before = archive.calls()
    assert len(before) == 10
    assert archive.compact() == 2
    assert_same(archive.calls(), before)
    assert archive.info().files == 1


@pytest.fixture
def updated(tmp_path: Path) -> cf.Archive:
    """Make an archive with an earlier version, in which a call is running."""
    archive, data = cf.Archive(tmp_path / "calls.delta"), changing_project(call_record(status="Running"))
    with serve(data) as project:
        archive.sync(project)
        data.replace_call(call_record())
        archive.sync(project)
    return archive


def test_vacuum_keeps_versions_within_the_retention(updated: cf.Archive) -> None:
    assert updated.vacuum() == 0
    assert len(cf.Archive(updated.path, version=1).calls()) == 1


def test_vacuum_removes_earlier_versions_and_files_of_interrupted_processes(updated: cf.Archive) -> None:
    before, files = updated.calls(), list(Path(updated.path).rglob("*.parquet"))
    leftover = Path(updated.path) / "start_date=2026-01-01" / f"part-00000-{uuid.uuid4()}-c000.zstd.parquet"
    leftover.parent.mkdir()
    leftover.write_bytes(b"")
    assert 1 < updated._tables.vacuum(0) <= len(files)
    assert not leftover.exists()
    assert_same(updated.calls(), before)
    assert len(updated.functions()) == 1
    assert updated.coverage()["state"].tolist() == ["complete"]
    with pytest.raises(cf.errors.FileError, match=r"Version 1 of the archive .* no longer exists"):
        cf.Archive(updated.path, version=1).calls()


@pytest.mark.parametrize(
    "name", ["notes.txt", "exports/calls.parquet", "start_date=2026-01-01/mine.parquet", "part-00000-mine.parquet"]
)
def test_vacuum_keeps_files_of_the_user(updated: cf.Archive, name: str) -> None:
    file = Path(updated._tables.uri) / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"mine")
    updated._tables.vacuum(0)
    assert file.read_bytes() == b"mine"


def test_archive_with_deletion_vectors_is_refused(updated: cf.Archive) -> None:
    table = DeltaTable(updated.path)
    table.alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    with pytest.raises(cf.errors.FileFormatError, match="does not support: deletionVectors"):
        updated.calls()
    with pytest.raises(cf.errors.FileFormatError, match="does not support: deletionVectors"):
        updated.compact()


def test_too_short_retention_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="retention='5min' is too short"):
        cf.Archive(tmp_path / "not there").vacuum(retention="5min")


# Analysis


def test_runs_are_missed_only_while_a_schedule_was_listed(tmp_path: Path) -> None:
    archive, start_ms = cf.Archive(tmp_path / "calls.delta"), NOW_MS // HOUR_MS * HOUR_MS
    cron = {"cronExpression": "0 * * * *", "createdTime": start_ms}
    schedules = [{"id": 3, "name": "s", "functionExternalId": "seven", **cron}]
    data = changing_project(functions=[function_record(createdTime=0)], schedules=schedules)
    with serve(data) as project:
        data.now_ms = start_ms + 5 * HOUR_MS + 1
        archive.sync(project)
        data._schedules = []
        data.now_ms = start_ms + 48 * HOUR_MS
        archive.sync(project)
    missed = cf.missed_runs(archive.calls(), archive.schedules())
    expected = pd.date_range(pd.Timestamp(start_ms, unit="ms", tz="UTC"), periods=6, freq="h")
    assert missed["scheduled_time"].tolist() == expected.tolist()


def test_runs_of_long_ago_are_missed_too(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "calls.delta")
    schedule = {"id": 3, "name": "s", "functionId": 7, "cronExpression": "0 0 * * *", "createdTime": 0}
    data = changing_project(functions=[function_record(createdTime=0)], schedules=[schedule])
    with serve(data) as project:
        for _ in range(3):
            archive.sync(project)
            data.now_ms += 80 * DAY_MS
    assert (cf.missed_runs(archive.calls(), archive.schedules())["state"] == "missed").sum() == 250


# Dask


def test_dask_returns_the_same_calls_in_the_same_order(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "ROWS_PER_PARTITION", 3_000)
    selection: Any = {"start": "10d", "status": ["Failed", "Timeout"]}
    lazy = archive.dask(**selection)
    assert lazy.npartitions > 3
    expected = archive.calls(**selection)
    computed = lazy.compute(scheduler="sync").reset_index(drop=True)
    assert_same(computed.astype({"function": expected["function"].dtype}), expected)


def test_dask_takes_the_arguments_of_calls(archive: cf.Archive, calls: pd.DataFrame) -> None:
    schedule_id = archive.schedules()["schedule_id"].iloc[3]
    some = {"call_ids": calls["call_id"].iloc[:5].tolist(), "columns": ["call_id"]}
    selections: list[tuple[list[Any], dict[str, Any]]] = [
        (["ingest-sap-orders"], {"end": calls["start_time"].iloc[15_000]}), ([], {"schedule": schedule_id}), ([], some)
    ]  # fmt: skip
    for functions, selection in selections:
        expected, lazy = archive.calls(*functions, **selection), archive.dask(*functions, **selection)
        assert len(lazy.compute(scheduler="sync")) == len(expected) > 0
        for name in ("status", "schedule_ids", "call_ids", "window"):
            assert lazy.attrs["callframe"].get(name) == expected.attrs["callframe"].get(name)


def test_dask_has_the_dtypes_of_a_call_frame(archive: cf.Archive) -> None:
    frame.check(archive.dask()._meta)
    frame.check(archive.dask().partitions[0].compute(scheduler="sync"))


def test_partitions_of_dask_have_the_same_categories(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "ROWS_PER_PARTITION", 3_000)
    lazy = archive.dask()
    first, last = (part.compute(scheduler="sync").dtypes for part in (lazy.partitions[0], lazy.partitions[-1]))
    assert first.equals(last)
    assert first.equals(lazy.dtypes)


def test_dask_has_a_coverage(archive: cf.Archive) -> None:
    lazy = archive.dask(start="3d")
    coverage = lazy.attrs["callframe"]
    assert all(function["complete"] for function in coverage["functions"])
    assert lazy[lazy["status"] == "Failed"]._meta.attrs["callframe"] == coverage


def test_dask_without_calls_is_an_empty_frame(archive: cf.Archive) -> None:
    assert len(archive.dask(start="2020-01-01", end="2020-02-01").compute(scheduler="sync")) == 0


def test_dask_reads_only_the_columns(archive: cf.Archive) -> None:
    assert list(archive.dask(columns=["duration"]).columns) == ["duration"]


# Rollups


@pytest.mark.parametrize("freq", ["1D", "7D", "1h"])
def test_rollup_is_that_of_the_calls(archive: cf.Archive, freq: str) -> None:
    assert_same(archive.rollup(freq=freq), cf.rollup(archive.calls(), freq))


def test_rollup_of_a_selection_is_that_of_its_calls(archive: cf.Archive, calls: pd.DataFrame) -> None:
    start, end = calls["start_time"].iloc[[5_000, 15_000]]
    selected = archive.calls("ingest-sap-orders", start=start, end=end)
    assert_same(archive.rollup("ingest-sap-orders", start=start, end=end), cf.rollup(selected, "1D"))


def test_rollup_of_a_deployment_is_that_of_its_calls(archive: cf.Archive, calls: pd.DataFrame) -> None:
    ids = calls.groupby("function", observed=True)["function_id"].unique()
    [first, _] = next(deployments for deployments in ids if len(deployments) == 2)
    assert_same(archive.rollup(int(first)), cf.rollup(archive.calls(int(first)), "1D"))


def test_rollup_follows_changed_calls(tmp_path: Path) -> None:
    data = changing_project(*call_records(5), call_record(status="Running"))
    archive = cf.Archive(tmp_path / "calls.delta")
    with serve(data) as project:
        archive.sync(project)
        assert_same(archive.rollup(), cf.rollup(archive.calls(), "1D"))
        data.replace_call(call_record())
        data.now_ms += 2 * RUN_LIMIT_MS
        archive.sync(project)
    assert_same(archive.rollup(), cf.rollup(archive.calls(), "1D"))


def test_stored_days_are_not_counted_again(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.rollup()
    monkeypatch.setattr("callframe.archive.daily_rollup._count", None)
    assert len(archive.rollup()) > 0


# Other tools, by the code in the documentation


def code_for(tool: str) -> str:
    text = (TOP / "docs" / "guide" / "archive.md").read_text(encoding="utf-8")
    [block] = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if f"import {tool}" in block]
    return str(block)


@pytest.mark.parametrize("tool", ["duckdb", "polars"])
def test_code_in_the_documentation_reads_the_archive_with(
    tool: str, archive: cf.Archive, calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(archive.path).parent)
    scope: dict[str, Any] = {}
    exec(compile(code_for(tool), "archive.md", "exec"), scope)
    assert scope["count"] == (calls["status"] == "Failed").sum()
