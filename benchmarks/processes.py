"""Runs the service in one process, and each measurement in a new process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Result: TypeAlias = "dict[str, Any]"

_TOP = Path(__file__).parents[1]
_VARIABLES = 5


@contextlib.contextmanager
def serve(*, calls: int, functions: int, latency_s: float = 0.0) -> Iterator[dict[str, str]]:
    """Serve a sample project; yields the environment variables that connect to it."""
    options = ["--calls", str(calls), "--functions", str(functions), "--latency-s", str(latency_s)]
    with _serve("callframe", "demo", "--serve", *options) as environment:
        yield environment


@contextlib.contextmanager
def serve_history(name: str, order: str, calls: int, latency_s: float) -> Iterator[dict[str, str]]:
    """Serve one of `benchmarks.fetching.HISTORIES`."""
    with _serve("benchmarks.fetching", name, order, str(calls), str(latency_s)) as environment:
        yield environment


@contextlib.contextmanager
def _serve(*arguments: str) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, cwd=_TOP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in range(_VARIABLES)]
            environment = dict(line.removeprefix("export ").split("=", 1) for line in lines if line)
            if "CDF_TOKEN" not in environment:
                raise RuntimeError(f"The service did not start: {' '.join(command)}")
            yield environment
        finally:
            process.kill()


def later_clock(seconds: int) -> dict[str, str]:
    """Return the variables with which the clock of a process is later: those of libfaketime."""
    libraries = [str(path) for path in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
    if not libraries:
        raise RuntimeError("libfaketime is missing; install it: apt-get install faketime")
    return {"LD_PRELOAD": libraries[0], "FAKETIME": f"+{seconds}", "NO_FAKE_STAT": "1", "FAKE_UTIME": "0"}


def run(task: str, *arguments: dict[str, str] | str | int) -> Result:
    """Run a task of `benchmarks.tasks` in a new process; a dict adds environment variables."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "benchmarks.tasks", task]
    for argument in arguments:
        if isinstance(argument, dict):
            environment |= argument
        else:
            command.append(str(argument))
    done = subprocess.run(command, cwd=_TOP, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: Result = json.loads(done.stdout)
    return result
