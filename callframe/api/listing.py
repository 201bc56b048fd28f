"""Estimates from the pages of a listing: its order, how many pages remain, and where to cut its window."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from callframe.timespan import TimeRange

if TYPE_CHECKING:
    from collections.abc import Sequence

_SORTED_SHARE = 0.9
_FILLED = 0.95  # pieces a little shorter than whole pages, or many would need one more page for a few calls
_FIRST_GUESS = 3.0
_GROWTH = 4


@dataclass
class _Siblings:
    """Parts of an unsorted listing, expected to have equally many rows: the most that one had, 0 if none is read."""

    rows: int = 0


class Listing:
    """
    The pages read so far of the calls in a window of start times.

    The API does not document the order, so all of this is estimated and affects only speed: each part of a window that
    is cut is listed again, to its end. `scale` is the number of pages to begin with.
    """

    def __init__(self, window: TimeRange, *, scale: int = 1, siblings: _Siblings | None = None) -> None:
        self.window = window
        self.page_count = self.row_count = 0
        self.remaining = 1.0
        self._order: Literal["ascending", "descending", "mixed"] | None = None
        self._page_ms = 0.0
        self._scale = scale
        self._siblings = siblings or _Siblings()
        self._samples: list[np.ndarray] = []

    def add_page(self, start_times: Sequence[int], row_count: int, *, is_last: bool) -> None:
        """Update the estimates with a page of `row_count` rows, given the start times of every n-th one."""
        self.page_count += 1
        self.row_count += row_count
        if is_last:
            self._siblings.rows = max(self._siblings.rows, self.row_count)
            return
        sample = np.array(start_times, dtype="int64")
        self._samples.append(sample)
        self._order, self.remaining = None, 1.0
        if len(sample) < 2 or sample.min() == sample.max():  # noqa: PLR2004 - no order to see in fewer
            return
        steps = np.diff(sample)
        is_sorted = max((steps >= 0).mean(), (steps <= 0).mean()) >= _SORTED_SHARE
        if is_sorted:
            self._extrapolate(sample, row_count)
        else:
            self._order = "mixed"
            known_pages = self._siblings.rows / (self.row_count / self.page_count)
            self.remaining = (
                max(1.0, known_pages - self.page_count) if known_pages else max(_FIRST_GUESS, self.page_count)
            )

    def _extrapolate(self, sample: np.ndarray, row_count: int) -> None:
        """Estimate the remaining pages of a sorted listing from the distance of the last calls of a page."""
        tail = sample[-max(2, len(sample) // 4) :]
        span_ms = abs(int(tail[-1]) - int(tail[0]))
        if span_ms == 0:  # within a millisecond that has many calls
            return
        self._order = "ascending" if sample[-1] > sample[0] else "descending"
        self._page_ms = span_ms * (len(sample) / (len(tail) - 1)) * (self.row_count / self.page_count / row_count)
        end_ms = self.window.end_ms if self._order == "ascending" else self.window.start_ms
        self.remaining = abs(end_ms - int(sample[-1])) / self._page_ms

    def is_worth_cutting(self, *, workers: int, open_pages: float) -> bool:
        """Whether reading everything again in parallel ends earlier, if `open_pages` remain in all listings."""
        share = (open_pages + self.page_count) / workers
        return self._order is not None and self.remaining > 1.3 * share + 1

    def cut(self, workers: int) -> list[Listing]:
        """Cut into listings of parts of the window, in the order of the listing; a single one if it is too short."""
        if self._order is None:
            return [Listing(part) for part in self.window.split(workers)]
        if self._order == "mixed":
            shares = np.arange(1, workers) / workers
            windows = self._windows(np.quantile(np.concatenate(self._samples), shares))
            siblings = _Siblings()
            return [Listing(window, siblings=siblings) for window in windows]
        pages = self.page_count + self.remaining
        even = pages <= _GROWTH * workers * self._scale
        sizes = [pages / workers] * (workers - 1)
        if not even:  # the end of a burst is near or far: parts grow
            sizes = [_FILLED * self._scale] * workers + [_FILLED * self._scale * _GROWTH] * workers
        windows = self._windows(self._times_at(np.cumsum(sizes)))
        windows = windows if self._order == "ascending" else windows[::-1]
        scales = [1] * (len(windows) - 1) + [1 if even else self._scale * (1 + _GROWTH)]
        return [Listing(window, scale=scale) for window, scale in zip(windows, scales, strict=True)]

    def _times_at(self, pages: np.ndarray) -> np.ndarray:
        """Find where a sorted listing is after so many pages: among those read, or beyond at the same pace."""
        read = np.concatenate(self._samples)
        beyond_ms = np.maximum(0, pages - self.page_count) * self._page_ms
        sign = 1 if self._order == "ascending" else -1
        positions = np.minimum(pages / self.page_count * len(read), len(read) - 1).astype("int64")
        times: np.ndarray = read[positions] + sign * beyond_ms
        return times

    def _windows(self, edges: np.ndarray) -> list[TimeRange]:
        """Cut the window at times, which may lie outside."""
        start_ms, end_ms = self.window.start_ms, self.window.end_ms
        inside = sorted({math.ceil(edge) for edge in edges.tolist() if start_ms < edge <= end_ms - 1})
        return [TimeRange(*pair) for pair in itertools.pairwise([start_ms, *inside, end_ms])]
