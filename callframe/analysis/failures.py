"""Which failures are the same, and which are consecutive."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis import dask, message_templates, tracebacks
from callframe.analysis.grouping import COLUMNS, concat, parse_by
from callframe.completeness import warn_about_repeated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from callframe.analysis.dask import CallFrame
    from callframe.analysis.tracebacks import Raised

RULE_VERSION = 2
"""Version of the rule that groups failures; part of every group id."""

TIMEOUT_TEMPLATE = "stopped at the run limit"
"""The template of all calls that the service stopped."""

NO_ERROR_TEMPLATE = "no error given"
"""The template of calls that failed without an error."""

_COLUMNS = (
    "group", "label", "status", "exception", "template", "frames", "cause", "count", "share", "functions", "first_seen",
    "last_seen", "new", "call_id", "function",
)  # fmt: skip
_NEEDED = ["call_id", "function", "schedule_id", "status", "start_time", "error_message", "error_trace"]
_AGGREGATES = {"count": "sum", "first_seen": "min", "last_seen": "last", "call_id": "last"}
_ID_LENGTH = 12
_LABEL_LENGTH = 96
_NEW = 1 / 7  # share of the time range, at its end: the last day of a week

_Path: TypeAlias = "tuple[tuple[str | None, tuple[str, ...]], ...]"  # exception types, and the user's functions
_Hashable = TypeVar("_Hashable")


class _Group(NamedTuple):
    """What the failures of a group have in common; `skeleton` is their message without the varying parts."""

    status: str
    exception: str | None
    functions: tuple[str, ...]
    causes: _Path
    skeleton: str

    @property
    def id(self) -> str:
        """An id that is the same in every run, frame and version of pandas."""
        key = [RULE_VERSION, *self]
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:_ID_LENGTH]


@dataclass(frozen=True)
class _Counts:
    """
    Counted failures, which can be merged.

    `table` has one row per code of a group, function and what is grouped by: how many, the start of the first and the
    last, and the id of the last. `groups` are what the codes stand for, `templates` how often each template occurs,
    `starts` the start of the first and the last call, failed or not.
    """

    table: pd.DataFrame
    starts: tuple[Any, Any]
    groups: list[_Group]
    templates: list[dict[str, int]]


def failures(calls: CallFrame, by: str | Sequence[str] | None = None, *, client: Any = None) -> pd.DataFrame:
    """
    Group failed calls by what went wrong.

    Two failures belong to one group if they have the same exception type, passed through the same functions of the
    user's own code, and have the same message except for numbers, ids, times, names and the like. Line numbers and
    library frames do not matter, nor does the function that was called. All Timeouts form one group, as do all calls
    that failed without an error. Failures that only a response reports (see `with_responses`) are never in one group
    with those that the service reports.

    In a chain of exceptions ("The above exception was the direct cause ...", "During handling of the above exception
    ...") the last one names the group: it is the one the call ended with. Earlier ones distinguish groups by their
    types and functions if they passed through the user's code; those raised within libraries do not.

    Parameters
    ----------
    calls
        Call frame, or a Dask DataFrame of calls. Calls that have not failed are left out, even if they carry an error.
    by
        `None`, `"function"`, `"schedule"`, `"status"`, or several of them, to find groups within each. Calls without a
        schedule are within a missing one.
    client
        For a Dask DataFrame: the `distributed.Client` to compute on. By default the current one, or else threads of
        this process.

    Returns
    -------
    failures
        One row per group, the largest first, within each of `by`. First the columns of `by` (`function`, `schedule`,
        `status`); then `group` str, an id that is the same in every frame; `label` str, a line of at most 96 characters
        that names the group, no two of this table alike; `status` str, that of its calls; `exception` str, the type
        without its module, `Timeout` for calls that the service stopped, missing if the error names none; `template`
        str, the message with placeholders; `frames` str, the user's functions, outermost first; `cause` str, the type
        of the first exception of the chain, missing if there is only one; `count` int64; `share` float64, of the
        failures within `by`; `functions` str, their labels, the one with the most failures first; `first_seen`,
        `last_seen` datetime64[ms, UTC], start times; `new` bool, whether it was first seen in the last seventh of the
        time between the first and the last start in `calls`, such as the last day of a week; `call_id` int64 and
        `function` category, the latest call of the group.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `by` is unknown.

    Warns
    -----
    UserWarning
        Rows repeat a call; each row counts.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     failures = cf.failures(project.calls(start="14d"))
    >>> int(failures["count"].sum()) > 0
    True
    """
    names = list(parse_by(by, ("function", "schedule", "status"), several=True, optional=True))
    partitions = dask.as_partitions(calls, client)
    if partitions is not None:
        return _table(partitions.reduce(_NEEDED, functools.partial(_count_groups, names=names), _merge), names)
    frame.check(calls)
    warn_about_repeated(calls)
    return _table(_count_groups(calls, names), names)


def failure_episodes(calls: pd.DataFrame, by: str = "function") -> pd.DataFrame:
    """
    Find runs of consecutive failures.

    Calls are ordered by start. Failed, Timeout and Error response count, Completed ends an episode; Running calls and
    those with an undocumented status neither count nor end one.

    Parameters
    ----------
    calls
        Call frame.
    by
        `"function"` or `"schedule"`: whose calls are consecutive. Calls without a schedule are left out by schedule.

    Returns
    -------
    episodes
        One row per episode, by `start_time`. With `by="schedule"` first `schedule` int64. `function` category; `length`
        int64, the number of failures; `start_time`, `end_time` datetime64[ms, UTC], when its first and its last failure
        started; `recovered` bool, whether a call completed after it; `recovered_time` datetime64[ms, UTC], when that
        call started, missing if there is none; `first_call_id`, `last_call_id` int64.

    Raises
    ------
    FrameError
        `calls` is not a call frame.
    ArgumentError
        `by` is unknown.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     episodes = cf.failure_episodes(project.calls(start="14d"))
    >>> bool((episodes["length"] >= 1).all())
    True
    """
    frame.check(calls)
    parse_by(by, ("function", "schedule"))
    key = calls[COLUMNS[by]]
    finished = (_is_failure(calls) | (calls["status"] == "Completed")).to_numpy() & key.notna().to_numpy()
    rows = calls.loc[finished, ["call_id", "function", "schedule_id", "status", "start_time"]]
    owner = key[finished].cat.codes if by == "function" else key[finished]
    rows = (
        rows.assign(owner=owner.to_numpy(dtype="int64"), failed=_is_failure(rows).to_numpy())
        .sort_values(["owner", "start_time", "call_id"], kind="stable")
        .reset_index(drop=True)
    )
    return _episodes(rows, by)


def failure_groups(calls: pd.DataFrame) -> pd.Series:
    """
    Find the failure group of each call, as `failures` names it.

    Parameters
    ----------
    calls
        Call frame.

    Returns
    -------
    groups
        `str` on the index of `calls`, the ids in the column `group` of `failures`; missing where a call has not failed.

    Raises
    ------
    FrameError
        `calls` is not a call frame.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     calls = project.calls(start="14d")
    >>> largest = cf.failures(calls)["group"].iloc[0]
    >>> examples = calls[cf.failure_groups(calls) == largest]
    """
    frame.check(calls)
    rows = np.flatnonzero(_is_failure(calls))
    codes, groups, _ = _classify(calls[_NEEDED].take(rows).reset_index(drop=True))
    ids: list[str | None] = [None] * len(calls)
    for row, code in zip(rows.tolist(), codes.tolist(), strict=True):
        ids[row] = groups[code].id
    return frame.text_column(ids).set_axis(calls.index).rename("group")


def _is_failure(calls: pd.DataFrame) -> pd.Series:
    return calls["status"].isin(frame.FAILURES)


def _count_groups(calls: pd.DataFrame, names: Sequence[str]) -> _Counts:
    """Classify the failures of a call frame, and count them by group, function and `names`."""
    rows = calls[_NEEDED].take(np.flatnonzero(_is_failure(calls))).reset_index(drop=True)
    codes, groups, templates = _classify(rows)
    within = {f"_{name}": rows[COLUMNS[name]] for name in names}
    rows = rows[["function", "call_id"]].assign(
        **within, _group=codes, count=1, first_seen=rows["start_time"], last_seen=rows["start_time"]
    )
    starts = calls["start_time"].min(), calls["start_time"].max()
    return _Counts(_sum(rows, [*within, "_group", "function"]), starts, groups, templates)


def _merge(parts: Sequence[_Counts]) -> _Counts:
    """Merge counts: a group that occurs in several parts gets one code."""
    codes: dict[_Group, int] = {}
    templates: list[dict[str, int]] = []
    tables = []
    for part in parts:
        merged = np.array([codes.setdefault(group, len(codes)) for group in part.groups], dtype="int64")
        templates += [{} for _ in range(len(codes) - len(templates))]
        for code, counts in zip(merged.tolist(), part.templates, strict=True):
            templates[code] = dict(Counter(templates[code]) + Counter(counts))
        tables.append(part.table.assign(_group=merged[part.table["_group"].to_numpy()]))
    table = concat(tables)
    keys = [name for name in table.columns if name not in _AGGREGATES]
    starts = pd.DatetimeIndex([start for part in parts for start in part.starts])
    return _Counts(_sum(table, keys), (starts.min(), starts.max()), list(codes), templates)


def _sum(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Add up rows with the same keys; the id is that of the latest call."""
    rows = rows.sort_values(["last_seen", "call_id"], kind="stable")
    grouped = rows.groupby(list(keys), observed=True, dropna=False, sort=False)
    return pd.DataFrame(grouped.agg(_AGGREGATES)).reset_index()


def _table(counts: _Counts, names: Sequence[str]) -> pd.DataFrame:
    """Build the table of groups."""
    rows = counts.table.sort_values(["last_seen", "call_id"], kind="stable", ignore_index=True)
    within = rows[[f"_{name}" for name in names]].set_axis(list(names), axis=1)
    rows = rows.assign(_within=_combinations(within), _row=np.arange(len(rows)))
    keys = ["_within", "_group"]
    table = _sum(rows, keys).merge(rows.groupby(keys)["_row"].last().reset_index())
    latest = table["_row"].to_numpy()
    table = table.assign(
        function=rows["function"].take(latest).array,
        functions=_function_names(rows).reindex(pd.MultiIndex.from_frame(table[keys])).to_numpy(),
        share=table["count"] / table.groupby("_within")["count"].transform("sum"),
        **{name: within[name].take(latest).array for name in names if name != "function"},
    )
    table = _describe(table, counts)
    order = ["_within", "count", "last_seen", "group"]
    table = table.sort_values(order, ascending=[True, False, False, True], kind="stable", ignore_index=True)
    return table[[*names, *(column for column in _COLUMNS if column not in names)]]


def _function_names(rows: pd.DataFrame) -> pd.Series:
    """List the functions of each group, the one with the most failures first."""
    sizes = rows.groupby(["_within", "_group", "function"], observed=True)["count"].sum().reset_index()
    sizes = sizes.assign(label=sizes["function"].astype("object"))
    sizes = sizes.sort_values(["count", "label"], ascending=[False, True], kind="stable")
    return sizes.groupby(["_within", "_group"])["label"].agg(", ".join)


def _classify(rows: pd.DataFrame) -> tuple[np.ndarray, list[_Group], list[dict[str, int]]]:
    """
    Find the group of every failure.

    Returns the code of each, the groups, and how often each template occurs in them. Each distinct pair of message and
    trace is parsed once, and each normalized text is turned into a template once: that is what takes time.
    """
    timed_out = (rows["status"] == "Timeout").to_numpy()
    columns = []
    for name in ("error_message", "error_trace"):
        codes, values = pd.factorize(rows[name])
        columns.append((codes, [*values.tolist(), None]))  # the code -1 of a missing value finds None
    (message_codes, messages), (trace_codes, traces) = columns
    pair_keys = (message_codes + 1) * len(traces) + trace_codes + 1
    is_response = (rows["status"] == frame.ERROR_RESPONSE).to_numpy()
    pair_keys = 2 * pair_keys + is_response
    pair_codes, pairs = pd.factorize(np.where(timed_out, -1, pair_keys), use_na_sentinel=False)
    errors = [
        None if pair < 0 else (messages[pair // 2 // len(traces) - 1], traces[pair // 2 % len(traces) - 1])
        for pair in pairs.tolist()
    ]
    kinds = [frame.ERROR_RESPONSE if pair >= 0 and pair % 2 else "Failed" for pair in pairs.tolist()]
    texts, path_codes, paths = _parse(errors)
    text_codes, keys = _encode(zip(texts, path_codes, kinds, strict=True))
    counts = np.bincount(text_codes[pair_codes], minlength=len(keys)).tolist()
    identified = [_identify(text, paths[path], kind) for text, path, kind in keys]
    group_codes, groups = _encode(group for group, _ in identified)
    templates: list[dict[str, int]] = [{} for _ in groups]
    for code, (_, template), count in zip(group_codes.tolist(), identified, counts, strict=True):
        templates[code][template] = templates[code].get(template, 0) + count
    return group_codes[text_codes[pair_codes]], groups, templates


def _encode(values: Iterable[_Hashable]) -> tuple[np.ndarray, list[_Hashable]]:
    """Encode values by first occurrence, as `pandas.factorize` does, for any hashable type."""
    codes: dict[_Hashable, int] = {}
    return np.array([codes.setdefault(value, len(codes)) for value in values], dtype="int64"), list(codes)


def _parse(errors: Sequence[tuple[str | None, str | None] | None]) -> tuple[list[str], np.ndarray, list[_Path]]:
    """
    Parse each message and trace to the final text and the path of the exceptions; None is a Timeout.

    Paths are numbered instead of kept for each error: the garbage collector would visit every one of them repeatedly.
    """
    codes: dict[_Path, int] = {}
    texts, path_codes = [], []
    for error in errors:
        chain = [] if error is None else _exceptions(*error)
        texts.append(chain[-1].text if chain else "")
        path = tuple((raised.exception, raised.functions) for raised in chain)
        path_codes.append(codes.setdefault(path, len(codes)))
    return message_templates.normalize(texts), np.array(path_codes, dtype="int64"), list(codes)


def _identify(text: str, path: _Path, status: str) -> tuple[_Group, str]:
    """Identify the group of a failure, and the template to show; an empty path is a Timeout."""
    if not path:
        return _Group("Timeout", "Timeout", (), (), ""), TIMEOUT_TEMPLATE
    *earlier, (exception, functions) = path
    template = message_templates.template(text, exception)
    if exception is None and not template:
        return _Group(status, None, functions, (), ""), NO_ERROR_TEMPLATE
    causes = dict.fromkeys(cause for cause in earlier if cause[1])
    causes.pop((exception, functions), None)
    return _Group(status, exception, functions, tuple(causes), message_templates.skeleton(template)), template


def _exceptions(message: str | None, trace: str | None) -> list[Raised]:
    """Parse the exceptions of a failure from its trace; what that does not name, the message must."""
    message, trace = (message or "").strip(), (trace or "").strip("\r\n")
    chain = tracebacks.parse(trace)
    if not chain:
        chain = tracebacks.parse(message)
        return chain if chain and chain[-1].exception else [tracebacks.parse_message(message or trace)]
    last = chain[-1]
    if last.exception is None:
        chain[-1] = tracebacks.parse_message(message or last.text)._replace(functions=last.functions)
    return chain


def _combinations(within: pd.DataFrame) -> np.ndarray:
    """Encode combinations of values; without columns there is one."""
    if within.empty or not len(within.columns):
        return np.zeros(len(within), dtype="int64")
    return within.groupby(list(within), observed=True, dropna=False, sort=True).ngroup().to_numpy(dtype="int64")


def _describe(table: pd.DataFrame, counts: _Counts) -> pd.DataFrame:
    """Add the columns that describe the groups; the template is the most frequent one."""
    groups = [counts.groups[code] for code in table["_group"].tolist()]
    templates = [min(count, key=lambda text: (-count[text], text)) for count in counts.templates]
    labels = _labels(counts.groups, templates)
    columns = {
        "group": [group.id for group in groups],
        "label": [labels[code] for code in table["_group"].tolist()],
        "status": [group.status for group in groups],
        "exception": [group.exception for group in groups],
        "template": [templates[code] for code in table["_group"].tolist()],
        "frames": [" > ".join(group.functions) or None for group in groups],
        "cause": [group.causes[0][0] if group.causes else None for group in groups],
        "functions": table["functions"].tolist(),
    }
    if "status" in table:  # one of those that are grouped by
        del columns["status"]
    table = table.assign(**{name: frame.text_column(values).set_axis(table.index) for name, values in columns.items()})
    first, last = counts.starts
    table = table.assign(new=(table["first_seen"] > last - (last - first) * _NEW).astype("bool"))
    return table.astype({"count": "int64", "share": "float64", "call_id": "int64"})


def _labels(groups: Sequence[_Group], templates: Sequence[str]) -> list[str]:
    """
    Label each group by its exception and template, no two alike.

    Errors that a response reports are labelled so. Where a label says nothing, or the same of several groups, the
    innermost function of the user goes along, then the cause as well, or else the id.
    """
    names, details = [], []
    for group, template in zip(groups, templates, strict=True):
        names.append(": ".join(filter(None, (group.exception, template))))
        kind = ", in a response" if group.status == frame.ERROR_RESPONSE else ""
        place = f", in `{_shorten(group.functions[-1], 30)}`" if group.functions else "" if kind else ", no trace"
        cause = f", caused by {_shorten(str(group.causes[0][0]), 30)}" if group.causes else ""
        details.append((kind, kind + place, kind + place + cause, f", {group.id}"))
    levels = [int(not any(map(str.isalnum, message_templates.skeleton(text).replace("<*>", "")))) for text in templates]
    labels: list[str] = []
    for level in range(4):
        ends = [detail[low] for detail, low in zip(details, levels, strict=True)]
        labels = [f"{_shorten(name, _LABEL_LENGTH - len(end))}{end}" for name, end in zip(names, ends, strict=True)]
        counts = Counter(labels)
        levels = [level + 1 if counts[label] > 1 else low for low, label in zip(levels, labels, strict=True)]
    return labels


def _shorten(text: str, length: int) -> str:
    """Leave out the middle of a long text: codes often stand at the end."""
    kept = (length - 1) // 3
    return text if len(text) <= length else f"{text[: length - 1 - kept]}…{text[-kept:]}"


def _episodes(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Cut rows, sorted by owner and time, into runs of failures."""
    owner, failed = rows["owner"].to_numpy(), rows["failed"].to_numpy()
    count = len(rows)
    is_first_of_owner = np.append(True, owner[1:] != owner[:-1])[:count]
    is_last_of_owner = np.append(is_first_of_owner[1:], True)[:count]
    failed_before = np.append(False, failed[:-1])[:count]
    fails_after = np.append(failed[1:], False)[:count]
    first = np.flatnonzero(failed & (is_first_of_owner | ~failed_before))
    last = np.flatnonzero(failed & (is_last_of_owner | ~fails_after))
    recovered = ~is_last_of_owner[last]
    start = rows["start_time"]
    episodes = pd.DataFrame(
        {
            "schedule": owner[first],
            "function": rows["function"].take(first).array,
            "length": (last - first + 1).astype("int64"),
            "start_time": start.take(first).array,
            "end_time": start.take(last).array,
            "recovered": recovered,
            "recovered_time": start.take(np.minimum(last + 1, count - 1)).where(recovered).array,
            "first_call_id": rows["call_id"].to_numpy()[first],
            "last_call_id": rows["call_id"].to_numpy()[last],
        }
    )
    episodes = episodes.sort_values(["start_time", "first_call_id"], kind="stable", ignore_index=True)
    return episodes if by == "schedule" else episodes.drop(columns="schedule")
