"""The benchmarks: what each measures, and its target."""

from __future__ import annotations

import itertools
import operator
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.fetching import HISTORIES, ORDERS
from benchmarks.processes import run, serve, serve_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.processes import Result


_WORKERS = 5


@dataclass(frozen=True)
class Sizes:
    """
    How much to measure.

    Parameters
    ----------
    calls
        Calls of the function that both clients fetch.
    latency_s
        Latency of the service in the benchmark that has one.
    pages, page_rows
        Pages to decode, and their rows.
    rows
        Calls to write as CSV, to summarize and to explore.
    many_calls
        Calls to fetch with little memory, and to plot.
    schedules, days
        Schedules of every minute whose missed runs are found, and the days.
    scale
        Calls of the archives that a cluster summarizes, the smaller one first.
    repeats
        Repeats of each measurement; the result is the median.
    import_repeats
        Repeats of imports, which are short and noisy.
    changes
        Changes of controls of the dashboard.
    archived, archived_days
        Calls of an archive, and their days.
    new_calls
        New calls to sync into it.
    hourly_calls, hourly_days, syncs
        Calls that are synced every hour, their days, and after how many syncs the archive is measured.
    outputs
        Calls whose responses and logs are read.
    """

    calls: int = 200_000
    latency_s: float = 0.1
    pages: int = 20
    page_rows: int = 10_000
    rows: int = 1_000_000
    many_calls: int = 1_000_000
    schedules: int = 100
    days: int = 14
    scale: tuple[int, int] = (1_000_000, 10_000_000)
    repeats: int = 3
    import_repeats: int = 9
    changes: int = 100
    archived: int = 10_000_000
    archived_days: int = 365
    hourly_calls: int = 43_600
    hourly_days: int = 31
    syncs: tuple[int, ...] = (24, 168, 720)
    new_calls: int = 60_000
    outputs: int = 1_000


FULL = Sizes()
QUICK = Sizes(
    calls=3_000,
    latency_s=0.01,
    pages=2,
    page_rows=1_000,
    rows=5_000,
    many_calls=5_000,
    schedules=3,
    days=1,
    scale=(5_000, 20_000),
    repeats=1,
    import_repeats=1,
    changes=10,
    archived=20_000,
    archived_days=5,
    hourly_calls=500,
    hourly_days=3,
    syncs=(3, 6),
    new_calls=300,
    outputs=50,
)


@dataclass(frozen=True)
class Measurement:
    """A measured value with its unit and target; without a target it is only informative."""

    benchmark: str
    name: str
    value: float
    target: float | None
    unit: str
    details: str = ""
    is_minimum: bool = False

    @property
    def value_text(self) -> str:
        """The value with its unit."""
        return f"{self.value:.3g}{self.unit}" if self.value < 1000 else f"{self.value:.0f}{self.unit}"

    @property
    def target_text(self) -> str:
        """The target with its unit."""
        if self.target is None:
            return ""
        return f"{'>=' if self.is_minimum else '<='} {self.target:g}{self.unit}"

    @property
    def result(self) -> str:
        """Whether the value reaches the target."""
        if self.target is None:
            return ""
        reaches = operator.ge if self.is_minimum else operator.le
        return "PASS" if reaches(self.value, self.target) else "FAIL"


def fetch(sizes: Sizes) -> list[Measurement]:
    """Fetch all calls of one function with callframe and with the official SDK, from the same service."""
    speed, memory = _fetch_with_both(sizes, 0.0, 6)
    speed_with_latency, _ = _fetch_with_both(sizes, sizes.latency_s, 25)
    histories = [_fetch_history(sizes, name, order) for name in HISTORIES for order in ORDERS]
    return [speed_with_latency, speed, memory, *itertools.chain(*histories)]


def _fetch_history(sizes: Sizes, name: str, order: str) -> list[Measurement]:
    with serve_history(name, order, sizes.calls, sizes.latency_s) as service:
        result = run("history", service, name, sizes.repeats)
    if result["rows"] != HISTORIES[name].calls(sizes.calls):
        raise AssertionError(f"Calls are missing: {result}")
    ideal_s = HISTORIES[name].ideal_s(sizes.calls, sizes.latency_s)
    details = f"{result['seconds']:.2f} s, ideal {ideal_s:.2f} s, "
    details += f"{result['requests']} requests of {result['request_s']:.2f} s"
    target = 1.5 if name.startswith("even") else 2.0
    title = f"{sizes.calls:,} calls, {name}, {order}"
    return [
        Measurement(
            "fetch", f"{title}: time relative to the ideal", result["seconds"] / ideal_s, target, " x", details
        ),
        Measurement("fetch", f"{title}: records read per call", result["records"] / result["rows"], 1.3, ""),
    ]


