"""
The call history of a project, kept for good in a Delta Lake table.

The folder of an archive is a Delta table of calls, which Spark, Databricks, Fabric, DuckDB and Polars read as it is. It
is partitioned by `start_date`, the day of `start_time` in UTC; each day is one file, sorted by `start_time`, `call_id`.
Its columns are those of the call frame, but for these:

- `project` is the name of the project; an archive may hold several.
- `function` and `status` are text, times are in microseconds, which hold the frame's milliseconds exactly.
- `schedule_delay_ms` and `duration_ms` stand for `schedule_delay` and `duration`: whole milliseconds.
- `finality` tells how final a record is: 0 Running, 1 a status that callframe does not know, 2 finished.

A call is told from others by `project`, `function_id` and `call_id`. Beside the calls, in `_callframe`, which Delta
Lake leaves alone, are four small Delta tables:

- `functions` and `schedules`, a row each that was ever seen, with when it was seen first and last, and found gone;
- `stretches`, which stretches of time were read completely of which function, and which could not be, and why;
- `rollup`, the calls counted by day, for pictures of years; made of the calls, and anew where it lags behind.

A sync commits calls before it commits that they were read, so it may be stopped at any moment: what is lost is read
again. Every change is made upon the version it was worked out from, and worked out anew where another process was
quicker.
"""

from __future__ import annotations

from callframe.archive.archive import Archive
from callframe.archive.information import CompactReport, Information
from callframe.archive.sync_report import SyncReport

__all__ = ["Archive", "CompactReport", "Information", "SyncReport"]
