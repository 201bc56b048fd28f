"""Reading an archive: as frames, as Dask, as rollups, and by other tools."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from archives import LATE_MS, story, told
from deltalake import DeltaTable, write_deltalake
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record

import callframe as cf
from callframe import frame
from callframe.archive import dask
from callframe.archive.storage_options import StorageOptions

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[cf.Archive, pd.DataFrame]:
    """Sync a made-up project, and fetch the same at once."""
    archive = cf.Archive(tmp_path_factory.mktemp("archive") / "calls.delta")
    with cf.demo(calls=20_000) as project:
        archive.sync(project)
        calls = project.calls(start="15d", end=archive.calls()["start_time"].max() + pd.Timedelta("1ms"))
    return archive, calls


@pytest.fixture
def archive(both: tuple[cf.Archive, pd.DataFrame]) -> cf.Archive:
    return both[0]


@pytest.fixture
def calls(both: tuple[cf.Archive, pd.DataFrame]) -> pd.DataFrame:
    return both[1]


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected)


# Frames


def test_archive_gives_the_frame_that_was_fetched(archive: cf.Archive, calls: pd.DataFrame) -> None:
    same(archive.calls(), calls)


def test_window_functions_status_and_columns_narrow_what_is_read(archive: cf.Archive, calls: pd.DataFrame) -> None:
    low, high = calls["start_time"].iloc[[5_000, 15_000]]
    found = archive.calls(low, high, ["ingest-sap-orders", "sync-asset-hierarchy"], "failed", ["start_time", "call_id"])
    chosen = calls["start_time"].between(low, high, inclusive="left") & (calls["status"] == "Failed")
    chosen &= calls["function"].isin(["ingest-sap-orders", "sync-asset-hierarchy"])
    same(found, calls.loc[chosen, ["start_time", "call_id"]].reset_index(drop=True))


def test_function_may_be_named_by_its_id(archive: cf.Archive, calls: pd.DataFrame) -> None:
    function_id = int(calls["function_id"].iloc[0])
    assert len(archive.calls(functions=function_id)) == (calls["function_id"] == function_id).sum()


def test_nothing_found_is_a_call_frame_all_the_same(archive: cf.Archive) -> None:
    found = archive.calls("2020-01-01", "2020-02-01")
    frame.check(found)
    assert len(found) == 0


def test_only_files_of_the_days_asked_for_are_opened(
    archive: cf.Archive, calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read = archive._tables.calls.read

    def noting(paths: Any, *more: Any, **options: Any) -> Any:
        opened.extend(paths)
        return read(paths, *more, **options)

    monkeypatch.setattr(archive._tables.calls, "read", noting)
    day = calls["start_time"].iloc[10_000].floor("1D")
    archive.calls(day, day + pd.Timedelta("1D"))
    assert [path.partition("/")[0] for path in opened] == [f"start_date={day:%Y-%m-%d}"]


def test_each_day_is_one_file(archive: cf.Archive, calls: pd.DataFrame) -> None:
    assert archive.info().files == calls["start_time"].dt.floor("1D").nunique()


def test_measures_take_what_an_archive_gives(archive: cf.Archive, calls: pd.DataFrame) -> None:
    found, fetched = archive.calls(), calls.copy()
    fetched.attrs = found.attrs  # which tell how long Running calls had run when they were looked at
    same(cf.summarize(found), cf.summarize(fetched))


def test_frame_says_what_it_rests_on(archive: cf.Archive) -> None:
    found = archive.calls("3d")
    assert cf.is_complete(found)
    assert cf.coverage(found)["calls"].sum() == len(found)
    assert found.attrs["callframe"]["archive"]["path"] == archive.path


def test_times_at_the_ends_of_the_calendar_survive(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "odd")
    last = 253_402_300_799_999
    world = story(call_record(startTime=NOW_MS - 1, endTime=last, scheduledTime=0))
    with told(world) as project:
        archive.sync(project)
        same(archive.calls(), project.calls("seven"))


def test_texts_that_programs_take_for_something_else_survive(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "odd")
    odd = ["", "NA", "=1+1", "a\0b", "\U0001f600", "'", '"', "\r\n", None]
    errors = [{"message": text, "trace": text} if text is not None else None for text in odd]
    calls = [
        call_record(id=1 + k, status="Failed", **({} if error is None else {"error": error}))
        for k, error in enumerate(errors)
    ]
    with told(story(*calls, functions=[function_record(externalId="=odd/%20 #?é")])) as project:
        archive.sync(project)
        same(archive.calls(), project.calls(7))


def test_repr_and_pickle_of_a_table_hold_no_more_than_they_need(archive: cf.Archive) -> None:
    assert repr(archive) == f"<Archive {archive.path!r}>"
    assert pickle.loads(pickle.dumps(archive._tables.calls)).uri == archive.path


def test_archive_is_opened_without_a_look_at_the_disk(tmp_path: Path) -> None:
    assert cf.Archive(tmp_path / "not" / "there").path == str(tmp_path / "not" / "there")


def test_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cf.Archive("calls.delta").path == str(tmp_path / "calls.delta")


def test_log_of_many_commits_is_read_through_its_checkpoint(tmp_path: Path) -> None:
    archive, world = cf.Archive(tmp_path / "many"), story(call_record())
    with told(world) as project:
        archive.sync(project)
        for number in range(105):
            snapshot = archive._tables.calls.open_or_make()
            snapshot.replace(
                snapshot.read().slice(0, 0).append_column(*_day(snapshot)), [pd.Timestamp(number, unit="D")]
            )
        world.now_ms += DAY_MS
        world.add_call(call_record(id=2, startTime=NOW_MS + 5))
        archive.sync(project)
    assert len(archive.calls()) == 2
    assert list(Path(archive.path).glob("_delta_log/*.checkpoint.parquet"))


def _day(snapshot: Any) -> tuple[Any, Any]:
    return snapshot.store.schema.field("start_date"), pa.array([], pa.date32())


def test_object_store_is_read_through_its_own_file_system(
    archive: cf.Archive, calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callframe.archive.storage.local_folder", lambda _: None)
    far = cf.Archive(Path(archive.path).as_uri())
    same(far.calls(), calls)
    same(far.dask().compute(scheduler="sync").reset_index(drop=True).astype(calls.dtypes), calls)


def test_options_of_a_store_are_shown_nowhere_and_travel() -> None:
    options = StorageOptions({"AWS_SECRET_ACCESS_KEY": "hush-hush", "AWS_REGION": "eu-north-1"})
    assert repr(options) == "<2 storage options>"
    assert options.redacted("key hush-hush in eu-north-1") == "key <secret> in eu-north-1"
    assert pickle.loads(pickle.dumps(options)).reveal() == options.reveal()


# What it is


def test_info_tells_size_span_and_versions(archive: cf.Archive, calls: pd.DataFrame) -> None:
    info = archive.info()
    assert (info.calls, info.projects, len(info.gaps)) == (20_000, ["demo"], 0)
    assert info.version == info.versions["version"].iloc[0]
    assert info.end is not None
    assert info.end > calls["start_time"].max()
    assert "calls     20,000 in" in str(info)


def test_compact_merges_what_others_wrote_and_changes_no_call(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "calls.delta")
    with told(story(*call_records(10, step_ms=1000))) as project:
        archive.sync(project)
    rows = DeltaTable(archive.path).to_pyarrow_table()
    write_deltalake(archive.path, rows.slice(5), mode="overwrite")
    write_deltalake(archive.path, rows.slice(0, 5), mode="append")
    before = archive.calls()
    assert len(before) == 10
    assert archive.compact().merged_files == 2
    same(archive.calls(), before)
    assert archive.info().files == 1


def test_old_versions_and_what_kills_left_go_only_when_asked(tmp_path: Path) -> None:
    archive, world = cf.Archive(tmp_path / "calls.delta"), story(call_record(status="Running"))
    with told(world) as project:
        archive.sync(project)
        world.replace_call(call_record())
        archive.sync(project)
    before, files = archive.calls(), len(list(Path(archive.path).rglob("*.parquet")))
    assert archive.compact().removed_files == 0
    assert len(cf.Archive(archive.path, version=1).calls()) == 1
    with pytest.raises(cf.errors.ArgumentError, match="too short"):
        archive.compact(keep="5min")
    (Path(archive.path) / "start_date=2026-01-01").mkdir()
    (Path(archive.path) / "start_date=2026-01-01" / "part-left-by-a-kill.parquet").write_bytes(b"")
    removed = archive._tables.clean(0)
    assert 1 < removed <= files
    same(archive.calls(), before)
    assert not list(Path(archive.path).rglob("part-left-by-a-kill.parquet"))
    assert len(archive.functions()) == 1
    assert archive.coverage()["state"].tolist() == ["complete"]
    with pytest.raises(cf.errors.FileFormatError, match="damaged or gone"):
        cf.Archive(archive.path, version=1).calls()


# Measures


def test_runs_are_missed_only_as_long_as_a_schedule_was_listed(tmp_path: Path) -> None:
    archive, hour = cf.Archive(tmp_path / "calls.delta"), 3_600_000
    made = NOW_MS // hour * hour
    schedule = {"id": 3, "name": "s", "functionExternalId": "seven", "cronExpression": "0 * * * *", "createdTime": made}
    world = story(functions=[function_record(createdTime=0)], schedules=[schedule])
    with told(world) as project:
        world.now_ms = made + 5 * hour + 1
        archive.sync(project)
        world._schedules = []
        world.now_ms = made + 48 * hour
        archive.sync(project)
    missed = cf.missed_runs(archive.calls(), archive.schedules())
    assert missed["scheduled_time"].dt.hour.tolist() == [12, 13, 14, 15, 16, 17]


def test_runs_of_long_ago_are_missed_too(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "calls.delta")
    schedule = {"id": 3, "name": "s", "functionId": 7, "cronExpression": "0 0 * * *", "createdTime": 0}
    world = story(functions=[function_record(createdTime=0)], schedules=[schedule])
    with told(world) as project:
        for _ in range(3):
            archive.sync(project)
            world.now_ms += 80 * DAY_MS
    assert (cf.missed_runs(archive.calls(), archive.schedules())["state"] == "missed").sum() == 250


# Dask


def test_dask_gives_the_same_calls_in_the_same_order(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "ROWS_A_PARTITION", 3_000)
    lazy = archive.dask("10d", status=["Failed", "Timeout"])
    assert lazy.npartitions > 3
    found = lazy.compute(scheduler="sync").reset_index(drop=True)
    expected = archive.calls("10d", status=["Failed", "Timeout"])
    same(found.astype({"function": expected["function"].dtype}), expected)


def test_dask_has_the_dtypes_of_a_call_frame(archive: cf.Archive) -> None:
    frame.check(archive.dask()._meta)
    frame.check(archive.dask().partitions[0].compute(scheduler="sync"))


def test_partitions_of_dask_have_the_same_categories(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "ROWS_A_PARTITION", 3_000)
    lazy = archive.dask()
    kinds = [part.compute(scheduler="sync").dtypes for part in (lazy.partitions[0], lazy.partitions[-1])]
    assert kinds[0].equals(kinds[1])
    assert kinds[0].equals(lazy.dtypes)


def test_dask_says_what_it_rests_on(archive: cf.Archive) -> None:
    lazy = archive.dask("3d")
    account = lazy.attrs["callframe"]
    assert all(row["complete"] for row in account["functions"])
    assert lazy[lazy["status"] == "Failed"]._meta.attrs["callframe"] == account


def test_dask_of_nothing_is_an_empty_frame(archive: cf.Archive) -> None:
    assert len(archive.dask("2020-01-01", "2020-02-01").compute(scheduler="sync")) == 0


def test_dask_of_some_columns_has_those(archive: cf.Archive) -> None:
    assert list(archive.dask(columns=["duration"]).columns) == ["duration"]


# Rollups


@pytest.mark.parametrize("freq", ["1D", "7D", "1h"])
def test_rollup_is_that_of_the_calls(archive: cf.Archive, freq: str) -> None:
    same(archive.rollup(freq), cf.rollup(archive.calls(), freq))


def test_rollup_of_a_window_and_a_function_is_that_of_those_calls(archive: cf.Archive, calls: pd.DataFrame) -> None:
    low, high = calls["start_time"].iloc[[5_000, 15_000]]
    asked: Any = {"start": low, "end": high, "functions": "ingest-sap-orders"}
    same(archive.rollup("1D", **asked), cf.rollup(archive.calls(**asked), "1D"))


def test_rollup_of_one_deployment_is_of_that_alone(archive: cf.Archive, calls: pd.DataFrame) -> None:
    ids = calls.groupby("function", observed=True)["function_id"].unique()
    [old, _] = next(found for found in ids if len(found) == 2)
    same(archive.rollup(functions=int(old)), cf.rollup(archive.calls(functions=int(old)), "1D"))


def test_rollup_counts_anew_what_has_gone_on(tmp_path: Path) -> None:
    archive, world = cf.Archive(tmp_path / "calls.delta"), story(*call_records(5), call_record(status="Running"))
    with told(world) as project:
        archive.sync(project)
        same(archive.rollup(), cf.rollup(archive.calls(), "1D"))
        world.replace_call(call_record())
        world.now_ms += 2 * LATE_MS
        archive.sync(project)
    same(archive.rollup(), cf.rollup(archive.calls(), "1D"))


def test_kept_days_are_not_counted_again(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.rollup()
    monkeypatch.setattr("callframe.archive.daily_rollup._count", None)
    assert len(archive.rollup()) > 0


# Other tools, by the code in the documentation


def lines_for(tool: str) -> str:
    text = (TOP / "docs" / "guide" / "archive.md").read_text(encoding="utf-8")
    [block] = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if f"import {tool}" in block]
    return str(block)


@pytest.mark.parametrize("tool", ["duckdb", "polars"])
def test_code_in_the_documentation_reads_the_archive_with(
    tool: str, archive: cf.Archive, calls: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(archive.path).parent)
    scope: dict[str, Any] = {}
    exec(compile(lines_for(tool), "archive.md", "exec"), scope)
    assert scope["count"] == (calls["status"] == "Failed").sum()
