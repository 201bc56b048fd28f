"""Interrupted and simultaneous syncs, damage and invalid input never corrupt an archive; errors say what to do."""

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
from deltalake import DeltaTable, TableFeatures, write_deltalake
from factories import DAY_MS, NOW_MS, call_record, call_records, function_record
from services import changing_project, serve

import callframe as cf
from callframe.archive import schema, storage, transactions
from callframe.sample.server import Service

if TYPE_CHECKING:
    from collections.abc import Iterator


KILLS = int(os.environ.get("CALLFRAME_KILLS", "4"))
"""How many syncs to kill; thirty take a minute or two."""

CHILD = """
import sys, warnings
import callframe as cf
from callframe.archive import sync

sync.ROWS_PER_STEP = 100
url, token, now_ms = sys.argv[1:4]
project = cf.connect(base_url=url, project="demo", token=token)
project.client.clock.local = lambda: int(now_ms) / 1000
print("ready", flush=True)
for line in sys.stdin:
    print(cf.Archive(line.strip()).sync(project).complete, flush=True)
"""


@contextlib.contextmanager
def sync_process(service: Service) -> Iterator[subprocess.Popen[str]]:
    """Start a process that syncs the archives whose paths it reads from its input."""
    command = [sys.executable, "-c", CHILD, service.url, service.token, str(NOW_MS)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parents[1], **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def start_sync(process: subprocess.Popen[str], archive: cf.Archive) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{archive.path}\n")
    process.stdin.flush()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    calls = [*call_records(200, step_ms=DAY_MS // 20), call_record(id=1, status="Running")]
    data = changing_project(*calls, functions=[function_record(createdTime=NOW_MS - 11 * DAY_MS)])
    with Service(data, clock=lambda: NOW_MS / 1000) as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> cf.Archive:
    return cf.Archive(tmp_path / "calls.delta")


@pytest.fixture(scope="module")
def three_syncs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an archive of three days, synced on each, to be copied."""
    path = tmp_path_factory.mktemp("three_syncs") / "calls.delta"
    data = changing_project(*call_records(3, step_ms=DAY_MS))
    with serve(data) as project:
        for _ in range(3):
            cf.Archive(path).sync(project)
            data.now_ms += DAY_MS
            data.add_call(call_record(id=data.now_ms, startTime=data.now_ms - 1))
    return path


@pytest.fixture
def synced(three_syncs: Path, archive: cf.Archive) -> cf.Archive:
    shutil.copytree(three_syncs, archive.path)
    return archive


def contents(archive: cf.Archive) -> tuple[pd.DataFrame, list[str]]:
    """Read the calls and the states of the coverage."""
    calls = archive.calls()
    return calls, archive.coverage()["state"].tolist()


def assert_same(actual: cf.Archive, expected: cf.Archive) -> None:
    (calls, states), (expected_calls, expected_states) = contents(actual), contents(expected)
    pd.testing.assert_frame_equal(calls, expected_calls)
    assert states == expected_states


# Interrupted and simultaneous syncs


@pytest.mark.slow
def test_killed_sync_that_is_repeated_gives_the_same_archive(service: Service, tmp_path: Path) -> None:
    rng, commits = random.Random(0), set()
    with sync_process(service) as process:
        assert read_line(process) == "ready"
        started = pd.Timestamp.now()
        start_sync(process, expected := cf.Archive(tmp_path / "expected"))
        assert read_line(process) == "True"
        duration_s = (pd.Timestamp.now() - started).total_seconds()
        for turn in range(KILLS):
            archive = cf.Archive(tmp_path / f"killed-{turn}")
            with sync_process(service) as victim:
                assert read_line(victim) == "ready"
                start_sync(victim, archive)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    victim.wait(rng.random() * duration_s)
                victim.kill()
            commits.add(count_commits(archive))
            start_sync(process, archive)
            assert read_line(process) == "True"
            assert_same(archive, expected)
    assert len(commits) > 1 or KILLS < 30  # they were killed at different moments


def count_commits(archive: cf.Archive) -> int:
    return len(list(Path(archive.path).rglob("_delta_log/*.json")))


@pytest.mark.slow
def test_two_processes_can_sync_at_the_same_time(service: Service, tmp_path: Path) -> None:
    with sync_process(service) as first, sync_process(service) as second:
        assert read_line(first) == read_line(second) == "ready"
        start_sync(first, expected := cf.Archive(tmp_path / "expected"))
        assert read_line(first) == "True"
        for turn in range(10):
            archive = cf.Archive(tmp_path / f"shared-{turn}")
            start_sync(first, archive)
            start_sync(second, archive)
            assert read_line(first) == read_line(second) == "True"
            assert_same(archive, expected)


def test_endless_conflicts_are_an_error(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise storage.ConflictError("conflict")

    monkeypatch.setattr(storage.TableSnapshot, "replace", fail)
    monkeypatch.setattr(transactions, "_MIN_WAIT_S", 0)
    with (
        serve(changing_project(call_record())) as project,
        pytest.raises(cf.errors.FileError, match="Sync from one place at a time"),
    ):
        archive.sync(project)


# Damage


def newest_file(archive: cf.Archive, pattern: str) -> Path:
    return max(Path(archive.path).glob(pattern), key=lambda path: (path.stat().st_mtime_ns, path.name))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_truncated_file_is_named_and_the_version_before_still_opens(synced: cf.Archive) -> None:
    damaged = newest_file(synced, "start_date=*/*.parquet")
    version, count = synced.info().version, len(synced.calls())
    truncate(damaged)
    with pytest.raises(cf.errors.FileFormatError, match=damaged.name):
        synced.calls()
    assert len(cf.Archive(synced.path, version=version - 1).calls()) == count - 1


def test_days_beside_a_damaged_file_can_still_be_read(synced: cf.Archive) -> None:
    truncate(newest_file(synced, "start_date=*/*.parquet"))
    assert len(synced.calls(end=pd.Timestamp(NOW_MS - DAY_MS, unit="ms", tz="UTC"))) == 2


def test_missing_file_is_named(synced: cf.Archive) -> None:
    missing = newest_file(synced, "start_date=*/*.parquet")
    missing.unlink()
    with pytest.raises(cf.errors.FileFormatError, match=missing.name):
        synced.calls()


@pytest.mark.parametrize("size", [0, 40])
def test_damaged_log_is_named_and_the_version_before_still_opens(synced: cf.Archive, size: int) -> None:
    version, count = synced.info().version, len(synced.calls())
    damaged = newest_file(synced, "_delta_log/*.json")
    os.truncate(damaged, size)
    with pytest.raises(cf.errors.FileFormatError, match=rf"{damaged.name} in _delta_log .* version={version - 1}\)"):
        synced.calls()
    assert len(cf.Archive(synced.path, version=version - 1).calls()) == count - 1


def test_sync_after_a_damaged_log_was_removed_reads_again_what_is_lost(synced: cf.Archive) -> None:
    before = synced.calls()
    newest_file(synced, "_delta_log/*.json").unlink()
    assert synced.coverage()["state"].tolist() == ["complete"]
    data = changing_project(*call_records(3, step_ms=DAY_MS))
    for day in (1, 2, 3):
        data.now_ms = NOW_MS + day * DAY_MS
        data.add_call(call_record(id=data.now_ms, startTime=data.now_ms - 1))
    with serve(data) as project:
        assert synced.sync(project).complete
    pd.testing.assert_frame_equal(synced.calls().iloc[: len(before)], before)


def test_earlier_version_does_not_cover_later_calls(synced: cf.Archive) -> None:
    earlier = cf.Archive(synced.path, version=synced.info().version - 1)
    assert earlier.coverage()["end_time"].max() < synced.coverage()["end_time"].max()


def test_sync_after_a_restore_reads_the_rest(synced: cf.Archive) -> None:
    calls, version = synced.calls(), synced.info().version
    assert synced.restore(version - 1) == version + 1
    assert len(synced.calls()) == len(calls) - 1
    data = changing_project(call_record(id=NOW_MS + 2 * DAY_MS, startTime=NOW_MS + 2 * DAY_MS - 1))
    data.now_ms = NOW_MS + 2 * DAY_MS
    with serve(data) as project:
        synced.sync(project)
    pd.testing.assert_frame_equal(synced.calls(), calls)


def test_earlier_version_cannot_be_changed(synced: cf.Archive) -> None:
    earlier = cf.Archive(synced.path, version=1)
    sync, restore = lambda: earlier.sync(None), lambda: earlier.restore(0)  # type: ignore[arg-type] # not reached
    for action in (sync, earlier.compact, earlier.vacuum, restore):
        with pytest.raises(cf.errors.ArgumentError, match="is an earlier version"):
            action()


def test_unknown_version_is_an_error(synced: cf.Archive) -> None:
    with pytest.raises(cf.errors.FileError, match="could not be opened"):
        cf.Archive(synced.path, version=99).calls()


# Invalid input


def test_missing_archive_is_an_error_that_says_how_to_create_it(archive: cf.Archive) -> None:
    with pytest.raises(cf.errors.FileError, match=r"There is no archive at .* Create it: .*\.sync\(project\)"):
        archive.calls()
    assert not Path(archive.path).exists()


def test_folder_with_other_files_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x", encoding="utf-8")
    with (
        serve(changing_project(call_record())) as project,
        pytest.raises(cf.errors.FileFormatError, match=r"it contains thesis\.txt"),
    ):
        cf.Archive(tmp_path).sync(project)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_archive_whose_creation_was_interrupted_is_created_again(archive: cf.Archive) -> None:
    (Path(archive.path) / "_delta_log").mkdir(parents=True)
    with serve(changing_project(call_record())) as project:
        archive.sync(project)
    assert len(archive.calls()) == 1


def test_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    path.write_bytes(b"x")
    with pytest.raises(cf.errors.FileFormatError, match="is a file; expected the folder"):
        cf.Archive(path).calls()


def test_other_delta_table_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    write_deltalake(tmp_path, pa.table({"price": [1.0]}))
    with (
        serve(changing_project(call_record())) as project,
        pytest.raises(cf.errors.FileFormatError, match="its columns are price"),
    ):
        cf.Archive(tmp_path).sync(project)
    assert DeltaTable(tmp_path).version() == 0


@pytest.mark.parametrize(
    ("layout", "message"),
    [(0, r"an older callframe.* add the file to a new archive"), (9, "Install a newer callframe")],
)
def test_archive_of_another_layout_is_refused(synced: cf.Archive, layout: int, message: str) -> None:
    DeltaTable(synced.path).alter.set_table_description(f"callframe archive, layout {layout}: calls")
    with pytest.raises(cf.errors.FileFormatError, match=message):
        synced.calls()


@pytest.mark.parametrize("has_empty_coverage", [False, True])
def test_first_archives_of_this_layout_keep_their_coverage(synced: cf.Archive, *, has_empty_coverage: bool) -> None:
    before, coverage = contents(synced), Path(synced.path) / "_callframe" / "coverage"
    coverage.rename(coverage.with_name("stretches"))
    DeltaTable(coverage.with_name("stretches")).alter.set_table_description("callframe archive, layout 1: stretches")
    if has_empty_coverage:
        synced._tables.coverage.create()
    assert contents(synced)[1] == before[1]
    data = changing_project(call_record(id=5, startTime=NOW_MS + 4 * DAY_MS - 1))
    data.now_ms = NOW_MS + 4 * DAY_MS
    with serve(data) as project:
        assert synced.sync(project).read == 1
    assert contents(synced)[1] == before[1]
    assert len(synced.calls()) == len(before[0]) + 1


def test_archive_that_only_allows_appending_is_told_at_once_and_can_be_read(
    synced: cf.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    DeltaTable(synced.path).alter.set_table_properties({"delta.appendOnly": "true"})
    monkeypatch.setattr(transactions, "_MAX_WAIT_S", 0)
    with serve(changing_project(call_record())) as project:
        for change in (lambda: synced.sync(project), synced.compact, lambda: synced.restore(1)):
            with pytest.raises(cf.errors.FileFormatError, match=r"delta\.appendOnly to true.* Set it to false"):
                change()
    assert len(synced.calls()) == 5


def test_archive_with_a_feature_that_cannot_be_written_is_told_at_once(
    synced: cf.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    DeltaTable(synced.path).alter.add_feature(TableFeatures.RowTracking, allow_protocol_versions_increase=True)
    monkeypatch.setattr(transactions, "_MAX_WAIT_S", 0)
    day = pd.Timestamp(0, unit="D").date()
    with pytest.raises(cf.errors.FileFormatError, match="does not support: RowTracking"):
        synced._tables.calls.open_or_create().replace(schema.CALLS.empty_table(), [day])
    assert len(synced.calls()) == 5


@pytest.mark.parametrize("name", ["a%20b", "a\\b", "a\tb", "[x]*", "a^b"])
def test_path_that_deltalake_alters_is_told_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="An archive cannot be in"):
        cf.Archive(tmp_path / name / "calls.delta")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "100% done?", "*", "x#y", "{ü} 日本", "'"])
def test_path_with_other_special_characters_works(tmp_path: Path, name: str) -> None:
    archive = cf.Archive(tmp_path / name / "calls.delta")
    with serve(changing_project(call_record())) as project:
        archive.sync(project)
    assert (len(archive.calls()), archive.info().calls) == (1, 1)


def test_archive_without_a_column_is_refused(synced: cf.Archive) -> None:
    rows = DeltaTable(synced.path).to_pyarrow_table().drop_columns(["status"])
    write_deltalake(synced.path, rows, mode="overwrite", schema_mode="overwrite", partition_by=["start_date"])
    DeltaTable(synced.path).alter.set_table_description("callframe archive, layout 1: calls")
    with pytest.raises(cf.errors.FileFormatError, match="has no column status"):
        synced.calls()


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Drop the permissions of root."""
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


def make_readable(path: Path) -> None:
    """Let every user read a folder of `tmp_path`, also if a worker of pytest-xdist made it."""
    for folder in (path, *path.parents[:4]):
        folder.chmod(folder.stat().st_mode | 0o055)


def test_archive_without_write_permission_is_an_error_and_unchanged(
    synced: cf.Archive, request: pytest.FixtureRequest
) -> None:
    before = synced.calls()
    make_readable(Path(synced.path))
    for folder in Path(synced.path).rglob("*/"):
        folder.chmod(0o555)
    data = changing_project(call_record(id=5, startTime=NOW_MS - 5))
    data.now_ms = NOW_MS + 9 * DAY_MS
    with serve(data) as project:
        request.getfixturevalue("unprivileged")
        with pytest.raises(cf.errors.FileError, match="Permission denied"):
            synced.sync(project)
    pd.testing.assert_frame_equal(synced.calls(), before)


def test_folder_that_cannot_be_created_is_an_error(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    make_readable(tmp_path)
    tmp_path.chmod(0o555)
    with serve(changing_project(call_record())) as project:
        request.getfixturevalue("unprivileged")
        with pytest.raises(cf.errors.FileError, match="Permission denied"):
            cf.Archive(tmp_path / "calls.delta").sync(project)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 500 kB."""
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


def test_full_disk_is_an_error_and_the_archive_unchanged(small_disk: Path) -> None:
    archive = cf.Archive(small_disk / "calls.delta")
    data = changing_project(*call_records(5))
    with serve(data) as project:
        archive.sync(project)
        before = archive.calls()
        rng, data.now_ms = random.Random(0), NOW_MS + DAY_MS
        for number in range(300):
            error = {"message": rng.randbytes(2_000).hex()}
            data.add_call(call_record(id=10_000 + number, startTime=NOW_MS + number, status="Failed", error=error))
        with pytest.raises(cf.errors.FileError, match="No space left on device"):
            archive.sync(project)
    pd.testing.assert_frame_equal(archive.calls(), before)


def test_compaction_on_a_full_disk_is_refused_and_leaves_no_files(small_disk: Path) -> None:
    archive, rng = cf.Archive(small_disk / "calls.delta"), random.Random(0)
    error = {"message": rng.randbytes(10_000).hex()}
    with serve(changing_project(call_record(status="Failed", error=error))) as project:
        archive.sync(project)
    rows = DeltaTable(archive.path).to_pyarrow_table()
    write_deltalake(archive.path, rows, mode="append")
    (small_disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 40_000))
    before = sorted(small_disk.rglob("*"))
    with pytest.raises(cf.errors.FileError, match=r"its disk has 0\.0 MB left, and rewriting a day needs"):
        archive.compact()
    assert sorted(small_disk.rglob("*")) == before


def test_unreachable_store_is_an_error_without_the_secret() -> None:
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


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(cf.errors.FileError, match="Unknown scheme"):
        cf.Archive("ftp://host/calls.delta").calls()


@pytest.mark.parametrize(
    ("functions", "selection", "message"),
    [
        (["sevn"], {}, "Did you mean 'seven'"),
        ([7.5], {}, "given by its id, external id or name"),
        ([], {"status": "Fialed"}, "expected one or several of Running, Completed, Failed, Timeout"),
        ([], {"columns": ["durations"]}, "a call frame has call_id"),
        ([], {"schedule": "nightly"}, r"No schedule is named 'nightly'\. archive\.schedules\(\) lists them"),
        ([], {"call_ids": [2**53]}, "out of range"),
        ([], {"call_ids": [1], "start": "1d", "status": "Failed"}, "cannot be combined with start, status"),
        ([], {"start": "noon"}, "cannot be parsed"),
        ([], {"start": "2026-02-01", "end": "2026-01-01"}, "not before the end"),
        ([], {"project": "other"}, "does not contain the project 'other'; it contains demo"),
    ],
)
def test_invalid_argument_is_an_error(
    synced: cf.Archive, functions: list[Any], selection: dict[str, Any], message: str
) -> None:
    with pytest.raises(cf.errors.ArgumentError, match=message):
        synced.calls(*functions, **selection)


def test_negative_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="expected an integer from 0"):
        cf.Archive(tmp_path, version=-1)


def test_missing_extra_is_an_error_that_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    for name in [
        name for name in sys.modules if name in {"callframe.archive.transactions", "callframe.archive.storage"}
    ]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(cf.CallframeError, match=r"pip install 'callframe\[archive\]'"):
        cf.Archive(tmp_path)
