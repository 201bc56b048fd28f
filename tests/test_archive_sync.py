"""Whatever happens between syncs, the archive contains what a single fetch of everything would have returned."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.schema import Field, PrimitiveType
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record
from hypothesis import given, settings
from hypothesis import strategies as st
from services import RandomChanges, RecordedHistory, changing_project, serve, serve_project

import callframe as cf
from callframe.archive import sync
from callframe.sample.server import Faults

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from services import ChangingProject

    from callframe.project import Project

FUNCTIONS = [function_record(id=number, name=f"f{number}", externalId=f"f{number}") for number in (7, 8)]


@pytest.fixture
def archive(tmp_path: Path) -> cf.Archive:
    return cf.Archive(tmp_path / "calls.delta")


def assert_same(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(actual, expected)


# Random histories


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_syncs_of_a_random_history_give_the_frame_of_a_single_fetch(
    tmp_path_factory: pytest.TempPathFactory, rng: random.Random, rounds: int
) -> None:
    data, history = changing_project(functions=FUNCTIONS), RecordedHistory()
    changes = RandomChanges(data, rng)
    archive = cf.Archive(tmp_path_factory.mktemp("archive") / "calls.delta")
    with serve(data) as project, pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        patch.setattr(sync, "ROWS_PER_STEP", rng.choice([3, 1000]))
        patch.setattr(sync, "_MIN_STEP_MS", DAY_MS)
        patch.setattr(sync, "_FIRST_STEP_MS", rng.choice([DAY_MS, 20 * DAY_MS]))
        for number in range(rounds + 1):
            changes.advance()
            data.unreadable = [] if number == rounds else random_unreadable_ranges(data, rng)
            report = archive.sync(project)
            readable = {function["id"] for function in data.functions} - {one for one, *_ in data.unreadable}
            history.record(data)
            if number < rounds:
                changes.delete(readable)
        assert report.complete
        assert_same(archive.calls(), history.to_frame())
        assert archive.sync(project).new == 0


def random_unreadable_ranges(data: ChangingProject, rng: random.Random) -> list[tuple[int, int, int]]:
    ranges = []
    for function in data.functions:
        if rng.random() < 0.3:
            start_ms = data.now_ms - rng.randrange(10 * DAY_MS)
            ranges.append((function["id"], start_ms, start_ms + rng.randrange(1, 5 * DAY_MS)))
    return ranges


# What a sync does


def test_first_sync_keeps_everything_the_service_has(archive: cf.Archive) -> None:
    with serve(changing_project(*call_records(50, step_ms=DAY_MS // 2))) as project:
        report = archive.sync(project)
        assert (report.new, report.changed, report.complete) == (50, 0, True)
        assert_same(archive.calls(), project.calls("seven", start="90d"))


def test_second_sync_changes_nothing(archive: cf.Archive) -> None:
    with serve(changing_project(*call_records(5), call_record(id=2, status="Running"))) as project:
        archive.sync(project)
        version = archive.info().version
        report = archive.sync(project)
    assert (report.new, report.changed, archive.info().version) == (0, 0, version)


def test_later_sync_reads_from_the_run_limit_before_the_last_sync(archive: cf.Archive) -> None:
    data = changing_project(*call_records(5))
    with serve(data) as project:
        archive.sync(project)
        data.now_ms += DAY_MS
        windows = requested_windows(project, lambda: archive.sync(project))
    assert min(low for low, _ in windows) == NOW_MS - 15 * 60_000
    assert max(high for _, high in windows) == NOW_MS + DAY_MS


def test_longer_run_limit_makes_the_overlap_longer(archive: cf.Archive) -> None:
    data = changing_project(limits={"timeoutMinutes": 60})
    with serve(data) as project:
        archive.sync(project)
        windows = requested_windows(project, lambda: archive.sync(project))
    assert min(low for low, _ in windows) == NOW_MS - 60 * 60_000


def test_call_that_ends_long_after_it_was_read_is_updated(archive: cf.Archive) -> None:
    data = changing_project(call_record(status="Running"))
    with serve(data) as project:
        archive.sync(project)
        data.now_ms += 10 * DAY_MS
        data.replace_call(call_record(endTime=NOW_MS))
        report = archive.sync(project)
    assert report.changed == 1
    assert archive.calls()["status"].tolist() == ["Completed"]


def test_finished_call_is_never_replaced_by_a_running_one(archive: cf.Archive) -> None:
    data = changing_project(call_record())
    with serve(data) as project:
        archive.sync(project)
        data.replace_call(call_record(status="Running"))
        archive.sync(project)
    assert archive.calls()["status"].tolist() == ["Completed"]


def test_call_that_moves_to_another_day_is_stored_once(archive: cf.Archive) -> None:
    data = changing_project(call_record(status="Running", startTime=NOW_MS - DAY_MS))
    with serve(data) as project:
        archive.sync(project)
        data.replace_call(call_record(startTime=NOW_MS - 60_000))
        archive.sync(project)
    assert archive.calls()["status"].tolist() == ["Completed"]


def test_calls_deleted_by_the_service_are_kept(archive: cf.Archive) -> None:
    data = changing_project(*call_records(3))
    with serve(data) as project:
        archive.sync(project)
        data.remove_function(7)
        archive.sync(project)
    assert len(archive.calls()) == 3


def test_redeployed_function_is_one_history_under_one_label(archive: cf.Archive) -> None:
    data = changing_project(call_record())
    with serve(data) as project:
        archive.sync(project)
        data.remove_function(7)
        data.add_function(function_record(id=8))
        data.add_call(call_record(id=2, functionId=8, startTime=NOW_MS - 1))
        archive.sync(project)
    assert archive.calls("seven")["function_id"].tolist() == [7, 8]
    assert archive.calls()["function"].tolist() == ["seven", "seven"]


def test_function_without_external_id_keeps_its_label_through_a_redeploy(archive: cf.Archive) -> None:
    plain = function_record(externalId=None)
    data = changing_project(call_record(), functions=[plain])
    with serve(data) as project:
        archive.sync(project)
        data.remove_function(7)
        data.add_function({**plain, "id": 8})
        archive.sync(project)
    assert archive.functions()["function"].tolist() == ["Seven", "Seven"]


def test_new_function_does_not_take_the_label_of_another(archive: cf.Archive) -> None:
    data = changing_project(functions=[function_record(name="job", externalId=None)])
    with serve(data) as project:
        archive.sync(project)
        data.add_function(function_record(id=8, name="job", externalId=None))
        archive.sync(project)
    assert archive.functions()["function"].tolist() == ["job", "job (8)"]


def test_deleted_functions_and_schedules_are_still_listed(archive: cf.Archive) -> None:
    schedule = {"id": 3, "name": "s", "functionId": 7, "cronExpression": "* * * * *", "createdTime": NOW_MS - DAY_MS}
    data = changing_project(schedules=[schedule])
    with serve(data) as project:
        archive.sync(project)
        data.remove_function(7)
        data.now_ms += DAY_MS
        archive.sync(project)
    for listed in (archive.functions(), archive.schedules()):
        assert listed["last_seen_time"].tolist() == [pd.Timestamp(NOW_MS, unit="ms", tz="UTC")]
        assert listed["gone_time"].tolist() == [pd.Timestamp(NOW_MS + DAY_MS, unit="ms", tz="UTC")]


def test_functions_are_the_same_as_of_the_project(archive: cf.Archive) -> None:
    with serve(changing_project(functions=FUNCTIONS)) as project:
        archive.sync(project)
        listed = project.functions().drop(columns="family")
    assert_same(archive.functions()[listed.columns.tolist()], listed)


def test_two_projects_in_an_archive_are_selected_by_name(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "both")
    for name, count in (("one", 2), ("two", 3)):
        with serve(changing_project(*call_records(count)), project=name) as project:
            archive.sync(project)
    assert [len(archive.calls(project=name)) for name in ("one", "two")] == [2, 3]
    with pytest.raises(cf.errors.ArgumentError, match=r"one, two; choose one with project="):
        archive.calls()


def test_temporary_failures_of_the_service_change_nothing(archive: cf.Archive) -> None:
    faults = Faults(throttled=0.1, unavailable=0.1, reset=0.05, truncated=0.05)
    with serve(changing_project(*call_records(300, step_ms=DAY_MS // 10)), faults=faults, page_cap=20) as project:
        assert archive.sync(project).complete
        assert_same(archive.calls(), project.calls("seven", start="90d"))


# Clocks

HOUR_MS = DAY_MS // 24


@pytest.mark.parametrize("skew_ms", [3 * HOUR_MS, -3 * HOUR_MS])
def test_clock_that_was_wrong_during_a_sync_loses_no_call(archive: cf.Archive, skew_ms: int) -> None:
    data, local_skew_ms = changing_project(), [skew_ms]
    clock, local_clock = (lambda: data.now_ms / 1000), (lambda: (data.now_ms + local_skew_ms[0]) / 1000)
    with serve_project(data, clock=clock, local_clock=local_clock) as served:
        with pytest.warns(cf.ClockWarning):
            sync_four_times(archive, data, served.project, lambda: local_skew_ms.__setitem__(0, 0))
        assert_same(archive.calls(), served.project.calls("seven", start="90d"))
        assert archive.coverage()["end_time"].max() <= pd.Timestamp(data.now_ms, unit="ms", tz="UTC")


def test_archive_of_a_sync_that_took_the_future_for_known_heals(archive: cf.Archive) -> None:
    data = changing_project(functions=[function_record(createdTime=NOW_MS - 30 * DAY_MS)])
    with serve(data) as project:
        data.now_ms += 3 * HOUR_MS  # the client has no other clock than this one
        sync_four_times(archive, data, project, lambda: data.__setattr__("now_ms", data.now_ms - 3 * HOUR_MS))
        assert_same(archive.calls(), project.calls("seven", start="90d"))
        assert archive.coverage()["end_time"].max() == pd.Timestamp(data.now_ms, unit="ms", tz="UTC")


def sync_four_times(
    archive: cf.Archive, data: ChangingProject, project: Project, mend_clock: Callable[[], object]
) -> None:
    """Sync every 1.5 hours while a call starts every 5 minutes; mend the clock after the first sync."""
    add_calls(data, NOW_MS - DAY_MS, NOW_MS)
    archive.sync(project)
    mend_clock()
    for _ in range(3):
        data.now_ms += 3 * HOUR_MS // 2
        add_calls(data, data.now_ms - 3 * HOUR_MS // 2, data.now_ms)
        assert archive.sync(project).complete


def add_calls(data: ChangingProject, start_ms: int, end_ms: int) -> None:
    for time_ms in range(start_ms, end_ms, 5 * 60_000):
        data.add_call(call_record(id=time_ms - NOW_MS + 10 * DAY_MS, startTime=time_ms, endTime=time_ms + 1))


# What could not be read


def test_range_that_could_not_be_read_is_read_at_the_next_sync(archive: cf.Archive) -> None:
    data = changing_project(*call_records(40, step_ms=DAY_MS), functions=[function_record(createdTime=0)])
    data.unreadable = [(7, NOW_MS - 20 * DAY_MS, NOW_MS - 19 * DAY_MS)]
    with serve(data) as project:
        with pytest.warns(cf.IncompleteWarning, match="cannot be listed"):
            report = archive.sync(project)
        assert not report.complete
        assert archive.coverage()["state"].tolist() == ["complete", "missing", "complete"]
        assert cf.is_complete(archive.calls()) is False
        data.unreadable = []
        assert archive.sync(project).complete
        assert archive.coverage()["state"].tolist() == ["complete"]
        assert_same(archive.calls(), project.calls("seven", start="90d"))


def test_forbidden_function_leaves_the_others_complete(archive: cf.Archive) -> None:
    data = changing_project(call_record(), call_record(id=2, functionId=8), functions=FUNCTIONS)
    faults, message = Faults(forbidden=frozenset({8})), "f8: .*functionsAcl:READ"
    with serve(data, faults=faults) as project, pytest.warns(cf.IncompleteWarning, match=message):
        report = archive.sync(project)
    assert list(report.problems) == ["f8"]
    assert report.steps < 15  # a function that is skipped does not delay the others
    rows = cf.coverage(archive.calls()).set_index("function")
    assert rows["complete"].to_dict() == {"f7": True, "f8": False}
    assert "functionsAcl:READ" in str(rows.loc["f8", "reason"])
    assert archive.coverage()["missing_functions"].tolist()[-1] == "f8"


def test_range_deleted_by_the_service_between_two_syncs_stays_missing(archive: cf.Archive) -> None:
    data = changing_project(call_record(), functions=[function_record(createdTime=0)])
    with serve(data) as project:
        archive.sync(project)
        data.now_ms += 100 * DAY_MS
        archive.sync(project)
    assert archive.coverage()["state"].tolist() == ["complete", "missing", "complete"]
    assert len(archive.info().gaps) == 1


def test_range_before_the_first_sync_is_missing(archive: cf.Archive) -> None:
    with serve(changing_project(call_record(), functions=[function_record(createdTime=0)])) as project:
        archive.sync(project)
    assert archive.coverage("2026-01-01")["state"].tolist() == ["missing", "complete"]
    [reason] = cf.coverage(archive.calls(start="2026-01-01"))["reason"]
    assert reason.startswith("not in the archive: 2026-01-01T00:00:00.000Z to 2026-07-02")


def test_invalid_records_are_counted(archive: cf.Archive) -> None:
    data, message = changing_project(call_record(), call_record(id=2, status=None)), "1 records set aside"
    with serve(data) as project, pytest.warns(cf.RecordWarning, match=message):
        report = archive.sync(project)
    assert (report.new, sum(report.set_aside.values())) == (1, 1)


def test_step_with_too_many_calls_is_read_in_smaller_ones(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "ROWS_PER_STEP", 10)
    with serve(changing_project(*call_records(60, step_ms=60_000)), page_cap=5) as project:
        report = archive.sync(project)
    assert report.new == report.read == 60
    assert report.steps > 10


def test_part_with_too_many_calls_is_left_for_the_next_sync(
    archive: cf.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [call_record(id=number, startTime=NOW_MS - 40 * DAY_MS + number) for number in range(1, 61)]
    data = changing_project(*calls, functions=[function_record(createdTime=0)])
    data.unreadable = [(7, NOW_MS - 42 * DAY_MS, NOW_MS - 42 * DAY_MS + 1)]
    fetch = sync.Sync._fetch

    def fetch_and_repair(*arguments: Any) -> Any:
        results = fetch(*arguments)
        if results and any(result.problems for result in results.values()):
            data.unreadable = []
        return results

    monkeypatch.setattr(sync, "ROWS_PER_STEP", 10)
    monkeypatch.setattr(sync.Sync, "_fetch", fetch_and_repair)
    with serve(data, page_cap=5) as project:
        with pytest.warns(cf.IncompleteWarning, match="too many calls"):
            archive.sync(project)
        assert archive.sync(project).complete
        assert_same(archive.calls(), project.calls("seven", start="90d"))


def test_interrupted_sync_is_continued_by_the_next_one(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    data = changing_project(*call_records(300, step_ms=DAY_MS // 10))
    with serve(data) as project:
        upsert = archive._tables.upsert

        def interrupt(*_: Any) -> Any:
            monkeypatch.setattr(archive._tables, "upsert", upsert)
            raise KeyboardInterrupt

        monkeypatch.setattr(archive._tables, "upsert", interrupt)
        with pytest.warns(cf.IncompleteWarning, match="the next sync continues"):
            report = archive.sync(project)
        assert report.interrupted
        assert archive.sync(project).complete
        assert_same(archive.calls(), project.calls("seven", start="90d"))


def test_report_is_printed_as_text(archive: cf.Archive) -> None:
    with serve(changing_project(*call_records(3))) as project:
        assert str(archive.sync(project)).startswith("3 new and 0 changed calls of project 'demo' in ")


def requested_windows(project: Project, action: Callable[[], object]) -> list[tuple[int, int]]:
    """Return the windows that an action reads; requests have a millisecond more at the start, and include the end."""
    windows: list[tuple[int, int]] = []
    filter_calls = project.client.filter_calls

    def record(function_id: int, conditions: Any, **more: Any) -> Any:
        windows.append((conditions["startTime"]["min"] + 1, conditions["startTime"]["max"]))
        return filter_calls(function_id, conditions, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project.client, "filter_calls", record)
        action()
    return windows


# Changes by other tools


def test_rows_that_another_tool_appended_are_merged_by_the_next_sync(archive: cf.Archive) -> None:
    with serve(changing_project(*call_records(5))) as project:
        archive.sync(project)
        before = archive.calls()
        write_deltalake(archive.path, DeltaTable(archive.path).to_pyarrow_table(), mode="append")
        assert len(archive.calls()) == 2 * len(before)
        archive.sync(project)
    assert_same(archive.calls(), before)


def test_version_that_another_tool_restored_is_noticed_by_the_next_sync(archive: cf.Archive) -> None:
    data = changing_project(*call_records(5))
    with serve(data) as project:
        archive.sync(project)
        version = archive.info().version
        data.now_ms += DAY_MS
        data.add_call(call_record(id=99, startTime=data.now_ms - DAY_MS // 2))
        archive.sync(project)
        before = archive.calls()
        DeltaTable(archive.path).restore(version)
        assert len(archive.calls()) == len(before) - 1
        assert archive.sync(project).new == 1
    assert_same(archive.calls(), before)


def test_sync_without_news_commits_only_its_coverage(archive: cf.Archive) -> None:
    with serve(changing_project(*call_records(5))) as project:
        archive.sync(project)
        before = set(Path(archive.path).rglob("_delta_log/*.json"))
        archive.sync(project)
    added = set(Path(archive.path).rglob("_delta_log/*.json")) - before
    assert [path.parents[1].name for path in added] == ["coverage"]


def test_column_that_another_tool_added_stays_on_days_that_no_sync_changes(archive: cf.Archive) -> None:
    data = changing_project(*call_records(3, step_ms=DAY_MS))
    with serve(data) as project:
        archive.sync(project)
        table = DeltaTable(archive.path)
        table.alter.add_columns([Field("note", PrimitiveType("string"))])
        table.update(updates={"note": "'mine'"})
        data.add_call(call_record(id=99, startTime=data.now_ms - 1))
        assert archive.sync(project).new == 1
    notes = DeltaTable(archive.path).to_pyarrow_table().sort_by("start_time")["note"].to_pylist()
    assert (len(archive.calls()), notes[0]) == (4, "mine")
