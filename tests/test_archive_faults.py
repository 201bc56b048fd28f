"""Kills, crowds, damage and bad input: the archive ends right, or an error says what is wrong and what to do."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest
from archives import story, told
from deltalake import DeltaTable, write_deltalake
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record

import callframe as cf
from callframe.archive import storage, transactions
from callframe.sample.server import Service

if TYPE_CHECKING:
    from collections.abc import Iterator


KILLS = int(os.environ.get("CALLFRAME_KILLS", "4"))
"""How many syncs to kill; the thirty that are promised take a minute or two."""

CHILD = """
import sys, warnings
import callframe as cf
from callframe.archive import sync
from callframe.archive.transactions import Tables

sync.ROWS_A_STEP = 100
url, token, now_ms = sys.argv[1:4]
project = cf.connect(base_url=url, project="demo", token=token)
project._clock = lambda: int(now_ms) / 1000
print("ready", flush=True)
for line in sys.stdin:
    print(cf.Archive(line.strip()).sync(project).complete, flush=True)
"""


@contextlib.contextmanager
def child(service: Service) -> Iterator[subprocess.Popen[str]]:
    """Start a process that syncs the archives whose paths it is told."""
    command = [sys.executable, "-c", CHILD, service.url, service.token, str(NOW_MS)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], archive: cf.Archive) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{archive.path}\n")
    process.stdin.flush()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    calls = [*call_records(200, step_ms=DAY_MS // 20), call_record(id=1, status="Running")]
    with Service(story(*calls, functions=[function_record(createdTime=NOW_MS - 11 * DAY_MS)])) as one:
        yield one


@pytest.fixture
def archive(tmp_path: Path) -> cf.Archive:
    return cf.Archive(tmp_path / "calls.delta")


@pytest.fixture
def synced(archive: cf.Archive) -> cf.Archive:
    """Make an archive of three days, synced on each."""
    world = story(*call_records(3, step_ms=DAY_MS))
    with told(world) as project:
        for _ in range(3):
            archive.sync(project)
            world.now_ms += DAY_MS
            world.add_call(call_record(id=world.now_ms, startTime=world.now_ms - 1))
    return archive


def whole(archive: cf.Archive) -> tuple[pd.DataFrame, list[str]]:
    """Take what must be the same: the calls, and which stretches are known."""
    calls = archive.calls()
    return calls, archive.coverage()["state"].tolist()


def same(found: tuple[pd.DataFrame, list[str]], expected: tuple[pd.DataFrame, list[str]]) -> None:
    pd.testing.assert_frame_equal(found[0], expected[0])
    assert found[1] == expected[1]


# Kills and crowds


@pytest.mark.slow
def test_sync_killed_at_any_moment_and_then_repeated_gives_the_identical_table(
    service: Service, tmp_path: Path
) -> None:
    chance, landed = random.Random(0), set()
    with child(service) as process:
        assert says(process) == "ready"
        began = pd.Timestamp.now()
        tell(process, expected := cf.Archive(tmp_path / "expected"))
        assert says(process) == "True"
        took_s = (pd.Timestamp.now() - began).total_seconds()
        for turn in range(KILLS):
            archive = cf.Archive(tmp_path / f"killed-{turn}")
            with child(service) as victim:
                assert says(victim) == "ready"
                tell(victim, archive)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    victim.wait(chance.random() * took_s)
                victim.kill()
            landed.add(_versions(archive))
            tell(process, archive)
            assert says(process) == "True"
            same(whole(archive), whole(expected))
    assert len(landed) > 1 or KILLS < 30  # they were killed at different moments


def _versions(archive: cf.Archive) -> int:
    return len(list(Path(archive.path).rglob("_delta_log/*.json")))


@pytest.mark.slow
def test_two_processes_that_sync_at_once_end_with_one_right_table_ten_times_over(
    service: Service, tmp_path: Path
) -> None:
    with child(service) as one, child(service) as other:
        assert says(one) == says(other) == "ready"
        tell(one, expected := cf.Archive(tmp_path / "expected"))
        assert says(one) == "True"
        for turn in range(10):
            archive = cf.Archive(tmp_path / f"shared-{turn}")
            tell(one, archive)
            tell(other, archive)
            assert says(one) == says(other) == "True"
            same(whole(archive), whole(expected))


def test_conflict_that_does_not_end_is_an_error_that_says_so(
    archive: cf.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any, **__: Any) -> Any:
        raise storage.ConflictError("somebody was quicker")

    monkeypatch.setattr(storage.Snapshot, "replace", lose)
    monkeypatch.setattr(transactions, "_FIRST_PAUSE_S", 0)
    with (
        told(story(call_record())) as project,
        pytest.raises(cf.errors.FileError, match="Sync from one place at a time"),
    ):
        archive.sync(project)


# Damage


def newest(archive: cf.Archive, pattern: str) -> Path:
    return max(Path(archive.path).glob(pattern), key=lambda path: (path.stat().st_mtime_ns, path.name))


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_file_that_was_cut_short_is_named_and_the_version_before_still_opens(synced: cf.Archive) -> None:
    damaged = newest(synced, "start_date=*/*.parquet")
    version, count = synced.info().version, len(synced.calls())
    halve(damaged)
    with pytest.raises(cf.errors.FileFormatError, match=damaged.name):
        synced.calls()
    assert len(cf.Archive(synced.path, version=version - 1).calls()) == count - 1


def test_days_beside_a_damaged_file_can_still_be_read(synced: cf.Archive) -> None:
    halve(newest(synced, "start_date=*/*.parquet"))
    assert len(synced.calls(end=pd.Timestamp(NOW_MS - DAY_MS, unit="ms", tz="UTC"))) == 2


def test_file_that_is_gone_is_named(synced: cf.Archive) -> None:
    gone = newest(synced, "start_date=*/*.parquet")
    gone.unlink()
    with pytest.raises(cf.errors.FileFormatError, match=gone.name):
        synced.calls()


@pytest.mark.parametrize("size", [0, 40])
def test_damaged_log_is_named_and_the_version_before_still_opens(synced: cf.Archive, size: int) -> None:
    version, count = synced.info().version, len(synced.calls())
    damaged = newest(synced, "_delta_log/*.json")
    os.truncate(damaged, size)
    with pytest.raises(cf.errors.FileFormatError, match=rf"{damaged.name} in _delta_log .* version={version - 1}\)"):
        synced.calls()
    assert len(cf.Archive(synced.path, version=version - 1).calls()) == count - 1


def test_sync_after_a_damaged_log_was_moved_away_reads_anew_what_is_lost(synced: cf.Archive) -> None:
    before = synced.calls()
    newest(synced, "_delta_log/*.json").unlink()
    assert synced.coverage()["state"].tolist() == ["complete"]
    world = story(*call_records(3, step_ms=DAY_MS))
    for day in (1, 2, 3):
        world.now_ms = NOW_MS + day * DAY_MS
        world.add_call(call_record(id=world.now_ms, startTime=world.now_ms - 1))
    with told(world) as project:
        assert synced.sync(project).complete
    pd.testing.assert_frame_equal(synced.calls().iloc[: len(before)], before)


def test_earlier_version_does_not_claim_what_came_later(synced: cf.Archive) -> None:
    earlier = cf.Archive(synced.path, version=synced.info().version - 1)
    assert earlier.coverage()["end_time"].max() < synced.coverage()["end_time"].max()


def test_restored_version_is_the_newest_and_the_next_sync_reads_the_rest(synced: cf.Archive) -> None:
    calls, version = synced.calls(), synced.info().version
    assert synced.restore(version - 1) == version + 1
    assert len(synced.calls()) == len(calls) - 1
    world = story(call_record(id=NOW_MS + 2 * DAY_MS, startTime=NOW_MS + 2 * DAY_MS - 1))
    world.now_ms = NOW_MS + 2 * DAY_MS
    with told(world) as project:
        synced.sync(project)
    pd.testing.assert_frame_equal(synced.calls(), calls)


def test_earlier_version_is_not_synced_compacted_or_restored(synced: cf.Archive) -> None:
    earlier = cf.Archive(synced.path, version=1)
    for work in (lambda: earlier.sync(None), earlier.compact, lambda: earlier.restore(0)):  # type: ignore[arg-type]
        with pytest.raises(cf.errors.ArgumentError, match="a look at an earlier version"):
            work()


def test_version_that_never_was_is_an_error(synced: cf.Archive) -> None:
    with pytest.raises(cf.errors.FileError, match="could not be opened"):
        cf.Archive(synced.path, version=99).calls()


# Bad input


def test_archive_that_is_not_there_says_how_to_make_one(archive: cf.Archive) -> None:
    with pytest.raises(cf.errors.FileError, match=r"There is no archive at .* Make one: .*\.sync\(project\)"):
        archive.calls()
    assert not Path(archive.path).exists()


def test_folder_that_holds_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x", encoding="utf-8")
    with told(story(call_record())) as project, pytest.raises(cf.errors.FileFormatError, match=r"it holds thesis\.txt"):
        cf.Archive(tmp_path).sync(project)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_archive_whose_making_was_stopped_is_made_anew(archive: cf.Archive) -> None:
    (Path(archive.path) / "_delta_log").mkdir(parents=True)
    with told(story(call_record())) as project:
        archive.sync(project)
    assert len(archive.calls()) == 1


def test_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    path.write_bytes(b"x")
    with pytest.raises(cf.errors.FileFormatError, match="is a file; expected the folder"):
        cf.Archive(path).calls()


def test_foreign_delta_table_is_refused_and_left_alone(tmp_path: Path) -> None:
    write_deltalake(tmp_path, pa.table({"price": [1.0]}))
    with told(story(call_record())) as project, pytest.raises(cf.errors.FileFormatError, match="its columns are price"):
        cf.Archive(tmp_path).sync(project)
    assert DeltaTable(tmp_path).version() == 0


@pytest.mark.parametrize(("layout", "says"), [(0, "an older callframe wrote"), (9, "Install a newer callframe")])
def test_archive_of_another_layout_is_refused_with_the_way_out(synced: cf.Archive, layout: int, says: str) -> None:
    DeltaTable(synced.path).alter.set_table_description(f"callframe archive, layout {layout}: calls")
    with pytest.raises(cf.errors.FileFormatError, match=says):
        synced.calls()


def test_archive_that_lost_a_column_is_refused(synced: cf.Archive) -> None:
    rows = DeltaTable(synced.path).to_pyarrow_table().drop_columns(["status"])
    write_deltalake(synced.path, rows, mode="overwrite", schema_mode="overwrite", partition_by=["start_date"])
    DeltaTable(synced.path).alter.set_table_description("callframe archive, layout 1: calls")
    with pytest.raises(cf.errors.FileFormatError, match="lacks the column status"):
        synced.calls()


@pytest.fixture
def nobody() -> Iterator[None]:
    """Be a user that may not do everything, also where the tests run as root."""
    if os.name == "nt":
        pytest.skip("Windows has other permissions")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def opened(path: Path) -> None:
    """Let every user read a folder of `tmp_path`, whether or not a worker of pytest-xdist made it."""
    for folder in (path, *path.parents[:4]):
        folder.chmod(folder.stat().st_mode | 0o055)


def test_archive_that_may_not_be_written_says_so_and_stays_as_it_is(
    synced: cf.Archive, request: pytest.FixtureRequest
) -> None:
    before = synced.calls()
    opened(Path(synced.path))
    for folder in Path(synced.path).rglob("*/"):
        folder.chmod(0o555)
    world = story(call_record(id=5, startTime=NOW_MS - 5))
    world.now_ms = NOW_MS + 9 * DAY_MS
    with told(world) as project:
        request.getfixturevalue("nobody")
        with pytest.raises(cf.errors.FileError, match="Permission denied"):
            synced.sync(project)
    pd.testing.assert_frame_equal(synced.calls(), before)


def test_folder_that_may_not_be_made_says_so(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    opened(tmp_path)
    tmp_path.chmod(0o555)
    with told(story(call_record())) as project:
        request.getfixturevalue("nobody")
        with pytest.raises(cf.errors.FileError, match="Permission denied"):
            cf.Archive(tmp_path / "calls.delta").sync(project)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of a few hundred kilobytes."""
    mount = shutil.which("mount")
    if mount is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run([mount, "-t", "tmpfs", "-o", "size=500k", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_says_so_and_the_table_stays_as_it_is(small_disk: Path) -> None:
    archive = cf.Archive(small_disk / "calls.delta")
    world = story(*call_records(5))
    with told(world) as project:
        archive.sync(project)
        before = archive.calls()
        chance, world.now_ms = random.Random(0), NOW_MS + DAY_MS
        for number in range(300):
            error = {"message": chance.randbytes(2_000).hex()}
            world.add_call(call_record(id=10_000 + number, startTime=NOW_MS + number, status="Failed", error=error))
        with pytest.raises(cf.errors.FileError, match="No space left on device"):
            archive.sync(project)
    pd.testing.assert_frame_equal(archive.calls(), before)


def test_store_that_cannot_be_reached_says_so_without_the_secret() -> None:
    options = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "nowhere",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "max_retries": "0",
    }
    archive = cf.Archive("s3://bucket/calls.delta", storage_options=options)
    with pytest.raises(cf.errors.FileError, match="could not be opened") as caught:
        archive.calls()
    assert "hush" not in f"{caught.value}{archive!r}{vars(archive._tables.calls)}"


def test_address_of_no_known_store_is_refused() -> None:
    with pytest.raises(cf.errors.FileError, match="Unknown scheme"):
        cf.Archive("ftp://host/calls.delta").calls()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"functions": "sevn"}, "Did you mean 'seven'"),
        ({"functions": 7.5}, "given by its id, external id or name"),
        ({"status": "Fialed"}, "expected one or several of Running, Completed, Failed, Timeout"),
        ({"columns": ["durations"]}, "a call frame has call_id"),
        ({"start": "noon"}, "cannot be parsed"),
        ({"start": "2026-02-01", "end": "2026-01-01"}, "not before the end"),
        ({"project": "other"}, "holds no project 'other'; it has demo"),
    ],
)
def test_question_that_cannot_be_right_says_why(synced: cf.Archive, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(cf.errors.ArgumentError, match=says):
        synced.calls(**asked)


def test_negative_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="expected a whole number from 0"):
        cf.Archive(tmp_path, version=-1)


def test_archive_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    for name in [
        name for name in sys.modules if name in {"callframe.archive.transactions", "callframe.archive.storage"}
    ]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(cf.CallframeError, match=r"pip install 'callframe\[archive\]'"):
        cf.Archive(tmp_path)
