"""How many calls, how many failed, and how long they took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GROUPS = {"function": "function", "schedule": "schedule_id", "status": "status"}
"""What a summary can be grouped by, and the column that holds it."""

QUANTILES = {"p50": 0.5, "p95": 0.95}

SPREAD = (0.05, 0.25, 0.5, 0.75, 0.95)
"""The quantiles that show how values are spread."""

_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
_NEVER = np.iinfo("int64").max


def summarize(calls: pd.DataFrame, by: str | Sequence[str] = "function") -> pd.DataFrame:
    """
    Summarize calls by group: counts, failure rate, durations and schedule delays.

    A Timeout is a failure. Running calls are counted and are in no rate. Durations are of completed work: a Timeout
    would have taken longer than it was let, so it stands above every duration observed, and a quantile that falls among
    the timeouts is missing, with the longest time that is known to be exceeded in the column `..._above`.

    Parameters
    ----------
    calls
        Call frame of any number of rows.
    by
        `"function"`, `"schedule"`, `"status"`, or several of them.

    Returns
    -------
    summary
        One row a group that has calls, the most failures first; the groups are the index. `calls`, `completed`,
        `failed`, `timeout`, `running`, `other` int64; `failure_rate`, `failure_rate_low`, `failure_rate_high` float64,
        the share of Failed and Timeout among finished calls with its Wilson 95 % interval (Wilson, 1927, JASA 22:209),
        missing where none has finished; `duration_p50`, `duration_p95`, `duration_max`, `schedule_delay_p50`,
        `schedule_delay_p95`, `schedule_delay_max` timedelta64[ms], of which a quantile is the smallest value that at
        least that share of the calls does not exceed; `duration_p50_above`, `duration_p95_above` timedelta64[ms],
        missing where the quantile is known.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `by` is unknown.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     summary = cf.summarize(project.calls(start="14d"))
    >>> int(summary["calls"].sum()) > 900
    True
    """
    frame.check(calls)
    names = _group_names(by)
    keys = [calls[GROUPS[name]].rename(name) for name in names]
    grouped = pd.DataFrame(
        {
            "calls": 1,
            **{status.lower(): (calls["status"] == status).astype("int64") for status in frame.STATUSES},
            "other": (~calls["status"].isin(frame.STATUSES)).astype("int64"),
        },
        index=calls.index,
    ).groupby(keys, observed=True, dropna=False)
    counts = grouped.sum()[["calls", "completed", "failed", "timeout", "running", "other"]].astype("int64")
    groups = grouped.ngroup().to_numpy()
    return (
        counts.join(_failure_rates(counts))
        .join(_durations(calls, groups, counts.index))
        .join(_delays(calls, groups, counts.index))
        .assign(failures=lambda summary: summary["failed"] + summary["timeout"])
        .sort_values(["failures", "calls"], ascending=False, kind="stable")
        .drop(columns="failures")
    )


def spread(calls: pd.DataFrame, of: str = "duration", shares: Sequence[float] = SPREAD) -> pd.DataFrame:
    """
    Take quantiles of durations or of schedule delays, by function.

    Parameters
    ----------
    calls
        Call frame.
    of
        `"duration"`, of completed work with Timeouts above all of it, or `"schedule_delay"`.
    shares
        Which quantiles, each from 0 to 1.

    Returns
    -------
    spread
        One row a function that has any, the largest median last, functions as the index; a column a share,
        timedelta64[ms], missing where the quantile falls among the timeouts, and `calls` int64.

    Raises
    ------
    FrameError
        It is no call frame.
    ArgumentError
        `of` is unknown.
    """
    frame.check(calls)
    if of not in {"duration", "schedule_delay"}:
        raise ArgumentError(f"of={of!r}; expected 'duration' or 'schedule_delay'.")
    values = _work(calls) if of == "duration" else calls["schedule_delay"].to_numpy().astype("int64")
    inside = values != _missing()
    groups, functions = pd.factorize(calls["function"].to_numpy()[inside], sort=True)
    index = pd.Index(functions, name="function")
    found = {share: _quantile(values[inside], groups, len(index), share) for share in shares}
    table = _spans({share: np.where(one == _NEVER, _missing(), one) for share, one in found.items()}, index)
    middle = found[min(shares, key=lambda share: abs(share - 0.5))] if shares else np.zeros(len(index))
    return table.assign(calls=np.bincount(groups, minlength=len(index))).iloc[np.argsort(middle, kind="stable")]


def over_time(calls: pd.DataFrame, bins: int = 60) -> pd.DataFrame:
    """
    Count calls by start time and status.

    Parameters
    ----------
    calls
        Call frame.
    bins
        About how many bins; their width is a whole number of minutes, hours or days.

    Returns
    -------
    counts
        One row a bin, empty ones too, its start (UTC) as the index; a column a status, int64.

    Raises
    ------
    FrameError
        It is no call frame.
    """
    frame.check(calls)
    categories = list(calls["status"].cat.categories)
    if calls.empty:
        return pd.DataFrame(0, index=pd.DatetimeIndex(calls["start_time"]), columns=categories)
    start = calls["start_time"]
    width = _round_width((start.max() - start.min()) / bins)
    floor = start.dt.floor(width)
    table = pd.crosstab(floor, calls["status"].astype("object")).reindex(columns=categories, fill_value=0)
    edges = pd.date_range(floor.min(), floor.max(), freq=width, name="start_time", unit="ms")
    table = table.reindex(edges, fill_value=0)
    return table.rename_axis(columns=None)


def _round_width(width: pd.Timedelta) -> pd.Timedelta:
    widths = [pd.Timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440)]
    return next((one for one in widths if one >= width), pd.Timedelta(days=int(width / pd.Timedelta(days=1)) + 1))


def _group_names(by: str | Sequence[str]) -> list[str]:
    names = [by] if isinstance(by, str) else list(by)
    unknown = [name for name in names if name not in GROUPS]
    if unknown or not names:
        raise ArgumentError(f"by={by!r}; expected {', '.join(map(repr, GROUPS))}, or several of them.")
    return names


def _failure_rates(counts: pd.DataFrame) -> pd.DataFrame:
    """Wilson's interval, for all groups at once."""
    failures = (counts["failed"] + counts["timeout"]).to_numpy(dtype="float64")
    n = failures + counts["completed"].to_numpy(dtype="float64")
    n[n == 0] = np.nan
    share = failures / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    rates = {
        "failure_rate": share,
        "failure_rate_low": np.clip(np.where(failures == 0, 0, centre - half), 0, 1),
        "failure_rate_high": np.clip(np.where(failures == n, 1, centre + half), 0, 1),
    }
    rates = {name: np.where(np.isnan(n), np.nan, rate) for name, rate in rates.items()}
    return pd.DataFrame(rates, index=counts.index)


