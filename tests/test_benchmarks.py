"""The benchmarks run and print every result with its target. Speed itself is measured on an idle machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
RESULTS = {
    "fetch": [
        "3,000 calls, 0 ms latency: speed relative to cognite-sdk >= 6 x",
        "3,000 calls, 10 ms latency: speed relative to cognite-sdk >= 25 x",
        "3,000 calls: peak memory relative to cognite-sdk <= 60 %",
        "3,000 calls, even, random: time relative to the ideal <= 1.5 x",
        "3,000 calls, last 2 of 90 days, ascending: time relative to the ideal <= 2 x",
        "3,000 calls, in a millisecond, descending: records read per call <= 1.3 ",
    ],
    "decode": ["2 pages of 1,000 calls to a frame: time relative to bare msgspec <= 2.5 x"],
    "csv": ["5,000 calls to CSV: speed relative to DataFrame.to_csv >= 3 x"],
    "summarize": ["5,000 calls of 20 functions: time relative to groupby.quantile <= 3 x"],
    "import": [
        "import callframe, beyond pandas and requests <= 0.15 s",
        "callframe --version, beyond Python <= 0.3 s",
        "callframe --help, beyond Python <= 0.3 s",
    ],
    "memory": ["5,000 calls fetched: peak memory <= 700 MB"],
    "outputs": [
        "50 responses, 10 ms latency: time relative to the ideal <= 1.3 x",
        "50 logs, 10 ms latency: time relative to the ideal <= 1.3 x",
    ],
    "missed": ["missed runs of 3 schedules of every minute in 1 days <= 5 s"],
    "concurrency": ["curve of 5,000 calls <= 2 s"],
    "analysis": [
        "failures of 5,000 calls of 20 functions <= 2 s",
        "quality of 5,000 calls of 20 functions <= 2 s",
        "is_complete of 5,000 calls of 20 functions <= 0.05 s",
    ],
    "plots": ["slowest plot of 5,000 calls <= 2 s"],
    "compare": [
        "5,000 calls compared, before and after <= 2 s",
        "5,000 calls rolled up <= 2 s",
        "5,000 calls summarized from a rollup <= 2 s",
    ],
    "explore": [
        "5,000 calls of 20 functions: first display <= 3 s",
        "5,000 calls of 20 functions: change of a control to the new plot <= 0.4 s",
        "memory that 10 changes leave <= 20 MB",
    ],
    "archive": [
        "a day of 20,000 archived calls <= 0.5 s",
        "300 new calls synced into 20,000 <= 3 s",
        "rollup by day of 20,000 archived calls <= 2 s",
    ],
    "scale": [
        "20,000 calls summarized by 2 workers of 1 GiB: peak memory of a worker <= 1000 MB",
        "20,000 calls summarized by 2 workers of 1 GiB: time relative to 5,000 <= 12 x",
    ],
}
STRUCTURE = (
    "modules", "lines of code", "lines of docstrings", "median function", "longest function",
    "files executed by project.calls()", "files executed by archive.sync()",
    "files executed by selecting a function in the dashboard",
)  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", RESULTS)
def test_every_result_is_printed_with_its_target(benchmark: str) -> None:
    completed = run("--quick", benchmark)
    assert completed.returncode == 0, completed.stderr
    lines = [line for line in completed.stdout.splitlines() if line.startswith(benchmark)]
    for result in RESULTS[benchmark]:
        name, sign, target, _ = result.rsplit(" ", 3)
        [line] = [line for line in lines if name in line]
        assert f"{sign} {target}" in line
        assert re.search(r"  (PASS|FAIL)(  |$)", line)


@pytest.mark.slow
def test_structure_of_the_package_is_printed() -> None:
    completed = run("structure")
    assert completed.returncode == 0, completed.stderr
    for name in STRUCTURE:
        value = rf"^structure +{re.escape(name)}.*  [1-9][\d.]*( [a-z]|\n)"
        assert re.search(value, completed.stdout, re.MULTILINE), name


def test_unknown_benchmark_is_rejected_with_the_valid_names() -> None:
    completed = run("speed")
    assert completed.returncode == 2
    assert ", ".join([*RESULTS, "structure", "archive-month"]) in " ".join(completed.stderr.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rates", "durations", "compare", "power"])
def test_simulations_print_their_results(name: str) -> None:
    command = [sys.executable, "-m", "benchmarks.simulations", name, "--repeats", "3"]
    completed = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=400, check=False)
    assert completed.returncode == 0, completed.stderr
    assert len(re.findall(r"^.*: .*%", completed.stdout, re.MULTILINE)) >= 4
