"""The functions of the sample project, and schedules that add up to a number of calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

PERIODS_MIN = (1440, 720, 360, 240, 120, 60, 30, 20, 15, 10, 5, 2, 1)
"""Minutes between runs, all divisors of a day, so that scheduled times are multiples of a period since 1970."""

SKIPPED = 0.004
"""Share of scheduled times without a call."""

SITES = ("north", "south", "harbour", "plant 2", "plant 3")

_MINUTES_PAST_THE_HOUR = (0, 5, 15, 20, 40)


@dataclass(frozen=True)
class FunctionSpec:
    """
    One function of the sample project, in all of its deployments; one with `routes` is a function app.

    `periods` are the minutes between the runs of each of its schedules, divisors of a day; `unscheduled` counts calls
    without a schedule, of 150,000 calls in 14 days. `failure_rate` is the share of failures outside the outage, with
    `causes` from the error samples. Durations are log-normal with `median_s` and `sigma`. An `external_id` of None is
    omitted; schedules by external id are deprecated.
    """

    name: str
    external_id: str | None
    description: str
    owner: str = "data-platform@example.com"
    periods: tuple[int, ...] = ()
    unscheduled: int = 0
    median_s: float = 12.0
    sigma: float = 0.5
    failure_rate: float = 0.01
    causes: tuple[str, ...] = ("read_timeout", "cognite_unavailable")
    fails_in_outage: bool = True
    cpu: float = 0.25
    memory: float = 1.0
    runtime: str = "py311"
    never_called: bool = False
    redeployed: bool = False
    errors_are_strings: bool = False
    schedules_by_external_id: bool = False
    routes: tuple[str, ...] = ()


FUNCTION_SPECS = (
    FunctionSpec(
        "Monitor compressor vibration", "monitor-compressor-vibration",
        "Compares vibration spectra of the compressors with their limits and raises events", periods=(1, 1, 1),
        median_s=14, failure_rate=0.008, causes=("missing_sensor", "read_timeout", "cognite_unavailable"),
    ),
    FunctionSpec(
        "Ingest SAP orders", "ingest-sap-orders", "Copies new and changed work orders from SAP into CDF",
        periods=(5,), median_s=38, sigma=0.45, failure_rate=0.02,
        causes=("connection_refused", "read_timeout", "bad_json", "duplicated_ids"), memory=2.0, redeployed=True,
    ),
    FunctionSpec(
        # This sigma puts 8 % of the runs beyond the run limit of 600 s.
        "Train anomaly models", "train-anomaly-models", "Fits the anomaly models of each line anew",
        owner="data-science@example.com", periods=(30,), median_s=300, sigma=0.493, failure_rate=0.02,
        causes=("memory", "ragged_frame", "missing_sensor"), fails_in_outage=False, cpu=1.0, memory=5.0,
    ),
    FunctionSpec(
        "Render P&ID diagrams", "render-pid-diagrams",
        "Finds the tags in uploaded diagrams; started by a workflow for each batch", owner="documents@example.com",
        unscheduled=17_000, median_s=22, sigma=0.7, failure_rate=0.025,
        causes=("broken_file", "memory", "cognite_bad_request"), memory=2.5, runtime="py312",
    ),
    FunctionSpec(
        "Forward alarms", "forward-alarms", "Sends new alarms to the control room's ticket system",
        owner="operations@example.com", periods=(1,), median_s=4, failure_rate=0.006,
        causes=("bad_json", "connection_refused", "read_timeout"), memory=0.5, errors_are_strings=True,
    ),
    FunctionSpec(
        "cleanup temp files", None, "Deletes files nobody has asked for in 30 days",
        owner="", periods=(60,), median_s=45, sigma=0.8, failure_rate=0.015,
        causes=("cognite_unavailable", "missing_key"),
    ),
    FunctionSpec(
        "Backfill historian (do not run)", "backfill-historian", "One-off backfill of 2023",
        owner="contractor@example.com", never_called=True,
    ),
    FunctionSpec(
        "Calculate pump efficiency", "calculate-pump-efficiency", "Efficiency of each pump against its curve",
        owner="data-science@example.com", periods=(1,), median_s=9, failure_rate=0.012,
        causes=("division", "missing_sensor", "ragged_frame"),
    ),
    FunctionSpec(
        "Sync asset hierarchy", "sync-asset-hierarchy", "Mirrors the functional locations of SAP as assets",
        periods=(60,), unscheduled=60, median_s=120, sigma=0.4, failure_rate=0.03,
        causes=("duplicated_ids", "connection_refused", "cognite_bad_request"), memory=2.0,
        schedules_by_external_id=True,
    ),
    FunctionSpec(
        # The other function that reaches the run limit.
        "Contextualize tags", "contextualize-tags", "Matches new time series with assets",
        owner="data-science@example.com", periods=(120,), unscheduled=40, median_s=210, sigma=0.73,
        failure_rate=0.02, causes=("memory", "cognite_unavailable"), fails_in_outage=False, cpu=1.0, memory=4.0,
    ),
    FunctionSpec(
        "Ingest weather forecast", "ingest-weather-forecast", "Reads the forecast of the met office",
        periods=(15, 360), median_s=6, failure_rate=0.02, causes=("read_timeout", "bad_json"), memory=0.5,
        runtime="py312",
    ),
    FunctionSpec(
        "Report daily production", "report-daily-production", "Mails the production report of the day before",
        owner="operations@example.com", periods=(1440,), unscheduled=4, median_s=95, sigma=0.3, failure_rate=0.05,
        causes=("missing_key", "ragged_frame"), fails_in_outage=False,
    ),
    FunctionSpec(
        "Check data quality", "check-data-quality", "Looks for gaps and frozen values in the time series of each site",
        periods=(2, 10), median_s=17, causes=("missing_sensor", "cognite_unavailable"),
    ),
    FunctionSpec(
        "Predict filter clogging", "predict-filter-clogging", "Remaining days of each filter",
        owner="data-science@example.com", periods=(10,), median_s=31, failure_rate=0.015,
        causes=("ragged_frame", "missing_sensor", "memory"), memory=2.5, schedules_by_external_id=True,
    ),
    FunctionSpec(
        "Archive events", "archive-events", "Moves old events to the data lake",
        periods=(1440,), median_s=180, sigma=0.35, failure_rate=0.04, causes=("database", "cognite_unavailable"),
    ),
    FunctionSpec(
        "Update energy dashboard", "update-energy-dashboard", "Sums for the energy dashboard",
        owner="operations@example.com", periods=(5, 15), median_s=11, failure_rate=0.008,
        causes=("division", "database"), memory=0.5, errors_are_strings=True,
        routes=("GET /sums", "POST /sums", "GET /sites", "PUT /budget"),
    ),
    FunctionSpec(
        "Ingest laboratory results", "ingest-laboratory-results", "Reads the LIMS database",
        owner="laboratory@example.com", periods=(10, 240), median_s=15, failure_rate=0.015,
        causes=("database", "missing_key"),
    ),
    FunctionSpec(
        "Resample sensor data", "resample-sensor-data", "Writes minute means of fast sensors",
        periods=(5,), median_s=52, sigma=0.35, failure_rate=0.006, causes=("memory", "cognite_unavailable"),
        memory=2.5,
    ),
    FunctionSpec(
        "Refresh maintenance plan", "refresh-maintenance-plan", "Orders open work by risk",
        periods=(1440, 720), median_s=140, sigma=0.4, failure_rate=0.03,
        causes=("missing_key", "connection_refused"), runtime="py312",
    ),
)  # fmt: skip


def function_specs(record_count: int) -> list[FunctionSpec]:
    """
    Return the functions of a project that lists `record_count` function records.

    From 4 records on, one function has two, because its old deployment is still listed. Above 20, functions repeat for
    other sites.
    """
    has_redeployment = record_count >= 4  # noqa: PLR2004
    count = record_count - has_redeployment
    specs = [replace(spec, redeployed=spec.redeployed and has_redeployment) for spec in FUNCTION_SPECS[:count]]
    ordinary = [
        spec for spec in FUNCTION_SPECS if not (spec.never_called or spec.redeployed or spec.external_id is None)
    ]
    for extra in range(count - len(specs)):
        spec, site = ordinary[extra % len(ordinary)], SITES[extra // len(ordinary)]
        external_id = f"{spec.external_id}-{site.replace(' ', '-')}"
        specs.append(replace(spec, name=f"{spec.name} ({site})", external_id=external_id))
    return specs


@dataclass(frozen=True)
class HistoryWindow:
    """The time range of a call history in ms, and the outage in it."""

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        """Length of the window."""
        return self.end_ms - self.start_ms

    def before_end(self, share: float) -> int:
        """Return the time that is a share of the length before the end."""
        return self.end_ms - round(self.length_ms * share)

    @property
    def outage(self) -> tuple[int, int]:
        """Start and end of the outage: two hours, or less in a very short window."""
        start = self.before_end(0.45)
        return start, start + min(2 * HOUR_MS, self.length_ms // 10)


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule: minutes between runs, minutes after midnight of the first, and its times between creation and end."""

    period: int
    phase: int
    created_ms: int
    times_ms: NDArray[np.int64]

    @property
    def cron(self) -> str:
        """Cron expression of five fields."""
        hour, minute = divmod(self.phase, 60)
        if self.period == 1:
            return "* * * * *"
        if self.period < 60:  # noqa: PLR2004
            return f"*/{self.period} * * * *"
        if self.period == 60:  # noqa: PLR2004
            return f"{minute} * * * *"
        return f"{minute} {hour} * * *" if self.period == PERIODS_MIN[0] else f"{minute} */{self.period // 60} * * *"

    @property
    def when(self) -> str:
        """The schedule in words, as the API returns it."""
        hour, minute = divmod(self.phase, 60)
        if self.period == 1:
            return "Every minute"
        if self.period < 60:  # noqa: PLR2004
            return f"Every {self.period} minutes"
        if self.period == PERIODS_MIN[0]:
            return f"At {hour:02}:{minute:02}"
        past = "Every hour" if minute == 0 else f"At {minute} minutes past the hour"
        return past if self.period == 60 else f"{past}, every {self.period // 60} hours"  # noqa: PLR2004


