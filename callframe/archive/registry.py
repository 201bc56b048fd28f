"""Registry of functions and schedules: deleted ones stay, and a label once given does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from callframe import frame
from callframe.archive.schema import TEXT, TIME
from callframe.timespan import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = dict[str, Any]


def merge_functions(stored: Sequence[Row], listed: pd.DataFrame, **listing: Any) -> list[Row]:
    """Merge a listing of functions into the rows of a project; see `_merge`."""
    rows = _to_rows(listed)
    labels = assign_labels(stored, rows)
    return _merge(stored, [{**row, "function": labels[row["function_id"]]} for row in rows], "function_id", **listing)


def merge_schedules(
    stored: Sequence[Row], listed: pd.DataFrame, labels: Mapping[int, str], **listing: Any
) -> list[Row]:
    """Merge a listing of schedules into the rows of a project, with the labels of their functions; see `_merge`."""
    rows = [{**row, "function": labels.get(row["function_id"], row["function"])} for row in _to_rows(listed)]
    return _merge(stored, rows, "schedule_id", **listing)


def add_rows(stored: Sequence[Row], added: Sequence[Row], key: str) -> list[Row]:
    """
    Add functions or schedules that were not listed, or the rows of another archive where they were listed later.

    The label that a function has here is given to all functions that had the same label there.
    """
    rows = {row[key]: row for row in stored}
    labels = {row["function"]: rows[row[key]]["function"] for row in added if row[key] in rows}
    for row in added:
        here = rows.get(row[key], {**row, "function": labels.get(row["function"], row["function"])})
        is_later = bool(row["name"]) and row["last_seen_time"] > here["last_seen_time"]
        first = min(row["first_seen_time"], here["first_seen_time"])
        rows[row[key]] = {**(row if is_later else here), "function": here["function"], "first_seen_time": first}
    return [rows[row_id] for row_id in sorted(rows)]


def assign_labels(stored: Sequence[Row], listed: Sequence[Row]) -> dict[int, str]:
    """
    Label functions by id, stored and listed ones, so that a label once given does not change.

    A new id with the external id of a stored function is its redeployment and gets its label. Without external ids the
    same holds for the name, if the stored function is no longer listed and no other listed one has the name. Any other
    new function whose label is taken gets its id added.
    """
    labels: dict[int, str] = {row["function_id"]: row["function"] for row in stored}
    listed_ids = {row["function_id"] for row in listed}
    by_external_id = {row["external_id"]: row["function"] for row in stored if row["external_id"]}
    deleted = {row["name"]: row["function"] for row in stored if row["function_id"] not in listed_ids and _by_name(row)}
    names = [row["name"] for row in listed if _by_name(row)]
    taken = {row["function"] for row in stored if row["name"] or row["external_id"]}  # added ones have neither
    for row in listed:
        if row["function_id"] in labels:
            continue
        label = by_external_id.get(row["external_id"]) if row["external_id"] else None
        if label is None and _by_name(row) and names.count(row["name"]) == 1:
            label = deleted.get(row["name"])
        if label is None:
            label = row["function"]
            while label in taken:
                label = f"{label} ({row['function_id']})"
        if row["external_id"]:
            by_external_id[row["external_id"]] = label
        labels[row["function_id"]] = label
        taken.add(label)
    return labels


def to_frame(rows: pa.Table, order: Sequence[str]) -> pd.DataFrame:
    """Convert rows to a frame with the dtypes of `Project.functions` or `Project.schedules`, without the project."""
    dtypes = {TEXT: frame.TEXT, pa.int64(): pd.Int64Dtype()}
    to_ms = [field.with_type(pa.timestamp("ms", "UTC")) if field.type == TIME else field for field in rows.schema]
    table: pd.DataFrame = rows.cast(pa.schema(to_ms)).drop_columns(["project"]).to_pandas(types_mapper=dtypes.get)
    return table.astype({table.columns[0]: "int64"}).sort_values(list(order), kind="stable", ignore_index=True)


def _to_rows(listed: pd.DataFrame) -> list[Row]:
    rows: list[Row] = pa.Table.from_pandas(listed, preserve_index=False).to_pylist()
    return rows


def _by_name(row: Row) -> bool:
    return bool(row["name"]) and not row["external_id"]


def _merge(
    stored: Sequence[Row], listed: Sequence[Row], key: str, *, project: str, now_ms: int, complete: bool
) -> list[Row]:
    """Add or update listed rows; if the listing is complete, the others are gone since `now_ms`."""
    now = timestamp(now_ms).to_pydatetime()
    rows = {row[key]: dict(row) for row in stored}
    for row in listed:
        before = rows.get(row[key], {"first_seen_time": now, "last_seen_time": now})
        first, last = min(before["first_seen_time"], now), max(before["last_seen_time"], now)
        times = {"first_seen_time": first, "last_seen_time": last, "gone_time": None}
        rows[row[key]] = {**row, "project": project, **times}
    listed_ids = {row[key] for row in listed}
    for row in rows.values() if complete else ():
        if row[key] not in listed_ids and row["gone_time"] is None and row["last_seen_time"] < now:
            row["gone_time"] = now
    return [rows[row_id] for row_id in sorted(rows)]
