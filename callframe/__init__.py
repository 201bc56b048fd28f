"""The call history of Cognite Data Fusion Functions as one typed pandas DataFrame."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from callframe.archive import Archive, SyncReport
from callframe.client import Retry
from callframe.coverage import coverage, is_complete
from callframe.demo import demo
from callframe.display import style
from callframe.errors import (
    ArgumentError,
    BadRequestError,
    CallframeError,
    FileError,
    FileFormatError,
    ForbiddenError,
    FrameError,
    IncompleteError,
    IncompleteWarning,
    NotFoundError,
    RateLimitError,
    RecordWarning,
    ServiceError,
    SignInError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from callframe.explore import explore
from callframe.files import read_csv, read_parquet, write_csv, write_parquet
from callframe.measures.comparison import compare
from callframe.measures.concurrency import concurrency, concurrency_peaks
from callframe.measures.failures import failure_episodes, failure_groups, failures
from callframe.measures.overlaps import overlapping_runs
from callframe.measures.quality import quality
from callframe.measures.rollup import merge_rollups, rollup, summarize_rollup
from callframe.measures.schedules import duplicate_runs, missed_runs, schedule_report
from callframe.measures.summary import summarize
from callframe.measures.survival import survival
from callframe.project import Project, connect
from callframe.report import report
from callframe.version import __version__

if TYPE_CHECKING:
    from callframe import plot

__all__ = [
    "Archive",
    "ArgumentError",
    "BadRequestError",
    "CallframeError",
    "FileError",
    "FileFormatError",
    "ForbiddenError",
    "FrameError",
    "IncompleteError",
    "IncompleteWarning",
    "NotFoundError",
    "Project",
    "RateLimitError",
    "RecordWarning",
    "Retry",
    "ServiceError",
    "SignInError",
    "SyncReport",
    "TransportError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
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
    "rollup",
    "schedule_report",
    "style",
    "summarize",
    "summarize_rollup",
    "survival",
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
