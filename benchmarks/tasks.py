"""
What runs in a fresh process of its own, `python -m benchmarks.tasks TASK ...`: prints what it measured as JSON.

Nothing but the standard library is imported on top, so that each task pays for its own libraries alone.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

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

    from callframe import frame, records

    fields: list[Any] = [("items", list[records.Call]), ("next_cursor", str | None, None)]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Page", fields, rename="camel", gc=False))
    pages = _pages(page_rows)

    def bare() -> None:
        for page in pages:
            decoder.decode(page)

    def to_frame() -> None:
        tables = [frame.columns(records.decode_page(page, records.Call).items) for page in pages]
        frame.assemble(tables, {})

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


def load(*modules: str) -> dict[str, Any]:
    """Import modules."""
    began = time.perf_counter()
    for module in modules:
        importlib.import_module(module)
    return {"seconds": time.perf_counter() - began}


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


TASKS: dict[str, Callable[..., dict[str, Any]]] = {
    "callframe": with_callframe,
    "cognite-sdk": with_the_sdk,
    "decode": lambda page_rows, turns: decode(int(page_rows), int(turns)),
    "csv": lambda turns: write(int(turns)),
    "import": load,
}

if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
