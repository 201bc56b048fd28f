"""The figures: what is measured, from what, and what it should be."""

from __future__ import annotations

import operator
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.processes import run, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.processes import Result


@dataclass(frozen=True)
class Sizes:
    """
    How much to measure.

    Parameters
    ----------
    calls
        Calls of the one function that both clients fetch.
    latency_s
        How far away the service seems to be, where it does.
    pages, page_rows
        Pages to decode.
    rows
        Rows to write as CSV, and to measure.
    many_calls
        Calls whose fetch must not take too much memory, and which are measured.
    schedules, days
        Schedules that run each minute, and for how long, to find their missed runs.
    turns
        How often each is measured; the median counts.
    scale
        Calls of the archives that a cluster summarizes, the smaller one first.
    imports
        How often imports are measured: they are short, and the machine is noisy.
    changes
        Changes of controls of the dashboard.
    archived, archived_days
        Calls of an archive, and over how many days.
    fresh
        New calls to sync into it.
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
    turns: int = 3
    imports: int = 9
    changes: int = 100
    archived: int = 10_000_000
    archived_days: int = 365
    fresh: int = 60_000


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
    turns=1,
    imports=1,
    changes=10,
    archived=20_000,
    archived_days=5,
    fresh=300,
)


@dataclass(frozen=True)
class Figure:
    """
    One figure, and what it should be.

    Parameters
    ----------
    benchmark
        Which benchmark gave it.
    what
        What it tells.
    value
        What was measured.
    bound
        What it should be at least, or at most where `at_most` says so.
    unit
        Comes after the number.
    basis
        What it was made of.
    at_most
        Whether less is better.
    """

    benchmark: str
    what: str
    value: float
    bound: float
    unit: str
    basis: str
    at_most: bool = True

    @property
    def shown(self) -> str:
        """What was measured, with its unit."""
        return f"{self.value:.3g}{self.unit}" if self.value < 1000 else f"{self.value:.0f}{self.unit}"

    @property
    def target(self) -> str:
        """What it should be, with its unit."""
        return f"{'<=' if self.at_most else '>='} {self.bound:g}{self.unit}"

    @property
    def verdict(self) -> str:
        """Whether it is as it should be."""
        keeps = operator.le if self.at_most else operator.ge
        return "PASS" if keeps(self.value, self.bound) else "short"


def fetching(sizes: Sizes) -> list[Figure]:
    """All calls of one function, by callframe and by the official SDK, from the same service."""
    near, peaks = _against_sdk(sizes, 0.0, 6)
    far, _ = _against_sdk(sizes, sizes.latency_s, 25)
    return [far, near, peaks]


def _against_sdk(sizes: Sizes, latency_s: float, bound: float) -> tuple[Figure, Figure]:
    with serve(calls=sizes.calls, functions=1, latency_s=latency_s) as service:
        run("callframe", service)  # the service makes its records when they are first asked for
        ours, theirs = _in_turns(
            lambda: run("callframe", service), lambda: run("cognite-sdk", service), turns=sizes.turns
        )
    if len({one["ids"] for one in (*ours, *theirs)}) != 1 or ours[0]["rows"] != sizes.calls:
        raise AssertionError(f"The clients disagree on the calls: {ours} {theirs}")
    ours_s, theirs_s = _median(ours, "seconds"), _median(theirs, "seconds")
    ours_mb, theirs_mb = _median(ours, "peak_mb"), _median(theirs, "peak_mb")
    return (
        Figure(
            "fetch",
            f"{sizes.calls:,} calls at {latency_s * 1000:g} ms, times as fast as cognite-sdk",
            theirs_s / ours_s,
            bound,
            " x",
            f"{ours_s:.2f} s, cognite-sdk {theirs_s:.2f} s",
            at_most=False,
        ),
        Figure(
            "fetch",
            f"{sizes.calls:,} calls, peak memory of that of cognite-sdk",
            100 * ours_mb / theirs_mb,
            60,
            " %",
            f"{ours_mb:.0f} MB, cognite-sdk {theirs_mb:.0f} MB",
        ),
    )


def decoding(sizes: Sizes) -> list[Figure]:
    """Pages to the finished frame, and bare decoding of the same bytes into the same records."""
    with serve(calls=sizes.pages * sizes.page_rows, functions=1) as service:
        found = run("decode", service, str(sizes.page_rows), str(4 * sizes.turns))
    return [
        Figure(
            "decode",
            f"{sizes.pages} pages of {sizes.page_rows:,} to the frame, of bare msgspec's time",
            found["frame_s"] / found["bare_s"],
            2.5,
            " x",
            f"{found['frame_s']:.3f} s, msgspec {found['bare_s']:.3f} s",
        )
    ]


def writing(sizes: Sizes) -> list[Figure]:
    """A frame to CSV, and pandas' own CSV of the same columns."""
    with serve(calls=sizes.rows, functions=20) as service:
        found = run("csv", service, str(sizes.turns))
    return [
        Figure(
            "csv",
            f"{sizes.rows:,} rows to CSV, times as fast as DataFrame.to_csv",
            found["pandas_s"] / found["callframe_s"],
            3,
            " x",
            f"{found['callframe_s']:.2f} s, to_csv {found['pandas_s']:.2f} s",
            at_most=False,
        )
    ]


