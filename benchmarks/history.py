"""
Write a made-up history of years as an archive, without a service between: ten million calls in about a minute.

    uv run python -m benchmarks.history FOLDER --calls 10000000 --days 365

The same arguments make the same history. With `--hold-back N` the newest N calls are left out, as if the last sync had
been before them: what runs then is Running, and `later` makes a world that goes on from there.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import time
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from callframe import frame
from callframe.api.catalogue import Catalogue, function_frame, schedule_frame
from callframe.api.schemas import Function, Schedule, decode_page
from callframe.archive import schema
from callframe.archive.coverage_ledger import CoverageLedger
from callframe.archive.storage import StorageOptions
from callframe.archive.transactions import ArchiveTables
from callframe.sample.project_data import MISSING, RUNNING, STATUSES, CallStore, ProjectData
from callframe.timespan import TimeRange

Record = TypeVar("Record", Function, Schedule)

END = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
"""When the made-up history ends, so that it is the same on any day."""

DAY_MS = 86_400_000
_DAYS_A_STEP = 7
_OVERLAP_MS = 2 * DAY_MS


@dataclass(frozen=True)
class Made:
    """
    A history, to be written and served.

    Parameters
    ----------
    world
        All of it.
    cut_ms
        When the archive was last brought up to date.
    begin_ms, end_ms
        When the history begins and ends.
    """

    world: ProjectData
    cut_ms: int
    begin_ms: int
    end_ms: int


def make(*, calls: int, days: float, functions: int = 20, hold_back: int = 0, seed: int = 0) -> Made:
    """Make a history up, and choose when the archive was last brought up to date."""
    world = ProjectData.generate(calls=calls, functions=functions, seed=seed, end_time=END, days=days)
    end_ms = int(END.timestamp() * 1000)
    cut_ms = end_ms + 1
    if hold_back:
        starts = np.concatenate([_columns(world, one)["start"] for one in _ids(world)])
        cut_ms = int(np.partition(starts, len(starts) - hold_back)[len(starts) - hold_back])
    return Made(world, cut_ms, end_ms - round(days * DAY_MS), end_ms)


def write(made: Made, folder: str, *, project: str = "demo") -> int:
    """Write what came before the cut as an archive; gives the number of calls."""
    tables = ArchiveTables(folder, StorageOptions({}))
    listed = Catalogue(_decoded(made.world.functions, Function))
    schedules = _decoded(made.world.schedules, Schedule)
    common: dict[str, Any] = {"project": project, "now_ms": made.cut_ms, "complete": True}
    tables.calls.open_or_create()
    labels = tables.update_functions(function_frame(listed), **common)
    tables.update_schedules(schedule_frame(listed, schedules), labels, **common)
    count = 0
    first = made.begin_ms // DAY_MS * DAY_MS
    for low in range(first, made.cut_ms, _DAYS_A_STEP * DAY_MS):
        high = min(low + _DAYS_A_STEP * DAY_MS, made.cut_ms)
        wire = [_wire(made, function_id, low, high) for function_id in labels]
        calls = frame.from_columns(wire, labels)
        tables.upsert(schema.to_rows(calls, project), {})
        count += len(calls)
    known = CoverageLedger()
    for function_id in labels:
        known.add_complete(function_id, TimeRange(made.begin_ms, made.cut_ms), made.cut_ms)
    tables.record_coverage(project, known)
    return count


def later(made: Made) -> ProjectData:
    """Make a small world of the newest calls, to be served to a sync that goes on from the cut."""
    histories = {}
    for function_id in _ids(made.world):
        history = made.world.store(function_id)
        kept = history.columns["start"] >= made.cut_ms - _OVERLAP_MS
        columns = {name: column[kept] for name, column in history.columns.items()}
        histories[function_id] = CallStore(function_id, columns, error=history.error)
    return ProjectData(
        functions=made.world.functions,
        schedules=made.world.schedules,
        stores=histories,
        logs=lambda *_: [],
        response=lambda *_: None,
    )


def _ids(world: ProjectData) -> list[int]:
    return [record["id"] for record in world.functions]


def _columns(world: ProjectData, function_id: int) -> dict[str, Any]:
    return world.store(function_id).columns


def _wire(made: Made, function_id: int, low: int, high: int) -> pa.Table:
    """Take the columns of some calls as a page of the service would give them at the cut."""
    history = made.world.store(function_id)
    rows = np.flatnonzero((history.columns["start"] >= low) & (history.columns["start"] < high))
    held = {name: column[rows] for name, column in history.columns.items()}
    running = (held["end"] >= made.cut_ms) | (held["status"] == RUNNING)
    status = np.where(running, RUNNING, held["status"])
    end, cause = (np.where(running, MISSING, held[name]) for name in ("end", "cause"))
    messages: list[str | None] = [None] * len(rows)
    traces = messages.copy()
    tell = history.error or (lambda *_: None)
    for place in np.flatnonzero(cause != MISSING).tolist():
        told = tell(int(held["id"][place]), int(held["start"][place]), int(cause[place]))
        if isinstance(told, dict):
            messages[place], traces[place] = told["message"], told.get("trace")
        else:
            messages[place] = told
    words = pa.DictionaryArray.from_arrays(pa.array(status, pa.int32()), pa.array(STATUSES, pa.string()))
    return pa.table(
        {
            "call_id": held["id"],
            "function_id": np.full(len(rows), function_id),
            "schedule_id": _maybe(held["schedule_id"]),
            "status": words,
            "scheduled_time": _maybe(np.where(held["schedule_id"] == MISSING, MISSING, held["scheduled"])),
            "start_time": held["start"],
            "end_time": _maybe(end),
            "error_message": pa.array(messages, pa.large_string()),
            "error_trace": pa.array(traces, pa.large_string()),
        }
    )


def _maybe(values: Any) -> pa.Array:
    return pa.array(values, pa.int64(), mask=values == MISSING)


def _decoded(records: list[dict[str, Any]], kind: type[Record]) -> list[Record]:
    """Decode records as the client does."""
    return decode_page(json.dumps({"items": records}).encode(), kind).items


def main() -> None:
    """Write an archive, and say how long it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description="Write a made-up archive.")
    parser.add_argument("folder")
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--days", type=float, default=365)
    parser.add_argument("--functions", type=int, default=20)
    parser.add_argument("--hold-back", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.perf_counter()
    made = make(
        calls=options.calls,
        days=options.days,
        functions=options.functions,
        hold_back=options.hold_back,
        seed=options.seed,
    )
    count = write(made, options.folder)
    print(f"{count:,} calls written to {options.folder} in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
