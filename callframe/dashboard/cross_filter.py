"""The choices of the filters: how many calls each has, with all other filters applied."""

from __future__ import annotations

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
    from collections.abc import Mapping

    from callframe.dashboard.selection import Selection

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
        self._times: tuple[str, dict[str, tuple[np.ndarray, list[Any]]]] = ("", {})

    def options(self, selection: Selection) -> dict[str, list[Option]]:
        """Count the calls of each choice, those with the most failures first."""
        wanted = masks(self._calls, selection, self.groups)
        return {
            field: self._count(field, *coded, [mask for name, mask in wanted.items() if name != field])
            for field, coded in {**self._coded, **self._coded_times(selection.tz)}.items()
        }

    @cached_property
    def groups(self) -> pd.Series:
        """The failure group of each call."""
        return failure_groups(self._calls)

    @cached_property
    def _failed(self) -> np.ndarray:
        return self._calls["status"].isin(frame.FAILURES).to_numpy()

    @cached_property
    def _coded(self) -> dict[str, tuple[np.ndarray, list[Any]]]:
        """The codes of the calls in each dimension, and the values that the codes stand for."""
        coded = {
            field: (self._calls[column].cat.codes.to_numpy(), self._calls[column].cat.categories.tolist())
            for field, column in (("functions", "function"), ("statuses", "status"))
        }
        columns = {
            "schedules": self._calls["schedule_id"],
            "deployments": self._calls["function_id"],
            "groups": self.groups,
        }
        for field, column in columns.items():
            codes, values = pd.factorize(column)
            coded[field] = (codes, values.tolist())
        return coded

    def _coded_times(self, tz: str) -> dict[str, tuple[np.ndarray, list[Any]]]:
        if self._times[0] != tz:
            local = self._calls["start_time"].dt.tz_convert(time_zone(tz)).dt
            hours, weekdays = local.hour.to_numpy(), local.day_of_week.to_numpy()
            self._times = (tz, {"hours": (hours, list(range(24))), "weekdays": (weekdays, list(range(7)))})
        return self._times[1]

    @cached_property
    def _labels(self) -> dict[str, dict[Any, str]]:
        groups = failures(self._calls)
        first = ~self._calls["function_id"].duplicated()
        deployments = self._calls.loc[first, ["function_id", "function"]]
        several = set(deployments["function"][deployments["function"].duplicated()])
        return {
            "groups": dict(zip(groups["group"], groups["label"], strict=True)),
            "schedules": dict(self._schedule_names),
            "weekdays": dict(enumerate(WEEKDAYS)),
            "hours": {hour: f"{hour:02d}:00" for hour in range(24)},
            "deployments": {
                row.function_id: f"{row.function} {row.function_id}"
                for row in deployments.itertuples()
                if row.function in several
            },
        }

    def _count(self, field: str, codes: np.ndarray, values: list[Any], others: list[np.ndarray]) -> list[Option]:
        kept = codes >= 0
        for mask in others:
            kept &= mask
        counts = np.bincount(codes[kept], minlength=len(values))
        failed = np.bincount(codes[kept & self._failed], minlength=len(values))
        labels = self._labels.get(field, {})
        options = [
            Option(value, labels.get(value, str(value)), int(count), int(harm))
            for value, count, harm in zip(values, counts, failed, strict=True)
            if field != "deployments" or value in labels
        ]
        return sorted(options, key=lambda one: (-one.failed, -one.count)) if field in _BY_HARM else options
