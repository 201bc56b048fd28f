"""
Tasks that run in a process of their own: `python -m benchmarks.tasks TASK ...` prints the results as JSON.

The module imports only the standard library, so that each task measures its own imports alone.
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
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_WINDOW = "337h"  # the sample project has calls of the 14 days before the service starts


def fetch_with_callframe() -> dict[str, Any]:
    """Fetch all calls with callframe."""
    import callframe as cf

    with cf.connect() as project:
        functions = project.functions()["function_id"].tolist()
        start_s = time.perf_counter()
        calls = project.calls(*functions, start=_WINDOW, strict=True)
        seconds = time.perf_counter() - start_s
    return _fetch_result(calls["call_id"].tolist(), seconds) | {"frame_mb": calls.memory_usage(deep=True).sum() / 1e6}


def fetch_with_sdk() -> dict[str, Any]:
    """Fetch all calls of one function with the official SDK."""
    import pandas as pd  # noqa: F401 - to_pandas would import it in the measured time
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
    start_s = time.perf_counter()
    calls = client.functions.calls.list(function_id=function.id, limit=None).to_pandas()
    return _fetch_result(calls["id"].tolist(), time.perf_counter() - start_s)


def fetch_history(name: str, repeats: int) -> dict[str, Any]:
    """Fetch one of `benchmarks.fetching.HISTORIES`; the first fetch, which opens connections, does not count."""
    import pandas as pd

    import callframe as cf
    from benchmarks.fetching import DAY_MS, END_MS, FUNCTION_ID, HISTORIES

    end = pd.Timestamp(END_MS, unit="ms", tz="UTC")
    start = end - pd.Timedelta(HISTORIES[name].days * DAY_MS, unit="ms")
    times_s, requests_s, records = list[float](), list[float](), list[int]()
    with cf.connect() as project, warnings.catch_warnings():
        warnings.simplefilter("ignore", cf.IncompleteWarning)  # what is older than 90 days is never complete
        filter_calls = project.client.filter_calls

        def counted(*arguments: Any, **options: Any) -> Any:
            start_s = time.perf_counter()
            page = filter_calls(*arguments, **options)
            requests_s.append(time.perf_counter() - start_s)
            records.append(len(page.items))
            return page

        project.client.filter_calls = counted  # type: ignore[method-assign]
        for _ in range(repeats + 1):
            records.clear()
            project._cached_catalogue = None
            start_s = time.perf_counter()
            calls = project.calls(FUNCTION_ID, start=start, end=end, progress=False)
            times_s.append(time.perf_counter() - start_s)
    seconds = statistics.median(times_s[1:])
    counts = {"rows": len(calls), "records": sum(records), "requests": len(records)}
    return counts | {"seconds": seconds, "request_s": statistics.median(requests_s)}


def decode(page_rows: int, repeats: int) -> dict[str, Any]:
    """Decode the pages of the first function to a frame, and with bare msgspec."""
    import msgspec

    from callframe import frame
    from callframe.api import schemas

    fields: list[Any] = [("items", list[schemas.Call]), ("next_cursor", str | None, None)]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Page", fields, rename="camel", gc=False))
    pages = _pages(page_rows)

    def with_msgspec() -> None:
        for page in pages:
            decoder.decode(page)

    def to_frame() -> None:
        tables = [schemas.to_columns(schemas.decode_page(page, schemas.Call).items) for page in pages]
        frame.from_columns(tables, {})

    # Nothing here waits, so that processor time is enough, and other load on the machine does not count.
    frame_s, msgspec_s = _alternate(to_frame, with_msgspec, repeats=repeats, clock=time.process_time)
    return {"frame_s": frame_s, "msgspec_s": msgspec_s}


def read_outputs(count: int) -> dict[str, Any]:
    """Read the responses and then the logs of calls, searching the latter."""
    import callframe as cf

    with cf.connect() as project:
        calls = project.calls(start=_WINDOW, status="Completed", progress=False).tail(count)
        responses_s = _timed(lambda: project.responses(calls, strict=True, progress=False))
        before_mb = _peak_mb()
        logs_s = _timed(lambda: project.logs(calls, contains="error", strict=True, progress=False))
    return {"rows": len(calls), "responses": responses_s, "logs": logs_s, "logs_mb": _peak_mb() - before_mb}


def write_csv(repeats: int) -> dict[str, Any]:
    """Write all calls as CSV with callframe and with pandas."""
    import callframe as cf

    with cf.connect() as project:
        calls = project.calls(start=_WINDOW, strict=True)
    same_columns = calls.drop(columns="error_trace")  # callframe omits the traces
    with tempfile.TemporaryDirectory() as folder:
        callframe_s, pandas_s = _alternate(
            lambda: cf.write_csv(calls, Path(folder, "callframe.csv")),
            lambda: same_columns.to_csv(Path(folder, "pandas.csv"), index=False),
            repeats=repeats,
        )
    return {"callframe_s": callframe_s, "pandas_s": pandas_s}


def compare(repeats: int) -> dict[str, Any]:
    """Compare and roll up all calls, and compute quantiles of the same columns with pandas."""
    import numpy as np

    import callframe as cf

    with cf.connect() as project:
        calls = project.calls(start=_WINDOW, strict=True)
    middle = calls["start_time"].iloc[len(calls) // 2]
    durations = calls[["duration", "schedule_delay"]].astype("int64")

    def with_pandas() -> None:
        durations.groupby(calls["function"], observed=True).quantile(np.array([0.5, 0.9, 0.95, 0.99]))

    table = cf.rollup(calls)
    compare_s, pandas_s = _alternate(lambda: cf.compare(calls, at=middle), with_pandas, repeats=repeats)
    rollup_s, summarize_s = _alternate(lambda: cf.rollup(calls), lambda: cf.summarize_rollup(table), repeats=repeats)
    times = {"compare_s": compare_s, "rollup_s": rollup_s, "summarize_s": summarize_s, "pandas_s": pandas_s}
    return times | {"rows": len(table)}


def summarize(repeats: int) -> dict[str, Any]:
    """Summarize all calls by function, and compute quantiles of two of the columns with pandas."""
    import numpy as np

    import callframe as cf

    with cf.connect() as project:
        calls = project.calls(start=_WINDOW, strict=True)
    quantiles = np.array([0.5, 0.9, 0.95, 0.99])
    callframe_s, pandas_s = _alternate(
        lambda: cf.summarize(calls),
        lambda: calls.groupby("function", observed=True)[["duration", "schedule_delay"]].quantile(quantiles),
        repeats=repeats,
    )
    return {"callframe_s": callframe_s, "pandas_s": pandas_s}


def import_modules(*modules: str) -> dict[str, Any]:
    """Import modules with their public names, but for plots, which need matplotlib."""
    start_s = time.perf_counter()
    for name in modules:
        module = importlib.import_module(name)
        _ = [getattr(module, public) for public in getattr(module, "__all__", ()) if public != "plot"]
    return {"seconds": time.perf_counter() - start_s}


def start_command(*arguments: str) -> dict[str, Any]:
    """Start Python with some arguments, and wait until it ends."""
    start_s = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.perf_counter() - start_s}


def missed_runs(count: int, days: int, repeats: int) -> dict[str, Any]:
    """Find the missed runs of schedules of every minute; one in 250 is missed."""
    import callframe as cf

    calls, schedules = _scheduled_calls(count, days)
    times_s = [_timed(lambda: cf.missed_runs(calls, schedules)) for _ in range(repeats)]
    report = cf.schedule_report(calls, schedules)
    expected, missed = int(report["expected"].sum()), int((report["expected"] - report["run"]).sum())
    return {"seconds": statistics.median(times_s), "expected": expected, "missed": missed}


def concurrency(count: int, repeats: int) -> dict[str, Any]:
    """Compute the concurrent calls of 20 functions."""
    import callframe as cf

    calls = _scheduled_calls(50, -(-count // (50 * 1430)))[0].iloc[:count]
    all_s = [_timed(lambda: cf.concurrency(calls)) for _ in range(repeats)]
    by_function_s = [_timed(lambda: cf.concurrency(calls, by="function")) for _ in range(repeats)]
    return {
        "seconds": statistics.median(all_s),
        "by_function_s": statistics.median(by_function_s),
        "rows": len(cf.concurrency(calls)),
    }


def _scheduled_calls(count: int, days: int) -> tuple[Any, Any]:
    """Generate schedules of every minute for 20 functions, and their calls."""
    import numpy as np
    import pandas as pd

    from callframe import frame, timespan
    from callframe.completeness import Coverage, FunctionCoverage

    rng = np.random.default_rng(0)
    now_ms = 1_800_000_000_000
    minutes = np.arange(now_ms - days * 86_400_000, now_ms, 60_000)
    scheduled, schedule_id = np.tile(minutes, count), np.repeat(np.arange(1, count + 1), len(minutes))
    is_run = rng.random(len(scheduled)) > 0.004
    scheduled, schedule_id = scheduled[is_run], schedule_id[is_run]
    start = scheduled + rng.integers(200, 5_000, len(scheduled))
    order = np.argsort(start)
    start, scheduled, schedule_id = start[order], scheduled[order], schedule_id[order]
    duration = rng.integers(1_000, 60_000, len(scheduled))
    function_id = schedule_id % 20 + 1
    calls = pd.DataFrame(
        {
            "call_id": np.arange(1, len(scheduled) + 1),
            "function_id": function_id,
            "function": pd.Categorical.from_codes(
                function_id - 1, categories=pd.Index([f"f{number}" for number in range(1, 21)], dtype=frame.TEXT)
            ),
            "schedule_id": pd.array(schedule_id, dtype="Int64"),
            "status": pd.Categorical.from_codes(
                np.ones(len(scheduled), dtype="int8"), categories=pd.Index(list(frame.STATUSES), dtype=frame.TEXT)
            ),
            **{name: _utc(times) for name, times in (("scheduled_time", scheduled), ("start_time", start))},
            "end_time": _utc(start + duration),
            "schedule_delay": (start - scheduled).view("timedelta64[ms]"),
            "duration": duration.view("timedelta64[ms]"),
            "error_message": pd.array([None] * len(scheduled), dtype=frame.TEXT),
            "error_trace": pd.array([None] * len(scheduled), dtype=frame.TEXT),
        }
    )
    functions = tuple(FunctionCoverage(number, f"f{number}", created_ms=0) for number in range(1, 21))
    window = timespan.TimeRange(int(minutes[0]), now_ms)
    Coverage(now_ms, functions, "benchmark", window).attach(calls)
    function_ids = np.arange(1, count + 1) % 20 + 1
    schedules = pd.DataFrame(
        {
            "schedule_id": np.arange(1, count + 1),
            "function_id": function_ids,
            "function": [f"f{function_id}" for function_id in function_ids],
            "cron_expression": "* * * * *",
            "created_time": _utc(np.zeros(count, dtype="int64")),
        }
    )
    return calls, schedules


def _utc(times_ms: Any) -> Any:
    import pandas as pd

    return pd.DatetimeIndex(times_ms.astype("datetime64[ms]")).tz_localize("UTC")


def _timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start_s = clock()
    work()
    return clock() - start_s


def _alternate(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Time two functions alternately, after a first run that does not count; returns the median of each."""
    pairs = [(_timed(first, clock), _timed(second, clock)) for _ in range(repeats + (repeats > 1))]
    first_s, second_s = zip(*pairs[-repeats:], strict=True)
    return statistics.median(first_s), statistics.median(second_s)


