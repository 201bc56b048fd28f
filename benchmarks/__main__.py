"""
Run the benchmarks and print every measurement with its target.

    uv run python -m benchmarks                 # all of them; about ten minutes
    uv run python -m benchmarks csv import      # some of them
    uv run python -m benchmarks --quick         # small sizes, to check that they run

Relative measurements run both alternatives alternately in the same run, so that a slow machine affects both; the median
of the repeats counts. Memory and some times are absolute.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import sys

from benchmarks.suite import BENCHMARKS, FULL, QUICK, Measurement


def main() -> None:
    """Run the benchmarks that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure speed, memory and structure.")
    names = ", ".join(BENCHMARKS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benchmarks to run, by default all: {names}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that they run")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {', '.join(unknown)}; expected {names}")
    sizes = QUICK if options.quick else FULL
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}", end="", flush=True)
    print(", quick: the targets are for full sizes" if options.quick else "", end="\n\n", flush=True)
    measurements: list[Measurement] = []
    for name in options.names or BENCHMARKS:
        print(f"running: {name}", file=sys.stderr, flush=True)
        measurements += BENCHMARKS[name](sizes)
    print("\n".join(_table(measurements)))


def _table(measurements: list[Measurement]) -> list[str]:
    """Format the measurements as a table."""
    rows = [("benchmark", "measurement", "value", "target", "result", "details")]
    rows += [(m.benchmark, m.name, m.value_text, m.target_text, m.result, m.details) for m in measurements]
    widths = [max(map(len, column)) for column in itertools.islice(zip(*rows, strict=True), len(rows[0]) - 1)]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows]


if __name__ == "__main__":
    main()
