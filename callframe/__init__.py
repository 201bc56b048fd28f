"""The call history of Cognite Data Fusion Functions as one typed pandas DataFrame."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from callframe.client import Retry
from callframe.coverage import coverage, is_complete
from callframe.demo import demo
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
from callframe.files import read_csv, read_parquet, write_csv, write_parquet
from callframe.measures.comparison import compare
from callframe.measures.rollup import merge_rollups, rollup, summarize_rollup
from callframe.measures.summary import summarize
from callframe.project import Project, connect
from callframe.version import __version__

if TYPE_CHECKING:
    from callframe import plot

__all__ = [
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
    "TransportError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "__version__",
    "compare",
    "connect",
    "coverage",
    "demo",
    "is_complete",
    "merge_rollups",
    "plot",
    "read_csv",
    "read_parquet",
    "rollup",
    "summarize",
    "summarize_rollup",
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