def schedule_specs(
    periods: tuple[int, ...], call_count: int, window: HistoryWindow, *, max_count: int, rng: np.random.Generator
) -> list[ScheduleSpec]:
    """
    Choose schedules with about `call_count` times in a window, or fewer if `max_count` schedules are not enough.

    The given periods come first, where they fit. If they are too few, schedules of every minute follow; the remainder
    gets a slower schedule that is created late, so that runs are regular at any number of calls.
    """
    specs: list[ScheduleSpec] = []
    remaining, skipped = call_count, 2 * SKIPPED * call_count
    for period in (*sorted(periods), *([1] * max_count)):
        spec = _schedule_spec(period, window, rng)
        if len(specs) < max_count and 0 < len(spec.times_ms) <= remaining + skipped:
            specs.append(spec)
            remaining -= len(spec.times_ms)
    if remaining > max(4, call_count * SKIPPED) and len(specs) < max_count:
        specs.extend(_late_schedule(remaining + round(remaining * SKIPPED) + 1, window, rng))
    return specs


def _schedule_spec(period: int, window: HistoryWindow, rng: np.random.Generator) -> ScheduleSpec:
    phase = 0 if period < 60 else int(rng.choice(_MINUTES_PAST_THE_HOUR))  # noqa: PLR2004
    if period == PERIODS_MIN[0]:
        phase += 60 * int(rng.integers(1, 6))
    start, end = -(-window.start_ms // MINUTE_MS), (window.end_ms - 1000) // MINUTE_MS
    times_ms = np.arange(start + (phase - start) % period, end + 1, period, dtype=np.int64) * MINUTE_MS
    return ScheduleSpec(period, phase, window.start_ms - int(rng.integers(20 * DAY_MS, 200 * DAY_MS)), times_ms)


def _late_schedule(call_count: int, window: HistoryWindow, rng: np.random.Generator) -> list[ScheduleSpec]:
    for period in PERIODS_MIN:
        spec = _schedule_spec(period, window, rng)
        if len(spec.times_ms) >= call_count:
            times_ms = spec.times_ms[-call_count:]
            created_ms = int(times_ms[0]) - int(rng.uniform(0.1, 0.9) * period * MINUTE_MS)
            return [ScheduleSpec(period, spec.phase, created_ms, times_ms)]
    return []