def _fetch_result(ids: list[int], seconds: float) -> dict[str, Any]:
    """Return the time of a fetch, the peak memory so far, and the number and a digest of the calls."""
    peak_mb = _peak_mb()
    digest = hashlib.sha256(",".join(map(str, sorted(ids))).encode()).hexdigest()
    return {"seconds": seconds, "peak_mb": peak_mb, "rows": len(ids), "ids": digest}


def _peak_mb() -> float:
    """Return the peak memory of this process. Linux's `ru_maxrss` includes the parent, `VmHWM` does not."""
    status = Path("/proc/self/status")
    if status.exists() and (match := re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))):
        return int(match[1]) * 1024 / 1e6
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _pages(page_rows: int) -> list[bytes]:
    """Fetch the bodies of all pages of the first function."""
    import requests

    url = f"{os.environ['CDF_URL']}/api/v1/projects/{os.environ['CDF_PROJECT']}/functions"
    pages: list[bytes] = []
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {os.environ['CDF_TOKEN']}"
        function = session.post(f"{url}/list", json={}, timeout=60).json()["items"][0]
        query: dict[str, Any] = {"limit": page_rows}
        while True:
            response = session.get(f"{url}/{function['id']}/calls", params=query, timeout=60)
            response.raise_for_status()
            pages.append(response.content)
            query["cursor"] = response.json().get("nextCursor")
            if query["cursor"] is None:
                return pages


