"""Estimates from the pages of a listing: its order, the pages that remain, and where to cut."""

from __future__ import annotations

import itertools
import random

import pytest
from factories import few_examples
from hypothesis import given
from hypothesis import strategies as st

from callframe.api.listing import Listing
from callframe.timespan import TimeRange


def listing_of(times: list[int], *, start_ms: int = 0, end_ms: int = 100_000) -> Listing:
    """Return a listing of which one page was read."""
    listing = Listing(TimeRange(start_ms, end_ms))
    listing.add_page(times, len(times), is_last=False)
    return listing


ASCENDING = list(range(0, 1000, 10))
DESCENDING = [100_000 - time for time in range(10, 1010, 10)]
MIXED = random.Random(1).sample(range(50_000, 60_000), 100)


@pytest.mark.parametrize("times", [ASCENDING, DESCENDING])
def test_rest_of_a_sorted_listing_is_estimated_from_its_pace(times: list[int]) -> None:
    assert listing_of(times).remaining == pytest.approx(99, rel=0.05)


def test_pace_is_that_of_the_last_calls() -> None:
    times = [*range(0, 50_000, 1000), *range(50_000, 50_050)]
    assert listing_of(times).remaining == pytest.approx(500, rel=0.1)


def test_parts_of_a_burst_grow_from_its_edge() -> None:
    lengths = [part.window.length_ms for part in listing_of(ASCENDING).cut(5)]
    assert lengths == pytest.approx([*[950] * 5, *[3800] * 5, 100_000 - 5 * 4750], abs=20)


def test_parts_of_a_descending_listing_begin_at_its_end() -> None:
    ends = [part.window.end_ms for part in listing_of(DESCENDING).cut(5)]
    assert ends[:2] == pytest.approx([100_000, 99_050], abs=20)


def test_parts_of_a_listing_in_no_order_have_equally_many_calls() -> None:
    parts = listing_of(MIXED).cut(5)
    counts = [sum(part.window.start_ms <= time < part.window.end_ms for time in MIXED) for part in parts]
    assert counts == pytest.approx([20] * 5, abs=1)


@pytest.mark.parametrize("times", [[], [5], [5] * 100, [*range(50), *[50] * 50]])
def test_listing_within_a_millisecond_is_not_worth_cutting(times: list[int]) -> None:
    assert not listing_of(times).is_worth_cutting(workers=5, open_pages=1)


def test_listing_is_not_worth_cutting_if_the_others_have_as_much_left() -> None:
    listing = listing_of(ASCENDING)
    assert listing.is_worth_cutting(workers=5, open_pages=99)
    assert not listing.is_worth_cutting(workers=5, open_pages=5 * 99)


@few_examples
@given(st.lists(st.integers(10, 90), max_size=8), st.integers(1, 10))
def test_parts_make_up_the_window(times: list[int], workers: int) -> None:
    parts = listing_of(times, start_ms=10, end_ms=91).cut(workers)
    windows = sorted((part.window.start_ms, part.window.end_ms) for part in parts)
    assert (windows[0][0], windows[-1][1]) == (10, 91)
    assert all(left[1] == right[0] for left, right in itertools.pairwise(windows))