def summarizing(sizes: Sizes) -> list[Figure]:
    """A summary by function, and pandas' own quantiles by function of the two columns it takes them of."""
    with serve(calls=sizes.rows, functions=20) as service:
        found = run("summarize", service, str(4 * sizes.turns))
    return [
        Figure(
            "summarize",
            f"{sizes.rows:,} calls of 20 functions, of groupby.quantile's time",
            found["callframe_s"] / found["pandas_s"],
            3,
            " x",
            f"{found['callframe_s']:.3f} s, groupby.quantile {found['pandas_s']:.3f} s",
        )
    ]


def importing(sizes: Sizes) -> list[Figure]:
    """What `import callframe` takes over pandas and requests, which it cannot do without."""
    run("import", "callframe", "requests")  # compiles them
    ours, theirs = _in_turns(
        lambda: run("import", "callframe"), lambda: run("import", "pandas", "requests"), turns=sizes.imports
    )
    ours_s, theirs_s = _median(ours, "seconds"), _median(theirs, "seconds")
    basis = f"{ours_s:.3f} s, pandas and requests {theirs_s:.3f} s"
    return [Figure("import", "import callframe, over pandas and requests", ours_s - theirs_s, 0.15, " s", basis)]


def remembering(sizes: Sizes) -> list[Figure]:
    """The memory that fetching many calls takes at its peak, imports included."""
    with serve(calls=sizes.many_calls, functions=20) as service:
        found = [run("callframe", service) for _ in range(sizes.turns)]
    if {one["rows"] for one in found} != {sizes.many_calls}:
        raise AssertionError(f"Not all {sizes.many_calls:,} calls arrived: {found}")
    basis = f"in {_median(found, 'seconds'):.1f} s; the frame itself {found[0]['frame_mb']:.0f} MB"
    what = f"{sizes.many_calls:,} calls fetched, peak memory"
    return [Figure("memory", what, _median(found, "peak_mb"), 700, " MB", basis)]


def missing(sizes: Sizes) -> list[Figure]:
    """Missed runs of schedules that run each minute, where some calls are lacking."""
    found = run("missed", str(sizes.schedules), str(sizes.days), str(sizes.turns))
    what = f"{sizes.schedules:,} minute schedules over {sizes.days} days"
    basis = f"{found['slots']:,} slots, {found['missed']:,} without a call"
    return [Figure("missed", what, found["seconds"], 5, " s", basis)]


def crowding(sizes: Sizes) -> list[Figure]:
    """The exact curve of how many calls ran at the same time."""
    found = run("concurrency", str(sizes.many_calls), str(sizes.turns))
    basis = f"{found['rows']:,} changes; by function {found['by_function_s']:.2f} s"
    return [Figure("concurrency", f"curve of {sizes.many_calls:,} calls", found["seconds"], 2, " s", basis)]


def comparing(sizes: Sizes) -> list[Figure]:
    """Comparison and rollup of many calls, and the summary of that rollup."""
    with serve(calls=sizes.rows, functions=20) as service:
        found = run("mergeable", service, str(sizes.turns))
    beside = f"groupby.quantile {found['bare_s']:.2f} s"
    table = f"{found['rows']:,} rows by the hour; {beside}"
    what = f"{sizes.rows:,} calls"
    return [
        Figure("compare", f"{what} compared, before and after", found["compare_s"], 2, " s", beside),
        Figure("compare", f"{what} rolled up", found["rollup_s"], 2, " s", table),
        Figure("compare", f"{what} summarized from the rollup", found["read_s"], 2, " s", table),
    ]


