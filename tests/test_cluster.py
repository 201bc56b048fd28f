"""Measures run on a real cluster of two workers, within their memory."""

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


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Write words as text: what categories there are depends on how calls were read."""
    table = table.reset_index()
    words = [name for name, kind in table.dtypes.items() if isinstance(kind, pd.CategoricalDtype)]
    return table.astype(dict.fromkeys(words, frame.TEXT))


def test_summary_of_an_archive_on_a_cluster_is_that_in_memory(client: Client, archive: cf.Archive) -> None:
    exact = plain(cf.summarize(archive.calls(start="90d")))
    found = plain(cf.summarize(archive.dask(start="90d"), client=client))
    counts = [
        "function",
        "calls",
        "completed",
        "failed",
        "timeout",
        "running",
        "failure_rate_high",
        "longest_failure_streak",
    ]
    assert_frame_equal(found[counts], exact[counts])
    known = exact["duration_p50"].notna()
    assert ((found["duration_p50"] - exact["duration_p50"]).abs() * 100 <= exact["duration_p50"])[known].all()


def test_other_measures_of_an_archive_on_a_cluster_are_those_in_memory(client: Client, archive: cf.Archive) -> None:
    calls, divided = archive.calls(start="90d"), archive.dask(start="90d")
    assert_frame_equal(plain(cf.failures(divided, client=client)), plain(cf.failures(calls)))
    assert_frame_equal(cf.rollup(divided, "1D", client=client), cf.rollup(calls, "1D"))
    assert cf.quality(divided, client=client)["count"].to_dict() == cf.quality(calls)["count"].to_dict()


def executed(client: Client) -> int:
    return sum(client.run(lambda dask_worker: dask_worker.state.executed_count).values())


def test_partitions_are_measured_on_the_workers_that_were_given(client: Client, archive: cf.Archive) -> None:
    before = executed(client)
    cf.summarize(archive.dask(start="90d"), client=client)
    assert executed(client) > before


def test_client_that_is_current_is_taken(client: Client, archive: cf.Archive) -> None:
    before = executed(client)
    with client.as_current():
        cf.failures(archive.dask(start="90d"))
    assert executed(client) > before
