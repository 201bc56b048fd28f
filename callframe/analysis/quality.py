"""Data quality: every case that would silently make a number wrong, counted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis import dask
from callframe.analysis.quality_checks import CHECKS, CheckedCalls, Limits
from callframe.analysis.schedule_matching import to_minutes
from callframe.completeness import Coverage, observed_until_ms
from callframe.limits import RunLimit
from callframe.timespan import NO_TIME, DurationLike, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callframe.analysis.dask import CallFrame, Partitions


MAX_EXAMPLES = 5
"""How many calls are named for each check."""

_ACROSS_PARTITIONS = {
    "repeated_call": ["function_id", "call_id", "start_time", "scheduled_time"],
    "duplicate_run": ["schedule_id", "scheduled_time", "start_time", "call_id"],
}
"""Checks that compare calls of different partitions, and the columns they need."""

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))  # odd, with bits all over: they spread keys

_Example: TypeAlias = "tuple[int, int]"  # start time and id of a call


@dataclass(frozen=True)
class _Counts:
    """
    Results of the checks, which can be merged.

    `counts` and `examples`, the latest first, by the name of the check; `deployments`, one row per label and function
    id with start and id of its first call; and start and id of the first and the last call.
    """

    counts: dict[str, int]
    examples: dict[str, list[_Example]]
    deployments: pd.DataFrame
    first: _Example | None
    last: _Example | None


def quality(calls: CallFrame, *, run_limit: DurationLike | None = None, client: Any = None) -> pd.DataFrame:
    """
    Check the data quality of a call frame.

    Every check has its row: a count of 0 says that the problem was looked for.

    Parameters
    ----------
    calls
        Call frame, or a Dask DataFrame of calls.
    run_limit
        How long a call may run, such as `"9min"`, see `Project.limits`; None if not known: 15 minutes, the longest
        limit documented.
    client
        For a Dask DataFrame: the `distributed.Client` to compute on. By default the current one, or else threads of
        this process.

    Returns
    -------
    quality
        One row per check, always the same ones in the same order, indexed by `name`: `count` int64; `unit` str, of what
        (`calls`, `functions`, `records`); `what` str, the problem; `advice` str, what to do about it; `call_ids`
        object, a list of the ids of up to 5 such calls, the latest first. It never contains text from calls.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `run_limit` is not a positive duration.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     quality = cf.quality(project.calls(start="14d"))
    >>> int(quality.loc["negative_duration", "count"])
    0
    """
    limit_ms = RunLimit.parse(run_limit).longest_ms
    partitions = dask.as_partitions(calls, client)
    if partitions is not None:
        known = partitions.coverage
        first_ms, fetched_ms = (None, known.fetched_ms) if known else partitions.time_bounds
        limits = Limits(limit_ms, fetched_ms, _left_edge(known, first_ms))
        return _table(_check_partitions(partitions, limits), known)
    frame.check(calls)
    known = Coverage.of(calls)
    first_ms = int(to_milliseconds(calls["start_time"]).min()) if len(calls) else None
    limits = Limits(limit_ms, observed_until_ms(calls), _left_edge(known, first_ms))
    return _table(_count(calls, limits), known)


def _left_edge(known: Coverage | None, first_ms: int | None) -> int | None:
    """Find where the window begins: without coverage at the first call, and never if calls were requested by ids."""
    if known is None:
        return first_ms
    return None if known.window is None else known.window.start_ms


def _check_partitions(partitions: Partitions, limits: Limits) -> _Counts:
    counts = partitions.reduce(frame.COLUMNS, partial(_count, limits=limits, across=False), _merge)
    for name, needed in _ACROSS_PARTITIONS.items():
        candidates = partitions.find_equal(needed, partial(_keys, name=name))
        counts.counts[name], counts.examples[name] = _count_one(candidates, name, limits)
    return counts


def _keys(calls: pd.DataFrame, name: str) -> np.ndarray:
    """Mix what repeated calls share to one integer; rows that cannot repeat each have a key of their own."""
    if name == "repeated_call":
        first, second = calls["function_id"].to_numpy(), calls["call_id"].to_numpy()
    else:
        scheduled = to_milliseconds(calls["scheduled_time"])
        first, second = calls["schedule_id"].to_numpy("int64", na_value=0), to_minutes(scheduled)
        none = calls["schedule_id"].isna().to_numpy() | (scheduled == NO_TIME)
        first, second = np.where(none, calls["call_id"], first), np.where(none, -1, second)
    return first.astype("uint64") * _MIX[0] + second.astype("uint64") * _MIX[1]


def _count(calls: pd.DataFrame, limits: Limits, *, across: bool = True) -> _Counts:
    """Run the checks; `across` includes those that compare calls of different partitions."""
    checked = CheckedCalls(calls, limits)
    rows = {
        check.name: np.flatnonzero(check.find(checked))
        for check in CHECKS
        if check.find and (across or check.name not in _ACROSS_PARTITIONS)
    }
    start, ids = checked.start, calls["call_id"].to_numpy()
    codes = calls["function"].cat.codes.to_numpy()
    deployments = pd.DataFrame({"code": codes, "function_id": calls["function_id"].array}).drop_duplicates()
    first = deployments.index.to_numpy()
    labels = calls["function"].cat.categories.astype("object").to_numpy()[deployments["code"].to_numpy()]
    deployments = deployments.assign(function=labels, start=start[first], call_id=ids[first]).drop(columns="code")
    ends = [(int(start[row]), int(ids[row])) if len(ids) else None for row in ((0, -1) if len(ids) else (0, 0))]
    examples = {name: _latest(found, start, ids) for name, found in rows.items()}
    return _Counts({name: len(found) for name, found in rows.items()}, examples, deployments, *ends)


def _count_one(calls: pd.DataFrame, name: str, limits: Limits) -> tuple[int, list[_Example]]:
    """Run one check on calls that were brought together."""
    [find] = [check.find for check in CHECKS if check.name == name and check.find]
    checked = CheckedCalls(calls.sort_values(["start_time", "call_id"], ignore_index=True), limits)
    rows = np.flatnonzero(find(checked))
    return len(rows), _latest(rows, checked.start, checked.calls["call_id"].to_numpy())


def _merge_examples(results: Sequence[tuple[int, list[_Example]]]) -> tuple[int, list[_Example]]:
    examples = sorted((example for _, examples in results for example in examples), reverse=True)
    return sum(count for count, _ in results), examples[:MAX_EXAMPLES]


def _merge(parts: Sequence[_Counts]) -> _Counts:
    """Merge the results of consecutive partitions, between which calls can be out of order too."""
    merged = {
        name: _merge_examples([(part.counts[name], part.examples[name]) for part in parts]) for name in parts[0].counts
    }
    filled = [part for part in parts if part.first is not None]
    early = [
        part.first
        for above, part in itertools.pairwise(filled)
        if part.first and above.last and part.first < above.last
    ]
    merged["out_of_order"] = _merge_examples([merged["out_of_order"], (len(early), early)])
    deployments = pd.concat([part.deployments for part in parts], ignore_index=True)
    return _Counts(
        {name: count for name, (count, _) in merged.items()},
        {name: examples for name, (_, examples) in merged.items()},
        deployments.drop_duplicates(["function", "function_id"], ignore_index=True),
        filled[0].first if filled else None,
        filled[-1].last if filled else None,
    )


def _table(result: _Counts, known: Coverage | None) -> pd.DataFrame:
    """Build the table from the results, the coverage and the deployments."""
    counts = result.counts | _of_coverage(result, known)
    examples = dict(result.examples)
    deployments = result.deployments
    redeployed = deployments[deployments.duplicated("function", keep=False)]
    by_id = deployments[deployments["function"] == deployments["function_id"].astype("str").astype("object")]
    for name, rows, count in (
        ("redeployed", redeployed, redeployed["function"].nunique()),
        ("labelled_by_id", by_id, len(by_id)),
    ):
        counts[name] = count
        examples[name] = _latest(np.arange(len(rows)), rows["start"].to_numpy(), rows["call_id"].to_numpy())
    ids = [[call_id for _, call_id in examples.get(check.name, ())] for check in CHECKS]
    return pd.DataFrame(
        {
            "count": np.array([counts[check.name] for check in CHECKS], dtype="int64"),
            "unit": frame.text_column([check.unit for check in CHECKS]).array,
            "what": frame.text_column([check.what for check in CHECKS]).array,
            "advice": frame.text_column([check.advice for check in CHECKS]).array,
            "call_ids": pd.Series(ids, dtype="object").array,
        },
        index=pd.Index(frame.text_column([check.name for check in CHECKS]), name="name"),
    )


def _of_coverage(result: _Counts, known: Coverage | None) -> dict[str, int]:
    if known is None:
        return {"incomplete": 0, "coverage_unknown": len(result.deployments), "set_aside": 0}
    return {
        "incomplete": sum(not function.complete for function in known.functions),
        "coverage_unknown": len(result.deployments) if known.complete is None else 0,
        "set_aside": known.set_aside,
    }


def _latest(rows: np.ndarray, start: np.ndarray, ids: np.ndarray) -> list[_Example]:
    """List the calls that started last."""
    if len(rows) > 100 * MAX_EXAMPLES:
        rows = rows[np.argpartition(start[rows], -100 * MAX_EXAMPLES)[-100 * MAX_EXAMPLES :]]
    rows = rows[np.lexsort((ids[rows], start[rows]))[::-1][:MAX_EXAMPLES]]
    return list(zip(start[rows].tolist(), ids[rows].tolist(), strict=True))
