"""Reports: what a sync did, and what an archive contains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from callframe.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_MAX_GAPS = 5


@dataclass
class SyncReport:
    """
    What a sync or `Archive.add` did; printed, a few lines of text.

    Parameters
    ----------
    project
        Name of the project.
    archive
        Path of the archive.
    started
        When the sync began; later calls are left for the next sync.
    read
        Number of calls read.
    new, changed
        Number of calls that were not in the archive, and of stored calls that changed.
    responses
        Number of responses read.
    steps
        Number of steps committed.
    problems
        What could not be read, in sentences, by function or other subject.
    set_aside
        Number of invalid records by reason.
    interrupted
        Whether the sync was interrupted; the next one continues.
    version
        Version of the calls after the sync.
    """

    project: str
    archive: str
    started: pd.Timestamp
    read: int = 0
    new: int = 0
    changed: int = 0
    responses: int = 0
    steps: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    set_aside: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    version: int = 0

    @property
    def complete(self) -> bool:
        """Whether everything was read."""
        return not self.problems and not self.interrupted

    def __str__(self) -> str:
        result = f"{self.new:,} new and {self.changed:,} changed calls of project {self.project!r} in {self.archive}"
        responses = f", {self.responses:,} responses" if self.responses else ""
        lines = [f"{result} ({self.read:,} read in {self.steps} steps{responses}, version {self.version})"]
        if self.interrupted:
            lines.append("Interrupted; the next sync continues from here.")
        lines += [f"{count} records set aside: {reason}" for reason, count in self.set_aside.items()]
        if self.problems:
            lines.append("Not complete; the next sync tries again what CDF still has:")
            lines += [f"  {subject}: {'; '.join(problems)}" for subject, problems in self.problems.items()]
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True)
class ArchiveInfo:
    """
    What an archive contains; printed, a few lines of text.

    Parameters
    ----------
    path
        Path or address.
    version
        Version of the calls.
    projects
        Names of the projects.
    calls, files, size_bytes
        Number of calls, number of files and their size, without earlier versions.
    start, end
        First and last time that was read; None if nothing was.
    versions
        One row per version of the calls in the log, the newest first: `version`, `time`, `operation`.
    gaps
        The incomplete rows of `Archive.coverage`, with the `project`.
    """

    path: str
    version: int
    projects: Sequence[str]
    calls: int
    files: int
    size_bytes: int
    start: pd.Timestamp | None
    end: pd.Timestamp | None
    versions: pd.DataFrame
    gaps: pd.DataFrame

    def __str__(self) -> str:
        period = "nothing was read yet"
        if self.start is not None and self.end is not None:
            period = f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"
        lines = [
            f"{self.path}, version {self.version}",
            f"projects  {', '.join(map(printable, self.projects)) or 'none'}",
            f"calls     {self.calls:,} in {self.files:,} files, {self.size_bytes / 1e6:,.1f} MB",
            f"period    {period}",
            f"gaps      {len(self.gaps) or 'none'}",
        ]
        for gap in self.gaps.head(_MAX_GAPS).itertuples():
            functions = f" without {printable(str(gap.missing_functions))}" if gap.state == "partial" else ""
            lines.append(f"  {gap.start_time:%Y-%m-%d %H:%M} to {gap.end_time:%Y-%m-%d %H:%M}  {gap.state}{functions}")
        return "\n".join(lines)

    __repr__ = __str__
