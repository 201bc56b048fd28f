"""The call history of Cognite Data Fusion Functions as one typed pandas DataFrame."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("callframe")

from callframe.analysis.comparison import compare
from callframe.analysis.concurrency import concurrency, concurrency_peaks, overlapping_runs
from callframe.analysis.failures import failure_episodes, failure_groups, failures
from callframe.analysis.kaplan_meier import survival
from callframe.analysis.quality import quality
from callframe.analysis.responses import reports_failure, with_responses
from callframe.analysis.rollup import merge_rollups, rollup, summarize_rollup
from callframe.analysis.schedules import duplicate_runs, missed_runs, schedule_report
from callframe.analysis.summary import summarize
from callframe.archive import Archive, SyncReport
from callframe.completeness import coverage, is_complete
from callframe.csv_parquet import read_csv, read_parquet, write_csv, write_parquet
from callframe.dashboard import explore
from callframe.errors import CallframeError, ClockWarning, IncompleteWarning, RecordWarning
from callframe.formatting import style
from callframe.http.retry import Retry
from callframe.project import Project, connect
from callframe.reporting import report
from callframe.sample import demo

if TYPE_CHECKING:
    from callframe import plot

__all__ = [
    "Archive",
    "CallframeError",
    "ClockWarning",
    "IncompleteWarning",
    "Project",
    "RecordWarning",
    "Retry",
    "SyncReport",
    "__version__",
    "compare",
    "concurrency",
    "concurrency_peaks",
    "connect",
    "coverage",
    "demo",
    "duplicate_runs",
    "explore",
    "failure_episodes",
    "failure_groups",
    "failures",
    "is_complete",
    "merge_rollups",
    "missed_runs",
    "overlapping_runs",
    "plot",
    "quality",
    "read_csv",
    "read_parquet",
    "report",
    "reports_failure",
    "rollup",
    "schedule_report",
    "style",
    "summarize",
    "summarize_rollup",
    "survival",
    "with_responses",
    "write_csv",
    "write_parquet",
]


def __getattr__(name: str) -> Any:
    """Import pictures when they are first asked for: matplotlib is slow to import."""
    if name == "plot":
        return importlib.import_module("callframe.plot")
    raise AttributeError(f"module 'callframe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
