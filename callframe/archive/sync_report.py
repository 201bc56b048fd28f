"""What a sync did, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class SyncReport:
    """
    What a sync did.

    Parameters
    ----------
    project
        Name of the project.
    archive
        Where the archive is.
    started
        When the sync began; calls that started later are for the next one.
    read
        Calls that were read.
    new, changed
        Calls that the archive did not hold, and those that had gone on since it last saw them.
    steps
        Steps that were committed.
    problems
        What could not be read, in sentences, by the label of the function, or what else it is of.
    set_aside
        Records that broke the API's contract, by reason.
    interrupted
        Whether it was stopped; the next sync goes on.
    version
        Version of the table of calls afterwards.
    """

    project: str
    archive: str
    started: pd.Timestamp
    read: int = 0
    new: int = 0
    changed: int = 0
    steps: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    set_aside: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    version: int = 0

    @property
    def complete(self) -> bool:
        """Whether all there was to read was read."""
        return not self.problems and not self.interrupted

    def note(self, of: str, problem: str) -> None:
        """
        Note what could not be read, once.

        Parameters
        ----------
        of
            Label of the function, or what else it is of.
        problem
            In a sentence.
        """
        told = self.problems.setdefault(of, [])
        if problem not in told:
            told.append(problem)

    def __str__(self) -> str:
        """Write a few lines for people."""
        what = f"{self.new:,} new and {self.changed:,} changed calls of project {self.project!r} in {self.archive}"
        lines = [f"{what} ({self.read:,} read in {self.steps} steps, version {self.version})"]
        if self.interrupted:
            lines.append("Interrupted; the next sync goes on from here.")
        if self.set_aside:
            lines += [f"{count} records set aside: {reason}" for reason, count in self.set_aside.items()]
        if self.problems:
            lines.append("Could not be read, and will be tried again at the next sync:")
            lines += [f"  {of}: {'; '.join(told)}" for of, told in self.problems.items()]
        return "\n".join(lines)

    __repr__ = __str__