def measuring(sizes: Sizes) -> list[Figure]:
    """The measures that read messages and traces."""
    found = run("measure", str(sizes.rows), str(sizes.turns))
    basis = f"{sizes.rows // 20:,} of them failed, with traces"
    return [
        Figure("measures", f"{name} of {sizes.rows:,} calls of 20 functions", found[name], 2, " s", basis)
        for name in ("failures", "quality")
    ]


def drawing(sizes: Sizes) -> list[Figure]:
    """The picture that takes the longest."""
    found = run("draw", str(sizes.many_calls), str(sizes.turns))
    slowest = max(found, key=lambda name: found[name])
    others = sorted(value for name, value in found.items() if name != slowest)
    basis = f"the other {len(others)} take {others[0]:.2f} to {others[-1]:.2f} s"
    what = f"slowest picture of {sizes.many_calls:,} calls ({slowest})"
    return [Figure("pictures", what, found[slowest], 2, " s", basis)]


def exploring(sizes: Sizes) -> list[Figure]:
    """The dashboard: until it shows, from a change of a control to the new picture, and what it keeps of each."""
    with serve(calls=sizes.rows, functions=20) as service:
        found = run("explore", service, str(sizes.changes))
    what = f"{sizes.rows:,} calls of 20 functions"
    changes = (
        f"median of {found['changes']} changes, slowest {found['slowest_s']:.2f} s; all numbers after"
        f" {found['whole_s']:.2f} s"
    )
    return [
        Figure("explore", f"{what}, first display", found["first_s"], 3, " s", "fetched before, imports too"),
        Figure("explore", f"{what}, change of a control to the new picture", found["picture_s"], 0.4, " s", changes),
        Figure("explore", f"memory that {sizes.changes} changes leave", found["growth_mb"], 20, " MB", what),
    ]


def archiving(sizes: Sizes) -> list[Figure]:
    """An archive of a year, and one of a tenth of it: a day read, new calls synced, all of it rolled up."""
    figures = []
    for share in (10, 1):
        calls, days = sizes.archived // share, sizes.archived_days
        found = run("archive", str(calls), str(days), str(sizes.fresh), str(sizes.turns))
        of = f"of {calls:,} archived calls"
        size = f"{found['size_mb']:.0f} MB, written in {found['write_s']:.0f} s"
        rollup = f"{found['rollup_rows']:,} rows; {found['count_s']:.0f} s the first time"
        figures += [
            Figure("archive", f"a day {of}", found["day_s"], 0.5, " s", f"{found['day_rows']:,} calls; {size}"),
            Figure(
                "archive",
                f"{sizes.fresh:,} new calls synced into {calls:,}",
                found["sync_s"],
                3,
                " s",
                f"after the fetch of {found['fetch_s']:.1f} s",
            ),
            Figure("archive", f"rollup by day {of}", found["rollup_s"], 2, " s", rollup),
        ]
    return figures


def scaling(sizes: Sizes) -> list[Figure]:
    """A summary of an archive on a cluster of two workers of 1 GiB each, and how its cost grows."""
    small, large = run("scale", str(sizes.turns), *map(str, sizes.scale))["sizes"]
    what = f"{sizes.scale[1]:,} calls summarized by 2 workers of 1 GiB"
    times = f"{large['seconds']:.1f} s; {sizes.scale[0]:,} calls {small['seconds']:.1f} s"
    peaks = f"{large['partitions']} partitions; {sizes.scale[0]:,} calls {small['peak_mb']:.0f} MB"
    growth = large["seconds"] / small["seconds"]
    return [
        Figure("scale", f"{what}, peak memory of a worker", large["peak_mb"], 1_000, " MB", peaks),
        Figure("scale", f"{what}, of the time of {sizes.scale[0]:,}", growth, 12, " x", times),
    ]


BENCHMARKS: dict[str, Callable[[Sizes], list[Figure]]] = {
    "fetch": fetching,
    "decode": decoding,
    "csv": writing,
    "summarize": summarizing,
    "import": importing,
    "memory": remembering,
    "missed": missing,
    "concurrency": crowding,
    "measures": measuring,
    "pictures": drawing,
    "compare": comparing,
    "explore": exploring,
    "archive": archiving,
    "scale": scaling,
}


def _in_turns(
    first: Callable[[], Result], second: Callable[[], Result], *, turns: int
) -> tuple[list[Result], list[Result]]:
    """Run two things by turns, so that what else the machine does meets both."""
    pairs = [(first(), second()) for _ in range(turns)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def _median(found: list[Result], name: str) -> float:
    return float(statistics.median(one[name] for one in found))
