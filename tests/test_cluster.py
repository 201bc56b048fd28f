"""Archives are analyzed on a real cluster of two workers, within their memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from distributed import Client, LocalCluster
from pandas.testing import assert_frame_equal

import callframe as cf
from callframe import frame

if TYPE_CHECKING:
    from collections.abc import Iterator

EXACT = [
    "function", "calls", "completed", "failed", "timeout", "running", "failure_rate_high", "longest_failure_streak",
]  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "1GiB"}
    with (
        LocalCluster(host="127.0.0.1", dashboard_address="127.0.0.1:0", **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> cf.Archive:
    archive = cf.Archive(tmp_path_factory.mktemp("archive") / "calls")
    with cf.demo(calls=20_000) as project:
        archive.sync(project, progress=False)
    return archive


def without_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Convert categories to text: unused ones depend on how calls were read."""
    table = table.reset_index()
    names = [name for name, dtype in table.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]
    return table.astype(dict.fromkeys(names, frame.TEXT))


def executed_tasks(client: Client) -> int:
    return sum(client.run(lambda dask_worker: dask_worker.state.executed_count).values())


def test_summary_of_an_archive_is_that_in_memory(client: Client, archive: cf.Archive) -> None:
    exact = without_categories(cf.summarize(archive.calls(start="90d")))
    summary = without_categories(cf.summarize(archive.dask(start="90d"), client=client))
    assert_frame_equal(summary[EXACT], exact[EXACT])
    known = exact["duration_p50"].notna()
    errors = (summary["duration_p50"] - exact["duration_p50"]).abs()
    assert (errors * 100 <= exact["duration_p50"])[known].all()


def test_other_results_of_an_archive_are_those_in_memory(client: Client, archive: cf.Archive) -> None:
    calls, divided = archive.calls(start="90d"), archive.dask(start="90d")
    failures = cf.failures(divided, client=client)
    assert_frame_equal(without_categories(failures), without_categories(cf.failures(calls)))
    assert_frame_equal(cf.rollup(divided, "1D", client=client), cf.rollup(calls, "1D"))
    assert cf.quality(divided, client=client)["count"].to_dict() == cf.quality(calls)["count"].to_dict()


def test_given_client_computes(client: Client, archive: cf.Archive) -> None:
    before = executed_tasks(client)
    cf.summarize(archive.dask(start="90d"), client=client)
    assert executed_tasks(client) > before


def test_current_client_computes_by_default(client: Client, archive: cf.Archive) -> None:
    before = executed_tasks(client)
    with client.as_current():
        cf.failures(archive.dask(start="90d"))
    assert executed_tasks(client) > before
