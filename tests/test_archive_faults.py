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
from deltalake import DeltaTable, write_deltalake

import callframe as cf
from archives import story, told
from callframe.demo.service import Service
from wire import DAY_MS, NOW_MS, function, many, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callframe.project import Project

KILLS = int(os.environ.get("CALLFRAME_KILLS", "4"))
"""How many syncs to kill; the thirty that are promised take a minute or two."""

CHILD = """
import sys, warnings
import callframe as cf
from callframe.archive import sync
from callframe.archive.tables import Tables

sync.ROWS_A_STEP, sync._LONGEST_MS = 200, 5 * 86_400_000
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
    calls = many(2_000, step_ms=DAY_MS // 60) + [record(id=1, status="Running")]
    with Service(story(*calls, functions=[function(createdTime=0)])) as one:
        yield one


@pytest.fixture
def archive(tmp_path: Path) -> cf.Archive:
    return cf.Archive(tmp_path / "calls.delta")


@pytest.fixture
def synced(archive: cf.Archive) -> cf.Archive:
    """Make an archive of three days, synced on each."""
    world = story(*many(3, step_ms=DAY_MS))
    with told(world) as project:
        for _ in range(3):
            archive.sync(project)
            world.now_ms += DAY_MS
            world.add_call(record(id=world.now_ms, startTime=world.now_ms - 1))
    return archive


def whole(archive: cf.Archive) -> tuple[pd.DataFrame, list[str]]:
    """Take what must be the same: the calls, and which stretches are known."""
    calls = archive.calls()
    return calls, archive.coverage()["state"].tolist()


def same(found: tuple[pd.DataFrame, list[str]], expected: tuple[pd.DataFrame, list[str]]) -> None:
    pd.testing.assert_frame_equal(found[0], expected[0])
    assert found[1] == expected[1]


# Kills and crowds


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
    assert len(landed) > 1 or KILLS == 1  # they were killed at moments that differ


def _versions(archive: cf.Archive) -> int:
    return len(list(Path(archive.path).rglob("_delta_log/*.json")))


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
