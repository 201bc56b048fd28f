"""What is odd about the data, counted: every case that would make a number wrong without a word."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis import dask
from callframe.analysis.quality_checks import CHECKS, Limits, Seen, slots_of
from callframe.completeness import Coverage, observed_until_ms
from callframe.limits import RunLimit
from callframe.timespan import DurationLike, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callframe.analysis.dask import CallFrame, Partitions


EXAMPLES = 5
"""How many calls are named at most for each oddity."""

_ACROSS = {
    "repeated_call": (["function_id", "call_id"], ["function_id", "call_id", "start_time", "scheduled_time"]),
    "duplicate_slot": (["schedule_id", "slot"], ["schedule_id", "scheduled_time", "start_time", "call_id"]),
}
"""Oddities of calls that may be in different partitions: what such calls have in common, and what is needed of them."""

_Example: TypeAlias = "tuple[int, int]"  # start and id of a call


@dataclass(frozen=True)
class _Part:
    """
    Oddities counted, so that two such add up.

    `counts` and `examples`, the latest first, by the name of the oddity; `deployments`, a row a label and function id,
    with start and id of its first call; and start and id of the first call and of the last.
    """

    counts: dict[str, int]
    examples: dict[str, list[_Example]]
    deployments: pd.DataFrame
    first: _Example | None
    last: _Example | None


def quality(calls: CallFrame, *, run_limit: DurationLike | None = None, client: Any = None) -> pd.DataFrame:
    """
    Count what is odd in a call frame.

    Every oddity has its row, also where there is none of it: a count of 0 says that it was looked for.

    Parameters
    ----------
    calls
        Call frame, or a Dask DataFrame of calls.
    run_limit
        How long a call may run, such as `"9min"`; `Project.limits` tells it. If it is not given, it is 10 minutes, and
        a Running call is stuck from 15, the longest limit documented, as for `summarize`.
    client
        For a Dask DataFrame: the `distributed.Client` to compute on. By default the one that is current, or else
        threads of this process.

    Returns
    -------
    quality
        One row an oddity, always the same ones in the same order, its name as the index: `count` int64; `unit` str, of
        what (`calls`, `functions`, `records`); `what` str, what it is; `advice` str, what to do about it; `call_ids`
        object, a list of the ids of up to 5 such calls, the latest first. Text of calls is never in it.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `run_limit` is no positive span of time.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     found = cf.quality(project.calls(start="14d"))
    >>> int(found.loc["negative_duration", "count"])
    0
    """
    limit_ms = RunLimit.parse(run_limit).longest_ms
    partitions = dask.of(calls, client)
    if partitions is not None:
        known = partitions.coverage
        fetched_ms, first_ms = (known.fetched_ms, None) if known else _observed(partitions.bounds)
        limits = Limits(limit_ms, fetched_ms, _left_edge(known, first_ms))
        return _table(_of_partitions(partitions, limits), known)
    frame.check(calls)
    known = Coverage.of(calls)
    first_ms = int(to_milliseconds(calls["start_time"]).min()) if len(calls) else None
    limits = Limits(limit_ms, observed_until_ms(calls), _left_edge(known, first_ms))
    return _table(_measure(calls, limits), known)


def _left_edge(known: Coverage | None, first_ms: int | None) -> int | None:
    """Find where the window begins: without coverage at the first call, and never if calls were requested by ids."""
    if known is None:
        return first_ms
    return None if known.window is None else known.window.start_ms


def _observed(bounds: pd.DataFrame) -> tuple[int, int | None]:
    """Find the last and the first time of partitions."""
    low, high = bounds["low"].to_dict(), bounds["high"].to_dict()
    has_calls = low["start_time"] <= high["start_time"]
    return (max(high["start_time"], high["end_time"]), low["start_time"]) if has_calls else (0, None)


def _of_partitions(calls: Partitions, limits: Limits) -> _Part:
    found = calls.reduce(frame.COLUMNS, partial(_measure, limits=limits, across=False), _add)
    for name, (on, needed) in _ACROSS.items():
        rows = calls.calls[needed]
        rows = rows.map_partitions(_with_slots, meta=_with_slots(rows._meta))  # noqa: SLF001 - what Dask asks for
        answer = calls.together(rows, on).reduce(needed, partial(_look, name=name, limits=limits), _latest_of)
        found.counts[name], found.examples[name] = answer
    return found


def _with_slots(calls: pd.DataFrame) -> pd.DataFrame:
    """Say at which minute calls were to start, so that those of one slot can be brought together."""
    return calls.assign(slot=slots_of(to_milliseconds(calls["scheduled_time"])))


def _measure(calls: pd.DataFrame, limits: Limits, *, across: bool = True) -> _Part:
    """Count what is odd in calls; `across` tells whether to count what concerns calls of several partitions."""
    seen = Seen(calls, limits)
    looks = {check.name: check.look for check in CHECKS if check.look and (across or check.name not in _ACROSS)}
    rows = {name: np.flatnonzero(look(seen)) for name, look in looks.items()}
    ids = calls["call_id"].to_numpy()
    deployed = pd.DataFrame({"code": calls["function"].cat.codes.to_numpy(), "function_id": calls["function_id"].array})
    deployed = deployed.drop_duplicates()
    at = deployed.index.to_numpy()
    labels = calls["function"].cat.categories.astype("object").to_numpy()[deployed["code"].to_numpy()]
    deployed = deployed.assign(function=labels, start=seen.start[at], call_id=ids[at]).drop(columns="code")
    ends = (
        [(int(seen.start[place]), int(ids[place])) if len(ids) else None for place in (0, -1)]
        if len(ids)
        else [None] * 2
    )
    examples = {name: _latest(found, seen.start, ids) for name, found in rows.items()}
    return _Part({name: len(found) for name, found in rows.items()}, examples, deployed, *ends)


def _look(calls: pd.DataFrame, name: str, limits: Limits) -> tuple[int, list[_Example]]:
    """Count one oddity of calls that were brought together."""
    [look] = [check.look for check in CHECKS if check.name == name and check.look]
    seen = Seen(calls.sort_values(["start_time", "call_id"], ignore_index=True), limits)
    rows = np.flatnonzero(look(seen))
    return len(rows), _latest(rows, seen.start, seen.calls["call_id"].to_numpy())


def _latest_of(found: Sequence[tuple[int, list[_Example]]]) -> tuple[int, list[_Example]]:
    examples = sorted((one for _, examples in found for one in examples), reverse=True)
    return sum(count for count, _ in found), examples[:EXAMPLES]


def _add(parts: Sequence[_Part]) -> _Part:
    """Add parts up, the first call of each of which comes after the last of the one before."""
    names = parts[0].counts
    together = {name: _latest_of([(one.counts[name], one.examples[name]) for one in parts]) for name in names}
    some = [one for one in parts if one.first is not None]
    early = [
        one.first for above, one in itertools.pairwise(some) if one.first and above.last and one.first < above.last
    ]
    here = together["out_of_order"]
    together["out_of_order"] = _latest_of([here, (len(early), early)])
    deployments = pd.concat([one.deployments for one in parts], ignore_index=True)
    return _Part(
        {name: count for name, (count, _) in together.items()},
        {name: examples for name, (_, examples) in together.items()},
        deployments.drop_duplicates(["function", "function_id"], ignore_index=True),
        some[0].first if some else None,
        some[-1].last if some else None,
    )


def _table(part: _Part, known: Coverage | None) -> pd.DataFrame:
    """Lay out what was counted, with what the coverage and the deployments tell."""
    counts = part.counts | _of_coverage(part, known)
    examples = dict(part.examples)
    deployed = part.deployments
    several = deployed[deployed.duplicated("function", keep=False)]
    unnamed = deployed[deployed["function"] == deployed["function_id"].astype("str").astype("object")]
    for name, rows, count in (
        ("redeployed", several, several["function"].nunique()),
        ("labelled_by_id", unnamed, len(unnamed)),
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


def _of_coverage(part: _Part, known: Coverage | None) -> dict[str, int]:
    if known is None:
        return {"incomplete": 0, "coverage_unknown": len(part.deployments), "set_aside": 0}
    return {
        "incomplete": sum(not function.complete for function in known.functions),
        "coverage_unknown": 0,
        "set_aside": known.set_aside,
    }


def _latest(rows: np.ndarray, start: np.ndarray, ids: np.ndarray) -> list[_Example]:
    """Name the calls that started last."""
    if len(rows) > 100 * EXAMPLES:
        rows = rows[np.argpartition(start[rows], -100 * EXAMPLES)[-100 * EXAMPLES :]]
    rows = rows[np.lexsort((ids[rows], start[rows]))[::-1][:EXAMPLES]]
    return list(zip(start[rows].tolist(), ids[rows].tolist(), strict=True))
