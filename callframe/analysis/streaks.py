"""The most failures in a row, by group: of calls at once, or of parts that follow each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from callframe.analysis.survival import COMPLETED, OTHER
from callframe.timespan import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from callframe.analysis.grouping import Groups

ENDS = ("finished", "head", "tail", "first_start", "first_id", "last_start", "last_id")
"""What has to be known of a part to go on with the next: see `ends`."""


def in_order(calls: pd.DataFrame, groups: Groups, kinds: np.ndarray) -> np.ndarray:
    """
    Put finished calls in order.

    Parameters
    ----------
    calls
        Call frame.
    groups
        The group of each call.
    kinds
        The kind of each call.

    Returns
    -------
    order
        The places of finished calls, by group and then by start.
    """
    start, call_id = to_milliseconds(calls["start_time"]), calls["call_id"].to_numpy()
    rising = (start[1:] > start[:-1]) | ((start[1:] == start[:-1]) & (call_id[1:] >= call_id[:-1]))
    finished = (kinds >= COMPLETED) & (kinds < OTHER)
    places = np.flatnonzero(finished)
    if not rising.all():
        order = np.lexsort((call_id, start))
        places = order[finished[order]]
    codes = groups.codes.astype("uint16" if len(groups) < 2**16 else "int64")  # the shorter ones sort faster
    ordered: np.ndarray = places[np.argsort(codes[places], kind="stable")]
    return ordered


def longest(groups: Groups, kinds: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Count the most failures in a row among finished calls, by group; `order` is that of `in_order`."""
    failed = np.flatnonzero(kinds[order] != COMPLETED)
    of = groups.codes[order[failed]].astype("int64")
    fresh = (np.diff(failed, prepend=-2) != 1) | (np.diff(of, prepend=-1) != 0)
    found = np.zeros(len(groups), dtype="int64")
    np.maximum.at(found, of[fresh], np.diff(np.append(np.flatnonzero(fresh), len(failed))))
    return found


def ends(calls: pd.DataFrame, groups: Groups, kinds: np.ndarray, order: np.ndarray) -> dict[str, np.ndarray]:
    """
    Tell how the finished calls of each group begin and end.

    Parameters
    ----------
    calls, groups, kinds
        As for `in_order`.
    order
        What that returned.

    Returns
    -------
    ends
        By group: how many have `finished`, how many failed before the first success (`head`) and after the last
        (`tail`), all of them where there is none; and start and id of the first and of the last.
    """
    start, call_id = to_milliseconds(calls["start_time"]), calls["call_id"].to_numpy()
    bounds = np.searchsorted(groups.codes[order], np.arange(len(groups) + 1))
    finished, some = np.diff(bounds), np.diff(bounds) > 0
    success = np.flatnonzero(kinds[order] == COMPLETED)
    first = np.append(success, len(order))[np.searchsorted(success, bounds[:-1])]
    last = np.append(success, -1)[np.searchsorted(success, bounds[1:]) - 1]
    found = {
        "finished": finished,
        "head": np.minimum(first, bounds[1:]) - bounds[:-1],
        "tail": np.minimum(bounds[1:] - 1 - last, finished),
    }
    for name, places in (("first", bounds[:-1][some]), ("last", bounds[1:][some] - 1)):
        for what, values in (("start", start), ("id", call_id)):
            found[f"{name}_{what}"] = np.zeros(len(groups), dtype="int64")
            found[f"{name}_{what}"][some] = values[order[places]]
    return found


def follow(parts: Sequence[pd.DataFrame], codes: Sequence[np.ndarray], size: int) -> dict[str, np.ndarray]:
    """
    Let parts follow each other.

    Parameters
    ----------
    parts
        A row a group: `streak`, the longest; whether the calls came `ordered`; and what `ends` tells.
    codes
        The number of the group of each row, in each part.
    size
        The number of groups.

    Returns
    -------
    streaks
        The same columns, of all parts. Where the calls of a part do not all start after those of the parts before, they
        are not `ordered`, and what else is told of that group is not to be relied on.
    """
    whole = {name: np.zeros(size, dtype="int64") for name in ("streak", *ENDS)}
    whole["ordered"] = np.ones(size, dtype=bool)
    for part, code in zip(parts, codes, strict=True):
        here = code[part["finished"].to_numpy() > 0]
        new = {name: part[name].to_numpy()[part["finished"].to_numpy() > 0] for name in (*ENDS, "streak", "ordered")}
        old = {name: values[here] for name, values in whole.items()}
        fresh, failing = old["finished"] == 0, old["head"] == old["finished"]
        later = (old["last_start"] < new["first_start"]) | (
            (old["last_start"] == new["first_start"]) & (old["last_id"] <= new["first_id"])
        )
        whole["ordered"][here] = old["ordered"] & new["ordered"] & (fresh | later)
        whole["streak"][here] = np.maximum.reduce([old["streak"], new["streak"], old["tail"] + new["head"]])
        whole["head"][here] = old["head"] + np.where(failing, new["head"], 0)
        whole["tail"][here] = new["tail"] + np.where(new["tail"] == new["finished"], old["tail"], 0)
        whole["finished"][here] += new["finished"]
        for what in ("start", "id"):
            whole[f"first_{what}"][here] = np.where(fresh, new[f"first_{what}"], old[f"first_{what}"])
            whole[f"last_{what}"][here] = new[f"last_{what}"]
    return whole
