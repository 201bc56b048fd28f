"""An archive ends as one fetch of all that was ever seen, whatever went on and went wrong meanwhile."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from archives import Life, Seen, story, told
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record
from hypothesis import given, settings
from hypothesis import strategies as st

import callframe as cf
from callframe.archive import sync
from callframe.sample.server import Faults

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from archives import Story

    from callframe.project import Project

FUNCTIONS = [function_record(id=number, name=f"f{number}", externalId=f"f{number}") for number in (7, 8)]


@pytest.fixture
def archive(tmp_path: Path) -> cf.Archive:
    return cf.Archive(tmp_path / "calls.delta")


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected)


# Random histories


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_history_synced_in_any_steps_ends_as_one_fetch_of_all_that_was_seen(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random, rounds: int
) -> None:
    world, seen = story(functions=FUNCTIONS), Seen()
    life = Life(world, chance)
    archive = cf.Archive(tmp_path_factory.mktemp("archive") / "calls.delta")
    with told(world) as project, pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        patch.setattr(sync, "ROWS_A_STEP", chance.choice([3, 1000]))
        patch.setattr(sync, "_SHORTEST_MS", DAY_MS)
        for turn in range(rounds + 1):
            life.go_on()
            world.broken = [] if turn == rounds else _broken(world, chance)
            report = archive.sync(project)
            clean = {one["id"] for one in world.functions} - {one for one, *_ in world.broken}
            seen.look(world)
            if turn < rounds:
                life.forget(clean)
        assert report.complete
        same(archive.calls(), seen.at_once())
        assert archive.sync(project).new == 0


def _broken(world: Story, chance: random.Random) -> list[tuple[int, int, int]]:
    """Break a stretch of some functions."""
    found = []
    for one in world.functions:
        if chance.random() < 0.3:
            start = world.now_ms - chance.randrange(10 * DAY_MS)
            found.append((one["id"], start, start + chance.randrange(1, 5 * DAY_MS)))
    return found


# What a sync does


def test_first_sync_keeps_everything_the_service_has(archive: cf.Archive) -> None:
    with told(story(*call_records(50, step_ms=DAY_MS // 2))) as project:
        report = archive.sync(project)
        assert (report.new, report.changed, report.complete) == (50, 0, True)
        same(archive.calls(), project.calls("seven", start="90d"))


def test_second_sync_changes_nothing(archive: cf.Archive) -> None:
    with told(story(*call_records(5), call_record(id=2, status="Running"))) as project:
        archive.sync(project)
        version = archive.info().version
        report = archive.sync(project)
    assert (report.new, report.changed, archive.info().version) == (0, 0, version)


def test_later_sync_asks_for_what_is_new_and_the_run_limit_before_it(archive: cf.Archive) -> None:
    world = story(*call_records(5))
    with told(world) as project:
        archive.sync(project)
        world.now_ms += DAY_MS
        asked = _windows(project, lambda: archive.sync(project))
    assert min(low for low, _ in asked) == NOW_MS - 15 * 60_000
    assert max(high for _, high in asked) == NOW_MS + DAY_MS - 1


def test_longer_run_limit_makes_the_overlap_longer(archive: cf.Archive) -> None:
    world = story(limits={"timeoutMinutes": 60})
    with told(world) as project:
        archive.sync(project)
        asked = _windows(project, lambda: archive.sync(project))
    assert min(low for low, _ in asked) == NOW_MS - 60 * 60_000


def test_call_that_ends_long_after_it_was_seen_is_ended_in_the_archive(archive: cf.Archive) -> None:
    world = story(call_record(status="Running"))
    with told(world) as project:
        archive.sync(project)
        world.now_ms += 10 * DAY_MS
        world.replace_call(call_record(endTime=NOW_MS))
        report = archive.sync(project)
    assert report.changed == 1
    assert archive.calls()["status"].tolist() == ["Completed"]


def test_finished_call_never_runs_again(archive: cf.Archive) -> None:
    world = story(call_record())
    with told(world) as project:
        archive.sync(project)
        world.replace_call(call_record(status="Running"))
        archive.sync(project)
    assert archive.calls()["status"].tolist() == ["Completed"]


def test_call_that_moves_to_another_day_as_it_goes_on_is_kept_once(archive: cf.Archive) -> None:
    world = story(call_record(status="Running", startTime=NOW_MS - DAY_MS))
    with told(world) as project:
        archive.sync(project)
        world.replace_call(call_record(startTime=NOW_MS - 60_000))
        archive.sync(project)
    assert archive.calls()["status"].tolist() == ["Completed"]


def test_calls_that_are_gone_from_the_service_stay(archive: cf.Archive) -> None:
    world = story(*call_records(3))
    with told(world) as project:
        archive.sync(project)
        world.remove_function(7)
        archive.sync(project)
    assert len(archive.calls("7d")) == 0 or len(archive.calls()) == 3
    assert len(archive.calls()) == 3


def test_redeployed_function_is_one_history_under_one_label(archive: cf.Archive) -> None:
    world = story(call_record())
    with told(world) as project:
        archive.sync(project)
        world.remove_function(7)
        world.add_function(function_record(id=8))
        world.add_call(call_record(id=2, functionId=8, startTime=NOW_MS - 1))
        archive.sync(project)
    assert archive.calls(functions="seven")["function_id"].tolist() == [7, 8]
    assert archive.calls()["function"].tolist() == ["seven", "seven"]


def test_function_without_external_id_keeps_its_label_through_a_redeploy(archive: cf.Archive) -> None:
    plain = function_record(externalId=None)
    world = story(call_record(), functions=[plain])
    with told(world) as project:
        archive.sync(project)
        world.remove_function(7)
        world.add_function({**plain, "id": 8})
        archive.sync(project)
    assert archive.functions()["function"].tolist() == ["Seven", "Seven"]


def test_new_function_does_not_take_the_label_of_another(archive: cf.Archive) -> None:
    world = story(functions=[function_record(name="job", externalId=None)])
    with told(world) as project:
        archive.sync(project)
        world.add_function(function_record(id=8, name="job", externalId=None))
        archive.sync(project)
    assert archive.functions()["function"].tolist() == ["job", "job (8)"]


def test_functions_and_schedules_that_are_gone_are_still_listed_with_when(archive: cf.Archive) -> None:
    schedule = {"id": 3, "name": "s", "functionId": 7, "cronExpression": "* * * * *", "createdTime": NOW_MS - DAY_MS}
    world = story(schedules=[schedule])
    with told(world) as project:
        archive.sync(project)
        world.remove_function(7)
        world.now_ms += DAY_MS
        archive.sync(project)
    for seen in (archive.functions(), archive.schedules()):
        assert seen["last_seen_time"].tolist() == [pd.Timestamp(NOW_MS, unit="ms", tz="UTC")]
        assert seen["gone_time"].tolist() == [pd.Timestamp(NOW_MS + DAY_MS, unit="ms", tz="UTC")]


def test_functions_are_as_the_project_lists_them(archive: cf.Archive) -> None:
    with told(story(functions=FUNCTIONS)) as project:
        archive.sync(project)
        listed = project.functions()
    same(archive.functions()[listed.columns.tolist()], listed)


def test_two_projects_share_an_archive_and_are_asked_for_by_name(tmp_path: Path) -> None:
    archive = cf.Archive(tmp_path / "both")
    for name, count in (("one", 2), ("two", 3)):
        with told(story(*call_records(count)), project=name) as project:
            archive.sync(project)
    assert [len(archive.calls(project=name)) for name in ("one", "two")] == [2, 3]
    with pytest.raises(cf.errors.ArgumentError, match=r"one, two; name one with project="):
        archive.calls()


def test_answers_that_fail_now_and_then_change_nothing(archive: cf.Archive) -> None:
    faults = Faults(throttled=0.1, unavailable=0.1, reset=0.05, truncated=0.05)
    with told(story(*call_records(300, step_ms=DAY_MS // 10)), faults=faults, page_cap=20) as project:
        assert archive.sync(project).complete
        same(archive.calls(), project.calls("seven", start="90d"))


# What could not be read


def test_window_that_cannot_be_read_is_remembered_and_read_at_the_next_sync(archive: cf.Archive) -> None:
    world = story(*call_records(40, step_ms=DAY_MS), functions=[function_record(createdTime=0)])
    world.broken = [(7, NOW_MS - 20 * DAY_MS, NOW_MS - 19 * DAY_MS)]
    with told(world) as project:
        with pytest.warns(cf.IncompleteWarning, match="cannot be listed"):
            report = archive.sync(project)
        assert not report.complete
        assert archive.coverage()["state"].tolist() == ["complete", "not", "complete"]
        assert cf.is_complete(archive.calls()) is False
        world.broken = []
        assert archive.sync(project).complete
        assert archive.coverage()["state"].tolist() == ["complete"]
        same(archive.calls(), project.calls("seven", start="90d"))


def test_forbidden_function_leaves_the_others_complete(archive: cf.Archive) -> None:
    world = story(call_record(), call_record(id=2, functionId=8), functions=FUNCTIONS)
    faults, says = Faults(forbidden=frozenset({8})), "f8: .*functionsAcl:READ"
    with told(world, faults=faults) as project, pytest.warns(cf.IncompleteWarning, match=says):
        report = archive.sync(project)
    assert list(report.problems) == ["f8"]
    assert report.steps < 15  # what is given up does not keep the others waiting
    rows = cf.coverage(archive.calls()).set_index("function")
    assert rows["complete"].to_dict() == {"f7": True, "f8": False}
    assert "functionsAcl:READ" in str(rows.loc["f8", "reason"])
    assert archive.coverage()["lacking"].tolist()[-1] == "f8"


def test_time_that_the_service_forgot_between_two_syncs_stays_unknown(archive: cf.Archive) -> None:
    world = story(call_record(), functions=[function_record(createdTime=0)])
    with told(world) as project:
        archive.sync(project)
        world.now_ms += 100 * DAY_MS
        archive.sync(project)
    assert archive.coverage()["state"].tolist() == ["complete", "not", "complete"]
    assert len(archive.info().gaps) == 1


def test_what_lies_before_the_first_sync_is_not_known(archive: cf.Archive) -> None:
    with told(story(call_record(), functions=[function_record(createdTime=0)])) as project:
        archive.sync(project)
    assert archive.coverage("2026-01-01")["state"].tolist() == ["not", "complete"]
    [reason] = cf.coverage(archive.calls("2026-01-01"))["reason"]
    assert reason.startswith("not in the archive: 2026-01-01T00:00:00.000Z to 2026-07-02")


def test_records_that_break_the_contract_are_counted(archive: cf.Archive) -> None:
    world, says = story(call_record(), call_record(id=2, status=None)), "1 records set aside"
    with told(world) as project, pytest.warns(cf.RecordWarning, match=says):
        report = archive.sync(project)
    assert (report.new, sum(report.set_aside.values())) == (1, 1)


def test_step_that_brings_too_much_is_read_in_parts(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "ROWS_A_STEP", 10)
    with told(story(*call_records(60, step_ms=60_000)), page_cap=5) as project:
        report = archive.sync(project)
    assert report.new == report.read == 60
    assert report.steps > 10


def test_sync_that_is_interrupted_says_so_and_the_next_one_goes_on(
    archive: cf.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = story(*call_records(300, step_ms=DAY_MS // 10))
    with told(world) as project:
        upsert = archive._tables.upsert

        def stop(*_: Any) -> Any:
            monkeypatch.setattr(archive._tables, "upsert", upsert)
            raise KeyboardInterrupt

        monkeypatch.setattr(archive._tables, "upsert", stop)
        with pytest.warns(cf.IncompleteWarning, match="the next sync goes on"):
            report = archive.sync(project)
        assert report.interrupted
        assert archive.sync(project).complete
        same(archive.calls(), project.calls("seven", start="90d"))


def test_report_is_a_few_lines_for_people(archive: cf.Archive) -> None:
    with told(story(*call_records(3))) as project:
        assert str(archive.sync(project)).startswith("3 new and 0 changed calls of project 'demo' in ")


def _windows(project: Project, work: Callable[[], object]) -> list[tuple[int, int]]:
    """List the windows of start times that are asked for meanwhile."""
    asked: list[tuple[int, int]] = []
    ask = project.client.filter_calls

    def noting(function_id: int, wanted: Any, **more: Any) -> Any:
        asked.append((wanted["startTime"]["min"], wanted["startTime"]["max"]))
        return ask(function_id, wanted, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project.client, "filter_calls", noting)
        work()
    return asked