def _fetch_with_both(sizes: Sizes, latency_s: float, target: float) -> tuple[Measurement, Measurement]:
    with serve(calls=sizes.calls, functions=1, latency_s=latency_s) as service:
        run("callframe", service)  # the service renders its records on the first request
        ours, theirs = _alternate(
            lambda: run("callframe", service), lambda: run("cognite-sdk", service), repeats=sizes.repeats
        )
    if len({result["ids"] for result in (*ours, *theirs)}) != 1 or ours[0]["rows"] != sizes.calls:
        raise AssertionError(f"The clients fetched different calls: {ours} {theirs}")
    ours_s, theirs_s = _median(ours, "seconds"), _median(theirs, "seconds")
    ours_mb, theirs_mb = _median(ours, "peak_mb"), _median(theirs, "peak_mb")
    return (
        Measurement(
            "fetch",
            f"{sizes.calls:,} calls, {latency_s * 1000:g} ms latency: speed relative to cognite-sdk",
            theirs_s / ours_s,
            target,
            " x",
            f"{ours_s:.2f} s, cognite-sdk {theirs_s:.2f} s",
            is_minimum=True,
        ),
        Measurement(
            "fetch",
            f"{sizes.calls:,} calls: peak memory relative to cognite-sdk",
            100 * ours_mb / theirs_mb,
            60,
            " %",
            f"{ours_mb:.0f} MB, cognite-sdk {theirs_mb:.0f} MB",
        ),
    )


def decode(sizes: Sizes) -> list[Measurement]:
    """Decode pages to a frame, and with bare msgspec to the same records."""
    with serve(calls=sizes.pages * sizes.page_rows, functions=1) as service:
        result = run("decode", service, sizes.page_rows, 4 * sizes.repeats)
    return [
        Measurement(
            "decode",
            f"{sizes.pages} pages of {sizes.page_rows:,} calls to a frame: time relative to bare msgspec",
            result["frame_s"] / result["msgspec_s"],
            2.5,
            " x",
            f"{result['frame_s']:.3f} s, msgspec {result['msgspec_s']:.3f} s",
        )
    ]


def csv(sizes: Sizes) -> list[Measurement]:
    """Write a frame as CSV, and the same columns with pandas."""
    with serve(calls=sizes.rows, functions=20) as service:
        result = run("csv", service, sizes.repeats)
    return [
        Measurement(
            "csv",
            f"{sizes.rows:,} calls to CSV: speed relative to DataFrame.to_csv",
            result["pandas_s"] / result["callframe_s"],
            3,
            " x",
            f"{result['callframe_s']:.2f} s, to_csv {result['pandas_s']:.2f} s",
            is_minimum=True,
        )
    ]


def summarize(sizes: Sizes) -> list[Measurement]:
    """Summarize by function, and compute quantiles of two columns by function with pandas."""
    with serve(calls=sizes.rows, functions=20) as service:
        result = run("summarize", service, 4 * sizes.repeats)
    return [
        Measurement(
            "summarize",
            f"{sizes.rows:,} calls of 20 functions: time relative to groupby.quantile",
            result["callframe_s"] / result["pandas_s"],
            3,
            " x",
            f"{result['callframe_s']:.3f} s, groupby.quantile {result['pandas_s']:.3f} s",
        )
    ]


def import_time(sizes: Sizes) -> list[Measurement]:
    """Import callframe, and its large dependencies alone."""
    run("import", "callframe", "requests")  # compiles them
    ours, theirs = _alternate(
        lambda: run("import", "callframe"), lambda: run("import", "pandas", "requests"), repeats=sizes.import_repeats
    )
    ours_s, theirs_s = _median(ours, "seconds"), _median(theirs, "seconds")
    details = f"{ours_s:.3f} s, pandas and requests {theirs_s:.3f} s"
    name = "import callframe, beyond pandas and requests"
    return [
        Measurement("import", name, ours_s - theirs_s, 0.15, " s", details),
        *(_start(option, sizes.import_repeats) for option in ("--version", "--help")),
    ]


def _start(option: str, repeats: int) -> Measurement:
    """Start the command line, and Python alone."""
    command = ("start", "-m", "callframe", option)
    run(*command)  # compiles the modules
    ours, theirs = _alternate(lambda: run(*command), lambda: run("start", "-c", "pass"), repeats=repeats)
    ours_s, theirs_s = _median(ours, "seconds"), _median(theirs, "seconds")
    details = f"{ours_s:.3f} s, Python alone {theirs_s:.3f} s"
    return Measurement("import", f"callframe {option}, beyond Python", ours_s - theirs_s, 0.3, " s", details)