def _work(calls: pd.DataFrame) -> np.ndarray:
    """How long completed work took; more than anything where it was cut off; missing where it is not known."""
    took = calls["duration"].to_numpy().astype("int64")
    return np.select([calls["status"] == "Timeout", calls["status"] == "Completed"], [_NEVER, took], default=_missing())


def _durations(calls: pd.DataFrame, groups: np.ndarray, index: pd.Index) -> pd.DataFrame:
    work = _work(calls)
    inside = work != _missing()
    columns = _quantiles("duration", work[inside], groups[inside], index)
    longest = _longest(calls["duration"].where(inside), groups, index)
    for name in QUANTILES:
        beyond = columns[f"duration_{name}"] == _NEVER
        columns[f"duration_{name}_above"] = np.where(beyond, longest, _missing())
        columns[f"duration_{name}"] = np.where(beyond, _missing(), columns[f"duration_{name}"])
    return _spans({**columns, "duration_max": _longest(calls["duration"], groups, index)}, index)


def _delays(calls: pd.DataFrame, groups: np.ndarray, index: pd.Index) -> pd.DataFrame:
    inside = calls["schedule_delay"].notna().to_numpy()
    delays = calls["schedule_delay"].to_numpy().astype("int64")
    columns = _quantiles("schedule_delay", delays[inside], groups[inside], index)
    return _spans(
        {**columns, "schedule_delay_max": _longest(calls["schedule_delay"], groups, index)},
        index,
    )


def _quantiles(name: str, values: np.ndarray, groups: np.ndarray, index: pd.Index) -> dict[str, np.ndarray]:
    return {f"{name}_{label}": _quantile(values, groups, len(index), share) for label, share in QUANTILES.items()}


def _quantile(values: np.ndarray, groups: np.ndarray, count: int, share: float) -> np.ndarray:
    """Take a quantile of each group as the inverse of its empirical distribution, which invents no value."""
    order = np.lexsort((values, groups))
    sizes = np.bincount(groups, minlength=count)
    rank = np.maximum(np.ceil(share * sizes).astype("int64") - 1, 0)
    found = np.full(count, _missing())
    found[sizes > 0] = values[order][(np.cumsum(sizes) - sizes + rank)[sizes > 0]]
    return found


def _longest(spans: pd.Series, groups: np.ndarray, index: pd.Index) -> np.ndarray:
    """Find the longest span of each group; the integer that stands for none is the smallest there is."""
    longest = np.full(len(index), _missing())
    np.maximum.at(longest, groups, spans.to_numpy().astype("int64"))
    return longest


def _missing() -> int:
    return int(np.iinfo("int64").min)


def _spans(columns: Mapping[Any, np.ndarray], index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame(
        {name: values.astype("int64").view("timedelta64[ms]") for name, values in columns.items()}, index=index
    )