def analysis(rows: int, repeats: int) -> dict[str, Any]:
    """Group failures and check data quality; one call in twenty failed, with a trace."""
    import callframe as cf
    from callframe.completeness import CallSet, Coverage

    calls = _sample_frame(rows)
    Coverage(0, described=CallSet.of(calls)).attach(calls)
    failed = calls["status"] == "Failed"
    analyses: dict[str, Callable[[Any], object]] = {
        "failures": cf.failures,
        "quality": cf.quality,
        "is_complete": cf.is_complete,
        "incidents": cf.incidents,
        "changes": cf.changes,
        "contrast": lambda calls: cf.contrast(calls, failed),
        "findings": cf.findings,
    }
    times_s: dict[str, list[float]] = {name: [] for name in analyses}
    for _ in range(repeats):
        for name, analyse in analyses.items():
            times_s[name].append(_timed(functools.partial(analyse, calls)))
    return {name: statistics.median(seconds) for name, seconds in times_s.items()}


def plots(rows: int, repeats: int) -> dict[str, Any]:
    """Draw each plot of many calls to pixels."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib.figure import Figure

    import callframe as cf

    def draw() -> None:
        figure = Figure(layout="constrained")
        getattr(cf.plot, name)(calls, **options, ax=figure.add_subplot())
        figure.canvas.draw()

    calls = _sample_frame(rows)
    over_time = ("durations", "schedule_delays", "failures")
    variants: list[tuple[str, dict[str, str]]] = [(name, {"over": "time"}) for name in over_time]
    variants += [(name, {}) for name in (*over_time, "timeline", "heatmap", "concurrency", "survival")]
    result = {}
    for name, options in variants:
        times_s = [_timed(draw) for _ in range(repeats + 1)]
        result[" over ".join([name, *options.values()])] = statistics.median(times_s[1:])  # the first loads fonts
    return result


def explore(changes: int) -> dict[str, Any]:
    """Display many calls in a dashboard, and change its controls one after the other."""
    import gc

    import psutil

    import callframe as cf

    with cf.connect() as project:
        calls, schedules = project.calls(start="90d", progress=False), project.schedules()
    start_s = time.perf_counter()
    explorer = cf.explore(calls, schedules=schedules)
    first_s = time.perf_counter() - start_s
    names, drawn_s = calls["function"].cat.categories.tolist(), list[float]()
    explorer._picture.observe(lambda _: drawn_s.append(time.perf_counter()))
    changers: list[tuple[str, Callable[[int], object]]] = [
        ("functions", lambda k: tuple(names[: 1 + k % len(names)])),
        ("statuses", lambda k: ("Completed",) * (k % 2)),
        ("last", lambda k: ("7d", "24h", None)[k % 3]),
        ("tz", lambda k: ("Europe/Oslo", "UTC")[k % 2]),
        ("plot", lambda k: ("By hour of the week", "")[k % 2]),
    ]
    plot_s, all_s, process = list[float](), list[float](), psutil.Process()

    def memory_mb() -> float:
        """Measure the memory with the same selection, as a selection takes memory itself."""
        explorer.selection = {}
        gc.collect()
        return float(process.memory_info().rss) / 1e6

    for change in range(changes):
        if change == changes // 10:  # caches are full by then
            before_mb = memory_mb()
        field, value = changers[change % len(changers)]
        drawn_s.clear()
        start_s = time.perf_counter()
        explorer.selection = explorer.selection.replace(**{field: value(change // len(changers))})
        all_s.append(time.perf_counter() - start_s)
        plot_s += [drawn_s[0] - start_s] if drawn_s else []
    return {
        "first_s": first_s,
        "plot_s": statistics.median(plot_s),
        "all_s": statistics.median(all_s),
        "slowest_s": max(plot_s),
        "changes": len(plot_s),
        "growth_mb": memory_mb() - before_mb,
    }


def scale(repeats: int, *counts: int) -> dict[str, Any]:
    """Summarize archives of ten million calls a year by function, on a cluster of two workers of 1 GiB each."""
    from benchmarks import history

    results = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            written = history.write(history.generate(calls=count, days=max(2.0, 365 * count / 10_000_000)), folder)
            results.append(_summarize_on_cluster(folder, repeats))
        if results[-1]["calls"] != written:
            raise AssertionError(f"{written:,} calls were written, {results[-1]['calls']:,} were summarized.")
    return {"archives": results}


def _summarize_on_cluster(folder: str, repeats: int) -> dict[str, Any]:
    from distributed import Client, LocalCluster

    import callframe as cf

    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1GiB"}
    options |= {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        workers = set(client.run(os.getpid).values())
        calls = cf.Archive(folder).dask()
        cf.summarize(calls.partitions[:2])  # the workers import their libraries
        seconds = statistics.median(_timed(functools.partial(cf.summarize, calls)) for _ in range(repeats))
        summary = cf.summarize(calls)
        peaks = client.run(_peak_mb).values()
        if workers != set(client.run(os.getpid).values()):
            raise AssertionError("Workers ran out of memory and were restarted.")
    sizes = {"calls": int(summary["calls"].sum()), "partitions": calls.npartitions}
    return sizes | {"seconds": seconds, "peak_mb": max(peaks)}


def _sample_frame(rows: int) -> Any:
    """Build a call frame with failures of every cause."""
    from callframe import frame
    from callframe.api import schemas
    from callframe.api.schemas import Call, CallError
    from callframe.sample.call_output import ERROR_SAMPLES, error

    start, gap = 1_790_000_000_000, 14 * 86_400_000 // rows
    records = []
    for k in range(rows):
        failed = k % 20 == 0
        sample = error(k + 1, start + k * gap, k // 20 % len(ERROR_SAMPLES)) if failed else {}
        records.append(
            Call(
                id=4_503_599_627_370_496 + k,
                function_id=k * 7919 % 20_011 % 20 + 1,
                status="Failed" if failed else "Completed",
                start_time=start + k * gap,
                end_time=start + k * gap + 20_000,
                scheduled_time=start + k * gap,
                schedule_id=k % 100 + 1,
                error=CallError(sample["message"], sample.get("trace")) if failed else None,
            )
        )
    return frame.from_columns([schemas.to_columns(records)], {number: f"function-{number}" for number in range(1, 21)})


def archive(calls: int, days: int, new_calls: int, repeats: int) -> dict[str, Any]:
    """Write an archive of years, read a day of it, sync new calls into it and read its rollup."""
    import shutil

    import pandas as pd

    import callframe as cf
    from benchmarks import history

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "calls.delta")
        generated = history.generate(calls=calls, days=days, hold_back=new_calls)
        write_s = _timed(lambda: history.write(generated, str(path)))
        day = pd.Timestamp((generated.start_ms + generated.end_ms) // 2, unit="ms", tz="UTC").floor("1D")
        archive = cf.Archive(path)
        read_day = functools.partial(archive.calls, start=day, end=day + pd.Timedelta("1D"))
        day_s = [_timed(read_day) for _ in range(repeats)]
        first_rollup_s = _timed(archive.rollup)
        rollup_s = [_timed(archive.rollup) for _ in range(repeats)]
        copies = [Path(folder, f"copy-{k}") for k in range(repeats)]
        for copy in copies:
            shutil.copytree(path, copy, copy_function=os.link)  # its files are never changed
        syncs = [_sync_into(copy, generated, new_calls) for copy in copies]
        return {
            "write_s": write_s,
            "day_s": statistics.median(day_s),
            "day_rows": len(read_day()),
            "first_rollup_s": first_rollup_s,
            "rollup_s": statistics.median(rollup_s),
            "rollup_rows": len(archive.rollup()),
            "sync_s": statistics.median(sync_s for sync_s, _ in syncs),
            "fetch_s": statistics.median(fetch_s for _, fetch_s in syncs),
            "size_mb": archive.info().size_bytes / 1e6,
        }


def archive_month(calls: int, days: int, *reported: int) -> dict[str, Any]:
    """Run `callframe sync` every hour, and measure the archive after some numbers of syncs."""
    import datetime as dt

    from benchmarks.processes import later_clock
    from callframe import Archive
    from callframe.sample.project_data import ProjectData
    from callframe.sample.server import Service

    hour_s, number, first = 3600, 0, dt.datetime.now(dt.UTC)
    end = first + dt.timedelta(hours=max(reported))
    data = ProjectData.generate(calls=calls, functions=20, seed=0, end_time=end, days=days)
    results, seconds = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        Service(data, clock=lambda: time.time() + number * hour_s) as service,
    ):
        path = Path(folder, "calls.delta")
        command = [sys.executable, "-m", "callframe", "sync", str(path)]
        for number in range(1, max(reported) + 1):
            environment = {**os.environ, **service.environment(), **later_clock(number * hour_s)}
            start_s, start_time = time.perf_counter(), time.time()
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start_s)
            files = [file for file in path.rglob("*") if file.is_file()]
            for file in files:  # the clock of the file system is not moved on
                if start_time <= file.stat().st_mtime <= time.time():
                    os.utime(file, (time.time() + number * hour_s,) * 2)
            if number in reported:
                size_mb = sum(file.stat().st_size for file in files) / 1e6
                live_mb = Archive(path).info().size_bytes / 1e6
                sync_s = statistics.median(seconds[-24:])
                results.append(
                    {"syncs": number, "files": len(files), "size_mb": size_mb, "live_mb": live_mb, "sync_s": sync_s}
                )
    return {"months": results}


def _sync_into(path: Path, generated: Any, new_calls: int) -> tuple[float, float]:
    """Sync the new calls; returns the seconds without the fetch, and those of the fetch."""
    from benchmarks.history import newest_calls
    from callframe import Archive, connect
    from callframe.api import fetch
    from callframe.project import Project
    from callframe.sample.server import Service

    fetch_times_s: list[float] = []
    run_queries = fetch.run_queries

    def timed_run_queries(*arguments: Any, **options: Any) -> Any:
        start_s = time.perf_counter()
        result = run_queries(*arguments, **options)
        fetch_times_s.append(time.perf_counter() - start_s)
        return result

    with Service(newest_calls(generated), clock=lambda: (generated.end_ms + 1) / 1000) as service:
        client = connect(base_url=service.url, project=service.project, token=service.token).client
        project = Project(client, clock=lambda: (generated.end_ms + 1) / 1000)
        fetch.run_queries = timed_run_queries
        start_s = time.perf_counter()
        report = Archive(path).sync(project)
        total_s = time.perf_counter() - start_s
        fetch.run_queries = run_queries
        project.close()
    if report.new != new_calls:
        raise AssertionError(f"Expected {new_calls:,} new calls: found {report.new:,} in {report}")
    return total_s - sum(fetch_times_s), sum(fetch_times_s)


def structure() -> dict[str, Any]:
    """Measure the size of the package, and the files that three flows execute."""
    from benchmarks.structure import flows, sizes

    modules, functions = sizes()
    longest = max(functions, key=lambda function: function.code_lines)
    return {
        "modules": len(modules),
        "lines": sum(module.lines for module in modules),
        "lines of code": sum(module.code_lines for module in modules),
        "lines of docstrings": sum(module.docstring_lines for module in modules),
        "median function": statistics.median(function.code_lines for function in functions),
        "longest function": longest.code_lines,
        "longest_name": longest.name,
        "flows": {name: len(files) for name, files in flows()},
    }


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "callframe": fetch_with_callframe,
    "cognite-sdk": fetch_with_sdk,
    "history": fetch_history,
    "decode": decode,
    "outputs": read_outputs,
    "csv": write_csv,
    "summarize": summarize,
    "import": import_modules,
    "start": start_command,
    "missed": missed_runs,
    "concurrency": concurrency,
    "compare": compare,
    "explore": explore,
    "plots": plots,
    "archive": archive,
    "archive-month": archive_month,
    "analysis": analysis,
    "scale": scale,
    "structure": structure,
}

if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    print(json.dumps(TASKS[task](*(int(value) if value.isdecimal() else value for value in arguments))))
