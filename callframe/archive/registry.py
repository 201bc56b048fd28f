"""Functions and schedules as they were seen: they vanish from the service, their labels and their rows stay here."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from callframe import frame
from callframe.api import catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from callframe.api.catalogue import Catalogue
    from callframe.api.schemas import Schedule

    Row = dict[str, Any]

_TEXT, _TIME = pa.large_string(), pa.timestamp("us", "UTC")
_SEEN = [("first_seen_time", _TIME), ("last_seen_time", _TIME), ("gone_time", _TIME)]

FUNCTIONS = pa.schema(
    [
        ("project", pa.string()),
        ("function_id", pa.int64()),
        *((name, _TEXT) for name in ("function", "name", "external_id", "owner", "description", "status")),
        ("created_time", _TIME),
        ("last_called", _TIME),
        ("file_id", pa.int64()),
        ("runtime", _TEXT),
        ("runtime_version", _TEXT),
        ("cpu", pa.float64()),
        ("memory", pa.float64()),
        ("error_message", _TEXT),
        ("metadata", _TEXT),
        *_SEEN,
    ]
)
"""A function as it was last seen. `gone_time` is when it was first found to be listed no more."""

SCHEDULES = pa.schema(
    [
        ("project", pa.string()),
        ("schedule_id", pa.int64()),
        ("name", _TEXT),
        ("function_id", pa.int64()),
        *((name, _TEXT) for name in ("function", "function_external_id", "cron_expression", "when")),
        ("created_time", _TIME),
        ("session_id", pa.int64()),
        ("description", _TEXT),
        *_SEEN,
    ]
)
"""A schedule as it was last seen, likewise."""


def functions_seen(held: Sequence[Row], known: Catalogue, *, project: str, now_ms: int, whole: bool) -> list[Row]:
    """
    Take a listing of functions into those that were ever seen.

    Parameters
    ----------
    held
        The rows so far, of one project.
    known
        The listing.
    project
        Name of the project.
    now_ms
        When it was listed.
    whole
        Whether it listed all there are, so that others are gone.

    Returns
    -------
    rows
        One an id, by id.
    """
    listed = pa.Table.from_pandas(catalogue.function_frame(known), preserve_index=False).to_pylist()
    labels = kept_labels(held, listed)
    found = [{**row, "function": labels[row["function_id"]]} for row in listed]
    return _merged(held, found, "function_id", project=project, now_ms=now_ms, whole=whole)


def schedules_seen(
    held: Sequence[Row],
    known: Catalogue,
    schedules: Sequence[Schedule],
    functions: Sequence[Row],
    *,
    now_ms: int,
    whole: bool,
    project: str,
) -> list[Row]:
    """Take a listing of schedules into those that were ever seen; see `functions_seen`."""
    labels = {row["function_id"]: row["function"] for row in functions}
    listed = pa.Table.from_pandas(catalogue.schedule_frame(known, schedules), preserve_index=False).to_pylist()
    found = [{**row, "function": labels.get(row["function_id"], row["function"])} for row in listed]
    return _merged(held, found, "schedule_id", project=project, now_ms=now_ms, whole=whole)


def kept_labels(held: Sequence[Row], listed: Sequence[Row]) -> dict[int, str]:
    """
    Label functions so that a label once given stays.

    A new id with the external id of an earlier one is the same function redeployed, and has its label. So it is by name
    where neither has an external id, the earlier one is listed no more and no other new one has that name. Any other
    new function whose label is taken gets its id added.

    Parameters
    ----------
    held
        Functions seen before, with their labels.
    listed
        Functions as they are listed now, labelled among themselves.

    Returns
    -------
    labels
        By function id, of both.
    """
    labels: dict[int, str] = {row["function_id"]: row["function"] for row in held}
    present = {row["function_id"] for row in listed}
    by_external_id = {row["external_id"]: row["function"] for row in held if row["external_id"]}
    gone = {row["name"]: row["function"] for row in held if row["function_id"] not in present and _is_named(row)}
    new = [row for row in listed if row["function_id"] not in labels]
    names = [row["name"] for row in listed if _is_named(row)]
    taken = set(labels.values())
    for row in new:
        label = by_external_id.get(row["external_id"]) if row["external_id"] else None
        if label is None and _is_named(row) and names.count(row["name"]) == 1:
            label = gone.get(row["name"])
        if label is None:
            label = row["function"]
            while label in taken:
                label = f"{label} ({row['function_id']})"
        if row["external_id"]:
            by_external_id[row["external_id"]] = label
        labels[row["function_id"]] = label
        taken.add(label)
    return labels


def to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Write rows as a table."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def to_frame(rows: pa.Table, schema: pa.Schema, order: Sequence[str]) -> pd.DataFrame:
    """
    Show rows as a frame, of the dtypes that `Project.functions` and `Project.schedules` have.

    Parameters
    ----------
    rows
        Rows of the table.
    schema
        `FUNCTIONS` or `SCHEDULES`.
    order
        Columns to sort by.

    Returns
    -------
    frame
        All columns but the project.
    """
    plain = rows.cast(schema)
    made = {
        field.name: _column(plain[field.name], field.type, is_key=field.name == schema.names[1])
        for field in schema
        if field.name != "project"
    }
    return pd.DataFrame(made).sort_values(list(order), kind="stable", ignore_index=True)


def _column(column: pa.ChunkedArray, kind: pa.DataType, *, is_key: bool) -> pd.Series[Any]:
    if kind == _TIME:
        return frame.time_column(
            [None if value is None else value // 1000 for value in column.cast(pa.int64()).to_pylist()]
        )
    if kind == _TEXT:
        return frame.text_column(column.to_pylist())
    return pd.Series(column.to_pylist(), dtype="float64" if kind == pa.float64() else "int64" if is_key else "Int64")


def _is_named(row: Mapping[str, Any]) -> bool:
    return bool(row["name"]) and not row["external_id"]


def _merged(
    held: Sequence[Row], found: Sequence[Row], key: str, *, project: str, now_ms: int, whole: bool
) -> list[Row]:
    now = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC)
    rows = {row[key]: dict(row) for row in held}
    for row in found:
        before = rows.get(row[key], {"first_seen_time": now, "last_seen_time": now})
        first, last = min(before["first_seen_time"], now), max(before["last_seen_time"], now)
        seen = {"project": project, "first_seen_time": first, "last_seen_time": last, "gone_time": None}
        rows[row[key]] = {**row, **seen}
    if whole:
        present = {row[key] for row in found}
        for one in rows.values():
            if one[key] not in present and one["gone_time"] is None and one["last_seen_time"] < now:
                one["gone_time"] = now
    return [rows[one] for one in sorted(rows)]
