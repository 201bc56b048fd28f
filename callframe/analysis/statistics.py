"""Statistics of calls that come in bursts: design effects, Wilson's interval, corrected p-values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from callframe.errors import ArgumentError
from callframe.timespan import DAY_MS

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

_NEGLIGIBLE = 1e-6
_OFFSETS = 4
_MIN_BLOCKS = 4
_DENSE_CELLS_PER_CALL = 4


def check_alpha(alpha: float) -> None:
    """Check a significance level of a user."""
    if not 0 < alpha < 1:
        raise ArgumentError(f"alpha={alpha!r}; expected a probability between 0 and 1.")


def wilson(failures: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate rates with their 95 % intervals (Wilson, 1927, JASA 22:209); missing where `n` is 0."""
    failures, n = np.asarray(failures, dtype="float64"), np.asarray(n, dtype="float64")
    n = np.where(n == 0, np.nan, n)
    rate = failures / n
    centre = (rate + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(np.maximum(rate * (1 - rate), 0) / n + Z95**2 / (4 * n**2))
    low = np.where(failures == 0, 0, np.clip(centre - half, 0, 1))
    high = np.where(failures == n, 1, np.clip(centre + half, 0, 1))
    return rate, np.where(np.isnan(n), np.nan, low), np.where(np.isnan(n), np.nan, high)


def correct_p_values(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values over all tests (Benjamini and Hochberg, 1995, JRSS B 57:289); a missing one stays missing."""
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - slow to import, and not needed to fetch

    known = ~np.isnan(p_values)
    corrected = np.full(p_values.shape, np.nan)
    if known.any():
        corrected[known] = false_discovery_control(p_values[known], method="bh")
    return corrected


def block_ms(span_ms: int) -> int:
    """Choose the length of blocks for calls over a span of time: days, or a quarter of less than four days."""
    return max(1, min(DAY_MS, span_ms // _MIN_BLOCKS))


def quarter_ms(block_ms: int) -> int:
    """Find the length of the quarters of blocks."""
    return max(1, block_ms // _OFFSETS)


@dataclass(frozen=True)
class Blocks:
    """
    Calls in blocks of time, by group, which show how little calls tell that come in bursts.

    Failures come in bursts, and so do slow calls: neighbours are alike, and days differ. The variance of a share of
    such calls is that of independent calls times a design effect, by which counts can be divided (Kish, 1965, Survey
    Sampling; Rao and Scott, 1992, Biometrics 48:577).

    Parameters
    ----------
    cell
        The position of the cell of each call: calls of a group in the same quarter of a block.
    group, quarter
        For each cell, in order: its group and the number of its quarter.
    size
        The number of groups.
    """

    cell: np.ndarray
    group: np.ndarray
    quarter: np.ndarray
    size: int

    @classmethod
    def of(cls, codes: np.ndarray, start_ms: np.ndarray, size: int, block_ms: int = DAY_MS) -> Blocks:
        """Divide calls, or rows that stand for several, by their groups, numbered from 0, and start times."""
        quarter = start_ms // quarter_ms(block_ms)
        first = int(quarter.min(initial=np.iinfo("int64").max))
        count = int(quarter.max(initial=first)) - first + 1
        if size * count <= _DENSE_CELLS_PER_CALL * len(quarter) + size:
            cells = np.arange(size * count)
            return cls(codes * count + (quarter - first), cells // count, cells % count + first, size)
        numbers, position = np.unique(quarter, return_inverse=True)
        cells, cell = np.unique(codes * len(numbers) + position, return_inverse=True)
        return cls(cell, cells // len(numbers), numbers[cells % len(numbers)], size)

    def effects(
        self, hits: np.ndarray, calls: np.ndarray, *, sides: int = 1, statistic: np.ndarray | None = None
    ) -> np.ndarray:
        """
        Estimate the design effect of the share of hits of each group: 1 where calls are independent, never less.

        `hits` and `calls` are masks of the calls, or counts where rows stand for several. The variance between blocks
        is estimated by an analysis of variance, for blocks that begin at four times of day; the largest counts. Few
        blocks estimate it poorly: the effect includes what Student's t with their degrees of freedom is wider than the
        normal distribution: at a 95 % interval, or at `statistic`, the test of each group in standard errors of
        independent calls.
        Each `sides` consecutive groups have one variance between blocks, such as before and after a deploy. Groups
        of fewer than four blocks are divided into quarters of them; with two sides, those of one block a side.
        """
        n, hit = (np.bincount(self.cell, values, minlength=len(self.group)) for values in (calls, hits))
        used = np.flatnonzero(n)
        cells = n[used], hit[used], self.group[used]
        quarter, largest, freedoms = self.quarter[used], np.ones(self.size), []
        for offset in range(_OFFSETS):
            effect, freedom = _effect_of_blocks(*cells, (quarter + offset) // _OFFSETS, size=self.size, sides=sides)
            largest = np.maximum(largest, effect * _widening(effect, freedom, statistic))
            freedoms.append(freedom)
        few = np.minimum.reduce(freedoms) < (_MIN_BLOCKS - 1 if sides == 1 else 1)
        if few.any():
            effect, freedom = _effect_of_blocks(*cells, quarter, size=self.size, sides=sides)
            effect = effect * _widening(effect, np.maximum(freedom, _MIN_BLOCKS - 1), statistic)
            largest = np.where(few, np.maximum(effect, 1), largest)
        return largest


def _effect_of_blocks(
    n: np.ndarray, hits: np.ndarray, group: np.ndarray, block: np.ndarray, *, size: int, sides: int
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the design effect of groups from the calls and hits of cells, and its degrees of freedom."""
    new = np.append(True, (block[1:] != block[:-1]) | (group[1:] != group[:-1]))[: len(n)]
    starts = np.flatnonzero(new)
    if len(starts) < len(n):
        n, hits, group = np.add.reduceat(n, starts), np.add.reduceat(hits, starts), group[starts]

    def add(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(group, values, minlength=size)

    def pool(values: np.ndarray) -> np.ndarray:
        return np.repeat(values.reshape(-1, sides).sum(axis=1), sides)

    calls = add(n)
    share = add(hits) / np.maximum(calls, 1)
    blocks, in_block = add(None), add(n * n) / np.maximum(calls, 1)  # the size of the block of an average call
    total, between = pool(calls * share * (1 - share)), pool(add((hits - n * share[group]) ** 2 / n))
    freedom = pool(np.maximum(blocks - 1.0, 0))
    within = np.maximum(total - between, 0) / np.maximum(pool(calls - blocks), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_blocks = (between - within * freedom) / pool(calls - in_block)
        effect = (of_blocks * in_block + within) / (total / pool(calls))
    return np.where(np.isfinite(effect), np.maximum(effect, 0), 0), freedom


def _widening(effect: np.ndarray, freedom: np.ndarray, statistic: np.ndarray | None) -> np.ndarray:
    """Find by how much a variance must grow for the normal distribution to give the p-value of Student's t."""
    from scipy.special import ndtri, stdtr, stdtrit  # noqa: PLC0415 - slow to import, and not needed to fetch

    if statistic is None:
        values, position = np.unique(np.maximum(freedom, 1), return_inverse=True)
        return np.asarray((stdtrit(values, 0.975) / Z95) ** 2)[position]
    student = np.maximum(np.abs(statistic) / np.sqrt(np.maximum(effect, _NEGLIGIBLE)), _NEGLIGIBLE)
    normal = -ndtri(stdtr(np.maximum(freedom, 1), -student))
    widening: np.ndarray = np.maximum((student / np.maximum(normal, _NEGLIGIBLE)) ** 2, 1)
    return widening
