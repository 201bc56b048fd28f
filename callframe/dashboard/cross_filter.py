"""The choices of the filters: how many calls each has, with all other filters applied."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.analysis.failures import failure_groups, failures
from callframe.dashboard.selection import WEEKDAYS, masks
from callframe.timespan import time_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from callframe.dashboard.selection import Selection

FIELDS = ("functions", "statuses", "schedules", "groups", "deployments", "hours", "weekdays")
"""The filters whose choices are listed."""

_BY_HARM = ("functions", "schedules", "groups")


@dataclass(frozen=True)
class Option:
    """A choice: its value, its text, its calls and how many of them failed."""

    value: Any
    text: str
    count: int
    failed: int


class CrossFilter:
    """The calls of a source by each of their dimensions, as codes that are computed once."""

    def __init__(self, calls: pd.DataFrame, schedule_names: Mapping[int, str]) -> None:
        self._calls = calls
        self._schedule_names = schedule_names
        self._coded: dict[tuple[str, str], tuple[np.ndarray, list[Any]]] = {}

    def options(self, selection: Selection) -> Options:
        """List the choices of each filter of a selection, counted when they are first asked for."""
        return Options(self, selection)

    def count(self, field: str, selection: Selection) -> list[Option]:
        """Count the calls of each choice of a filter, those with the most failures first."""
        wanted = masks(self._calls, selection, self.groups if selection.groups else None)
        others = [mask for name, mask in wanted.items() if name != field]
        return self._count(field, *self._codes(field, selection.tz), others)

    @cached_property
    def groups(self) -> pd.Series:
        """The failure group of each call."""
        return failure_groups(self._calls)

    @cached_property
    def _failed(self) -> np.ndarray:
        return self._calls["status"].isin(frame.FAILURES).to_numpy()

    def _codes(self, field: str, tz: str) -> tuple[np.ndarray, list[Any]]:
        """Find the codes of the calls in a dimension, and the values that the codes stand for."""
        key = (field, tz if field in {"hours", "weekdays"} else "")
        if key not in self._coded:
            self._coded[key] = self._encode(field, tz)
        return self._coded[key]

    def _encode(self, field: str, tz: str) -> tuple[np.ndarray, list[Any]]:
        calls = self._calls
        if field in {"functions", "statuses"}:
            column = calls["function" if field == "functions" else "status"].cat
            return column.codes.to_numpy(), column.categories.tolist()
        if field in {"hours", "weekdays"}:
            local = calls["start_time"].dt.tz_convert(time_zone(tz)).dt
            codes, count = (local.hour, 24) if field == "hours" else (local.day_of_week, 7)
            return codes.to_numpy(), list(range(count))
        ids = {"schedules": "schedule_id", "deployments": "function_id"}
        codes, values = pd.factorize(calls[ids[field]] if field in ids else self.groups)
        return codes, values.tolist()

    @cached_property
    def _labels(self) -> dict[str, Callable[[], dict[Any, str]]]:
        """What makes the texts of values that are not their own text."""
        return {
            "groups": functools.cache(self._group_labels),
            "deployments": functools.cache(self._deployment_labels),
            "schedules": lambda: dict(self._schedule_names),
            "weekdays": lambda: dict(enumerate(WEEKDAYS)),
            "hours": lambda: {hour: f"{hour:02d}:00" for hour in range(24)},
        }

    def _group_labels(self) -> dict[Any, str]:
        groups = failures(self._calls)
        return dict(zip(groups["group"], groups["label"], strict=True))

    def _deployment_labels(self) -> dict[Any, str]:
        """Name the deployments of functions that have several."""
        deployments = self._calls.loc[~self._calls["function_id"].duplicated(), ["function_id", "function"]]
        several = deployments[deployments["function"].duplicated(keep=False)]
        return {row.function_id: f"{row.function} {row.function_id}" for row in several.itertuples()}

    def _count(self, field: str, codes: np.ndarray, values: list[Any], others: list[np.ndarray]) -> list[Option]:
        kept = codes >= 0
        for mask in others:
            kept &= mask
        counts = np.bincount(codes[kept], minlength=len(values))
        failed = np.bincount(codes[kept & self._failed], minlength=len(values))
        labels = self._labels.get(field, dict[Any, str])()
        options = [
            Option(value, labels.get(value, str(value)), int(count), int(harm))
            for value, count, harm in zip(values, counts, failed, strict=True)
            if field != "deployments" or value in labels
        ]
        return sorted(options, key=lambda one: (-one.failed, -one.count)) if field in _BY_HARM else options


class Options(Mapping[str, list[Option]]):
    """The choices of each filter, counted when they are first asked for."""

    def __init__(self, cross_filter: CrossFilter, selection: Selection) -> None:
        self._cross_filter = cross_filter
        self._selection = selection
        self._counted: dict[str, list[Option]] = {}

    def __getitem__(self, field: str) -> list[Option]:
        if field not in FIELDS:
            raise KeyError(field)
        if field not in self._counted:
            self._counted[field] = self._cross_filter.count(field, self._selection)
        return self._counted[field]

    def __iter__(self) -> Iterator[str]:
        return iter(FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)
