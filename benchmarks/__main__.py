"""
Measure the speed and the memory that callframe promises, and print every figure, those that fall short too.

    uv run python -m benchmarks                 # all of it; about ten minutes
    uv run python -m benchmarks csv import      # some of it
    uv run python -m benchmarks --quick         # small sizes: whether it runs, not how fast

Each figure is a ratio of two things measured in turns in the same run, so a slow machine is slow for both; of several
turns the median counts. Memory, the time of imports and that of missed runs and concurrency are absolute.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import sys

from benchmarks.figures import BENCHMARKS, FULL, QUICK, Figure


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the speed and the memory that callframe promises."
    )
    names = ", ".join(BENCHMARKS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure, by default all: {names}")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it runs, not how fast")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {names}")
    sizes = QUICK if options.quick else FULL
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}", end="", flush=True)
    print(", quick: the targets are for full sizes" if options.quick else "", end="\n\n", flush=True)
    figures: list[Figure] = []
    for name in options.names or BENCHMARKS:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        figures += BENCHMARKS[name](sizes)
    print("\n".join(_table(figures)))


def _table(figures: list[Figure]) -> list[str]:
    """Lay the figures out, a line each."""
    rows = [("benchmark", "figure", "measured", "target", "", "from")]
    rows += [(one.benchmark, one.what, one.shown, one.target, one.verdict, one.basis) for one in figures]
    widths = [max(map(len, column)) for column in itertools.islice(zip(*rows, strict=True), len(rows[0]) - 1)]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows]


if __name__ == "__main__":
    main()
