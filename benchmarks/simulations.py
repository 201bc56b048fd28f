"""
Simulate calls of which the truth is known, and print how often intervals cover it and verdicts are wrong.

    uv run python -m benchmarks.simulations                # all of them; about two minutes
    uv run python -m benchmarks.simulations rates compare  # some of them
    uv run python -m benchmarks.simulations --repeats 100  # fewer repeats: less exact

Each repeat is a function with calls at random times; days begin at a random hour. The seed is that of `--seed`.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd

import callframe as cf
from callframe import frame
from callframe.analysis.statistics import Blocks, correct_p_values

START_MS = 1_790_000_000_000
DAY_MS = 86_400_000


def simulate(
    rng: np.random.Generator,
    *,
    repeats: int,
    days: float,
    per_day: int,
    day_sd: float = 0.0,
    outage: float = 0.0,
    factor: float = 1.0,
    tail: float = 1.0,
    weekend: float = 1.0,
    at: float = 0.5,
) -> tuple[pd.DataFrame, float]:
    """
    Draw calls of as many functions as repeats: log-normal durations of the log-sd 0.6, and failures.

    Days differ by `day_sd` in the logarithm of durations. A call begins an outage of 12 with a probability of
    `outage`. From the share `at` of the time on, durations are `factor` times as long, the longest tenth `tail` times,
    and those at weekends always `weekend` times. Also returns the true failure rate.
    """
    n = max(2, round(days * per_day))
    shape = (repeats, n)
    since_ms = np.sort(rng.uniform(0, days * DAY_MS, shape), axis=1)
    day = ((since_ms + rng.uniform(0, DAY_MS, (repeats, 1))) // DAY_MS).astype(int)
    normal = rng.normal(0, 1, shape)
    log_ms = np.log(20_000) + 0.6 * normal
    log_ms += np.take_along_axis(rng.normal(0, day_sd, (repeats, day.max() + 1)), day, axis=1)
    start_ms = START_MS + since_ms.astype("int64")
    is_after = since_ms >= at * days * DAY_MS
    log_ms += np.where(is_after, np.log(factor) + np.where(normal > 1.28, np.log(tail), 0), 0)
    log_ms += np.where((start_ms // DAY_MS + 3) % 7 >= 5, np.log(weekend), 0)
    begins = rng.random((repeats, n + 12)) < outage
    failed = np.logical_or.reduce([begins[:, 12 - k : n + 12 - k] for k in range(12)])
    names = np.array([f"f{k:05d}" for k in range(repeats)])
    return call_frame(np.repeat(names, n), start_ms.ravel(), np.exp(log_ms).ravel(), failed.ravel()), 1 - (
        1 - outage
    ) ** 12


def call_frame(function: np.ndarray, start_ms: np.ndarray, duration_ms: np.ndarray, failed: np.ndarray) -> pd.DataFrame:
    """Make a call frame of columns."""
    nothing: Any = pd.Series([None] * len(function), dtype=frame.TEXT)
    start = pd.Series(start_ms).astype("datetime64[ms]").dt.tz_localize("UTC")
    duration = pd.Series(duration_ms.astype("int64")).astype("timedelta64[ms]")
    calls = pd.DataFrame(
        {
            "call_id": np.arange(len(function)),
            "function_id": np.int64(1),
            "function": pd.Categorical(pd.Series(function, dtype=frame.TEXT)),
            "schedule_id": pd.array([pd.NA] * len(function), dtype="Int64"),
            "status": pd.Categorical(
                pd.Series(np.where(failed, "Failed", "Completed"), dtype=frame.TEXT),
                dtype=pd.CategoricalDtype(pd.Series(frame.STATUSES, dtype=frame.TEXT)),
            ),
            "scheduled_time": pd.Series(pd.NaT, index=start.index, dtype=start.dtype),
            "start_time": start,
            "end_time": start + duration,
            "schedule_delay": pd.Series(pd.NaT, index=start.index, dtype=duration.dtype),
            "duration": duration,
            "error_message": nothing,
            "error_trace": nothing,
        }
    )
    frame.check(calls)
    return calls


def split_time(days: float, share: float = 0.5) -> pd.Timestamp:
    """Find the time from which durations differ."""
    return pd.Timestamp(START_MS + round(share * days * DAY_MS), unit="ms", tz="UTC")


def covered(table: Any, name: str, truth: Any) -> float:
    """Find the share of intervals that hold the truth; a missing end is infinite."""
    low, high = table[f"{name}_low"], table[f"{name}_high"]
    return float(((low <= truth) & (high.isna() | (high >= truth)))[low.notna()].mean())


def without_effects(calls: pd.DataFrame) -> Any:
    """Summarize as if calls were independent."""
    effects, Blocks.effects = Blocks.effects, lambda blocks, *_, **__: np.ones(blocks.size)  # type: ignore[method-assign]
    try:
        return cf.summarize(calls)
    finally:
        Blocks.effects = effects  # type: ignore[method-assign]


def rates(rng: np.random.Generator, repeats: int) -> list[str]:
    """Print how often intervals of failure rates cover the truth, with outages of 12 calls."""
    rows = []
    for outage in (0.0005, 0.004):
        for days, per_day in ((7, 96), (14, 96), (30, 24), (90, 24), (3, 288)):
            calls, truth = simulate(rng, repeats=repeats, days=days, per_day=per_day, outage=outage)
            table, plain = cf.summarize(calls), without_effects(calls)
            worth = f"{days * per_day} calls, worth about {int(table['effective_calls'].median())}"
            rows.append(
                f"rate {truth:5.1%}, {days:2d} days: covers {covered(table, 'failure_rate', truth):6.1%},"
                f" if independent {covered(plain, 'failure_rate', truth):6.1%}; {worth}"
            )
    return rows


def durations(rng: np.random.Generator, repeats: int) -> list[str]:
    """Print how often intervals of p50 and p95 cover the truth, with slow days."""
    rows = []
    for day_sd in (0.0, 0.2, 0.5):
        for days, per_day in ((7, 96), (14, 96), (30, 24), (3, 96)):
            calls, _ = simulate(rng, repeats=repeats, days=days, per_day=per_day, day_sd=day_sd)
            table, plain = cf.summarize(calls), without_effects(calls)
            texts = []
            for name, z in (("p50", 0.0), ("p95", 1.6448536)):
                truth = pd.Timedelta(milliseconds=20_000 * np.exp(z * np.hypot(0.6, day_sd)))
                shares = [covered(one, f"duration_{name}", truth) for one in (table, plain)]
                texts.append(f"{name} covers {shares[0]:6.1%}, if independent {shares[1]:6.1%}")
            worth = f"{days * per_day} calls, worth about {int(table['effective_calls'].median())}"
            rows.append(f"day sd {day_sd}, {days:2d} days: {'; '.join(texts)}; {worth}")
    return rows


def compare(rng: np.random.Generator, repeats: int) -> list[str]:
    """Print how often equal halves get a verdict of a change, and intervals of ratios cover 1."""
    rows = []
    for day_sd in (0.2, 0.0):
        for per_day in (20, 100):
            for days in (3, 7, 14, 30):
                calls, _ = simulate(rng, repeats=repeats, days=days, per_day=per_day, day_sd=day_sd)
                table: Any = cf.compare(calls, at=split_time(days))
                false = changed(table)
                texts = [f"{name} false {false[name]:5.1%}" for name in ("duration", "tail", "either")]
                texts += [
                    f"{name} ratio covers {covered(table, f'{name}_ratio', 1):6.1%}" for name in ("duration", "tail")
                ]
                rows.append(f"day sd {day_sd}, {per_day:3d} a day, {days:2d} days: {'; '.join(texts)}")
    return rows


def changed(table: Any) -> dict[str, float]:
    """Find the shares of functions that would get a verdict of a change if each were compared alone."""
    names = ("duration", "tail", "failure")
    p_values = table[[f"{name}_p_value" for name in names]].to_numpy()
    corrected = np.array([correct_p_values(row) for row in p_values])
    changes = {}
    for k, name in enumerate(names[:2]):
        low, high, ratio = (table[f"{name}_ratio{end}"].to_numpy() for end in ("_low", "_high", ""))
        matters = (ratio >= 1.1) | (ratio <= 1 / 1.1)
        changes[name] = (corrected[:, k] <= 0.05) & ((low > 1) | (high < 1)) & matters
    changes["either"] = changes["duration"] | changes["tail"]
    return {name: float(change.mean()) for name, change in changes.items()}


def power(rng: np.random.Generator, repeats: int) -> list[str]:
    """Print the verdicts of changes that are there, and of a deploy on a Friday where weekends are slow."""
    friday = (int(np.ceil((START_MS / DAY_MS + 3) / 7)) * 7 + 4 + 14 - 3) * DAY_MS - START_MS
    days = friday / DAY_MS + 3
    cases: dict[str, dict[str, Any]] = {
        "1.5 times slower, 14 days": {"days": 14, "factor": 1.5, "day_sd": 0.2},
        "slowest tenth 2.6 times slower, 14 days": {"days": 14, "tail": 2.6, "day_sd": 0.2},
        "no change, 30 days": {"days": 30},
        "weekends 1.5 times slower, deploy on Friday": {"days": days, "weekend": 1.5, "at": friday / DAY_MS / days},
    }
    rows = []
    for name, options in cases.items():
        calls, _ = simulate(rng, repeats=repeats, per_day=100, **options)
        table: Any = cf.compare(calls, at=split_time(options["days"], options.get("at", 0.5)))
        shares = [table[column].value_counts(normalize=True) for column in ("duration_verdict", "tail_verdict")]
        texts = [", ".join(f"{label} {share:.0%}" for label, share in one.items() if share) for one in shares]
        rows.append(f"{name}: {'; '.join(texts)}; hours of the week: {table['hours_of_week'].mode()[0]}")
    return rows


def changes(rng: np.random.Generator, repeats: int) -> list[str]:
    """Print how often months without a change have one, and how often a step is found within a day."""
    rows = []
    cases: list[tuple[float, int, float, float]] = [
        (30, 96, 0.2, 1),
        (14, 96, 0.2, 1),
        (30, 24, 0.2, 1),
        (30, 96, 0, 1),
    ]
    cases += [(30, per_day, 0, 1.3) for per_day in (24, 48, 96, 288)] + [
        (30, 288, day_sd, 1.3) for day_sd in (0.1, 0.2)
    ]
    for days, per_day, day_sd, factor in cases:
        options: dict[str, Any] = {"days": days, "per_day": per_day, "day_sd": day_sd, "factor": factor}
        calls, _ = simulate(rng, repeats=repeats, outage=0.0005, **options)
        found = [cf.changes(own) for _, own in calls.groupby("function", observed=True)]
        text = f"days {days}, {per_day} a day, day sd {day_sd}, factor {factor}:"
        text += f" found in {np.mean([len(t) > 0 for t in found]):.1%}"
        if factor > 1:
            near = [t[abs(t["time"] - split_time(days)) <= pd.Timedelta("1D")] for t in found]
            every = pd.concat(near)
            times = covered(every.assign(at_low=every["time_low"], at_high=every["time_high"]), "at", split_time(days))
            text += f", within a day {np.mean([len(t) > 0 for t in near]):.1%}; time covers {times:.1%},"
            text += f" size covers {covered(every, 'change', factor):.1%}"
        rows.append(text)
    return rows


def incidents(rng: np.random.Generator, repeats: int) -> list[str]:
    """Print in how many months of independent failures at steady rates there is an incident."""
    rows = []
    for name, low, high in (("few calls", 1.3, 2.9), ("few and many calls", 1.3, 4.2)):
        found = 0
        for _ in range(repeats):
            counts = (10 ** rng.uniform(low, high, 20)).astype(int)
            function = np.repeat([f"f{k}" for k in range(20)], counts)
            start_ms = START_MS + rng.integers(0, 30 * DAY_MS, len(function))
            failed = rng.random(len(function)) < np.repeat(10 ** rng.uniform(-3, -0.4, 20), counts)
            found += len(cf.incidents(call_frame(function, start_ms, np.full(len(function), 1000), failed))) > 0
        rows.append(f"20 functions of {name}: an incident in {found / repeats:.1%} of months")
    return rows


SIMULATIONS = {
    "rates": rates,
    "durations": durations,
    "compare": compare,
    "power": power,
    "changes": changes,
    "incidents": incidents,
}


def main() -> None:
    """Run the simulations that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulations", description="Simulate known truths.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(SIMULATIONS)}")
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in SIMULATIONS]:
        parser.error(f"unknown simulation {', '.join(unknown)}; expected {', '.join(SIMULATIONS)}")
    for name in options.names or SIMULATIONS:
        print(f"{name}, {options.repeats} repeats, seed {options.seed}", flush=True)
        print("\n".join(SIMULATIONS[name](np.random.default_rng(options.seed), options.repeats)), end="\n\n")


if __name__ == "__main__":
    main()
