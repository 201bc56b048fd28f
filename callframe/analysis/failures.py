"""Which failures are the same, and which came in a row."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis import dask, message_templates, tracebacks
from callframe.analysis.grouping import concat
from callframe.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callframe.analysis.dask import CallFrame

RULE = 1
"""Version of the rule that groups failures; a part of every group id."""


TIMED_OUT = "stopped at the run limit"
"""Stands as the template of calls that the service stopped, whatever it says of each."""

NO_ERROR = "no error given"
"""Stands as the template of calls that failed and do not say why."""

_BY = {"function": "function", "schedule": "schedule_id", "status": "status"}
_EPISODES_BY = {"function": "function", "schedule": "schedule_id"}
_COLUMNS = (
    "group", "exception", "template", "frames", "cause", "count", "share", "functions", "first_seen", "last_seen",
    "call_id", "function",
)  # fmt: skip
_Chain: TypeAlias = "tuple[tuple[str | None, tuple[str, ...]], ...]"  # types, and the user's functions
_READ = ["call_id", "function", "schedule_id", "status", "start_time", "error_message", "error_trace"]
_COUNTED = ("count", "first_seen", "last_seen", "call_id")
_ID_DIGITS = 12


class _Kind(NamedTuple):
    """What the failures of a group have in common."""

    status: str
    exception: str | None
    frames: tuple[str, ...]
    causes: tuple[tuple[str | None, tuple[str, ...]], ...]
    skeleton: str

    @property
    def id(self) -> str:
        """The same in every run, frame and version of pandas."""
        key = [RULE, *self]
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:_ID_DIGITS]


@dataclass(frozen=True)
class _Part:
    """
    Failures counted, so that two such add up.

    One row of `counted` is what is grouped by, the number of the kind, and the function; with how many there are, the
    start of the first and of the last, and the id of that. `kinds` are what the numbers stand for, `texts` how often
    each of their templates occurs.
    """

    counted: pd.DataFrame
    kinds: list[_Kind]
    texts: list[dict[str, int]]


def failures(calls: CallFrame, by: str | Sequence[str] | None = None, *, client: Any = None) -> pd.DataFrame:
    """
    Group failed calls by what went wrong.

    Two failures are of one group if they have the same type of exception, passed through the same functions of the
    user's own code, and say the same but for numbers, ids, times, names and the like. Line numbers and frames of
    libraries do not matter, nor does the function they are calls of. All Timeouts are one group, as are all calls that
    failed without an error.

    Of a chain of exceptions ("The above exception was the direct cause ...", "During handling of the above exception
    ...") the last one names the group: it is what the call ended with. Earlier ones tell groups apart by their types
    and functions if they passed through the user's code; what only libraries saw does not count.

    Parameters
    ----------
    calls
        Call frame, or a Dask DataFrame of calls. Calls that have not failed are left out, also those that carry an
        error.
    by
        `None`, `"function"`, `"schedule"`, `"status"`, or several of them: groups within each. Calls without a schedule
        are within a missing one.
    client
        For a Dask DataFrame: the `distributed.Client` to compute on. By default the one that is current, or else
        threads of this process.

    Returns
    -------
    failures
        One row a group, the largest first, within each of `by`. First the columns of `by` (`function`, `schedule`,
        `status`); then `group` str, an id that is the same in every frame; `exception` str, the type without its
        module, `Timeout` for calls that the service stopped, missing where the error names none; `template` str, the
        message with placeholders; `frames` str, the user's functions, outermost first; `cause` str, the type of the
        first exception of the chain, missing where there is no other;
        `count` int64; `share` float64, of the failures within `by`; `functions` str, their labels, the one with the
        most failures first; `first_seen`, `last_seen` datetime64[ms, UTC], start times; `call_id` int64 and `function`
        category, the latest call of the group.

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
    ...     found = cf.failures(project.calls(start="14d"))
    >>> int(found["count"].sum()) > 0
    True
    """
    names = _names(by)
    divided = dask.as_partitions(calls, client)
    if divided is not None:
        return _table(divided.reduce(_READ, functools.partial(_measure, names=names), _add), names)
    frame.check(calls)
    return _table(_measure(calls, names), names)


def failure_episodes(calls: pd.DataFrame, by: str = "function") -> pd.DataFrame:
    """
    Find the runs of consecutive failures.

    Calls are taken in the order in which they started. Failed and Timeout count, Completed ends an episode; calls that
    still run, or whose status is unknown, may turn out either way: they neither count nor end one.

    Parameters
    ----------
    calls
        Call frame.
    by
        `"function"` or `"schedule"`: whose calls follow each other. Calls without a schedule are of none.

    Returns
    -------
    episodes
        One row an episode, in the order of `start_time`. With `by="schedule"` first `schedule` int64. `function`
        category; `length` int64, the number of failures; `start_time`, `end_time` datetime64[ms, UTC], when its first
        and its last failure started; `recovered` bool, whether a call completed after it; `recovered_time`
        datetime64[ms, UTC], when that call started, missing where there is none; `first_call_id`, `last_call_id` int64.

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
    ...     episodes = cf.failure_episodes(project.calls(start="14d"))
    >>> bool((episodes["length"] >= 1).all())
    True
    """
    frame.check(calls)
    if by not in tuple(_EPISODES_BY):  # which takes what cannot be hashed
        raise ArgumentError(f"by={by!r}; expected {' or '.join(map(repr, _EPISODES_BY))}.")
    key = calls[_EPISODES_BY[by]]
    settled = (_is_failure(calls) | (calls["status"] == "Completed")).to_numpy() & key.notna().to_numpy()
    rows = calls.loc[settled, ["call_id", "function", "schedule_id", "status", "start_time"]]
    owner = key[settled].cat.codes if by == "function" else key[settled]
    rows = (
        rows.assign(owner=owner.to_numpy(dtype="int64"), failed=_is_failure(rows).to_numpy())
        .sort_values(["owner", "start_time", "call_id"], kind="stable")
        .reset_index(drop=True)
    )
    return _episodes(rows, by)


def failure_groups(calls: pd.DataFrame) -> pd.Series:
    """
    Tell the group of each call that failed, as `failures` names it.

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
        It is no call frame.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     calls = project.calls(start="14d")
    >>> largest = cf.failures(calls)["group"].iloc[0]
    >>> examples = calls[cf.failure_groups(calls) == largest]
    """
    frame.check(calls)
    places = np.flatnonzero(_is_failure(calls))
    groups, kinds, _ = _classify(calls[_READ].take(places).reset_index(drop=True))
    found: list[str | None] = [None] * len(calls)
    for place, group in zip(places.tolist(), groups.tolist(), strict=True):
        found[place] = kinds[group].id
    return frame.text_column(found).set_axis(calls.index).rename("group")


def _is_failure(calls: pd.DataFrame) -> pd.Series:
    return calls["status"].isin(frame.FAILURES)


def _names(by: str | Sequence[str] | None) -> list[str]:
    names = [] if by is None else [by] if isinstance(by, str) else list(by)
    if any(name not in _BY for name in names) or len(set(names)) < len(names):
        raise ArgumentError(f"by={by!r}; expected None, {', '.join(map(repr, _BY))}, or several of them.")
    return names


def _measure(calls: pd.DataFrame, names: Sequence[str]) -> _Part:
    """Tell the kinds of the failures of a call frame, and count them."""
    rows = calls[_READ].take(np.flatnonzero(_is_failure(calls))).reset_index(drop=True)
    numbers, kinds, texts = _classify(rows)
    within = {f"_{name}": rows[_BY[name]] for name in names}
    rows = rows[["function", "call_id"]].assign(
        **within, _kind=numbers, count=1, first_seen=rows["start_time"], last_seen=rows["start_time"]
    )
    return _Part(_count(rows, [*within, "_kind", "function"]), kinds, texts)


def _add(parts: Sequence[_Part]) -> _Part:
    """Add parts up: kinds that are the same in several get one number."""
    known: dict[_Kind, int] = {}
    texts: list[dict[str, int]] = []
    tables = []
    for part in parts:
        numbers = np.array([known.setdefault(kind, len(known)) for kind in part.kinds], dtype="int64")
        texts += [{} for _ in range(len(known) - len(texts))]
        for number, counts in zip(numbers.tolist(), part.texts, strict=True):
            texts[number] = dict(Counter(texts[number]) + Counter(counts))
        tables.append(part.counted.assign(_kind=numbers[part.counted["_kind"].to_numpy()]))
    together = concat(tables)
    keys = [name for name in together.columns if name not in _COUNTED]
    return _Part(_count(together, keys), list(known), texts)


def _count(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Add rows up that have the same keys; of the latest call the id is kept."""
    rows = rows.sort_values(["last_seen", "call_id"], kind="stable")
    grouped = rows.groupby(list(keys), observed=True, dropna=False, sort=False)
    aggregates = {"count": "sum", "first_seen": "min", "last_seen": "last", "call_id": "last"}
    return pd.DataFrame(grouped.agg(aggregates)).reset_index()


def _table(part: _Part, names: Sequence[str]) -> pd.DataFrame:
    """Make groups of what has been counted, and describe them."""
    rows = part.counted.sort_values(["last_seen", "call_id"], kind="stable", ignore_index=True)
    within = rows[[f"_{name}" for name in names]].set_axis(list(names), axis=1)
    rows = rows.assign(_within=_numbers(within), _row=np.arange(len(rows)))
    found = _count(rows, ["_within", "_kind"]).merge(rows.groupby(["_within", "_kind"])["_row"].last().reset_index())
    found = found.assign(
        function=rows["function"].take(found["_row"].to_numpy()).array,
        functions=_functions(rows).reindex(pd.MultiIndex.from_frame(found[["_within", "_kind"]])).to_numpy(),
        share=found["count"] / found.groupby("_within")["count"].transform("sum"),
        **{name: within[name].take(found["_row"].to_numpy()).array for name in names if name != "function"},
    )
    found = _describe(found, part)
    order = ["_within", "count", "last_seen", "group"]
    found = found.sort_values(order, ascending=[True, False, False, True], kind="stable", ignore_index=True)
    return found[[*names, *(column for column in _COLUMNS if column not in names)]]


def _functions(rows: pd.DataFrame) -> pd.Series:
    """Name the functions of each group, the one with the most failures first."""
    sizes = rows.groupby(["_within", "_kind", "function"], observed=True)["count"].sum().reset_index()
    sizes = sizes.assign(label=sizes["function"].astype("object"))
    sizes = sizes.sort_values(["count", "label"], ascending=[False, True], kind="stable")
    return sizes.groupby(["_within", "_kind"])["label"].agg(", ".join)


def _classify(rows: pd.DataFrame) -> tuple[np.ndarray, list[_Kind], list[dict[str, int]]]:
    """Give every call the number of its kind; each message with its trace is looked at once."""
    timed_out = (rows["status"] == "Timeout").to_numpy()
    codes, values = [], []
    for column in ("error_message", "error_trace"):
        found, unique = pd.factorize(rows[column])
        codes.append(np.where(timed_out, -1, found))
        values.append([*unique.tolist(), None])  # the code -1 finds None
    messages, texts = values
    pairs = (codes[0] + 1) * (len(texts) + 1) + codes[1] + 1
    numbers, unique_pairs = pd.factorize(np.where(timed_out, -1, pairs))
    said, shapes_of, shapes = _read(unique_pairs.tolist(), messages, texts)
    alike: dict[tuple[str, int], int] = {}
    places = np.array([alike.setdefault(key, len(alike)) for key in zip(said, shapes_of, strict=True)], dtype="int64")
    sizes = np.bincount(places[numbers], minlength=len(alike)).tolist()
    known: dict[_Kind, int] = {}
    shown: list[dict[str, int]] = []
    kind_of = np.empty(len(alike), dtype="int64")
    for at, (text, shape) in enumerate(alike):
        kind, template = _kind(text, shapes[shape])
        kind_of[at] = known.setdefault(kind, len(known))
        if len(known) > len(shown):
            shown.append({})
        counts = shown[kind_of[at]]
        counts[template] = counts.get(template, 0) + sizes[at]
    return kind_of[places[numbers]], list(known), shown


def _read(
    pairs: Sequence[int], messages: Sequence[str | None], texts: Sequence[str | None]
) -> tuple[list[str], list[int], list[_Chain]]:
    """
    Tell what each pair of message and trace says in the end, and what it passed through: a place in the list of those.

    The exceptions themselves are not kept, for the garbage collector would look at each of them again and again.
    """
    known: dict[_Chain, int] = {}
    said, places = [], []
    for pair in pairs:
        chain = [] if pair < 0 else _chain(messages[pair // (len(texts) + 1) - 1], texts[pair % (len(texts) + 1) - 1])
        said.append(chain[-1].text if chain else "")
        places.append(known.setdefault(tuple((one.kind, one.functions) for one in chain), len(known)))
    return message_templates.settle(said), places, list(known)


def _kind(said: str, chain: _Chain) -> tuple[_Kind, str]:
    """Tell what a failure has in common with others of its group, and how to show it; no chain is a Timeout."""
    if not chain:
        return _Kind("Timeout", "Timeout", (), (), ""), TIMED_OUT
    *earlier, (exception, functions) = chain
    text = message_templates.template(said, exception)
    if exception is None and not text:
        return _Kind("Failed", None, functions, (), ""), NO_ERROR
    causes = dict.fromkeys(one for one in earlier if one[1])
    causes.pop((exception, functions), None)
    return _Kind("Failed", exception, functions, tuple(causes), message_templates.skeleton(text)), text


def _chain(message: str | None, trace: str | None) -> list[tracebacks.Raised]:
    """Read the exceptions of a failure; what the trace does not say, the message has to."""
    message, trace = (message or "").strip(), (trace or "").strip("\r\n")
    chain = tracebacks.read(trace)
    if not chain:
        chain = tracebacks.read(message)
        alone = tracebacks.name(message or trace)
        return chain if chain and chain[-1].kind else [alone]
    last = chain[-1]
    if last.kind is None:
        said = tracebacks.name(message or last.text)
        chain[-1] = tracebacks.Raised(said.kind, said.text, last.functions)
    return chain


def _numbers(within: pd.DataFrame) -> np.ndarray:
    """Give every row the number of its combination of values; no columns are one combination."""
    if within.empty or not len(within.columns):
        return np.zeros(len(within), dtype="int64")
    return within.groupby(list(within), observed=True, dropna=False, sort=True).ngroup().to_numpy(dtype="int64")


def _describe(found: pd.DataFrame, part: _Part) -> pd.DataFrame:
    """Add what the groups are, and give every column its dtype; of the templates of a group, the most frequent."""
    of, kinds = found["_kind"].tolist(), part.kinds
    texts = [min(counts, key=lambda one: (-counts[one], one)) for counts in part.texts]
    columns = {
        "group": [kinds[group].id for group in of],
        "exception": [kinds[group].exception for group in of],
        "template": [texts[group] for group in of],
        "frames": [" > ".join(kinds[group].frames) or None for group in of],
        "cause": [kinds[group].causes[0][0] if kinds[group].causes else None for group in of],
        "functions": found["functions"].tolist(),
    }
    found = found.assign(**{name: frame.text_column(values).set_axis(found.index) for name, values in columns.items()})
    return found.astype({"count": "int64", "share": "float64", "call_id": "int64"})


def _episodes(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Cut rows, in the order of owner and time, where an owner ends or a failure follows on none."""
    owner, failed = rows["owner"].to_numpy(), rows["failed"].to_numpy()
    new_owner = np.append(True, owner[1:] != owner[:-1])[: len(rows)]
    before = np.append(False, failed[:-1])[: len(rows)]
    after = np.append(failed[1:], False)[: len(rows)]
    last_of_owner = np.append(new_owner[1:], True)[: len(rows)]
    first = np.flatnonzero(failed & (new_owner | ~before))
    last = np.flatnonzero(failed & (last_of_owner | ~after))
    recovered = ~last_of_owner[last]
    start = rows["start_time"]
    found = pd.DataFrame(
        {
            "schedule": owner[first],
            "function": rows["function"].take(first).array,
            "length": (last - first + 1).astype("int64"),
            "start_time": start.take(first).array,
            "end_time": start.take(last).array,
            "recovered": recovered,
            "recovered_time": start.take(np.minimum(last + 1, len(rows) - 1)).where(recovered).array,
            "first_call_id": rows["call_id"].to_numpy()[first],
            "last_call_id": rows["call_id"].to_numpy()[last],
        }
    )
    found = found.sort_values(["start_time", "first_call_id"], kind="stable", ignore_index=True)
    return found if by == "schedule" else found.drop(columns="schedule")
