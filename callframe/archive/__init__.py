"""
Archive of the call history of a project in a Delta Lake table.

The folder of an archive is a Delta table of calls, which Spark, Databricks, Fabric, DuckDB and Polars can read. It is
partitioned by `start_date`, the day of `start_time` in UTC; each day is one file, sorted by `start_time`, `call_id`. It
has the columns of a call frame, with these differences:

- `project` is the name of the project; an archive can contain several.
- `function` and `status` are text; times are in microseconds, without loss.
- `schedule_delay_ms` and `duration_ms` are integer milliseconds, in place of `schedule_delay` and `duration`.
- `finality` is 0 for Running, 1 for a status that is unknown to callframe, 2 for a finished call, 3 for an
  error response.
- `response` and `route` are missing unless a sync read the responses.

A call is identified by `project`, `function_id` and `call_id`. The folder `_callframe`, which Delta Lake ignores,
contains four small Delta tables:

- `functions` and `schedules`: the registry, with a row for everything that was ever listed;
- `coverage`: which time ranges of which functions were read, or could not be read, and why;
- `rollup`: the calls counted by day, derived from the calls and updated when it is read.

A sync commits calls before their coverage, so it can be interrupted at any moment: what is lost is read again. Each
change is based on a version, and repeated if another process has committed first.
"""

from __future__ import annotations

from callframe.archive.archive import MIN_RETENTION_MS, Archive
from callframe.archive.reports import ArchiveInfo, SyncReport

__all__ = ["MIN_RETENTION_MS", "Archive", "ArchiveInfo", "SyncReport"]
