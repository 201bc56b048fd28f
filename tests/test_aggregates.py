"""Buckets represent the times in them within 1 %."""

from __future__ import annotations

import numpy as np

from callframe.analysis.aggregates import buckets, to_buckets
from callframe.timespan import NO_TIME


def test_every_time_is_within_one_percent_of_its_bucket() -> None:
    times = np.concatenate([np.arange(200_000), np.geomspace(2e5, 2**53, 200_000).astype("int64")])
    assert (100 * np.abs(to_buckets(times) - times) <= times).all()


def test_buckets_grow_by_about_two_percent() -> None:
    lowest, _ = buckets()
    ratios = lowest[1:] / np.maximum(lowest[:-1], 1)
    assert np.abs(ratios[lowest[:-1] > 10_000] - 1.0202).max() < 0.0002


def test_short_times_have_a_bucket_each() -> None:
    assert to_buckets(np.arange(99)).tolist() == list(range(99))


def test_negative_times_mirror_positive_ones() -> None:
    times = np.array([12_345, 1, 0])
    assert to_buckets(-times).tolist() == (-to_buckets(times)).tolist()


def test_missing_time_stays_missing() -> None:
    assert to_buckets(np.array([NO_TIME, 5])).tolist() == [NO_TIME, 5]