def memory(sizes: Sizes) -> list[Measurement]:
    """Fetch many calls and measure the peak memory of the process."""
    with serve(calls=sizes.many_calls, functions=20) as service:
        results = [run("callframe", service) for _ in range(sizes.repeats)]
    if {result["rows"] for result in results} != {sizes.many_calls}:
        raise AssertionError(f"Expected {sizes.many_calls:,} calls: found {results}")
    details = f"in {_median(results, 'seconds'):.1f} s; the frame alone {results[0]['frame_mb']:.0f} MB"
    name = f"{sizes.many_calls:,} calls fetched: peak memory"
    return [Measurement("memory", name, _median(results, "peak_mb"), 700, " MB", details)]


def missed_runs(sizes: Sizes) -> list[Measurement]:
    """Find the missed runs of schedules of every minute."""
    result = run("missed", sizes.schedules, sizes.days, sizes.repeats)
    name = f"missed runs of {sizes.schedules:,} schedules of every minute in {sizes.days} days"
    details = f"{result['expected']:,} expected runs, {result['missed']:,} missed"
    return [Measurement("missed", name, result["seconds"], 5, " s", details)]


def outputs(sizes: Sizes) -> list[Measurement]:
    """Read the responses and the logs of many calls, and compare with requests that never wait for each other."""
    with serve(calls=2 * sizes.outputs, functions=4, latency_s=sizes.latency_s) as service:
        result = run("outputs", service, sizes.outputs)
    ideal_s = sizes.outputs * sizes.latency_s / _WORKERS
    memory = {"responses": "", "logs": f", {result['logs_mb']:.0f} MB more memory"}
    return [
        Measurement(
            "outputs",
            f"{sizes.outputs:,} {name}, {1000 * sizes.latency_s:.0f} ms latency: time relative to the ideal",
            result[name] / ideal_s,
            1.3,
            " x",
            f"{result[name]:.1f} s, ideal {ideal_s:.1f} s with {_WORKERS} workers{memory[name]}",
        )
        for name in ("responses", "logs")
    ]


def concurrency(sizes: Sizes) -> list[Measurement]:
    """Compute the number of concurrent calls over time."""
    result = run("concurrency", sizes.many_calls, sizes.repeats)
    details = f"{result['rows']:,} changes; by function {result['by_function_s']:.2f} s"
    return [Measurement("concurrency", f"curve of {sizes.many_calls:,} calls", result["seconds"], 2, " s", details)]


def analysis(sizes: Sizes) -> list[Measurement]:
    """Run the analyses that read messages and traces."""
    result = run("analysis", sizes.rows, sizes.repeats)
    targets = {"failures": 2, "quality": 2, "is_complete": 0.05, "incidents": 0.5, "changes": 3, "contrast": 0.5}
    details = f"{sizes.rows // 20:,} of them failed, with traces"
    return [
        Measurement("analysis", f"{name} of {sizes.rows:,} calls of 20 functions", result[name], target, " s", details)
        for name, target in (targets | {"findings": 8}).items()
    ]


def plots(sizes: Sizes) -> list[Measurement]:
    """Draw all plots and report the slowest."""
    result = run("plots", sizes.many_calls, sizes.repeats)
    slowest = max(result, key=lambda name: result[name])
    others = sorted(seconds for name, seconds in result.items() if name != slowest)
    details = f"the other {len(others)} take {others[0]:.2f} to {others[-1]:.2f} s"
    name = f"slowest plot of {sizes.many_calls:,} calls ({slowest})"
    return [Measurement("plots", name, result[slowest], 2, " s", details)]


def compare(sizes: Sizes) -> list[Measurement]:
    """Compare and roll up many calls, and summarize the rollup."""
    with serve(calls=sizes.rows, functions=20) as service:
        result = run("compare", service, sizes.repeats)
    pandas = f"groupby.quantile {result['pandas_s']:.2f} s"
    rollup = f"{result['rows']:,} rows by hour; {pandas}"
    calls = f"{sizes.rows:,} calls"
    return [
        Measurement("compare", f"{calls} compared, before and after", result["compare_s"], 2, " s", pandas),
        Measurement("compare", f"{calls} rolled up", result["rollup_s"], 2, " s", rollup),
        Measurement("compare", f"{calls} summarized from a rollup", result["summarize_s"], 2, " s", rollup),
    ]


def dashboard(sizes: Sizes) -> list[Measurement]:
    """Display the dashboard, change its controls, and measure the memory that remains."""
    with serve(calls=sizes.rows, functions=20) as service:
        result = run("explore", service, sizes.changes)
    calls = f"{sizes.rows:,} calls of 20 functions"
    changes = (
        f"median of {result['changes']} changes, slowest {result['slowest_s']:.2f} s;"
        f" all numbers after {result['all_s']:.2f} s"
    )
    memory_name = f"memory that {sizes.changes} changes leave"
    return [
        Measurement("explore", f"{calls}: first display", result["first_s"], 3, " s", "with imports, without fetch"),
        Measurement("explore", f"{calls}: change of a control to the new plot", result["plot_s"], 0.4, " s", changes),
        Measurement("explore", memory_name, result["growth_mb"], 20, " MB", calls),
    ]


