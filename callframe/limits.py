"""Documented limits of the service, and the defaults that follow from them: one place for each number."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from callframe.timespan import DAY_MS, MINUTE_MS, parse_duration

if TYPE_CHECKING:
    from callframe.timespan import DurationLike

RETENTION_MS = 90 * DAY_MS
"""How long the service keeps calls."""

PROJECT_QUOTA = 250
"""How many calls of a project may run at the same time."""
FUNCTION_QUOTA = 100
"""How many calls of one function may run at the same time."""

DEFAULT_GRACE = "10min"
"""How long after its scheduled time a run may still appear before it counts as missed."""
DEFAULT_LATE_AFTER = "1min"
"""The schedule delay beyond which a call counts as late."""


class RunLimit(NamedTuple):
    """
    The run limit of calls: how long the service lets them run.

    Unless known, it is between the shortest and the longest that Cognite documents: 9 minutes on Google Cloud, 15 in
    older texts. A Timeout ran for at least `shortest_ms`; a call Running beyond `longest_ms` is stuck.
    """

    shortest_ms: int = 9 * MINUTE_MS
    longest_ms: int = 15 * MINUTE_MS

    @classmethod
    def parse(cls, run_limit: DurationLike | None) -> RunLimit:
        """Parse the `run_limit` of a user; None means that it is not known."""
        if run_limit is None:
            return cls()
        limit_ms = parse_duration(run_limit, name="run_limit", at_least_ms=1)
        return cls(limit_ms, limit_ms)
