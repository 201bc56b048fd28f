"""What an archive is: its size, its span, its versions, and what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from callframe.formatting import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

_GAPS = 5


@dataclass(frozen=True)
class Information:
    """
    What an archive is.

    Parameters
    ----------
    path
        Where it is.
    version
        Of the table of calls.
    projects
        Whose calls it holds.
    calls, files, size_bytes
        How many calls, in how many files of what size; older versions are not counted.
    start, end
        From when until when the archive knows anything; None for one that knows nothing yet.
    versions
        One row a version of the table of calls that is in its log, the newest first: `version`, `time`, `operation`.
    gaps
        The stretches that are not known completely, as `Archive.coverage` gives them, by `project`.
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
        """Write a few lines for people."""
        known = "nothing is known yet"
        if self.start is not None and self.end is not None:
            known = f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} UTC"
        lines = [
            f"{self.path}, version {self.version}",
            f"projects  {', '.join(map(printable, self.projects)) or 'none'}",
            f"calls     {self.calls:,} in {self.files:,} files, {self.size_bytes / 1e6:,.1f} MB",
            f"known     {known}",
            f"gaps      {len(self.gaps) or 'none'}",
        ]
        for row in self.gaps.head(_GAPS).itertuples():
            lacking = f", lacking {printable(str(row.lacking))}" if row.state == "partly" else ""
            lines.append(f"  {row.start_time:%Y-%m-%d %H:%M} to {row.end_time:%Y-%m-%d %H:%M}  {row.state}{lacking}")
        return "\n".join(lines)

    __repr__ = __str__


@dataclass(frozen=True)
class CompactReport:
    """
    What compacting did.

    Parameters
    ----------
    merged_files
        How many files became fewer.
    removed_files
        How many files of older versions were removed.
    version
        Of the table of calls afterwards.
    """

    merged_files: int
    removed_files: int
    version: int

    def __str__(self) -> str:
        """Write a line for people."""
        return f"{self.merged_files} files merged, {self.removed_files} old files removed (version {self.version})"