def archive(sizes: Sizes) -> list[Measurement]:
    """Read, sync and roll up an archive of a year, and one with a tenth of its calls."""
    measurements = []
    for divisor in (10, 1):
        calls, new_calls = sizes.archived // divisor, sizes.new_calls
        result = run("archive", calls, sizes.archived_days, new_calls, sizes.repeats)
        size = f"{result['size_mb']:.0f} MB, written in {result['write_s']:.0f} s"
        day, fetched = f"{result['day_rows']:,} calls; {size}", f"after the fetch of {result['fetch_s']:.1f} s"
        sync = f"{new_calls:,} new calls synced into {calls:,}"
        rollup = f"{result['rollup_rows']:,} rows; {result['first_rollup_s']:.0f} s the first time"
        measurements += [
            Measurement("archive", f"a day of {calls:,} archived calls", result["day_s"], 0.5, " s", day),
            Measurement("archive", sync, result["sync_s"], 3, " s", fetched),
            Measurement("archive", f"rollup by day of {calls:,} archived calls", result["rollup_s"], 2, " s", rollup),
        ]
    return measurements


def scale(sizes: Sizes) -> list[Measurement]:
    """Summarize archives on a cluster of two workers of 1 GiB each."""
    small, large = run("scale", sizes.repeats, *sizes.scale)["archives"]
    small_calls, large_calls = sizes.scale
    name = f"{large_calls:,} calls summarized by 2 workers of 1 GiB"
    memory_details = f"{large['partitions']} partitions; {small_calls:,} calls {small['peak_mb']:.0f} MB"
    time_details = f"{large['seconds']:.1f} s; {small_calls:,} calls {small['seconds']:.1f} s"
    growth = large["seconds"] / small["seconds"]
    return [
        Measurement("scale", f"{name}: peak memory of a worker", large["peak_mb"], 1_000, " MB", memory_details),
        Measurement("scale", f"{name}: time relative to {small_calls:,}", growth, 12, " x", time_details),
    ]


def structure(_: Sizes) -> list[Measurement]:
    """Measure the size of the package, and the files that three flows execute."""
    result = run("structure")
    rows = [("modules", "", ""), ("lines", "", ""), ("lines of code", "", ""), ("lines of docstrings", "", "")]
    rows += [("median function", " lines of code", ""), ("longest function", " lines of code", result["longest_name"])]
    sizes = [Measurement("structure", name, result[name], None, unit, details) for name, unit, details in rows]
    flows = [Measurement("structure", flow, count, None, " files") for flow, count in result["flows"].items()]
    return sizes + flows


def archive_month(sizes: Sizes) -> list[Measurement]:
    """Sync an archive every hour of a month."""
    measurements = []
    for result in run("archive-month", sizes.hourly_calls, sizes.hourly_days, *sizes.syncs)["months"]:
        name = f"after {result['syncs']:,} hourly syncs"
        size = f"{result['size_mb']:.1f} MB for {result['live_mb']:.2f} MB of calls"
        measurements += [
            Measurement("archive-month", f"{name}: files", result["files"], 500, "", size),
            Measurement("archive-month", f"{name}: a sync", result["sync_s"], 1, " s", "median of the last 24"),
        ]
    ratio = result["size_mb"] / result["live_mb"]  # earlier there are few calls yet
    return [*measurements, Measurement("archive-month", f"{name}: size by that of the calls", ratio, 10, " x", size)]


BENCHMARKS: dict[str, Callable[[Sizes], list[Measurement]]] = {
    "fetch": fetch,
    "decode": decode,
    "csv": csv,
    "summarize": summarize,
    "import": import_time,
    "memory": memory,
    "outputs": outputs,
    "missed": missed_runs,
    "concurrency": concurrency,
    "analysis": analysis,
    "plots": plots,
    "compare": compare,
    "explore": dashboard,
    "archive": archive,
    "scale": scale,
    "structure": structure,
    "archive-month": archive_month,
}


def _alternate(
    first: Callable[[], Result], second: Callable[[], Result], *, repeats: int
) -> tuple[list[Result], list[Result]]:
    """Run two measurements alternately, so that other load on the machine affects both."""
    pairs = [(first(), second()) for _ in range(repeats)]
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def _median(results: list[Result], name: str) -> float:
    return float(statistics.median(result[name] for result in results))
