"""Processes: the service in one, and each measurement in a fresh one of its own."""

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
    """Serve a made-up project; gives the environment variables that lead to it."""
    command = [sys.executable, "-m", "callframe", "demo", "--serve", "--calls", str(calls)]
    command += ["--functions", str(functions), "--latency-s", str(latency_s)]
    with subprocess.Popen(command, cwd=_TOP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip() for _ in range(_VARIABLES)]
            found = dict(line.removeprefix("export ").split("=", 1) for line in lines if line)
            if "CDF_TOKEN" not in found:
                raise RuntimeError(f"The service did not start: {' '.join(command)}")
            yield found
        finally:
            process.kill()


def run(task: str, *arguments: dict[str, str] | str) -> Result:
    """Run a task of `benchmarks.tasks` in a fresh process; gives what it measured."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for one in arguments:
        environment |= one if isinstance(one, dict) else {}
    command = [sys.executable, "-m", "benchmarks.tasks", task, *(one for one in arguments if isinstance(one, str))]
    done = subprocess.run(command, cwd=_TOP, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: Result = json.loads(done.stdout)
    return found
