"""
What runs in a fresh process of its own, `python -m benchmarks.tasks TASK ...`: prints what it measured as JSON.

Nothing but the standard library is imported on top, so that each task pays for its own libraries alone.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_WINDOW = "337h"  # the service makes up the 14 days before it starts


def with_callframe() -> dict[str, Any]:
    """Fetch all calls with callframe, of one function if there is only one."""
    import callframe as cf

    with cf.connect() as project:
        functions = project.functions()["function_id"].tolist()
        began = time.perf_counter()
        calls = project.calls(*functions, start=_WINDOW, strict=True)
        seconds = time.perf_counter() - began
    return _fetched(calls["call_id"].tolist(), seconds) | {"frame_mb": calls.memory_usage(deep=True).sum() / 1e6}


def with_the_sdk() -> dict[str, Any]:
    """Fetch all calls of one function with the official SDK."""
    import pandas as pd  # noqa: F401 - it would be imported in the measured time
    from cognite.client import ClientConfig, CogniteClient, global_config
    from cognite.client.credentials import Token

    global_config.disable_pypi_version_check = True
    client = CogniteClient(
        ClientConfig(
            client_name="benchmark",
            project=os.environ["CDF_PROJECT"],
            base_url=os.environ["CDF_URL"],
            credentials=Token(os.environ["CDF_TOKEN"]),
        )
    )
    [function] = client.functions.list(limit=None)
    began = time.perf_counter()
    calls = client.functions.calls.list(function_id=function.id, limit=None).to_pandas()
    return _fetched(calls["id"].tolist(), time.perf_counter() - began)


def decode(page_rows: int, turns: int) -> dict[str, Any]:
    """Decode the pages of the first function to the finished frame, and with bare msgspec."""
    import msgspec

    from callframe import frame
    from callframe.api import schemas

    fields: list[Any] = [("items", list[schemas.Call]), ("next_cursor", str | None, None)]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Page", fields, rename="camel", gc=False))
    pages = _pages(page_rows)

    def bare() -> None:
        for page in pages:
            decoder.decode(page)

    def to_frame() -> None:
        tables = [schemas.to_columns(schemas.decode_page(page, schemas.Call).items) for page in pages]
        frame.from_columns(tables, {})

    # Nothing here waits, so the time of the processor is all there is, and what else the machine does is not in it.
    frame_s, bare_s = _in_turns(to_frame, bare, turns=turns, clock=time.process_time)
    return {"frame_s": frame_s, "bare_s": bare_s}


def write(turns: int) -> dict[str, Any]:
    """Write everything as CSV, with callframe and with pandas."""
    import callframe as cf

    with cf.connect() as project:
        calls = project.calls(start=_WINDOW, strict=True)
    same_columns = calls.drop(columns="error_trace")  # callframe leaves the traces out
    with tempfile.TemporaryDirectory() as folder:
        callframe_s, pandas_s = _in_turns(
            lambda: cf.write_csv(calls, Path(folder, "callframe.csv")),
            lambda: same_columns.to_csv(Path(folder, "pandas.csv"), index=False),
            turns=turns,
        )
    return {"callframe_s": callframe_s, "pandas_s": pandas_s}


def mergeable(turns: int) -> dict[str, Any]:
    """Compare and roll up everything, beside pandas' own quantiles of the same columns."""
    import numpy as np

    import callframe as cf

    with cf.connect() as project:
        calls = project.calls(start=_WINDOW, strict=True)
    middle = calls["start_time"].iloc[len(calls) // 2]
    spans = calls[["duration", "schedule_delay"]].astype("int64")

    def bare() -> None:
        spans.groupby(calls["function"], observed=True).quantile(np.array([0.5, 0.9, 0.95, 0.99]))

    table = cf.rollup(calls)
    compare_s, bare_s = _in_turns(lambda: cf.compare(calls, at=middle), bare, turns=turns)
    rollup_s, read_s = _in_turns(lambda: cf.rollup(calls), lambda: cf.summarize_rollup(table), turns=turns)
    return {"compare_s": compare_s, "rollup_s": rollup_s, "read_s": read_s, "bare_s": bare_s, "rows": len(table)}


def summarize(turns: int) -> dict[str, Any]:
    """Summarize everything by function, and take the bare quantiles of the same two columns with pandas."""
    import numpy as np

    import callframe as cf

    with cf.connect() as project:
        calls = project.calls(start=_WINDOW, strict=True)
    shares = np.array([0.5, 0.9, 0.95, 0.99])
    callframe_s, pandas_s = _in_turns(
        lambda: cf.summarize(calls),
        lambda: calls.groupby("function", observed=True)[["duration", "schedule_delay"]].quantile(shares),
        turns=turns,
    )
    return {"callframe_s": callframe_s, "pandas_s": pandas_s}


def load(*modules: str) -> dict[str, Any]:
    """Import modules."""
    began = time.perf_counter()
    for module in modules:
        importlib.import_module(module)
    return {"seconds": time.perf_counter() - began}


def missed(count: int, days: int, turns: int) -> dict[str, Any]:
    """Find the missed runs of schedules that run each minute; one slot in 250 has no call."""
    import callframe as cf

    calls, schedules = _scheduled(count, days)
    taken = [_timed(lambda: cf.missed_runs(calls, schedules)) for _ in range(turns)]
    report = cf.schedule_report(calls, schedules)
    slots, without = int(report["expected"].sum()), int((report["expected"] - report["run"]).sum())
    return {"seconds": statistics.median(taken), "slots": slots, "missed": without}


def concurrency(count: int, turns: int) -> dict[str, Any]:
    """Count how many calls of twenty functions ran at the same time."""
    import callframe as cf

    calls = _scheduled(50, -(-count // (50 * 1430)))[0].iloc[:count]
    all_s = [_timed(lambda: cf.concurrency(calls)) for _ in range(turns)]
    by_function_s = [_timed(lambda: cf.concurrency(calls, by="function")) for _ in range(turns)]
    return {
        "seconds": statistics.median(all_s),
        "by_function_s": statistics.median(by_function_s),
        "rows": len(cf.concurrency(calls)),
    }


def _scheduled(count: int, days: int) -> tuple[Any, Any]:
    """Make up the calls of schedules that run each minute, and the schedules; 20 functions share them."""
    import numpy as np
    import pandas as pd

    from callframe import frame, timespan
    from callframe.completeness import Coverage, FunctionCoverage

    chance = np.random.default_rng(0)
    now_ms = 1_800_000_000_000
    minutes = np.arange(now_ms - days * 86_400_000, now_ms, 60_000)
    slots, schedule_id = np.tile(minutes, count), np.repeat(np.arange(1, count + 1), len(minutes))
    there = chance.random(len(slots)) > 0.004
    slots, schedule_id = slots[there], schedule_id[there]
    start = slots + chance.integers(200, 5_000, len(slots))
    order = np.argsort(start)
    start, slots, schedule_id = start[order], slots[order], schedule_id[order]
    took = chance.integers(1_000, 60_000, len(slots))
    function_id = schedule_id % 20 + 1
    calls = pd.DataFrame(
        {
            "call_id": np.arange(1, len(slots) + 1),
            "function_id": function_id,
            "function": pd.Categorical.from_codes(
                function_id - 1, categories=pd.Index([f"f{one}" for one in range(1, 21)], dtype=frame.TEXT)
            ),
            "schedule_id": pd.array(schedule_id, dtype="Int64"),
            "status": pd.Categorical.from_codes(
                np.ones(len(slots), dtype="int8"), categories=pd.Index(list(frame.STATUSES), dtype=frame.TEXT)
            ),
            **{name: _moments(times) for name, times in (("scheduled_time", slots), ("start_time", start))},
            "end_time": _moments(start + took),
            "schedule_delay": (start - slots).view("timedelta64[ms]"),
            "duration": took.view("timedelta64[ms]"),
            "error_message": pd.array([None] * len(slots), dtype=frame.TEXT),
            "error_trace": pd.array([None] * len(slots), dtype=frame.TEXT),
        }
    )
    functions = tuple([FunctionCoverage(one, f"f{one}", created_ms=0) for one in range(1, 21)])
    window = timespan.TimeRange(int(minutes[0]), now_ms)
    Coverage(now_ms, functions, "benchmark", window).attach(calls)
    owners = np.arange(1, count + 1) % 20 + 1
    schedules = pd.DataFrame(
        {
            "schedule_id": np.arange(1, count + 1),
            "function_id": owners,
            "function": [f"f{one}" for one in owners],
            "cron_expression": "* * * * *",
            "created_time": _moments(np.zeros(count, dtype="int64")),
        }
    )
    return calls, schedules


def _moments(stamps: Any) -> Any:
    import pandas as pd

    return pd.DatetimeIndex(stamps.astype("datetime64[ms]")).tz_localize("UTC")


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _in_turns(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    turns: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Time two things by turns, once each without counting; gives the median of each."""
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for work, found in zip((first, second), taken, strict=True):
            began = clock()
            work()
            if turn or turns == 1:
                found.append(clock() - began)
    return statistics.median(taken[0]), statistics.median(taken[1])


def _fetched(ids: list[int], seconds: float) -> dict[str, Any]:
    """Tell how long a fetch took, how much memory it took by now, and what was fetched."""
    peak_mb = _peak_mb()
    told = ",".join(map(str, sorted(ids)))
    return {
        "seconds": seconds,
        "peak_mb": peak_mb,
        "rows": len(ids),
        "ids": hashlib.sha256(told.encode()).hexdigest(),
    }


def _peak_mb() -> float:
    """Tell the most memory this process ever held. Linux's `ru_maxrss` counts the parent too, `VmHWM` does not."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))):
        return int(found[1]) * 1024 / 1e6
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _pages(page_rows: int) -> list[bytes]:
    """Ask for all pages of the first function, as they come."""
    import requests

    url = f"{os.environ['CDF_URL']}/api/v1/projects/{os.environ['CDF_PROJECT']}/functions"
    pages: list[bytes] = []
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {os.environ['CDF_TOKEN']}"
        function = session.post(f"{url}/list", json={}, timeout=60).json()["items"][0]
        query: dict[str, Any] = {"limit": page_rows}
        while True:
            answer = session.get(f"{url}/{function['id']}/calls", params=query, timeout=60)
            answer.raise_for_status()
            pages.append(answer.content)
            query["cursor"] = answer.json().get("nextCursor")
            if query["cursor"] is None:
                return pages


def measure(rows: int, turns: int) -> dict[str, Any]:
    """Group the failures of calls of 20 functions, one in twenty failed with a trace, and count what is odd in them."""
    import callframe as cf

    calls = _made_up(rows)
    found: dict[str, list[float]] = {"failures": [], "quality": []}
    for _ in range(turns):
        for name, taken in found.items():
            began = time.perf_counter()
            getattr(cf, name)(calls)
            taken.append(time.perf_counter() - began)
    return {name: statistics.median(taken) for name, taken in found.items()}


def draw(rows: int, turns: int) -> dict[str, Any]:
    """Draw each picture of many calls, from the frame to the pixels."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    import callframe as cf

    calls = _made_up(rows)
    over_time = ("durations", "schedule_delays", "failures")
    pictures: list[tuple[str, dict[str, str]]] = [(name, {"over": "time"}) for name in over_time]
    plain = (*over_time, "timeline", "heatmap", "concurrency", "survival")
    pictures += [(name, {}) for name in plain]
    found = {}
    for name, options in pictures:
        taken = []
        for _ in range(turns + 1):
            figure = Figure(layout="constrained")
            began = time.perf_counter()
            getattr(cf.plot, name)(calls, **options, ax=figure.add_subplot())
            figure.canvas.draw()
            taken.append(time.perf_counter() - began)
        found[" over ".join([name, *options.values()])] = statistics.median(taken[1:])  # the first loads fonts
    return found


def explore(changes: int) -> dict[str, Any]:
    """Show many calls in a dashboard, and change each of its controls in turn."""
    import gc

    import psutil

    import callframe as cf

    with cf.connect() as project:
        calls, schedules = project.calls(start="90d", progress=False), project.schedules()
    began = time.perf_counter()
    explorer = cf.explore(calls, schedules=schedules)
    first_s = time.perf_counter() - began
    names, drawn = calls["function"].cat.categories.tolist(), []
    controls = explorer._controls
    explorer._panels["Overview"]._picture.observe(lambda _: drawn.append(time.perf_counter()), names="value")
    turns = [
        lambda turn: setattr(controls.functions, "value", tuple(names[: 1 + turn % len(names)])),
        lambda turn: setattr(controls.statuses["Completed"], "value", turn % 2 == 0),
        lambda turn: setattr(controls.last, "value", ("7d", "24h", "all")[turn % 3]),
        lambda turn: setattr(controls.tz, "value", ("Europe/Oslo", "UTC")[turn % 2]),
        lambda turn: setattr(explorer._panels["Overview"].views, "value", list(VIEWS)[turn % 2]),
    ]
    taken, whole, process = [], [], psutil.Process()

    def settled_mb() -> float:
        """Take the memory where the same is selected, as what is selected takes some itself."""
        explorer.selection = {}
        gc.collect()
        return float(process.memory_info().rss) / 1e6

    for turn in range(changes):
        if turn == changes // 10:  # caches are full by then
            before = settled_mb()
        began = time.perf_counter()
        drawn.clear()
        turns[turn % len(turns)](turn // len(turns))
        whole.append(time.perf_counter() - began)
        taken += [drawn[0] - began] if drawn else []
    return {
        "first_s": first_s,
        "picture_s": statistics.median(taken),
        "whole_s": statistics.median(whole),
        "slowest_s": max(taken),
        "changes": len(taken),
        "growth_mb": settled_mb() - before,
    }


VIEWS = ("The last day", "By hour of the week")
"""The pictures of the first tab of the dashboard."""


def scale(turns: int, *counts: int) -> list[dict[str, Any]]:
    """Summarize made-up archives by function on a cluster of two workers of 1 GiB each, ten million calls a year."""
    from benchmarks import history

    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            written = history.write(history.make(calls=count, days=max(2.0, 365 * count / 10_000_000)), folder)
            found.append(_on_a_cluster(folder, turns))
        if found[-1]["calls"] != written:
            raise AssertionError(f"{written:,} calls were written, {found[-1]['calls']:,} were summarized.")
    return found


def _on_a_cluster(folder: str, turns: int) -> dict[str, Any]:
    from distributed import Client, LocalCluster

    import callframe as cf

    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1GiB"}
    options |= {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        workers = set(client.run(os.getpid).values())
        calls = cf.Archive(folder).dask()
        cf.summarize(calls.partitions[:2])  # the workers import what they need
        seconds = statistics.median(_timed(functools.partial(cf.summarize, calls)) for _ in range(turns))
        summary = cf.summarize(calls)
        peaks = client.run(_peak_mb).values()
        if workers != set(client.run(os.getpid).values()):
            raise AssertionError("Workers were restarted while they summarized: they ran out of memory.")
    found = {"calls": int(summary["calls"].sum()), "partitions": calls.npartitions}
    return found | {"seconds": seconds, "peak_mb": max(peaks)}


def _made_up(rows: int) -> Any:
    """Make a call frame whose failures are of all causes in turn."""
    from callframe import frame
    from callframe.api import schemas
    from callframe.api.schemas import Call, CallError
    from callframe.sample.call_output import ERROR_SAMPLES, error

    start, gap = 1_790_000_000_000, 14 * 86_400_000 // rows
    records = []
    for at in range(rows):
        failed = at % 20 == 0
        told = error(at + 1, start + at * gap, at // 20 % len(ERROR_SAMPLES)) if failed else {}
        records.append(
            Call(
                id=4_503_599_627_370_496 + at,
                function_id=at * 7919 % 20_011 % 20 + 1,
                status="Failed" if failed else "Completed",
                start_time=start + at * gap,
                end_time=start + at * gap + 20_000,
                scheduled_time=start + at * gap,
                schedule_id=at % 100 + 1,
                error=CallError(told["message"], told.get("trace")) if failed else None,
            )
        )
    return frame.from_columns([schemas.to_columns(records)], {number: f"function-{number}" for number in range(1, 21)})


def archive(calls: int, days: int, fresh: int, turns: int) -> dict[str, Any]:
    """Write an archive of years, then read a day of it, sync new calls into it and read the rollup of all."""
    import shutil

    import pandas as pd

    import callframe as cf
    from benchmarks import history

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "calls.delta")
        made = history.make(calls=calls, days=days, hold_back=fresh)
        began = time.perf_counter()
        history.write(made, str(path))
        write_s = time.perf_counter() - began
        middle = pd.Timestamp((made.begin_ms + made.end_ms) // 2, unit="ms", tz="UTC").floor("1D")
        kept = cf.Archive(path)
        day_s = [_timed(lambda: kept.calls(start=middle, end=middle + pd.Timedelta("1D"))) for _ in range(turns)]
        count_s = _timed(kept.rollup)
        rollup_s = [_timed(kept.rollup) for _ in range(turns)]
        copies = [Path(folder, f"copy-{turn}") for turn in range(turns)]
        for copy in copies:
            shutil.copytree(path, copy, copy_function=os.link)  # its files are never changed
        syncs = [_sync_into(copy, made, fresh) for copy in copies]
        return {
            "write_s": write_s,
            "day_s": statistics.median(day_s),
            "day_rows": len(kept.calls(start=middle, end=middle + pd.Timedelta("1D"))),
            "count_s": count_s,
            "rollup_s": statistics.median(rollup_s),
            "rollup_rows": len(kept.rollup()),
            "sync_s": statistics.median(sync_s for sync_s, _ in syncs),
            "fetch_s": statistics.median(fetch_s for _, fetch_s in syncs),
            "size_mb": kept.info().size_bytes / 1e6,
        }


def _sync_into(path: Path, made: Any, fresh: int) -> tuple[float, float]:
    """Sync what came since; gives the seconds it took without the fetch, and those of the fetch."""
    from benchmarks.history import later
    from callframe import Archive, connect
    from callframe.api import fetch
    from callframe.project import Project
    from callframe.sample.server import Service

    fetched: list[float] = []
    read = fetch.run_queries

    def timed(*words: Any, **options: Any) -> Any:
        began = time.perf_counter()
        found = read(*words, **options)
        fetched.append(time.perf_counter() - began)
        return found

    with Service(later(made)) as service:
        client = connect(base_url=service.url, project=service.project, token=service.token).client
        project = Project(client, clock=lambda: (made.end_ms + 1) / 1000)
        fetch.run_queries = timed
        began = time.perf_counter()
        report = Archive(path).sync(project)
        took_s = time.perf_counter() - began
        fetch.run_queries = read
        project.close()
    if report.new != fresh:
        raise AssertionError(f"{fresh:,} calls are new, {report.new:,} were written: {report}")
    return took_s - sum(fetched), sum(fetched)


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "callframe": with_callframe,
    "cognite-sdk": with_the_sdk,
    "decode": lambda page_rows, turns: decode(int(page_rows), int(turns)),
    "csv": lambda turns: write(int(turns)),
    "summarize": lambda turns: summarize(int(turns)),
    "import": load,
    "missed": lambda count, days, turns: missed(int(count), int(days), int(turns)),
    "concurrency": lambda count, turns: concurrency(int(count), int(turns)),
    "mergeable": lambda turns: mergeable(int(turns)),
    "explore": lambda changes: explore(int(changes)),
    "draw": lambda rows, turns: draw(int(rows), int(turns)),
    "archive": lambda calls, days, fresh, turns: archive(int(calls), int(days), int(fresh), int(turns)),
    "measure": lambda rows, turns: measure(int(rows), int(turns)),
    "scale": lambda turns, *counts: {"sizes": scale(int(turns), *map(int, counts))},
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
