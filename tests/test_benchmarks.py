"""The benchmarks run and print every result with its target. Speed itself is measured on an idle machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
RESULTS = {
    "fetch": [
        "3,000 calls at 0 ms, times as fast as cognite-sdk >= 6 x",
        "3,000 calls at 10 ms, times as fast as cognite-sdk >= 25 x",
        "3,000 calls, peak memory of that of cognite-sdk <= 60 %",
    ],
    "decode": ["2 pages of 1,000 to the frame, of bare msgspec's time <= 2.5 x"],
    "csv": ["5,000 rows to CSV, times as fast as DataFrame.to_csv >= 3 x"],
    "summarize": ["5,000 calls of 20 functions, of groupby.quantile's time <= 3 x"],
    "import": ["import callframe, over pandas and requests <= 0.15 s"],
    "memory": ["5,000 calls fetched, peak memory <= 700 MB"],
    "missed": ["3 minute schedules over 1 days <= 5 s"],
    "concurrency": ["curve of 5,000 calls <= 2 s"],
    "measures": ["failures of 5,000 calls of 20 functions <= 2 s", "quality of 5,000 calls of 20 functions <= 2 s"],
    "pictures": ["slowest picture of 5,000 calls <= 2 s"],
    "compare": [
        "5,000 calls compared, before and after <= 2 s",
        "5,000 calls rolled up <= 2 s",
        "5,000 calls summarized from the rollup <= 2 s",
    ],
    "explore": [
        "5,000 calls of 20 functions, first display <= 3 s",
        "5,000 calls of 20 functions, change of a control to the new picture <= 0.4 s",
        "memory that 10 changes leave <= 20 MB",
    ],
    "archive": [
        "a day of 20,000 archived calls <= 0.5 s",
        "300 new calls synced into 20,000 <= 3 s",
        "rollup by day of 20,000 archived calls <= 2 s",
    ],
    "scale": [
        "20,000 calls summarized by 2 workers of 1 GiB, peak memory of a worker <= 1000 MB",
        "20,000 calls summarized by 2 workers of 1 GiB, of the time of 5,000 <= 12 x",
    ],
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", RESULTS)
def test_every_result_is_printed_with_its_target_and_verdict(benchmark: str) -> None:
    completed = run("--quick", benchmark)
    assert completed.returncode == 0, completed.stderr
    lines = [line for line in completed.stdout.splitlines() if line.startswith(benchmark)]
    for result in RESULTS[benchmark]:
        what, sign, bound, _ = result.rsplit(" ", 3)
        [line] = [line for line in lines if what in line]
        assert f"{sign} {bound}" in line
        assert "  PASS  " in line or "  short  " in line


def test_unknown_benchmark_is_refused_with_the_known_names() -> None:
    completed = run("speed")
    assert completed.returncode == 2
    assert ", ".join(RESULTS) in " ".join(completed.stderr.split())
