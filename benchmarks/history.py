"""
Write a generated call history of years as an archive, without HTTP: ten million calls in about a minute.

    uv run python -m benchmarks.history FOLDER --calls 10000000 --days 365

The same arguments give the same history. With `--hold-back N` the newest N calls are omitted, as if the last sync had
been before them: calls unfinished at that time are Running, and `newest_calls` returns the data of the next sync.
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
"""End of the history, so that it is the same on any day."""

DAY_MS = 86_400_000
_DAYS_PER_STEP = 7
_OVERLAP_MS = 2 * DAY_MS


@dataclass(frozen=True)
class History:
    """Project data with the time of the last sync, and the start and end of the history."""

    data: ProjectData
    synced_ms: int
    start_ms: int
    end_ms: int


def generate(*, calls: int, days: float, functions: int = 20, hold_back: int = 0, seed: int = 0) -> History:
    """Generate a history, and choose the time of the last sync."""
    data = ProjectData.generate(calls=calls, functions=functions, seed=seed, end_time=END, days=days)
    end_ms = int(END.timestamp() * 1000)
    synced_ms = end_ms + 1
    if hold_back:
        starts = np.concatenate([data.store(function["id"]).columns["start"] for function in data.functions])
        synced_ms = int(np.partition(starts, len(starts) - hold_back)[len(starts) - hold_back])
    return History(data, synced_ms, end_ms - round(days * DAY_MS), end_ms)


def write(history: History, folder: str, *, project: str = "demo") -> int:
    """Write the calls before the last sync as an archive; returns their number."""
    tables = ArchiveTables(folder, StorageOptions({}))
    catalogue = Catalogue(_decoded(history.data.functions, Function))
    schedules = _decoded(history.data.schedules, Schedule)
    common: dict[str, Any] = {"project": project, "now_ms": history.synced_ms, "complete": True}
    tables.calls.open_or_create()
    labels = tables.update_functions(function_frame(catalogue), **common)
    tables.update_schedules(schedule_frame(catalogue, schedules), labels, **common)
    count = 0
    first = history.start_ms // DAY_MS * DAY_MS
    for low in range(first, history.synced_ms, _DAYS_PER_STEP * DAY_MS):
        high = min(low + _DAYS_PER_STEP * DAY_MS, history.synced_ms)
        columns = [_decoded_columns(history, function_id, low, high) for function_id in labels]
        calls = frame.from_columns(columns, labels)
        tables.upsert(schema.to_rows(calls, project), {})
        count += len(calls)
    ledger = CoverageLedger()
    for function_id in labels:
        ledger.add_complete(function_id, TimeRange(history.start_ms, history.synced_ms), history.synced_ms)
    tables.record_coverage(project, ledger, now_ms=history.synced_ms)
    return count


def newest_calls(history: History) -> ProjectData:
    """Return the project data that the next sync reads."""
    stores = {}
    for function in history.data.functions:
        store = history.data.store(function["id"])
        is_new = store.columns["start"] >= history.synced_ms - _OVERLAP_MS
        columns = {name: column[is_new] for name, column in store.columns.items()}
        stores[store.function_id] = CallStore(store.function_id, columns, error=store.error)
    return ProjectData(
        functions=history.data.functions,
        schedules=history.data.schedules,
        stores=stores,
        logs=lambda *_: [],
        response=lambda *_: None,
    )


def _decoded_columns(history: History, function_id: int, start_ms: int, end_ms: int) -> pa.Table:
    """Return the columns of calls as decoded pages would have them at the last sync."""
    store = history.data.store(function_id)
    rows = np.flatnonzero((store.columns["start"] >= start_ms) & (store.columns["start"] < end_ms))
    columns = {name: column[rows] for name, column in store.columns.items()}
    is_running = (columns["end"] >= history.synced_ms) | (columns["status"] == RUNNING)
    status = np.where(is_running, RUNNING, columns["status"])
    end, cause = (np.where(is_running, MISSING, columns[name]) for name in ("end", "cause"))
    messages: list[str | None] = [None] * len(rows)
    traces = messages.copy()
    for row in np.flatnonzero(cause != MISSING).tolist():
        assert store.error is not None
        error = store.error(int(columns["id"][row]), int(columns["start"][row]), int(cause[row]))
        messages[row], traces[row] = (
            (error["message"], error.get("trace")) if isinstance(error, dict) else (error, None)
        )
    statuses = pa.DictionaryArray.from_arrays(pa.array(status, pa.int32()), pa.array(STATUSES, pa.string()))
    return pa.table(
        {
            "call_id": columns["id"],
            "function_id": np.full(len(rows), function_id),
            "schedule_id": _nullable(columns["schedule_id"]),
            "status": statuses,
            "scheduled_time": _nullable(np.where(columns["schedule_id"] == MISSING, MISSING, columns["scheduled"])),
            "start_time": columns["start"],
            "end_time": _nullable(end),
            "error_message": pa.array(messages, pa.large_string()),
            "error_trace": pa.array(traces, pa.large_string()),
        }
    )


def _nullable(values: Any) -> pa.Array:
    return pa.array(values, pa.int64(), mask=values == MISSING)


def _decoded(records: list[dict[str, Any]], kind: type[Record]) -> list[Record]:
    """Decode records as the client does."""
    return decode_page(json.dumps({"items": records}).encode(), kind).items


def main() -> None:
    """Write an archive, and print the time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description="Write a generated archive.")
    parser.add_argument("folder")
    parser.add_argument("--calls", type=int, default=10_000_000)
    parser.add_argument("--days", type=float, default=365)
    parser.add_argument("--functions", type=int, default=20)
    parser.add_argument("--hold-back", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start_s = time.perf_counter()
    history = generate(
        calls=options.calls,
        days=options.days,
        functions=options.functions,
        hold_back=options.hold_back,
        seed=options.seed,
    )
    count = write(history, options.folder)
    print(f"{count:,} calls written to {options.folder} in {time.perf_counter() - start_s:.0f} s")


if __name__ == "__main__":
    main()
